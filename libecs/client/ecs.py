"""What scripts hold: the control system and its environments, as asyncio objects over one link to a core.

`AsyncEcs` speaks the messages of `wire/client.py` and nothing else, so it does not know whether its core is in this
process or on another machine. How it speaks is in `conversation.py`, what it knows in `session.py`, an environment in
`environment.py`, a run in `run.py`; the same objects for scripts without asyncio are in `sync.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs

from libecs.client.environment import AsyncEnvironment, EnvironmentRequest
from libecs.client.failure import of_refused
from libecs.client.lock import AsyncLock
from libecs.client.logs import LogReader
from libecs.client.operation import Operation, texts
from libecs.client.pulse import UP
from libecs.client.reader import Reader
from libecs.client.run import AsyncRun
from libecs.client.session import PAGE, Session
from libecs.errors import EcsError, NotFound, UsageError, WaitTimeout
from libecs.fsm import EnvState
from libecs.script import ScriptWorkflow
from libecs.wire.client import (
    Consult,
    CoreInfo,
    Create,
    Destroy,
    Document,
    Drain,
    EndTasks,
    EventPage,
    Finished,
    Info,
    Lock,
    Locks,
    Log,
    Nodes,
    Operations,
    ReadLog,
    Runs,
    ShowEvents,
    ShowLocks,
    ShowNodes,
    ShowOperations,
    ShowRuns,
    ShowTasks,
    Tasks,
    Unlock,
    Work,
)
from libecs.wire.info import Event, LockInfo, NodeInfo, OperationInfo, RunInfo, TaskInfo
from libecs.wire.telemetry import Severity

ACCEPT_S = 5.0
"""How long a core may take to write an operation down that is given up."""
TARGETS = ("STANDBY", "DEPLOYED", "CONFIGURED")
"""States that an environment can be made in."""


class AsyncEcs(Session):
    """A control system: its environments and runs."""

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
    ) -> EnvironmentRequest:
        """Make an environment: `await` it, or use it in `async with`, which destroys it at the end.

        Args:
            workflow: `[repository/workflows/]name[@revision]`, or one made by `libecs.workflow()`.
            vars: variables of the request; values that are no text become JSON. Of a workflow made by
                `libecs.workflow()`, `task.property` is the property of that task.
            name: how people call it.
            target: state to bring it to: STANDBY, DEPLOYED or CONFIGURED.
            auto: let the core take one run and destroy it: it is made when the core has begun, and
                `await env.over()` gives the run.
            keep: do not destroy it when `async with` is left.
            reuse: take the environment of that name, or of that workflow, if there is one.
            timeout: seconds to wait; then WaitTimeout, and the operation goes on.

        Raises:
            UsageError: no such target, or `vars` name a task that is not there.
        """
        files: Mapping[str, str] = {}
        if isinstance(workflow, ScriptWorkflow):
            name = name or workflow.name
            properties, vars = workflow.split(vars or {})
            written = workflow.with_properties(properties)
            request, files = written.name, written.files()
        else:
            request = workflow
        return EnvironmentRequest(
            self,
            Create(
                operation="",
                workflow=request,
                variables=texts(vars or {}),
                name=name,
                target=read_target(target),
                requester=self.requester,
                auto=auto,
                files=files,
            ),
            keep=keep,
            reuse=reuse,
            timeout_s=timeout,
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
    ) -> EnvironmentRequest:
        """Make an environment as that of a run was: same commit, variables, configuration and placement.

        Args:
            run: its number.
            force: make it though something differs.
            name: how people call it.
            target: state to bring it to: STANDBY, DEPLOYED or CONFIGURED.
            keep: do not destroy it when `async with` is left.
            timeout: seconds to wait.

        Raises, when it is awaited or entered:
            InvalidInput: something can't be had the same; it says what. Nothing was made.
            NotFound: no run has this number.
        """
        create = Create(
            operation="",
            workflow="",
            name=name,
            target=read_target(target),
            requester=self.requester,
            repeat=run,
            force=force,
        )
        return EnvironmentRequest(self, create, keep=keep, reuse=False, timeout_s=timeout)

    async def create(self, request: Create, timeout_s: float | None) -> AsyncEnvironment:
        """Make an environment; if it does not come to its target, nothing of it is left and its error is raised."""
        operation = self._talk.begin(attrs.evolve(request, operation=self._id()))
        if request.auto:
            return await self._begun(operation)
        try:
            finished = await self.finish(operation, timeout_s)
        except WaitTimeout as error:
            if operation.made:
                error.hint = f"ecs.get({operation.made!r}) is the environment: wait for it, or destroy it"
            raise
        except (EcsError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                await self.accepted(operation)
            if operation.made:
                await self._discard(operation.made)
            raise
        return await self.get(finished.environment)

    async def accepted(self, operation: Operation) -> None:
        """Wait a little until the core has written an operation down, so that what it makes can be undone."""
        if self.link.state == UP:
            await asyncio.wait([operation.environment], timeout=ACCEPT_S)

    async def _begun(self, operation: Operation) -> AsyncEnvironment:
        """Return the environment of an operation that the core has written down: it goes on without us."""
        await asyncio.shield(operation.environment)
        if not operation.made:
            await self.finish(operation)  # it was refused
        await self._snapshot()
        return AsyncEnvironment(self, operation.made, operation)

    async def _discard(self, environment: str) -> None:
        """Destroy what a failed or cancelled creation has left, if it has."""
        with contextlib.suppress(EcsError):
            operation = Destroy(
                operation=self._id(), environment=environment, force=True, allow_running=True, requester=self.requester
            )
            await self.finish(self._talk.begin(operation))

    async def get(self, environment: str) -> AsyncEnvironment:
        """Return the environment with this id or name.

        Raises:
            NotFound: there is none.
        """
        await self._snapshot()
        for info in self._mirror.environments.values():
            if environment in (info.environment, info.name):
                return AsyncEnvironment(self, info.environment)
        raise NotFound(
            f"no environment {environment!r}",
            hint="environments are: " + (", ".join(self._mirror.environments) or "none"),
        )

    async def environments(self) -> list[AsyncEnvironment]:
        """Return all environments, the oldest first."""
        await self._snapshot()
        infos = sorted(self._mirror.environments.values(), key=lambda info: info.created_ms)
        return [AsyncEnvironment(self, info.environment) for info in infos if info.state is not EnvState.DONE]

    async def runs(self, limit: int = 100) -> tuple[RunInfo, ...]:
        """Return the records of the last runs, in the order of their numbers."""
        answer: Runs = await self._talk.ask(ShowRuns(request=self._id(), limit=limit))
        return answer.runs

    async def run_record(self, number: int) -> RunInfo:
        """Return the record of one run.

        Raises:
            NotFound: no run has this number.
        """
        answer: Runs = await self._talk.ask(ShowRuns(request=self._id(), number=number))
        if not answer.runs:
            raise NotFound(f"no run {number}")
        return answer.runs[0]

    def events(self, environment: str = "", *, since: int = 0) -> Reader[Event]:
        """Return the events from now on, for `async for`; ends with the session. Each comes once, also after a break.

        Args:
            environment: id of one; "" = all.
            since: begin with this event of the past; 0 = now.
        """
        reader: Reader[Event] = Reader(lambda event: environment in ("", event.environment))
        if self._talk.closed is not None:
            reader.close()
        elif since and since <= (self._stream.last or 0):
            self._talk.spawn(lambda: self._replay(reader, since))
            return reader
        self._readers.add(reader)
        return reader

    async def _replay(self, reader: Reader[Event], since: int) -> None:
        """Give a reader the past, and without a gap the present."""
        try:
            while since <= (self._stream.last or 0):
                page: EventPage = await self._talk.ask(ShowEvents(request=self._id(), since=since, limit=PAGE))
                events = [event for event in page.events if event.sequence <= (self._stream.last or 0)]
                if not events:
                    break
                for event in events:
                    reader.put(event)
                since = events[-1].sequence + 1
            self._readers.add(reader)
        finally:
            if self._talk.closed is not None:
                reader.close()

    def logs(self, tasks: str = "**", severity: str | Severity = Severity.INFO, environment: str = "") -> LogReader:
        """Return the lines that tasks write from now on, for `async for`; ends with the session.

        Args:
            tasks: pattern of role paths.
            severity: the least that is shown: DEBUG, INFO, WARNING, ERROR or FATAL.
            environment: id of one; "" = all.

        Raises:
            UsageError: it is no pattern, or no severity.
        """
        reader = LogReader(tasks, severity, environment)
        if self._talk.closed is not None:
            reader.close()
        else:
            self._log_readers.add(reader)
            self._watches.add(reader)
        return reader

    # detectors

    def lock(self, *detectors: str, reason: str = "", force: bool = False, timeout: float | None = None) -> AsyncLock:
        """Have detectors for oneself: `async with ecs.lock("DUT", reason="threshold scan")`; `await` it to keep them.

        While they are locked nobody else changes environments that hold one of them.

        Args:
            detectors: their names; all are taken, or none.
            reason: for whoever wants them meanwhile.
            force: take them from whoever has them (admins).
            timeout: seconds to wait.

        Raises, when it is awaited or entered:
            Conflict: somebody has one of them; it says who, since when and why.
            Denied: not allowed.
        """
        return AsyncLock(self, detectors, reason=reason, force=force, timeout_s=timeout)

    async def take_locks(
        self, detectors: Sequence[str], *, reason: str = "", force: bool = False, timeout: float | None = None
    ) -> Finished:
        """Take detectors, for good. Those that are ours already get the new reason, if there is one.

        Raises as `lock` does.
        """
        return await self.finish(self.locking(detectors, reason=reason, force=force, renew=True), timeout)

    def locking(self, detectors: Sequence[str], *, reason: str, force: bool, renew: bool = False) -> Operation:
        """Begin to take detectors; the caller waits with `finish`."""
        message = Lock(
            operation=self._id(),
            detectors=tuple(detectors),
            reason=reason,
            force=force,
            requester=self.requester,
            renew=renew,
        )
        return self._talk.begin(message)

    async def unlock(
        self, *detectors: str, force: bool = False, reason: str = "", timeout: float | None = None
    ) -> Finished:
        """Give detectors back; without any, all that are ours. `force`: whoever has them (admins)."""
        message = Unlock(
            operation=self._id(), detectors=detectors, force=force, reason=reason, requester=self.requester
        )
        return await self.finish(self._talk.begin(message), timeout)

    async def locks(self) -> tuple[LockInfo, ...]:
        """Return who has which detector."""
        return (await self.show_locks()).locks

    async def show_locks(self) -> Locks:
        """Return the locks, and all detectors that are known."""
        answer: Locks = await self._talk.ask(ShowLocks(request=self._id()))
        return answer

    # nodes and tasks

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes: reach, age, tasks, resources, facts."""
        answer: Nodes = await self._talk.ask(ShowNodes(request=self._id()))
        return answer.nodes

    async def drain(self, node: str, *, on: bool = True, reason: str = "", timeout: float | None = None) -> Finished:
        """Place nothing new on a node, or (`on` false) do again. What runs there goes on. Raises NotFound, Denied."""
        message = Drain(operation=self._id(), node=node, on=on, reason=reason, requester=self.requester)
        return await self.finish(self._talk.begin(message), timeout)

    async def tasks(self, environment: str = "") -> tuple[TaskInfo, ...]:
        """Return the tasks of all nodes, or of one environment; "-" = of none: idle ones and orphans."""
        answer: Tasks = await self._talk.ask(ShowTasks(request=self._id(), environment=environment))
        return answer.tasks

    async def end_tasks(self, *tasks: str, force: bool = False, timeout: float | None = None) -> Finished:
        """End tasks by their ids; without any, all that are idle or nobody's. `force`: tasks of environments too."""
        message = EndTasks(operation=self._id(), tasks=tasks, force=force, requester=self.requester)
        return await self.finish(self._talk.begin(message), timeout)

    async def task_log(self, task: str, stream: str = "stdout", *, bytes: int = 65536) -> Log:
        """Return the end of what a task wrote, from its node.

        Args:
            task: its id.
            stream: `stdout` or `stderr`.
            bytes: at most so many.

        Raises:
            NotFound: no such task, or nothing of it is kept.
            Unreachable: its node does not answer.
        """
        answer: Log = await self._talk.ask(ReadLog(request=self._id(), task=task, stream=stream, bytes=bytes))
        return answer

    # books

    async def annotate(
        self,
        run: int | AsyncRun,
        note: str = "",
        tags: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Finished:
        """Write about a run: a note, tags (an empty value removes one). Raises NotFound, Denied."""
        return await self.finish(self.annotation(run if isinstance(run, int) else run.number, note, tags), timeout)

    async def operations(self, limit: int = 100) -> tuple[OperationInfo, ...]:
        """Return the last operations of all clients, the oldest first."""
        answer: Operations = await self._talk.ask(ShowOperations(request=self._id(), limit=limit))
        return answer.operations

    @property
    def pending(self) -> dict[str, str]:
        """Operations of this session that are not over: id to what they do. `follow` takes such an id, also later."""
        return self._talk.pending

    async def follow(self, operation: str, *, timeout: float | None = None) -> Finished:
        """Wait for the end of an operation by its id, whoever began it, and return how it ended.

        Raises:
            NotFound: the core does not know it.
            WaitTimeout: after `timeout` seconds.
            EcsError: it failed; its class says how.
        """
        return await self.finish(self._talk.follow(operation), timeout)

    async def info(self) -> CoreInfo:
        """Return what this core is: version, epoch, how much there is; and who we are to it."""
        answer: CoreInfo = await self._talk.ask(Info(request=self._id()))
        return answer

    async def history(self, since: int = 0, *, environment: str = "", last: int = 0) -> AsyncIterator[Event]:
        """Give the events of the past, the oldest first, up to now.

        Args:
            since: number of the first.
            environment: id of one; "" = all.
            last: only so many of the end; 0 = all.
        """
        while True:
            page: EventPage = await self._talk.ask(
                ShowEvents(request=self._id(), since=since, environment=environment, limit=last or PAGE, last=last > 0)
            )
            for event in page.events:
                yield event
            if last or not page.more or not page.events:
                return
            since = page.events[-1].sequence + 1

    # what the core's host does

    async def consult(self, subject: str, /, **arguments: object) -> Any:
        """Let the core's host look something up, such as `template.list`; return its JSON document, parsed.

        Raises:
            EcsError: there is none; its class says why.
        """
        answer: Document = await self._talk.ask(
            Consult(request=self._id(), subject=subject, arguments=texts(arguments))
        )
        if answer.code:
            raise of_refused(answer)
        return json.loads(answer.json)

    async def work(self, name: str, /, **arguments: object) -> Any:
        """Let the core's host do something, such as `repository.add`; return what it made, parsed JSON.

        Raises:
            EcsError: it failed; its class says how.
        """
        message = Work(operation=self._id(), name=name, arguments=texts(arguments), requester=self.requester)
        finished = await self.finish(self._talk.begin(message))
        return json.loads(finished.message) if finished.message else {}


def read_target(target: str) -> EnvState:
    """Return the state that an environment is made in. Raises UsageError."""
    if target not in TARGETS:
        raise UsageError(f"target={target!r}", hint=f"targets are {', '.join(TARGETS)}; env.run() takes a run")
    return EnvState[target]
