"""The agenda: simulated time, and what happens when."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from libecs.engine.effects import Now

UNIX_START_MS = 1_750_000_000_000
"""Where the simulated wall clock begins; any date does, but always the same."""


class Agenda:
    """Events in order of time; equal times in the order in which they were entered."""

    def __init__(self) -> None:
        self.mono_s = 0.0
        self.wall_offset_ms = 0
        """How far the wall clock was put forward or back."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._entered = 0

    @property
    def now(self) -> Now:
        """Both clocks, as an engine gets them."""
        return Now(self.mono_s, UNIX_START_MS + self.wall_offset_ms + int(self.mono_s * 1000))

    @property
    def next_s(self) -> float | None:
        """When the next thing happens."""
        return self._heap[0][0] if self._heap else None

    def at(self, mono_s: float, action: Callable[[], None]) -> None:
        """Do `action` at a time; a time that has passed means next."""
        self._entered += 1
        heapq.heappush(self._heap, (max(mono_s, self.mono_s), self._entered, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do `action` after a delay of seconds."""
        self.at(self.mono_s + delay_s, action)

    def step(self) -> bool:
        """Do what comes next. False: there is nothing."""
        if not self._heap:
            return False
        self.mono_s, _, action = heapq.heappop(self._heap)
        action()
        return True

    def run_until(self, mono_s: float) -> None:
        """Do all that happens until a time, then set the clock to it."""
        while self._heap and self._heap[0][0] <= mono_s:
            self.step()
        self.mono_s = max(self.mono_s, mono_s)
