"""Serve the calls of call roles: by functions of our own, and by those of a file (`integrations_file`)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import attrs

from libecs.engine.effects import Call, CallDone, CancelCall, Input
from libecs.errors import EcsError

logger = logging.getLogger(__name__)

KEPT = 1000
"""Calls that are remembered; the file of records has them all."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What a function answers."""

    value: str = ""
    error: str = ""
    """Not empty: the call fails, for this reason."""
    delay_s: float | None = 0.0
    """Seconds until the answer; None = it never comes."""
    sets: Mapping[str, str] = attrs.field(factory=dict)


Handler = Callable[[Call], Outcome]
"""Serves one function. It decides at once; what takes time is said by `delay_s`."""


@attrs.frozen(kw_only=True)
class CallRecord:
    """One call that was made."""

    number: int
    """In the order in which calls began, from 1."""
    moment: str
    await_moment: str
    function: str
    arguments: tuple[str, ...]
    role: str
    environment: str
    run_number: int
    begun_ms: int
    ended_ms: int = 0
    """0: not yet."""
    ok: bool = False
    value: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class Functions:
    """Functions that call roles may name, and where they are from, for messages."""

    place: str
    handlers: Mapping[str, Handler]
    texts: Mapping[str, str] = attrs.field(factory=dict)
    """What they give when a template calls them while it is expanded."""


class Integrations:
    """Performs Call and CancelCall, and keeps a record of each call."""

    def __init__(
        self,
        put: Callable[[Input], None],
        functions: list[Functions],
        *,
        record: Path | None = None,
        unix_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            put: takes CallDone.
            functions: looked through in this order.
            record: file that gets a JSON line per call when it has ended; appended to.
            unix_ms: the clock of the records.

        Raises:
            EcsError: `record` cannot be written.
        """
        self._put = put
        self._functions = functions
        self._unix_ms = unix_ms
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, tuple[CallRecord, asyncio.TimerHandle | None]] = {}
        self._count = 0
        self.records: deque[CallRecord] = deque(maxlen=KEPT)
        """The last calls that have ended, in the order of their ends."""
        self._file: IO[str] | None = None
        if record is not None:
            try:
                self._file = open(record, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
            except OSError as error:
                raise EcsError(f"{record} cannot be written: {error.strerror}") from error

    def call(self, effect: Call) -> None:
        """Begin a call; CallDone follows, unless its function never answers."""
        outcome = self._decide(effect)
        self._count += 1
        record = CallRecord(
            number=self._count,
            moment=effect.moment,
            await_moment=effect.await_moment,
            function=effect.function,
            arguments=effect.arguments,
            role=effect.role,
            environment=effect.environment,
            run_number=effect.run_number,
            begun_ms=self._unix_ms(),
        )
        if outcome.delay_s is None:
            self._running[effect.call] = record, None
        elif outcome.delay_s > 0:
            timer = self._loop.call_later(outcome.delay_s, self._finish, effect.call, outcome)
            self._running[effect.call] = record, timer
        else:
            self._running[effect.call] = record, None
            self._finish(effect.call, outcome)

    def cancel(self, effect: CancelCall) -> None:
        """Give a call up: no CallDone will come."""
        self._give_up(effect.call, "cancelled")

    def close(self) -> None:
        """Give up all calls and close the record."""
        for name in list(self._running):
            self._give_up(name, "not finished")
        if self._file is not None:
            self._file.close()
            self._file = None

    def _decide(self, effect: Call) -> Outcome:
        for functions in self._functions:
            handler = functions.handlers.get(effect.function)
            if handler is None:
                continue
            try:
                return handler(effect)
            except Exception as error:  # at the border to somebody else's code
                logger.exception("integration function %s failed", effect.function)
                return Outcome(error=f"{type(error).__name__}: {error}")
        known = "; ".join(
            f"{functions.place} has {', '.join(sorted(functions.handlers)) or 'none'}" for functions in self._functions
        )
        return Outcome(error=f"no integration serves {effect.function}: {known or 'none is loaded'}")

    def _finish(self, name: str, outcome: Outcome) -> None:
        record, _ = self._running.pop(name)
        ok = not outcome.error
        self._write(record, ok, outcome.value, outcome.error)
        sets = dict(outcome.sets) if ok else {}
        self._put(CallDone(call=name, ok=ok, value=outcome.value, error=outcome.error, sets=sets))

    def _give_up(self, name: str, reason: str) -> None:
        record, timer = self._running.pop(name, (None, None))
        if timer is not None:
            timer.cancel()
        if record is not None:
            self._write(record, False, "", reason)

    def _write(self, begun: CallRecord, ok: bool, value: str, error: str) -> None:
        record = attrs.evolve(begun, ended_ms=self._unix_ms(), ok=ok, value=value, error=error)
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.dumps(attrs.asdict(record), ensure_ascii=False) + "\n")
            self._file.flush()
