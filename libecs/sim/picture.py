"""The rule on rest: once nothing goes on, all that the core shows is true."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

from libecs.fsm import EnvState, Mode, TaskState
from libecs.sim.known import CONTROLLED, WANTED, Environment, Known, task_state
from libecs.sim.modifications import Modifications
from libecs.sim.tasks import ControlledTask
from libecs.wire.client import Environments
from libecs.wire.info import EnvironmentInfo, TaskInfo
from libecs.wire.node import Phase

if TYPE_CHECKING:
    from libecs.sim.world import World

CONTROLLED_NAMES = tuple(mode.name for mode in CONTROLLED)


class Picture:
    """Compares what the core shows with what there is."""

    def __init__(self, world: World, known: Known, modifications: Modifications) -> None:
        self.world = world
        self.known = known
        self.modifications = modifications

    def unsettled(self, snapshot: Environments | None) -> list[str]:
        """Return why the system is not at rest. Empty: it is, and all that is shown is true."""
        reasons = list(self._unanswered())
        if snapshot is None:
            return [*reasons, "Show is not answered"]
        reasons += self._unfinished({info.environment for info in snapshot.environments})
        reasons += self.modifications.unsettled(snapshot)
        for info in snapshot.environments:
            reasons += self._untrue(info)
        reasons += self._unshown({task.task for info in snapshot.environments for task in info.tasks})
        return reasons

    def _unanswered(self) -> Iterator[str]:
        for client in self.world.clients:
            if not client.idle:
                yield f"{client.name} waits or works"
        for id, operation in self.world.shared.operations.items():
            if operation.finished is None and not operation.abandoned:
                yield f"operation {id} of {operation.client} has no answer"

    def _unfinished(self, shown: Set[str]) -> Iterator[str]:
        """Yield what the journal has begun, and what is not shown any more."""
        for env in self.known.environments.values():
            if env.acknowledged and env.state is not EnvState.DONE and env.name not in shown:
                yield f"environment {env.name} ({env.state.name}) has vanished"
            if env.transition:
                yield f"{env.name}: {env.transition} has begun and not ended"
            if overdue := self._overdue(env):
                yield overdue

    def _untrue(self, info: EnvironmentInfo) -> Iterator[str]:
        """Yield what is wrong with the core's picture of an environment."""
        if info.transition:
            yield f"{info.environment} is in {info.transition}: {info.step}"
        for task in info.tasks:
            wrong = self._wrong(info, task)
            if wrong and not info.transition:
                yield f"{info.environment} ({info.state.name}) {task.role} [{task.task}]: {wrong}"
        if info.run_number and info.state is not EnvState.RUNNING:
            yield f"{info.environment} shows run {info.run_number} in {info.state.name}"
        critical_dead = [
            task.role
            for task in info.tasks
            if task.critical
            and not task.hook
            and task.mode.upper() in CONTROLLED_NAMES
            and task.phase is Phase.EXITED
            and not self.modifications.is_loose(info.environment, task.role)
        ]
        gentle = any(not death.bad for death in self.known.deaths if death.spec.environment == info.environment)
        if critical_dead and not gentle and info.state not in (EnvState.ERROR, EnvState.STANDBY, EnvState.DONE):
            yield f"{info.environment} is {info.state.name} and {critical_dead} are dead"

    def _unshown(self, shown: Set[str]) -> Iterator[str]:
        """Yield the processes that no environment shows, and that are not idle."""
        for node in self.world.nodes:
            for process in node.living():
                spec = process.spec
                if spec.environment in self.known.orphans or spec.mode is Mode.HOOK:
                    continue
                if spec.task not in shown and spec.task not in self.modifications.idle:
                    yield (
                        f"a process of task {spec.task} ({spec.environment} {spec.role}) lives on {node.name}, "
                        "and no environment shows it"
                    )

    def _overdue(self, env: Environment) -> str:
        """Return why a run should have stopped by itself, or ""."""
        limit_s = self.world.services.auto_stop_s(env.name)
        if limit_s is None or env.state is not EnvState.RUNNING or env.transition or self.world.clock_jumped:
            return ""
        since_s = self._now - max(env.last_transition_s, self.world.core_awake_s)
        return f"{env.name}: run {env.run} should have stopped by itself" if since_s > limit_s + 3.0 else ""

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
        if task.mode.upper() not in CONTROLLED_NAMES:
            return ""
        if process is None:
            return f"is shown as {task.phase.name} and has no process" if task.phase is not Phase.ASSIGNED else ""
        if task.phase is Phase.ASSIGNED and process.spec.environment != environment.environment:
            return ""  # an idle task that was chosen, and is not told so before it is launched
        if task.pid != process.pid:
            return f"has pid {process.pid} and is shown with {task.pid}"
        assert isinstance(process, ControlledTask)
        real = task_state(process)
        if process.behaviour.never_binds or not process.bound or process.stolen:
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
            ran = [was for _, was in self.known.environment(environment.environment).states[-2:-1]]
            quiet = not self.world.scenario.disturbed and not process.troubled and ran == [EnvState.RUNNING]
            return "runs on though its environment is in ERROR" if quiet and real is TaskState.RUNNING else ""
        wanted = WANTED.get(state)
        if self.known.environment(environment.environment).transition_before == "RECOVER":
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

    @property
    def _now(self) -> float:
        return self.world.agenda.mono_s
