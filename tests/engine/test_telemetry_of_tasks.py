"""What tasks tell goes to the core once a second, and what they told in a run before their stop is answered."""

from __future__ import annotations

from libecs.engine.effects import Disconnected, Output, ProcessEnded, ProcessStarted, Received, Resume, Send
from libecs.engine.outbox import CORE, TELEMETRY
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Exit, ExitCause
from libecs.wire.telemetry import LogLine, Severity
from tests.engine.rig import Rig, kill, result


def metric(value: float = 1.0) -> task.Metric:
    return task.Metric(name="events", unit="", n=1, sum=value, min=value, max=value, last=value, unix_ms=5)


def log(text: str, severity: Severity = Severity.INFO) -> task.Log:
    return task.Log(severity=severity, text=text, unix_ms=5)


def written(text: str, severity: Severity = Severity.INFO, dropped: int = 0) -> Output:
    line = LogLine(severity=severity, text=text, unix_ms=5, stream="stderr")
    return Output(task="t", lines=(line,), dropped=dropped)


def bulletins(rig: Rig) -> list[node.Telemetry]:
    sent = [one for one in rig.out if isinstance(one, Send) and isinstance(one.message, node.Telemetry)]
    assert {one.peer for one in sent} <= {TELEMETRY}
    return rig.took(node.Telemetry)


def running(**fields: object) -> Rig:
    rig = Rig()
    rig.launch(**fields)  # type: ignore[arg-type]
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.transit(TaskEvent.START, id="s1", run_number="4")
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=3))
    rig.task(result("s1", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.out.clear()
    return rig


def test_many_messages_become_one_a_second() -> None:
    rig = running()
    for _ in range(3):
        for _ in range(10):
            rig.wait(0.1)
            rig.put(Received("t", metric()))

    sent = bulletins(rig)

    assert 3 <= len(sent) <= 4
    assert all(entry.run == 4 for one in sent for entry in one.tasks)
    rig.wait(1.0)
    total = sum(span.n for one in (*sent, *bulletins(rig)) for entry in one.tasks for span in entry.metrics)
    assert total == 30


def test_silent_tasks_cost_no_bulletin() -> None:
    rig = running()

    rig.wait(10.0)

    assert bulletins(rig) == []


def test_what_was_told_in_a_run_is_sent_before_its_stop_is_answered() -> None:
    rig = running()
    rig.put(Received("t", metric()))
    rig.wait(2.0)
    rig.out.clear()
    rig.transit(TaskEvent.STOP, id="s2")
    rig.put(Received("t", metric(7.0)))
    rig.put(Received("t", task.StateChanged(state=TaskState.CONFIGURED, sequence=4)))
    rig.put(Received("t", metric(8.0)))
    rig.out.clear()

    rig.task(result("s2", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))

    sent = [one.message for one in rig.out if isinstance(one, Send)]
    assert [type(one) for one in sent] == [node.Telemetry, node.Answer]
    (entry,) = sent[0].tasks  # type: ignore[attr-defined]
    assert (entry.run, entry.metrics[0].n, entry.metrics[0].sum) == (4, 2, 15.0)


def test_outside_of_a_run_it_belongs_to_none() -> None:
    rig = Rig()
    rig.launch()
    rig.task(log("\x1b[1mready\x1b[0m"))

    rig.wait(1.0)

    (one,) = bulletins(rig)
    (entry,) = one.tasks
    assert (entry.run, entry.lines) == (0, (LogLine(severity=Severity.INFO, text="ready", unix_ms=5),))


def test_without_a_core_it_waits_in_bounds_and_comes_when_there_is_one() -> None:
    rig = running()
    rig.put(Disconnected(CORE))
    for _ in range(500):
        rig.put(Received("t", metric()))
        rig.put(Received("t", log("x")))
    rig.wait(60.0)
    assert bulletins(rig) == []

    rig.core(node.Welcome(version=1, epoch=5, session=10, instance="i"))
    rig.wait(0.5)

    (one,) = bulletins(rig)
    (entry,) = one.tasks
    assert one.session == 10
    assert (entry.metrics[0].n, len(entry.lines), entry.dropped) == (500, 200, 300)


def test_a_line_of_error_is_the_last_log_of_a_task() -> None:
    rig = running()
    rig.put(written("all is well"))
    rig.put(written("no card", Severity.ERROR, dropped=3))
    rig.put(written("trying again"))

    rig.wait(1.5)
    rig.put(Resume())

    updates = [one for update in rig.out if isinstance(update, Send) for one in getattr(update.message, "tasks", ())]
    assert [one.last_log for one in updates if isinstance(one, node.TaskStatus)] == ["no card"]
    (one,) = bulletins(rig)
    assert one.tasks[0].dropped == 3


def test_a_complaint_just_before_a_stop_is_told_with_it() -> None:
    rig = running()
    rig.transit(TaskEvent.STOP, id="s2")
    rig.put(Received("t", log("valve stuck", Severity.ERROR)))
    rig.out.clear()

    rig.task(result("s2", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))

    (update,) = rig.took(node.Update)
    assert update.tasks[0].last_log == "valve stuck"


def test_the_last_words_of_a_program_are_in_its_run_and_before_its_end() -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2", run_number="4")
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())
    rig.out.clear()

    rig.put(written("ERROR no space", Severity.ERROR))
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=3), last_log="bye"))
    rig.put(Resume())

    sent = [one.message for one in rig.out if isinstance(one, Send)]
    assert [type(one) for one in sent] == [node.Telemetry, node.Update]
    assert sent[0].tasks[0].run == 4  # type: ignore[attr-defined]
    assert sent[1].tasks[0].last_log == "ERROR no space"  # type: ignore[attr-defined]


def test_a_complaint_of_long_ago_is_not_the_last_word() -> None:
    rig = running()
    rig.put(written("ERROR once", Severity.ERROR))
    rig.wait(10.0)

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=11), last_log="segmentation fault"))

    assert rig.engine.tasks["t"].last_log == "segmentation fault"


def test_a_task_that_is_forgotten_tells_what_it_has_told() -> None:
    rig = running()
    rig.task(task.StateChanged(state=TaskState.STANDBY, sequence=4))
    kill(rig)
    rig.out.clear()
    rig.put(Received("t", log("good bye")))
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    rig.put(Resume())

    (one,) = bulletins(rig)
    assert one.tasks[0].lines[0].text == "good bye"
    rig.put(written("too late"))
    rig.wait(2.0)
    assert bulletins(rig) == []
