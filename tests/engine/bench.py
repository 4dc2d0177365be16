"""A core engine with nodes that do at once, and truly, what they are told: for tests of what the core decides.

Integrations are functions of the test. Time stands still unless the test moves it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from libecs.access import OWNER, Principal
from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import (
    Audit,
    Call,
    CallDone,
    CancelCall,
    Continue,
    DoWork,
    Expand,
    Expanded,
    Input,
    Journal,
    LookUp,
    Now,
    Persist,
    RecallEvents,
    Received,
    Replay,
    Resume,
    RunNumberTaken,
    SaveRun,
    Send,
    TakeRunNumber,
    Tick,
)
from libecs.fsm import EnvState, TaskState, target_of
from libecs.wire import client, node
from libecs.wire.client import Finished
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import EnvironmentInfo, Event, RunInfo, TaskInfo
from libecs.wire.node import Exit, ExitCause, Phase, TaskSpec, TaskStatus
from libecs.wire.telemetry import MetricSpan
from libecs.workflow.role import Workflow

CLIENT = "client"


@attrs.define
class FakeNode:
    """A node whose tasks are always obedient, unless `refuse` says otherwise."""

    name: str
    session: int = 0
    sequence: int = 0
    tasks: dict[str, TaskStatus] = attrs.field(factory=dict)
    specs: dict[str, TaskSpec] = attrs.field(factory=dict)
    refuse: dict[tuple[str, str], str] = attrs.field(factory=dict)
    """(role path, event) to the reason of its failure."""
    epoch_seen: int = 0
    silent: bool = False
    deaf: bool = False
    """It keeps alive and does nothing that it is told."""
    launched: list[str] = attrs.field(factory=list)
    """Roles whose processes were started."""
    killed: list[str] = attrs.field(factory=list)
    pids: int = 1000
    hooks_run: list[str] = attrs.field(factory=list)
    triggered: list[TaskSpec] = attrs.field(factory=list)
    commands: list[node.Transit] = attrs.field(factory=list)
    heard: list[node.Transit] = attrs.field(factory=list)
    """The same, with what a deaf node only heard."""

    def hello(self) -> node.NodeHello:
        return node.NodeHello(
            node=self.name,
            life=self.name,
            host="127.0.0.1",
            attributes={"machine_id": self.name},
            cpus=0,
            memory_mb=0,
            ports=((9000, 9999),),
            epoch_seen=self.epoch_seen,
        )

    def update(self, *tasks: str) -> node.Update:
        self.sequence += 1
        statuses = tuple(self.tasks[task] for task in tasks)
        return node.Update(session=self.session, sequence=self.sequence, tasks=statuses)

    def receive(self, message: object) -> list[object]:
        if isinstance(message, node.Welcome):
            self.session = message.session
            self.sequence += 1
            held = tuple(
                node.Held(status=status, environment=spec.environment, role=spec.role, class_name=spec.class_name)
                for status, spec in ((self.tasks[name], self.specs[name]) for name in self.tasks)
            )
            return [node.Announce(session=self.session, sequence=self.sequence, tasks=held)]
        if isinstance(message, node.Transit):
            self.heard.append(message)
        if self.silent or self.deaf:
            return []
        if isinstance(message, node.Launch):
            for spec in message.tasks:
                self.specs[spec.task] = spec
                if spec.task in self.tasks:  # it is held: it gets another use
                    self.tasks[spec.task] = attrs.evolve(self.tasks[spec.task], use=spec.environment)
                    continue
                self.launched.append(spec.role)
                self.pids += 1
                self.tasks[spec.task] = TaskStatus(
                    task=spec.task, phase=Phase.ACTIVE, state=TaskState.STANDBY, pid=self.pids
                )
            return [self.update(*(spec.task for spec in message.tasks))]
        if isinstance(message, node.Transit):
            return [self._transit(message)]
        if isinstance(message, node.Trigger):
            return [self._trigger(message)]
        if isinstance(message, node.Kill):
            for name in message.tasks:
                if self.tasks.pop(name, None) is not None:
                    self.killed.append(self.specs[name].role)
            return [self._answer(message.id, TaskState.DONE, message.tasks, ())]
        return []

    def _transit(self, message: node.Transit) -> node.Answer:
        self.commands.append(message)
        state = target_of(message.event)
        done, failed = [], []
        for name in message.tasks:
            reason = self.refuse.get((self.specs[name].role, message.event.name))
            if reason:
                failed.append(node.Failure(task=name, state=self.tasks[name].state, reason=reason))
            else:
                self.tasks[name] = attrs.evolve(self.tasks[name], state=state)
                done.append(name)
        return self._answer(message.id, state, tuple(done), tuple(failed))

    def _trigger(self, message: node.Trigger) -> node.Answer:
        done, failed = [], []
        for spec in message.tasks:
            self.hooks_run.append(spec.role)
            self.triggered.append(spec)
            reason = self.refuse.get((spec.role, "hook"))
            if reason:
                failed.append(node.Failure(task=spec.task, state=TaskState.ERROR, reason=reason))
            else:
                done.append(spec.task)
        return self._answer(message.id, TaskState.DONE, tuple(done), tuple(failed))

    def _answer(
        self, id: str, state: TaskState, done: tuple[str, ...], failed: tuple[node.Failure, ...]
    ) -> node.Answer:
        self.sequence += 1
        return node.Answer(session=self.session, sequence=self.sequence, id=id, state=state, done=done, failed=failed)

    def find(self, role: str) -> str:
        return next(name for name, spec in self.specs.items() if spec.role == role)


def good(call: Call) -> CallDone:
    """An integration that succeeds."""
    return CallDone(call=call.call, ok=True)


class Bench:
    """One core, its records, its nodes and one client."""

    def __init__(
        self,
        workflow: Workflow,
        nodes: tuple[str, ...] = ("n1",),
        integrations: Mapping[str, Callable[[Call], CallDone | None]] | None = None,
        settings: CoreSettings | None = None,
    ) -> None:
        self.workflow = workflow
        self.nodes = {name: FakeNode(name) for name in nodes}
        self.integrations = dict(integrations or {})
        self.settings = settings or CoreSettings(instance="test")
        self.records: dict[str, dict[str, bytes]] = {}
        self.numbers: dict[str, int] = {}
        self.mono, self.unix = 1000.0, 1_700_000_000_000
        self.events: list[Event] = []
        self.calls: list[Call] = []
        self.cancelled: list[str] = []
        self.answers: dict[str, Finished] = {}
        self.shown: tuple[EnvironmentInfo, ...] = ()
        self.told: dict[str, list[object]] = {}
        """Peer to the metrics and lines that it got."""
        self.run_infos: tuple[RunInfo, ...] = ()
        self.saved: list[RunInfo] = []
        self.audit: list[Audit] = []
        self.sent: list[tuple[str, object]] = []
        """All that clients got, with the peer."""
        self.asked: list[object] = []
        """RecallEvents, Replay, LookUp and DoWork."""
        self.queue: deque[Input] = deque()
        self.operation = 0
        self.restart()

    @property
    def now(self) -> Now:
        return Now(self.mono, self.unix)

    def restart(self) -> None:
        """Begin a new life of the core from the records of the last one."""
        self.queue.clear()
        self.core = CoreEngine(self.settings, self.records)
        self.perform(self.core.start(self.now))
        for one in self.nodes.values():
            if not one.silent:
                self.queue.append(Received(one.name, one.hello()))
        self.run()

    def run(self) -> None:
        while self.queue:
            self.unix += 1
            self.perform(self.core.handle(self.queue.popleft(), self.now))

    def wait(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass, nodes keeping alive."""
        end = self.mono + seconds
        while self.mono < end:
            self.mono += step
            self.unix += int(step * 1000)
            for one in self.nodes.values():
                if not one.silent and one.session:
                    self.queue.append(
                        Received(one.name, node.NodeKeepalive(session=one.session, sequence=one.sequence))
                    )
            self.run()
            due = self.core.next_deadline
            if due is not None and due <= self.mono:
                self.queue.append(Tick())
            self.run()

    def perform(self, effects: Sequence[object]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                table = self.records.setdefault(effect.table, {})
                if effect.value is None:
                    table.pop(effect.key, None)
                else:
                    table[effect.key] = effect.value
            elif isinstance(effect, Journal):
                self.events.append(effect.event)
        self.audit += [effect for effect in effects if isinstance(effect, Audit)]
        self.asked += [effect for effect in effects if isinstance(effect, (RecallEvents, Replay, LookUp, DoWork))]
        for effect in effects:
            self._perform_one(effect)

    def _perform_one(self, effect: object) -> None:
        if isinstance(effect, Send):
            if effect.peer in self.nodes:
                for answer in self.nodes[effect.peer].receive(effect.message):
                    self.queue.append(Received(effect.peer, answer))
                return
            self.sent.append((effect.peer, effect.message))
            if isinstance(effect.message, Finished):
                self.answers[effect.message.operation] = effect.message
            elif isinstance(effect.message, client.Environments):
                self.shown = effect.message.environments
            elif isinstance(effect.message, client.Runs):
                self.run_infos = effect.message.runs
            elif isinstance(effect.message, (client.Metrics, client.Lines)):
                self.told.setdefault(effect.peer, []).append(effect.message)
        elif isinstance(effect, Continue):
            self.queue.append(Resume())
        elif isinstance(effect, Expand):
            workflow = unpack_value(Workflow, pack_value(self.workflow))
            self.queue.append(Expanded(job=effect.job, workflow=workflow))
        elif isinstance(effect, Call):
            self.calls.append(effect)
            done = self.integrations.get(effect.function, good)(effect)
            if done is not None:
                self.queue.append(done)
        elif isinstance(effect, CancelCall):
            self.cancelled.append(effect.call)
        elif isinstance(effect, SaveRun):
            self.saved.append(effect.run)
        elif isinstance(effect, TakeRunNumber):
            number = self.numbers.setdefault(effect.key, len(self.numbers) + 1)
            self.queue.append(RunNumberTaken(key=effect.key, number=number))

    # what a client does

    def _next_operation(self) -> str:
        self.operation += 1
        return f"op{self.operation}"

    def create(self, target: EnvState = EnvState.CONFIGURED, **variables: Any) -> str:
        """Create an environment, return its id; the answer is in `answer`."""
        name = self._next_operation()
        self.queue.append(
            Received(CLIENT, client.Create(operation=name, workflow="test", variables=variables, target=target))
        )
        self.run()
        return next(reversed(self.core.environments), "")

    def control(self, event: str, environment: str = "") -> Finished | None:
        """Send an event, return the answer if it came at once."""
        name = self._next_operation()
        environment = environment or next(iter(self.core.environments))
        self.queue.append(Received(CLIENT, client.Control(operation=name, environment=environment, event=event)))
        self.run()
        return self.answers.get(name)

    def destroy(self, environment: str = "", **options: Any) -> Finished | None:
        """Destroy an environment, return the answer if it came at once."""
        name = self._next_operation()
        environment = environment or next(iter(self.core.environments))
        self.queue.append(Received(CLIENT, client.Destroy(operation=name, environment=environment, **options)))
        self.run()
        return self.answers.get(name)

    def show(self, environment: str = "") -> EnvironmentInfo:
        """Return the only environment, or this one, as a client sees it."""
        self.queue.append(Received(CLIENT, client.Show(request="s", environment=environment)))
        self.run()
        (info,) = self.shown
        return info

    def modify(self, environment: str = "", operation: str = "", **fields: Any) -> Finished | None:
        """Take roles out or put them back; return the answer if it came at once."""
        name = operation or self._next_operation()
        environment = environment or next(iter(self.core.environments))
        self.ask(client.Modify(operation=name, environment=environment, **fields))
        return self.answers.get(name)

    def task(self, role: str, environment: str = "") -> TaskInfo:
        """Return one task as a client sees it."""
        return next(one for one in self.show(environment).tasks if one.role == role)

    def ask(self, message: object, peer: str = CLIENT, who: Principal = OWNER) -> list[object]:
        """Let a client say something, return what it is told at once."""
        before = len(self.sent)
        self.queue.append(Received(peer, message, who))
        self.run()
        return [told for name, told in self.sent[before:] if name == peer]

    def ask_later(self, message: object) -> None:
        """Let a client say something, to be heard by `some` or `run`."""
        self.queue.append(Received(CLIENT, message))

    def some(self, count: int) -> None:
        """Let the core take the next inputs, and no more."""
        for _ in range(count):
            if self.queue:
                self.unix += 1
                self.perform(self.core.handle(self.queue.popleft(), self.now))

    def run_info(self, number: int) -> RunInfo:
        """Return all that clients can see of a run."""
        self.ask(client.ShowRuns(request="r", number=number))
        (run,) = self.run_infos
        return run

    def change(self, role: str, **fields: Any) -> None:
        """Let a task be different, and its node say so."""
        for one in self.nodes.values():
            for name, spec in one.specs.items():
                if spec.role == role and name in one.tasks:
                    one.tasks[name] = attrs.evolve(one.tasks[name], **fields)
                    self.send(one.name, one.update(name))

    def tell(self, role: str, *, run: int = 0, spans: tuple[MetricSpan, ...] = (), **fields: Any) -> None:
        """Let a task tell metrics or lines."""
        one = next(one for one in self.nodes.values() if any(spec.role == role for spec in one.specs.values()))
        told = node.TaskTelemetry(task=one.find(role), run=run, metrics=spans, **fields)
        self.send(one.name, node.Telemetry(session=one.session, tasks=(told,)))

    def send(self, node_name: str, message: object) -> None:
        """Let a node say something."""
        self.queue.append(Received(node_name, message))
        self.run()

    def kill(self, role: str, code: int = 0, signal: int = 0, log: str = "") -> None:
        """Let the process of a task end."""
        for one in self.nodes.values():
            for name, spec in one.specs.items():
                if spec.role == role and name in one.tasks:
                    cause = ExitCause.SIGNALED if signal else ExitCause.EXITED
                    one.tasks[name] = attrs.evolve(
                        one.tasks[name],
                        phase=Phase.EXITED,
                        state=TaskState.ERROR,
                        exit=Exit(cause=cause, code=code, signal=signal),
                        last_log=log,
                    )
                    self.send(one.name, one.update(name))
                    return
        raise AssertionError(f"no task {role}")

    @property
    def state(self) -> EnvState:
        return next(iter(self.core.environments.values())).state

    def states(self) -> list[str]:
        """Return the states that the environment went through."""
        return [event.state for event in self.events if event.kind == "environment.state"]

    def called(self) -> list[tuple[str, str]]:
        """Return (function, moment) of all calls."""
        return [(call.function, call.moment) for call in self.calls]


def never(call: Call) -> None:
    """Be an integration that does not answer."""
