"""The core's engine: environments, and around them the sessions with nodes and the requests of clients.

It decides and nothing else (see `effects`). A new life is made from the records of the last one: `start` takes the
next epoch, and what nodes announce is compared with the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from libecs.engine import autostop, calls, operations, steps
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
    SaveRun,
    Tick,
)
from libecs.engine.environment import Environment
from libecs.engine.placement import NodeOffer, Placed
from libecs.engine.plan import Plan
from libecs.engine.records import (
    CONFIGURATION,
    CORE,
    ENVIRONMENT,
    FRESH,
    PLACEMENT,
    PLAN,
    RECONFIGURATION,
    WORKFLOW,
    EnvironmentRecord,
)
from libecs.engine.recovery import Records, recover
from libecs.engine.requests import Requests
from libecs.engine.runbook import RunBook
from libecs.engine.sessions import Sessions
from libecs.engine.telemetry import Telemetry
from libecs.fsm import EnvState
from libecs.ids import IdSource
from libecs.language.functions import FunctionTable
from libecs.wire import client, node
from libecs.wire.client import Event, Finished, RunInfo
from libecs.wire.codec import pack_value
from libecs.workflow.launch import late_functions
from libecs.workflow.role import Workflow


@attrs.frozen(kw_only=True)
class CoreSettings:
    """What a core is told when it is made."""

    instance: str
    idempotent_calls: frozenset[str] = frozenset()
    """Calls (`name.Method`) that may be repeated when nobody knows how they ended."""
    functions: FunctionTable | None = None
    """What texts that are evaluated late may call; None = what needs no configuration."""
    runs_folder: str = ""
    """Where the tasks of run N get a folder N, on their nodes; "" = none."""
    keepalive_s: float = 0.5
    suspect_s: float = 1.5
    lost_s: float = 2.5


class CoreEngine:
    """The core. `records` are those of the last life."""

    def __init__(self, settings: CoreSettings, records: Records | None = None) -> None:
        self.settings = settings
        records = records or {}
        core = records.get(CORE, {})
        self.is_fresh = not core or FRESH in core
        self.epoch = int(core.get("epoch", b"0")) + 1
        self.now = Now(0.0, 0)
        self.environments: dict[str, Environment] = {}
        self.sessions = Sessions(self, settings.instance, settings.suspect_s, settings.lost_s)
        self.runbook = RunBook()
        self.telemetry = Telemetry(self)
        self.requests = Requests(self)
        self.quarantine: dict[str, str] = {}
        """Records that can't be read, and why."""
        self._ids = IdSource(settings.instance, self.epoch)
        self._functions = settings.functions or late_functions()
        self._sequence = int(core.get("sequence", b"0"))
        self._owners: dict[str, Environment] = {}
        self._events: list[Event] = []
        self._out: list[Effect] = []
        self._deferred: deque[Callable[[], None]] = deque()
        self._resume_asked = False
        self._beat_at: float | None = None
        recover(self, records)
        self.telemetry.adopted = frozenset(self._owners)

    # the engine's face

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [] if self._beat_at is None else [self._beat_at]
        if (told := self.telemetry.next_deadline) is not None:
            due.append(told)
        for env in self.environments.values():
            if (stop := autostop.deadline(env)) is not None:
                due.append(stop)
            if env.deadline is not None:
                due.append(env.deadline)
            if env.telling is not None and env.telling.again_at is not None and env.waiting:
                due.append(env.telling.again_at)
        return min(due) if due else None

    def start(self, now: Now) -> list[Effect]:
        """Begin a life: take the epoch, and go on with what the last one left."""
        self._begin(now)
        self.emit(Persist(CORE, "epoch", str(self.epoch).encode()))
        if self.is_fresh:
            self.emit(Persist(CORE, FRESH, b"1"))
            # the records of earlier lives may be lost, and nodes hold what had the first ids of epoch 1
            self._ids.counter = now.unix_ms // 1000
        for name, reason in self.quarantine.items():
            self.event("quarantine", name=name, ok=False, text=reason)
        for env in list(self.environments.values()):
            if env.workflow is None:
                self._expand(env)
                continue
            autostop.watch(env, self)
            calls.recover(env, self)
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
            self.requests.disconnected(input.peer)
            self.sessions.disconnected(input.peer)
        elif isinstance(input, Connected):
            pass  # who dials in speaks first
        return self._end()

    def _begin(self, now: Now) -> None:
        self.now = now
        self._out = []
        self._events = []

    def _end(self) -> list[Effect]:
        """Save what changed, and publish the events; by the contract records come first."""
        for env in list(self.environments.values()):
            autostop.consider(env, self)
            if env.moved and not env.waiting:
                env.publish_moved(self)
            if env.changed:
                self._save(env)
        self.runbook.flush(self.emit)
        if self._events:
            events = tuple(self._events)
            self.emit(Persist(CORE, "sequence", str(self._sequence).encode()))
            self._out.extend(Journal(event) for event in events)
            self.emit(Publish(events))
            self.requests.publish(events)
        if self._deferred and not self._resume_asked:
            self._resume_asked = True
            self.emit(Continue())
        return self._out

    def _save(self, env: Environment) -> None:
        env.changed = False
        self.emit(Persist(ENVIRONMENT, env.id, pack_value(env.record)))
        if env.plan is not env.saved_plan:
            env.saved_plan = env.plan
            self.emit(Persist(PLAN, env.id, None if env.plan is None else pack_value(env.plan)))

    def _received(self, peer: str, message: object) -> None:
        if isinstance(message, node.NodeHello):
            self.sessions.hello(peer, message)
        elif isinstance(message, (node.Announce, node.Update, node.Answer, node.NodeKeepalive, node.Fenced)):
            self.sessions.received(peer, message)
        elif isinstance(message, node.Telemetry):
            if (name := self.sessions.node_of(message.session)) is not None:
                self.telemetry.received(name, message)
        elif isinstance(message, (client.Create, client.Control, client.Destroy, client.Reconfigure)):
            self.requests.operation(peer, message)
        elif isinstance(message, (client.Show, client.ShowRuns, client.Subscribe, client.Watch)):
            self.requests.question(peer, message)

    # what environments, sessions and requests need of us

    @property
    def sequence(self) -> int:
        """Number of the last event."""
        return self._sequence

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self._out.append(effect)

    def event(self, kind: str, environment: str = "", **fields: Any) -> None:
        """Publish and journal an event."""
        self._sequence += 1
        self._events.append(
            Event(
                sequence=self._sequence,
                unix_ms=self.now.unix_ms,
                kind=kind,
                environment=environment,
                **fields,
            )
        )

    def send_node(self, name: str, message: Callable[[int, int], object]) -> bool:
        """Send what `message(session, epoch)` makes, if the node is there; tell whether it was."""
        return self.sessions.send(name, message)

    def defer(self, action: Callable[[], None]) -> None:
        """Do this in a later `handle` of its own."""
        self._deferred.append(action)

    def offers(self) -> list[NodeOffer]:
        """Return the nodes that can take tasks now, less what living environments use of them."""
        used = self.sessions.offers()
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

    def node_problem(self, name: str) -> str:
        """Return why a node can't be reached, "" if it can."""
        return self.sessions.problem(name)

    def new_id(self) -> str:
        """Return an id that was never used."""
        return self._ids.next()

    def condemn(self, name: str, tasks: Iterable[str]) -> None:
        """End tasks for certain, however long that takes; `steps.gone` is called for each."""
        self.sessions.condemn(name, tasks)

    def make_environment(
        self,
        record: EnvironmentRecord,
        workflow: Workflow | None = None,
        placed: tuple[Placed, ...] = (),
        plan: Plan | None = None,
    ) -> Environment:
        """Return an environment of this core."""
        return Environment(
            record, workflow, placed, plan, functions=self._functions, runs_folder=self.settings.runs_folder
        )

    def adopt_tasks(self, environment: Environment) -> None:
        """Route what nodes say of the environment's tasks to it."""
        for name in [name for name, env in self._owners.items() if env is environment]:
            del self._owners[name]
        for name in environment.tasks:
            self._owners[name] = environment

    def owner(self, task: str) -> Environment | None:
        """Return the environment that a task belongs to."""
        return self._owners.get(task)

    def take_over(self, epoch: int) -> bool:
        """Go on as epoch `epoch` if our own records are lost; False if they are not, and another core is newer."""
        if not self.is_fresh:
            return False
        self.epoch = epoch
        self._ids = IdSource(self.settings.instance, epoch, self._ids.counter)
        self.emit(Persist(CORE, "epoch", str(epoch).encode()))
        return True

    def save_run(self, run: RunInfo) -> None:
        """Write a run record."""
        self.runbook.save(run)

    def run(self, number: int) -> RunInfo:
        """Return a run record; an empty one for a number whose record is lost."""
        return self.runbook.get(number)

    def run_began(self, environment: Environment, number: int) -> None:
        """A run has its number: what its tasks tell counts for it."""
        self.telemetry.begin(environment, number)
        self.runbook.configured(number, environment.packed_configuration, self.emit)

    def run_ended(self, environment: Environment, number: int) -> None:
        """A run is over and judged: show and write what is known of it."""
        self.telemetry.end(environment, number)
        if self.telemetry.is_large(number):
            self.defer(partial(self.told_late, number))
        else:
            self.told_late(number)

    def told_late(self, number: int) -> None:
        """Write what is known of a run that is over, again if it was written."""
        self.emit(SaveRun(self.full_run(number)))

    def full_run(self, number: int) -> RunInfo:
        """Return a run record with its metrics and configuration."""
        return self.runbook.full(number, *self.telemetry.metrics(number))

    def ages(self) -> Mapping[str, int]:
        """Return the milliseconds since late nodes were heard."""
        return self.sessions.ages()

    def idempotent(self, function: str) -> bool:
        """Whether a call may be repeated when nobody knows how it ended."""
        return function.partition("(")[0] in self.settings.idempotent_calls

    def perform(self, environment: Environment) -> None:
        """Enter the present step."""
        steps.enter(environment, self)

    def leave(self, environment: Environment) -> None:
        """The present step is over or given up."""
        steps.leave(environment, self)

    def finish(self, environment: Environment, answer: Finished) -> None:
        """End the operation that is going on."""
        name = environment.record.operation
        if name:
            environment.update(operation="")
            self.requests.finish(name, answer)

    def create(self, environment: str, message: client.Create) -> None:
        """Begin a new environment."""
        record = operations.new_record(environment, message, self.now)
        env = self.environments[environment] = self.make_environment(record)
        self.event("environment.state", environment, state=EnvState.STANDBY.name, text=message.workflow)
        self._expand(env)

    def remove(self, environment: Environment) -> None:
        """Forget an environment that is DONE, or that never came to be."""
        self.environments.pop(environment.id, None)
        for name in environment.tasks:
            self._owners.pop(name, None)
        self.telemetry.forget(environment)
        environment.changed = False
        for table in (ENVIRONMENT, WORKFLOW, PLACEMENT, PLAN, CONFIGURATION, RECONFIGURATION):
            self.emit(Persist(table, environment.id, None))

    # services

    def _expand(self, env: Environment) -> None:
        variables = {**env.record.variables, "environment_id": env.id}
        self.emit(Expand(job=env.id, environment=env.id, workflow=env.record.request, variables=variables))

    def _expanded(self, input: Expanded) -> None:
        env = self.environments.get(input.job)
        if env is None or env.workflow is not None:
            return
        if input.workflow is None:
            self.event("environment.state", env.id, state=EnvState.DONE.name, ok=False, text=input.message)
            answer = Finished(
                operation="",
                environment=env.id,
                state=EnvState.DONE,
                code=input.code or "E_TEMPLATE",
                message=input.message,
            )
            self.finish(env, answer)
            self.remove(env)
            return
        self.emit(Persist(WORKFLOW, env.id, pack_value(input.workflow)))
        env.set_workflow(input.workflow)
        agenda = env.record.agenda
        if not agenda:
            self.finish(env, Finished(operation="", environment=env.id, state=env.state))
            return
        env.update(agenda=agenda[1:])
        env.begin(self, agenda[0])
        env.advance(self)

    def _call_done(self, input: CallDone) -> None:
        env = self.environments.get(input.call.partition(".")[0])
        if env is not None and env.workflow is not None and calls.end(env, self, input):
            env.advance(self)

    def _run_number_taken(self, input: RunNumberTaken) -> None:
        env = self.environments.get(input.key.partition(".")[0])
        if env is not None:
            steps.run_number_taken(env, self, input.key, input.number, input.error)
            env.advance(self)

    # time

    def _tick(self) -> None:
        now = self.now.mono_s
        if self._beat_at is not None and now >= self._beat_at:
            self._beat_at = now + self.settings.keepalive_s
            self.sessions.beat()
        self.telemetry.tick()
        for env in list(self.environments.values()):
            if env.deadline is not None and now >= env.deadline:
                env.deadline = None
                steps.expire(env, self)
                env.advance(self)
            elif env.telling is not None and env.telling.again_at is not None and now >= env.telling.again_at:
                steps.resend(env, self)
                env.advance(self)

    def _forgive_pause(self, lost_s: float) -> None:
        """We were stopped, not the others: nobody is late for that."""
        self.sessions.forgive(lost_s)
        if self._beat_at is not None:
            self._beat_at += lost_s
        for env in self.environments.values():
            if env.deadline is not None:
                env.deadline += lost_s
            if env.telling is not None and env.telling.again_at is not None:
                env.telling.again_at += lost_s
