"""What tasks say by themselves, or do not say: stalls, ends of streams, claims."""

from __future__ import annotations

from typing import Any

import pytest

from libecs.engine.effects import Resume, Tick
from libecs.fsm import TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Phase
from libecs.wire.telemetry import Severity
from tests.engine.rig import Rig, configured, result, spec


def test_a_silent_task_is_stalled_after_three_seconds_and_heals() -> None:
    rig = Rig()
    rig.launch()
    rig.wait(5.0)
    (stalled,) = rig.took(node.Update)[-1].tasks
    assert stalled.stalled
    assert stalled.phase is Phase.SUSPECT

    rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    (healed,) = rig.took(node.Update)[-1].tasks
    assert (healed.stalled, healed.phase, healed.error) == (False, Phase.ACTIVE, "")


def test_a_task_is_stalled_so_long_after_its_last_word_that_all_hear_of_it_within_three_seconds() -> None:
    rig = Rig()
    rig.launch()
    rig.wait(1.3)
    rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    rig.wait(2.65)
    assert not rig.engine.tasks["t"].stalled
    rig.wait(0.1)

    assert rig.took(node.Update)[-1].tasks[0].error == "does not answer for 2.7 s"


def answer_pings(rig: Rig, seconds: int, state: TaskState, progress: int = 0, turns: int = 0) -> int:
    """Let time pass for a task that answers, and whose loop turns so often in a second; return its counter."""
    for _ in range(seconds * 2):
        rig.wait(0.5)
        progress += turns
        rig.task(task.Pong(number=1, state=state, sequence=rig.engine.tasks["t"].sequence, progress=progress))
    return progress


def test_a_task_whose_loop_stands_still_in_a_run_is_stalled_until_it_turns_again() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    answer_pings(rig, 10, TaskState.STANDBY)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    progress = answer_pings(rig, 5, TaskState.RUNNING, turns=3)
    rig.out.clear()
    answer_pings(rig, 2, TaskState.RUNNING, progress)
    assert rig.took(node.Update) == []

    answer_pings(rig, 2, TaskState.RUNNING, progress)
    (stalled,) = rig.took(node.Update)[-1].tasks
    assert (stalled.stalled, stalled.phase, stalled.state) == (True, Phase.ACTIVE, TaskState.RUNNING)
    assert stalled.error == "its progress counter stands still for 2.7 s"

    answer_pings(rig, 1, TaskState.RUNNING, progress, turns=1)
    (healed,) = rig.took(node.Update)[-1].tasks
    assert (healed.stalled, healed.error) == (False, "")


def test_a_task_that_stands_still_obeys_and_is_not_stalled_outside_of_the_run() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    answer_pings(rig, 5, TaskState.RUNNING)
    assert rig.engine.tasks["t"].stalled
    rig.out.clear()

    rig.transit(TaskEvent.STOP, id="s1")
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=3))
    rig.task(result("s1", TaskEvent.STOP, TaskState.CONFIGURED, sequence=3))

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.state, status.stalled) == (TaskState.CONFIGURED, False)


def test_the_progress_of_a_task_that_does_not_count_is_nobodys_business() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))

    answer_pings(rig, 10, TaskState.RUNNING)

    assert not rig.engine.tasks["t"].stalled


def test_a_task_that_stands_still_and_then_falls_silent_heals_in_two_steps() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    rig.wait(5.0)
    assert rig.engine.tasks["t"].silent

    rig.task(task.Pong(number=1, state=TaskState.RUNNING, sequence=2))
    assert not rig.engine.tasks["t"].stalled
    answer_pings(rig, 2, TaskState.RUNNING)
    assert rig.engine.tasks["t"].stuck

    answer_pings(rig, 1, TaskState.RUNNING, turns=1)
    assert not rig.engine.tasks["t"].stalled


def test_end_of_stream_and_refusals_reach_the_core() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    assert rig.took(node.Update)[0].tasks[0].end_of_stream

    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder="peanut", epoch=9))

    assert rig.took(node.Update)[0].tasks[0].error == "is controlled by peanut (SUPERSEDED)"


def test_the_end_of_a_stream_is_over_with_its_run() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.START, id="c2", run_number="1")
    rig.task(result("c2", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    rig.transit(TaskEvent.STOP, id="c3")
    assert rig.took(node.Update)[-1].tasks[0].end_of_stream

    rig.task(result("c3", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))
    rig.task(task.Log(severity=Severity.ERROR, text="late", unix_ms=1))
    rig.wait(1.0)

    assert not rig.took(node.Update)[-1].tasks[0].end_of_stream  # the next run may be on its way


def test_what_a_task_says_of_its_failures_is_one_short_line() -> None:
    rig = Rig()
    configured(rig)
    ugly = "\x1b[2Jwent\nwrong " + "x" * 100_000
    rig.transit(TaskEvent.START, id="c2", run_number="1")

    rig.task(result("c2", TaskEvent.START, TaskState.ERROR, ok=False, sequence=3, error=ugly))
    (failure,) = rig.took(node.Answer)[0].failed
    rig.task(task.Happened(type=task.DeviceEventType.TASK_INTERNAL_ERROR, text=ugly))
    error = rig.took(node.Update)[0].tasks[0].error
    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder=ugly))
    taken = rig.took(node.Update)[0].tasks[0].error

    assert failure.reason.startswith("went wrong xxx")
    assert error.startswith("went wrong xxx")
    assert taken.startswith("is controlled by went wrong xxx")
    assert max(map(len, (failure.reason, error, taken))) < 1100


@pytest.mark.parametrize("fields", [{}, {"attached": True, "endpoint": "tcp://pi:47100"}])
def test_a_task_that_claims_an_epoch_that_cannot_be_is_left_alone(fields: dict[str, Any]) -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(**fields),)))
    rig.out.clear()

    rig.task(task.Refused(reason=task.Refusal.STALE, holder="x", epoch=2**64 - 1))
    rig.wait(5.0)

    for hello in rig.took(task.Hello):
        assert task.TASK.decode(task.TASK.encode(hello)) == hello
    assert rig.engine.tasks["t"].error == "is controlled by x (STALE)"


def test_a_task_that_was_taken_and_given_back_is_as_before() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder="peanut", epoch=9))
    rig.out.clear()
    rig.wait(1.5)
    assert len(rig.took(task.Hello)) >= 1

    rig.welcome(state=TaskState.CONFIGURED, sequence=2)

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.phase, status.state, status.error) == (Phase.ACTIVE, TaskState.CONFIGURED, "")


def test_our_own_pause_is_nobody_elses_fault() -> None:
    rig = Rig()
    rig.launch()
    rig.mono += 60.0
    rig.put(Tick())
    rig.put(Resume())

    assert not any(one.stalled for update in rig.took(node.Update) for one in update.tasks)
