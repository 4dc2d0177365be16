"""The checker: rules that every history must keep, checked while it goes on and at its end.

It believes nobody: it compares what the core commits, publishes and answers with what the simulated tasks really did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from libecs import fairmq
from libecs.engine.effects import Audit
from libecs.engine.records import CONDEMNED, EnvironmentRecord
from libecs.engine.records import ENVIRONMENT as ENVIRONMENT_RECORDS
from libecs.engine.records import RUN as RUN_RECORDS
from libecs.engine.records import RUN_METRICS as METRIC_RECORDS
from libecs.fairmq import DeviceState
from libecs.fsm import ENVIRONMENT, EnvState, Mode, TaskState
from libecs.sim.accounts import Accounts
from libecs.sim.clients import Operation
from libecs.sim.history import History, event_text
from libecs.sim.house import House
from libecs.sim.modifications import Modifications
from libecs.sim.tasks import EXIT_NAMES, START_NAMES, ControlledTask, Effects, Process
from libecs.sim.workflows import IDEMPOTENT
from libecs.wire import node as node_wire
from libecs.wire.client import Create, Environments, Finished, Modify, Reconfigure
from libecs.wire.codec import unpack_value
from libecs.wire.info import EnvironmentInfo, Event, RunCondition, RunInfo, TaskInfo
from libecs.wire.node import ExitCause, Phase, TaskSpec
from libecs.wire.task import Metric

if TYPE_CHECKING:
    from libecs.sim.world import World

CONTROLLED = (Mode.DIRECT, Mode.FAIRMQ)
WANTED = {
    EnvState.DEPLOYED: TaskState.STANDBY,
    EnvState.CONFIGURED: TaskState.CONFIGURED,
    EnvState.RUNNING: TaskState.RUNNING,
}
"""Where the critical tasks of an environment are while nothing goes on."""
EXPECTED = ("", "E_STATE", "E_CONFLICT", "E_NOT_FOUND", "E_DENIED", "E_USAGE", "E_INVALID")
"""Codes of answers where nothing is wrong."""
DESTROYED_S = 10.0
"""A death so short before the end of its environment may belong to its destruction, of which it is a part."""
SILENCE_S = 3.2
"""A node that the core has not heard of for so long must not be shown as healthy."""


@attrs.define
class Environment:
    """What the checker knows of one environment, from committed events."""

    name: str
    state: EnvState = EnvState.STANDBY
    states: list[tuple[float, EnvState]] = attrs.field(factory=list)
    acknowledged: bool = False
    transition: str = ""
    """The transition that goes on, or ""."""
    transition_before: str = ""
    last_transition_s: float = -1.0
    """When a transition last went on."""
    run: int = 0
    """The run that goes on."""
    recoveries: int = 0
    excuses: list[tuple[float, str]] = attrs.field(factory=list)
    """Reasons for which it may go to ERROR."""


@attrs.define
class Death:
    """A task's process that ended though nobody had told it to."""

    mono_s: float
    spec: TaskSpec
    bad: bool
    """By a signal, a code other than 0, or unseen."""


class Checker:
    """Keeps the rules of one history."""

    def __init__(self, world: World, history: History) -> None:
        self.world = world
        self.history = history
        self.environments: dict[str, Environment] = {}
        self.runs: dict[int, list[str]] = {}
        """Run number to its committed `run.start` and `run.end`, in order."""
        self.run_records: dict[int, RunInfo] = {}
        self.deaths: list[Death] = []
        self.answers: dict[str, Finished] = {}
        self.real: dict[str, set[TaskState]] = {}
        """Task id to all states that it ever was in."""
        self.task_of_role: dict[tuple[str, str], list[str]] = {}
        """(environment, role path) to the ids of its tasks."""
        self.starts_given: dict[str, set[str]] = {}
        """Basic task to the ids of its START commands."""
        self.open_calls: dict[tuple[str, str], int] = {}
        self._sequence = 0
        self._committed: set[int] = set()
        self._durable_kinds: set[str] = set()
        self.effects = Effects()
        self.accounts = Accounts(world, history)
        self.house = House(world, history)
        self.modifications = Modifications(world, history)
        self.signals = 0
        self.stuck = 0
        self.orphans: set[str] = set()
        """Environments of which the core has lost its records."""
        self.forgot_s = -1.0
        """When the core lost its records."""
        self.doomed: set[str] = set()
        """Tasks that were to end when the core lost its records."""
        self.lost_runs: set[int] = set()
        """Runs of those."""
        self.robbed: set[str] = set()
        """Tasks that somebody has taken, and perhaps commanded, for a time."""
        self.forgetful: set[str] = set()
        """Nodes whose executors have lost their records."""

    # what the core commits and says

    def environment(self, name: str) -> Environment:
        """Return (and keep) what is known of an environment."""
        return self.environments.setdefault(name, Environment(name))

    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """See records and events that are on disk now."""
        for event in events:
            if self._sequence and event.sequence != self._sequence + 1:
                self._broken("event-sequence", f"event {event.sequence} follows {self._sequence}")
            self._sequence = event.sequence
            self._committed.add(event.sequence)
            self._durable_kinds.add(event.kind)
            self._event(event)
            self.house.event(event)
        self.house.committed(records)
        for (table, key), value in records.items():
            if table == ENVIRONMENT_RECORDS and value is not None:
                self._environment_record(self.environment(key), unpack_value(EnvironmentRecord, value))
            elif table == RUN_RECORDS and value is not None:
                self._run_record(key, unpack_value(RunInfo, value))
            elif table == METRIC_RECORDS and value is not None:
                self.accounts.metrics_record(key, value)
        self.modifications.committed(records)

    def _environment_record(self, env: Environment, record: EnvironmentRecord) -> None:
        """What a new life would believe must be what everybody was told."""
        if record.state is not env.state:
            self._broken("record", f"{env.name} is {record.state.name} on disk and {env.state.name} in the journal")
        if record.run_number != env.run:
            self._broken("record", f"{env.name} has run {record.run_number} on disk and {env.run} in the journal")

    def _run_record(self, key: str, run: RunInfo) -> None:
        """A run's record only grows: what is written once stays."""
        old = self.run_records.get(run.number)
        if key != str(run.number):
            self._broken("record", f"the record of run {run.number} has key {key}")
        if old is not None:
            for name in ("environment", "start_ms", "start_completion_ms", "end_ms", "end_completion_ms"):
                was, now = getattr(old, name), getattr(run, name)
                if was and was != now:
                    self._broken("record", f"run {run.number}: {name} was {was} and becomes {now}")
        self.run_records[run.number] = run

    def published(self, events: tuple[Event, ...]) -> None:
        """See events that went out."""
        for event in events:
            if event.kind in self._durable_kinds and event.sequence not in self._committed:
                self._broken("publish-before-commit", event_text(event))
            if event.kind not in self._durable_kinds:
                self.history.add("core", "publish", event)
            if event.kind == "tasks":
                self._task_event(event)

    def audited(self, line: Audit) -> None:
        """See a line of the audit log."""
        self.house.audited(line)

    def _event(self, event: Event) -> None:
        env = self.environment(event.environment) if event.environment else None
        if env is None:
            return
        if event.kind == "environment.state":
            self._state(env, EnvState[event.state])
        elif event.kind == "transition.begin":
            if (
                env.transition
                and env.transition != event.transition
                and event.transition not in ("GO_ERROR", "DESTROY")
            ):
                self._broken("one-transition", f"{env.name}: {event.transition} begins during {env.transition}")
            env.transition_before = env.transition or env.transition_before
            env.transition = event.transition
            self.modifications.event(event, env.run, env.state)
            env.last_transition_s = self._now
        elif event.kind == "transition.end":
            env.recoveries += env.transition == "RECOVER" and event.ok
            self.modifications.event(event, env.run, env.state)
            env.transition, env.transition_before = "", env.transition or env.transition_before
            env.last_transition_s = self._now
        elif event.kind in ("run.start", "run.end"):
            self._run(env, event)
        elif event.kind in ("call.begin", "call.end"):
            key = (env.name, event.role)
            self.open_calls[key] = self.open_calls.get(key, 0) + (1 if event.kind == "call.begin" else -1)
            if self.open_calls[key] < 0:
                self._broken("calls", f"{env.name}: call {event.role} ends more often than it begins")

    def _state(self, env: Environment, state: EnvState) -> None:
        legal = set(ENVIRONMENT[env.state].values())
        if env.state is not EnvState.DONE:
            legal |= {EnvState.DONE, env.state}
        if state not in legal:
            self._broken("legal-path", f"environment {env.name} went from {env.state.name} to {state.name}")
        if state is EnvState.ERROR and env.state is not EnvState.ERROR:
            self._excused(env)
        self._tasks_are_there(env, state)
        if state is EnvState.RUNNING and not env.run:
            self._broken("one-run", f"{env.name} enters RUNNING and has no run")
        env.state = state
        env.states.append((self._now, state))

    def _tasks_are_there(self, env: Environment, state: EnvState) -> None:
        """An environment enters a state: its critical tasks have done so before, whatever they do since."""
        wanted = WANTED.get(state)
        if wanted is None or state is env.state or env.transition == "RECOVER":
            return
        condemned = self.world.core.disk.records.get(CONDEMNED, {})
        for task in self.world.controlled(env.name):
            real = task_state(task)
            if real is wanted or real not in WANTED.values() or task.busy or task.stolen or task.spec.attached:
                continue
            if task.spec.task in condemned or task.spec.task in self.robbed:
                continue
            if self._critical(task.spec) and not self.modifications.is_loose(env.name, task.spec.role):
                self._broken("entered", f"{env.name} enters {state.name}, and {task.spec.role} is {real.name}")

    def _excused(self, env: Environment) -> None:
        """An environment goes to ERROR: somebody must have given it a reason."""
        if env.excuses or self.house.excuses(env.name, env.transition, env.transition_before):
            return
        scenario = self.world.scenario
        recently = env.transition or self._now - env.last_transition_s < 1.0
        # what is only lost, late or repeated is repeated until it arrives; but a node may not have come yet
        patient = scenario.kind == "messages" and not scenario.task_link and env.transition_before != "DEPLOY"
        if scenario.disturbed and not patient and recently:
            return
        if scenario.service_trouble and recently:
            return
        self._broken("error-without-cause", f"environment {env.name} goes to ERROR, and nothing critical has happened")

    def _run(self, env: Environment, event: Event) -> None:
        number = event.run_number
        seen = self.runs.setdefault(number, [])
        if event.kind == "run.start":
            if seen:
                self._broken("run-number", f"run {number} starts again, in {env.name}")
            if number not in self.world.services.counter.keys.values():
                self._broken("run-number", f"run {number} was never taken")
            if env.run:
                self._broken("one-run", f"{env.name} starts run {number} while run {env.run} goes on")
            earlier = [n for n, parts in self.runs.items() if parts and parts[0] == f"start {env.name}" and n > number]
            if earlier:
                self._broken("run-number", f"{env.name} starts run {number} after {max(earlier)}")
            env.run = number
        else:
            if not any(part.startswith("start") for part in seen):
                self._broken("one-run", f"run {number} ends and has not started")
            if any(part.startswith("end") for part in seen):
                self._broken("one-run", f"run {number} ends twice")
            if env.run == number:
                env.run = 0
            self._stopped_by_itself(env, event)
        seen.append(f"{event.kind.removeprefix('run.')} {env.name}")

    def _task_event(self, event: Event) -> None:
        for role, state in event.tasks:
            if state not in (TaskState.CONFIGURED, TaskState.RUNNING):
                continue
            ids = self.task_of_role.get((event.environment, role), [])
            processes = [self.real[task] for task in ids if task in self.real]
            if processes and not any(state in states for states in processes):
                self._broken("truth", f"{event.environment} {role} is said to be {state.name} and never was")

    # what clients see

    def answered(self, operation: Operation, finished: Finished) -> None:
        """See an answer to an operation."""
        first = self.answers.setdefault(finished.operation, finished)
        self.house.answered(finished)
        if isinstance(operation.request, Create) and operation.request.auto:
            known = self.environments.get(finished.environment)
            self.house.auto_answered(finished, known.state if known is not None else None)
        if first.code == "E_DENIED":  # that is on no record: who asks again is judged again
            self.answers[finished.operation] = finished
        elif first != finished and operation.begun_s >= self.forgot_s:
            self._broken("same-answer", f"{finished.operation} was answered {first} and then {finished}")
        if isinstance(operation.request, Modify) and first is finished:
            self.modifications.answered(operation, operation.request, finished)
        if isinstance(operation.request, Reconfigure) and first is finished:
            self.accounts.reconfigure_answered(operation, operation.request, finished)
        is_lost = finished.environment in self.orphans
        if isinstance(operation.request, Create) and finished.environment and not finished.code and not is_lost:
            self.environment(finished.environment).acknowledged = True

    def snapshot(self, message: Environments, full: bool = True) -> None:
        """See an answer to Show."""
        for info in message.environments:
            known = self.environments.get(info.environment)
            if known is not None and known.state is EnvState.DONE and info.state is not EnvState.DONE:
                done_s = known.states[-1][0]
                if self._now - done_s > 5.0:
                    self._broken("destroyed-returns", f"{info.environment} is shown as {info.state.name}")
            for task in info.tasks:
                self._not_too_healthy(info.environment, task)

    def _not_too_healthy(self, environment: str, task: TaskInfo) -> None:
        heard = self.world.heard.get(task.node)
        core = self.world.core
        if heard is None or not core.alive or core.stopped or task.phase in (Phase.EXITED, Phase.ASSIGNED):
            return
        # The snapshot itself was some time on the way; the core may just have been born or have been stopped.
        silence = self._now - max(heard, self.world.core_awake_s)
        if silence > SILENCE_S + 2.0 and task.phase is Phase.ACTIVE and task.age_ms < 1000:
            self._broken(
                "shown-healthy",
                f"{environment} {task.role} on {task.node} is shown ACTIVE, unheard of for {silence:.1f} s",
            )

    # what is lost for good

    def core_forgot(self) -> None:
        """The core's records are lost: it begins anew, and what ran is nobody's. It lives on, and is shown."""
        self.forgot_s = self._now
        self.orphans.update(self.environments)
        self.environments.clear()
        self.answers.clear()
        self.open_calls.clear()
        self.lost_runs.update(self.runs)
        self.run_records.clear()
        self.house.forget()
        self.accounts.metrics.clear()
        self.modifications.forget()
        self.accounts.saved.clear()
        self._sequence = 0
        self._committed.clear()
        for operation in self.world.shared.operations.values():
            operation.abandoned = True

    def executor_forgot(self, name: str) -> None:
        """An executor's records are lost: what it had promised to hooks and basic tasks, and its place in time."""
        self.forgetful.add(name)

    # what tasks do

    def began(self, process: Process) -> None:
        """A task's process starts."""
        environment, role = process.spec.environment, process.spec.role
        if process.spec.mode in CONTROLLED and self.environment(environment).transition == "RECONFIGURE":
            self._broken("reconfigure", f"{role} of {environment} is started while values are changed")
        self.modifications.began(process, self.environment(environment).transition)
        self.task_of_role.setdefault((environment, role), [])
        ids = self.task_of_role[environment, role]
        if process.spec.task not in ids:
            ids.append(process.spec.task)
        if isinstance(process, ControlledTask):
            self.real.setdefault(process.spec.task, set()).add(task_state(process))
        if not process.behaviour.healthy:
            self._excuse(environment, f"{role} is not healthy", process.spec)
        self.stuck += process.behaviour.stuck_s[0] > 0
        if any(trouble.kind == "slow" for trouble in process.behaviour.troubles):
            self._excuse(environment, f"{role} is slow", process.spec)

    def used(self, process: Process) -> None:
        """A process serves another environment from now on."""
        spec = process.spec
        self.modifications.reused += 1
        ids = self.task_of_role.setdefault((spec.environment, spec.role), [])
        if spec.task not in ids:
            ids.append(spec.task)
        if not process.behaviour.healthy or getattr(process, "troubled", False):
            self._excuse(spec.environment, f"{spec.role} is not healthy", spec)

    def launch_failed(self, spec: TaskSpec) -> None:
        """A task could not be started."""
        self._excuse(spec.environment, f"{spec.role} could not be started", spec)

    def _excuse(self, environment: str, text: str, spec: TaskSpec | None = None) -> None:
        if spec is None or self._critical(spec):
            self.environment(environment).excuses.append((self._now, text))

    def changed(self, task: ControlledTask) -> None:
        """A task is in another state."""
        self.real.setdefault(task.spec.task, set()).add(task_state(task))

    def ended(self, process: Process) -> None:
        """A task's process has ended."""
        exit = process.exit
        assert exit is not None
        if isinstance(process, ControlledTask) and process.run_number:
            self.accounts.cut(process)
        if process.spec.exit_is_error and not process.told_to_end:
            self._excuse(process.spec.environment, f"{process.spec.role} has ended", process.spec)
        if process.told_to_end or process.spec.mode not in CONTROLLED:
            return
        user = self.modifications.user_of(process.spec.task)
        if user not in ("", process.spec.environment):  # it was to be used, and has not heard of it
            self._excuse(user, f"{process.spec.role} of {process.spec.environment} has died")
        if process.spec.attached:
            self._excuse(process.spec.environment, f"{process.spec.role} was ended by somebody", process.spec)
            return
        bad = exit.cause is not ExitCause.EXITED or exit.code != 0
        if self._may_die(process.spec):
            bad = False
        self.deaths.append(Death(self._now, process.spec, bad))
        self._excuse(process.spec.environment, f"{process.spec.role} has died", process.spec)

    def _may_die(self, spec: TaskSpec) -> bool:
        """Whether the death of a task may have no consequence: it is excluded or idle, or its group does without it."""
        modifications = self.modifications
        if not modifications.counts(spec):
            return True
        if not modifications.is_loose(spec.environment, spec.role):
            return False
        complete = self.environment(spec.environment).state in (EnvState.CONFIGURED, EnvState.RUNNING)
        return not (complete and modifications.is_broken(spec.environment))

    def disturbed(self, processes: Iterable[Process]) -> None:
        """The nemesis lays hands on tasks."""
        for process in processes:
            self._excuse(process.spec.environment, f"the nemesis and {process.spec.role}", process.spec)
            if isinstance(process, ControlledTask):
                process.troubled = True
                self.accounts.cut(process)

    def orphaned(self, process: Process) -> None:
        """A shim ends a task that nobody owns."""
        self.disturbed([process])

    def signaled(self, process: Process, number: int) -> None:
        """An executor sends a signal."""
        self.signals += 1
        self._not_an_orphan(process, f"gets signal {number}")
        if process.spec.attached:
            self._broken("attached", f"{process.spec.role} is somebody else's, and gets signal {number}")

    def attached(self, task: ControlledTask) -> None:
        """A task that somebody else started is dialled."""
        ids = self.task_of_role.setdefault((task.spec.environment, task.spec.role), [])
        if task.spec.task not in ids:
            ids.append(task.spec.task)
        self.real.setdefault(task.spec.task, set()).add(task_state(task))

    def told(self, task: ControlledTask, metric: Metric) -> None:
        """A task has told a metric of its run, on a link that was up."""
        self.accounts.told(task, metric)

    def saved_run(self, run: RunInfo) -> None:
        """A run is written as a file."""
        self.accounts.saved_run(run)

    def called(self, environment: str, role: str, text: str) -> None:
        """A critical call that will not end well reaches an integration."""
        self._excuse(environment, f"{role}: {text}")

    def commanded(self, message: object) -> None:
        """A command arrives at an executor."""
        if isinstance(message, node_wire.Launch):
            for spec in message.tasks:
                if spec.attached:
                    self._excuse(spec.environment, f"{spec.role} is somebody else's", spec)
        if isinstance(message, node_wire.Kill) and self.forgot_s < 0:
            self.doomed.update(message.tasks)
        if isinstance(message, node_wire.Transit) and message.event.name == "START":
            for task in message.tasks:
                self.starts_given.setdefault(task, set()).add(message.id)

    def effect(self, task: ControlledTask, id: str, event: str, run: str, arguments: Mapping[str, str]) -> None:
        """A command has its effect in a task."""
        name = task.spec.task
        if task.spec.attached:
            name = f"{name}@{task.pid}"
            if event in EXIT_NAMES:
                self._broken("attached", f"{task.spec.role} is somebody else's, and is told to leave")
        self.accounts.given(task, event, dict(arguments))
        self.modifications.effect(task, id, event, self.environment(task.spec.environment).transition)
        if event in EXIT_NAMES:
            self._not_an_orphan(task, f"is told {event}")
        if event == "STOP":
            self._check_stop_order(task)
        n = self.effects.add(name, id, event, run)
        if n > 1:
            self._broken("exactly-once", f"command {id} ({event}) had its effect {n} times in task {name}")
        if event in START_NAMES:
            self._check_order(task)
        if event in START_NAMES and run.isdigit():
            if int(run) not in self.runs:
                self._broken("intent-first", f"task {name} is started for run {run}, which is not on disk")
            if self.effects.done[name, event, run] > 1 + self.modifications.of(task.spec.environment).modified:
                self._broken("exactly-once", f"task {name} is started twice for run {run}")

    def _check_order(self, task: ControlledTask) -> None:
        """A task is started: the critical ones that it waits for run, as far as they live.

        A callback that was slow may end in the START that it was told after its environment has gone to ERROR, and
        others have been revived: that is no order of a START any more.
        """
        environment = task.spec.environment
        if self.environment(environment).transition != "START_ACTIVITY":
            return
        for path in self.world.services.start_after(environment, task.spec.role):
            if not self.world.services.critical(environment, path):
                continue
            for node in self.world.nodes:
                for other in node.living():
                    mine = other.spec.environment == environment and other.spec.role == path
                    mine = mine and self.modifications.counts(other.spec)
                    mine = mine and not self.modifications.is_loose(environment, path)
                    if mine and isinstance(other, ControlledTask) and not other.running and not other.told_to_end:
                        self._broken("start-order", f"{task.spec.role} starts before {path} runs")

    def _not_an_orphan(self, process: Process, text: str) -> None:
        """What nobody knows any more is shown and left alone: it may be taking data."""
        spec = process.spec
        if spec.mode not in CONTROLLED:
            return  # a STOP that was on its way
        if self.house.ends_orphans:
            return
        if spec.environment in self.orphans and spec.task not in self.doomed and not process.orphaned:
            self._broken("orphan", f"task {spec.task} ({spec.role}) of a forgotten environment {text}")

    def _check_stop_order(self, task: ControlledTask) -> None:
        """A task is stopped: the critical ones that were started after it have stopped before."""
        environment = task.spec.environment
        if self.environment(environment).transition != "STOP_ACTIVITY" or task.told_to_end:
            return
        for path in self.world.services.followers(environment, task.spec.role):
            if not self.world.services.critical(environment, path):
                continue
            for other in self.world.controlled(environment):
                if self.modifications.is_loose(environment, path):
                    continue
                if other.spec.role == path and other.running and not other.busy and not other.told_to_end:
                    self._broken("stop-order", f"{task.spec.role} stops before {path}")

    def _stopped_by_itself(self, env: Environment, event: Event) -> None:
        """A run that stopped because its time was over had its time."""
        if event.text != "TIMER":
            return
        limit_s = self.world.services.auto_stop_s(env.name)
        running = [at for at, state in env.states if state is EnvState.RUNNING]
        if limit_s is None or not running:
            self._broken("auto-stop", f"run {event.run_number} of {env.name} was stopped by a timer that nobody wanted")
        elif self._now - running[-1] < limit_s - 0.01 and not self.world.clock_jumped:
            self._broken("auto-stop", f"run {event.run_number} stopped {self._now - running[-1]:.2f} s after its start")

    def _overdue(self, env: Environment) -> str:
        """Return why a run should have stopped by itself, or ""."""
        limit_s = self.world.services.auto_stop_s(env.name)
        if limit_s is None or env.state is not EnvState.RUNNING or env.transition or self.world.clock_jumped:
            return ""
        since_s = self._now - max(env.last_transition_s, self.world.core_awake_s)
        return f"{env.name}: run {env.run} should have stopped by itself" if since_s > limit_s + 3.0 else ""

    # the end

    def unsettled(self, snapshot: Environments | None) -> list[str]:
        """Return why the system is not at rest. Empty: it is, and all that is shown is true."""
        world = self.world
        reasons = [f"{client.name} waits or works" for client in world.clients if not client.idle]
        reasons += [
            f"operation {id} of {operation.client} has no answer"
            for id, operation in world.shared.operations.items()
            if operation.finished is None and not operation.abandoned
        ]
        if snapshot is None:
            return [*reasons, "Show is not answered"]
        shown = {info.environment: info for info in snapshot.environments}
        for env in self.environments.values():
            if env.acknowledged and env.state is not EnvState.DONE and env.name not in shown:
                reasons.append(f"environment {env.name} ({env.state.name}) has vanished")
            if env.transition:
                reasons.append(f"{env.name}: {env.transition} has begun and not ended")
            if overdue := self._overdue(env):
                reasons.append(overdue)
        shown_tasks: set[str] = set(self.modifications.idle)
        reasons += self.modifications.unsettled(snapshot)
        for info in snapshot.environments:
            if info.transition:
                reasons.append(f"{info.environment} is in {info.transition}: {info.step}")
            for task in info.tasks:
                shown_tasks.add(task.task)
                wrong = self._wrong(info, task)
                if wrong and not info.transition:
                    reasons.append(f"{info.environment} ({info.state.name}) {task.role} [{task.task}]: {wrong}")
            if info.run_number and info.state is not EnvState.RUNNING:
                reasons.append(f"{info.environment} shows run {info.run_number} in {info.state.name}")
            critical_dead = [
                task.role
                for task in info.tasks
                if task.critical
                and not task.hook
                and task.mode.upper() in ("DIRECT", "FAIRMQ")
                and task.phase is Phase.EXITED
                and not self.modifications.is_loose(info.environment, task.role)
            ]
            gentle = any(not death.bad for death in self.deaths if death.spec.environment == info.environment)
            if critical_dead and not gentle and info.state not in (EnvState.ERROR, EnvState.STANDBY, EnvState.DONE):
                reasons.append(f"{info.environment} is {info.state.name} and {critical_dead} are dead")
        for node in world.nodes:
            for process in node.living():
                if process.spec.environment in self.orphans:
                    continue
                if process.spec.task not in shown_tasks and process.spec.mode is not Mode.HOOK:
                    reasons.append(
                        f"a process of task {process.spec.task} ({process.spec.environment} {process.spec.role}) "
                        f"lives on {node.name}, and no environment shows it"
                    )
        return reasons

    def _wrong(self, environment: EnvironmentInfo, task: TaskInfo) -> str:
        """Return what is wrong with the core's picture of a task, or ""."""
        if task.hook:
            return ""
        node = next((one for one in self.world.nodes if one.name == task.node), None)
        if node is None:
            return ""
        if task.attached:
            return self._wrong_attached(task)
        process = node.live(task.task)
        if task.phase is Phase.EXITED:
            return "" if process is None else "is shown as ended and lives"
        if task.mode.upper() not in ("DIRECT", "FAIRMQ"):
            return ""
        if process is None:
            return f"is shown as {task.phase.name} and has no process" if task.phase is not Phase.ASSIGNED else ""
        if task.pid != process.pid:
            return f"has pid {process.pid} and is shown with {task.pid}"
        assert isinstance(process, ControlledTask)
        real = task_state(process)
        if process.behaviour.never_binds or not process.bound:
            return ""
        if process.stolen:
            return ""
        if stalled := self._wrongly_stalled(task, process):
            return stalled
        if wrong := self._wrong_in(environment, task, process, real):
            return wrong
        if task.phase is Phase.SUSPECT and not (real is TaskState.ERROR or process.busy):
            return f"answers and is shown as SUSPECT ({task.error})"
        if real is not TaskState.UNKNOWN and real is not task.state and not process.busy:
            return f"is {real.name} and is shown as {task.state.name}"
        return ""

    def _wrong_in(self, environment: EnvironmentInfo, task: TaskInfo, process: ControlledTask, real: TaskState) -> str:
        """Return why a task can't be where it is while its environment is in a state, or ""."""
        if process.busy or real is TaskState.UNKNOWN:
            return ""
        if self.modifications.is_loose(environment.environment, task.role):
            return ""  # where it failed to follow, the others went on
        state = environment.state
        if state is EnvState.ERROR:
            # a task that was still being started when the environment gave up runs until somebody recovers
            ran = [was for _, was in self.environment(environment.environment).states[-2:-1]]
            quiet = not self.world.scenario.disturbed and not process.troubled and ran == [EnvState.RUNNING]
            return "runs on though its environment is in ERROR" if quiet and real is TaskState.RUNNING else ""
        wanted = WANTED.get(state)
        if self.environment(environment.environment).transition_before == "RECOVER":
            return ""  # it may have been in the middle of what it was told before, and ends it now
        if wanted is not None and task.critical and real is not wanted:
            return f"is {real.name} while its environment is {state.name}"
        return ""

    def _wrongly_stalled(self, task: TaskInfo, process: ControlledTask) -> str:
        """Return why a task should (or should not) be shown as stalled, or ""."""
        if task.stalled and not process.stuck and not process.busy:
            return "answers and gets on, and is shown as stalled"
        watched = process.spec.liveness and process.running and not process.busy
        if not task.stalled and process.stuck and watched and self._now - process.stuck_since > 6.0:
            return "stands still, and is not shown as stalled"
        return ""

    def _wrong_attached(self, task: TaskInfo) -> str:
        """Return what is wrong with the core's picture of a task that somebody else starts and ends, or ""."""
        process = next((one for one in self.world.hall.living() if one.spec.task == task.task), None)
        if process is None or not process.bound or process.stolen or process.busy:
            return ""
        real = task_state(process)
        if task.phase is Phase.ACTIVE and task.state is not real and task.state is not TaskState.ERROR:
            return f"is {real.name} and is shown as {task.state.name}"
        return ""

    def finish(self) -> None:
        """Check what can only be said when everything is over: all environments are destroyed."""
        world = self.world
        for node in world.nodes:
            for process in node.living():
                if process.spec.environment in self.orphans:
                    continue
                self._broken(
                    "left-behind", f"task {process.spec.task} ({process.spec.role}) still lives on {node.name}"
                )
            for task, n in node.spawned.items():
                allowed = max(1, len(self.starts_given.get(task, ()))) if node.modes[task] is Mode.BASIC else 1
                if n > allowed and not (node.name in self.forgetful and node.modes[task] in (Mode.HOOK, Mode.BASIC)):
                    self._broken("started-twice", f"task {task} was started {n} times on {node.name}")
        places: dict[str, str] = {}
        for node in world.nodes:
            for task in node.spawned:
                if places.setdefault(task, node.name) != node.name:
                    self._broken("started-twice", f"task {task} was started on {places[task]} and {node.name}")
        for number, parts in self.runs.items():
            if number in self.lost_runs:
                continue
            kinds = sorted(part.split()[0] for part in parts)
            if kinds != ["end", "start"]:
                self._broken("one-run", f"run {number} has {', '.join(parts)}")
            record = self.run_records.get(number)
            if record is None or not (record.start_ms and record.end_ms and record.end_completion_ms):
                self._broken("record", f"the record of run {number} is not complete: {record}")
            elif record.condition is RunCondition.UNDEFINED or not record.end_reason:
                self._broken("record", f"run {number} is not judged: {record}")
            else:
                self.accounts.check_saved(record)
                if record.condition is not RunCondition.FAILED:
                    self.accounts.check_metrics(number, record.environment)
        for held in world.hall.living():
            if (
                (held.running or held.busy)
                and held.spec.environment not in self.orphans
                and not (held.stolen or self.forgetful)
            ):
                self._broken("attached", f"{held.spec.endpoint} is left behind in {held.state_name}")
        for env in self.environments.values():
            if env.states and env.state is not EnvState.DONE:
                self._broken("liveness", f"environment {env.name} is {env.state.name} after its destruction")
        self._check_deaths()
        self._check_calls()
        if world.scenario.kind == "calm":
            for finished in self.answers.values():
                operation = world.shared.operations.get(finished.operation)
                if finished.code not in (
                    "",
                    "E_STATE",
                    "E_CONFLICT",
                    "E_NOT_FOUND",
                    "E_DENIED",
                    "E_USAGE",
                    "E_INVALID",
                ):
                    self._broken(
                        "calm", f"{operation and operation.request} ended with {finished.code} {finished.message}"
                    )

    def _check_deaths(self) -> None:
        for death in self.deaths:
            env = self.environments.get(death.spec.environment)
            if (
                env is None
                or env.name in self.orphans
                or not death.bad
                or not self._critical(death.spec)
                or not env.states
            ):
                continue
            before = [state for at, state in env.states if at <= death.mono_s]
            after = [state for at, state in env.states if at > death.mono_s]
            soon = [state for at, state in env.states if death.mono_s < at < death.mono_s + DESTROYED_S]
            if before and before[-1] in (EnvState.ERROR, EnvState.DONE):
                continue
            if not after or after[0] not in (EnvState.ERROR, EnvState.DONE):
                if EnvState.ERROR in after or EnvState.DONE in soon or (before and before[-1] is EnvState.STANDBY):
                    continue
                self._broken(
                    "critical-death",
                    f"critical {death.spec.role} of {env.name} died at {death.mono_s:.2f} s and there was no ERROR",
                )

    def _check_calls(self) -> None:
        seen: dict[str, list[int]] = {}
        for call in self.world.services.calls:
            seen.setdefault(call.call, []).append(call.life)
            if len(seen[call.call]) > 1 and call.function not in IDEMPOTENT:
                self._broken("calls", f"call {call.call} {call.function} of {call.role} was called twice")
        for (environment, role), n in self.open_calls.items():
            if n:
                self._broken("calls", f"{environment}: call {role} has begun and never ended")

    def _critical(self, spec: TaskSpec) -> bool:
        """Whether a task is critical by its workflow, whatever the core made of that."""
        return self.world.services.critical(spec.environment, spec.role)

    @property
    def _now(self) -> float:
        return self.world.agenda.mono_s

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)


def task_state(task: ControlledTask) -> TaskState:
    """Return the task state of a simulated task; UNKNOWN on the way."""
    if task.machine is task.machine.FAIRMQ:
        return fairmq.task_state(DeviceState(task.state))
    return TaskState(task.state)
