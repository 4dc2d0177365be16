"""Messages between a client (script, coconut, web page) and the core, and the objects that scripts see.

Every request that changes something carries an operation id: repeated, it gets the stored answer, so that a lost
client loses nothing. Events carry sequence numbers without gaps; who sees a gap asks for a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.codec import Table
from libecs.wire.node import Exit, Phase
from libecs.wire.telemetry import LogLine

CLIENT = Table("client link")


class RunCondition(IntEnum):
    """How good a run was."""

    UNDEFINED = 0
    GOOD = 1
    DEGRADED = 2
    FAILED = 3


@attrs.frozen(kw_only=True)
class TaskInfo:
    """One task of an environment."""

    task: str
    role: str
    class_name: str
    mode: str
    node: str
    critical: bool
    phase: Phase
    state: TaskState
    pid: int = 0
    hook: bool = False
    exit: Exit | None = None
    error: str = ""
    last_log: str = ""
    age_ms: int = 0
    """How old this knowledge is; grows only while the node does not answer."""
    stalled: bool = False
    """It has a process that does not answer, or whose progress counter stands still though its template wants it."""
    end_of_stream: bool = False
    """It has said that it has no more data, or as a basic task it has ended."""
    attached: bool = False
    """Somebody else starts it: it is controlled, never launched or killed."""
    excluded: bool = False
    """It was taken out of its environment by Modify; it has no process there."""
    environment: str = ""
    """Only where tasks of several are listed; "" = in the idle pool, or nobody's."""
    orphan: bool = False
    """A node runs it and no record knows it."""


@attrs.frozen(kw_only=True)
class RoleInfo:
    """One role: path and what it merges to. Pre-order, the root first."""

    path: str
    kind: str
    state: TaskState
    status: Status
    critical: bool
    excluded: bool = False
    """Taken out by Modify; what stands below it too."""
    min: int = 0
    """Members that a run needs, 0 = all."""


@attrs.frozen(kw_only=True)
class MetricInfo:
    """One metric of one task in one run."""

    role: str
    name: str
    unit: str
    n: int
    sum: float
    min: float
    max: float
    last: float
    last_ms: int


@attrs.frozen(kw_only=True)
class RunSpan:
    """A part of a run in which something was missing. `end_ms` 0 = until the end of the run, or still."""

    start_ms: int
    end_ms: int
    role: str
    reason: str


@attrs.frozen(kw_only=True)
class Note:
    """What somebody wrote about a run."""

    unix_ms: int
    author: str
    text: str


@attrs.frozen(kw_only=True)
class RunInfo:
    """One run. Times are unix milliseconds, 0 = not yet."""

    number: int
    environment: str
    workflow: str = ""
    revision: str = ""
    requester: str = ""
    start_ms: int = 0
    start_completion_ms: int = 0
    end_ms: int = 0
    end_completion_ms: int = 0
    condition: RunCondition = RunCondition.UNDEFINED
    end_reason: str = ""
    comment: str = ""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """Of the root role, resolved: what the workflow's own texts see."""
    nodes: tuple[str, ...] = ()
    cause: str = ""
    """Why it FAILED."""
    degraded: tuple[RunSpan, ...] = ()
    configuration: Mapping[str, str] = attrs.field(factory=dict)
    """Role path to the SHA-256 of the properties that its task was configured with, but for the environment's id."""
    metrics: tuple[MetricInfo, ...] = ()
    """In an answer of the core as many as one message holds (and `configuration` if it fits); `run.json` has all."""
    folder: str = ""
    """`run_dir` of its tasks, on their nodes; "" = none."""
    files: tuple[str, ...] = ()
    """Files below `folder` at the end of the run, relative, where the core can see them."""
    dropped: int = 0
    """Samples and lines of its tasks that were lost on the way."""
    request: str = ""
    """The workflow expression that was asked for."""
    user_variables: Mapping[str, str] = attrs.field(factory=dict)
    """Those of the request."""
    placement: Mapping[str, str] = attrs.field(factory=dict)
    """Role path to node, of all tasks; as `configuration` only if the answer has room for it."""
    notes: tuple[Note, ...] = ()
    """What people wrote about it, the oldest first."""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    excluded: tuple[str, ...] = ()
    """Role paths that were excluded when it ended, or are now."""
    detectors: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class EnvironmentInfo:
    """One environment."""

    environment: str
    name: str
    workflow: str
    revision: str
    state: EnvState
    transition: str = ""
    """Event of the plan that is going on, or ""."""
    step: str = ""
    """What the plan waits for, in words."""
    run_number: int = 0
    last_run_number: int = 0
    created_ms: int = 0
    cause: str = ""
    """Why it is in ERROR: task, node, how it ended, last log line."""
    failures: Mapping[str, str] = attrs.field(factory=dict)
    requester: str = ""
    tasks: tuple[TaskInfo, ...] = ()
    roles: tuple[RoleInfo, ...] = ()
    detectors: tuple[str, ...] = ()
    """Detectors that take part; those of excluded roles do not."""
    auto: bool = False
    operation: str = ""
    """What goes on for it, to be followed."""
    excluded: tuple[str, ...] = ()
    """Topmost role paths that are excluded."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """Those of the request; only with `tasks`."""


@attrs.frozen(kw_only=True)
class Event:
    """Something happened. `kind` says which of the other fields hold something.

    kind: environment.state, transition.begin, transition.step, transition.end, tasks, call.begin, call.end, hook.end,
    run.start, run.end, node, orphan, operation.end, task.lost, task.stalled, task.end_of_stream, modify, lock, pool,
    key, quarantine.
    """

    sequence: int
    unix_ms: int
    kind: str
    environment: str = ""
    state: str = ""
    transition: str = ""
    moment: str = ""
    role: str = ""
    name: str = ""
    """Of a call, `dcs.StartOfRun`; of a node; of an operation."""
    run_number: int = 0
    ok: bool = True
    text: str = ""
    await_: str = ""
    tasks: tuple[tuple[str, TaskState], ...] = ()
    """(role path, state) of tasks that changed."""


# client to core


@CLIENT.message(1)
@attrs.frozen(kw_only=True)
class Create:
    """Make an environment and bring it to `target`."""

    operation: str
    workflow: str
    """`[repository/workflows/]name[@revision]`."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    name: str = ""
    target: EnvState = EnvState.CONFIGURED
    requester: str = ""
    auto: bool = False
    """Take one run and end: CONFIGURE, START, wait for the end of the run, RESET, destroy; in ERROR, destroy too."""
    repeat: int = 0
    """Take the workflow, commit, variables and placement of this run; what can't be had the same is an error that names
    it. `workflow` and `variables` are then empty."""
    force: bool = False
    """With `repeat`: make it though configuration or placement differ from those of the run."""
    files: Mapping[str, str] = attrs.field(factory=dict)
    """A workflow that the client brings along: "workflows/x.yaml" and "tasks/y.yaml" to texts, 1 MiB in all.
    `workflow` is then `x`. Refused where the core takes workflows from its repositories only.
    """


@CLIENT.message(2)
@attrs.frozen(kw_only=True)
class Control:
    """Send an event to an environment: CONFIGURE, RESET, START_ACTIVITY, STOP_ACTIVITY, DEPLOY, RECOVER."""

    operation: str
    environment: str
    event: str
    comment: str = ""
    requester: str = ""
    end_reason: str = ""
    """Why a run is stopped, for its record."""


@CLIENT.message(3)
@attrs.frozen(kw_only=True)
class Destroy:
    """End an environment and its tasks."""

    operation: str
    environment: str
    force: bool = False
    allow_running: bool = False
    requester: str = ""
    keep_tasks: bool = False
    """Controlled tasks go to the idle pool, in STANDBY, instead of ending."""


@CLIENT.message(4)
@attrs.frozen(kw_only=True)
class Show:
    """Ask for one environment, or for all (environment = "")."""

    request: str
    environment: str = ""
    tasks: bool = True


@CLIENT.message(5)
@attrs.frozen(kw_only=True)
class ShowRuns:
    """Ask for run records: one number, or the last ones (number = 0), which come without metrics and configuration."""

    request: str
    number: int = 0
    limit: int = 100


@CLIENT.message(6)
@attrs.frozen(kw_only=True)
class Subscribe:
    """Ask for all events from `since` on (0 = from now)."""

    request: str
    since: int = 0


@CLIENT.message(7)
@attrs.frozen(kw_only=True)
class Reconfigure:
    """Change properties of tasks of a CONFIGURED environment, and no others.

    `values` are properties of the chosen tasks, or variables that their properties are made of. A key that means
    nothing to any chosen task is refused before anything is sent, and so is a pattern that chooses no task.
    """

    operation: str
    environment: str
    values: Mapping[str, str]
    tasks: str = "**"
    """Glob of role paths."""
    requester: str = ""


@CLIENT.message(8)
@attrs.frozen(kw_only=True)
class Watch:
    """Ask for Metrics or Lines from now on; neither = no more. A client's last Watch of an environment counts.

    It is answered by Environments without any; then come all metrics of the run that goes on, once, and what changes.
    """

    request: str
    environment: str = ""
    """"" = all."""
    metrics: bool = False
    lines: bool = False


@CLIENT.message(32)
@attrs.frozen(kw_only=True)
class Modify:
    """Take roles or nodes out of an environment that is CONFIGURED or RUNNING, or put them back, and touch no other.

    What is taken out is stopped, reset and released to the idle pool; what is put back is launched, configured and, in
    RUNNING, started: the same run, marked DEGRADED for the span. A role is named by its path or a glob; a node stands
    for all tasks on it.
    """

    operation: str
    environment: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_nodes: tuple[str, ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    take_from: str = ""
    """Environment whose tasks of the same classes and hosts are excluded there, and used here."""
    requester: str = ""


@CLIENT.message(33)
@attrs.frozen(kw_only=True)
class Lock:
    """Take detectors, all or none: from now on nobody else changes environments that hold one."""

    operation: str
    detectors: tuple[str, ...]
    reason: str = ""
    force: bool = False
    """Take them from whoever has them; he is told by an event."""
    requester: str = ""


@CLIENT.message(34)
@attrs.frozen(kw_only=True)
class Unlock:
    """Give detectors back; () = all that the requester has."""

    operation: str
    detectors: tuple[str, ...] = ()
    force: bool = False
    reason: str = ""
    requester: str = ""


@CLIENT.message(35)
@attrs.frozen(kw_only=True)
class Drain:
    """Place nothing new on a node, or (`on` false) do again. What runs there goes on."""

    operation: str
    node: str
    on: bool = True
    reason: str = ""
    requester: str = ""


@CLIENT.message(36)
@attrs.frozen(kw_only=True)
class EndTasks:
    """End single tasks: idle ones, orphans, and, only with `force`, tasks of environments (for these it is a death)."""

    operation: str
    tasks: tuple[str, ...] = ()
    """Task ids; () = all that are idle, or nobody's."""
    force: bool = False
    requester: str = ""


@CLIENT.message(37)
@attrs.frozen(kw_only=True)
class Annotate:
    """Write about a run: a note, tags (an empty value removes one)."""

    operation: str
    run: int
    note: str = ""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    requester: str = ""


@CLIENT.message(38)
@attrs.frozen(kw_only=True)
class Work:
    """Ask the core's host to do something: `libecs.access.VERBS` lists the names, as `Work.NAME`.

    The end is Finished; what it made is a JSON object in its `message`, if `code` is "".
    """

    operation: str
    name: str
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    requester: str = ""


@CLIENT.message(48)
@attrs.frozen(kw_only=True)
class ShowEvents:
    """Ask for events of the past, from number `since` on, the oldest first; answered by EventPage."""

    request: str
    since: int = 0
    environment: str = ""
    limit: int = 1000
    last: bool = False
    """Not from `since`, but the last `limit`."""


@CLIENT.message(49)
@attrs.frozen(kw_only=True)
class ShowLocks:
    """Ask who has which detector; answered by Locks."""

    request: str


@CLIENT.message(50)
@attrs.frozen(kw_only=True)
class ShowNodes:
    """Ask for the nodes; answered by Nodes."""

    request: str


@CLIENT.message(51)
@attrs.frozen(kw_only=True)
class ShowTasks:
    """Ask for all tasks of all nodes: of environments, idle, orphans; answered by Tasks."""

    request: str
    environment: str = ""
    """"" = all; "-" = those of none."""


@CLIENT.message(52)
@attrs.frozen(kw_only=True)
class ShowOperations:
    """Ask for the last operations; answered by Operations."""

    request: str
    limit: int = 100


@CLIENT.message(53)
@attrs.frozen(kw_only=True)
class ReadLog:
    """Ask for the end of what a task wrote, from its node; answered by Log."""

    request: str
    task: str
    """Task id."""
    stream: str = "stdout"
    """`stdout` or `stderr`."""
    bytes: int = 65536


@CLIENT.message(54)
@attrs.frozen(kw_only=True)
class Follow:
    """Ask to hear the end of an operation that somebody began: Finished now or later, Refused if it is not known."""

    request: str
    operation: str


@CLIENT.message(55)
@attrs.frozen(kw_only=True)
class Info:
    """Ask what this core is; answered by CoreInfo."""

    request: str


@CLIENT.message(56)
@attrs.frozen(kw_only=True)
class Consult:
    """Ask the core's host to look something up: `libecs.access.VERBS` lists the subjects, as `Consult.SUBJECT`.

    Answered by Document.
    """

    request: str
    subject: str
    arguments: Mapping[str, str] = attrs.field(factory=dict)


@CLIENT.message(57)
@attrs.frozen(kw_only=True)
class Ping:
    """Ask for a sign of life; answered by Pong. Who has asked nothing for 10 s is forgotten as a subscriber."""

    request: str


# core to client


@CLIENT.message(16)
@attrs.frozen(kw_only=True)
class Accepted:
    """The operation is written down and goes on. Its end is Finished."""

    operation: str
    environment: str


@CLIENT.message(17)
@attrs.frozen(kw_only=True)
class Finished:
    """How an operation ended. `code` is "" or that of an error class; the rest fills that error."""

    operation: str
    environment: str = ""
    state: EnvState = EnvState.STANDBY
    run_number: int = 0
    code: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""
    failures: Mapping[str, str] = attrs.field(factory=dict)


@CLIENT.message(18)
@attrs.frozen(kw_only=True)
class Environments:
    """Answer to Show, as of event `sequence`."""

    request: str
    sequence: int
    environments: tuple[EnvironmentInfo, ...]


@CLIENT.message(19)
@attrs.frozen(kw_only=True)
class Runs:
    """Answer to ShowRuns."""

    request: str
    runs: tuple[RunInfo, ...]


@CLIENT.message(20)
@attrs.frozen(kw_only=True)
class Events:
    """Events of one tick."""

    events: tuple[Event, ...]


@CLIENT.message(21)
@attrs.frozen(kw_only=True)
class Metrics:
    """Metrics of a run that have changed, since its start each; at most once a second. It may be lost."""

    environment: str
    run: int
    metrics: tuple[MetricInfo, ...]


@attrs.frozen(kw_only=True)
class TaskLine:
    """One line of one task."""

    role: str
    node: str
    line: LogLine


@CLIENT.message(22)
@attrs.frozen(kw_only=True)
class Lines:
    """Lines that tasks wrote, in the order of each task. It may be lost."""

    environment: str
    run: int
    lines: tuple[TaskLine, ...]
    dropped: int = 0


@attrs.frozen(kw_only=True)
class LockInfo:
    """One detector that somebody has."""

    detector: str
    owner: str
    since_ms: int
    reason: str = ""
    fence: int = 0
    """Grows with each change of hands, for ever."""


@attrs.frozen(kw_only=True)
class NodeInfo:
    """One node."""

    node: str
    host: str
    reach: str
    """UP, SUSPECT, LOST, or AWAY: it has not come to this life of the core."""
    age_ms: int
    """Since it was heard."""
    tasks: int
    idle: int
    orphans: int
    cpus: float
    used_cpus: float
    memory_mb: float
    used_memory_mb: float
    attributes: Mapping[str, str]
    facts: Mapping[str, str]
    """See NodeHello; `clock_skew_ms` is added by the core."""
    drained: bool = False
    reason: str = ""
    """Why it is drained."""


@attrs.frozen(kw_only=True)
class OperationInfo:
    """One request that changed something, or will."""

    operation: str
    environment: str
    verb: str
    requester: str
    begun_ms: int
    done: bool
    code: str = ""
    message: str = ""


@CLIENT.message(96)
@attrs.frozen(kw_only=True)
class Refused:
    """Answer to a question that is not answered; to what changes something it is Finished."""

    request: str
    code: str
    message: str
    hint: str = ""


@CLIENT.message(97)
@attrs.frozen(kw_only=True)
class EventPage:
    """Answer to ShowEvents. `more`: there are later ones."""

    request: str
    events: tuple[Event, ...]
    more: bool = False


@CLIENT.message(98)
@attrs.frozen(kw_only=True)
class Locks:
    """Answer to ShowLocks."""

    request: str
    locks: tuple[LockInfo, ...]
    detectors: tuple[str, ...] = ()
    """All that are known: of living environments and of the inventory."""


@CLIENT.message(99)
@attrs.frozen(kw_only=True)
class Nodes:
    """Answer to ShowNodes."""

    request: str
    nodes: tuple[NodeInfo, ...]


@CLIENT.message(100)
@attrs.frozen(kw_only=True)
class Tasks:
    """Answer to ShowTasks, in parts if need be."""

    request: str
    tasks: tuple[TaskInfo, ...]
    more: bool = False
    """Another part follows."""


@CLIENT.message(101)
@attrs.frozen(kw_only=True)
class Operations:
    """Answer to ShowOperations, the oldest first."""

    request: str
    operations: tuple[OperationInfo, ...]


@CLIENT.message(102)
@attrs.frozen(kw_only=True)
class Log:
    """Answer to ReadLog: the last part of a stream, cut at the begin of a line."""

    request: str
    task: str
    node: str
    stream: str
    text: str
    truncated: bool = False


@CLIENT.message(103)
@attrs.frozen(kw_only=True)
class CoreInfo:
    """Answer to Info."""

    request: str
    instance: str
    version: str
    epoch: int
    started_ms: int
    unix_ms: int
    sequence: int
    """Of the last event."""
    environments: int
    tasks: int
    nodes: int
    you: str
    """Name of who asks, as the core knows him, and `role`."""
    role: str
    detectors: tuple[str, ...] = ()
    """Scope of who asks; () = all."""
    facts: Mapping[str, str] = attrs.field(factory=dict)
    """What the host adds: libzmq, python, pid, host, state, disk_free_mb, insecure, repository."""
    problems: tuple[str, ...] = ()
    """Sentences: records in quarantine, a disk that is full, integrations that are down."""


@CLIENT.message(104)
@attrs.frozen(kw_only=True)
class Document:
    """Answer to Consult: a JSON document, or why there is none."""

    request: str
    json: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""


@CLIENT.message(105)
@attrs.frozen(kw_only=True)
class Pong:
    """Answer to Ping."""

    request: str
    unix_ms: int
    sequence: int
    """Of the last event: who is behind asks for a snapshot."""
    epoch: int
