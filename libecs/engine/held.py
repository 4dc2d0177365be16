"""One task as its executor holds it: what is asked of it, what is known of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

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
    step: int = 0
    """How many events the task was told for this command: makes their ids."""
    told: int = 0
    """Number of the event it works on, 0 = none."""
    source: int = 0
    failed: str = ""
    """Why it is being rolled back."""
    then: Callable[[], None] | None = None
    """Part of something else, which goes on here: nobody waits for an answer."""


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
    stalled: bool = False

    machine_state: int = 0
    """Number of the task's own machine."""
    sequence: int = -1
    """Of the last StateChanged; -1 = never heard of."""
    welcomed: bool = False
    heard: float = 0.0
    """Monotonic time of the last sign of life."""
    pinged: float = 0.0
    progress: int = 0
    adopted: bool = False

    going: Going | None = None
    killing: Killing | None = None
    trigger: str = ""
    """Command id that runs this hook."""
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


@attrs.frozen(kw_only=True)
class HeldRecord:
    """What must survive the executor of a task without a control link: basic tasks and hooks."""

    spec: TaskSpec
    state: TaskState
    trigger: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    """(command id, why it failed or "")."""
    going: str = ""
    going_event: int = 0
