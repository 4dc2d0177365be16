"""A core of a few lines that speaks the client protocol in memory: one state machine, no tasks, scripted failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import attrs
import pytest

from libecs.client.bridge import Bridge
from libecs.client.ecs import AsyncEcs
from libecs.client.sync import Ecs
from libecs.errors import IllegalTransition
from libecs.fsm import EnvEvent, EnvState, Mode, TaskState, next_env
from libecs.wire.client import (
    Accepted,
    Control,
    Create,
    Destroy,
    Environments,
    EventPage,
    Events,
    Finished,
    Lines,
    Metrics,
    Reconfigure,
    Runs,
    Show,
    ShowEvents,
    ShowRuns,
    Subscribe,
    Watch,
)
from libecs.wire.info import EnvironmentInfo, Event, MetricInfo, RunCondition, RunInfo, TaskInfo, TaskLine
from libecs.wire.node import Phase
from libecs.wire.telemetry import LogLine, Severity

M = TypeVar("M")


def task(role: str) -> TaskInfo:
    return TaskInfo(
        task=f"t-{role}",
        role=role,
        class_name="sink",
        mode=Mode.DIRECT.name,
        node="node1",
        critical=True,
        phase=Phase.ACTIVE,
        state=TaskState.RUNNING,
        pid=4711,
    )


class FakeCore:
    """Answers in the next turn of the loop, as a link does."""

    def __init__(self) -> None:
        self.environments: dict[str, EnvironmentInfo] = {}
        self.runs: dict[int, RunInfo] = {}
        self.received: list[object] = []
        self.sequence = 100
        self.next_run = 1
        self.silent: set[str] = set()
        """Events that are accepted and never finished, until `release`."""
        self.fail_next: Finished | None = None
        """The next operation ends so, and its environment in ERROR."""
        self.drop_events = False
        self.journal: list[Event] = []
        self.watched: dict[str, Watch] = {}
        self._receive: Callable[[object], None] = lambda message: None

    def connect(self, receive: Callable[[object], None]) -> FakeCore:
        self._receive = receive
        return self

    def send(self, message: object) -> None:
        self.received.append(message)
        asyncio.get_running_loop().call_soon(self._handle, message)

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.received if isinstance(message, kind)]

    def emit(self, kind: str, environment: str, **fields: object) -> None:
        self.sequence += 1
        event = Event(sequence=self.sequence, unix_ms=1, kind=kind, environment=environment, **fields)  # type: ignore[arg-type]
        self.journal.append(event)
        if not self.drop_events:
            self._receive(Events(events=(event,)))

    def set_state(self, environment: str, state: EnvState, cause: str = "") -> None:
        self.environments[environment] = attrs.evolve(self.environments[environment], state=state, cause=cause)
        self.emit("environment.state", environment, state=state.name, text=cause)

    def tell(self, environment: str, role: str, name: str, *samples: float) -> None:
        """A task has told samples of a metric in the run that goes on; whoever watches hears of it."""
        number = self.environments[environment].run_number
        run = self.runs[number]
        old = next((one for one in run.metrics if (one.role, one.name) == (role, name)), None)
        n, total = (old.n, old.sum) if old else (0, 0.0)
        info = MetricInfo(
            role=role,
            name=name,
            unit="",
            n=n + len(samples),
            sum=total + sum(samples),
            min=min(samples),
            max=max(samples),
            last=samples[-1],
            last_ms=self.sequence,
        )
        rest = tuple(one for one in run.metrics if one is not old)
        self.runs[number] = attrs.evolve(run, metrics=(*rest, info))
        if any(watch.metrics for watch in self._watching(environment)):
            self._receive(Metrics(environment=environment, run=number, metrics=(info,)))

    def _watching(self, environment: str) -> list[Watch]:
        return [watch for id, watch in self.watched.items() if id in ("", environment)]

    def say(self, environment: str, role: str, text: str, severity: Severity = Severity.INFO, run: int = 0) -> None:
        """A task writes a line; whoever watches hears of it."""
        if any(watch.lines for watch in self._watching(environment)):
            line = TaskLine(role=role, node="node1", line=LogLine(severity=severity, text=text, unix_ms=1500))
            self._receive(Lines(environment=environment, run=run, lines=(line,)))

    def break_down(self, environment: str, cause: str) -> None:
        """Something critical dies."""
        info = self.environments[environment]
        if info.run_number:
            self._end_run(environment, "ERROR", RunCondition.FAILED)
        self.set_state(environment, EnvState.ERROR, cause)

    def release(self, operation: Control) -> None:
        """Finish an operation that was held back."""
        self._control(operation)

    def _handle(self, message: object) -> None:
        if isinstance(message, Show):
            infos = [info for id, info in self.environments.items() if message.environment in ("", id)]
            self._receive(Environments(request=message.request, sequence=self.sequence, environments=tuple(infos)))
        elif isinstance(message, ShowRuns):
            records = [run for number, run in self.runs.items() if message.number in (0, number)]
            self._receive(Runs(request=message.request, runs=tuple(records)))
        elif isinstance(message, Create):
            self._create(message)
        elif isinstance(message, Destroy):
            self._destroy(message)
        elif isinstance(message, Control):
            self._receive(Accepted(operation=message.operation, environment=message.environment))
            if message.event not in self.silent:
                self._control(message)
        elif isinstance(message, Reconfigure):
            self._reconfigure(message)
        elif isinstance(message, Watch):
            self.watched[message.environment] = message
            for id, info in self.environments.items():
                if message.metrics and message.environment in ("", id) and info.run_number:
                    metrics = self.runs[info.run_number].metrics
                    self._receive(Metrics(environment=id, run=info.run_number, metrics=metrics))
        elif isinstance(message, ShowEvents):
            wanted = [event for event in self.journal if message.environment in ("", event.environment)]
            later = [event for event in wanted if event.sequence >= message.since]
            page = wanted[-message.limit :] if message.last else later[: message.limit]
            more = not message.last and len(later) > message.limit
            self._receive(EventPage(request=message.request, events=tuple(page), more=more))
        else:
            assert isinstance(message, Subscribe)
            self._receive(Environments(request=message.request, sequence=self.sequence, environments=()))

    def _create(self, message: Create) -> None:
        id = f"env{len(self.environments) + 1}"
        tasks = tuple(task(f"demo.host-{n}.{kind}") for n in (1, 2) for kind in ("source", "sink"))
        self.environments[id] = EnvironmentInfo(
            environment=id,
            name=message.name,
            workflow=message.workflow,
            revision="local",
            state=EnvState.STANDBY,
            created_ms=len(self.environments) + 1,
            tasks=tasks,
        )
        self._receive(Accepted(operation=message.operation, environment=id))
        self.emit("environment.state", id, state="STANDBY")
        if "CREATE" in self.silent:
            return
        if self.fail_next is not None:
            self._fail(message.operation, id)
            return
        self.set_state(id, message.target)
        self._receive(Finished(operation=message.operation, environment=id, state=message.target))

    def _fail(self, operation: str, environment: str) -> None:
        assert self.fail_next is not None
        finished = attrs.evolve(self.fail_next, operation=operation, environment=environment)
        self.fail_next = None
        if finished.state is EnvState.ERROR:
            self.break_down(environment, finished.cause)
        self._receive(finished)

    def _control(self, message: Control) -> None:
        info = self.environments[message.environment]
        if self.fail_next is not None:
            self._fail(message.operation, message.environment)
            return
        event = EnvEvent[message.event]
        try:
            state = next_env(info.state, event)
        except IllegalTransition as error:
            finished = Finished(
                operation=message.operation,
                environment=message.environment,
                state=info.state,
                code=error.code,
                message=error.message,
            )
            self._receive(finished)
            return
        number = info.run_number
        if event is EnvEvent.START_ACTIVITY:
            number = self.next_run
            self.next_run += 1
            self.runs[number] = RunInfo(number=number, environment=message.environment, comment=message.comment)
            self.environments[message.environment] = attrs.evolve(info, run_number=number)
            self.emit("run.start", message.environment, run_number=number)
        self.set_state(message.environment, state)
        if event is EnvEvent.STOP_ACTIVITY:
            self._end_run(message.environment, message.end_reason, RunCondition.GOOD)
        self._receive(
            Finished(operation=message.operation, environment=message.environment, state=state, run_number=number)
        )

    def _reconfigure(self, message: Reconfigure) -> None:
        self._receive(Accepted(operation=message.operation, environment=message.environment))
        if self.fail_next is not None:
            self._fail(message.operation, message.environment)
            return
        state = self.environments[message.environment].state
        self.emit("transition.begin", message.environment, transition="RECONFIGURE")
        self.emit("transition.end", message.environment, transition="RECONFIGURE")
        self._receive(Finished(operation=message.operation, environment=message.environment, state=state))

    def _end_run(self, environment: str, reason: str, condition: RunCondition) -> None:
        number = self.environments[environment].run_number
        self.runs[number] = attrs.evolve(self.runs[number], end_reason=reason, condition=condition)
        info = self.environments[environment]
        self.environments[environment] = attrs.evolve(info, run_number=0, last_run_number=number)
        self.emit("run.end", environment, run_number=number)

    def _destroy(self, message: Destroy) -> None:
        self._receive(Accepted(operation=message.operation, environment=message.environment))
        if message.environment not in self.environments:
            finished = Finished(operation=message.operation, code="E_NOT_FOUND", message="no such environment")
            self._receive(finished)
            return
        info = self.environments[message.environment]
        if info.state is EnvState.RUNNING and not (message.force or message.allow_running):
            finished = Finished(operation=message.operation, code="E_CONFLICT", message="it is RUNNING")
            self._receive(finished)
            return
        self.set_state(message.environment, EnvState.DONE)
        del self.environments[message.environment]
        self._receive(Finished(operation=message.operation, environment=message.environment, state=EnvState.DONE))


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


@pytest.fixture
async def ecs(core: FakeCore) -> AsyncIterator[AsyncEcs]:
    client = AsyncEcs(core.connect, requester="me@here")
    await client.open()
    yield client
    await client.close()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    yield bridge
    bridge.close()


@pytest.fixture
def lab(core: FakeCore, bridge: Bridge) -> Iterator[Ecs]:
    """The sync face over the fake core."""

    async def begin() -> AsyncEcs:
        client = AsyncEcs(core.connect, requester="me@here")
        await client.open()
        return client

    inner = bridge.call(begin())
    yield Ecs(bridge, inner)
    bridge.call(inner.close())
