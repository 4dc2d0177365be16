"""The objects of a script without asyncio: the same as in `ecs.py`, each call made in the thread of one event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from libecs.client.bridge import Bridge, iterate
from libecs.client.ecs import AsyncEcs
from libecs.client.environment import AsyncEnvironment, EnvironmentRequest
from libecs.client.lock import AsyncLock
from libecs.client.logs import Line
from libecs.client.pulse import LinkState
from libecs.client.reader import Reader
from libecs.client.syncenvironment import Environment, Run
from libecs.script import ScriptWorkflow
from libecs.wire.client import CoreInfo, Finished, Log
from libecs.wire.info import Event, LockInfo, NodeInfo, OperationInfo, RunInfo, TaskInfo
from libecs.wire.telemetry import Severity


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
        auto: bool = False,
        keep: bool = False,
        reuse: bool = False,
        timeout: float | None = None,
    ) -> Environment:
        """Make an environment now; in `with`, it is destroyed at the end. The arguments are those of AsyncEcs."""
        return self._make(
            lambda: self._inner.environment(
                workflow, vars, name=name, target=target, auto=auto, keep=keep, reuse=reuse, timeout=timeout
            )
        )

    def repeat(
        self,
        run: int,
        *,
        force: bool = False,
        name: str = "",
        target: str = "CONFIGURED",
        keep: bool = False,
        timeout: float | None = None,
    ) -> Environment:
        """Make an environment as that of a run was, now. Arguments and errors as of AsyncEcs.repeat."""
        return self._make(
            lambda: self._inner.repeat(run, force=force, name=name, target=target, keep=keep, timeout=timeout)
        )

    def _make(self, request: Callable[[], EnvironmentRequest]) -> Environment:
        async def make() -> AsyncEnvironment:
            return await request()

        return Environment(self._bridge, self._bridge.call(make()))

    def get(self, environment: str) -> Environment:
        """Return the environment with this id or name. Raises NotFound."""
        return Environment(self._bridge, self._bridge.call(self._inner.get(environment)))

    def environments(self) -> list[Environment]:
        """Return all environments, the oldest first."""
        found = self._bridge.call(self._inner.environments())
        return [Environment(self._bridge, environment) for environment in found]

    def runs(self, limit: int = 100) -> tuple[RunInfo, ...]:
        """Return the records of the last runs, in the order of their numbers."""
        return self._bridge.call(self._inner.runs(limit))

    def run_record(self, number: int) -> RunInfo:
        """Return the record of one run. Raises NotFound."""
        return self._bridge.call(self._inner.run_record(number))

    @property
    def link(self) -> LinkState:
        """How the link to the core is: UP, SUSPECT or DOWN, since when, and why."""
        return self._inner.link

    @property
    def age_s(self) -> float:
        """Seconds since the core was heard: so old is what is known."""
        return self._inner.age_s

    def events(self, environment: str = "", *, since: int = 0) -> Iterator[Event]:
        """Yield events from now on, or from number `since`, waiting for each; ends with the session."""

        async def begin() -> Reader[Event]:
            return self._inner.events(environment, since=since)

        return iterate(self._bridge, self._bridge.call(begin()))

    def logs(
        self, tasks: str = "**", severity: str | Severity = Severity.INFO, environment: str = ""
    ) -> Iterator[Line]:
        """Yield the lines that tasks write from now on, waiting for each. Arguments and errors as of AsyncEcs.logs."""

        async def begin() -> Reader[Line]:
            return self._inner.logs(tasks, severity, environment)

        return iterate(self._bridge, self._bridge.call(begin()))

    def lock(self, *detectors: str, reason: str = "", force: bool = False, timeout: float | None = None) -> Lock:
        """Have detectors for oneself, from now on; in `with`, they are given back at the end. As AsyncEcs.lock."""
        inner = self._inner.lock(*detectors, reason=reason, force=force, timeout=timeout)
        self._bridge.call(inner.take())
        return Lock(self._bridge, inner)

    def unlock(self, *detectors: str, force: bool = False, reason: str = "", timeout: float | None = None) -> Finished:
        """Give detectors back; without any, all that are ours. `force`: whoever has them (admins)."""
        return self._bridge.call(self._inner.unlock(*detectors, force=force, reason=reason, timeout=timeout))

    def locks(self) -> tuple[LockInfo, ...]:
        """Return who has which detector."""
        return self._bridge.call(self._inner.locks())

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes: reach, age, tasks, resources, facts."""
        return self._bridge.call(self._inner.nodes())

    def drain(self, node: str, *, on: bool = True, reason: str = "", timeout: float | None = None) -> Finished:
        """Place nothing new on a node, or (`on` false) do again. What runs there goes on."""
        return self._bridge.call(self._inner.drain(node, on=on, reason=reason, timeout=timeout))

    def tasks(self, environment: str = "") -> tuple[TaskInfo, ...]:
        """Return the tasks of all nodes, or of one environment; "-" = of none: idle ones and orphans."""
        return self._bridge.call(self._inner.tasks(environment))

    def end_tasks(self, *tasks: str, force: bool = False, timeout: float | None = None) -> Finished:
        """End tasks by their ids; without any, all that are idle or nobody's. `force`: tasks of environments too."""
        return self._bridge.call(self._inner.end_tasks(*tasks, force=force, timeout=timeout))

    def task_log(self, task: str, stream: str = "stdout", *, bytes: int = 65536) -> Log:
        """Return the end of what a task wrote, from its node. Arguments and errors as of AsyncEcs.task_log."""
        return self._bridge.call(self._inner.task_log(task, stream, bytes=bytes))

    def annotate(
        self,
        run: int | Run,
        note: str = "",
        tags: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Finished:
        """Write about a run: a note, tags (an empty value removes one). Raises NotFound, Denied."""
        number = run if isinstance(run, int) else run.number
        return self._bridge.call(self._inner.annotate(number, note, tags, timeout=timeout))

    def operations(self, limit: int = 100) -> tuple[OperationInfo, ...]:
        """Return the last operations of all clients, the oldest first."""
        return self._bridge.call(self._inner.operations(limit))

    @property
    def pending(self) -> dict[str, str]:
        """Operations of this session that are not over: id to what they do. `follow` takes such an id, also later."""
        return self._inner.pending

    def follow(self, operation: str, *, timeout: float | None = None) -> Finished:
        """Wait for the end of an operation by its id, whoever began it. Raises as AsyncEcs.follow."""
        return self._bridge.call(self._inner.follow(operation, timeout=timeout))

    def info(self) -> CoreInfo:
        """Return what this core is: version, epoch, how much there is; and who we are to it."""
        return self._bridge.call(self._inner.info())

    def history(self, since: int = 0, *, environment: str = "", last: int = 0) -> Iterator[Event]:
        """Yield the events of the past, the oldest first, up to now. Arguments as of AsyncEcs.history."""
        events = self._inner.history(since, environment=environment, last=last)

        async def next_one() -> Event | None:
            return await anext(events, None)

        while (event := self._bridge.call(next_one())) is not None:
            yield event

    def consult(self, subject: str, /, **arguments: object) -> Any:
        """Let the core's host look something up, such as `template.list`; return its JSON document, parsed."""
        return self._bridge.call(self._inner.consult(subject, **arguments))

    def work(self, name: str, /, **arguments: object) -> Any:
        """Let the core's host do something, such as `repository.add`; return what it made, parsed JSON."""
        return self._bridge.call(self._inner.work(name, **arguments))


class Lock:
    """Detectors that a script has for itself."""

    def __init__(self, bridge: Bridge, inner: AsyncLock) -> None:
        self._bridge, self._inner = bridge, inner

    @property
    def detectors(self) -> tuple[str, ...]:
        """Their names."""
        return self._inner.detectors

    def __repr__(self) -> str:
        return repr(self._inner)

    def release(self) -> None:
        """Give back what was taken."""
        self._bridge.call(self._inner.release())

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
