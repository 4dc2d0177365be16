"""The expanded workflow: what the engine, the wire and the journal know of a workflow template.

A `Workflow` is a flat tuple of roles in pre-order, the root first; `parent` is an index into it. Nothing in it is a
template any more except what is evaluated later, when launching, at CONFIGURE and at each call: those texts are kept
as written, in the task classes and in `CallTraits.func`.

All classes are plain values that `wire.codec.pack_value` writes and reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from libecs.fsm import Mode as Mode
from libecs.wire.node import Limits as Limits


class RoleKind(IntEnum):
    """What a role is after expansion: iterators and includes have become aggregators, tasks and calls."""

    AGGREGATOR = 1
    TASK = 2
    CALL = 3


@attrs.frozen(kw_only=True)
class Constraint:
    """An attribute that a node must have: its value, or one of its comma-separated values, is `value`."""

    attribute: str
    value: str


@attrs.frozen(kw_only=True)
class Channel:
    """One end of a data channel. `target` is for outbound channels and fixed addresses; `addressing` and
    `global_` (alias) are for inbound ones. Buffer sizes count messages.
    """

    name: str
    type: str
    """push, pull, pub or sub."""
    send_buffer: int = 1000
    receive_buffer: int = 1000
    rate_logging: str = "0"
    """Seconds between rate log lines, 0 = never. May still hold {{ }}: it is evaluated with the properties."""
    transport: str = "default"
    target: str = ""
    addressing: str = "tcp"
    global_: str = ""


@attrs.frozen(kw_only=True)
class Moment:
    """When a hook runs: the name of a moment (`before_CONFIGURE`, `DESTROY`) and a weight."""

    name: str
    weight: int = 0

    def __str__(self) -> str:
        return f"{self.name}{self.weight:+d}" if self.weight else self.name


@attrs.frozen(kw_only=True)
class TaskTraits:
    """What a task role says about its task. `trigger` makes it a hook."""

    class_name: str
    """Key into `Workflow.classes`."""
    mode: Mode
    trigger: Moment | None = None
    await_: Moment | None = None
    timeout_s: float = 0.0
    """Seconds; 0 = none. For hooks and basic tasks the life of the process."""


@attrs.frozen(kw_only=True)
class CallTraits:
    """What a call role says about its call. Without a trigger it never runs."""

    func: str
    """`name.Method(arguments)`, an expression that is evaluated at each trigger."""
    returns: str = ""
    """Variable that takes the textual result, set on this role; "" = none."""
    trigger: Moment | None = None
    await_: Moment | None = None
    timeout_s: float = 30.0


@attrs.frozen(kw_only=True)
class Role:
    """A node of the role tree."""

    name: str
    path: str
    """Names from the root to here, joined by "."; unique in a workflow."""
    parent: int
    """Index of the parent in `Workflow.roles`; -1 for the root."""
    kind: RoleKind
    critical: bool = True
    """False: the role's state counts for nothing above it. Only tasks and calls can be non-critical."""
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    vars: Mapping[str, str] = attrs.field(factory=dict)
    """Evaluated, with the local variable of an iterator among them."""
    constraints: tuple[Constraint, ...] = ()
    """Merged from the root down; for tasks with those of the task class as outermost."""
    bind: tuple[Channel, ...] = ()
    """Inbound channels: a role's own; for a task all that it has, its ancestors' and its class's included."""
    connect: tuple[Channel, ...] = ()
    task: TaskTraits | None = None
    call: CallTraits | None = None
    file: str = ""
    """Template file and line where the role stands, for messages."""
    line: int = 0
    min: int = 0
    """Of an aggregator: how many of its members a run needs; 0 = all."""
    start_after: tuple[str, ...] = ()
    """Paths of roles that must be RUNNING before this one is started, and stop after it."""
    own_bind: int = 0
    """How many of `bind` stand on the role itself; they come first. The same for `connect`."""
    own_connect: int = 0


@attrs.frozen(kw_only=True)
class TaskClass:
    """A task template as far as launching needs it. Texts may hold {{ }}; they are evaluated at launch."""

    name: str
    mode: Mode
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    vars: Mapping[str, str] = attrs.field(factory=dict)
    command: str = ""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """Texts that become NAME=value."""
    user: str = ""
    shell: bool = False
    stdout: str = "none"
    stderr: str = "none"
    wants: Limits = attrs.field(factory=Limits)
    limits: Limits = attrs.field(factory=Limits)
    properties: Mapping[str, str] = attrs.field(factory=dict)
    bind: tuple[Channel, ...] = ()
    connect: tuple[Channel, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    endpoint: str = ""
    """`tcp://host:port` of an attached task, which somebody else starts."""
    liveness: bool = False
    """A RUNNING task whose progress counter stands still is STALLED."""
    reconfigure: str = "reset"
    """`live` or `reset`: how changed properties reach the task."""
    stop: str = ""
    """Signal that asks a basic task to stop, SIGKILL if empty."""
    file: str = ""
    transition_s: Mapping[str, float] = attrs.field(factory=dict)
    """Task event name, or DEPLOY, to its deadline in seconds, where the template sets one."""
    on_exit: str = ""
    """`error`: a basic task that ends by itself is broken, however it ended; "": a clean end is the end of its stream.
    `drop`: a task of any mode that dies or goes to ERROR is excluded, and its environment goes on.
    """
    stop_s: float = 0.0
    """Seconds that a basic task has after the signal of `stop`, 0 = the usual ones."""
    cwd: str = ""
    """Folder in which the command runs, "" = the usual one. A late text as the others."""


@attrs.frozen(kw_only=True)
class Workflow:
    """An expanded workflow: everything that launching, configuring and running it needs, for ever the same."""

    name: str
    roles: tuple[Role, ...]
    classes: Mapping[str, TaskClass]
    repository: str = ""
    revision: str = ""
    """Commit of the repository, or "local"."""
    description: str = ""
    user_vars: Mapping[str, str] = attrs.field(factory=dict)
    """Variables of the request: above all `vars` of roles."""
    base_vars: Mapping[str, str] = attrs.field(factory=dict)
    """The installation's variables (o2/runtime/aliecs/vars): below all `vars` of roles."""
    base_defaults: Mapping[str, str] = attrs.field(factory=dict)
    """The installation's defaults (o2/runtime/aliecs/defaults, and computed ones): below all."""
    runtime: Mapping[str, str] = attrs.field(factory=dict)
    """What `runtime.Set` wrote while the workflow was expanded, key to text: late texts of it read that first."""
