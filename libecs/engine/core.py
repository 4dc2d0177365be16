"""The core's engine: environments, and around them the sessions with nodes and the requests of clients.

It decides and nothing else (see `effects`). A new life is made from the records of the last one: `start` takes the
next epoch, and what nodes announce is compared with the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import attrs

from libecs.access import Principal
from libecs.engine import auto, autostop, calls, launching, making, modify, operations, steps, strays, usage
from libecs.engine.effects import (
    CallDone,
    Connected,
    Continue,
    Disconnected,
    Effect,
    Expanded,
    Facts,
    Input,
    Journal,
    Now,
    Persist,
    Publish,
    Received,
    Resume,
    Room,
    RunNumberTaken,
    SaveRun,
    Tick,
    WorkDone,
)
from libecs.engine.environment import Environment
from libecs.engine.gate import QUIET, Gate
from libecs.engine.locks import FENCE, Locks, detectors_of
from libecs.engine.placement import NodeOffer, Placed
from libecs.engine.plan import Plan
from libecs.engine.pool import Pool
from libecs.engine.questions import Questions
from libecs.engine.records import (
    CONFIGURATION,
    CORE,
    ENVIRONMENT,
    FRESH,
    LAUNCHED,
    MODIFICATION,
    PLACEMENT,
    PLAN,
    RECONFIGURATION,
    WORKFLOW,
    EnvironmentRecord,
    IdleRecord,
)
from libecs.engine.recovery import Records, recover
from libecs.engine.requests import Requests
from libecs.engine.runbook import KEEP_RUNS, RunBook, packed_places
from libecs.engine.sessions import Sessions
from libecs.engine.telemetry import KEEP_METRICS, Telemetry
from libecs.errors import EcsError
from libecs.fsm import EnvState
from libecs.ids import IdSource
from libecs.language.functions import FunctionTable
from libecs.wire import client
from libecs.wire.client import CoreInfo, Finished
from libecs.wire.codec import pack_value
from libecs.wire.info import Event, RunInfo, TaskInfo
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
    version: str = ""
    detectors: tuple[str, ...] = ()
    """Those of the inventory, for who asks which there are."""
    keep_runs: int = KEEP_RUNS
    """Run records that are kept; the oldest go first. Files of runs are nobody's but their owner's."""
    keep_metrics: int = KEEP_METRICS
    """Runs of which metrics are kept."""
    allow_scripts: bool = False
    """Whether operators, and not admins alone, may bring workflows of their own along."""


PATIENCE_S = 3.0
"""So long after its start the core waits for the nodes that it knows before it places anything."""


class CoreEngine:
    """The core. `records` are those of the last life."""

    def __init__(self, settings: CoreSettings, records: Records | None = None) -> None:
        self.settings = settings
        records = records or {}
        core = records.get(CORE, {})
        self.is_fresh = not core or FRESH in core
        self.epoch = _number(core, "epoch") + 1
        self.now = Now(0.0, 0)
        self.environments: dict[str, Environment] = {}
        self.sessions = Sessions(self, settings.instance, settings.suspect_s, settings.lost_s)
        self.pool = Pool()
        self.runbook = RunBook(settings.keep_runs)
        self.telemetry = Telemetry(self, settings.keep_metrics)
        self.locks = Locks(self)
        self.locks.fence = _number(core, FENCE)
        self._fence_lost = FENCE in core and not core[FENCE].isdigit()
        self.requests = Requests(self)
        self.questions = Questions(self)
        self.gate = Gate(self.emit, self.sessions, self.telemetry, self.requests, self.questions)
        self.no_room = ""
        self._places: dict[str, tuple[Mapping[int, Placed], bytes]] = {}
        self.quarantine: dict[str, str] = {}
        """Records that can't be read, and why."""
        self._ids = IdSource(settings.instance, self.epoch)
        self._functions = settings.functions or late_functions()
        self._sequence = _number(core, "sequence")
        self._owners: dict[str, Environment] = {}
        self._events: list[Event] = []
        self._out: list[Effect] = []
        self._deferred: deque[Callable[[], None]] = deque()
        self._resume_asked = False
        self._beat_at: float | None = None
        self._facts: Mapping[str, str] = {}
        self._problems: tuple[str, ...] = ()
        self._started_ms = 0
        self._began = 0.0
        """Monotonic time of the start."""
        self._early: list[Expanded] = []
        """What was expanded before the nodes of the last life have come back."""
        recover(self, records)
        self.telemetry.adopted = frozenset(self._owners)

    # the engine's face

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [] if self._beat_at is None else [self._beat_at]
        if (late := self.sessions.look_at) is not None:
            due.append(late)
        if (told := self.telemetry.next_deadline) is not None:
            due.append(told)
        for env in self.environments.values():
            if (stop := autostop.deadline(env)) is not None:
                due.append(stop)
            if (judged := strays.deadline(env)) is not None:
                due.append(judged)
            if env.deadline is not None:
                due.append(env.deadline)
            if env.telling is not None and env.telling.again_at is not None and env.waiting:
                due.append(env.telling.again_at)
        return min(due) if due else None

    def start(self, now: Now) -> list[Effect]:
        """Begin a life: take the epoch, and go on with what the last one left."""
        self._begin(now)
        self._started_ms = now.unix_ms
        self._began = now.mono_s
        self.sessions.forget_old()
        self.emit(Persist(CORE, "epoch", str(self.epoch).encode()))
        if self.is_fresh:
            self.emit(Persist(CORE, FRESH, b"1"))
            # the records of earlier lives may be lost, and nodes hold what had their ids: fewer than 100 a second
            self._ids.counter = now.unix_ms // 10
        if self.is_fresh or self._fence_lost:
            self.locks.fence = max(self.locks.fence, now.unix_ms // 1000)
        for name, reason in self.quarantine.items():
            self.event("quarantine", name=name, ok=False, text=reason)
        self.requests.recover()
        for env in list(self.environments.values()):
            if env.workflow is None:
                making.expand(env, self)
                continue
            autostop.watch(env, self)
            calls.recover(env, self)
            env.entered = False
            env.advance(self)
        self._beat_at = now.mono_s + self.settings.keepalive_s
        return self._end()

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """Take one input, return what is to be done about it."""
        late = 0.0
        if now.mono_s - self.now.mono_s > 1.0:  # since the last input: what was overdue then is no new pause
            late = now.mono_s - max(self.next_deadline or now.mono_s, self.now.mono_s)
        self._begin(now)
        if late > 1.0:
            self._forgive_pause(late)
        if isinstance(input, Received):
            self.gate.received(input.peer, input.message, input.principal, self.epoch)
            if type(input.message) in QUIET and not self._events and not self._deferred:
                return self._out
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
        elif isinstance(input, WorkDone):
            self.requests.work_done(input)
        elif isinstance(input, Room):
            self.no_room = "" if input.ok else input.text or "the core's disk is full"
        elif isinstance(input, Facts):
            self._facts, self._problems = input.facts, input.problems
        elif isinstance(input, Disconnected):
            self.requests.disconnected(input.peer)
            self.questions.disconnected(input.peer)
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
            strays.consider(env, self)
            auto.consider(env, self)
            if env.id not in self.environments:
                continue
            if env.cast.moved and not env.waiting:
                env.publish_moved(self)
            if env.changed:
                self._save(env)
        for number in self.runbook.flush(self.emit, keep=(env.record.run_number for env in self.environments.values())):
            self.telemetry.discard(number)
        if self._events:
            events = tuple(self._events)
            self.emit(Persist(CORE, "sequence", str(self._sequence).encode()))
            self._out.extend(Journal(event) for event in events)
            self.emit(Publish(events))
            self.questions.publish(events)
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
        """Return the nodes that can take tasks now, less what living environments and idle tasks use of them."""
        environments = self.environments.values()
        placed = chain.from_iterable(env.cast.placed.values() for env in environments)
        away = chain.from_iterable(env.away.values() for env in environments)
        return usage.left(self.sessions.offers(), placed, away, self._idle_records())

    def node_problem(self, name: str) -> str:
        """Return why a node can't be reached, "" if it can."""
        return self.sessions.problem(name)

    def is_condemned(self, task: str) -> bool:
        """Whether a task is to end, and is not known to be gone yet."""
        return self.sessions.condemned.node_of(task) is not None

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
        for name in environment.cast.tasks:
            self._owners[name] = environment

    def owner(self, task: str) -> Environment | None:
        """Return the environment that a task belongs to."""
        return self._owners.get(task)

    @property
    def owners(self) -> Mapping[str, Environment]:
        """The environment of each task."""
        return self._owners

    @property
    def allow_scripts(self) -> bool:
        """Whether operators may bring workflows of their own along."""
        return self.settings.allow_scripts

    @property
    def known_detectors(self) -> Iterable[str]:
        """Detectors of the inventory."""
        return self.settings.detectors

    def idle_tasks(self) -> Iterable[TaskInfo]:
        """Return the tasks of the idle pool."""
        return self.pool.infos(self.ages())

    def end_idle(self, tasks: Iterable[str]) -> None:
        """End tasks of the idle pool."""
        self.pool.end(self, tasks)

    def detectors(self, environment: Environment) -> tuple[str, ...]:
        """Return the detectors that take part in an environment."""
        return tuple(sorted(self.locks.of(environment)))

    def used(self) -> Mapping[str, tuple[int, float, float]]:
        """Return, by node, how many tasks environments have there, and the CPUs and memory in MB that they use."""
        placed = chain.from_iterable(env.cast.placed.values() for env in self.environments.values())
        return usage.used(placed, self._idle_records())

    def _idle_records(self) -> Iterable[IdleRecord]:
        return (idle.record for idle in self.pool.idle.values())

    def core_info(self, request: str, who: Principal) -> CoreInfo:
        """Return what this core is."""
        problems = [f"record {name} can't be read: {reason}" for name, reason in self.quarantine.items()]
        return CoreInfo(
            request=request,
            instance=self.settings.instance,
            version=self.settings.version,
            epoch=self.epoch,
            started_ms=self._started_ms,
            unix_ms=self.now.unix_ms,
            sequence=self._sequence,
            environments=len(self.environments),
            tasks=len(self._owners),
            nodes=len(self.sessions.nodes),
            you=who.name,
            role=who.role.name.lower(),
            detectors=tuple(sorted(who.detectors or ())),
            facts=self._facts,
            problems=(*problems, *([self.no_room] if self.no_room else []), *self._problems),
        )

    def detectors_problem(
        self, environment: Environment, excluded: Iterable[str], requester: str = "", who: Principal | None = None
    ) -> EcsError | None:
        """Return why an environment may not go on with what is left when these roles are excluded, None if it may."""
        assert environment.workflow is not None
        record = environment.record
        scope = None if record.scope is None else frozenset(record.scope)
        if who is not None:
            scope = who.detectors
        else:
            requester = record.requester
        return self.locks.obstacle(environment, detectors_of(environment.workflow, excluded), requester, scope)

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

    def released(self, environment: Environment, tasks: Iterable[str]) -> None:
        """An environment lets tasks go; what they have told of its run still counts."""
        self.telemetry.release(environment, tasks)

    def run_began(self, environment: Environment, number: int) -> None:
        """A run has its number: what its tasks tell counts for it."""
        self.telemetry.begin(environment, number)
        self.runbook.began(number, environment.packed_configuration, self._packed_places(environment), self.emit)

    def _packed_places(self, environment: Environment) -> bytes:
        """Return where the tasks of an environment are, packed once for all its runs on the same places."""
        known = self._places.get(environment.id)
        if known is None or known[0] is not environment.cast.placed:
            places = {environment.role(index).path: placed.node for index, placed in environment.cast.placed.items()}
            known = self._places[environment.id] = (environment.cast.placed, packed_places(places))
        return known[1]

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

    def is_awaited(self, name: str) -> bool:
        """Return whether a node has not told what it holds since this life began, and may do so still."""
        one = self.sessions.nodes.get(name)
        if one is None:
            return self.now.mono_s < self._began + launching.NODES_S
        return one.session is not None and not one.announced

    def nodes_away(self) -> Mapping[str, float]:
        """Return the nodes that would take tasks and are not connected, to when they were heard last."""
        return self.sessions.absent(self._began)

    def takes_tasks(self, name: str) -> bool:
        """Return whether anything new may be placed on a node."""
        return name not in self.sessions.drained

    def give_up(self, environment: Environment) -> None:
        """The present plan is given up: undo what it has begun and does not end."""
        steps.give_up(environment, self)

    def retreat(self, environment: Environment) -> None:
        """What a modification was to put back can't be: go on with the plan that lets it go."""
        modify.retreat(environment, self)

    def missing(self, environment: Environment, path: str, reason: str) -> None:
        """A part that a run can do without is missing in it from now on."""
        modify.missing(environment, self, path, reason)

    def drop_dead(self, environment: Environment) -> None:
        """Exclude tasks that are dead and whose class says that it does not matter."""
        modify.drop_dead(environment, self)

    def finish(self, environment: Environment, answer: Finished, shown: str = "") -> None:
        """End the operation that is going on. `shown` as in OperationRecord."""
        name = environment.record.operation
        if name:
            environment.update(operation="")
            self.requests.finish(name, answer, shown)

    def create(self, environment: str, message: client.Create, who: Principal) -> None:
        """Begin a new environment."""
        repeated = self.runbook.get(message.repeat) if message.repeat else None
        record = operations.new_record(environment, message, who, self.now, repeated)
        env = self.environments[environment] = self.make_environment(record)
        self.event("environment.state", environment, state=EnvState.STANDBY.name, text=record.request)
        making.expand(env, self)

    def remove(self, environment: Environment, said: Finished | None = None, shown: str = "") -> None:
        """Forget an environment that is DONE, or never came to be: `said` is why, `shown` as in OperationRecord."""
        if name := environment.record.auto_operation:
            environment.update(auto_operation="")
            self.requests.finish(name, auto.answer(environment, self, said), shown)
        self.environments.pop(environment.id, None)
        for task in environment.cast.tasks:
            self._owners.pop(task, None)
        self.telemetry.forget(environment)
        self.locks.forget(environment.id)
        self._places.pop(environment.id, None)
        environment.changed = False
        tables = (ENVIRONMENT, WORKFLOW, PLACEMENT, PLAN, CONFIGURATION, RECONFIGURATION, MODIFICATION, LAUNCHED)
        for table in tables:
            self.emit(Persist(table, environment.id, None))

    # services

    def _expanded(self, input: Expanded) -> None:
        env = self.environments.get(input.job)
        if env is None or env.workflow is not None:
            return
        if self.now.mono_s < self._began + PATIENCE_S and self.sessions.away:
            self._early.append(input)  # else it would be placed on the nodes that happen to be the first
            return
        making.expanded(env, self, input)

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
            self.questions.beat()
            early, self._early = self._early, []
            for expanded in early:
                self._expanded(expanded)
        elif self.sessions.look_at is not None and now >= self.sessions.look_at:
            self.sessions.look()
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
            strays.forgive(env, self)
            if env.deadline is not None:
                env.deadline += lost_s
            if env.telling is not None and env.telling.again_at is not None:
                env.telling.again_at += lost_s


def _number(records: Mapping[str, bytes], name: str) -> int:
    """Return a number of an earlier life; 0 if there is none, or its record is damaged."""
    data = records.get(name, b"")
    return int(data) if data.isdigit() else 0
