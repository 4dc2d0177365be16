"""A run as a script holds it: entering starts it, leaving stops it, and its record says how good it was."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from libecs.client.logs import Line
from libecs.client.metrics import MetricView, RunMetrics
from libecs.errors import (
    Conflict,
    EcsError,
    IllegalTransition,
    InvalidInput,
    NotFound,
    RunFailed,
    TransitionFailed,
    UsageError,
    WaitTimeout,
)
from libecs.language.duration import parse_duration
from libecs.wire.client import Lines, Metrics
from libecs.wire.info import RunInfo

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.client.environment import AsyncEnvironment
    from libecs.client.operation import Operation

POLL_S = 0.25
"""How often an `until` that asks for the time is asked when nothing happens."""
LOG_LINES = 1000
"""Lines that `run.log` keeps."""

LEFT = "USER"
"""End reason of a run whose `with` was left normally."""
BROKEN = "USER_EXCEPTION"
"""End reason of a run whose `with` was left by an exception or Ctrl-C."""
ELAPSED = "DURATION"
"""End reason of a run that had its duration."""


def seconds(duration: str | float) -> float:
    """Return a duration in seconds: a number is seconds, a text has units: `500ms`, `10s`, `30min`, `1h30m`.

    Raises:
        UsageError: it is neither, or negative.
    """
    if isinstance(duration, str):
        try:
            return parse_duration(duration.replace("min", "m"))
        except InvalidInput as error:
            raise UsageError(error.message, hint=error.hint) from None
    if not duration >= 0:
        raise UsageError(f"{duration!r} seconds is no duration", hint="a duration is not negative")
    return float(duration)


class RunView:
    """What `run.wait(until=…)` gives to its question: `lambda m: m["trigger:events"].last >= 1000`."""

    def __init__(self, run: AsyncRun, now_s: Callable[[], float], start_s: float) -> None:
        self._run, self._now_s, self._start_s = run, now_s, start_s
        self.asked_time = False
        """The question depends on the time: it must be asked again though nothing happens."""

    def __getitem__(self, key: str) -> MetricView:
        """Return a metric of the run: pattern of role paths and name. Raises UsageError."""
        return self._run.metrics[key]

    @property
    def metrics(self) -> RunMetrics:
        """All metrics of the run."""
        return self._run.metrics

    @property
    def number(self) -> int:
        """Number of the run."""
        return self._run.number

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run was started, or since this script took it over."""
        self.asked_time = True
        return self._now_s() - self._start_s


class AsyncRun:
    """One run of an environment."""

    def __init__(
        self,
        ecs: AsyncEcs,
        environment: AsyncEnvironment,
        *,
        duration: str | float | None = None,
        comment: str = "",
        tags: Mapping[str, object] | None = None,
        timeout: float | None = None,
        number: int = 0,
    ) -> None:
        self._ecs, self._environment = ecs, environment
        self._duration_s = None if duration is None else seconds(duration)
        self._comment, self._tags, self._timeout_s = comment, dict(tags or {}), timeout
        self._tagging: Operation | None = None
        self._adopted = number != 0
        self._start_s = 0.0
        self._timer: asyncio.Task[None] | None = None
        self._timer_stops = False
        self.number = number
        """Run number; 0 before the start."""
        self.record: RunInfo | None = None
        """The run's record, once it has ended."""
        self.watched = environment.id
        self.wants_metrics = False
        self.wants_lines = False
        self._before = 0
        self._paths: tuple[str, ...] = ()
        self._metrics = RunMetrics()
        self._lines: deque[Line] = deque(maxlen=LOG_LINES)

    @property
    def metrics(self) -> RunMetrics:
        """What its tasks tell: `run.metrics["trigger:rate"].mean`; once it has ended, from its record.

        While it goes on, figures come from the first look on, once a second; `await refresh()` brings all at once.
        """
        if self.record is None and not self.wants_metrics and self.number:
            self.wants_metrics = True
            self._ecs.watch(self)
        return self._metrics

    async def metrics_now(self) -> RunMetrics:
        """Return its metrics as the core knows them now, or, once it has ended, from its record."""
        if self.record is None:
            await self.refresh()
        return self._metrics

    @property
    def log(self) -> tuple[Line, ...]:
        """The last lines that its tasks wrote in it, at most 1000. The last second of them may come a moment later."""
        return tuple(line for line in self._lines if line.run == self.number)

    def take_metrics(self, message: Metrics) -> None:
        """Take figures of the core."""
        if message.run == self.number and self.record is None:
            self._metrics.take(message.metrics)

    def take_lines(self, message: Lines) -> None:
        """Take lines of the core."""
        if message.run == self.number or (not self.number and message.run > self._before):
            self._lines.extend(Line.of(line, message.run) for line in message.lines)

    @property
    def condition(self) -> str:
        """GOOD, DEGRADED or FAILED once the run has ended, UNDEFINED before."""
        return self.record.condition.name if self.record else "UNDEFINED"

    @property
    def end_reason(self) -> str:
        """Why the run ended, "" before."""
        return self.record.end_reason if self.record else ""

    @property
    def going(self) -> bool:
        """Is the run going on, as far as we know?"""
        try:
            info = self._environment.info
        except NotFound:
            return False
        return info.state.name == "RUNNING" and info.run_number == self.number

    @property
    def ended(self) -> bool:
        """Is it over, with everything that the core does at the end of a run or on the way to ERROR?"""
        try:
            return self._environment.info.run_number != self.number
        except NotFound:
            return True

    def __repr__(self) -> str:
        return f"<run {self.number} {'going on' if self.going else self.condition}>"

    async def start(self) -> None:
        """Start the run; configure the environment first if it is not CONFIGURED.

        Raises:
            RunFailed: the run did not start.
        """
        environment = self._environment
        await environment.check()
        self._before = before = environment.info.last_run_number
        await self._watch()
        try:
            if environment.state == "STANDBY":
                await environment.control("DEPLOY", timeout=self._timeout_s)
            if environment.state == "DEPLOYED":
                await environment.control("CONFIGURE", timeout=self._timeout_s)
            await self._start()
        except TransitionFailed as error:
            environment.told()
            await environment.settle()
            if environment.info.last_run_number != before:
                self.number = environment.info.last_run_number
                await self.refresh()
            raise as_run_failure(error) from None
        self._begin()

    async def _watch(self) -> None:
        """Listen from before the start: the first lines are told before we know the run's number."""
        self._paths = await self._environment.task_paths()
        self._metrics = RunMetrics(self._paths)
        self.wants_lines = True
        self._ecs.watch(self)

    async def _start(self) -> None:
        operation = self._ecs.control(self._environment.id, "START_ACTIVITY", comment=self._comment)
        try:
            finished = await self._ecs.finish(operation, self._timeout_s)
            self.number = finished.run_number
            await self._environment.settle(finished.state)
        except asyncio.CancelledError:
            # Ctrl-C while the core starts the run: it cannot be called back, so it is ended when it has begun.
            with contextlib.suppress(EcsError):
                self.number = (await self._ecs.finish(operation)).run_number
                await self._environment.settle()
                await self.stop(BROKEN)
            raise

    def _begin(self) -> None:
        if self._tags:
            self._tagging = self._ecs.annotation(self.number, "", self._tags)
        loop = asyncio.get_running_loop()
        self._start_s = loop.time()
        if self._duration_s is not None:
            self._timer = loop.create_task(self._end_at_duration(self._duration_s))

    async def _end_at_duration(self, duration_s: float) -> None:
        if not await self._ecs.until(lambda: not self.going, duration_s):
            self._timer_stops = True
            with contextlib.suppress(EcsError):  # whoever waits is told by the state of the environment
                await self._ecs.finish(self._ecs.control(self._environment.id, "STOP_ACTIVITY", end_reason=ELAPSED))

    async def stop(self, end_reason: str = LEFT) -> None:
        """Stop the run, if it still goes on, and fetch its record.

        Raises:
            RunFailed: the run broke, or it did not stop as it should.
            Denied: its tags may not be written.
        """
        if not self.number:
            return  # it was never started
        if self.going:
            self._ecs.warn_if_away(f"run {self.number} is stopped when it is back; Ctrl-C lets it go on")
            operation = self._ecs.control(self._environment.id, "STOP_ACTIVITY", end_reason=end_reason)
            try:
                await self._ecs.finish(operation, self._timeout_s)
            except TransitionFailed as error:
                self._environment.told()
                await self.refresh()
                raise as_run_failure(error) from None
            except (Conflict, IllegalTransition):
                pass  # somebody else stops it already
        await self._ecs.until(lambda: self.ended, self._timeout_s)
        tagging, self._tagging = self._tagging, None
        try:
            if tagging is not None:
                await self._ecs.finish(tagging, self._timeout_s)
        finally:
            await self.refresh()
            await self._environment.check()

    async def refresh(self) -> RunInfo | None:
        """Ask for the run's record: while it goes on, how it is so far. None: there is none, or not yet."""
        if not self.number:
            return None
        try:
            record = await self._ecs.run_record(self.number)
        except NotFound:
            return self.record
        self._metrics = RunMetrics(self._paths, record.metrics)
        if self.ended:
            self.record = record
            if self.wants_metrics:
                self.wants_metrics = False
                self._ecs.watch(self)
        return record

    async def wait(self, timeout: str | float | None = None, *, until: Callable[[RunView], bool] | None = None) -> None:
        """Wait until the run has ended, by its duration or by somebody, or until `until(view)` is true.

        `until` is asked whenever something changes: the environment, its tasks, a metric; and four times a second
        if it asks for `elapsed_s`. `view["trigger:events"]` is a metric: see `RunMetrics`.

        Raises:
            RunFailed: the environment went to ERROR.
            WaitTimeout: after `timeout`; the run goes on.
            UsageError: `until` asked for a metric of no task, or the run was never started.
        """
        if not self.number:
            raise UsageError("this run was not started", hint="write `with env.run() as run:`, and wait inside")
        loop = asyncio.get_running_loop()
        view = RunView(self, loop.time, self._start_s)
        timeout_s = None if timeout is None else seconds(timeout)

        def over() -> bool:
            return self.ended or (until is not None and bool(until(view)))

        def poll_s() -> float | None:
            return POLL_S if view.asked_time else None

        if not await self._ecs.until(over, timeout_s, poll_s=poll_s):
            raise WaitTimeout(f"run {self.number} still goes on after {timeout_s:g} s")
        if self.ended:
            await self.refresh()
            await self._environment.check()

    async def __aenter__(self) -> AsyncRun:
        if self._adopted:
            await self._watch()
            self._begin()
        elif self.number:
            raise UsageError(f"run {self.number} was started before", hint="env.run() makes another one")
        else:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            if not self._timer_stops:
                self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        try:
            await self.stop(LEFT if error is None else BROKEN)
        except EcsError:
            if error is None:
                raise
            # The script's own exception goes on; the environment keeps the error that it is in.


def as_run_failure(error: TransitionFailed) -> RunFailed:
    """Return the error as the one that scripts expect around a run."""
    if isinstance(error, RunFailed):
        return error
    return RunFailed(error.message, cause=error.cause, failures=error.failures, hint=error.hint)
