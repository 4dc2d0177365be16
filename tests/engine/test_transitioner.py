"""The transitioners as tables of moves."""

from __future__ import annotations

import pytest

from libecs.engine import transitioner as moves
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire.task import Machine


def walk(event: TaskEvent, state: DeviceState) -> list[str]:
    """Follow a FairMQ device that does what it is told."""
    told: list[str] = []
    for _ in range(10):
        move = moves.fairmq_steps(event, state, True)
        if not isinstance(move, moves.Tell):
            return [*told, type(move).__name__]
        told.append(DeviceEvent(move.event).name)
        assert move.source == state
        state = DeviceState(move.expect)
    raise AssertionError("the walk has no end")


@pytest.mark.parametrize(
    ("event", "state", "steps"),
    [
        ("CONFIGURE", "IDLE", "INIT_DEVICE COMPLETE_INIT BIND CONNECT INIT_TASK Reached"),
        ("CONFIGURE", "INITIALIZED", "BIND CONNECT INIT_TASK Reached"),
        ("CONFIGURE", "BOUND", "CONNECT INIT_TASK Reached"),
        ("CONFIGURE", "READY", "Reached"),
        ("RESET", "READY", "RESET_TASK RESET_DEVICE Reached"),
        ("RESET", "DEVICE_READY", "RESET_DEVICE Reached"),
        ("RESET", "BOUND", "RESET_DEVICE Reached"),
        ("START", "READY", "RUN Reached"),
        ("STOP", "RUNNING", "STOP Reached"),
        ("EXIT", "IDLE", "END Reached"),
        ("EXIT", "READY", "RESET_TASK RESET_DEVICE END Reached"),
        ("START", "IDLE", "Impossible"),
        ("RECOVER", "ERROR", "Impossible"),
        ("CONFIGURE", "BINDING", "Wait"),
    ],
)
def test_a_fairmq_sequence_goes_on_from_wherever_the_device_is(event: str, state: str, steps: str) -> None:
    assert walk(TaskEvent[event], DeviceState[state]) == steps.split()


def test_a_direct_task_is_told_from_the_usual_source_even_if_it_is_elsewhere() -> None:
    """It knows a repeated command by its id, and refuses a new one itself."""
    move = moves.direct(TaskEvent.CONFIGURE, TaskState.CONFIGURED, True)

    assert move == moves.Tell(TaskEvent.CONFIGURE, TaskState.STANDBY, TaskState.CONFIGURED)
    assert moves.direct(TaskEvent.STOP, TaskState.PAUSED, True) == moves.Tell(
        TaskEvent.STOP, TaskState.PAUSED, TaskState.CONFIGURED
    )


def test_what_no_table_has_is_impossible() -> None:
    assert isinstance(moves.direct(TaskEvent.EXIT, TaskState.RUNNING, True), moves.Impossible)
    assert isinstance(moves.basic(TaskEvent.START, TaskState.STANDBY, False), moves.Impossible)


@pytest.mark.parametrize(
    ("event", "state", "alive", "move"),
    [
        ("CONFIGURE", "STANDBY", False, moves.Reached),
        ("START", "CONFIGURED", False, moves.StartProcess),
        ("START", "CONFIGURED", True, moves.Wait),
        ("STOP", "RUNNING", True, moves.EndProcess),
        ("STOP", "RUNNING", False, moves.Reached),
        ("RESET", "CONFIGURED", False, moves.Reached),
    ],
)
def test_a_basic_task_has_a_process_between_start_and_stop(event: str, state: str, alive: bool, move: type) -> None:
    assert isinstance(moves.basic(TaskEvent[event], TaskState[state], alive), move)


def test_a_hook_takes_no_part() -> None:
    assert moves.TRANSITIONERS[Mode.HOOK](TaskEvent.START, TaskState.STANDBY, False) == moves.Reached()


def test_a_stuck_device_is_rolled_back() -> None:
    back = moves.rollback(DeviceState.BOUND, DeviceEvent.CONNECT)
    assert back is not None
    assert (back.event, back.expect) == (DeviceEvent.RESET_DEVICE, DeviceState.IDLE)
    assert moves.rollback(DeviceState.IDLE, DeviceEvent.INIT_DEVICE) is None


def test_machine_numbers_become_task_states() -> None:
    assert moves.task_state(Machine.FAIRMQ, DeviceState.READY) is TaskState.CONFIGURED
    assert moves.task_state(Machine.OCC, 3) is TaskState.RUNNING
    with pytest.raises(ValueError, match="77"):
        moves.task_state(Machine.OCC, 77)
