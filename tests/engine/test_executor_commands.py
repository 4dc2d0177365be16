"""Commands: each has its effect once, its answer always, and a deadline."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Connected, Disconnected, Send, Survivor
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Phase
from tests.engine.rig import Rig, configured, result


def test_a_command_is_done_when_the_task_says_so_and_is_answered_again_when_repeated() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE, key="value")
    (told,) = rig.took(task.Transition)
    assert (told.id, told.event, told.source, told.arguments) == (
        "c1",
        TaskEvent.CONFIGURE,
        TaskState.STANDBY,
        {"key": "value"},
    )

    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.task(result("c1", TaskEvent.CONFIGURE, TaskState.CONFIGURED))

    (answer,) = rig.took(node.Answer)
    assert (answer.id, answer.state, answer.done, answer.failed) == ("c1", TaskState.CONFIGURED, ("t",), ())
    rig.transit(TaskEvent.CONFIGURE)
    assert rig.took(task.Transition) == []


@pytest.mark.parametrize(("state", "name"), [(TaskState.STANDBY, "STANDBY"), (99, "a state 99 that does not exist")])
def test_a_task_that_says_done_and_is_elsewhere_has_failed(state: int, name: str) -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)

    rig.task(result("c1", TaskEvent.CONFIGURE, state))

    (answer,) = rig.took(node.Answer)
    assert answer.done == ()
    assert answer.failed[0].reason == f"says that it has done CONFIGURE, and is in {name}"


def test_a_fairmq_command_is_a_walk_whose_events_have_ids_of_their_own() -> None:
    rig = Rig()
    rig.launch(Mode.FAIRMQ)
    rig.transit(TaskEvent.CONFIGURE, key="value")
    ids = []
    walk = [
        (DeviceEvent.INIT_DEVICE, DeviceState.INITIALIZING_DEVICE),
        (DeviceEvent.COMPLETE_INIT, DeviceState.INITIALIZED),
        (DeviceEvent.BIND, DeviceState.BOUND),
        (DeviceEvent.CONNECT, DeviceState.DEVICE_READY),
        (DeviceEvent.INIT_TASK, DeviceState.READY),
    ]
    for number, (event, state) in enumerate(walk):
        (told,) = rig.took(task.Transition)
        assert told.event == event
        assert (told.arguments == {"key": "value"}) == (number == 0)
        ids.append(told.id)
        rig.task(result(told.id, event, state, sequence=number + 2))

    assert len(set(ids)) == len(ids)
    (answer,) = rig.took(node.Answer)
    assert answer.done == ("t",)


def test_a_device_that_gets_stuck_is_rolled_back_and_the_first_reason_told() -> None:
    rig = Rig()
    rig.launch(Mode.FAIRMQ)
    rig.transit(TaskEvent.CONFIGURE)
    for sequence, state in enumerate((DeviceState.INITIALIZING_DEVICE, DeviceState.INITIALIZED), start=2):
        (told,) = rig.took(task.Transition)
        rig.task(result(told.id, told.event, state, sequence=sequence))
    (bind,) = rig.took(task.Transition)

    rig.task(result(bind.id, bind.event, DeviceState.INITIALIZED, ok=False, sequence=4, error="address in use"))
    (back,) = rig.took(task.Transition)
    rig.task(result(back.id, back.event, DeviceState.IDLE, sequence=5))

    assert back.event == DeviceEvent.RESET_DEVICE
    (answer,) = rig.took(node.Answer)
    (failure,) = answer.failed
    assert (failure.reason, failure.state) == ("address in use", TaskState.STANDBY)


def test_a_task_that_never_answers_has_a_deadline() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    for _ in range(31):
        rig.wait(1.0)
        rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    (answer,) = rig.took(node.Answer)
    assert answer.failed[0].reason == "did not finish CONFIGURE in time, last state STANDBY"


def test_a_command_that_leads_to_error_is_told_with_its_reason_and_not_before() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()

    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=2))
    assert rig.took(node.Update) == []
    rig.task(result("c1", TaskEvent.CONFIGURE, TaskState.ERROR, ok=False, error="no gas"))

    messages = [one.message for one in rig.out if isinstance(one, Send)]
    assert [type(one) for one in messages] == [node.Answer, node.Update]
    assert messages[0].failed[0].reason == "no gas"  # type: ignore[attr-defined] # an Answer


def test_an_error_that_nobody_explains_is_told_all_the_same() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()
    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=2))

    rig.wait(0.3)

    (update,) = rig.took(node.Update)
    assert update.tasks[0].state is TaskState.ERROR


def test_a_late_result_jumps_no_state() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=5))
    rig.out.clear()

    rig.task(result("c0", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=3))

    assert rig.engine.tasks["t"].state is TaskState.ERROR
    assert rig.took(node.Update) == []


def test_a_busy_task_refuses_another_command_and_an_unknown_one_is_named() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()

    rig.transit(TaskEvent.START, id="c2")
    rig.core(node.Transit(session=9, epoch=5, id="c3", event=TaskEvent.START, tasks=("nobody",)))

    reasons = [failure.reason for answer in rig.took(node.Answer) for failure in answer.failed]
    assert reasons == ["is busy with CONFIGURE", "task is not known here"]


def test_a_link_that_breaks_in_the_middle_has_the_event_told_again() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE, key="value")
    (first,) = rig.took(task.Transition)

    rig.put(Disconnected("t"))
    rig.put(Connected("t"))
    rig.welcome()

    assert rig.took(task.Transition) == [first]


def test_a_state_that_does_not_exist_is_reported_and_ignored() -> None:
    rig = Rig()
    rig.launch()

    rig.task(task.StateChanged(state=99, sequence=9))

    assert rig.engine.tasks["t"].state is TaskState.STANDBY
    assert rig.took(node.Update)[0].tasks[0].error == "reports a state 99 that does not exist"


def test_new_properties_are_one_event_that_is_done_when_the_task_says_so() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    (told,) = rig.took(task.Transition)
    assert (told.id, told.event, told.source) == ("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED)
    assert told.arguments == {"threshold": "20"}

    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=3))
    rig.task(task.Pong(number=1, state=TaskState.CONFIGURED, sequence=4))
    assert rig.took(node.Answer) == []
    rig.task(result("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED, sequence=5))

    (answer,) = rig.took(node.Answer)
    assert (answer.id, answer.state, answer.done) == ("c7", TaskState.CONFIGURED, ("t",))
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    assert rig.took(task.Transition) == []


def test_a_task_that_takes_no_new_properties_says_so() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    rig.task(result("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED, ok=False, error="not live"))

    (failure,) = rig.took(node.Answer)[0].failed
    assert (failure.reason, failure.state) == ("not live", TaskState.CONFIGURED)


def test_new_properties_are_told_under_the_same_id_by_the_next_life() -> None:
    old = Rig()
    configured(old)
    old.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    (first,) = old.took(task.Transition)

    rig = Rig(old.records, (Survivor(spec=old.engine.tasks["t"].spec, phase=Phase.ACTIVE, pid=77),))
    rig.welcome(state=TaskState.CONFIGURED, sequence=2)
    rig.out.clear()
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    assert rig.took(task.Transition) == [first]


def test_a_fairmq_device_is_not_reconfigured_live() -> None:
    rig = Rig()
    configured(rig, Mode.FAIRMQ)

    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    reason = rig.took(node.Answer)[0].failed[0].reason
    assert reason == "is not live: a FairMQ device takes new properties only from RESET to CONFIGURE"
