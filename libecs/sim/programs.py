"""Simulated processes of a node: programs that only run and end. They outlive executor and shim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Protocol

from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour, ended
from libecs.wire.node import Exit, TaskSpec
from libecs.wire.task import Metric

if TYPE_CHECKING:
    from libecs.sim.tasks import ControlledTask


class TaskWatcher(Protocol):
    """Who sees what tasks really do."""

    def began(self, process: Process) -> None:
        """A process has started."""

    def launch_failed(self, spec: TaskSpec) -> None:
        """A process could not be started."""

    def changed(self, task: ControlledTask) -> None:
        """A task is in another state."""

    def effect(self, task: ControlledTask, id: str, event: str, run: str, arguments: Mapping[str, str]) -> None:
        """A command has its effect."""

    def signaled(self, process: Process, number: int) -> None:
        """An executor sends a signal."""

    def orphaned(self, process: Process) -> None:
        """A shim ends a task that nobody owns."""

    def attached(self, task: ControlledTask) -> None:
        """A task that somebody else started is dialled."""

    def used(self, process: Process) -> None:
        """A process serves another environment from now on; its `spec` says which."""

    def told(self, task: ControlledTask, metric: Metric) -> None:
        """A task has told a metric of its run, on a link that was up."""

    def ended(self, process: Process) -> None:
        """A process is gone."""


class Process:
    """A process of a node: alive from its making until `end`."""

    def __init__(
        self,
        spec: TaskSpec,
        pid: int,
        behaviour: Behaviour,
        agenda: Agenda,
        random: Random,
        on_end: Callable[[Process, Exit], None],
    ) -> None:
        self.spec = spec
        self.pid = pid
        self.behaviour = behaviour
        self.agenda = agenda
        self.random = random
        self.exit: Exit | None = None
        self.frozen = False
        self.bound = False
        self.last_log = ""
        self.orphaned = False
        """Its shim ends it: it has no owner any more."""
        self.told_to_end = False
        """We asked for its end, by a signal or by EXIT."""
        self._on_end = on_end

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.exit is None

    def end(self, exit: Exit) -> None:
        """End now."""
        if self.exit is None:
            self.exit = exit
            self.bound = False
            self._on_end(self, exit)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a delay, if the process is still alive then; a frozen process does it when it thaws."""

        def act() -> None:
            if not self.alive:
                return
            if self.frozen:
                self.later(0.1, action)
            else:
                action()

        self.agenda.after(delay_s, act)

    def signal(self, number: int) -> None:
        """Get a signal. A frozen process feels only SIGKILL."""
        self.told_to_end = True
        if number == 9:
            self.end(ended(signal=9))
        elif not self.behaviour.ignores_term:
            self.later(self.random.uniform(0.001, 0.01), lambda: self.end(self.ends_by(number)))

    def ends_by(self, number: int) -> Exit:
        """Return how it ends after a signal that can be caught."""
        return ended(signal=number)

    def thaw(self) -> None:
        """Go on after a freeze, finish what hangs."""
        self.frozen = False


class Program(Process):
    """A basic task or a hook: it runs, and ends."""

    def run(self) -> None:
        """Begin."""
        if self.behaviour.runs_s:
            self.later(self.behaviour.runs_s, lambda: self.end(ended(self.behaviour.code)))
