"""What the log says of handshakes that were refused: a line a minute for each address and reason, with a count.

Who is refused dials again for ever, and who scans ports dials often: each attempt as a line of its own would be a flood
that anybody can make.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import attrs

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
MAX_KEPT: Final = 1000
"""Pairs of address and reason that are known; the one that was refused longest ago is forgotten first."""


@attrs.define
class _Seen:
    told_at: float
    count: int
    """Since then."""


class Refusals:
    """Tells the log of handshakes that came to nothing."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def note(self, address: str, reason: str, detail: str = "") -> None:
        """Take one. The first from an address for a reason is told at once, the others with the next line of theirs.

        Args:
            address: IP of who was refused; "" if it is not known.
            reason: of few kinds: each has its own line.
            detail: of this one, for the line; may be different each time.
        """
        now = self._clock()
        place = (address, reason)
        seen = self._seen.get(place)
        if seen is None:
            if len(self._seen) >= MAX_KEPT:
                self._seen.popitem(last=False)
            self._seen[place] = _Seen(now, 0)
            self._tell("a handshake was refused", address, reason, detail)
            return
        self._seen.move_to_end(place)
        seen.count += 1
        if now - seen.told_at < INTERVAL_S:
            return
        minutes = round((now - seen.told_at) / 60)
        span = "minute" if minutes == 1 else f"{minutes} minutes"
        was = "handshake was" if seen.count == 1 else "handshakes were"
        self._tell(f"{seen.count} {was} refused in the last {span}", address, reason, detail)
        seen.told_at, seen.count = now, 0

    def _tell(self, what: str, address: str, reason: str, detail: str) -> None:
        why = f"{reason} ({detail})" if detail else reason
        logger.warning("%s, from %s: %s", what, address or "an address that is gone", why)
