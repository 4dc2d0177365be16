"""The FairMQ device's state machine as a controller sees it: names, sequences, rollbacks. Facts of FairMQ 1.10.

A task event becomes a sequence of device events; each has one state at its end. Working states (BINDING) may be seen
on the way and are never an answer. Used by the executor, by peanut and by the generated C header: one definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from libecs.fsm import TaskEvent, TaskState


class DeviceState(IntEnum):
    """States of a FairMQ device. `label` is FairMQ's own spelling. The numbers are on the wire."""

    UNDEFINED = 0
    IDLE = 1
    INITIALIZING_DEVICE = 2
    INITIALIZED = 3
    BINDING = 4
    BOUND = 5
    CONNECTING = 6
    DEVICE_READY = 7
    INITIALIZING_TASK = 8
    READY = 9
    RUNNING = 10
    RESETTING_TASK = 11
    RESETTING_DEVICE = 12
    EXITING = 13
    ERROR = 14

    @property
    def label(self) -> str:
        """The name as FairMQ writes it: blanks, no underscores."""
        return self.name.replace("_", " ")


class DeviceEvent(IntEnum):
    """What a FairMQ device can be told. `label` is FairMQ's own spelling. The numbers are on the wire."""

    INIT_DEVICE = 1
    COMPLETE_INIT = 2
    BIND = 3
    CONNECT = 4
    INIT_TASK = 5
    RUN = 6
    STOP = 7
    RESET_TASK = 8
    RESET_DEVICE = 9
    END = 10
    ERROR_FOUND = 11

    @property
    def label(self) -> str:
        """The name as FairMQ writes it: blanks, no underscores."""
        return self.name.replace("_", " ")


_S, _E = DeviceState, DeviceEvent

STEADY: Mapping[DeviceState, TaskState] = {
    _S.IDLE: TaskState.STANDBY,
    _S.READY: TaskState.CONFIGURED,
    _S.RUNNING: TaskState.RUNNING,
    _S.ERROR: TaskState.ERROR,
    _S.EXITING: TaskState.DONE,
}
"""The device states that stand for a task state. In all others the device is on the way between two: UNKNOWN."""

WORKING: frozenset[DeviceState] = frozenset(
    {
        _S.BINDING,
        _S.CONNECTING,
        _S.INITIALIZING_TASK,
        _S.RESETTING_TASK,
        _S.RESETTING_DEVICE,
    }
)
"""States in which a device works and accepts nothing. In INITIALIZING DEVICE it waits for COMPLETE INIT."""

DEVICE: Mapping[DeviceState, Mapping[DeviceEvent, DeviceState]] = {
    _S.IDLE: {_E.INIT_DEVICE: _S.INITIALIZING_DEVICE, _E.END: _S.EXITING},
    _S.INITIALIZING_DEVICE: {_E.COMPLETE_INIT: _S.INITIALIZED},
    _S.INITIALIZED: {_E.BIND: _S.BOUND, _E.RESET_DEVICE: _S.IDLE},
    _S.BOUND: {_E.CONNECT: _S.DEVICE_READY, _E.RESET_DEVICE: _S.IDLE},
    _S.DEVICE_READY: {_E.INIT_TASK: _S.READY, _E.RESET_DEVICE: _S.IDLE},
    _S.READY: {_E.RUN: _S.RUNNING, _E.RESET_TASK: _S.DEVICE_READY},
    _S.RUNNING: {_E.STOP: _S.READY},
}
"""Device events by state, and the state in which the device then waits. ERROR FOUND leads to ERROR from everywhere."""

ON_THE_WAY: Mapping[DeviceEvent, DeviceState] = {
    _E.BIND: _S.BINDING,
    _E.CONNECT: _S.CONNECTING,
    _E.INIT_TASK: _S.INITIALIZING_TASK,
    _E.RESET_TASK: _S.RESETTING_TASK,
    _E.RESET_DEVICE: _S.RESETTING_DEVICE,
}
"""The working state that a device passes through on an event."""

SEQUENCE: Mapping[TaskEvent, tuple[tuple[DeviceEvent, DeviceState], ...]] = {
    TaskEvent.CONFIGURE: (
        (_E.INIT_DEVICE, _S.INITIALIZING_DEVICE),
        (_E.COMPLETE_INIT, _S.INITIALIZED),
        (_E.BIND, _S.BOUND),
        (_E.CONNECT, _S.DEVICE_READY),
        (_E.INIT_TASK, _S.READY),
    ),
    TaskEvent.RESET: ((_E.RESET_TASK, _S.DEVICE_READY), (_E.RESET_DEVICE, _S.IDLE)),
    TaskEvent.START: ((_E.RUN, _S.RUNNING),),
    TaskEvent.STOP: ((_E.STOP, _S.READY),),
    TaskEvent.EXIT: ((_E.END, _S.EXITING),),
}
"""Task event to (device event, state at its end). Arguments go with the first device event of a sequence."""

ROLLBACK: Mapping[tuple[DeviceState, DeviceEvent], tuple[DeviceEvent, DeviceState]] = {
    (_S.INITIALIZED, _E.BIND): (_E.RESET_DEVICE, _S.IDLE),
    (_S.BOUND, _E.CONNECT): (_E.RESET_DEVICE, _S.IDLE),
    (_S.DEVICE_READY, _E.INIT_TASK): (_E.RESET_DEVICE, _S.IDLE),
    (_S.DEVICE_READY, _E.RESET_DEVICE): (_E.INIT_TASK, _S.READY),
}
"""(state where the device is stuck, event that failed) to the (event, state) that takes it back to safety."""


def task_state(state: DeviceState) -> TaskState:
    """Return the task state that a device state stands for; UNKNOWN while it is on the way between two."""
    return STEADY.get(state, TaskState.UNKNOWN)
