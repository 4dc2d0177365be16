"""Follow the output files of a node's tasks. It is woken by writes, and by nothing else: silent tasks cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from libecs.engine.effects import Input, Output
from libecs.io.inotify import Inotify
from libecs.io.tail import Tail

logger = logging.getLogger(__name__)

PERIOD_S = 0.2
"""A task that writes without a pause is read this often."""
FIRST_S = 0.02
"""From the first write after a pause until it is read: a few lines come at once."""
SLOWEST_S = 2.0
"""Where the kernel tells nothing, silent files are looked at this often."""
LINES_PER_S = 1000.0
"""Of one task; more are passed over and counted."""
_MAX_TURN_S = 0.005


@attrs.define(eq=False)
class _Followed:
    """One task."""

    task: str
    folder: Path
    tails: tuple[Tail, ...]
    watch: int = -1
    room: float = LINES_PER_S
    filled_at: float = 0.0
    """Monotonic time as of which `room` is meant."""


class Tails:
    """The outputs of one node's tasks. All methods are for the event loop's thread."""

    def __init__(self, put: Callable[[Input], None]) -> None:
        """Call inside of a running event loop. `put` takes Output."""
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._followed: dict[str, _Followed] = {}
        self._by_watch: dict[int, _Followed] = {}
        self._polled: dict[_Followed, None] = {}
        self._poll_s = PERIOD_S
        self._dirty: dict[_Followed, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
            self._loop.add_reader(self._inotify.fileno(), self._told)
        except OSError as error:
            logger.warning("outputs of tasks are looked for by polling: %s", error)

    def follow(self, task: str, folder: Path, streams: Iterable[str], *, from_end: bool = False) -> None:
        """Tell what a task writes to files of these names in `folder` from now on, or from their beginning."""
        self.drop(task)
        tails = tuple(Tail(path=folder / stream, stream=stream) for stream in streams)
        if not tails:
            return
        if from_end:
            for tail in tails:
                tail.to_end()
        one = self._followed[task] = _Followed(task, folder, tails, filled_at=time.monotonic())
        self._watch(one)

    def finish(self, task: str) -> None:
        """Tell the rest of what a task wrote: it has ended."""
        one = self._followed.get(task)
        if one is not None:
            self._read(one, last=True)
            self.drop(task)

    def drop(self, task: str) -> None:
        """Follow a task no more."""
        one = self._followed.pop(task, None)
        if one is None:
            return
        self._dirty.pop(one, None)
        self._polled.pop(one, None)
        if one.watch >= 0 and self._inotify is not None:
            del self._by_watch[one.watch]
            self._inotify.unwatch(one.watch)

    def close(self) -> None:
        """Follow nobody any more."""
        for task in list(self._followed):
            self.drop(task)
        for timer in (self._timer, self._poll_timer):
            if timer is not None:
                timer.cancel()
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    # being told

    def _watch(self, one: _Followed) -> None:
        """Have the kernel tell of the next write; else look from time to time."""
        if self._inotify is not None:
            try:
                one.watch = self._inotify.watch(one.folder)
                self._by_watch[one.watch] = one
                return
            except FileNotFoundError:
                return  # nothing is written to a folder that is gone
            except OSError as error:
                if not self._polled:
                    logger.warning("outputs of some tasks are looked for by polling: %s", error)
        self._polled[one] = None
        self._poll_s = PERIOD_S
        self._arm_poll()

    def _told(self) -> None:
        assert self._inotify is not None
        told, lost = self._inotify.read()
        for number in self._by_watch.copy() if lost else told:
            one = self._by_watch.pop(number, None)
            if one is not None:
                one.watch = -1
                if lost:
                    self._inotify.unwatch(number)
                self._dirty[one] = None
        self._arm()

    def _arm(self) -> None:
        if self._dirty and self._timer is None:
            delay_s = max(FIRST_S, self._next - time.monotonic())
            self._timer = self._loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        """Read those who wrote, for a moment; the others come in the next turn."""
        self._timer = None
        began = time.monotonic()
        while self._dirty:
            one = next(iter(self._dirty))
            del self._dirty[one]
            self._watch(one)  # before reading: what is written meanwhile is told again
            self._read(one)
            if time.monotonic() - began > _MAX_TURN_S:
                break
        if self._dirty:
            self._timer = self._loop.call_later(0, self._turn)
        else:
            self._next = began + PERIOD_S

    # looking

    def _arm_poll(self) -> None:
        if self._poll_timer is None and self._polled:
            self._poll_timer = self._loop.call_later(self._poll_s, self._poll)

    def _poll(self) -> None:
        self._poll_timer = None
        news = [self._read(one) for one in list(self._polled)]
        self._poll_s = PERIOD_S if any(news) else min(SLOWEST_S, 2 * self._poll_s)
        self._arm_poll()

    # reading

    def _read(self, one: _Followed, *, last: bool = False) -> bool:
        """Tell what is new; return whether there was anything."""
        now = time.monotonic()
        one.room = min(LINES_PER_S, one.room + (now - one.filled_at) * LINES_PER_S)
        one.filled_at = now
        found, dropped = [], 0
        for tail in one.tails:
            with contextlib.suppress(OSError):
                lines, passed = tail.read(int(one.room), time.time_ns() // 1_000_000, last=last)
                one.room -= len(lines)
                found += lines
                dropped += passed
        if found or dropped:
            self._put(Output(task=one.task, lines=tuple(found), dropped=dropped))
        return bool(found or dropped)
