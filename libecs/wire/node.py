"""Messages between the core and an executor, one per node and step whatever the number of tasks.

The executor dials in. NodeHello, then Welcome, open a *session*: a number that the core gives and that every later
message of both sides carries; a message of another session is old and is dropped. The core's *epoch* grows with each
life of the core; an executor obeys the highest it has ever seen and remembers it on disk, so that an old core that
wakes up is fenced.

*Exactly once.* Commands carry an id and are repeated by the core until they are answered; the executor works on each
(id, task) once and repeats its answer, with the state of now.

*Truth.* Every change of a task is an Update with a sequence number; NodeKeepalive tells the last one. Whoever sees a
gap asks for (Inquire) or sends (Announce) the whole picture. A status older than what is known is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire.codec import Table
from libecs.wire.telemetry import LogLine, MetricSpan

NODE = Table("node link")


class Phase(IntEnum):
    """What a task's process does, as its executor knows it."""

    ASSIGNED = 1
    """Accepted; a basic task or a hook without a process, or one that is about to get it."""
    STARTING = 2
    """Has a process, is not in its first steady state yet."""
    ACTIVE = 3
    """Reachable and controlled."""
    SUSPECT = 4
    """Has a process that does not answer."""
    EXITED = 5
    """Ended; `exit` says how."""


class ExitCause(IntEnum):
    """Why a process ended."""

    EXITED = 1
    SIGNALED = 2
    LAUNCH_FAILED = 3
    UNKNOWN = 4
    """It is gone and nobody saw how: its shim was killed."""
    ORPHANED = 5
    """It was stopped because nobody owned it any more."""
    NEVER_STARTED = 6


@attrs.frozen(kw_only=True)
class Exit:
    """How a process ended."""

    cause: ExitCause
    code: int = 0
    signal: int = 0
    text: str = ""
    """Why a launch failed, or what else is known of the end, in words."""
    wanted: bool = False
    """We told it to end."""

    def describe(self) -> str:
        """Return the end in words, for people."""
        if self.cause is ExitCause.EXITED:
            return f"exited with code {self.code}" + (f" ({self.text})" if self.text else "")
        if self.cause is ExitCause.SIGNALED:
            return f"killed by signal {self.signal}" + (f" ({self.text})" if self.text else "")
        if self.cause is ExitCause.LAUNCH_FAILED:
            return f"could not be started: {self.text}"
        if self.cause is ExitCause.ORPHANED:
            return "stopped as an orphan"
        if self.cause is ExitCause.NEVER_STARTED:
            return "was never started"
        return "ended, nobody saw how"


@attrs.frozen(kw_only=True)
class Limits:
    """Resources a task wants or may not exceed: CPUs, memory in MB, fixed TCP ports."""

    cpu: float = 0.0
    memory_mb: float = 0.0
    ports: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Command:
    """What to execute. `argv` is never passed through a shell; where a shell is wanted it is argv[0]."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(factory=dict)
    user: str = ""
    """"" = the executor's own."""
    stdout: str = "none"
    """Who sees its lines: `none`, `stdout` (whoever watches the task) or `all`. They are kept in any case."""
    stderr: str = "none"
    cwd: str = ""
    """Absolute folder to start in; "" = the root folder."""


@attrs.frozen(kw_only=True)
class TaskSpec:
    """All that an executor must know to run and control one task."""

    task: str
    """Task id, unique for ever."""
    environment: str
    role: str
    class_name: str
    mode: Mode
    critical: bool
    command: Command
    endpoint: str = ""
    """Control endpoint; "" = the executor makes an ipc one. Attached tasks name theirs."""
    attached: bool = False
    limits: Limits = attrs.field(factory=Limits)
    timeout_s: float = 0.0
    """Life of the process of a basic task or hook, 0 = no limit."""
    start_s: float = 45.0
    """Seconds from launch to the first steady state."""
    liveness: bool = False
    stop_signal: int = 9
    """Asks a basic task to stop."""
    exit_is_error: bool = False
    """A basic task that ends by itself is broken, however it ended (`on_exit: error`); else a clean end is the end of
    its stream."""
    stop_s: float = 0.0
    """Seconds that a basic task has after `stop_signal` before SIGKILL; 0 = the usual ones."""
    exit_s: float = 0.0
    """Seconds for each step of a task's way out, STOP, RESET and EXIT, before signals; 0 = the usual ones."""


@attrs.frozen(kw_only=True)
class TaskStatus:
    """What is true of one task now."""

    task: str
    phase: Phase
    state: TaskState
    pid: int = 0
    exit: Exit | None = None
    end_of_stream: bool = False
    error: str = ""
    """What the task or its link last complained of."""
    last_log: str = ""
    run: int = 0
    stalled: bool = False
    use: str = ""
    """Environment that uses it now, if it was launched for another one."""


@attrs.frozen(kw_only=True)
class Held:
    """A task that an executor holds, as it announces it: enough for a core without records to show it."""

    status: TaskStatus
    environment: str
    role: str
    class_name: str


# core to executor


@NODE.message(1)
@attrs.frozen(kw_only=True)
class Welcome:
    """NodeHello is accepted."""

    version: int
    epoch: int
    session: int
    instance: str


@NODE.message(2)
@attrs.frozen(kw_only=True)
class Launch:
    """Take these tasks and start the processes of those that have one from the beginning. Repeating it is harmless.

    A task that is held already, in STANDBY, takes over what its new spec says of environment, role, criticality, limits
    of time and liveness: that is how an idle task gets another use. Its process stays.
    """

    session: int
    epoch: int
    tasks: tuple[TaskSpec, ...]


@NODE.message(3)
@attrs.frozen(kw_only=True)
class Transit:
    """Take these tasks through one event. Answered by Answer, in parts if need be."""

    session: int
    epoch: int
    id: str
    event: TaskEvent
    tasks: tuple[str, ...]
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    """For all of them."""
    each: tuple[Mapping[str, str], ...] = ()
    """One map a task, in the order of `tasks`, or empty. They win over `arguments`."""
    deadline_s: float = 30.0
    """For each task, from the moment it is told."""


@NODE.message(4)
@attrs.frozen(kw_only=True)
class Trigger:
    """Run these hook tasks once, now. Their ends come as Answer."""

    session: int
    epoch: int
    id: str
    tasks: tuple[TaskSpec, ...]


@NODE.message(5)
@attrs.frozen(kw_only=True)
class Kill:
    """End these tasks, softly first, and forget them. Their ends come as Update, then Answer."""

    session: int
    epoch: int
    id: str
    tasks: tuple[str, ...]


@NODE.message(6)
@attrs.frozen(kw_only=True)
class CoreKeepalive:
    """Every 0.5 s. `seen`: highest Update number that the core has."""

    session: int
    epoch: int
    seen: int
    beat: int = 0
    """Grows by one with each of them, whatever the session; 0 = not told."""


@NODE.message(7)
@attrs.frozen(kw_only=True)
class Inquire:
    """Send Announce."""

    session: int
    epoch: int


@NODE.message(8)
@attrs.frozen(kw_only=True)
class NodeRefused:
    """NodeHello is not accepted; `reason` is a sentence."""

    epoch: int
    reason: str


@NODE.message(9)
@attrs.frozen(kw_only=True)
class ReadOutput:
    """Read the end of what a task wrote; answered by OutputRead."""

    session: int
    epoch: int
    id: str
    task: str
    stream: str
    """`stdout` or `stderr`."""
    bytes: int


@NODE.message(10)
@attrs.frozen(kw_only=True)
class KeyNews:
    """About the core's key and yours, also on the client link.

    If there is anything to say it is the first message on a link, and comes again when it changes. Engines know nothing
    of it.
    """

    next_key: str = ""
    """Public key that the core will have after its present one, z85; "" = there is none, or no more."""
    from_ms: int = 0
    """When it may have it, unix milliseconds."""
    expires_ms: int = 0
    """When your key ends, unix milliseconds, if that is soon; 0 = not soon."""


# executor to core


@NODE.message(16)
@attrs.frozen(kw_only=True)
class NodeHello:
    """An executor is here."""

    node: str
    life: str
    """Unique to one life of the executor."""
    host: str
    """Where its tasks' TCP addresses are reached."""
    attributes: Mapping[str, str]
    cpus: float
    memory_mb: float
    ports: tuple[tuple[int, int], ...]
    """Ranges of TCP ports that tasks may use, both ends included."""
    epoch_seen: int
    version_low: int = 1
    version_high: int = 1
    facts: Mapping[str, str] = attrs.field(factory=dict)
    """What is good to know: unix_ms (now), disk_free_mb, software, libzmq, python, kernel, boot_id, started_ms."""


@NODE.message(17)
@attrs.frozen(kw_only=True)
class Announce:
    """All tasks that the executor holds, as of Update `sequence`."""

    session: int
    sequence: int
    tasks: tuple[Held, ...]


@NODE.message(18)
@attrs.frozen(kw_only=True)
class Update:
    """Tasks that changed."""

    session: int
    sequence: int
    tasks: tuple[TaskStatus, ...]


@attrs.frozen(kw_only=True)
class Failure:
    """Why one task did not do what a command told it."""

    task: str
    state: TaskState
    reason: str
    last_log: str = ""


@NODE.message(19)
@attrs.frozen(kw_only=True)
class Answer:
    """Tasks that have finished command `id`: those in `done` are in `state`.

    It is numbered with the Updates and says as much as one: the states of its tasks as of `sequence`.
    """

    session: int
    sequence: int
    id: str
    state: TaskState
    """That the tasks in `done` are in."""
    done: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()


@NODE.message(20)
@attrs.frozen(kw_only=True)
class NodeKeepalive:
    """Every 0.5 s, and more often while the core is not heard. `sequence`: number of the last Update."""

    session: int
    sequence: int
    beat: int = 0
    """The last one of CoreKeepalive that was heard in this session."""
    unheard_ms: int = 0
    """Since anything was heard of the core in this session, by the node's clock and without pauses of the node."""


@NODE.message(21)
@attrs.frozen(kw_only=True)
class Fenced:
    """I obey epoch `epoch`, which is higher than yours."""

    session: int
    epoch: int


@attrs.frozen(kw_only=True)
class TaskTelemetry:
    """What one task told since the last Telemetry."""

    task: str
    run: int
    """Number of the run in which it was told, 0 = none."""
    metrics: tuple[MetricSpan, ...] = ()
    lines: tuple[LogLine, ...] = ()
    dropped: int = 0
    """Samples and lines of it that were dropped on the way, since its start."""


@NODE.message(22)
@attrs.frozen(kw_only=True)
class Telemetry:
    """Once a second, on a link of its own: numbers and lines of the tasks that told some. It may be lost."""

    session: int
    tasks: tuple[TaskTelemetry, ...]


@NODE.message(23)
@attrs.frozen(kw_only=True)
class OutputRead:
    """Answer to ReadOutput: the last part of a stream, cut at the begin of a line. `error`: why there is none."""

    session: int
    id: str
    task: str
    text: str = ""
    truncated: bool = False
    error: str = ""
