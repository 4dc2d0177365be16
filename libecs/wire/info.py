"""What a client is told about environments, tasks, nodes and runs: the values inside the messages of `wire/client.py`.

Scripts see them as they are. Events carry sequence numbers without gaps; who sees a gap asks for a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.node import Exit, Phase
from libecs.wire.telemetry import LogLine


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
    run.start, run.end, run.note, node, orphan, operation.end, task.lost, task.stalled, task.inconsistent,
    task.end_of_stream, modify, repeat, lock, pool, quarantine.
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


@attrs.frozen(kw_only=True)
class TaskLine:
    """One line of one task."""

    role: str
    node: str
    line: LogLine


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
    event: str = ""
    """Of a Control: what was asked for."""
