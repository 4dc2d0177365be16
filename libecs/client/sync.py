"""The objects of a script without asyncio: the same as in `ecs.py`, each call made in the thread of one event loop.

That thread is the only one that Python owns. A script may block, sleep or live inside a running event loop (a
notebook): the engines go on meanwhile. Ctrl-C interrupts the wait in the script, not the engines.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from libecs.client.ecs import AsyncEcs
from libecs.client.environment import AsyncEnvironment
from libecs.client.logs import Line
from libecs.client.metrics import RunMetrics
from libecs.client.reader import Reader
from libecs.client.run import BROKEN, LEFT, AsyncRun, RunView
from libecs.client.taskset import TaskSet
from libecs.errors import Conflict
from libecs.script import ScriptWorkflow
from libecs.wire.client import EnvironmentInfo, Event, RunInfo
from libecs.wire.telemetry import Severity

T = TypeVar("T")


class Bridge:
    """One event loop in a thread of its own, and calls into it."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="libecs-loop", daemon=True)
        self._thread.start()

    @property
    def foreign(self) -> bool:
        """Whether this process is a fork of the one that owns the loop."""
        return os.getpid() != self._pid

    @property
    def closed(self) -> bool:
        """Whether no call can be made any more."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, return its result. An interrupt cancels it and waits until it has cleaned up.

        Raises:
            Conflict: this process is a fork of the one that owns the loop, or the session is closed.
        """
        if self.foreign:
            coroutine.close()
            raise Conflict(
                f"this session belongs to process {self._pid}, of which this one is a fork",
                hint="make a session of its own in each process, after the fork",
            )
        if self.closed:
            coroutine.close()
            raise Conflict("this session is closed", hint="use it inside its `with`")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise Conflict("a call from inside the session's own loop would wait for itself", hint="use `await` there")
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda task: _hand_over(task, outcome))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:  # the interrupt came before `begin` was in the queue
                coroutine.close()
                outcome.set_exception(_Cancelled())

        try:
            self._loop.call_soon_threadsafe(begin)
            return outcome.result()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(cancel)
            outcome.exception()  # waits until the coroutine has cleaned up; a second Ctrl-C ends this wait too
            raise
        except _Cancelled:
            raise Conflict("the session was closed while this call waited") from None

    def close(self) -> None:
        """Stop the loop and its thread."""
        if self.foreign or self.closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Cancelled(Exception):
    """A call was cancelled. Not CancelledError: a Future that is given one forgets who cancelled it."""


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    """Give the end of a task to the thread that waits for it."""
    if task.cancelled():
        outcome.set_exception(_Cancelled())
        return
    error = task.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


class Ecs:
    """A control system: its environments and runs."""

    def __init__(self, bridge: Bridge, inner: AsyncEcs) -> None:
        self._bridge, self._inner = bridge, inner

    def environment(
        self,
        workflow: str | ScriptWorkflow,
        vars: Mapping[str, object] | None = None,
        *,
        name: str = "",
        target: str = "CONFIGURED",
        keep: bool = False,
        reuse: bool = False,
        timeout: float | None = None,
    ) -> Environment:
        """Make an environment now; in `with`, it is destroyed at the end. The arguments are those of AsyncEcs."""

        async def make() -> AsyncEnvironment:
            return await self._inner.environment(
                workflow, vars, name=name, target=target, keep=keep, reuse=reuse, timeout=timeout
            )

        return Environment(self._bridge, self._inner, self._bridge.call(make()))

    def get(self, environment: str) -> Environment:
        """Return the environment with this id or name. Raises NotFound."""
        return Environment(self._bridge, self._inner, self._bridge.call(self._inner.get(environment)))

    def environments(self) -> list[Environment]:
        """Return all environments, the oldest first."""
        found = self._bridge.call(self._inner.environments())
        return [Environment(self._bridge, self._inner, environment) for environment in found]

    def runs(self, limit: int = 100) -> tuple[RunInfo, ...]:
        """Return the records of the last runs, in the order of their numbers."""
        return self._bridge.call(self._inner.runs(limit))

    def run_record(self, number: int) -> RunInfo:
        """Return the record of one run. Raises NotFound."""
        return self._bridge.call(self._inner.run_record(number))

    def events(self, environment: str = "") -> Iterator[Event]:
        """Yield events from now on, waiting for each; ends with the session."""

        async def begin() -> Reader[Event]:
            return self._inner.events(environment)

        return _iterate(self._bridge, self._bridge.call(begin()))

    def logs(
        self, tasks: str = "**", severity: str | Severity = Severity.INFO, environment: str = ""
    ) -> Iterator[Line]:
        """Yield the lines that tasks write from now on, waiting for each. Arguments and errors as of AsyncEcs.logs."""

        async def begin() -> Reader[Line]:
            return self._inner.logs(tasks, severity, environment)

        return _iterate(self._bridge, self._bridge.call(begin()))


class Environment:
    """One environment: a workflow's tasks, deployed and controlled together."""

    def __init__(self, bridge: Bridge, ecs: AsyncEcs, inner: AsyncEnvironment) -> None:
        self._bridge, self._ecs, self._inner = bridge, ecs, inner

    @property
    def id(self) -> str:
        """Its id."""
        return self._inner.id

    @property
    def info(self) -> EnvironmentInfo:
        """What is known now, without tasks and roles. Raises NotFound when the environment is gone."""
        return self._inner.info

    @property
    def state(self) -> str:
        """Name of the state; DONE when the environment is gone."""
        return self._inner.state

    @property
    def keep(self) -> bool:
        """Do not destroy it when its `with` is left."""
        return self._inner.keep

    @keep.setter
    def keep(self, keep: bool) -> None:
        self._inner.keep = keep

    def __repr__(self) -> str:
        return repr(self._inner)

    def show(self) -> EnvironmentInfo:
        """Ask the core for everything about it: roles, tasks, cause of an error."""
        return self._bridge.call(self._inner.show())

    def tasks(self, glob: str = "**") -> TaskSet[None]:
        """Return the tasks whose role path matches: `*` is one element, `**` any number, `flp*` a part of one.

        `env.tasks("**.dut").reconfigure(values)` changes their properties.
        """
        return TaskSet.of(self.show().tasks, glob, self.reconfigure)

    def events(self) -> Iterator[Event]:
        """Yield its events from now on, waiting for each."""
        return Ecs(self._bridge, self._ecs).events(self._inner.id)

    def logs(self, tasks: str = "**", severity: str | Severity = Severity.INFO) -> Iterator[Line]:
        """Yield the lines that its tasks write from now on, waiting for each: those of some tasks, not too harmless."""
        return Ecs(self._bridge, self._ecs).logs(tasks, severity, self._inner.id)

    def reconfigure(self, values: Mapping[str, object], tasks: str = "**", *, timeout: float | None = None) -> None:
        """Change properties of its tasks while it is CONFIGURED. Arguments and errors as of AsyncEnvironment."""
        self._bridge.call(self._inner.reconfigure(values, tasks, timeout=timeout))

    def control(self, event: str, *, comment: str = "", timeout: float | None = None) -> str:
        """Send an event, wait for its end, return the new state. Raises as AsyncEnvironment.control does."""
        return self._bridge.call(self._inner.control(event, comment=comment, timeout=timeout))

    def recover(self, *, timeout: float | None = None) -> str:
        """Bring it from ERROR back to DEPLOYED: dead tasks are launched again, live ones reset."""
        return self._bridge.call(self._inner.recover(timeout=timeout))

    def destroy(self, *, force: bool = False, allow_running: bool = False, timeout: float | None = None) -> None:
        """End it and its tasks. Raises Conflict if it is RUNNING and neither `force` nor `allow_running` is given."""
        self._bridge.call(self._inner.destroy(force=force, allow_running=allow_running, timeout=timeout))

    def wait(self, state: str, *, timeout: float | None = None) -> None:
        """Wait until it is in a state. Raises RunFailed (it is in ERROR instead) or WaitTimeout."""
        self._bridge.call(self._inner.wait(state, timeout=timeout))

    def run(self, *, duration: str | float | None = None, comment: str = "", timeout: float | None = None) -> Run:
        """Take a run: `with env.run(duration="10s") as run: run.wait()`. Leaving it stops the run."""
        return Run(self._bridge, self._inner.run(duration=duration, comment=comment, timeout=timeout))

    def current_run(self) -> Run | None:
        """Return the run that goes on, None without one. Entering it starts nothing, leaving it stops the run."""
        inner = self._inner.current_run()
        return None if inner is None else Run(self._bridge, inner)

    def __enter__(self) -> Environment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bridge.call(self._inner.leave(error))


class Run:
    """One run of an environment."""

    def __init__(self, bridge: Bridge, inner: AsyncRun) -> None:
        self._bridge, self._inner = bridge, inner

    @property
    def number(self) -> int:
        """Run number; 0 before the start."""
        return self._inner.number

    @property
    def record(self) -> RunInfo | None:
        """The run's record, once it has ended."""
        return self._inner.record

    @property
    def condition(self) -> str:
        """GOOD, DEGRADED or FAILED once the run has ended, UNDEFINED before."""
        return self._inner.condition

    @property
    def end_reason(self) -> str:
        """Why the run ended, "" before."""
        return self._inner.end_reason

    @property
    def going(self) -> bool:
        """Is the run going on, as far as we know?"""
        return self._inner.going

    @property
    def metrics(self) -> RunMetrics:
        """What its tasks tell, so far or in the whole run: `run.metrics["trigger:rate"].mean`."""
        if self._inner.record is not None:
            return self._inner.metrics
        return self._bridge.call(self._inner.metrics_now())

    @property
    def log(self) -> tuple[Line, ...]:
        """The last lines that its tasks wrote in it, at most 1000. The last second of them may come a moment later."""
        return self._inner.log

    def __repr__(self) -> str:
        return repr(self._inner)

    def wait(self, timeout: str | float | None = None, *, until: Callable[[RunView], bool] | None = None) -> None:
        """Wait until the run has ended, by its duration or by somebody, or until `until(view)` is true.

        `until` is asked in the thread of the loop, when something has changed: it must not block. See AsyncRun.wait.
        Raises RunFailed (the environment went to ERROR), WaitTimeout (the run goes on), UsageError (no such task).
        """
        self._bridge.call(self._inner.wait(timeout, until=until))

    def stop(self, end_reason: str = LEFT) -> None:
        """Stop the run, if it still goes on, and fetch its record. Raises RunFailed."""
        self._bridge.call(self._inner.stop(end_reason))

    def __enter__(self) -> Run:
        try:
            self._bridge.call(self._inner.__aenter__())
        except KeyboardInterrupt:
            if self._inner.going:  # it had just begun
                self._bridge.call(self._inner.stop(BROKEN))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bridge.call(self._inner.__aexit__(kind, error, traceback))


def _iterate(bridge: Bridge, reader: Reader[T]) -> Iterator[T]:
    while not bridge.closed:
        item = bridge.call(reader.next())
        if item is None:
            return
        yield item
    yield from reader.rest()
