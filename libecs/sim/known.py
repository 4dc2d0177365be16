"""What the checker knows of one history: what was said of environments and runs, and what tasks did, side by side."""

from __future__ import annotations

import attrs

from libecs import fairmq
from libecs.fairmq import DeviceState
from libecs.fsm import EnvState, Mode, TaskState
from libecs.sim.tasks import ControlledTask
from libecs.wire.client import Finished
from libecs.wire.info import RunInfo
from libecs.wire.node import TaskSpec

CONTROLLED = (Mode.DIRECT, Mode.FAIRMQ)
WANTED = {
    EnvState.DEPLOYED: TaskState.STANDBY,
    EnvState.CONFIGURED: TaskState.CONFIGURED,
    EnvState.RUNNING: TaskState.RUNNING,
}
"""Where the critical tasks of an environment are while nothing goes on."""


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


class Known:
    """Facts of one history. The rule books write them down and compare them; none of them judges here."""

    def __init__(self) -> None:
        self.environments: dict[str, Environment] = {}
        self.runs: dict[int, list[str]] = {}
        """Run number to its committed `run.start` and `run.end`, in order."""
        self.run_records: dict[int, RunInfo] = {}
        self.answers: dict[str, Finished] = {}
        self.open_calls: dict[tuple[str, str], int] = {}
        self.deaths: list[Death] = []
        self.real: dict[str, set[TaskState]] = {}
        """Task id to all states that it ever was in."""
        self.task_of_role: dict[tuple[str, str], list[str]] = {}
        """(environment, role path) to the ids of its tasks."""
        self.robbed: set[str] = set()
        """Tasks that somebody has taken, and perhaps commanded, for a time."""
        self.orphans: set[str] = set()
        """Environments of which the core has lost its records."""
        self.lost_runs: set[int] = set()
        """Runs of those."""
        self.forgot_s = -1.0
        """When the core lost its records."""
        self.forgetful: set[str] = set()
        """Nodes whose executors have lost their records."""

    def environment(self, name: str) -> Environment:
        """Return (and keep) what is known of an environment."""
        return self.environments.setdefault(name, Environment(name))

    def serves(self, spec: TaskSpec) -> None:
        """A task is that of a role from now on."""
        ids = self.task_of_role.setdefault((spec.environment, spec.role), [])
        if spec.task not in ids:
            ids.append(spec.task)

    def is_in(self, task: ControlledTask) -> None:
        """A task is in the state that it is in now."""
        self.real.setdefault(task.spec.task, set()).add(task_state(task))

    def core_forgot(self, now_s: float) -> None:
        """The core's records are lost: it begins anew, and what ran is nobody's."""
        self.forgot_s = now_s
        self.orphans.update(self.environments)
        self.environments.clear()
        self.answers.clear()
        self.open_calls.clear()
        self.lost_runs.update(self.runs)
        self.run_records.clear()


def task_state(task: ControlledTask) -> TaskState:
    """Return the task state of a simulated task; UNKNOWN on the way."""
    if task.machine is task.machine.FAIRMQ:
        return fairmq.task_state(DeviceState(task.state))
    return TaskState(task.state)
