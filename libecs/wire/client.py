"""Messages between a client (script, coconut, web page) and the core. The values in them are those of `wire/info.py`.

Every request that changes something carries an operation id: repeated, it gets the stored answer, so that a lost
client loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.fsm import EnvState
from libecs.wire.codec import Table
from libecs.wire.info import (
    EnvironmentInfo,
    Event,
    LockInfo,
    MetricInfo,
    NodeInfo,
    OperationInfo,
    RunInfo,
    TaskInfo,
    TaskLine,
)
from libecs.wire.node import KeyNews

CLIENT = Table("client link")


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
    renew: bool = False
    """The reason, if there is one, takes the place of that of locks that the requester has already."""


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
    """How an operation ended. `code` is "" or that of an error class; the rest fills that error.

    A `hint` without a code is a warning: it was done, and may not be what was meant.
    """

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
    """Answer to Show, as of event `sequence`, in parts if need be."""

    request: str
    sequence: int
    environments: tuple[EnvironmentInfo, ...]
    more: bool = False
    """Another part follows. If it begins with the environment that this one ends with, it has more of its tasks and
    roles.
    """


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


@CLIENT.message(22)
@attrs.frozen(kw_only=True)
class Lines:
    """Lines that tasks wrote, in the order of each task. It may be lost."""

    environment: str
    run: int
    lines: tuple[TaskLine, ...]
    dropped: int = 0


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


CLIENT.message(106)(KeyNews)
