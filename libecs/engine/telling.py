"""What a step has told its nodes, and when it tells them again.

A command is repeated until it is answered, because links may lose it. Repetitions must not get in the way of what is
said for the first time, nor of the answers: with thousands of nodes the first round takes seconds. So the clock of a
step starts when its last node has been told, and it strikes less and less often.
"""

from __future__ import annotations

import attrs

FIRST_S = 1.0
"""Seconds without an answer until commands are repeated."""
LONGEST_S = 8.0
"""Each time it takes twice as long, up to this."""


@attrs.define(kw_only=True)
class Telling:
    """The commands of one step."""

    interval_s: float = FIRST_S
    unsent: int = 0
    """Messages that wait for their turn."""
    told: dict[str, float] = attrs.field(factory=dict)
    """Node to the monotonic time at which it was told last, or will be."""
    again_at: float | None = None
    """When to look for those that have not answered; None while messages wait for their turn."""

    def waits(self, now: float) -> None:
        """Begin to wait for answers, unless messages wait for their turn."""
        self.again_at = None if self.unsent else now + self.interval_s

    def is_due(self, node: str, now: float) -> bool:
        """Whether a node that has not answered is told (again) now."""
        told = self.told.get(node)
        return told is None or now >= told + self.interval_s - 1e-6

    def longer(self) -> None:
        """From now on wait longer for answers."""
        self.interval_s = min(2 * self.interval_s, LONGEST_S)

    def queued(self, node: str) -> None:
        """A message for a node begins to wait for its turn."""
        self.unsent += 1
        self.told[node] = float("inf")
        self.again_at = None

    def sent(self, node: str, now: float) -> None:
        """A message that waited has been sent, or needs not be sent any more."""
        self.unsent -= 1
        self.told[node] = now
        self.waits(now)
