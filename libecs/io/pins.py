"""Which keys of its core somebody believes: the present one, and the next one when the core has told it.

The core tells it on a link that it has proved with the present key (`KeyNews`). When a link comes up with the next key,
that is the present one from then on, and the old one is believed no more. What changes is given to `keep`, so that it
outlives the process; a process that is killed before it has kept it is told again, or tries both keys again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import attrs

from libecs.errors import EcsError, InvalidInput
from libecs.io.keyfile import check_key, shown
from libecs.io.link import ClientCurve, Dialer
from libecs.wire.node import KeyNews

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
Keep = Callable[[str, str], bool]
"""Takes the core's present key and its next one ("" = none). Returns whether they outlive the process.

Raises:
    EcsError: they could not be written.
"""


class Pins:
    """What one side that dials believes. It belongs to the event loop of its dialers."""

    def __init__(
        self,
        curve: ClientCurve | None,
        keep: Keep,
        *,
        renew: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Begin.

        Args:
            curve: what is believed now; None = there are no keys, and all that is told of them counts for nothing.
            keep: keeps what changes.
            renew: what to ask an admin for when one's own key ends soon.
            now_ms: the wall clock.
        """
        self.curve = curve
        self._keep = keep
        self._renew = renew
        self._now_ms = now_ms
        self._dialers: list[Dialer] = []
        self._told = False
        """The first message on this link was there."""
        self._warned_of = 0

    def add(self, dialer: Dialer) -> None:
        """Let a dialer, which was made with `curve`, believe what we do."""
        self._dialers.append(dialer)

    def linked(self, up: bool) -> None:
        """The link on which news comes went up or down."""
        self._told = False

    def turned(self) -> None:
        """A link came up with the next key."""
        if self.curve is not None and self.curve.next_server:
            logger.info(
                "the core has its next key now, %s; the old one counts for nothing", shown(self.curve.next_server)
            )
            self._change(self.curve.next_server, "")

    def heard(self, message: object) -> bool:
        """Take a message of the core; return whether it was for us alone."""
        is_news = isinstance(message, KeyNews)
        if is_news or not self._told:  # a core that has a next key tells it first of all
            news = message if isinstance(message, KeyNews) else KeyNews()
            self._told = True
            self._take(news)
        return is_news

    def _take(self, news: KeyNews) -> None:
        curve = self.curve
        if curve is None:
            return
        if news.expires_ms and news.expires_ms != self._warned_of:
            days = max(0, (news.expires_ms - self._now_ms()) // DAY_MS)
            logger.warning("your key %s expires in %d days: ask an admin: %s", shown(curve.public), days, self._renew)
        self._warned_of = news.expires_ms
        try:
            if news.next_key:
                check_key(news.next_key)
        except InvalidInput:
            logger.warning("the core has told a next key that is none")
            return
        if news.next_key != curve.next_server and news.next_key != curve.server:
            if news.next_key:
                logger.info("the core will have another key, %s: it is believed as this one", shown(news.next_key))
            self._change(curve.server, news.next_key)

    def _change(self, server: str, next_server: str) -> None:
        assert self.curve is not None
        before = self.curve.server
        self.curve = attrs.evolve(self.curve, server=server, next_server=next_server)
        for dialer in self._dialers:
            dialer.curve = self.curve
        try:
            kept = self._keep(server, next_server)
        except EcsError as error:
            logger.warning("the core's keys are believed until this program ends: %s", error.message)
            return
        if not kept and next_server:
            logger.warning("the core's key was set by hand; when it has the other one, set %s", next_server)
        elif not kept and server != before:
            logger.warning("the core's key was set by hand, and is another one now: set %s", server)
