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


@attrs.frozen(kw_only=True)
class RoleInfo:
    """One role: path and what it merges to. Pre-order, the root first."""

    path: str
    kind: str
    state: TaskState
    status: Status
    critical: bool


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


@attrs.frozen(kw_only=True)
class Event:
    """Something happened. `kind` says which of the other fields hold something.

    kind: environment.state, transition.begin, transition.step, transition.end, tasks, call.begin, call.end, hook.end,
    run.start, run.end, node, orphan, operation.end, task.lost, task.stalled, task.end_of_stream.
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
