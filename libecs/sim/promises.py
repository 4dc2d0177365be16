"""Rules on what the core promises: what it commits, publishes and answers must fit together, and be true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from libecs.engine.records import CONDEMNED, EnvironmentRecord
from libecs.engine.records import ENVIRONMENT as ENVIRONMENT_RECORDS
from libecs.engine.records import RUN as RUN_RECORDS
from libecs.fsm import ENVIRONMENT, EnvState, TaskState
from libecs.sim.clients import Operation
from libecs.sim.history import History, event_text
from libecs.sim.house import House
from libecs.sim.known import WANTED, Environment, Known, task_state
from libecs.sim.modifications import Modifications
from libecs.wire.client import Create, Environments, Finished
from libecs.wire.codec import unpack_value
from libecs.wire.info import Event, RunInfo, TaskInfo
from libecs.wire.node import Phase

if TYPE_CHECKING:
    from libecs.sim.world import World


SILENCE_S = 3.2
"""A node that the core has not heard of for so long must not be shown as healthy."""


class Promises:
    """What was committed, published and answered in one history."""

    def __init__(
        self, world: World, history: History, known: Known, *, house: House, modifications: Modifications
    ) -> None:
        self.world = world
        self.history = history
        self.known = known
        self.house = house
        self.modifications = modifications
        self._sequence = 0
        self._committed: set[int] = set()
        self._durable_kinds: set[str] = set()

    def forget(self) -> None:
        """The core's records are lost: its events are numbered anew."""
        self._sequence = 0
        self._committed.clear()

    # what the core commits and says

    def event(self, event: Event) -> None:
        """See an event that is on disk now."""
        if self._sequence and event.sequence != self._sequence + 1:
            self._broken("event-sequence", f"event {event.sequence} follows {self._sequence}")
        self._sequence = event.sequence
        self._committed.add(event.sequence)
        self._durable_kinds.add(event.kind)
        if event.environment:
            self._event_of(self.known.environment(event.environment), event)

    def committed(self, records: Mapping[tuple[str, str], bytes | None]) -> None:
        """See records that are on disk now."""
        for (table, key), value in records.items():
            if table == ENVIRONMENT_RECORDS and value is not None:
                self._environment_record(self.known.environment(key), unpack_value(EnvironmentRecord, value))
            elif table == RUN_RECORDS and value is not None:
                self._run_record(key, unpack_value(RunInfo, value))

    def _environment_record(self, env: Environment, record: EnvironmentRecord) -> None:
        """What a new life would believe must be what everybody was told."""
        if record.state is not env.state:
            self._broken("record", f"{env.name} is {record.state.name} on disk and {env.state.name} in the journal")
        if record.run_number != env.run:
            self._broken("record", f"{env.name} has run {record.run_number} on disk and {env.run} in the journal")

    def _run_record(self, key: str, run: RunInfo) -> None:
        """A run's record only grows: what is written once stays."""
        old = self.known.run_records.get(run.number)
        if key != str(run.number):
            self._broken("record", f"the record of run {run.number} has key {key}")
        if old is not None:
            for name in ("environment", "start_ms", "start_completion_ms", "end_ms", "end_completion_ms"):
                was, now = getattr(old, name), getattr(run, name)
                if was and was != now:
                    self._broken("record", f"run {run.number}: {name} was {was} and becomes {now}")
        self.known.run_records[run.number] = run

    def published(self, events: tuple[Event, ...]) -> None:
        """See events that went out."""
        for event in events:
            if event.kind in self._durable_kinds and event.sequence not in self._committed:
                self._broken("publish-before-commit", event_text(event))
            if event.kind not in self._durable_kinds:
                self.history.add("core", "publish", event)
            if event.kind == "tasks":
                self._task_event(event)

    def _event_of(self, env: Environment, event: Event) -> None:
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
            self.known.open_calls[key] = self.known.open_calls.get(key, 0) + (1 if event.kind == "call.begin" else -1)
            if self.known.open_calls[key] < 0:
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
            if task.spec.task in condemned or task.spec.task in self.known.robbed:
                continue
            critical = self.world.services.critical(env.name, task.spec.role)
            if critical and not self.modifications.is_loose(env.name, task.spec.role):
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
        seen = self.known.runs.setdefault(number, [])
        if event.kind == "run.start":
            if seen:
                self._broken("run-number", f"run {number} starts again, in {env.name}")
            if number not in self.world.services.counter.keys.values():
                self._broken("run-number", f"run {number} was never taken")
            if env.run:
                self._broken("one-run", f"{env.name} starts run {number} while run {env.run} goes on")
            earlier = [
                n for n, parts in self.known.runs.items() if parts and parts[0] == f"start {env.name}" and n > number
            ]
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

    def _task_event(self, event: Event) -> None:
        for role, state in event.tasks:
            if state not in (TaskState.CONFIGURED, TaskState.RUNNING):
                continue
            ids = self.known.task_of_role.get((event.environment, role), [])
            processes = [self.known.real[task] for task in ids if task in self.known.real]
            if processes and not any(state in states for states in processes):
                self._broken("truth", f"{event.environment} {role} is said to be {state.name} and never was")

    def answered(self, operation: Operation, finished: Finished) -> bool:
        """See an answer to an operation; return whether it is the first."""
        first = self.known.answers.setdefault(finished.operation, finished)
        if first.code == "E_DENIED":  # that is on no record: who asks again is judged again
            self.known.answers[finished.operation] = finished
        elif first != finished and operation.begun_s >= self.known.forgot_s:
            self._broken("same-answer", f"{finished.operation} was answered {first} and then {finished}")
        is_lost = finished.environment in self.known.orphans
        if isinstance(operation.request, Create) and finished.environment and not finished.code and not is_lost:
            self.known.environment(finished.environment).acknowledged = True
        return first is finished

    def snapshot(self, message: Environments) -> None:
        """See an answer to Show."""
        for info in message.environments:
            known = self.known.environments.get(info.environment)
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

    @property
    def _now(self) -> float:
        return self.world.agenda.mono_s

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)
