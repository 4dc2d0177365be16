"""Rules on what tasks do: each command has its effect once, in order, and no death goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from libecs.fsm import EnvState
from libecs.sim.accounts import Accounts
from libecs.sim.history import History
from libecs.sim.house import House
from libecs.sim.known import CONTROLLED, Death, Known
from libecs.sim.modifications import Modifications
from libecs.sim.programs import Process
from libecs.sim.tasks import EXIT_NAMES, START_NAMES, ControlledTask
from libecs.wire import node as node_wire
from libecs.wire.node import ExitCause, TaskSpec
from libecs.wire.task import Metric

if TYPE_CHECKING:
    from libecs.sim.world import World


@attrs.define(kw_only=True)
class Effects:
    """What commands have done to tasks, for the exactly-once check."""

    counts: dict[tuple[str, str], int] = attrs.field(factory=dict)
    """(task, command id) to how often its effect came about."""
    done: dict[tuple[str, str, str], int] = attrs.field(factory=dict)
    """(task, event name, run number) to how often."""

    def add(self, task: str, id: str, event: str, run: str) -> int:
        """Count one effect; return how often this command had one."""
        self.done[task, event, run] = self.done.get((task, event, run), 0) + 1
        n = self.counts[task, id] = self.counts.get((task, id), 0) + 1
        return n


class Deeds:
    """What the tasks of one history really did. It is their `TaskWatcher`."""

    def __init__(
        self,
        world: World,
        history: History,
        known: Known,
        *,
        house: House,
        accounts: Accounts,
        modifications: Modifications,
    ) -> None:
        self.world = world
        self.history = history
        self.known = known
        self.house = house
        self.accounts = accounts
        self.modifications = modifications
        self.effects = Effects()
        self.signals = 0
        self.stuck = 0
        self.starts_given: dict[str, set[str]] = {}
        """Basic task to the ids of its START commands."""
        self.doomed: set[str] = set()
        """Tasks that were to end when the core lost its records."""

    def began(self, process: Process) -> None:
        """A task's process starts."""
        environment, role = process.spec.environment, process.spec.role
        if process.spec.mode in CONTROLLED and self.known.environment(environment).transition == "RECONFIGURE":
            self._broken("reconfigure", f"{role} of {environment} is started while values are changed")
        self.modifications.began(process, self.known.environment(environment).transition)
        self.known.serves(process.spec)
        if isinstance(process, ControlledTask):
            self.known.is_in(process)
        if not process.behaviour.healthy:
            self._excuse(environment, f"{role} is not healthy", process.spec)
        self.stuck += process.behaviour.stuck_s[0] > 0
        if any(trouble.kind == "slow" for trouble in process.behaviour.troubles):
            self._excuse(environment, f"{role} is slow", process.spec)

    def used(self, process: Process) -> None:
        """A process serves another environment from now on."""
        spec = process.spec
        self.modifications.reused += 1
        self.known.serves(spec)
        if not process.behaviour.healthy or getattr(process, "troubled", False):
            self._excuse(spec.environment, f"{spec.role} is not healthy", spec)

    def launch_failed(self, spec: TaskSpec) -> None:
        """A task could not be started."""
        self._excuse(spec.environment, f"{spec.role} could not be started", spec)

    def changed(self, task: ControlledTask) -> None:
        """A task is in another state."""
        self.known.is_in(task)

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
        self.known.deaths.append(Death(self._now, process.spec, bad))
        self._excuse(process.spec.environment, f"{process.spec.role} has died", process.spec)

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
        self.known.serves(task.spec)
        self.known.is_in(task)

    def told(self, task: ControlledTask, metric: Metric) -> None:
        """A task has told a metric of its run, on a link that was up."""
        self.accounts.told(task, metric)

    def called(self, environment: str, role: str, text: str) -> None:
        """A critical call that will not end well reaches an integration."""
        self._excuse(environment, f"{role}: {text}")

    def commanded(self, message: object) -> None:
        """A command arrives at an executor."""
        if isinstance(message, node_wire.Launch):
            for spec in message.tasks:
                if spec.attached:
                    self._excuse(spec.environment, f"{spec.role} is somebody else's", spec)
        if isinstance(message, node_wire.Kill) and self.known.forgot_s < 0:
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
        self.modifications.effect(task, id, event, self.known.environment(task.spec.environment).transition)
        if event in EXIT_NAMES:
            self._not_an_orphan(task, f"is told {event}")
        if event == "STOP":
            self._check_stop_order(task)
        n = self.effects.add(name, id, event, run)
        if n > 1:
            self._broken("exactly-once", f"command {id} ({event}) had its effect {n} times in task {name}")
        if event in START_NAMES:
            self._check_start_order(task)
        if event in START_NAMES and run.isdigit():
            if int(run) not in self.known.runs:
                self._broken("intent-first", f"task {name} is started for run {run}, which is not on disk")
            if self.effects.done[name, event, run] > 1 + self.modifications.of(task.spec.environment).modified:
                self._broken("exactly-once", f"task {name} is started twice for run {run}")

    def _may_die(self, spec: TaskSpec) -> bool:
        """Whether the death of a task may have no consequence: it is excluded or idle, or its group does without it."""
        modifications = self.modifications
        if not modifications.counts(spec):
            return True
        if not modifications.is_loose(spec.environment, spec.role):
            return False
        complete = self.known.environment(spec.environment).state in (EnvState.CONFIGURED, EnvState.RUNNING)
        return not (complete and modifications.is_broken(spec.environment))

    def _check_start_order(self, task: ControlledTask) -> None:
        """A task is started: the critical ones that it waits for run, as far as they live.

        A callback that was slow may end in the START that it was told after its environment has gone to ERROR, and
        others have been revived: that is no order of a START any more.
        """
        environment = task.spec.environment
        if self.known.environment(environment).transition != "START_ACTIVITY":
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

    def _check_stop_order(self, task: ControlledTask) -> None:
        """A task is stopped: the critical ones that were started after it have stopped before."""
        environment = task.spec.environment
        if self.known.environment(environment).transition != "STOP_ACTIVITY" or task.told_to_end:
            return
        for path in self.world.services.followers(environment, task.spec.role):
            if not self.world.services.critical(environment, path):
                continue
            for other in self.world.controlled(environment):
                if self.modifications.is_loose(environment, path):
                    continue
                if other.spec.role == path and other.running and not other.busy and not other.told_to_end:
                    self._broken("stop-order", f"{task.spec.role} stops before {path}")

    def _not_an_orphan(self, process: Process, text: str) -> None:
        """What nobody knows any more is shown and left alone: it may be taking data."""
        spec = process.spec
        if spec.mode not in CONTROLLED:
            return  # a STOP that was on its way
        if self.house.ends_orphans:
            return
        if spec.environment in self.known.orphans and spec.task not in self.doomed and not process.orphaned:
            self._broken("orphan", f"task {spec.task} ({spec.role}) of a forgotten environment {text}")

    def _excuse(self, environment: str, text: str, spec: TaskSpec | None = None) -> None:
        if spec is None or self._critical(spec):
            self.known.environment(environment).excuses.append((self._now, text))

    def _critical(self, spec: TaskSpec) -> bool:
        """Whether a task is critical by its workflow, whatever the core made of that."""
        return self.world.services.critical(spec.environment, spec.role)

    @property
    def _now(self) -> float:
        return self.world.agenda.mono_s

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)
