"""An environment as a script holds it: made, controlled and destroyed by operations of its control system."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from libecs.client.run import AsyncRun
from libecs.client.taskset import TaskRequest, TaskSet
from libecs.errors import NotFound, RunFailed, TransitionFailed, UsageError, WaitTimeout
from libecs.fsm import EnvState
from libecs.wire.client import Create, Log
from libecs.wire.info import EnvironmentInfo, Event, RunInfo
from libecs.wire.telemetry import Severity

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.client.logs import LogReader
    from libecs.client.operation import Operation
    from libecs.client.reader import Reader

SETTLE_S = 0.25
"""How long events may be behind the answer that they belong to, before a snapshot is asked for."""


class EnvironmentRequest:
    """An environment that is made when it is awaited or entered."""

    def __init__(
        self,
        ecs: AsyncEcs,
        request: Create,
        *,
        keep: bool,
        reuse: bool,
        timeout_s: float | None,
    ) -> None:
        """`request` is without operation; each making has one of its own."""
        self._ecs, self._request = ecs, request
        self._keep, self._reuse, self._timeout_s = keep, reuse, timeout_s
        self._environment: AsyncEnvironment | None = None

    async def _make(self) -> AsyncEnvironment:
        if self._reuse:
            for environment in await self._ecs.environments():
                info = environment.info
                if info.name == name if (name := self._request.name) else info.workflow == self._request.workflow:
                    environment.keep = self._keep
                    return environment
        environment = await self._ecs.create(self._request, self._timeout_s)
        environment.keep = self._keep
        return environment

    def __await__(self) -> Generator[Any, None, AsyncEnvironment]:
        return self._make().__await__()

    async def __aenter__(self) -> AsyncEnvironment:
        self._environment = await self._make()
        return self._environment

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._environment is not None:
            await self._environment.leave(error)


class AsyncEnvironment:
    """One environment: a workflow's tasks, deployed and controlled together."""

    def __init__(self, ecs: AsyncEcs, id: str, operation: Operation | None = None) -> None:
        """`operation`: what goes on for it, and ends with it."""
        self._ecs = ecs
        self.id = id
        self._operation = operation
        self.keep = False
        """Do not destroy it when its `with` is left."""
        self._told = False
        """The script has been told of the ERROR that the environment is in."""
        self._paths: tuple[str, ...] = ()

    @property
    def info(self) -> EnvironmentInfo:
        """What is known now, without tasks and roles. Raises NotFound when the environment is gone."""
        return self._ecs.known(self.id)

    @property
    def state(self) -> str:
        """Name of the state; DONE when the environment is gone."""
        try:
            return self.info.state.name
        except NotFound:
            return EnvState.DONE.name

    def __repr__(self) -> str:
        return f"<environment {self.id} {self.state}>"

    async def show(self) -> EnvironmentInfo:
        """Ask the core for everything about it: roles, tasks, cause of an error."""
        return await self._ecs.show(self.id)

    async def settle(self, state: EnvState | None = None) -> None:
        """Bring the copy up to what the core knows: an answer may overtake the events that belong to it.

        Mostly the events come at once and say that it is in `state`; if not, the core is asked.
        """
        with contextlib.suppress(NotFound):
            if state is not None and await self._ecs.until(lambda: self._rests_in(state), SETTLE_S):
                return
            await self._ecs.show(self.id, tasks=False)

    def _rests_in(self, state: EnvState) -> bool:
        return self.info.state is state and not self.info.transition

    def tasks(self, glob: str = "**") -> TaskRequest:
        """Return the tasks whose role path matches: `*` is one element, `**` any number, `flp*` a part of one.

        `await` it to see them; `await env.tasks("**.dut").reconfigure(values)` changes their properties.
        """

        async def ask() -> TaskSet[Awaitable[None]]:
            return TaskSet.of((await self._ecs.show(self.id)).tasks, glob, self.reconfigure)

        return TaskRequest(ask, glob, self.reconfigure)

    async def task_paths(self) -> tuple[str, ...]:
        """Return the role paths of all tasks. They stay what they are while it lives, so the core is asked once."""
        if not self._paths:
            self._paths = tuple(task.role for task in (await self._ecs.show(self.id)).tasks)
        return self._paths

    def events(self) -> Reader[Event]:
        """Return its events from now on, for `async for`."""
        return self._ecs.events(self.id)

    def logs(self, tasks: str = "**", severity: str | Severity = Severity.INFO) -> LogReader:
        """Return the lines that its tasks write from now on, for `async for`: those of some tasks, not too harmless."""
        return self._ecs.logs(tasks, severity, self.id)

    async def reconfigure(
        self, values: Mapping[str, object], tasks: str = "**", *, timeout: float | None = None
    ) -> None:
        """Change properties of its tasks while it is CONFIGURED, and no others: same processes, same run conditions.

        Args:
            values: properties of the tasks, or variables that their properties are made of; values that are no text
                become JSON.
            tasks: pattern of role paths.
            timeout: seconds to wait.

        Raises:
            InvalidInput: a key means nothing to any of these tasks, or there are no such tasks. Nothing has changed.
            IllegalTransition: it is not CONFIGURED. Nothing has changed.
            RunFailed: it is in ERROR already.
            TransitionFailed: a task refused.
            WaitTimeout: after `timeout` seconds; it goes on.
        """
        await self.check()
        operation = self._ecs.reconfiguration(self.id, values, tasks)
        try:
            finished = await self._ecs.finish(operation, timeout)
        except TransitionFailed:
            self.told()
            await self.settle()
            raise
        await self.settle(finished.state)

    async def control(
        self, event: str, *, comment: str = "", end_reason: str = "", timeout: float | None = None
    ) -> str:
        """Send an event (CONFIGURE, RESET, START_ACTIVITY, STOP_ACTIVITY, RECOVER, …); return the new state.

        Raises:
            IllegalTransition: not allowed in the present state; nothing has changed.
            RunFailed: the environment is in ERROR already.
            TransitionFailed: it did not get there.
            WaitTimeout: after `timeout` seconds; the transition goes on.
        """
        event = {"START": "START_ACTIVITY", "STOP": "STOP_ACTIVITY"}.get(event.upper(), event.upper())
        if event != "RECOVER":
            await self.check()
        operation = self._ecs.control(self.id, event, comment=comment, end_reason=end_reason)
        try:
            finished = await self._ecs.finish(operation, timeout)
        except TransitionFailed:
            self.told()
            await self.settle()
            raise
        self._told = False
        await self.settle(finished.state)
        return finished.state.name

    async def recover(self, *, timeout: float | None = None) -> str:
        """Bring it from ERROR back to DEPLOYED: dead tasks are launched again, live ones reset."""
        return await self.control("RECOVER", timeout=timeout)

    async def modify(
        self,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        include_nodes: str | Sequence[str] = (),
        exclude_nodes: str | Sequence[str] = (),
        take_from: str | AsyncEnvironment = "",
        timeout: float | None = None,
    ) -> str:
        """Take roles or nodes out of it, or put them back, while it is CONFIGURED or RUNNING; return its state.

        No other task is touched. What is taken out is stopped, reset and kept idle; what is put back is launched,
        configured and, in RUNNING, started: the same run, which is DEGRADED meanwhile.

        Args:
            include: role paths, or patterns of them, to put back: `**.its`, `hosts.flp*`.
            exclude: role paths, or patterns, to take out.
            include_nodes: names of nodes: all tasks there.
            exclude_nodes: names of nodes.
            take_from: environment whose tasks of the same kind are excluded there, and used here.
            timeout: seconds to wait.

        Raises:
            InvalidInput: nothing of that name, or it would leave less than a run needs. Nothing has changed.
            IllegalTransition: it is neither CONFIGURED nor RUNNING. Nothing has changed.
            TransitionFailed: what should be put back could not; it stays out, and the rest goes on.
            WaitTimeout: after `timeout` seconds; it goes on.
        """
        await self.check()
        source = take_from.id if isinstance(take_from, AsyncEnvironment) else take_from
        if source:
            source = (await self._ecs.get(source)).id
        operation = self._ecs.modification(
            self.id,
            include=_several(include),
            exclude=_several(exclude),
            include_nodes=_several(include_nodes),
            exclude_nodes=_several(exclude_nodes),
            take_from=source,
        )
        try:
            finished = await self._ecs.finish(operation, timeout)
        except TransitionFailed:
            await self.settle()
            raise
        await self.settle(finished.state)
        return finished.state.name

    async def destroy(
        self,
        *,
        force: bool = False,
        allow_running: bool = False,
        keep_tasks: bool = False,
        timeout: float | None = None,
    ) -> None:
        """End it and its tasks.

        Args:
            force: do not ask the tasks first.
            allow_running: stop a run that goes on, then destroy.
            keep_tasks: keep its tasks idle, for environments to come, instead of ending them.
            timeout: seconds to wait.

        Raises:
            IllegalTransition: it is RUNNING and neither `force` nor `allow_running` is given.
        """
        operation = self._ecs.destruction(self.id, force=force, allow_running=allow_running, keep_tasks=keep_tasks)
        await self._ecs.finish(operation, timeout)
        self._ecs.forget(self.id)

    async def over(self, *, timeout: float | None = None) -> RunInfo | None:
        """Wait until an automatic environment is gone; return the record of its run, None if there was none.

        Raises:
            TransitionFailed: it, or its run, failed.
            WaitTimeout: after `timeout` seconds; it goes on.
            UsageError: it is none.
        """
        if self._operation is None:
            raise UsageError(f"environment {self.id} does not end by itself", hint="make it with auto=True")
        finished = await self._ecs.finish(self._operation, timeout)
        self._ecs.forget(self.id)
        return await self._ecs.run_record(finished.run_number) if finished.run_number else None

    async def task_log(self, task: str, stream: str = "stdout", *, bytes: int = 65536) -> Log:
        """Return the end of what one of its tasks wrote; `task` is a pattern of role paths that chooses it.

        Raises:
            UsageError: the pattern chooses no task, or several.
            NotFound, Unreachable: as of `AsyncEcs.task_log`.
        """
        chosen = (await self.tasks(task)).items
        if len(chosen) != 1:
            names = ", ".join(one.role for one in chosen[:8]) or "none"
            raise UsageError(f"{task!r} chooses {len(chosen)} tasks, not one", hint=f"these match: {names}")
        return await self._ecs.task_log(chosen[0].task, stream, bytes=bytes)

    async def wait(self, state: str, *, timeout: float | None = None) -> None:
        """Wait until it is in a state.

        Raises:
            RunFailed: it is in ERROR instead.
            WaitTimeout: after `timeout` seconds.
            UsageError: there is no such state.
        """
        if state not in EnvState.__members__:
            raise UsageError(f"there is no state {state!r}", hint=f"states are {', '.join(EnvState.__members__)}")
        wanted = EnvState[state].name
        if not await self._ecs.until(lambda: self.state in (wanted, "DONE") or self.broken, timeout):
            raise WaitTimeout(f"environment {self.id} is {self.state} after {timeout:g} s, not {wanted}")
        if self.state != wanted:
            await self.check()
            raise NotFound(f"environment {self.id} is gone")

    def told(self) -> None:
        """Note that the script knows of the ERROR that the environment is in."""
        self._told = True

    async def check(self) -> None:
        """Raise RunFailed, with its cause, if the environment is in ERROR or on its way there."""
        if self.broken:
            raise await self.failure()

    @property
    def broken(self) -> bool:
        """Is it in ERROR, or on its way there?"""
        try:
            return self.info.state is EnvState.ERROR or self.info.transition == "GO_ERROR"
        except NotFound:
            return False

    async def failure(self) -> RunFailed:
        """Return the error that the environment is in, once it has come to rest there; the script counts as told."""
        self._told = True
        await self._ecs.until(lambda: self.state == "DONE" or not self.info.transition)
        info = await self._ecs.show(self.id)
        return RunFailed(
            f"environment {self.id} ({info.name or info.workflow}) is in ERROR",
            cause=info.cause,
            failures=info.failures,
            hint="recover() brings it back to DEPLOYED, destroy() ends it",
        )

    def run(
        self,
        *,
        duration: str | float | None = None,
        comment: str = "",
        tags: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> AsyncRun:
        """Take a run: `async with env.run(duration="10s") as run: await run.wait()`. Leaving it stops the run.

        `tags` are written into its record when it has begun.
        """
        return AsyncRun(self._ecs, self, duration=duration, comment=comment, tags=tags, timeout=timeout)

    def current_run(self) -> AsyncRun | None:
        """Return the run that goes on, None without one. Entering it starts nothing, leaving it stops the run."""
        try:
            number = self.info.run_number
        except NotFound:
            return None
        return AsyncRun(self._ecs, self, number=number) if number else None

    async def leave(self, error: BaseException | None) -> None:
        """End of its `with`: destroy it unless `keep`; an ERROR that nobody was told of is raised."""
        untold = None
        if self.broken and not self._told and error is None:
            untold = await self.failure()
        if not self.keep and self._operation is None and self.state != "DONE":
            self._ecs.warn_if_away(f"environment {self.id} is destroyed when it is back; Ctrl-C leaves it")
            with contextlib.suppress(NotFound):
                await self.destroy(force=error is not None or self.broken, allow_running=True)
        if untold is not None:
            raise untold


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
