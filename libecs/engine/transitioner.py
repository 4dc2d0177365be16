"""How the executor takes a task through an event: one short function per control mode.

A transitioner looks at where the task is and says what is to be done next. It holds no state, so an executor that was
killed in the middle of a sequence goes on from where the device is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from libecs import fairmq
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import TASK, TASK_SOURCE, Mode, TaskEvent, TaskState
from libecs.wire.task import Machine


@attrs.frozen
class Tell:
    """Send this event to the task, which must be in `source`. The first one of a command carries its arguments."""

    event: int
    source: int
    expect: int


@attrs.frozen
class Reached:
    """The task is where the event leads to."""


@attrs.frozen
class Wait:
    """The task is on the way; its next state decides."""


@attrs.frozen
class Impossible:
    """The event can't be done from here."""

    reason: str


@attrs.frozen
class StartProcess:
    """Start the command of a basic task."""


@attrs.frozen
class EndProcess:
    """End the command of a basic task."""


Move = Tell | Reached | Wait | Impossible | StartProcess | EndProcess
Transitioner = Callable[[TaskEvent, int, bool], Move]
"""(event, state of the machine, whether the process of a basic task lives) to what to do next."""

MACHINE: Mapping[Mode, Machine | None] = {
    Mode.DIRECT: Machine.OCC,
    Mode.FAIRMQ: Machine.FAIRMQ,
    Mode.BASIC: None,
    Mode.HOOK: None,
}


def direct(event: TaskEvent, state: int, alive: bool) -> Move:
    """One OCC event. The task itself knows whether it did this command already, so it is told in any state."""
    here = TaskState(state)
    if event is TaskEvent.RECOVER and here is TaskState.STANDBY:
        return Reached()  # we called it broken, it began anew
    source = here if event in TASK.get(here, {}) else TASK_SOURCE.get(event, here)
    there = TASK.get(source, {}).get(event)
    if there is None:
        return Impossible(f"{event.name} is not possible in {here.name}")
    return Tell(event, source, there)


def fairmq_steps(event: TaskEvent, state: int, alive: bool) -> Move:
    """The next event of a FairMQ sequence from the state that the device is in."""
    here = DeviceState(state)
    if event is TaskEvent.RECONFIGURE:
        return Impossible("is not live: a FairMQ device takes new properties only from RESET to CONFIGURE")
    if here in fairmq.WORKING:
        return Wait()
    sequence = fairmq.SEQUENCE.get(event)
    if sequence is None:
        return Impossible(f"a FairMQ device has no {event.name}")
    if here == sequence[-1][1]:
        return Reached()
    if event is TaskEvent.EXIT:
        sequence = sequence + fairmq.SEQUENCE[TaskEvent.RESET][::-1]
    for device_event, end in sequence:
        if device_event in fairmq.DEVICE.get(here, {}):
            return Tell(device_event, here, end)
    return Impossible(f"{event.name} is not possible in {here.label}")


def basic(event: TaskEvent, state: int, alive: bool) -> Move:
    """A program that knows nothing of us: it runs between START and STOP."""
    there = TASK.get(TaskState(state), {}).get(event)
    if there is None:
        return Impossible(f"{event.name} is not possible in {TaskState(state).name}")
    if event is TaskEvent.START:
        return Wait() if alive else StartProcess()
    if alive and event in (TaskEvent.STOP, TaskEvent.EXIT, TaskEvent.GO_ERROR):
        return EndProcess()
    return Reached()


def hook(event: TaskEvent, state: int, alive: bool) -> Move:
    """A hook takes no part in transitions."""
    return Reached()


TRANSITIONERS: Mapping[Mode, Transitioner] = {
    Mode.DIRECT: direct,
    Mode.FAIRMQ: fairmq_steps,
    Mode.BASIC: basic,
    Mode.HOOK: hook,
}


def rollback(state: int, event: int) -> Tell | None:
    """Return what takes a FairMQ device back to safety after `event` failed in `state`, if anything does."""
    back = fairmq.ROLLBACK.get((DeviceState(state), DeviceEvent(event)))
    return Tell(back[0], state, back[1]) if back else None


def task_state(machine: Machine, state: int) -> TaskState:
    """Return the task state that a machine's state number stands for. Raises ValueError for a number that is none."""
    return fairmq.task_state(DeviceState(state)) if machine is Machine.FAIRMQ else TaskState(state)
