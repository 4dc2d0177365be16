"""Requests that touch no environment, or single tasks of one: work of the host, drained nodes, tasks, notes."""

from __future__ import annotations

import json

import attrs
import pytest

from libecs.access import Principal, Role
from libecs.engine.core import CoreSettings
from libecs.engine.effects import DoWork, WorkDone
from libecs.fsm import EnvState, TaskState
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.wire.info import RunInfo
from tests.engine.bench import Bench
from tests.engine.flows import group, task, workflow

ANNA = Principal(name="anna", role=Role.ADMIN)


def end(told: list[object]) -> Finished:
    assert isinstance(told[-1], Finished)
    return told[-1]


# the host


def test_work_is_done_by_the_host_once_and_its_end_is_told() -> None:
    bench = Bench(workflow(task("a")))
    message = client.Work(operation="w", name="repository.refresh", arguments={"name": "cw"})

    for _ in range(3):
        (told,) = bench.ask(message, "c", ANNA)
        assert isinstance(told, client.Accepted)

    (asked,) = bench.asked
    assert asked == DoWork(work=attrs.evolve(message, requester="anna"), requester="anna")
    for text in ('{"commit": "abc"}', "again"):
        bench.queue.append(WorkDone(operation="w", message=text))
        bench.run()
    assert bench.answers["w"].message == '{"commit": "abc"}'
    assert [line.decision for line in bench.audit] == ["accepted", "done"]


def test_work_that_fails_says_why() -> None:
    bench = Bench(workflow(task("a")))
    bench.ask(client.Work(operation="w", name="repository.add"), "c", ANNA)

    bench.queue.append(WorkDone(operation="w", code="E_NOT_FOUND", message="no such place", hint="look"))
    bench.run()

    assert (bench.answers["w"].code, bench.answers["w"].message) == ("E_NOT_FOUND", "no such place")
    assert bench.audit[-1].decision == "failed"


def test_work_that_was_going_on_when_the_core_ended_has_failed_in_its_next_life() -> None:
    bench = Bench(workflow(task("a")))
    message = client.Work(operation="w", name="repository.refresh")
    bench.ask(message, "c", ANNA)

    bench.restart()
    (told,) = bench.ask(message, "c", ANNA)

    assert isinstance(told, Finished)
    assert told.code == "E_FAILED"
    assert "the core was restarted while Work.repository.refresh was going on" in told.message
    assert len(bench.asked) == 1
    bench.queue.append(WorkDone(operation="w", message="late"))
    bench.run()
    assert bench.ask(message, "c", ANNA) == [told]


def test_the_end_of_work_that_nobody_asked_for_is_no_news() -> None:
    bench = Bench(workflow(task("a")))
    environment = bench.create()
    bench.nodes["n1"].deaf = True
    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"))

    for name in ("none", "go"):
        bench.queue.append(WorkDone(operation=name))
        bench.run()

    assert "go" not in bench.answers


# nodes


def test_nothing_new_is_placed_on_a_drained_node_and_what_runs_there_goes_on() -> None:
    bench = Bench(workflow(task("a")), nodes=("n1", "n2"))
    first = bench.create()
    (place,) = {placed.node for placed in bench.core.environments[first].cast.placed.values()}

    done = end(bench.ask(client.Drain(operation="d", node=place, reason="new disk"), "c", ANNA))
    second = bench.create()

    assert json.loads(done.message) == {"node": place, "drained": True}
    assert {placed.node for placed in bench.core.environments[second].cast.placed.values()} == {"n1", "n2"} - {place}
    assert bench.control("START_ACTIVITY", first) is not None
    assert bench.core.environments[first].state is EnvState.RUNNING
    (told,) = bench.ask(client.ShowNodes(request="n"))
    assert isinstance(told, client.Nodes)
    assert {info.node: (info.drained, info.reason) for info in told.nodes}[place] == (True, "new disk")
    assert [(event.state, event.text) for event in bench.events if event.state == "DRAINED"] == [
        ("DRAINED", "by anna: new disk")
    ]


def test_a_node_stays_drained_over_a_restart_until_it_is_given_back() -> None:
    bench = Bench(workflow(task("a")))
    bench.ask(client.Drain(operation="d", node="n1"), "c", ANNA)
    bench.restart()

    bench.create()
    assert bench.answers["op1"].code != ""
    bench.ask(client.Drain(operation="e", node="n1", on=False), "c", ANNA)
    bench.ask(client.Drain(operation="f", node="n1", on=False), "c", ANNA)
    bench.create()

    assert bench.answers["op2"].code == ""
    assert [event.state for event in bench.events if event.state.endswith("DRAINED")] == ["DRAINED", "UNDRAINED"]


def test_a_node_that_nobody_knows_is_not_drained() -> None:
    bench = Bench(workflow(task("a")))

    done = end(bench.ask(client.Drain(operation="d", node="flp99"), "c", ANNA))

    assert done.code == "E_NOT_FOUND"
    assert "'flp99' (there are: n1)" in done.message


# tasks


def with_orphans() -> Bench:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.records = {"core": bench.records["core"]}
    bench.restart()
    return bench


def test_tasks_of_nobody_are_ended() -> None:
    bench = with_orphans()
    one = bench.nodes["n1"]
    first = one.find("w.a")

    done = end(bench.ask(client.EndTasks(operation="1", tasks=(first,)), "c", ANNA))
    assert json.loads(done.message) == {"tasks": [first]}
    assert list(one.tasks) == [one.find("w.b")]
    end(bench.ask(client.EndTasks(operation="2"), "c", ANNA))

    assert one.tasks == {}
    (told,) = bench.ask(client.ShowTasks(request="t"))
    assert isinstance(told, client.Tasks)
    assert told.tasks == ()
    assert not bench.records["condemned"]


def test_tasks_that_were_to_end_end_when_their_node_comes_back() -> None:
    bench = with_orphans()
    one = bench.nodes["n1"]
    one.silent = True
    end(bench.ask(client.EndTasks(operation="1"), "c", ANNA))
    assert len(one.tasks) == 2
    one.silent = False

    bench.restart()

    assert one.tasks == {}
    assert not bench.records["condemned"]


def test_a_task_of_an_environment_is_ended_by_force_alone_and_that_is_a_death() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    one = bench.nodes["n1"]
    critical, other = one.find("w.a"), one.find("w.b")

    refused = end(bench.ask(client.EndTasks(operation="1", tasks=(other,)), "c", ANNA))
    assert refused.code == "E_CONFLICT"
    assert "w.b of environment" in refused.message
    assert end(bench.ask(client.EndTasks(operation="2", tasks=(other,), force=True), "c", ANNA)).code == ""
    assert bench.state.name == "CONFIGURED"
    assert end(bench.ask(client.EndTasks(operation="3", tasks=(critical,), force=True), "c", ANNA)).code == ""

    assert bench.state.name == "ERROR"
    assert bench.show().cause == "critical task w.a on node n1 was ended by force"


def test_tasks_that_are_ended_by_force_count_in_their_group_as_dead() -> None:
    """A group that can do without one member can't do without two, however they ended."""
    made = workflow(group("g"), task("g.a"), task("g.b"), task("g.c"), task("d"))
    bench = Bench(attrs.evolve(made, roles=(made.roles[0], attrs.evolve(made.roles[1], min=2), *made.roles[2:])))
    bench.create()
    bench.control("START_ACTIVITY")
    one = bench.nodes["n1"]
    first, second = one.find("w.g.a"), one.find("w.g.b")

    end(bench.ask(client.EndTasks(operation="1", tasks=(first,), force=True), "c", ANNA))
    assert bench.state.name == "RUNNING"
    assert {info.role: info.state for info in bench.show().tasks}["w.g.a"] is TaskState.ERROR
    end(bench.ask(client.EndTasks(operation="2", tasks=(second,), force=True), "c", ANNA))

    assert bench.state.name == "ERROR"
    assert bench.show().cause == "critical task w.g.b on node n1 was ended by force"


def test_one_unknown_task_ends_none() -> None:
    bench = with_orphans()

    done = end(bench.ask(client.EndTasks(operation="1", tasks=(bench.nodes["n1"].find("w.a"), "none")), "c", ANNA))

    assert done.code == "E_NOT_FOUND"
    assert len(bench.nodes["n1"].tasks) == 2


# runs


def a_run() -> Bench:
    bench = Bench(workflow(task("a"), variables={"detectors": "its"}))
    bench.create(x="1")
    bench.control("START_ACTIVITY")
    return bench


def test_a_run_says_what_was_asked_for_and_where_it_was() -> None:
    bench = a_run()

    run = bench.run_info(1)

    assert (run.request, run.user_variables, run.detectors, run.placement) == (
        "test",
        {"x": "1"},
        ("its",),
        {"w.a": "n1"},
    )
    bench.restart()
    assert bench.run_info(1).placement == {"w.a": "n1"}


def test_notes_and_tags_are_written_about_a_run_while_it_goes_on_and_after_it() -> None:
    bench = a_run()
    author = Principal(name="bookkeeping", role=Role.SERVICE)
    bench.ask(client.Annotate(operation="1", run=1, note="beam lost", tags={"good": "no", "x": "y"}), "c", author)
    bench.control("STOP_ACTIVITY")
    saved = len(bench.saved)

    done = end(bench.ask(client.Annotate(operation="2", run=1, tags={"good": "yes", "x": ""}), "c", ANNA))

    assert json.loads(done.message) == {"run": 1, "notes": 1, "tags": {"good": "yes"}}
    run = bench.run_info(1)
    assert [(note.author, note.text) for note in run.notes] == [("bookkeeping", "beam lost")]
    assert run.tags == {"good": "yes"}
    assert len(bench.saved) == saved + 1
    assert bench.saved[-1].tags == {"good": "yes"}
    bench.restart()
    assert bench.run_info(1).notes == run.notes
    assert [event.run_number for event in bench.events if event.kind == "run.note"] == [1, 1]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (client.Annotate(operation="x", run=9, note="n"), "E_NOT_FOUND"),
        (client.Annotate(operation="x", run=1), "E_USAGE"),
        (client.Annotate(operation="x", run=1, note="n" * 5000), "E_USAGE"),
        (client.Annotate(operation="x", run=1, tags={"": "y"}), "E_USAGE"),
        (client.Annotate(operation="x", run=1, tags={"t": "y" * 257}), "E_USAGE"),
        (client.Annotate(operation="x", run=1, tags={f"t{n}": "y" for n in range(65)}), "E_USAGE"),
    ],
)
def test_what_cant_be_written_is_refused(message: client.Annotate, code: str) -> None:
    bench = a_run()

    assert end(bench.ask(message, "c", ANNA)).code == code
    assert bench.run_info(1).tags == {}


def test_notes_are_bounded() -> None:
    bench = a_run()
    for number in range(200):
        bench.ask(client.Annotate(operation=f"{number}", run=1, note="n"), "c", ANNA)

    assert end(bench.ask(client.Annotate(operation="x", run=1, note="n"), "c", ANNA)).code == "E_USAGE"


def test_old_runs_are_forgotten_with_all_that_is_known_of_them() -> None:
    bench = Bench(workflow(task("a")), settings=CoreSettings(instance="test", keep_runs=3, keep_metrics=2))
    bench.create()
    for _ in range(6):
        bench.control("START_ACTIVITY")
        bench.control("STOP_ACTIVITY")

    assert list(bench.core.runbook.runs) == [4, 5, 6]
    for table in ("run", "run.configuration", "run.placement"):
        assert sorted(bench.records[table]) == ["4", "5", "6"]
    bench.restart()
    assert list(bench.core.runbook.runs) == [4, 5, 6]


def test_a_run_that_goes_on_is_not_forgotten_however_old_it_is() -> None:
    bench = Bench(workflow(task("a")), settings=CoreSettings(instance="test", keep_runs=2))
    old = bench.create()
    bench.control("START_ACTIVITY", old)
    new = bench.create()
    for _ in range(4):
        bench.control("START_ACTIVITY", new)
        bench.control("STOP_ACTIVITY", new)

    assert 1 in bench.core.runbook.runs
    assert len(bench.core.runbook.runs) == 2


def test_a_run_that_no_answer_can_hold_leaves_out_what_is_longest() -> None:
    from libecs.engine.runbook import ANSWER_BYTES, fitting

    big = {f"w.task{n}": "n" * 100 for n in range(ANSWER_BYTES // 160)}
    run = RunInfo(number=1, environment="e", configuration=big, placement=big)

    fits = fitting(run)

    assert (len(fits.configuration), fits.placement) == (len(big), {})
    huge = fitting(attrs.evolve(run, configuration={**big, **{f"{name}x": text for name, text in big.items()}}))
    assert (huge.configuration, huge.placement) == ({}, {})


def test_a_task_of_a_busy_environment_is_not_ended_by_force() -> None:
    """It may be launched just now: the next life of the core would go on with that."""
    bench = Bench(workflow(task("a")))
    bench.nodes["n1"].deaf = True
    bench.ask(client.Create(operation="1", workflow="w"))
    name = bench.task("w.a").task

    answers = bench.ask(client.EndTasks(operation="2", tasks=(name,), force=True))

    (refused,) = [one for one in answers if isinstance(one, client.Finished)]
    assert refused.code == "E_CONFLICT"
    assert "busy" in refused.message
