"""Basic tasks and hooks: programs that run, end, and are ended."""

from __future__ import annotations

import pytest

from libecs.engine.effects import MakeFolder, ProcessEnded, ProcessStarted, Resume, Signal, Spawn
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Exit, ExitCause
from tests.engine.rig import Rig, hook, kill, last_status


def test_a_basic_task_runs_between_start_and_stop() -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2", run_number="4")
    assert len(rig.took(Spawn)) == 1
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())
    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks["t"].run == 4

    rig.transit(TaskEvent.STOP, id="c3")
    assert [one.number for one in rig.took(Signal)] == [9]
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9)))
    rig.put(Resume())

    (answer,) = rig.took(node.Answer)
    assert (answer.state, answer.done) == (TaskState.CONFIGURED, ("t",))


def run_basic(rig: Rig, arguments: dict[str, str] | None = None, **fields: object) -> None:
    rig.launch(Mode.BASIC, **fields)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.out.clear()
    rig.transit(TaskEvent.START, id="c2", **({"run_number": "4"} if arguments is None else arguments))


def test_what_is_not_known_before_the_run_is_filled_in_when_it_starts() -> None:
    command = node.Command(
        argv=("./digitizer", "-o", "{{run_dir}}/raw-{{run_number}}.dat"), environment={"OUT": "{{run_dir}}"}
    )
    rig = Rig()
    run_basic(rig, {"run_number": "4", "runNumber": "4", "run_dir": "/runs/4"}, command=command)

    made = [one for one in rig.out if isinstance(one, (MakeFolder, Spawn))]
    assert made[0] == MakeFolder("/runs/4")
    (spawned,) = rig.took(Spawn)
    assert spawned.spec.command.argv == ("./digitizer", "-o", "/runs/4/raw-4.dat")
    assert spawned.spec.command.environment == {"OUT": "/runs/4"}
    assert rig.engine.tasks["t"].spec.command == command


@pytest.mark.parametrize("literal", ["{{run_dir}}", "{{run_number}}"])
def test_a_program_that_needs_what_the_run_does_not_have_is_not_started(literal: str) -> None:
    rig = Rig()
    run_basic(rig, {}, command=node.Command(argv=("write", f"{literal}/raw.dat")))

    assert [one for one in rig.out if isinstance(one, Spawn)] == []
    assert rig.took(node.Answer)[0].failed[0].reason == f"its command needs {literal}, and there is none"


def test_a_controlled_task_is_told_the_folder_of_the_run_and_the_folder_is_made_once() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.out.clear()

    rig.transit(TaskEvent.START, id="c2", run_number="4", run_dir="/runs/4")
    rig.transit(TaskEvent.START, id="c2", run_number="4", run_dir="/runs/4")

    assert [one for one in rig.out if isinstance(one, MakeFolder)] == [MakeFolder("/runs/4")]
    (told,) = rig.took(task.Transition)
    assert told.arguments == {"run_number": "4", "run_dir": "/runs/4"}


def test_a_program_is_asked_to_stop_and_killed_if_it_does_not() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2, stop_s=3.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.out.clear()
    rig.transit(TaskEvent.STOP, id="c3")
    assert [one.number for one in rig.took(Signal)] == [2]

    rig.wait(2.9)
    assert rig.took(Signal) == []
    rig.wait(0.2)
    assert [one.number for one in rig.took(Signal)] == [9]
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9)))
    rig.put(Resume())

    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks["t"].error == "did not end by signal 2 and was killed"


def test_a_program_that_obeys_its_stop_signal_is_not_killed() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.transit(TaskEvent.STOP, id="c3")
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=130)))
    rig.put(Resume())
    rig.out.clear()
    rig.transit(TaskEvent.START, id="c4", run_number="5")
    rig.put(ProcessStarted(task="t", pid=6))

    rig.wait(20.0)

    assert rig.took(Signal) == []
    assert rig.engine.tasks["t"].state is TaskState.RUNNING


def test_a_program_is_killed_before_its_stop_is_late() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2, stop_s=60.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.transit(TaskEvent.STOP, id="c3")
    rig.out.clear()

    rig.wait(29.5)

    assert [one.number for one in rig.took(Signal)] == [9]


def test_a_program_that_is_ended_for_good_gets_its_own_signal_first() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=10)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.out.clear()
    kill(rig)

    rig.wait(20.0)

    assert [one.number for one in rig.took(Signal)][:4] == [10, 15, 2, 9]


def test_a_clean_end_may_be_called_an_error() -> None:
    rig = Rig()
    run_basic(rig, exit_is_error=True)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=0)))
    rig.put(Resume())

    status = last_status(rig)
    assert status.state is TaskState.ERROR
    assert status.error == "exited with code 0 by itself, and its template calls that an error"


@pytest.mark.parametrize(("code", "state"), [(0, TaskState.RUNNING), (3, TaskState.ERROR)])
def test_a_program_that_ends_by_itself_is_at_the_end_of_its_stream_or_in_error(code: int, state: TaskState) -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2")
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())
    rig.out.clear()

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=code)))
    rig.put(Resume())

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.state, status.end_of_stream) == (state, True)


def test_a_program_that_cannot_be_started_fails_the_start() -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2")
    rig.out.clear()

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.LAUNCH_FAILED, text="no such file")))
    rig.put(Resume())

    assert rig.took(node.Answer)[0].failed[0].reason == "could not be started: no such file"


def test_a_hook_runs_once_however_often_it_is_triggered() -> None:
    rig = Rig()
    rig.out.clear()
    hook(rig)
    hook(rig)
    assert len(rig.took(Spawn)) == 1
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    rig.put(Resume())
    (answer,) = rig.took(node.Answer)
    assert answer.done == ("t",)

    hook(rig)
    (again,) = rig.took(node.Answer)
    assert again.done == ("t",)


def test_a_hook_that_takes_too_long_is_killed_and_says_so() -> None:
    rig = Rig()
    hook(rig, timeout_s=2.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.wait(3.0)
    assert [one.number for one in rig.took(Signal)] == [9]

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9), last_log="still busy"))
    rig.put(Resume())

    (failure,) = rig.took(node.Answer)[0].failed
    assert (failure.reason, failure.last_log) == ("timed out after 2 s", "still busy")
