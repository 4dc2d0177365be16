"""One task as its executor holds it: what is asked of it, what is known of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs

from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire.node import Exit, Failure, Held, Phase, TaskSpec, TaskStatus
from libecs.wire.task import Machine

ANSWERS_KEPT = 16


@attrs.define(kw_only=True)
class Going:
    """A command that a task works on."""

    id: str
    event: TaskEvent
    arguments: dict[str, str]
    deadline: float
    seconds: float = 0.0
    """It was given, if it waits for another one."""
    step: int = 0
    """How many events the task was told for this command: makes their ids."""
    told: int = 0
    """Number of the event it works on, 0 = none."""
    source: int = 0
    failed: str = ""
    """Why it is being rolled back."""
    then: Callable[[str | None], None] | None = None
    """Part of something else, which goes on here with the reason of a failure: nobody waits for an answer."""


@attrs.define(kw_only=True)
class Killing:
    """How far the end of a task has gone. Stage 0 is the soft walk, 1 and more are signals."""

    stage: int = 0
    walked: int = 0
    """Steps of the soft walk so far."""
    goodbye: bool = False
    """It is DONE and was given a moment to leave."""
    deadline: float = 0.0
    ids: set[str] = attrs.field(factory=set)
    """Kill commands to answer."""


@attrs.define(kw_only=True)
class HeldTask:
    """A task of this node."""

    spec: TaskSpec
    phase: Phase = Phase.ASSIGNED
    state: TaskState = TaskState.STANDBY
    pid: int = 0
    exit: Exit | None = None
    error: str = ""
    last_log: str = ""
    run: int = 0
    end_of_stream: bool = False
    silent: bool = False
    """It does not answer."""
    stuck: bool = False
    """It answers, but its progress counter stands still."""

    machine_state: int = 0
    """Number of the task's own machine."""
    sequence: int = -1
    """Of the last StateChanged; -1 = never heard of."""
    welcomed: bool = False
    taken: bool = False
    """Somebody else has taken its control."""
    heard: float = 0.0
    """Monotonic time of the last sign of life."""
    progress: int = 0
    moved: float = 0.0
    """Monotonic time when it last got on: its progress counter, or its state."""
    complained: float = float("-inf")
    """Monotonic time of its last line of ERROR or FATAL, which is in `last_log`."""
    adopted: bool = False
    homing: int = 0
    """Events on the way of an attached task to STANDBY so far."""
    dialled: bool = False
    """Its endpoint is open."""
    epoch: int = 0
    """With which an attached task is taken from its last controller, if that needs more than ours."""
    lost: bool = False
    """An attached task whose state is what we say of a dead link, not what it says."""

    going: Going | None = None
    queue: list[Going] = attrs.field(factory=list)
    """What is to be done when the present command is over: the ways back, which wait for it."""
    killing: Killing | None = None
    trigger: str = ""
    """Command id that runs this hook."""
    use: str = ""
    """Environment that uses it now, if its process was started for another one."""
    spawning: bool = False
    """A process is on its way: ProcessStarted or ProcessEnded will tell."""
    answers: OrderedDict[str, Failure | None] = attrs.field(factory=OrderedDict)
    """Command id to why it failed, None = done. The last ones only."""

    @property
    def controlled(self) -> bool:
        """Whether the task speaks the task link."""
        return self.spec.mode in (Mode.DIRECT, Mode.FAIRMQ)

    @property
    def alive(self) -> bool:
        """Whether there is a process, as far as is known."""
        return self.pid != 0 and self.exit is None

    @property
    def stalled(self) -> bool:
        """Whether it does not do what a live task does."""
        return self.silent or self.stuck

    @property
    def telling_run(self) -> int:
        """Number of the run that what it tells now belongs to, 0 = none."""
        going = self.going
        if going is not None and going.event is TaskEvent.START:
            return run_number(going.arguments)
        stopping = going is not None and going.event is TaskEvent.STOP
        in_run = self.state in (TaskState.RUNNING, TaskState.PAUSED, TaskState.ERROR)
        return self.run if in_run or stopping else 0

    @property
    def machine(self) -> Machine:
        """The state machine that its messages count in."""
        return Machine.FAIRMQ if self.spec.mode is Mode.FAIRMQ else Machine.OCC

    def remember(self, id: str, failure: Failure | None) -> None:
        """Keep the answer of a command for when it is repeated."""
        self.answers[id] = failure
        while len(self.answers) > ANSWERS_KEPT:
            self.answers.popitem(last=False)

    def status(self) -> TaskStatus:
        """Return what is true of the task now."""
        return TaskStatus(
            task=self.spec.task,
            phase=self.phase,
            state=self.state,
            pid=self.pid,
            exit=self.exit,
            end_of_stream=self.end_of_stream,
            error=self.error,
            last_log=self.last_log,
            run=self.run,
            stalled=self.stalled,
            use=self.use,
        )

    def held(self) -> Held:
        """Return the task as it is announced."""
        return Held(
            status=self.status(),
            environment=self.spec.environment,
            role=self.spec.role,
            class_name=self.spec.class_name,
        )

    def failure(self, reason: str) -> Failure:
        """Return why the task did not do what it was told."""
        return Failure(task=self.spec.task, state=self.state, reason=reason, last_log=self.last_log)


def run_number(arguments: Mapping[str, str]) -> int:
    """Return the number of the run that START is told, 0 if there is none."""
    text = arguments.get("run_number") or arguments.get("runNumber") or "0"
    return int(text) if text.isdecimal() else 0


@attrs.frozen(kw_only=True)
class HeldRecord:
    """What must survive the executor of a task that nothing else on its node tells of: basic tasks and hooks,
    attached tasks, and of other controlled tasks their use if it is not the one that they were started for.
    """

    spec: TaskSpec
    state: TaskState
    trigger: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    """(command id, why it failed or "")."""
    going: str = ""
    going_event: int = 0
    run: int = 0
    use: str = ""
