"""How a client's link is: whether the core was heard lately, and if not, why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import attrs

from libecs.client.conversation import Conversation
from libecs.errors import EcsError
from libecs.wire.client import Ping, Pong

logger = logging.getLogger(__name__)

PING_S = 1.0
SUSPECT_S = 1.5
DOWN_S = 3.0
"""A core that has said nothing for so long is told of as one that does not answer."""
PAUSE_S = 5.0
"""A client that was stopped for so long may have been forgotten by its core."""

UP, SUSPECT, DOWN = "UP", "SUSPECT", "DOWN"


@attrs.frozen(kw_only=True)
class LinkState:
    """How a link is now."""

    state: str
    """UP, SUSPECT (nothing was heard for 1.5 s) or DOWN."""
    age_s: float = 0.0
    """Seconds since the core was heard."""
    reason: str = ""
    """Why it is not UP: a sentence."""

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.state}: {self.reason}" if self.reason else self.state


class Wire(Protocol):
    """What is asked about a link that can break."""

    lost: bool
    """Something was not sent though it was up. Whoever sends it again sets this back."""

    @property
    def up(self) -> bool:
        """Whether there is a connection."""


class Pulse:
    """Ask a core every second for a sign of life, and tell how the link is."""

    def __init__(
        self,
        talk: Conversation,
        wire: Wire,
        place: str,
        *,
        on_pong: Callable[[Pong], None],
        again: Callable[[], None],
    ) -> None:
        """Begin; `again` sends what was not answered again, `place` is where the core is."""
        self._talk, self._wire, self._place = talk, wire, place
        self._on_pong, self._again = on_pong, again
        self._reason = ""
        self._told_down = False
        talk.spawn(self._beat)

    def changed(self, up: bool) -> None:
        """The connection is there, or no more."""
        self._reason = "" if up else f"the connection to {self._place} broke"
        if up:
            self._again()

    def trouble(self, sentence: str) -> None:
        """An attempt to come back failed."""
        self._reason = sentence
        if not self._told_down:
            logger.warning("%s; waiting for it", sentence)
            self._told_down = True

    @property
    def state(self) -> LinkState:
        """How the link is now."""
        age_s = self._talk.loop.time() - self._talk.heard_s
        if not self._wire.up:
            return LinkState(state=DOWN, age_s=age_s, reason=self._reason)
        if age_s < SUSPECT_S:
            return LinkState(state=UP, age_s=age_s)
        reason = f"the core at {self._place} has said nothing for {age_s:.1f} s"
        return LinkState(state=SUSPECT if age_s < DOWN_S else DOWN, age_s=age_s, reason=reason)

    async def _beat(self) -> None:
        loop = self._talk.loop
        while True:
            begun = loop.time()
            try:
                async with asyncio.timeout(PING_S):
                    pong = await self._talk.ask(Ping(request=self._talk.id()))
                if self._told_down:
                    logger.warning("the core at %s answers again", self._place)
                    self._told_down = False
                self._on_pong(pong)
                if self._wire.lost:
                    self._wire.lost = False
                    self._again()
                await asyncio.sleep(PING_S - (loop.time() - begun))
            except TimeoutError:
                self._silent()
            except EcsError as error:
                logger.debug("ping: %s", error)
                await asyncio.sleep(PING_S)
            if loop.time() - begun > PAUSE_S:
                self._again()

    def _silent(self) -> None:
        state = self.state
        if state.state == DOWN and not self._told_down:
            logger.warning("%s; waiting for it", state.reason)
            self._told_down = True
