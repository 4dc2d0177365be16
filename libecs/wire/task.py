"""Messages between a task and whoever controls it: the executor, or peanut.

The task binds a ROUTER; the controller's ROUTER connects to it. A message is two frames behind the routing id: the
version byte and the payload. The first message is Hello; nothing else is answered before it.

*One controller.* Hello(CONTROLLER, epoch) takes the task if it is free or held by an older epoch (or the same
controller says Hello again, recognised by `name`), else it is refused: CONFLICT for an equal epoch of another name,
STALE for an older one. A holder that is superseded gets Refused(SUPERSEDED). Observers
see states and events and may not command.

*Exactly once.* A Transition carries an id. The task keeps its last 16 answers; an id it knows is answered from there
and has no second effect; an id whose transition is still going on is answered when it ends.

*Truth.* The task sends StateChanged on every change of its state, whoever caused it, with a sequence number that
grows by one; a lower number is old news. Ping is answered by Pong at once, from the thread that owns the socket, even
while a user callback works; `progress` grows when the user's loop turns.

Numbers of events and states are those of `machine`: TaskEvent and TaskState for OCC, DeviceEvent and DeviceState for
FAIRMQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from libecs.wire.codec import Table
from libecs.wire.telemetry import Severity

TASK = Table("task link")


class Machine(IntEnum):
    """Which state machine a task runs, and so which numbers its messages carry."""

    OCC = 1
    FAIRMQ = 2


class PeerRole(IntEnum):
    """What a peer of a task wants to be."""

    CONTROLLER = 1
    OBSERVER = 2


class Refusal(IntEnum):
    """Why a task does not take a controller."""

    CONFLICT = 1
    STALE = 2
    VERSION = 3
    SUPERSEDED = 4
    NOT_CONTROLLER = 5


class Trigger(IntEnum):
    """Who caused the state in a Result."""

    EXECUTOR = 0
    DEVICE_INTENTIONAL = 1
    DEVICE_ERROR = 2


class DeviceEventType(IntEnum):
    """What a task may tell on its own."""

    END_OF_STREAM = 1
    BASIC_TASK_TERMINATED = 2
    TASK_INTERNAL_ERROR = 3


@TASK.message(1)
@attrs.frozen(kw_only=True)
class Hello:
    """Controller to task: who I am and which versions I speak."""

    role: PeerRole
    epoch: int
    name: str
    """Unique to one life of one controller; at most 63 bytes."""
    version_low: int = 1
    version_high: int = 1
    steal: bool = False
    """Take the task even from an equal epoch (`peanut --steal`)."""


@TASK.message(2)
@attrs.frozen(kw_only=True)
class Transition:
    """Controller to task: go through one event.

    A `source` that is not the present state is answered ok=False and nothing happens.
    """

    id: str
    """At most 63 bytes; unique to one command for this task, the same when it is repeated."""
    event: int
    source: int
    arguments: Mapping[str, str] = attrs.field(factory=dict)


@TASK.message(3)
@attrs.frozen(kw_only=True)
class Ping:
    """Controller to task, once a second: are you there?"""

    number: int


@TASK.message(16)
@attrs.frozen(kw_only=True)
class Welcome:
    """Task to controller: Hello is accepted, and how I am."""

    version: int
    machine: Machine
    state: int
    sequence: int
    pid: int
    task: str
    """Value of ECS_TASK_ID in the task's environment, or ""."""
    run: int = 0
    """Number of the run that the task was last started for; 0 = none."""


@TASK.message(17)
@attrs.frozen(kw_only=True)
class Refused:
    """Task to controller: not you, or not any more."""

    reason: Refusal
    holder: str = ""
    epoch: int = 0


@TASK.message(18)
@attrs.frozen(kw_only=True)
class Result:
    """Task to controller: how a Transition ended. ok means: the state is the one that the event leads to."""

    id: str
    ok: bool
    state: int
    event: int
    trigger: Trigger = Trigger.EXECUTOR
    error: str = ""
    sequence: int = 0
    """Number of the StateChanged that `state` is as of: a Result that comes late can't undo newer truth."""


@TASK.message(19)
@attrs.frozen(kw_only=True)
class StateChanged:
    """Task to everybody who said Hello: my state is now this."""

    state: int
    sequence: int


@TASK.message(20)
@attrs.frozen(kw_only=True)
class Pong:
    """Task to controller: here I am."""

    number: int
    state: int
    sequence: int
    progress: int = 0


@TASK.message(21)
@attrs.frozen(kw_only=True)
class Happened:
    """Task to everybody who said Hello: something happened in me that nobody ordered."""

    type: DeviceEventType
    text: str = ""


@TASK.message(22)
@attrs.frozen(kw_only=True)
class Metric:
    """Task to everybody who said Hello: all samples of one metric since its last Metric, at most ten times a second.

    The task gathers: `occ_metric()` costs no message, and no sample is lost.
    """

    name: str
    """At most MAX_NAME_BYTES bytes, as `unit`."""
    unit: str
    n: int
    sum: float
    min: float
    max: float
    last: float
    unix_ms: int
    """Time of the last sample."""


@TASK.message(23)
@attrs.frozen(kw_only=True)
class Log:
    """Task to everybody who said Hello: one line, at most MAX_LINE_BYTES bytes."""

    severity: Severity
    text: str
    unix_ms: int
    dropped: int = 0
    """Lines that found no room before this one, since the task's start."""
