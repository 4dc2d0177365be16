"""FairMQ's sequences against its state machine."""

from __future__ import annotations

import pytest

from libecs import fairmq
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import TASK_SOURCE, TaskEvent, TaskState, target_of


@pytest.mark.parametrize("event", [TaskEvent.CONFIGURE, TaskEvent.START, TaskEvent.STOP, TaskEvent.RESET])
def test_a_sequence_walks_the_machine_from_source_to_target(event: TaskEvent) -> None:
    (state,) = [device for device, task in fairmq.STEADY.items() if task is TASK_SOURCE[event]]

    for device_event, end in fairmq.SEQUENCE[event]:
        assert fairmq.DEVICE[state][device_event] is end
        state = end

    assert fairmq.task_state(state) is target_of(event)


def test_a_rollback_leads_from_where_the_device_is_stuck_to_a_steady_state() -> None:
    for (stuck, failed), (event, end) in fairmq.ROLLBACK.items():
        assert failed in fairmq.DEVICE[stuck]
        assert fairmq.DEVICE[stuck][event] is end
        assert end in fairmq.STEADY


def test_a_device_on_the_way_is_in_no_task_state() -> None:
    for state in (*fairmq.WORKING, DeviceState.BOUND, DeviceState.INITIALIZED, DeviceState.DEVICE_READY):
        assert fairmq.task_state(state) is TaskState.UNKNOWN


def test_labels_are_spelt_as_fairmq_does() -> None:
    assert DeviceState.DEVICE_READY.label == "DEVICE READY"
    assert DeviceEvent.COMPLETE_INIT.label == "COMPLETE INIT"
