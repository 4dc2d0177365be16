"""The FairMQ device's state machine as a controller sees it: names, sequences, rollbacks. Facts of FairMQ 1.10.

A task event becomes a sequence of device events; each has one state at its end. Intermediate states ("BINDING") may
be seen on the way and are never an answer. Used by the executor and by peanut: one definition.
"""

from __future__ import annotations

from collections.abc import Mapping

from libecs.fsm import TaskEvent, TaskState

IDLE = "IDLE"
INITIALIZED = "INITIALIZED"
BOUND = "BOUND"
DEVICE_READY = "DEVICE READY"
READY = "READY"
RUNNING = "RUNNING"
ERROR = "ERROR"
EXITING = "EXITING"

STEADY: Mapping[str, TaskState | None] = {
    IDLE: TaskState.STANDBY,
    INITIALIZED: None,
    BOUND: None,
    DEVICE_READY: None,
    READY: TaskState.CONFIGURED,
    RUNNING: TaskState.RUNNING,
    ERROR: TaskState.ERROR,
    EXITING: TaskState.DONE,
}
"""States in which a device waits for an event, and the task state each stands for, if any.

A device that waits between INIT DEVICE and RUN is neither STANDBY nor CONFIGURED: it is in the middle of a sequence.
"""

INTERMEDIATE: tuple[str, ...] = (
    "INITIALIZING DEVICE",
    "BINDING",
    "CONNECTING",
    "INITIALIZING TASK",
    "RESETTING TASK",
    "RESETTING DEVICE",
)
"""States in which a device works. INITIALIZING DEVICE is also the end of INIT DEVICE: it waits there for COMPLETE INIT."""

DEVICE: Mapping[str, Mapping[str, str]] = {
    IDLE: {"INIT DEVICE": "INITIALIZING DEVICE", "END": EXITING},
    "INITIALIZING DEVICE": {"COMPLETE INIT": INITIALIZED},
    INITIALIZED: {"BIND": BOUND, "RESET DEVICE": IDLE},
    BOUND: {"CONNECT": DEVICE_READY, "RESET DEVICE": IDLE},
    DEVICE_READY: {"INIT TASK": READY, "RESET DEVICE": IDLE},
    READY: {"RUN": RUNNING, "RESET TASK": DEVICE_READY},
    RUNNING: {"STOP": READY},
}
"""Device events by state, and the state in which the device then waits. ERROR FOUND leads to ERROR from everywhere."""

SEQUENCE: Mapping[TaskEvent, tuple[tuple[str, str], ...]] = {
    TaskEvent.CONFIGURE: (
        ("INIT DEVICE", "INITIALIZING DEVICE"),
        ("COMPLETE INIT", INITIALIZED),
        ("BIND", BOUND),
        ("CONNECT", DEVICE_READY),
        ("INIT TASK", READY),
    ),
    TaskEvent.RESET: (("RESET TASK", DEVICE_READY), ("RESET DEVICE", IDLE)),
    TaskEvent.START: (("RUN", RUNNING),),
    TaskEvent.STOP: (("STOP", READY),),
    TaskEvent.EXIT: (("END", EXITING),),
}
"""Task event to (device event, state at its end). Arguments go with the first device event of a sequence."""

ROLLBACK: Mapping[tuple[str, str], tuple[str, str]] = {
    (INITIALIZED, "BIND"): ("RESET DEVICE", IDLE),
    (BOUND, "CONNECT"): ("RESET DEVICE", IDLE),
    (DEVICE_READY, "INIT TASK"): ("RESET DEVICE", IDLE),
    (DEVICE_READY, "RESET DEVICE"): ("INIT TASK", READY),
}
"""(state where the device is stuck, event that failed) to the (event, state) that takes it back to safety."""


def task_state(device_state: str) -> TaskState:
    """Return the task state that a device state stands for; UNKNOWN while it is on the way between two."""
    return STEADY.get(device_state) or TaskState.UNKNOWN
