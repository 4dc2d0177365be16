"""The agenda: simulated time, and what happens when."""

from __future__ import annotations

import heapq
import sys
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
        self._entered = entered = self._entered + 1
        now = self.mono_s
        heapq.heappush(self._heap, (mono_s if mono_s > now else now, entered, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do `action` after a delay of seconds, which is not negative."""
        self._entered = entered = self._entered + 1
        heapq.heappush(self._heap, (self.mono_s + delay_s, entered, action))

    def step(self) -> bool:
        """Do what comes next. False: there is nothing."""
        if not self._heap:
            return False
        self.mono_s, _, action = heapq.heappop(self._heap)
        action()
        return True

    def run_until(self, mono_s: float, steps: int = sys.maxsize) -> int:
        """Do all that happens until a time, then set the clock to it; return the number of things done.

        After that many steps it stops where it is: who wants more comes again.
        """
        heap, pop = self._heap, heapq.heappop
        done = 0
        while heap and heap[0][0] <= mono_s:
            if done == steps:
                return done
            done += 1
            self.mono_s, _, action = pop(heap)
            action()
        self.mono_s = max(self.mono_s, mono_s)
        return done
