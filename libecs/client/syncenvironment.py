"""Environments and runs of a script without asyncio: those of `environment.py` and `run.py`, call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from libecs.client.bridge import Bridge, iterate
from libecs.client.environment import AsyncEnvironment
from libecs.client.logs import Line
from libecs.client.metrics import RunMetrics
from libecs.client.reader import Reader
from libecs.client.run import BROKEN, LEFT, AsyncRun, RunView
from libecs.client.taskset import TaskSet
from libecs.wire.client import Log
from libecs.wire.info import EnvironmentInfo, Event, RunInfo
from libecs.wire.telemetry import Severity


class Environment:
    """One environment: a workflow's tasks, deployed and controlled together."""

    def __init__(self, bridge: Bridge, inner: AsyncEnvironment) -> None:
        self._bridge, self._inner = bridge, inner

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

        async def begin() -> Reader[Event]:
            return self._inner.events()

        return iterate(self._bridge, self._bridge.call(begin()))

    def logs(self, tasks: str = "**", severity: str | Severity = Severity.INFO) -> Iterator[Line]:
        """Yield the lines that its tasks write from now on, waiting for each: those of some tasks, not too harmless."""

        async def begin() -> Reader[Line]:
            return self._inner.logs(tasks, severity)

        return iterate(self._bridge, self._bridge.call(begin()))

    def reconfigure(self, values: Mapping[str, object], tasks: str = "**", *, timeout: float | None = None) -> None:
        """Change properties of its tasks while it is CONFIGURED. Arguments and errors as of AsyncEnvironment."""
        self._bridge.call(self._inner.reconfigure(values, tasks, timeout=timeout))

    def control(self, event: str, *, comment: str = "", end_reason: str = "", timeout: float | None = None) -> str:
        """Send an event, wait for its end, return the new state. Raises as AsyncEnvironment.control does."""
        return self._bridge.call(self._inner.control(event, comment=comment, end_reason=end_reason, timeout=timeout))

    def recover(self, *, timeout: float | None = None) -> str:
        """Bring it from ERROR back to DEPLOYED: dead tasks are launched again, live ones reset."""
        return self._bridge.call(self._inner.recover(timeout=timeout))

    def modify(
        self,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        include_nodes: str | Sequence[str] = (),
        exclude_nodes: str | Sequence[str] = (),
        take_from: str | Environment = "",
        timeout: float | None = None,
    ) -> str:
        """Take roles or nodes out of it, or put them back, while it is CONFIGURED or RUNNING; return its state.

        Arguments and errors as of AsyncEnvironment.modify.
        """
        return self._bridge.call(
            self._inner.modify(
                include=include,
                exclude=exclude,
                include_nodes=include_nodes,
                exclude_nodes=exclude_nodes,
                take_from=take_from.id if isinstance(take_from, Environment) else take_from,
                timeout=timeout,
            )
        )

    def destroy(
        self,
        *,
        force: bool = False,
        allow_running: bool = False,
        keep_tasks: bool = False,
        timeout: float | None = None,
    ) -> None:
        """End it and its tasks. Arguments and errors as of AsyncEnvironment.destroy."""
        self._bridge.call(
            self._inner.destroy(force=force, allow_running=allow_running, keep_tasks=keep_tasks, timeout=timeout)
        )

    def over(self, *, timeout: float | None = None) -> RunInfo | None:
        """Wait until an automatic environment is gone; return the record of its run, None if there was none."""
        return self._bridge.call(self._inner.over(timeout=timeout))

    def task_log(self, task: str, stream: str = "stdout", *, bytes: int = 65536) -> Log:
        """Return the end of what one of its tasks wrote; `task` is a pattern of role paths that chooses it."""
        return self._bridge.call(self._inner.task_log(task, stream, bytes=bytes))

    def wait(self, state: str, *, timeout: float | None = None) -> None:
        """Wait until it is in a state. Raises RunFailed (it is in ERROR instead) or WaitTimeout."""
        self._bridge.call(self._inner.wait(state, timeout=timeout))

    def run(
        self,
        *,
        duration: str | float | None = None,
        comment: str = "",
        tags: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Run:
        """Take a run: `with env.run(duration="10s") as run: run.wait()`. Leaving it stops the run."""
        return Run(self._bridge, self._inner.run(duration=duration, comment=comment, tags=tags, timeout=timeout))

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
