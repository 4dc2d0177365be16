"""The story that events tell: lines, durations, calls, problems."""

from __future__ import annotations

from ecsd.coconut.chronicle import Chronicle, counted
from ecsd.coconut.documents import task_document
from libecs.fsm import TaskState
from libecs.io.runrecord import run_document
from libecs.wire.info import Event, RunCondition, RunInfo, TaskInfo
from libecs.wire.node import Exit, ExitCause, Phase


def event(kind: str, ms: int = 0, **fields: object) -> Event:
    return Event(sequence=1, unix_ms=ms, kind=kind, environment="e", **fields)  # type: ignore[arg-type]


def tell(*events: Event) -> tuple[Chronicle, list[str]]:
    chronicle = Chronicle()
    return chronicle, [line for line in map(chronicle.take, events) if line]


def test_states_tell_how_many_tasks_are_where() -> None:
    _, lines = tell(
        event("tasks", tasks=(("a", TaskState.STANDBY), ("b", TaskState.STANDBY))),
        event("environment.state", state="DEPLOYED"),
        event("tasks", tasks=(("a", TaskState.CONFIGURED),)),
        event("environment.state", state="ERROR", text="critical task b died"),
    )

    assert lines == [
        "DEPLOYED    2 tasks: 2 STANDBY",
        "ERROR       2 tasks: 1 CONFIGURED, 1 STANDBY  critical task b died",
    ]


def test_transitions_have_durations() -> None:
    chronicle, lines = tell(
        event("transition.begin", 1000, transition="CONFIGURE"),
        event("transition.step", 1100, transition="CONFIGURE", text="tasks: CONFIGURE"),
        event("transition.end", 1250, transition="CONFIGURE"),
    )

    assert lines == ["  CONFIGURE …", "  CONFIGURE done in 0.250 s"]
    assert chronicle.transitions == [{"event": "CONFIGURE", "seconds": 0.25, "ok": True}]


def test_calls_are_recorded_with_moment_await_and_run() -> None:
    chronicle, lines = tell(
        event("call.begin", 0, moment="before_START_ACTIVITY+100", await_="after_START_ACTIVITY-10", role="r.odc",
              name="odc.Start", run_number=3),
        event("call.end", 500, role="r.odc", name="odc.Start", ok=False, text="no answer within 60 s"),
        event("call.end", 600, role="r.other", name="odc.Stop"),
    )  # fmt: skip

    assert chronicle.calls == [
        {
            "moment": "before_START_ACTIVITY+100",
            "await": "after_START_ACTIVITY-10",
            "role": "r.odc",
            "call": "odc.Start",
            "run_number": 3,
            "ok": False,
            "seconds": 0.5,
            "error": "no answer within 60 s",
        }
    ]
    assert lines == ["  odc.Start of r.odc failed: no answer within 60 s"]
    assert chronicle.problems == ["r.odc: no answer within 60 s"]


def test_problems_and_other_news_have_lines() -> None:
    chronicle, lines = tell(
        event("task.lost", role="r.a", ok=False, text="on node n killed by signal 9"),
        event("transition.step", role="r.b", ok=False, text="did not answer"),
        event("hook.end", role="r.c", ok=False),
        event("hook.end", role="r.c"),
        event("run.start", run_number=5),
        event("run.end", run_number=5, text="DURATION"),
        event("node", name="node1", state="CONNECTED", text="127.0.0.1"),
        event("task.stalled", ok=False, role="r.b", text="no answer for 3 s"),
        event("task.stalled", role="r.b"),
        event("task.end_of_stream", role="r.b"),
    )

    assert lines == [
        "  lost r.a (not critical) on node n killed by signal 9",
        "  r.b: did not answer",
        "  hook of r.c failed: see the log of its task",
        "  run 5 ended: DURATION",
        "  node  node1  CONNECTED  127.0.0.1",
        "  r.b stalled  no answer for 3 s",
        "  r.b answers again",
        "  r.b has no more data",
    ]
    assert chronicle.problems == ["r.a: on node n killed by signal 9", "r.b: did not answer"]


def test_no_tasks_no_words() -> None:
    assert counted([]) == ""
    assert counted(["RUNNING"]) == "1 task: 1 RUNNING"


def test_documents_have_names_instead_of_numbers() -> None:
    task = TaskInfo(
        task="t", role="r", class_name="c", mode="direct", node="n", critical=True, phase=Phase.EXITED,
        state=TaskState.ERROR, exit=Exit(cause=ExitCause.SIGNALED, signal=9),
    )  # fmt: skip
    run = RunInfo(number=3, environment="e", start_ms=5, condition=RunCondition.GOOD, variables={"b": "2", "a": "1"})

    document = task_document(task)
    assert (document["phase"], document["state"], document["exit"]) == ("EXITED", "ERROR", "killed by signal 9")
    document = run_document(run)
    assert (document["condition"], document["start_ms"], document["end_ms"]) == ("GOOD", 5, None)
    assert list(document["variables"]) == ["a", "b"]
