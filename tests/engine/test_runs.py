"""The record of a run: what it holds, when it changes, how it survives."""

from __future__ import annotations

import hashlib

import attrs
import pytest

from libecs.engine import spans
from libecs.engine.core import CoreSettings
from libecs.engine.runbook import fitting
from libecs.fsm import EnvState, Mode, TaskEvent
from libecs.wire.client import CLIENT, Runs, ShowRuns
from libecs.wire.info import MetricInfo, RunCondition, RunInfo
from libecs.wire.node import Phase
from libecs.workflow.role import Workflow
from tests.engine.bench import Bench
from tests.engine.flows import call, task, workflow

FOLDER = CoreSettings(instance="test", runs_folder="/data/runs")


def with_class(flow: Workflow, name: str, **fields: object) -> Workflow:
    """Return a workflow one of whose task classes is different."""
    changed = attrs.evolve(flow.classes[name], **fields)  # type: ignore[arg-type]
    return attrs.evolve(flow, classes={**flow.classes, name: changed})


def test_a_record_says_what_the_root_sees_and_what_tasks_were_configured_with() -> None:
    flow = with_class(
        workflow(task("a"), task("b"), task("p", mode=Mode.BASIC), variables={"beam": "on"}),
        "DIRECT",
        properties={"gain": "{{ beam }}"},
    )
    bench = Bench(flow)
    bench.create()
    bench.control("START_ACTIVITY")

    run = bench.run_info(1)

    assert run.variables["beam"] == "on"
    assert run.variables["run_number"] == "1"
    digest = hashlib.sha256(b"gain\0on").hexdigest()
    assert run.configuration == dict.fromkeys(("w.a", "w.b"), digest)  # a basic task has no properties


def test_the_configuration_of_a_run_survives_restarts_before_and_after_its_start() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.restart()
    bench.control("START_ACTIVITY")
    bench.restart()
    bench.control("STOP_ACTIVITY")

    assert list(bench.run_info(1).configuration) == ["w.a"]
    assert bench.saved[-1].configuration == bench.run_info(1).configuration


def test_runs_of_one_configuration_share_its_bytes() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    for _ in range(3):
        bench.control("START_ACTIVITY")
        bench.control("STOP_ACTIVITY")
    bench.restart()

    assert len({id(data) for data in bench.core.runbook._configurations.values()}) == 1


def test_a_run_has_a_folder_that_tasks_hooks_and_the_record_are_told() -> None:
    bench = Bench(workflow(task("a"), call("c", "x.See()", "before_START_ACTIVITY+1")), settings=FOLDER)
    bench.create()
    bench.control("START_ACTIVITY")

    (start,) = [one for one in bench.nodes["n1"].commands if one.event is TaskEvent.START]
    assert (start.arguments["run_dir"], start.arguments["runNumber"]) == ("/data/runs/1", "1")
    assert bench.calls[0].variables["run_dir"] == "/data/runs/1"
    assert bench.run_info(1).folder == "/data/runs/1"
    bench.control("STOP_ACTIVITY")
    assert bench.saved[0].folder == "/data/runs/1"
    env = bench.core.environments[bench.show().environment]
    assert env.var("run_dir") is None


def test_without_a_folder_for_runs_nobody_is_told_one() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")

    assert "run_dir" not in bench.nodes["n1"].commands[-1].arguments
    assert bench.run_info(1).folder == ""


def basic(**fields: object) -> Workflow:
    return with_class(workflow(task("p", mode=Mode.BASIC)), "BASIC", **fields)


def test_the_texts_of_a_basic_task_keep_what_only_its_start_can_tell() -> None:
    flow = basic(arguments=("{{ run_dir }}/x-{{ run_number }}.raw",), environment=("N={{ run_number }}",))
    bench = Bench(flow, settings=FOLDER)
    bench.create()

    (spec,) = bench.nodes["n1"].specs.values()
    assert spec.command.argv[1:] == ("{{run_dir}}/x-{{run_number}}.raw",)
    assert spec.command.environment["N"] == "{{run_number}}"


def test_a_workflow_that_has_variables_of_these_names_keeps_them() -> None:
    flow = attrs.evolve(basic(arguments=("{{ run_dir }}",)), user_vars={"run_dir": "/mine"})
    bench = Bench(flow, settings=FOLDER)
    bench.create()

    (spec,) = bench.nodes["n1"].specs.values()
    assert spec.command.argv[1:] == ("/mine",)


def test_the_folder_of_a_run_is_an_error_where_none_is_kept() -> None:
    bench = Bench(basic(arguments=("{{ run_dir }}",)))
    bench.create()

    assert bench.state is EnvState.ERROR
    assert "this control system has no folder for runs" in bench.answers["op1"].cause


def test_other_errors_of_a_command_stay_what_they_are() -> None:
    bench = Bench(basic(arguments=("{{ nothing }}",)))
    bench.create()

    assert "nothing" in bench.answers["op1"].cause


def test_controlled_tasks_have_the_folder_from_start_only_and_texts_get_nothing() -> None:
    flow = with_class(workflow(task("a")), "DIRECT", arguments=("[{{ run_dir }}]",))
    bench = Bench(flow, settings=FOLDER)
    bench.create()

    (spec,) = bench.nodes["n1"].specs.values()
    assert spec.command.argv[1:] == ("[]",)


def test_hooks_of_a_run_see_its_real_folder() -> None:
    flow = workflow(task("a"), task("h", mode=Mode.BASIC, trigger="after_START_ACTIVITY"))
    flow = with_class(flow, "BASIC", arguments=("{{ run_dir }}",))
    bench = Bench(flow, settings=FOLDER)
    bench.create()
    bench.control("START_ACTIVITY")

    assert bench.nodes["n1"].triggered[0].command.argv[1:] == ("/data/runs/1",)


def test_the_death_of_a_task_that_is_not_critical_is_a_span_until_the_end() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.b", code=3, log="disk full")
    bench.control("STOP_ACTIVITY")

    run = bench.run_info(1)
    assert run.condition is RunCondition.DEGRADED
    (span,) = run.degraded
    assert (span.role, span.end_ms) == ("w.b", 0)
    assert span.start_ms >= run.start_completion_ms
    assert "exited with code 3; last log: disk full" in span.reason
    assert run.cause == ""


def test_a_stalled_task_is_said_and_is_a_span_until_it_answers_and_changes_no_state() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.a", stalled=True, phase=Phase.SUSPECT, error="does not answer for 3.1 s")
    assert bench.show().tasks[0].stalled
    bench.restart()
    bench.change("w.a", stalled=False, phase=Phase.ACTIVE, error="")
    assert not bench.show().tasks[0].stalled
    bench.control("STOP_ACTIVITY")

    run = bench.run_info(1)
    assert run.condition is RunCondition.DEGRADED
    (span,) = run.degraded
    assert span.start_ms < span.end_ms
    assert "does not answer for 3.1 s" in span.reason
    said = [(one.role, one.ok, one.run_number) for one in bench.events if one.kind == "task.stalled"]
    assert said == [("w.a", False, 1), ("w.a", True, 1)]
    assert "ERROR" not in bench.states()


def test_a_task_that_stalls_and_then_dies_has_two_spans() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.b", stalled=True)
    bench.kill("w.b", signal=9)

    first, second = bench.run_info(1).degraded
    assert first.end_ms == second.start_ms
    assert second.end_ms == 0


def test_a_run_knows_when_it_knew_nothing_of_a_task() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    (span,) = bench.run_info(1).degraded
    assert (span.role, span.end_ms, span.reason) == ("w.b", 0, "unknown: node n2 does not answer")

    bench.nodes["n2"].silent = False
    bench.wait(1.0)
    bench.control("STOP_ACTIVITY")

    run = bench.run_info(1)
    assert run.degraded[0].end_ms > span.start_ms
    assert (run.condition, len(run.degraded)) == (RunCondition.DEGRADED, 1)


def test_what_was_unknown_before_a_restart_is_known_when_its_node_tells_it() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n1"].silent = True
    bench.wait(4.0)
    bench.nodes["n1"].silent = False

    bench.restart()

    (span,) = bench.run_info(1).degraded
    assert span.end_ms


def test_a_stalled_task_of_a_node_that_was_away_is_stalled_still() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.a", stalled=True)
    bench.nodes["n1"].silent = True
    bench.wait(4.0)
    bench.nodes["n1"].silent = False
    bench.wait(1.0)

    found = [(span.reason.partition(":")[0], bool(span.end_ms)) for span in bench.run_info(1).degraded]
    assert found == [("stalled", True), ("unknown", True), ("stalled", False)]


def test_the_dead_stay_dead_when_their_node_is_silent() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False, node="n2")), nodes=("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.b", signal=9)
    bench.restart()
    bench.nodes["n2"].silent = True
    bench.wait(4.0)

    assert [(span.role, span.end_ms) for span in bench.run_info(1).degraded if span.role == "w.b"] == [("w.b", 0)]


def test_a_stall_outside_of_a_run_is_said_only() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.change("w.a", stalled=True)
    bench.change("w.a", stalled=False)

    assert [one.ok for one in bench.events if one.kind == "task.stalled"] == [False, True]
    assert bench.core.runbook.runs == {}


def test_spans_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_SPANS", 3)
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    for _ in range(5):
        bench.change("w.a", stalled=True)
        bench.change("w.a", stalled=False)

    assert len(bench.run_info(1).degraded) == 3
    assert all(span.end_ms for span in bench.run_info(1).degraded)


def test_a_run_that_fails_says_why() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.a", signal=9)

    run = bench.run_info(1)
    assert run.condition is RunCondition.FAILED
    assert run.cause == "critical task w.a on node n1 killed by signal 9"
    assert bench.saved == [run]


def test_a_good_run_is_saved_once_at_its_end() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    assert bench.saved == []
    bench.control("STOP_ACTIVITY")

    assert bench.saved == [bench.run_info(1)]
    assert bench.saved[0].condition is RunCondition.GOOD
    assert bench.saved[0].end_completion_ms


def test_a_run_that_is_destroyed_is_saved_too() -> None:
    bench = Bench(workflow(task("a")), settings=FOLDER)
    bench.create()
    bench.control("START_ACTIVITY")
    bench.destroy(force=True)

    (run,) = bench.saved
    assert (run.end_reason, run.folder) == ("DESTROYED", "/data/runs/1")


def test_a_run_nobody_knows_is_not_shown() -> None:
    from libecs.wire import client

    bench = Bench(workflow(task("a")))
    bench.create()
    bench.ask(client.ShowRuns(request="r", number=9))

    assert bench.run_infos == ()


def test_a_record_that_no_message_holds_is_shown_as_far_as_it_fits() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    metric = MetricInfo(role="w." + "r" * 60, name="n" * 30, unit="Hz", n=1, sum=1, min=1, max=1, last=1, last_ms=1)
    digests = {f"w.{number:060}": "0" * 64 for number in range(100_000)}
    run = attrs.evolve(bench.run_info(1), metrics=(metric,) * 100_000, configuration=digests)

    shown = fitting(run)
    other = fitting(attrs.evolve(run, metrics=run.metrics[:10]))

    assert 30_000 < len(shown.metrics) < 60_000
    assert (len(other.metrics), other.configuration) == (10, {})
    for one in (shown, other):
        answer = Runs(request="r", runs=(one,))
        assert CLIENT.decode(CLIENT.encode(answer)) == answer
    assert fitting(bench.run_info(1)) == bench.run_info(1)


def test_a_list_of_runs_is_the_last_ones_that_one_message_holds() -> None:
    bench = Bench(workflow(task("a")))
    for number in range(1, 1001):
        bench.core.save_run(RunInfo(number=number, environment="e", variables={"x": "y" * 10_000}))

    def listed(limit: int) -> list[int]:
        bench.ask(ShowRuns(request="r", limit=limit))
        answer = Runs(request="r", runs=bench.run_infos)
        assert CLIENT.decode(CLIENT.encode(answer)) == answer
        return [run.number for run in bench.run_infos]

    assert listed(3) == [998, 999, 1000]
    assert listed(0) == []
    assert 400 < len(listed(1000)) < 800
