"""What scripts hold: the control system and its environments, as asyncio objects over one link to a core.

`AsyncEcs` speaks the messages of `wire/client.py` and nothing else, so it does not know whether its core is in this
process or on another machine. Every operation has an id of its own and is over when the core says so: a wait that ends
earlier (`WaitTimeout`, a cancelled task) ends the wait and not the operation.

An environment is in `environment.py`, a run in `run.py`; the same objects for scripts without asyncio are in `sync.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from libecs.client.environment import AsyncEnvironment, EnvironmentRequest
from libecs.client.failure import of_finished
from libecs.client.logs import LogReader
from libecs.client.mirror import Mirror
from libecs.client.operation import Operation, Request, texts
from libecs.client.reader import Reader
from libecs.client.watching import Watcher, Watches
from libecs.errors import Conflict, EcsError, NotFound, Unreachable, UsageError, WaitTimeout
from libecs.fsm import EnvState
from libecs.script import ScriptWorkflow
from libecs.wire.client import (
    Accepted,
    Control,
    Create,
    Destroy,
    EnvironmentInfo,
    Environments,
    Event,
    Events,
    Finished,
    Lines,
    Metrics,
    Reconfigure,
    RunInfo,
    Runs,
    Show,
    ShowRuns,
    Subscribe,
    Watch,
)
from libecs.wire.telemetry import Severity

T = TypeVar("T")

ACCEPT_S = 5.0
"""How long a core may take to write an operation down, before a cancelled creation is given up."""

TARGETS = ("STANDBY", "DEPLOYED", "CONFIGURED")
"""States that an environment can be made in."""


class Link(Protocol):
    """The way to a core. `send` never blocks; what comes back is given to the callback that made the link."""

    def send(self, message: object) -> None:
        """Send one message of `wire/client.py`."""


class AsyncEcs:
    """A control system: its environments and runs.

    `connect` is given the function that takes incoming messages and returns the link. Make it inside a running event
    loop, then `await open()`.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[object], None]], Link],
        *,
        requester: str,
        add_workflow: Callable[[str, Mapping[str, str]], str] | None = None,
    ) -> None:
        """`add_workflow` takes name and files of a script's workflow, and gives the expression that names it."""
        self.requester = requester
        self._add_workflow = add_workflow
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._name = secrets.token_hex(4)
        self._counter = 0
        self._mirror = Mirror()
        self._operations: dict[str, Operation] = {}
        self._requests: dict[str, tuple[object, asyncio.Future[Any]]] = {}
        self._readers: weakref.WeakSet[Reader[Event]] = weakref.WeakSet()
        self._log_readers: weakref.WeakSet[LogReader] = weakref.WeakSet()
        self._watches = Watches(self._ask_to_watch)
        self._waiters: set[asyncio.Future[None]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._closed: EcsError | None = None
        self._link = connect(self.receive)

    async def open(self) -> None:
        """Subscribe to events and learn what there is."""
        self._send(Subscribe(request=self._id()))
        await self._snapshot()

    async def close(self) -> None:
        """Let go of the link; everything that still waits fails with Unreachable."""
        self.fail("this session is closed")
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def fail(self, reason: str) -> None:
        """The link is gone for good: nobody will answer any more."""
        if self._closed is not None:
            return
        self._closed = error = Unreachable(reason)
        for operation in self._operations.values():
            operation.close(error)
        for _, future in self._requests.values():
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._operations.clear()
        self._requests.clear()
        for reader in self._readers:
            reader.close()
        for log_reader in self._log_readers:
            log_reader.close()
        self._wake()

    def resend(self) -> None:
        """Send again what is not answered, after the link was down. The core does nothing twice."""
        self._send(Subscribe(request=self._id(), since=(self._mirror.last or -1) + 1))
        for operation in self._operations.values():
            self._send(operation.message)
        for message, _ in self._requests.values():
            self._send(message)
        self._watches.again()

    # what comes in

    def receive(self, message: object) -> None:
        """Take one message of the core."""
        if isinstance(message, Events):
            self._take_events(message)
        elif isinstance(message, Metrics | Lines):
            self._watches.take(message)
        elif isinstance(message, Accepted):
            operation = self._operations.get(message.operation)
            if operation is not None and not operation.environment.done():
                operation.environment.set_result(message.environment)
        elif isinstance(message, Finished):
            operation = self._operations.pop(message.operation, None)
            if operation is not None:
                if not operation.environment.done():
                    operation.environment.set_result(message.environment)
                if not operation.finished.done():
                    operation.finished.set_result(message)
        elif isinstance(message, Environments | Runs):
            _, future = self._requests.pop(message.request, (None, None))
            if future is not None and not future.done():
                future.set_result(message)
        self._wake()

    def _take_events(self, message: Events) -> None:
        was_behind = self._mirror.behind
        fresh = self._mirror.take_events(message.events)
        for reader in self._readers:
            for event in fresh:
                reader.put(event)
        if self._mirror.behind and not was_behind:
            self._spawn(self._snapshot())

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # what goes out

    def _id(self) -> str:
        self._counter += 1
        return f"{self._name}-{self._counter}"

    def _send(self, message: object) -> None:
        if self._closed is not None:
            raise self._closed
        if os.getpid() != self._pid:
            raise Conflict(
                f"this session belongs to process {self._pid}, of which this one is a fork",
                hint="make a session of its own in each process, after the fork",
            )
        self._link.send(message)

    async def request(self, message: Show | ShowRuns) -> Any:
        """Send a question, return its answer."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._requests[message.request] = (message, future)
        try:
            self._send(message)
            return await future
        finally:
            self._requests.pop(message.request, None)

    async def _snapshot(self) -> None:
        answer = await self.request(Show(request=self._id(), tasks=False))
        self._mirror.take_snapshot(answer.sequence, answer.environments, whole=True)
        self._wake()

    def begin(self, message: Request) -> Operation:
        """Send a request that changes something."""
        operation = Operation(message, self._loop)
        self._operations[operation.id] = operation
        try:
            self._send(message)
        except EcsError:
            del self._operations[operation.id]
            raise
        return operation

    async def finish(self, operation: Operation, timeout_s: float | None = None) -> Finished:
        """Wait for the end of an operation.

        Raises:
            WaitTimeout: after `timeout_s` seconds; the operation goes on.
            EcsError: the operation failed; its class says how.
        """
        try:
            async with asyncio.timeout(timeout_s):
                finished = await asyncio.shield(operation.finished)
        except TimeoutError:
            name = getattr(operation.message, "event", type(operation.message).__name__).upper()
            raise WaitTimeout(
                f"{name} did not end within {timeout_s:g} s; it goes on as operation {operation.id}",
                hint="wait again, or destroy the environment",
            ) from None
        if finished.code:
            raise of_finished(finished)
        return finished

    async def until(
        self,
        true: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        poll_s: Callable[[], float | None] = lambda: None,
    ) -> bool:
        """Wait until `true()` is; look after each message, and after `poll_s()` seconds if any. False: timed out."""
        end = None if timeout_s is None else self._loop.time() + timeout_s
        while not true():
            if self._closed is not None:
                raise self._closed
            left = None if end is None else end - self._loop.time()
            if left is not None and left <= 0:
                return False
            waits = [wait for wait in (left, poll_s()) if wait is not None]
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout(min(waits) if waits else None):
                    await waiter
            except TimeoutError:
                pass
            finally:
                self._waiters.discard(waiter)
        return True

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def quiet() -> None:
            with contextlib.suppress(Unreachable):
                await coroutine

        task = self._loop.create_task(quiet())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # for scripts

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
    ) -> EnvironmentRequest:
        """Make an environment: `await` it, or use it in `async with`, which destroys it at the end.

        Args:
            workflow: `[repository/workflows/]name[@revision]`, or one made by `libecs.workflow()`.
            vars: variables of the request; values that are no text become JSON. Of a workflow made by
                `libecs.workflow()`, `task.property` is the property of that task.
            name: how people call it.
            target: state to bring it to: STANDBY, DEPLOYED or CONFIGURED.
            keep: do not destroy it when `async with` is left.
            reuse: take the environment of that name, or of that workflow, if there is one.
            timeout: seconds to wait; then WaitTimeout, and the operation goes on.

        Raises:
            UsageError: no such target, or `vars` name a task that is not there.
        """
        if target not in TARGETS:
            raise UsageError(f"target={target!r}", hint=f"targets are {', '.join(TARGETS)}; env.run() takes a run")
        if isinstance(workflow, ScriptWorkflow):
            name = name or workflow.name
            if self._add_workflow is None:
                raise UsageError(
                    "this core takes workflows from repositories only", hint="put the workflow into a repository"
                )
            properties, vars = workflow.split(vars or {})
            workflow = self._add_workflow(workflow.name, workflow.with_properties(properties).files())
        return EnvironmentRequest(self, workflow, texts(vars or {}), name, EnvState[target], keep, reuse, timeout)

    async def create(
        self, workflow: str, variables: Mapping[str, str], name: str, target: EnvState, timeout_s: float | None
    ) -> AsyncEnvironment:
        """Make an environment; if it does not come to `target`, nothing of it is left and its error is raised."""
        operation = self.begin(
            Create(
                operation=self._id(),
                workflow=workflow,
                variables=variables,
                name=name,
                target=target,
                requester=self.requester,
            )
        )
        try:
            finished = await self.finish(operation, timeout_s)
        except WaitTimeout as error:
            if operation.environment.done() and (made := operation.environment.result()):
                error.hint = f"ecs.get({made!r}) is the environment: wait for it, or destroy it"
            raise
        except (EcsError, asyncio.CancelledError):
            if (
                operation.environment.done()
                and not operation.environment.exception()
                and operation.environment.result()
            ):
                await self._discard(operation.environment.result())
            raise
        return await self.get(finished.environment)

    async def _discard(self, environment: str) -> None:
        """Destroy what a failed or cancelled creation has left, if it has."""
        with contextlib.suppress(EcsError):
            operation = Destroy(
                operation=self._id(), environment=environment, force=True, allow_running=True, requester=self.requester
            )
            await self.finish(self.begin(operation))

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

    def info(self, environment: str) -> EnvironmentInfo:
        """Return what is known of an environment, without tasks and roles.

        Raises:
            NotFound: there is none of this id, or no longer.
        """
        try:
            return self._mirror.environments[environment]
        except KeyError:
            raise NotFound(f"no environment {environment!r}, or no longer") from None

    def forget(self, environment: str) -> None:
        """Drop what is known of an environment that is destroyed."""
        self._mirror.environments.pop(environment, None)
        self._watches.forget(environment)

    async def show(self, environment: str, *, tasks: bool = True) -> EnvironmentInfo:
        """Ask the core for one environment with its roles and tasks."""
        answer: Environments = await self.request(Show(request=self._id(), environment=environment, tasks=tasks))
        if not answer.environments:
            raise NotFound(f"no environment {environment!r}, or no longer")
        self._mirror.take_snapshot(answer.sequence, answer.environments, whole=False)
        self._wake()
        return answer.environments[0]

    async def runs(self, limit: int = 100) -> tuple[RunInfo, ...]:
        """Return the records of the last runs, in the order of their numbers."""
        answer: Runs = await self.request(ShowRuns(request=self._id(), limit=limit))
        return answer.runs

    async def run_record(self, number: int) -> RunInfo:
        """Return the record of one run.

        Raises:
            NotFound: no run has this number.
        """
        answer: Runs = await self.request(ShowRuns(request=self._id(), number=number))
        if not answer.runs:
            raise NotFound(f"no run {number}")
        return answer.runs[0]

    def events(self, environment: str = "") -> Reader[Event]:
        """Return the events from now on, of one environment or of all, for `async for`; ends with the session."""
        reader: Reader[Event] = Reader(lambda event: environment in ("", event.environment))
        if self._closed is not None:
            reader.close()
        self._readers.add(reader)
        return reader

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
        if self._closed is not None:
            reader.close()
        else:
            self._log_readers.add(reader)
            self._watches.add(reader)
        return reader

    def watch(self, watcher: Watcher) -> None:
        """Give a watcher what it wants, from now on, or with what it wants now."""
        if self._closed is None:
            self._watches.add(watcher)

    def _ask_to_watch(self, environment: str, metrics: bool, lines: bool) -> None:
        self._send(Watch(request=self._id(), environment=environment, metrics=metrics, lines=lines))

    def control(self, environment: str, event: str, *, comment: str = "", end_reason: str = "") -> Operation:
        """Send an event to an environment; the caller waits with `finish`."""
        return self.begin(
            Control(
                operation=self._id(),
                environment=environment,
                event=event,
                comment=comment,
                requester=self.requester,
                end_reason=end_reason,
            )
        )

    def reconfiguration(self, environment: str, values: Mapping[str, object], tasks: str) -> Operation:
        """Ask for other properties of some tasks; the caller waits with `finish`."""
        return self.begin(
            Reconfigure(
                operation=self._id(),
                environment=environment,
                values=texts(values),
                tasks=tasks,
                requester=self.requester,
            )
        )

    def destruction(self, environment: str, *, force: bool, allow_running: bool) -> Operation:
        """Ask for the end of an environment; the caller waits with `finish`."""
        return self.begin(
            Destroy(
                operation=self._id(),
                environment=environment,
                force=force,
                allow_running=allow_running,
                requester=self.requester,
            )
        )
