"""How tasks end, and what the next life of their executor makes of them."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine.effects import Forget, ProcessEnded, ProcessStarted, Resume, Signal, Spawn, Survivor
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Exit, ExitCause, Phase
from tests.engine.rig import Rig, configured, hook, kill, result, spec


def test_a_running_task_is_walked_down_then_forgotten() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    kill(rig)
    walked = []
    for sequence, state in enumerate((TaskState.CONFIGURED, TaskState.STANDBY, TaskState.DONE), start=3):
        (told,) = rig.took(task.Transition)
        walked.append(TaskEvent(told.event).name)
        rig.task(task.StateChanged(state=state, sequence=sequence))
        rig.task(result(told.id, told.event, state, sequence=sequence))
    assert walked == ["STOP", "RESET", "EXIT"]
    assert rig.took(Signal) == []

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    rig.put(Resume())

    assert [one.task for one in rig.out if isinstance(one, Forget)] == ["t"]
    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks == {}


def test_a_task_that_does_not_go_is_met_with_growing_force() -> None:
    rig = Rig()
    rig.launch()
    kill(rig)

    rig.wait(20.0)

    assert [one.number for one in rig.took(Signal)][:3] == [15, 2, 9]


def test_ending_what_is_not_there_is_done_at_once_and_it_never_comes_back() -> None:
    rig = Rig()
    kill(rig)
    assert rig.took(node.Answer)[0].done == ("t",)

    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(),)))

    assert rig.took(Spawn) == []


def test_a_task_that_died_keeps_its_cause_until_somebody_ends_it() -> None:
    rig = Rig()
    rig.launch()
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=11), last_log="boom"))
    rig.put(Resume())
    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.phase, status.state, status.last_log) == (Phase.EXITED, TaskState.ERROR, "boom")
    assert status.exit is not None
    assert not status.exit.wanted

    kill(rig)

    assert rig.took(node.Answer)[0].done == ("t",)


# lives


def test_a_task_that_outlived_its_executor_is_adopted_as_it_is() -> None:
    old = Rig()
    old.launch()
    held = old.engine.tasks["t"].spec

    rig = Rig(old.records, (Survivor(spec=held, phase=Phase.ACTIVE, pid=77),))
    rig.out.clear()
    rig.welcome(state=TaskState.RUNNING, sequence=8)

    assert rig.took(Spawn) == []
    assert rig.engine.tasks["t"].state is TaskState.RUNNING


def test_an_exit_that_nobody_saw_is_told_by_the_next_life() -> None:
    survivor = Survivor(spec=spec(), phase=Phase.EXITED, exit=Exit(cause=ExitCause.EXITED, code=4), last_log="bye")

    rig = Rig({}, (survivor,))

    (announced,) = rig.took(node.Announce)
    (held,) = announced.tasks
    assert held.status.exit == Exit(cause=ExitCause.EXITED, code=4)


def test_a_hook_that_ended_while_nobody_looked_is_answered_and_not_run_again() -> None:
    old = Rig()
    hook(old)
    old.put(ProcessStarted(task="t", pid=5))
    survivor = Survivor(spec=spec(Mode.HOOK), phase=Phase.EXITED, pid=5, exit=Exit(cause=ExitCause.EXITED))

    rig = Rig(old.records, (survivor,))
    rig.out.clear()
    hook(rig)

    assert rig.took(Spawn) == []


@pytest.mark.parametrize("started", [False, True])
def test_a_hook_that_may_have_run_and_is_nowhere_is_not_run_again(started: bool) -> None:
    old = Rig()
    hook(old)
    if started:
        old.put(ProcessStarted(task="t", pid=5))

    rig = Rig(old.records)
    spawned = rig.took(Spawn)
    hook(rig)

    assert spawned == []
    assert rig.took(node.Answer)[0].failed[0].reason == "ended, nobody saw how"


def test_a_basic_task_is_what_its_record_says() -> None:
    old = Rig()
    old.launch(Mode.BASIC)
    old.transit(TaskEvent.CONFIGURE, id="c1")

    rig = Rig(old.records)
    assert rig.engine.tasks["t"].state is TaskState.CONFIGURED
    rig.transit(TaskEvent.CONFIGURE, id="c1")

    assert rig.took(node.Answer)[0].done == ("t",)


def test_an_executor_that_lost_its_records_takes_the_next_epoch_of_its_tasks() -> None:
    rig = Rig({}, (Survivor(spec=attrs.evolve(spec(), endpoint="ipc:///s/t"), phase=Phase.ACTIVE, pid=77),))
    rig.out.clear()

    rig.task(task.Refused(reason=task.Refusal.STALE, holder="n1/7", epoch=7))

    (hello,) = rig.took(task.Hello)
    assert hello.epoch == 8


def test_a_task_that_failed_into_error_says_why_in_its_update_too() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.START, id="c2", run_number="1")

    rig.task(result("c2", TaskEvent.START, TaskState.ERROR, ok=False, sequence=3, error="no trigger"))
    failed = rig.took(node.Update)[-1].tasks[0]
    rig.transit(TaskEvent.RECOVER, id="c3")
    rig.task(result("c3", TaskEvent.RECOVER, TaskState.STANDBY, sequence=4))
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    recovered = rig.took(node.Update)[-1].tasks[0]

    assert (failed.state, failed.error) == (TaskState.ERROR, "no trigger")
    assert (recovered.state, recovered.error) == (TaskState.STANDBY, "")


def test_an_answer_that_is_repeated_tells_the_state_of_now() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RESET, id="c2")
    rig.task(result("c2", TaskEvent.RESET, TaskState.STANDBY, sequence=3))
    rig.transit(TaskEvent.CONFIGURE, id="c3")
    rig.task(result("c3", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=4))
    rig.took(node.Answer)

    rig.transit(TaskEvent.RESET, id="c2")  # its answer was late

    (again,) = rig.took(node.Answer)
    assert (again.id, again.done, again.state) == ("c2", ("t",), TaskState.CONFIGURED)
