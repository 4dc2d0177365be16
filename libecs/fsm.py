"""State machines: every state, event and rule of aggregation of the system, once.

Three machines are tables here and nowhere else: the environment, the task as the control system sees it, and the
merge of many task states into the state of a role. Diagrams, enabled buttons and the table compiled into libocc are
made from them (`tools/generate_header.py`).

States are enums inside and names only at the edges. Their numbers are on the wire: never reuse one.
Source: the AliECS behaviour as of version 1.50, with the decisions of docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from libecs.errors import IllegalTransition


class EnvState(IntEnum):
    """State of an environment. It changes by events only; tasks can cause GO_ERROR and nothing else."""

    STANDBY = 1
    DEPLOYED = 2
    CONFIGURED = 3
    RUNNING = 4
    ERROR = 5
    DONE = 6


class EnvEvent(IntEnum):
    """What can happen to an environment."""

    DEPLOY = 1
    CONFIGURE = 2
    RESET = 3
    START_ACTIVITY = 4
    STOP_ACTIVITY = 5
    EXIT = 6
    GO_ERROR = 7
    RECOVER = 8


class TaskState(IntEnum):
    """State of a task, and of a role that merges tasks.

    MIXED and INVARIANT exist on roles only: MIXED says that children differ, INVARIANT that none counts.
    """

    UNKNOWN = 0
    STANDBY = 1
    CONFIGURED = 2
    RUNNING = 3
    ERROR = 4
    DONE = 5
    MIXED = 6
    INVARIANT = 7
    PAUSED = 8


class TaskEvent(IntEnum):
    """What a task can be told to do."""

    CONFIGURE = 1
    RESET = 2
    START = 3
    STOP = 4
    EXIT = 5
    GO_ERROR = 6
    RECOVER = 7
    PAUSE = 8
    RESUME = 9
    RECONFIGURE = 10
    """New values of some properties, without leaving CONFIGURED. A task that can't do it live refuses."""


class Status(IntEnum):
    """Deployment status of a role. It is not its state."""

    UNDEFINED = 0
    INACTIVE = 1
    PARTIAL = 2
    ACTIVE = 3
    UNDEPLOYABLE = 4
    INVARIANT = 5


class Mode(IntEnum):
    """Control mode of a task: which transitioner speaks to it."""

    DIRECT = 1
    FAIRMQ = 2
    BASIC = 3
    HOOK = 4


ENVIRONMENT: Mapping[EnvState, Mapping[EnvEvent, EnvState]] = {
    EnvState.STANDBY: {
        EnvEvent.DEPLOY: EnvState.DEPLOYED,
        EnvEvent.EXIT: EnvState.DONE,
        EnvEvent.GO_ERROR: EnvState.ERROR,
    },
    EnvState.DEPLOYED: {
        EnvEvent.CONFIGURE: EnvState.CONFIGURED,
        EnvEvent.EXIT: EnvState.DONE,
        EnvEvent.GO_ERROR: EnvState.ERROR,
    },
    EnvState.CONFIGURED: {
        EnvEvent.RESET: EnvState.DEPLOYED,
        EnvEvent.START_ACTIVITY: EnvState.RUNNING,
        EnvEvent.EXIT: EnvState.DONE,
        EnvEvent.GO_ERROR: EnvState.ERROR,
    },
    EnvState.RUNNING: {
        EnvEvent.STOP_ACTIVITY: EnvState.CONFIGURED,
        EnvEvent.GO_ERROR: EnvState.ERROR,
    },
    EnvState.ERROR: {EnvEvent.RECOVER: EnvState.DEPLOYED},
    EnvState.DONE: {},
}

TASK: Mapping[TaskState, Mapping[TaskEvent, TaskState]] = {
    TaskState.STANDBY: {
        TaskEvent.CONFIGURE: TaskState.CONFIGURED,
        TaskEvent.EXIT: TaskState.DONE,
        TaskEvent.GO_ERROR: TaskState.ERROR,
    },
    TaskState.CONFIGURED: {
        TaskEvent.START: TaskState.RUNNING,
        TaskEvent.RESET: TaskState.STANDBY,
        TaskEvent.RECONFIGURE: TaskState.CONFIGURED,
        TaskEvent.EXIT: TaskState.DONE,
        TaskEvent.GO_ERROR: TaskState.ERROR,
    },
    TaskState.RUNNING: {
        TaskEvent.STOP: TaskState.CONFIGURED,
        TaskEvent.PAUSE: TaskState.PAUSED,
        TaskEvent.GO_ERROR: TaskState.ERROR,
    },
    TaskState.PAUSED: {
        TaskEvent.RESUME: TaskState.RUNNING,
        TaskEvent.STOP: TaskState.CONFIGURED,
        TaskEvent.GO_ERROR: TaskState.ERROR,
    },
    TaskState.ERROR: {TaskEvent.RECOVER: TaskState.STANDBY, TaskEvent.EXIT: TaskState.DONE},
    TaskState.DONE: {},
}

TASK_EVENT_OF: Mapping[EnvEvent, TaskEvent] = {
    EnvEvent.CONFIGURE: TaskEvent.CONFIGURE,
    EnvEvent.START_ACTIVITY: TaskEvent.START,
    EnvEvent.STOP_ACTIVITY: TaskEvent.STOP,
    EnvEvent.RESET: TaskEvent.RESET,
    EnvEvent.GO_ERROR: TaskEvent.STOP,
}
"""What an environment's event tells its tasks. DEPLOY launches, RECOVER is worked out task by task."""

TASK_SOURCE: Mapping[TaskEvent, TaskState] = {
    TaskEvent.CONFIGURE: TaskState.STANDBY,
    TaskEvent.START: TaskState.CONFIGURED,
    TaskEvent.STOP: TaskState.RUNNING,
    TaskEvent.RESET: TaskState.CONFIGURED,
    TaskEvent.RECOVER: TaskState.ERROR,
    TaskEvent.PAUSE: TaskState.RUNNING,
    TaskEvent.RESUME: TaskState.PAUSED,
    TaskEvent.RECONFIGURE: TaskState.CONFIGURED,
}
"""The one state from which an event is commanded."""

_U, _I, _P, _A, _X, _N = (
    Status.UNDEFINED,
    Status.INACTIVE,
    Status.PARTIAL,
    Status.ACTIVE,
    Status.UNDEPLOYABLE,
    Status.INVARIANT,
)
STATUS_PRODUCT: Mapping[Status, tuple[Status, ...]] = {
    #        U   I   P   A   X   N
    _U: (_U, _U, _U, _U, _U, _U),
    _I: (_U, _I, _P, _P, _X, _I),
    _P: (_U, _P, _P, _P, _X, _P),
    _A: (_U, _P, _P, _A, _X, _A),
    _X: (_U, _X, _X, _X, _X, _X),
    _N: (_U, _I, _P, _A, _X, _N),
}


def allowed_env(state: EnvState) -> tuple[EnvEvent, ...]:
    """Return the events that an environment accepts in `state`."""
    return tuple(ENVIRONMENT[state])


def allowed_task(state: TaskState) -> tuple[TaskEvent, ...]:
    """Return the events that a task accepts in `state`."""
    return tuple(TASK.get(state, ()))


def next_env(state: EnvState, event: EnvEvent) -> EnvState:
    """Return the state that `event` leads to.

    Raises:
        IllegalTransition: `event` is not in `allowed_env(state)`. Nothing has changed.
    """
    try:
        return ENVIRONMENT[state][event]
    except KeyError:
        raise IllegalTransition(state.name, event.name, (e.name for e in allowed_env(state))) from None


def next_task(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the state that `event` leads to.

    Raises:
        IllegalTransition: `event` is not in `allowed_task(state)`. Nothing has changed.
    """
    try:
        return TASK[state][event]
    except KeyError:
        raise IllegalTransition(state.name, event.name, (e.name for e in allowed_task(state))) from None


def target_of(event: TaskEvent) -> TaskState:
    """Return the state in which a task is after an event that was commanded from the usual state."""
    source = TASK_SOURCE.get(event)
    return TaskState.DONE if source is None else TASK[source][event]


def product(a: TaskState, b: TaskState) -> TaskState:
    """Merge two states: equal stays, ERROR wins, INVARIANT yields, all else is MIXED."""
    if a == b:
        return a
    if TaskState.ERROR in (a, b):
        return TaskState.ERROR
    if a == TaskState.INVARIANT:
        return b
    if b == TaskState.INVARIANT:
        return a
    return TaskState.MIXED


def merge(states: Iterable[TaskState]) -> TaskState:
    """Merge the states of the children that count; no child is INVARIANT."""
    result = TaskState.INVARIANT
    for state in states:
        result = product(result, state)
    return result


def merge_counts(counts: Mapping[TaskState, int]) -> TaskState:
    """Merge children given as how many are in each state: the same as `merge`, in O(states)."""
    present = [state for state, n in counts.items() if n > 0 and state != TaskState.INVARIANT]
    if TaskState.ERROR in present:
        return TaskState.ERROR
    if len(present) == 1:
        return present[0]
    return TaskState.MIXED if present else TaskState.INVARIANT


def merge_status(statuses: Iterable[Status]) -> Status:
    """Merge the deployment statuses of the children that count; no child is INVARIANT."""
    result = Status.INVARIANT
    for status in statuses:
        result = STATUS_PRODUCT[result][status]
    return result


def merge_status_counts(counts: Mapping[Status, int]) -> Status:
    """Merge statuses given as how many children have each: the same as `merge_status`, in O(statuses)."""
    return merge_status(status for status, n in counts.items() if n > 0)
