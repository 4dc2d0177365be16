"""Drive one engine on an asyncio event loop, by the rules 1 to 5 of `libecs.engine.effects`.

No coroutine runs per message: inputs are put into a queue, one `call_soon` per tick empties it. Everything here happens
in the thread of the event loop, except `put_threadsafe`.

    put ─► queue ─► handle … handle ─► audit lines ─► ONE commit ─► performers, in order ─► put
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from libecs.engine.effects import Audit, Continue, Effect, Engine, Input, Journal, Now, Persist, Resume, Tick
from libecs.wire.info import Event

logger = logging.getLogger(__name__)

MAX_INPUTS = 256
"""Inputs of one tick; the rest waits for the next, so that other users of the event loop are not starved."""
MAX_TICK_S = 0.005
"""A tick takes no further input after this many seconds."""

Performer = Callable[[Any], None]
"""Performs one effect, at once or by starting something. It never blocks, and never enters the engine."""


class Store(Protocol):
    """Where records and events go."""

    def commit(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
        """Write all of it or nothing, durably. Raises when it could not."""


class NoStore:
    """A store for engines that keep nothing."""

    def commit(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
        """Forget it."""


Auditor = Callable[[Sequence[Audit], int], None]
"""Writes lines to the audit log, durably; the number is the time of the tick in unix milliseconds. Raises when it could
not."""


def no_audit(lines: Sequence[Audit], unix_ms: int) -> None:
    """Keep no audit log: who uses a control system inside of his own process needs none."""


def read_clocks() -> Now:
    """Read both clocks of this machine."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


def ignore_fatal(error: BaseException) -> None:
    """Do no more than what the loop does by itself: log and stop."""


class EngineLoop:
    """The one who drives an engine.

    It is *stopped* by `stop` or by a fatal error: a commit that failed, an exception out of the engine or out of a
    performer. Then it takes no more input; `failure` says why.
    """

    def __init__(
        self,
        engine: Engine,
        performers: Mapping[type, Performer],
        *,
        store: Store | None = None,
        audit: Auditor = no_audit,
        clocks: Callable[[], Now] = read_clocks,
        on_fatal: Callable[[BaseException], None] = ignore_fatal,
        name: str = "engine",
    ) -> None:
        """Call inside of a running event loop. `on_fatal` is called once, from the event loop's thread."""
        self.engine = engine
        self.name = name
        self.failure: BaseException | None = None
        self.ticks = 0
        """How many ticks were completed: a loop that lives goes on counting."""
        self.commit_failed = False
        """Whether `failure` is a commit, or its audit lines, that could not be written."""
        self.last_commit_s = 0.0
        self.total_commit_s = 0.0
        """Seconds that commits took."""
        self.commits = 0
        self._performers = dict(performers)
        self._performers.setdefault(Continue, lambda _effect: self.put(Resume()))
        self._store: Store = store or NoStore()
        self._audit = audit
        self._clocks = clocks
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._inputs: deque[Input] = deque()
        self._scheduled = False
        self._stopped = False
        self._in_tick = False
        self._gathering = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._deadline: float | None = None
        """Of the engine, after the last tick."""
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._first: Callable[[Now], Sequence[Effect]] | None = None

    @property
    def stopped(self) -> bool:
        """Whether it takes no more input."""
        return self._stopped

    def start(self, first: Callable[[Now], Sequence[Effect]] | None = None) -> None:
        """Begin. `first` gives the effects with which the engine's life begins, before any input is handled."""
        self._first = first
        self._schedule()

    def put(self, input: Input) -> None:
        """Queue one input. Only from the event loop's thread; inside of a tick too. Ignored once stopped."""
        if not self._stopped:
            self._inputs.append(input)
            if not self._gathering:
                self._schedule()

    def gather(self, more: bool) -> None:
        """Take what comes together as one: after `gather(True)` inputs wait for `gather(False)`, which handles them.

        Only from the event loop's thread, not inside of a tick, and both in one turn. A question whose answer leaves in
        the turn in which it came is answered earlier, and costs one turn less.
        """
        self._gathering = more
        if not more and self._inputs and not self._scheduled:
            self._run_tick()

    def nudge(self) -> None:
        """Make a tick come, if only an empty one: who watches whether the loop lives waits for `ticks` to grow."""
        self._schedule()

    def put_threadsafe(self, input: Input) -> bool:
        """Queue one input from any thread. Returns False if nobody takes it any more."""
        if self._stopped:
            return False
        try:
            self._loop.call_soon_threadsafe(self.put, input)
        except RuntimeError:  # the event loop is closed
            return False
        return True

    def stop(self) -> None:
        """Take no more input, drop what waits."""
        self._stopped = True
        self._inputs.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_idle_waiters()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued and no tick is going on. A timer may be armed."""
        return self._stopped or not (self._inputs or self._scheduled or self._in_tick)

    async def idle(self) -> None:
        """Wait until nothing is queued: for tests. What performers have under way elsewhere is not counted."""
        while not self.is_idle:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._idle_waiters.append(waiter)
            await waiter

    def _schedule(self) -> None:
        if not (self._scheduled or self._stopped):
            self._scheduled = True
            self._loop.call_soon(self._run_tick)

    def _run_tick(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        self._in_tick = True
        try:
            self._tick()
            self.ticks += 1
        except Exception as error:
            self._fail(error)
        finally:
            self._in_tick = False
        if not self._stopped:
            if self._inputs:
                self._schedule()
            self._arm_timer()
            if self.is_idle:
                self._wake_idle_waiters()

    def _tick(self) -> None:
        now = self._clocks()
        others = self._decide(now)
        for effect in others:
            if self._stopped:
                return
            self._performers[type(effect)](effect)

    def _decide(self, now: Now) -> list[Effect]:
        """Handle what waits, commit, return the effects that are left to perform."""
        records: dict[tuple[str, str], Persist] = {}
        events: list[Event] = []
        others: list[Effect] = []
        lines: list[Audit] = []
        stop_at = time.perf_counter() + MAX_TICK_S
        if self._first is not None:
            first, self._first = self._first, None
            self._sort(first(now), records, events, lines, others)
        for number in range(MAX_INPUTS):
            if not self._inputs or (number and time.perf_counter() > stop_at):
                break
            self._sort(self.engine.handle(self._inputs.popleft(), now), records, events, lines, others)
        # After the inputs: a keepalive that waits in the queue must count before the deadline that it meets.
        self._deadline = deadline = self.engine.next_deadline
        if deadline is not None and deadline <= now.mono_s:
            self._sort(self.engine.handle(Tick(), now), records, events, lines, others)
            self._deadline = self.engine.next_deadline
        if records or events or lines:
            self._commit(records, events, lines, now)
        return others

    def _commit(
        self, records: Mapping[tuple[str, str], Persist], events: Sequence[Event], lines: Sequence[Audit], now: Now
    ) -> None:
        begun = time.perf_counter()
        try:
            if lines:
                self._audit(lines, now.unix_ms)
            if records or events:
                self._store.commit(list(records.values()), events)
        except Exception:
            self.commit_failed = True
            raise
        self.last_commit_s = time.perf_counter() - begun
        self.total_commit_s += self.last_commit_s
        self.commits += 1

    @staticmethod
    def _sort(
        effects: Sequence[Effect],
        records: dict[tuple[str, str], Persist],
        events: list[Event],
        lines: list[Audit],
        others: list[Effect],
    ) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                records[effect.table, effect.key] = effect
            elif isinstance(effect, Journal):
                events.append(effect.event)
            elif isinstance(effect, Audit):
                lines.append(effect)
            else:
                others.append(effect)

    def _arm_timer(self) -> None:
        """Make sure that a tick comes at the engine's deadline.

        A timer that is due earlier than needed is left alone: it comes, finds nothing, and arms again. That spares a
        cancelled timer per keepalive.
        """
        deadline = self._deadline
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer_due <= deadline:
                return
            self._timer.cancel()
        self._timer_due = deadline
        delay_s = max(0.0, deadline - self._clocks().mono_s)
        self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._schedule()

    def _fail(self, error: Exception) -> None:
        logger.critical("%s stops: %s", self.name, error, exc_info=error)
        self.failure = error
        self.stop()
        self._on_fatal(error)

    def _wake_idle_waiters(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
