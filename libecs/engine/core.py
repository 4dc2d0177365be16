"""The core's engine: nodes, clients and operations around the environments.

It decides and nothing else (see `effects`). A new life is made from the records of the last one: `start` takes the
next epoch, and what nodes announce is compared with the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import attrs

from libecs.engine import operations, steps
from libecs.engine.effects import (
    CallDone,
    Connected,
    Continue,
    Disconnected,
    Effect,
    Expand,
    Expanded,
    Input,
    Journal,
    Now,
    Persist,
    Publish,
    Received,
    Resume,
    RunNumberTaken,
    Send,
    Tick,
)
from libecs.engine.environment import Environment, Task
from libecs.engine.nodes import Condemned, Node, Reach
from libecs.engine.placement import NodeOffer
from libecs.engine.plan import Plan, StepKind
from libecs.engine.reconcile import Known, reconcile
from libecs.engine.records import (
    CONDEMNED,
    CORE,
    ENVIRONMENT,
    OPERATION,
    PLACEMENT,
    PLAN,
    RUN,
    WORKFLOW,
    EnvironmentRecord,
    OperationRecord,
    PlacementRecord,
)
from libecs.engine.runs import degrade
from libecs.errors import DecodeError
from libecs.fsm import EnvState, TaskState
from libecs.ids import IdSource
from libecs.language.functions import FunctionTable, pure_functions
from libecs.wire import client, node
from libecs.wire.client import Event, Finished, RunInfo
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.node import Phase, TaskStatus
from libecs.workflow.role import Workflow

KEEP_OPERATIONS = 1000
"""Answers of old operations that are kept for who asks again."""


@attrs.frozen(kw_only=True)
class CoreSettings:
    """What a core is told when it is made."""

    instance: str
    idempotent_calls: frozenset[str] = frozenset()
    """Calls (`name.Method`) that may be repeated when nobody knows how they ended."""
    functions: FunctionTable | None = None
    """What texts that are evaluated late may call; None = the pure ones."""
    keepalive_s: float = 0.5
    suspect_s: float = 1.5
    lost_s: float = 2.5


class CoreEngine:
    """The core. `records` are those of the last life."""

    def __init__(self, settings: CoreSettings, records: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self.settings = settings
        records = records or {}
        core = records.get(CORE, {})
        self.fresh = not core
        self.epoch = int(core.get("epoch", b"0")) + 1
        self.now = Now(0.0, 0)
        self.environments: dict[str, Environment] = {}
        self.nodes: dict[str, Node] = {}
        self.operations: dict[str, OperationRecord] = {}
        self.runs: dict[int, RunInfo] = {}
        self.condemned = Condemned()
        self.quarantine: dict[str, str] = {}
        """Records that can't be read, and why."""
        self._ids = IdSource(settings.instance, self.epoch)
        self._functions = settings.functions or pure_functions(self._ids.next)
        self._sequence = int(core.get("sequence", b"0"))
        self._sessions = 0
        self._sessions_open: dict[int, Node] = {}
        self._tasks: dict[str, Environment] = {}
        self._subscribers: dict[str, None] = {}
        self._waiting_clients: dict[str, set[str]] = {}
        self._events: list[Event] = []
        self._out: list[Effect] = []
        self._deferred: deque[Callable[[], None]] = deque()
        self._resume_asked = False
        self._beat_at: float | None = None
        self._load(records)

    # the engine's face

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [] if self._beat_at is None else [self._beat_at]
        for env in self.environments.values():
            if env.deadline is not None:
                due.append(env.deadline)
            if env.resend_at is not None and env.waiting:
                due.append(env.resend_at)
        return min(due) if due else None

    def start(self, now: Now) -> list[Effect]:
        """Begin a life: take the epoch, and go on with what the last one left."""
        self._begin(now)
        self._out.append(Persist(CORE, "epoch", str(self.epoch).encode()))
        for name, reason in self.quarantine.items():
            self.event("quarantine", name=name, ok=False, text=reason)
        for env in list(self.environments.values()):
            if env.workflow is None:
                self._expand(env)
                continue
            steps.recover_calls(env, self)
            env.entered = False
            env.advance(self)
        self._beat_at = now.mono_s + self.settings.keepalive_s
        return self._end()

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """Take one input, return what is to be done about it."""
        late = now.mono_s - (self.next_deadline or now.mono_s)
        self._begin(now)
        if late > 1.0:
            self._forgive_pause(late)
        if isinstance(input, Received):
            self._received(input.peer, input.message)
        elif isinstance(input, Tick):
            self._tick()
        elif isinstance(input, Resume):
            self._resume_asked = False
            if self._deferred:
                self._deferred.popleft()()
        elif isinstance(input, CallDone):
            self._call_done(input)
        elif isinstance(input, RunNumberTaken):
            self._run_number_taken(input)
        elif isinstance(input, Expanded):
            self._expanded(input)
        elif isinstance(input, Disconnected):
            self._disconnected(input.peer)
        elif isinstance(input, Connected):
            pass  # who dials in speaks first
        return self._end()

    def _begin(self, now: Now) -> None:
        self.now = now
        self._out = []
        self._events = []

    def _end(self) -> list[Effect]:
        """Save what changed, number and publish the events; records come first by the contract."""
        for env in list(self.environments.values()):
            if env.moved and not env.waiting:
                env.publish_moved(self)
            if env.changed:
                self._save(env)
        if self._events:
            self._out.append(Persist(CORE, "sequence", str(self._sequence).encode()))
            self._out.extend(Journal(event) for event in self._events)
            self._out.append(Publish(tuple(self._events)))
            for peer in self._subscribers:
                self._out.append(Send(peer, client.Events(events=tuple(self._events))))
        if self._deferred and not self._resume_asked:
            self._resume_asked = True
            self._out.append(Continue())
        return self._out

    def _save(self, env: Environment) -> None:
        env.changed = False
        self._out.append(Persist(ENVIRONMENT, env.id, pack_value(env.record)))
        if env.plan is not env.saved_plan:
            env.saved_plan = env.plan
            self._out.append(Persist(PLAN, env.id, None if env.plan is None else pack_value(env.plan)))

    # recovery

    def _load(self, records: Mapping[str, Mapping[str, bytes]]) -> None:
        for name in records.get(CONDEMNED, {}):
            self.condemned.add(records[CONDEMNED][name].decode(), [name])
        for key, value in records.get(OPERATION, {}).items():
            self._guard(f"{OPERATION}/{key}", partial(self._load_operation, key, value))
        for key, value in records.get(RUN, {}).items():
            self._guard(f"{RUN}/{key}", partial(self._load_run, value))
        for key, value in records.get(ENVIRONMENT, {}).items():
            self._guard(f"{ENVIRONMENT}/{key}", partial(self._load_environment, key, value, records))

    def _guard(self, name: str, load: Callable[[], None]) -> None:
        """One record that can't be read costs one record, not the core."""
        try:
            load()
        except DecodeError as error:
            self.quarantine[name] = error.message

    def _load_operation(self, key: str, value: bytes) -> None:
        self.operations[key] = unpack_value(OperationRecord, value)

    def _load_run(self, value: bytes) -> None:
        run = unpack_value(RunInfo, value)
        self.runs[run.number] = run

    def _load_environment(self, key: str, value: bytes, records: Mapping[str, Mapping[str, bytes]]) -> None:
        record = unpack_value(EnvironmentRecord, value)
        workflow = placed = plan = None
        if (data := records.get(WORKFLOW, {}).get(key)) is not None:
            workflow = unpack_value(Workflow, data)
        if (data := records.get(PLACEMENT, {}).get(key)) is not None:
            placed = unpack_value(PlacementRecord, data).placed
        if (data := records.get(PLAN, {}).get(key)) is not None:
            plan = unpack_value(Plan, data)
        env = Environment(record, workflow, placed or (), plan, functions=self._functions)
        env.saved_plan = plan
        env.changed = False
        self.environments[env.id] = env
        self.adopt_tasks(env)

    # Context: what environments and steps need of us

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self._out.append(effect)

    def event(self, kind: str, environment: str = "", **fields: object) -> None:
        """Publish and journal an event."""
        self._sequence += 1
        self._events.append(
            Event(
                sequence=self._sequence,
                unix_ms=self.now.unix_ms,
                kind=kind,
                environment=environment,
                **fields,  # type: ignore[arg-type]
            )
        )

    def send_node(self, name: str, message: Callable[[int, int], object]) -> bool:
        """Send what `message(session, epoch)` makes, if the node is there; tell whether it was."""
        one = self.nodes.get(name)
        if one is None or one.session is None:
            return False
        self._out.append(Send(one.peer, message(one.session, self.epoch)))
        return True

    def defer(self, action: Callable[[], None]) -> None:
        """Do this in a later `handle` of its own."""
        self._deferred.append(action)

    def offers(self) -> list[NodeOffer]:
        """Return the nodes that can take tasks now, less what living environments use of them."""
        used = {name: one.offer() for name, one in self.nodes.items() if one.reach is Reach.UP and one.session}
        for env in self.environments.values():
            for placed in env.placed.values():
                offer = used.get(placed.node)
                if offer is not None:
                    used[placed.node] = attrs.evolve(
                        offer,
                        used_cpus=offer.used_cpus + placed.cpu,
                        used_memory_mb=offer.used_memory_mb + placed.memory_mb,
                        used_ports=offer.used_ports | frozenset(placed.ports),
                    )
        return list(used.values())

    def node_announced(self, name: str) -> bool:
        """Whether the node is there and has told what it holds."""
        one = self.nodes.get(name)
        return one is not None and one.announced

    def node_problem(self, name: str) -> str:
        """Return why a node can't be reached, "" if it can."""
        one = self.nodes.get(name)
        if one is None:
            return "the node has not come back yet"
        if one.reach is not Reach.UP:
            return f"the node does not answer for {self.now.mono_s - one.heard:.1f} s"
        return "" if one.announced else "the node has not told what it runs"

    def new_id(self) -> str:
        """Return an id that was never used."""
        return self._ids.next()

    def condemn(self, name: str, tasks: Iterable[str]) -> None:
        """End tasks for certain, however long that takes; `steps.gone` is called for each."""
        tasks = list(tasks)
        for task in self.condemned.add(name, tasks):
            self._out.append(Persist(CONDEMNED, task, name.encode()))
        self._kill(name, tasks)

    def _kill(self, name: str, tasks: Iterable[str]) -> None:
        names = tuple(tasks)
        if names:
            id = f"k{self.new_id()}"
            self.send_node(name, lambda session, epoch: node.Kill(session=session, epoch=epoch, id=id, tasks=names))

    def adopt_tasks(self, environment: Environment) -> None:
        """Route what nodes say of the environment's tasks to it."""
        for name, env in list(self._tasks.items()):
            if env is environment:
                del self._tasks[name]
        for name in environment.tasks:
            self._tasks[name] = environment

    def save_run(self, run: RunInfo) -> None:
        """Write a run record."""
        self.runs[run.number] = run
        self._out.append(Persist(RUN, str(run.number), pack_value(run)))

    def run(self, number: int) -> RunInfo:
        """Return a run record; an empty one for a number whose record is lost."""
        return self.runs.get(number) or RunInfo(number=number, environment="")

    def leave(self, environment: Environment) -> None:
        """The present step is over or given up."""
        steps.leave(environment, self)

    def idempotent(self, function: str) -> bool:
        """Whether a call may be repeated when nobody knows how it ended."""
        return function.partition("(")[0] in self.settings.idempotent_calls

    def perform(self, environment: Environment) -> None:
        """Enter the present step."""
        steps.enter(environment, self)

    def expire(self, environment: Environment) -> None:
        """The present step has taken too long."""
        steps.expire(environment, self)

    def finish(self, environment: Environment, answer: Finished) -> None:
        """End the operation that is going on."""
        name = environment.record.operation
        if name:
            environment.update(operation="")
            self._finish_operation(name, answer)

    def _finish_operation(self, name: str, answer: Finished) -> None:
        answer = attrs.evolve(answer, operation=name)
        record = self.operations.get(name)
        if record is not None:
            record = attrs.evolve(record, answer=pack_value(answer))
            self._put_operation(record)
        self.event(
            "operation.end",
            answer.environment,
            name=name,
            state=answer.state.name,
            ok=not answer.code,
            text=answer.message,
        )
        for peer in sorted(self._waiting_clients.pop(name, ())):
            self._out.append(Send(peer, answer))

    def _put_operation(self, record: OperationRecord) -> None:
        self.operations[record.operation] = record
        self._out.append(Persist(OPERATION, record.operation, pack_value(record)))
        if len(self.operations) > KEEP_OPERATIONS:
            old = next((name for name, one in self.operations.items() if one.answer), None)
            if old is not None:
                del self.operations[old]
                self._out.append(Persist(OPERATION, old, None))

    def remove(self, environment: Environment) -> None:
        """Forget an environment that is DONE, or that never came to be."""
        self.environments.pop(environment.id, None)
        for name in environment.tasks:
            self._tasks.pop(name, None)
        environment.changed = False
        for table in (ENVIRONMENT, WORKFLOW, PLACEMENT, PLAN):
            self._out.append(Persist(table, environment.id, None))

    # clients

    def _received(self, peer: str, message: object) -> None:
        if isinstance(message, node.NodeHello):
            self._node_hello(peer, message)
        elif isinstance(message, (node.Announce, node.Update, node.Answer, node.NodeKeepalive, node.Fenced)):
            self._from_node(peer, message)
        elif isinstance(message, (client.Create, client.Control, client.Destroy)):
            self._operation(peer, message)
        elif isinstance(message, client.Show):
            self._show(peer, message)
        elif isinstance(message, client.ShowRuns):
            self._show_runs(peer, message)
        elif isinstance(message, client.Subscribe):
            self._subscribers[peer] = None
            self._out.append(
                Send(peer, client.Environments(request=message.request, sequence=self._sequence, environments=()))
            )

    def _operation(self, peer: str, message: client.Create | client.Control | client.Destroy) -> None:
        known = self.operations.get(message.operation)
        if known is not None:
            if known.answer:
                self._out.append(Send(peer, unpack_value(Finished, known.answer)))
            else:
                self._waiting_clients.setdefault(message.operation, set()).add(peer)
                self._out.append(
                    Send(peer, client.Accepted(operation=message.operation, environment=known.environment))
                )
            return
        self._waiting_clients.setdefault(message.operation, set()).add(peer)
        verb = type(message).__name__.lower()
        environment = "" if isinstance(message, client.Create) else message.environment
        refused = operations.refusal(self.environments, message)
        if refused is not None:
            record = OperationRecord(
                operation=message.operation, environment=environment, verb=verb, requester=message.requester
            )
            self._put_operation(record)
            self._finish_operation(message.operation, refused)
            return
        if isinstance(message, client.Create):
            environment = self.new_id()
        record = OperationRecord(
            operation=message.operation, environment=environment, verb=verb, requester=message.requester
        )
        self._put_operation(record)
        self._out.append(Send(peer, client.Accepted(operation=message.operation, environment=environment)))
        if isinstance(message, client.Create):
            record_now = operations.new_record(environment, message, self.now)
            env = Environment(record_now, functions=self._functions)
            self.environments[environment] = env
            self.event("environment.state", environment, state=EnvState.STANDBY.name, text=message.workflow)
            self._expand(env)
        else:
            env = self.environments[environment]
            operations.prepare(env, self, message)
            env.advance(self)

    def _show(self, peer: str, message: client.Show) -> None:
        ages = self._ages()
        chosen = [
            env.info(self.now, ages, message.tasks)
            for env in self.environments.values()
            if message.environment in ("", env.id)
        ]
        self._out.append(
            Send(
                peer,
                client.Environments(request=message.request, sequence=self._sequence, environments=tuple(chosen)),
            )
        )

    def _show_runs(self, peer: str, message: client.ShowRuns) -> None:
        if message.number:
            runs = [self.runs[message.number]] if message.number in self.runs else []
        else:
            runs = [self.runs[number] for number in sorted(self.runs)[-message.limit :]]
        self._out.append(Send(peer, client.Runs(request=message.request, runs=tuple(runs))))

    def _ages(self) -> dict[str, int]:
        ages = {}
        for env in self.environments.values():
            for placed in env.placed.values():
                one = self.nodes.get(placed.node)
                if one is None:
                    ages[placed.node] = 0
                elif one.reach is not Reach.UP or one.session is None:
                    ages[placed.node] = int((self.now.mono_s - one.heard) * 1000)
        return ages

    # services

    def _expand(self, env: Environment) -> None:
        variables = {**env.record.variables, "environment_id": env.id}
        self._out.append(Expand(job=env.id, environment=env.id, workflow=env.record.request, variables=variables))

    def _expanded(self, input: Expanded) -> None:
        env = self.environments.get(input.job)
        if env is None or env.workflow is not None:
            return
        if input.workflow is None:
            self.event("environment.state", env.id, state=EnvState.DONE.name, ok=False, text=input.message)
            self.finish(
                env,
                Finished(
                    operation="",
                    environment=env.id,
                    state=EnvState.DONE,
                    code=input.code or "E_TEMPLATE",
                    message=input.message,
                ),
            )
            self.remove(env)
            return
        self._out.append(Persist(WORKFLOW, env.id, pack_value(input.workflow)))
        env.set_workflow(input.workflow)
        agenda = env.record.agenda
        if not agenda:
            self.finish(env, Finished(operation="", environment=env.id, state=env.state))
            return
        env.update(agenda=agenda[1:])
        env.begin(self, agenda[0])
        env.advance(self)

    def _call_done(self, input: CallDone) -> None:
        for env in list(self.environments.values()):
            if env.workflow is not None and steps.call_done(env, self, input):
                env.advance(self)
                return

    def _run_number_taken(self, input: RunNumberTaken) -> None:
        env = self.environments.get(input.key.partition(".")[0])
        if env is not None:
            steps.run_number_taken(env, self, input.key, input.number, input.error)
            env.advance(self)

    # nodes

    def _node_hello(self, peer: str, hello: node.NodeHello) -> None:
        if hello.epoch_seen > self.epoch:
            if not self.fresh:
                reason = f"epoch {hello.epoch_seen} has been seen, this core is {self.epoch}: another core took over"
                self._out.append(Send(peer, node.NodeRefused(epoch=self.epoch, reason=reason)))
                return
            # our records are lost; nobody else can be newer than what was announced
            self.epoch = hello.epoch_seen + 1
            self._ids = IdSource(self.settings.instance, self.epoch)
            self._out.append(Persist(CORE, "epoch", str(self.epoch).encode()))
        self._sessions += 1
        session = self.epoch * 1_000_000 + self._sessions
        old = self.nodes.get(hello.node)
        one = Node(hello=hello, peer=peer, session=session, heard=self.now.mono_s)
        if old is not None:
            one.reach, one.orphans = old.reach, old.orphans
            self._sessions_open.pop(old.session or 0, None)
        for env in self.environments.values():
            env.new_session(hello.node)
        self.nodes[hello.node] = one
        self._sessions_open[session] = one
        self._out.append(
            Send(peer, node.Welcome(version=1, epoch=self.epoch, session=session, instance=self.settings.instance))
        )
        self.event("node", name=hello.node, state="CONNECTED", text=hello.host)

    def _from_node(
        self,
        peer: str,
        message: node.Announce | node.Update | node.Answer | node.NodeKeepalive | node.Fenced,
    ) -> None:
        one = self._sessions_open.get(message.session)
        if isinstance(message, node.Fenced):
            if message.epoch > self.epoch:
                self.event("node", state="FENCED", ok=False, text=f"epoch {message.epoch} is newer than {self.epoch}")
            return
        if one is None:
            self._out.append(Send(peer, node.NodeRefused(epoch=self.epoch, reason="this session is not known")))
            return
        self._heard(one)
        if isinstance(message, node.NodeKeepalive):
            if message.sequence > one.sequence or one.gap:
                self._inquire(one)
            return
        if isinstance(message, node.Announce):
            one.gap = one.gap and message.sequence < one.sequence
        elif message.sequence > one.sequence + 1:
            one.gap = True
            self._inquire(one)
        one.sequence = max(one.sequence, message.sequence)
        if isinstance(message, node.Announce):
            self._announced(one, message)
        elif isinstance(message, node.Update):
            self._learn(one, ((status.task, status) for status in message.tasks), message.sequence)
        else:
            self._answered(one, message)

    def _inquire(self, one: Node) -> None:
        session = one.session
        assert session is not None
        self._out.append(Send(one.peer, node.Inquire(session=session, epoch=self.epoch)))

    def _heard(self, one: Node) -> None:
        one.heard = self.now.mono_s
        if one.reach is not Reach.UP:
            was, one.reach = one.reach, Reach.UP
            self.event("node", name=one.name, state="UP")
            if was is Reach.LOST:
                self._mark_lost(one.name, False)

    def _learn(self, one: Node, statuses: Iterable[tuple[str, TaskStatus]], sequence: int) -> None:
        touched: dict[str, Environment] = {}
        for name, status in statuses:
            env = self._tasks.get(name)
            if env is None:
                continue
            task = env.tasks[name]
            was_dead = task.dead
            if env.learn(task, status, sequence):
                touched[env.id] = env
                self._consider(env, task, was_dead)
        for env in touched.values():
            env.advance(self)

    def _consider(self, env: Environment, task: Task, was_dead: bool) -> None:
        """A task changed: that may end a step, or the run."""
        step = env.plan.steps[env.record.index] if env.plan is not None and env.entered else None
        if step is not None and task.id in env.waiting:
            if step.kind is StepKind.LAUNCH:
                steps.judge_launch(env, task)
                return
            if step.kind is StepKind.TASKS:
                steps.judge_transit(env, task, step)
                return
        if task.dead and not was_dead and not task.hook:
            if not task.critical:
                degrade(env, self)
            env.broken(self, task)

    def _announced(self, one: Node, message: node.Announce) -> None:
        known = []
        for env in self.environments.values():
            launching = env.plan is not None and not env.record.launched
            for task in env.tasks.values():
                if task.node == one.name and not task.hook:
                    sure = task.as_of >= 0 or not launching
                    known.append(Known(task=task.id, launched=sure and self._was_launched(env, task)))
        findings = reconcile(known, self.condemned.of(one.name), message.tasks)
        one.announced = True
        self._learn(one, ((held.status.task, held.status) for held in findings.adopted), message.sequence)
        for held in findings.orphans:
            if held.status.task not in one.orphans and self._hook_owner(held.status.task) is None:
                one.orphans.add(held.status.task)
                self.event(
                    "orphan",
                    held.environment,
                    role=held.role,
                    name=held.status.task,
                    ok=False,
                    text=f"node {one.name} runs a task that no record knows (pid {held.status.pid})",
                )
        for name in findings.lost:
            self._lost_task(one, name, message.sequence)
        self._kill(one.name, self.condemned.of(one.name))
        for env in list(self.environments.values()):
            steps.resend(env, self)
            env.advance(self)

    def _was_launched(self, env: Environment, task: Task) -> bool:
        """Whether a task that a node does not hold must be one that it lost."""
        step = env.plan.steps[env.record.index] if env.plan is not None and env.entered else None
        if step is not None and step.kind is StepKind.LAUNCH and task.id in env.waiting:
            return task.as_of >= 0
        return env.record.launched or task.as_of >= 0

    def _hook_owner(self, name: str) -> Environment | None:
        return next((env for env in self.environments.values() if name in env.hooks), None)

    def _lost_task(self, one: Node, name: str, sequence: int) -> None:
        env = self._tasks.get(name)
        if env is None or sequence <= env.tasks[name].as_of:
            return
        exit = node.Exit(cause=node.ExitCause.UNKNOWN)
        error = "its node does not hold it any more"
        status = TaskStatus(task=name, phase=Phase.EXITED, state=TaskState.ERROR, exit=exit, error=error)
        self._learn(one, ((name, status),), sequence)

    def _answered(self, one: Node, message: node.Answer) -> None:
        if message.id.startswith("k"):
            for name in message.done:
                self._gone(name)
            return
        env = self.environments.get(message.id.partition(".")[0])
        if env is None or env.workflow is None:
            return
        for name in message.done:
            task = env.tasks.get(name)
            if task is not None:
                env.learn(task, attrs.evolve(self._status_of(task), state=message.state), message.sequence)
        steps.answered(env, self, one.name, message)
        env.advance(self)

    def _status_of(self, task: Task) -> TaskStatus:
        return TaskStatus(
            task=task.id,
            phase=task.phase,
            state=task.state,
            pid=task.pid,
            exit=task.exit,
            error=task.error,
            last_log=task.last_log,
            end_of_stream=task.end_of_stream,
        )

    def _gone(self, name: str) -> None:
        if self.condemned.remove(name):
            self._out.append(Persist(CONDEMNED, name, None))
        env = self._tasks.get(name)
        if env is not None:
            steps.gone(env, name)
            env.advance(self)

    def _disconnected(self, peer: str) -> None:
        self._subscribers.pop(peer, None)
        for peers in self._waiting_clients.values():
            peers.discard(peer)
        for one in self.nodes.values():
            if one.peer == peer:
                self._sessions_open.pop(one.session or 0, None)
                one.session = None
                one.announced = False

    # time

    def _tick(self) -> None:
        now = self.now.mono_s
        if self._beat_at is not None and now >= self._beat_at:
            self._beat_at = now + self.settings.keepalive_s
            self._beat()
        for env in list(self.environments.values()):
            if env.deadline is not None and now >= env.deadline:
                env.deadline = None
                self.expire(env)
                env.advance(self)
            elif env.resend_at is not None and now >= env.resend_at:
                steps.resend(env, self)
                env.advance(self)

    def _beat(self) -> None:
        now = self.now.mono_s
        for one in self.nodes.values():
            if one.session is not None:
                alive = node.CoreKeepalive(session=one.session, epoch=self.epoch, seen=one.sequence)
                self._out.append(Send(one.peer, alive))
            age = now - one.heard
            if one.reach is Reach.UP and age >= self.settings.suspect_s:
                one.reach = Reach.SUSPECT
                self.event("node", name=one.name, state="SUSPECT", ok=False, text=f"silent for {age:.1f} s")
            if one.reach is Reach.SUSPECT and age >= self.settings.lost_s:
                one.reach = Reach.LOST
                self.event("node", name=one.name, state="LOST", ok=False, text=f"silent for {age:.1f} s")
                self._mark_lost(one.name, True)
            waiting = self.condemned.of(one.name)
            if waiting and one.session is not None and now >= one.kill_again_at:
                one.kill_again_at = now + steps.RESEND_S * 5
                self._kill(one.name, waiting)

    def _mark_lost(self, name: str, lost: bool) -> None:
        for env in self.environments.values():
            for task in env.tasks.values():
                if task.node == name:
                    task.lost = lost
                    env.show(task)

    def _forgive_pause(self, lost_s: float) -> None:
        """We were stopped, not the others: nobody is late for that."""
        for one in self.nodes.values():
            one.heard += lost_s
        if self._beat_at is not None:
            self._beat_at += lost_s
        for env in self.environments.values():
            if env.deadline is not None:
                env.deadline += lost_s
            if env.resend_at is not None:
                env.resend_at += lost_s
