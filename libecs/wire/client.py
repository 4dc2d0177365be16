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


@attrs.frozen(kw_only=True)
class RoleInfo:
    """One role: path and what it merges to. Pre-order, the root first."""

    path: str
    kind: str
    state: TaskState
    status: Status
    critical: bool


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
    nodes: tuple[str, ...] = ()


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
    run.start, run.end, node, orphan, operation.end.
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
    """Ask for run records: one number, or the last ones (number = 0)."""

    request: str
    number: int = 0
    limit: int = 100


@CLIENT.message(6)
@attrs.frozen(kw_only=True)
class Subscribe:
    """Ask for all events from `since` on (0 = from now)."""

    request: str
    since: int = 0


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
