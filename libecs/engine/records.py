"""What the core writes down: the records from which a new life goes on. Values only."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.engine.placement import Placed
from libecs.fsm import EnvState

CORE = "core"
ENVIRONMENT = "environment"
WORKFLOW = "workflow"
PLACEMENT = "placement"
PLAN = "plan"
OPERATION = "operation"
RUN = "run"
RUN_METRICS = "run.metrics"
"""Key: number/role path."""
RUN_CONFIGURATION = "run.configuration"
RECONFIGURATION = "reconfiguration"
"""Of an environment, while it goes on."""
CONFIGURATION = "configuration"
"""What the tasks of an environment were configured with."""
CONDEMNED = "condemned"
RUN_PLACEMENT = "run.placement"
LOCK = "lock"
"""Key: detector."""
DRAIN = "drain"
NODE = "node"
"""Key: node. When it last came, in unix milliseconds."""
IDLE = "idle"
"""Key: task id."""
MODIFICATION = "modification"
"""Of an environment, while it goes on."""
LAUNCHED = "launched"
"""With what commands the tasks of an environment were started."""
"""Tables. Keys are ids; of `core`: epoch, sequence, session, fresh, fence."""
FRESH = "fresh"
"""Key of `core`: no node has come yet since the core began without records."""


@attrs.frozen(kw_only=True)
class PendingCall:
    """A call that was started and not awaited yet."""

    call: str
    role: int
    function: str
    begun_ms: int
    timeout_s: float
    done: bool = False
    error: str = ""


@attrs.frozen(kw_only=True)
class EnvironmentRecord:
    """An environment, but for its workflow, its placement and the steps of its plan, which are records of their own."""

    environment: str
    name: str
    request: str
    """The workflow expression that was asked for."""
    variables: Mapping[str, str]
    requester: str
    created_ms: int
    state: EnvState
    operation: str = ""
    """Operation that is going on for it, "" = none."""
    agenda: tuple[str, ...] = ()
    """Transitions still to be done after the present plan."""
    destroying: bool = False
    plan_number: int = 0
    index: int = 0
    skip_half: int = 0
    failures: Mapping[str, str] = attrs.field(factory=dict)
    """Critical failures of the present plan, role path to reason."""
    cause: str = ""
    """Why it is in ERROR, or going there."""
    error_failures: Mapping[str, str] = attrs.field(factory=dict)
    run_number: int = 0
    last_run_number: int = 0
    run_comment: str = ""
    end_reason: str = ""
    overlay: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    """Variables set while it lives: role path to names and values."""
    pending: tuple[PendingCall, ...] = ()
    launched: bool = False
    """All tasks of the placement have been launched once: one that is missing is lost."""
    auto_stop_ms: int = 0
    """Unix milliseconds at which the run stops by itself, 0 = never."""
    properties: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    """Properties that were reconfigured: role path to names and values. They win over the templates'."""
    excluded: tuple[str, ...] = ()
    """Topmost role paths that Modify has taken out."""
    auto: bool = False
    """It takes one run and ends."""
    auto_operation: str = ""
    """Operation that ends with it, "" = it was answered."""
    files: Mapping[str, str] = attrs.field(factory=dict)
    """Workflow and task templates that came with the request, until they are expanded."""
    begun_ms: int = 0
    """When the present plan began."""
    scope: tuple[str, ...] | None = None
    """Detectors of who asked for what goes on, None = all."""
    repeat: int = 0
    """Run that is to be repeated, until it is compared with."""
    repeat_force: bool = False
    keep_tasks: bool = False
    """Its tasks go to the idle pool when it is destroyed."""
    unsettled: Mapping[str, str] = attrs.field(factory=dict)
    """Task id to the event that it was told and did not answer: it may be in the middle of it still. "": it answered,
    not well.
    """


@attrs.frozen(kw_only=True)
class LockRecord:
    """Who has a detector."""

    owner: str
    since_ms: int
    reason: str
    fence: int


@attrs.frozen(kw_only=True)
class DrainRecord:
    """Why nothing new is placed on a node."""

    by: str
    since_ms: int
    reason: str


@attrs.frozen(kw_only=True)
class PlacementRecord:
    """Where the tasks of an environment are."""

    placed: tuple[Placed, ...]
    away: tuple[Placed, ...] = ()
    """Where excluded tasks were: their addresses are kept for them."""


@attrs.frozen(kw_only=True)
class ConfigurationRecord:
    """What tasks were configured with: role path to the digest of its properties."""

    digests: Mapping[str, str]


@attrs.frozen(kw_only=True)
class ReconfigurationRecord:
    """What is asked for, and once it is compared, what the tasks that take it live are told."""

    values: Mapping[str, str]
    tasks: str
    """Glob of role paths."""
    changed: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    """Role path to changed properties."""
    digests: Mapping[str, str] = attrs.field(factory=dict)
    """Role path to the digest of all its properties."""
    overlay_before: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    """Role path to the variables that were set there; what a reconfiguration that fails puts back."""
    properties_before: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class OperationRecord:
    """What somebody asked for once, and the answer if there is one."""

    operation: str
    environment: str
    verb: str
    requester: str
    answer: bytes = b""
    """A packed Finished."""
    begun_ms: int = 0
    key: str = ""
    """Of who asked, as the audit log names it; so are `role` and `via`."""
    role: int = 0
    via: str = ""
    object: str = ""
    """What it is about, for the audit log."""
    owner: str = ""
    """Name of the principal; "" = the owner of an embedded control system."""
    event: str = ""
    """Of a Control."""
    shown: str = ""
    """What viewers, events and the audit log are told instead of a message that quotes values; "" = the message."""


@attrs.frozen(kw_only=True)
class ModificationRecord:
    """What a Modify changes, by roles."""

    leaving: tuple[int, ...] = ()
    """Tasks that are taken out."""
    joining: tuple[int, ...] = ()
    """Tasks that are put back."""
    requester: str = ""
    take_from: str = ""
    """Environment that gives up tasks first."""
    taken: tuple[int, ...] = ()
    """Tasks that it gives up."""
    given_to: str = ""
    """Environment that waits for what is taken out here."""


@attrs.frozen(kw_only=True)
class LaunchedRecord:
    """Task id to the digest of the command that its process was started with."""

    digests: Mapping[str, str]


@attrs.frozen(kw_only=True)
class IdleRecord:
    """A task in STANDBY that no environment uses."""

    task: str
    node: str
    host: str
    class_name: str
    digest: str
    """Of the command, as in LaunchedRecord."""
    mode: int
    environment: str
    """That used it last, and as what."""
    role: str
    cpu: float = 0.0
    memory_mb: float = 0.0
    ports: tuple[int, ...] = ()
    since_ms: int = 0
