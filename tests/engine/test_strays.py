"""Tasks that leave the state of their environment though nobody has told them to."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from libecs.fsm import Mode, TaskState
from libecs.wire.info import Event, RunCondition
from libecs.wire.node import Phase
from libecs.workflow.role import TaskClass, Workflow
from tests.engine.bench import Bench
from tests.engine.flows import group, task, workflow


def started(*roles: Any, nodes: tuple[str, ...] = ("n1",)) -> Bench:
    """Take a run of a workflow, or of one of these roles."""
    bench = Bench(roles[0] if isinstance(roles[0], Workflow) else workflow(*roles), nodes)
    bench.create()
    bench.control("START_ACTIVITY")
    assert bench.state.name == "RUNNING"
    return bench


def told(bench: Bench) -> list[Event]:
    return [event for event in bench.events if event.kind == "task.inconsistent"]


@pytest.mark.parametrize("state", [TaskState.CONFIGURED, TaskState.STANDBY])
@pytest.mark.parametrize("mode", [Mode.DIRECT, Mode.FAIRMQ])
def test_a_critical_task_that_leaves_its_run_takes_the_environment_to_error(state: TaskState, mode: Mode) -> None:
    bench = started(task("a", mode=mode), task("b"))

    bench.change("w.a", state=state)
    assert bench.state.name == "RUNNING"
    assert not told(bench)
    bench.wait(0.5)

    assert bench.state.name == "ERROR"
    (event,) = told(bench)
    assert (event.role, event.state, event.ok, event.run_number) == ("w.a", state.name, False, 1)
    assert event.text == f"on node n1 is {state.name} by itself, and its environment is RUNNING"
    run = bench.run_info(1)
    assert run.condition is RunCondition.FAILED
    assert run.cause == f"critical task w.a {event.text}"
    assert bench.task("w.b").state is TaskState.CONFIGURED


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.STANDBY])
def test_a_critical_task_that_leaves_configured_takes_the_environment_to_error(state: TaskState) -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()

    bench.change("w.a", state=state)
    bench.wait(0.5)

    assert bench.state.name == "ERROR"
    assert told(bench)[0].text.endswith("and its environment is CONFIGURED")


def test_many_that_leave_are_one_error() -> None:
    bench = started(task("a"), task("b"), task("c"))

    for role in ("w.a", "w.b"):
        bench.change(role, state=TaskState.CONFIGURED)
    bench.wait(0.5)

    assert [event.role for event in told(bench)] == ["w.a", "w.b"]
    assert bench.states().count("ERROR") == 1
    assert bench.show().cause.endswith("(and 1 more)")


def test_a_task_that_is_back_within_its_grace_was_never_away() -> None:
    bench = started(task("a"))

    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(0.4, step=0.1)
    bench.change("w.a", state=TaskState.RUNNING)
    bench.wait(2.0)

    assert bench.state.name == "RUNNING"
    assert not told(bench)


def test_a_non_critical_task_that_leaves_degrades_the_run_until_it_is_back() -> None:
    bench = started(task("a", critical=False), task("b"))

    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)
    assert bench.state.name == "RUNNING"
    (span,) = bench.run_info(1).degraded
    assert span.reason == "inconsistent: on node n1 is CONFIGURED by itself, and its environment is RUNNING"
    assert not span.end_ms

    bench.change("w.a", state=TaskState.RUNNING)
    (span,) = bench.run_info(1).degraded
    assert span.end_ms
    assert [(event.ok, event.state) for event in told(bench)] == [(False, "CONFIGURED"), (True, "RUNNING")]
    assert bench.run_info(1).condition is RunCondition.DEGRADED


def test_a_non_critical_task_may_leave_configured() -> None:
    bench = Bench(workflow(task("a", critical=False), task("b")))
    bench.create()

    bench.change("w.a", state=TaskState.STANDBY)
    bench.wait(1.0)

    assert bench.state.name == "CONFIGURED"
    assert [event.role for event in told(bench)] == ["w.a"]


def test_a_task_that_pauses_degrades_the_run_and_does_not_end_it() -> None:
    bench = started(task("a"))

    bench.change("w.a", state=TaskState.PAUSED)
    bench.wait(1.0)
    assert bench.state.name == "RUNNING"
    assert not bench.run_info(1).degraded[0].end_ms

    bench.change("w.a", state=TaskState.RUNNING)
    assert bench.run_info(1).degraded[0].end_ms


@pytest.mark.parametrize("first", ["state", "stream"])
def test_a_task_whose_data_end_may_go_back_by_itself(first: str) -> None:
    """Which of the two it says first does not matter."""
    bench = started(task("a"), task("b", mode=Mode.BASIC))
    changes: list[dict[str, Any]] = [{"state": TaskState.CONFIGURED}, {"end_of_stream": True}]

    for change in changes if first == "state" else reversed(changes):
        bench.change("w.a", **change)
        bench.wait(0.3, step=0.1)
    bench.wait(2.0)
    assert bench.state.name == "RUNNING"
    assert not told(bench)

    bench.change("w.b", end_of_stream=True)
    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "END_OF_STREAM"


def test_the_end_of_data_leads_to_configured_and_no_further() -> None:
    bench = started(task("a"), task("b", mode=Mode.BASIC))

    bench.change("w.a", state=TaskState.STANDBY, end_of_stream=True)
    bench.wait(1.0)

    assert bench.state.name == "ERROR"


def test_what_is_not_known_is_not_judged() -> None:
    bench = started(task("a"))

    bench.change("w.a", state=TaskState.UNKNOWN, phase=Phase.SUSPECT)
    bench.wait(3.0)

    assert bench.state.name == "RUNNING"
    assert not told(bench)


def test_a_task_of_a_silent_node_is_judged_when_the_node_is_back() -> None:
    bench = started(task("a", critical=False), task("b", node="n2"), nodes=("n1", "n2"))
    name = bench.nodes["n1"].find("w.a")
    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)
    bench.nodes["n1"].silent = True
    bench.wait(4.0)
    assert [span.reason.partition(":")[0] for span in bench.run_info(1).degraded] == ["inconsistent", "unknown"]

    bench.nodes["n1"].silent = False
    bench.send("n1", bench.nodes["n1"].update(name))
    bench.wait(1.0)

    reasons = [span.reason.partition(":")[0] for span in bench.run_info(1).degraded]
    assert reasons == ["inconsistent", "unknown", "inconsistent"]
    assert [bool(span.end_ms) for span in bench.run_info(1).degraded] == [True, True, False]


def test_a_task_that_did_not_follow_is_told_once_and_watched_when_it_has() -> None:
    bench = Bench(workflow(task("a", critical=False), task("b")))
    bench.create()
    bench.nodes["n1"].refuse["w.a", "START"] = "no"
    bench.control("START_ACTIVITY")
    bench.wait(2.0)
    assert bench.state.name == "RUNNING"
    assert not told(bench)

    bench.change("w.a", state=TaskState.RUNNING)
    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)
    assert [event.role for event in told(bench)] == ["w.a"]


def test_nobody_is_judged_while_something_goes_on() -> None:
    bench = started(task("a", node="n1"), task("b", node="n2"), nodes=("n1", "n2"))
    bench.nodes["n2"].deaf = True
    assert bench.control("STOP_ACTIVITY") is None

    bench.wait(5.0)
    assert bench.task("w.a").state is TaskState.CONFIGURED
    assert not told(bench)
    bench.nodes["n2"].deaf = False
    bench.wait(10.0)

    assert bench.state.name == "CONFIGURED"
    assert not told(bench)


def test_an_excluded_task_may_be_anywhere() -> None:
    bench = started(task("a"), task("b"))
    bench.modify(exclude=("w.a",))
    bench.wait(1.0)

    assert bench.state.name == "RUNNING"
    assert not told(bench)


def test_a_group_does_without_a_task_that_leaves() -> None:
    flow = workflow(group("g"), task("g.a"), task("g.b"), task("g.c"))
    roles = tuple(attrs.evolve(role, min=2) if role.path == "w.g" else role for role in flow.roles)
    bench = started(attrs.evolve(flow, roles=roles))

    bench.change("w.g.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)
    assert bench.state.name == "RUNNING"
    assert len(bench.run_info(1).degraded) == 1

    bench.change("w.g.b", state=TaskState.CONFIGURED)
    bench.wait(1.0)
    assert bench.state.name == "ERROR"


def test_a_class_that_may_be_dropped_does_not_end_the_run() -> None:
    flow = workflow(task("a"), task("b"))
    dropped = TaskClass(name="DIRECT", mode=Mode.DIRECT, command="/bin/true", on_exit="drop")
    bench = started(attrs.evolve(flow, classes={**flow.classes, "DIRECT": dropped}))

    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)

    assert bench.state.name == "RUNNING"
    assert len(bench.run_info(1).degraded) == 1


def test_a_task_that_left_while_the_core_was_away_is_found() -> None:
    bench = started(task("a"), task("b"))
    one = bench.nodes["n1"]
    name = one.find("w.a")
    one.tasks[name] = attrs.evolve(one.tasks[name], state=TaskState.CONFIGURED)

    bench.restart()
    bench.wait(1.0)

    assert bench.state.name == "ERROR"
    assert [event.role for event in told(bench)] == ["w.a"]


def test_what_was_told_before_a_restart_is_not_told_again_and_ends_after_it() -> None:
    bench = started(task("a", critical=False), task("b"))
    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)

    bench.restart()
    bench.wait(2.0)
    assert len(told(bench)) == 1
    assert len(bench.run_info(1).degraded) == 1

    bench.restart()
    bench.change("w.a", state=TaskState.RUNNING)
    (span,) = bench.run_info(1).degraded
    assert span.end_ms
    assert told(bench)[-1].ok


def test_what_was_told_before_a_modification_is_not_told_again() -> None:
    bench = started(task("a", critical=False), task("b"), task("c"))
    bench.change("w.a", state=TaskState.CONFIGURED)
    bench.wait(1.0)

    bench.modify(exclude=("w.c",))
    bench.wait(2.0)

    assert len(told(bench)) == 1


def test_a_pause_of_our_own_is_no_grace_that_is_over() -> None:
    bench = started(task("a"))
    bench.change("w.a", state=TaskState.CONFIGURED)

    bench.wait(8.0, step=8.0)
    bench.change("w.a", state=TaskState.RUNNING)
    bench.wait(1.0)

    assert bench.state.name == "RUNNING"
    assert not told(bench)
