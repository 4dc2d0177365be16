"""How late this machine is: what is timed while it is busy with other things says nothing of the daemons."""

from __future__ import annotations

import threading
import time
from types import TracebackType

STEP_S = 0.05


class Lateness:
    """Sleeps for a moment again and again, and sees how much later it wakes than it should: in a thread of its own."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due_s = float("inf")
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        """Forget what was."""
        with self._lock:
            self._worst_s = 0.0

    @property
    def worst_s(self) -> float:
        """Seconds that it was late since `begin`, at worst; what goes on counts."""
        return max(self._worst_s, time.monotonic() - self._due_s)

    def _work(self) -> None:
        while not self._over.is_set():
            self._due_s = time.monotonic() + STEP_S
            self._over.wait(STEP_S)
            with self._lock:
                self._worst_s = max(self._worst_s, time.monotonic() - self._due_s)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
