"""Deadlines of an engine, in one heap."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timers:
    """Actions that are due at monotonic times. An action must check that it is still wanted."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def next(self) -> float | None:
        """When the next action is due."""
        return self._heap[0][0] if self._heap else None

    def at(self, due: float, action: Callable[[], None]) -> None:
        """Run `action` once `due` has passed."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, action))

    def run(self, now: float) -> None:
        """Run all that is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()

    def shift(self, seconds: float) -> None:
        """Put everything off: we were stopped, not the world."""
        self._heap = [(due + seconds, n, action) for due, n, action in self._heap]
