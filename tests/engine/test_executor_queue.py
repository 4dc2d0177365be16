"""What an executor does with a task that is in the middle of something, or gets another use; and reading its output."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine.effects import OutputTail, Persist, ProcessEnded, ReadTail, Spawn, Survivor
from libecs.engine.executor import MAX_TAIL
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Exit, ExitCause, Phase
from tests.engine.rig import Rig, result, spec


def busy(event: TaskEvent = TaskEvent.START) -> Rig:
    """A task that works on CONFIGURE or START."""
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE, id="configure")
    if event is TaskEvent.START:
        rig.task(result("configure", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=2))
        rig.transit(TaskEvent.START, id="start")
    rig.out.clear()
    return rig


def answers(rig: Rig) -> list[tuple[str, tuple[str, ...], list[str]]]:
    return [(one.id, one.done, [failure.reason for failure in one.failed]) for one in rig.took(node.Answer)]


def test_stop_waits_for_the_start_that_goes_on() -> None:
    rig = busy()
    rig.transit(TaskEvent.STOP, id="stop")
    assert rig.took(task.Transition) == []

    rig.task(result("start", TaskEvent.START, TaskState.RUNNING, sequence=3))
    (told,) = [one for one in rig.out if getattr(getattr(one, "message", None), "event", None) == TaskEvent.STOP]
    assert told.message.id == "stop"  # type: ignore[union-attr] # it was chosen for having a message
    assert answers(rig) == [("start", ("t",), [])]
    rig.task(result("stop", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))
    assert answers(rig) == [("stop", ("t",), [])]


def test_a_way_back_is_asked_for_once_however_often_it_is_told() -> None:
    rig = busy(TaskEvent.CONFIGURE)
    rig.transit(TaskEvent.RESET, id="reset")
    rig.transit(TaskEvent.RESET, id="reset")
    rig.task(result("configure", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=2))
    rig.out.clear()
    rig.task(result("reset", TaskEvent.RESET, TaskState.STANDBY, sequence=3))
    assert answers(rig) == [("reset", ("t",), [])]
    assert rig.took(task.Transition) == []


def test_the_whole_way_back_waits_in_its_order() -> None:
    rig = busy()
    rig.transit(TaskEvent.STOP, id="stop")
    rig.transit(TaskEvent.RESET, id="reset")
    rig.task(result("start", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.task(result("stop", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))
    rig.task(result("reset", TaskEvent.RESET, TaskState.STANDBY, sequence=5))
    assert [(id, done) for id, done, _ in answers(rig)] == [("start", ("t",)), ("stop", ("t",)), ("reset", ("t",))]
    assert rig.engine.tasks["t"].state is TaskState.STANDBY


def test_no_more_than_a_few_commands_wait() -> None:
    rig = busy()
    for n in range(6):
        rig.transit(TaskEvent.STOP, id=f"stop{n}")
    assert [reasons for _, _, reasons in answers(rig)] == [["is busy with START"], ["is busy with START"]]


def test_what_could_not_begin_in_time_is_said_and_done_all_the_same() -> None:
    rig = busy()
    rig.core(node.Transit(session=9, epoch=5, id="stop", event=TaskEvent.STOP, tasks=("t",), deadline_s=2.0))
    rig.wait(2.5)
    assert answers(rig) == [("stop", (), ["could not begin STOP in time: is busy with START"])]
    rig.task(result("start", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.task(result("stop", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))
    assert rig.engine.tasks["t"].state is TaskState.CONFIGURED
    rig.transit(TaskEvent.STOP, id="stop")
    assert answers(rig)[-1] == ("stop", ("t",), [])


def test_a_late_way_back_has_its_time_anew() -> None:
    rig = busy()
    rig.core(node.Transit(session=9, epoch=5, id="stop", event=TaskEvent.STOP, tasks=("t",), deadline_s=2.0))
    rig.wait(10.0)
    rig.task(result("start", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.out.clear()
    rig.wait(2.5)
    (answer,) = answers(rig)
    assert answer[2] == ["did not finish STOP in time, last state RUNNING"]


def test_what_waits_for_a_task_that_ends_is_answered() -> None:
    rig = busy()
    rig.transit(TaskEvent.STOP, id="stop")
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9)))
    rig.wait(0.1)
    assert [(id, reasons) for id, _, reasons in answers(rig)] == [
        ("start", ["killed by signal 9"]),
        ("stop", ["killed by signal 9"]),
    ]


def test_what_waits_for_a_task_that_is_ended_is_answered() -> None:
    rig = busy()
    rig.transit(TaskEvent.STOP, id="stop")
    rig.core(node.Kill(session=9, epoch=5, id="kill", tasks=("t",)))
    assert [(id, reasons) for id, _, reasons in answers(rig)] == [
        ("start", ["is being ended"]),
        ("stop", ["is being ended"]),
    ]


def test_a_device_that_runs_before_it_has_said_so_is_stopped() -> None:
    """FairMQ: the state comes by itself, the answer to the event may be late."""
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="configure")
    rig.transit(TaskEvent.START, id="start")  # its process is on the way
    rig.out.clear()
    rig.transit(TaskEvent.STOP, id="stop")
    assert answers(rig) == []


# another use


def idle(**fields: object) -> Rig:
    rig = Rig()
    rig.launch(**fields)  # type: ignore[arg-type] # fields of a test, by name
    return rig


def use(rig: Rig, **fields: object) -> None:
    given = {"environment": "f", "role": "w.other", "liveness": True, "exit_s": 3.0, **fields}
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(**given),)))  # type: ignore[arg-type] # fields of a test, by name


def test_a_task_that_is_held_takes_another_use_in_its_process() -> None:
    rig = idle()
    before = rig.engine.tasks["t"].spec
    use(rig)
    assert not rig.took(Spawn)
    held = rig.engine.tasks["t"]
    assert held.spec == attrs.evolve(before, environment="f", role="w.other", liveness=True, exit_s=3.0)
    assert held.held().environment == "f"
    assert held.status().use == "f"
    assert held.pid == 77
    assert "t" in rig.records["task"]


def test_who_asks_for_a_use_hears_that_it_is_taken() -> None:
    rig = idle()
    use(rig)
    (told,) = rig.took(node.Update)
    assert [one.use for one in told.tasks] == ["f"]
    use(rig)
    (told,) = rig.took(node.Update)
    assert [one.use for one in told.tasks] == ["f"]


@pytest.mark.parametrize("event", [TaskEvent.CONFIGURE, TaskEvent.START])
def test_a_task_that_works_takes_no_other_use(event: TaskEvent) -> None:
    rig = busy(event)
    use(rig)
    assert rig.engine.tasks["t"].spec.environment == "e"
    assert rig.engine.tasks["t"].status().use == ""


def test_another_use_survives_the_executor() -> None:
    rig = idle()
    old = rig.engine.tasks["t"].spec
    use(rig)
    again = Rig(rig.records, (Survivor(spec=old, phase=Phase.ACTIVE, pid=77),))
    held = again.engine.tasks["t"]
    assert (held.spec.environment, held.spec.role, held.status().use) == ("f", "w.other", "f")
    assert held.spec.command == old.command


def test_a_use_is_forgotten_with_its_task() -> None:
    rig = idle()
    use(rig)
    rig.core(node.Kill(session=9, epoch=5, id="kill", tasks=("t",)))
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    assert rig.records["task"] == {}

    rig = idle()
    use(rig)
    again = Rig(rig.records)  # the node has lost the process
    assert again.engine.tasks == {}
    assert rig.records["task"] == {}


# the end of what a task wrote


def read(rig: Rig, **fields: object) -> None:
    asked = {"session": 9, "epoch": 5, "id": "r1", "task": "t", "stream": "stdout", "bytes": 100, **fields}
    rig.core(node.ReadOutput(**asked))  # type: ignore[arg-type] # fields of a test, by name


def test_the_end_of_an_output_is_read_and_told() -> None:
    rig = idle()
    read(rig)
    assert rig.took(ReadTail) == [ReadTail(id="r1", task="t", stream="stdout", bytes=100)]
    rig.put(OutputTail(id="r1", task="t", text="last\n", truncated=True))
    assert rig.took(node.OutputRead) == [node.OutputRead(session=9, id="r1", task="t", text="last\n", truncated=True)]


def test_not_more_is_read_than_a_message_holds() -> None:
    rig = idle()
    read(rig, bytes=10**12)
    assert [one.bytes for one in rig.took(ReadTail)] == [MAX_TAIL]
    read(rig, bytes=-5)
    assert [one.bytes for one in rig.took(ReadTail)] == [0]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"task": "x"}, "there is no task x here any more"),
        ({"stream": "log"}, "'log' is no stream of a task: ask for stdout or stderr"),
    ],
)
def test_what_can_not_be_read_is_said(fields: dict[str, str], error: str) -> None:
    rig = idle()
    read(rig, **fields)
    assert not [one for one in rig.out if isinstance(one, ReadTail)]
    assert [one.error for one in rig.took(node.OutputRead)] == [error]


def test_nobody_is_told_without_a_session() -> None:
    rig = idle()
    rig.put(OutputTail(id="r1", task="t", text="x"))
    rig.engine._outbox.session = None
    rig.out.clear()
    rig.put(OutputTail(id="r1", task="t", text="x"))
    assert not rig.out
    assert not [one for one in rig.out if isinstance(one, Persist)]
