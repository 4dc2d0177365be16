"""Metrics and lines on their way to watchers and into the records of runs."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine import metrics as run_metrics
from libecs.engine import telemetry
from libecs.engine.effects import Disconnected, Persist, Received
from libecs.fsm import Mode
from libecs.wire import client, node
from libecs.wire.telemetry import LogLine, MetricSpan, Severity
from tests.engine.bench import CLIENT, Bench
from tests.engine.flows import task, workflow


def span(name: str = "events", n: int = 1, value: float = 1.0, unix_ms: int = 0, unit: str = "") -> MetricSpan:
    return MetricSpan(
        name=name, unit=unit, n=n, sum=n * value, min=value, max=value, last=value, unix_ms=unix_ms or 1_000
    )


def line(text: str, severity: Severity = Severity.INFO) -> LogLine:
    return LogLine(severity=severity, text=text)


def running(*roles: str) -> Bench:
    bench = Bench(workflow(*(task(role) for role in roles or ("a",))))
    bench.create()
    bench.control("START_ACTIVITY")
    return bench


def watch(
    bench: Bench, peer: str = CLIENT, environment: str = "", *, metrics: bool = True, lines: bool = False
) -> None:
    bench.ask(client.Watch(request="w", environment=environment, metrics=metrics, lines=lines), peer)


def told_metrics(bench: Bench, peer: str = CLIENT) -> list[client.Metrics]:
    return [one for one in bench.told.get(peer, []) if isinstance(one, client.Metrics)]


def told_lines(bench: Bench, peer: str = CLIENT) -> list[client.Lines]:
    return [one for one in bench.told.get(peer, []) if isinstance(one, client.Lines)]


def test_spans_of_a_run_become_one_sum_per_task_and_name() -> None:
    bench = running("a", "b")
    bench.tell("w.a", run=1, spans=(span(n=3, value=2.0, unix_ms=10, unit="1/s"),))
    bench.tell("w.a", run=1, spans=(span(n=1, value=5.0, unix_ms=20, unit="1/s"), span("dead", value=0.5)))
    bench.tell("w.b", run=1, spans=(span(),))

    found = {(one.role, one.name): one for one in bench.run_info(1).metrics}

    assert set(found) == {("w.a", "events"), ("w.a", "dead"), ("w.b", "events")}
    one = found["w.a", "events"]
    assert (one.n, one.sum, one.min, one.max, one.last, one.last_ms, one.unit) == (4, 11.0, 2.0, 5.0, 5.0, 20, "1/s")


def test_the_newest_sample_is_last_whichever_span_comes_first() -> None:
    bench = running()
    bench.tell("w.a", run=1, spans=(span(value=2.0, unix_ms=20),))
    bench.tell("w.a", run=1, spans=(span(value=1.0, unix_ms=10),))

    (one,) = bench.run_info(1).metrics

    assert (one.last, one.last_ms, one.min) == (2.0, 20, 1.0)


def test_an_empty_span_counts_for_nothing() -> None:
    bench = running()
    bench.tell("w.a", run=1, spans=(span(n=0),))

    assert bench.run_info(1).metrics == ()


def test_what_is_told_of_another_run_or_by_nobody_known_is_left_out() -> None:
    bench = running()
    bench.tell("w.a", run=7, spans=(span(),))
    one = bench.nodes["n1"]
    stranger = node.TaskTelemetry(task="9t9", run=1, metrics=(span(),))
    bench.send("n1", node.Telemetry(session=one.session, tasks=(stranger,)))
    known = node.TaskTelemetry(task=one.find("w.a"), run=1, metrics=(span(),))
    bench.send("n1", node.Telemetry(session=one.session + 1, tasks=(known,)))

    assert bench.run_info(1).metrics == ()


def test_a_watcher_gets_all_metrics_first_and_then_what_changed_once_a_second() -> None:
    bench = running("a", "b")
    bench.tell("w.a", run=1, spans=(span(),))
    bench.tell("w.b", run=1, spans=(span(),))

    watch(bench)
    bench.wait(0.5)
    for _ in range(5):
        bench.tell("w.a", run=1, spans=(span(),))
    bench.wait(0.5)
    bench.wait(3.0)

    first, second = told_metrics(bench)
    assert {(one.role, one.n) for one in first.metrics} == {("w.a", 1), ("w.b", 1)}
    assert [(one.role, one.n) for one in second.metrics] == [("w.a", 6)]
    assert (second.run, second.environment) == (1, bench.show().environment)


def test_the_last_word_of_a_client_counts_and_a_client_that_left_gets_nothing() -> None:
    bench = running()
    environment = bench.show().environment
    watch(bench, "one", environment)
    watch(bench, "two", "")
    watch(bench, "three", "")
    watch(bench, "three", "", metrics=False)
    watch(bench, "four", environment, lines=True)
    bench.queue.append(Disconnected("four"))
    bench.tell("w.a", run=1, spans=(span(),), lines=(line("x"),))
    bench.wait(1.5)

    assert {peer: len(told) for peer, told in bench.told.items()} == {"one": 1, "two": 1}


def test_a_client_that_watches_one_and_all_is_told_once() -> None:
    bench = running()
    watch(bench, environment=bench.show().environment)
    watch(bench)
    bench.tell("w.a", run=1, spans=(span(),))
    bench.wait(1.5)

    assert len(told_metrics(bench)) == 1


def test_a_watch_is_answered() -> None:
    bench = running()
    bench.show()
    watch(bench)

    assert bench.shown == ()


def test_lines_come_in_order_with_role_node_and_run() -> None:
    bench = running("a", "b")
    watch(bench, metrics=False, lines=True)
    bench.tell("w.a", run=1, lines=(line("1"), line("2")))
    bench.tell("w.b", run=0, lines=(line("x"),))
    bench.tell("w.a", run=1, lines=(line("3", Severity.ERROR),))
    bench.wait(1.5)

    got = {(one.run, told.role, told.node, told.line.text) for one in told_lines(bench) for told in one.lines}
    assert got == {(1, "w.a", "n1", "1"), (1, "w.a", "n1", "2"), (1, "w.a", "n1", "3"), (0, "w.b", "n1", "x")}
    assert [told.line.text for one in told_lines(bench) if one.run == 1 for told in one.lines] == ["1", "2", "3"]


def test_lines_that_nobody_watches_are_not_kept() -> None:
    bench = running()
    bench.tell("w.a", run=1, lines=(line("early"),))
    watch(bench, metrics=False, lines=True)
    bench.wait(1.5)

    assert told_lines(bench) == []


def test_too_many_lines_lose_the_oldest_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_LINES", 3)
    bench = running()
    watch(bench, metrics=False, lines=True)
    bench.wait(1.5)
    bench.tell("w.a", run=1, lines=tuple(line(str(i)) for i in range(5)), dropped=10)
    bench.wait(1.5)

    (got,) = told_lines(bench)
    assert [told.line.text for told in got.lines] == ["2", "3", "4"]
    assert got.dropped == 12


def test_names_beyond_the_limit_are_dropped_and_counted() -> None:
    bench = running()
    limit = run_metrics.MAX_NAMES
    bench.tell("w.a", run=1, spans=tuple(span(f"m{i}", n=2) for i in range(limit + 3)))
    bench.tell("w.a", run=1, spans=(span("m0"),))

    run = bench.run_info(1)
    assert len(run.metrics) == limit
    assert run.dropped == 6
    assert run.metrics[0].n == 3


def test_a_run_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_metrics, "MAX_METRICS", 3)
    bench = running("a", "b")
    for role in ("w.a", "w.b"):
        bench.tell(role, run=1, spans=(span("x"), span("y")))

    assert len(bench.run_info(1).metrics) == 3
    assert bench.run_info(1).dropped == 1


def test_what_was_dropped_on_the_way_is_in_the_record_of_the_run_that_lost_it() -> None:
    bench = running()
    bench.tell("w.a", run=1, spans=(span(),), dropped=4)
    bench.tell("w.a", run=1, spans=(span(),), dropped=5)
    bench.control("STOP_ACTIVITY")
    bench.control("START_ACTIVITY")
    bench.tell("w.a", run=2, spans=(span(),), dropped=7)
    bench.tell("w.a", run=2, spans=(span(),), dropped=1)  # a new process counts anew

    assert (bench.run_info(1).dropped, bench.run_info(2).dropped) == (5, 3)


def test_a_run_that_goes_on_is_on_disk_every_ten_seconds_and_survives_a_restart() -> None:
    bench = running()
    bench.tell("w.a", run=1, spans=(span(n=5),))
    assert not bench.records.get("run.metrics")
    bench.wait(telemetry.SAVE_S + 1)
    bench.tell("w.a", run=1, spans=(span(n=1),))

    bench.restart()
    assert bench.run_info(1).metrics[0].n == 5
    bench.tell("w.a", run=1, spans=(span(n=2),))
    assert bench.run_info(1).metrics[0].n == 7
    bench.control("STOP_ACTIVITY")
    bench.restart()

    assert bench.run_info(1).metrics[0].n == 7


def test_the_end_of_a_run_saves_and_shows_its_metrics_at_once() -> None:
    bench = running()
    watch(bench)
    bench.wait(1.5)
    bench.tell("w.a", run=1, spans=(span(n=5),))
    bench.told.clear()

    bench.control("STOP_ACTIVITY")

    assert [one.metrics[0].n for one in told_metrics(bench)] == [5]
    assert [run.metrics[0].n for run in bench.saved] == [5]
    assert len(bench.records["run.metrics"]) == 1


def test_what_comes_a_little_late_is_added_and_the_record_written_again() -> None:
    bench = running()
    bench.control("STOP_ACTIVITY")
    bench.tell("w.a", run=1, spans=(span(n=5),))
    bench.wait(2.0)

    assert [len(run.metrics) for run in bench.saved] == [0, 1]
    assert bench.run_info(1).metrics[0].n == 5


def test_what_comes_late_of_an_environment_that_is_gone_counts_too() -> None:
    bench = running()
    bench.destroy(allow_running=True)
    assert bench.core.environments == {}

    bench.tell("w.a", run=1, spans=(span(n=5),), dropped=2)
    bench.wait(2.0)
    assert bench.run_info(1).metrics[0].n == 5

    bench.wait(telemetry.LATE_S + 1)
    bench.tell("w.a", run=1, spans=(span(n=5),))
    bench.wait(2.0)
    assert bench.run_info(1).metrics[0].n == 5
    assert bench.core.telemetry.next_deadline is None


def test_what_a_task_that_was_replaced_told_of_the_last_run_counts_too() -> None:
    bench = running()
    old, one = bench.task("w.a").task, bench.nodes["n1"]
    bench.control("STOP_ACTIVITY")
    bench.kill("w.a", signal=9)
    bench.control("RECOVER")
    assert bench.task("w.a").task != old

    told = node.TaskTelemetry(task=old, run=1, metrics=(span(n=5),))
    bench.send("n1", node.Telemetry(session=one.session, tasks=(told,)))

    assert bench.run_info(1).metrics[0].n == 5


@pytest.mark.parametrize("name", ["{}t999", "{}tx", "{}t", "{}t99999999999"])
def test_a_task_that_no_role_ever_had_is_nobody(name: str) -> None:
    bench = running()
    environment = bench.show().environment
    stranger = node.TaskTelemetry(task=name.format(environment), run=1, metrics=(span(),))

    bench.send("n1", node.Telemetry(session=bench.nodes["n1"].session, tasks=(stranger,)))

    assert bench.run_info(1).metrics == ()


def test_what_comes_much_too_late_is_left_out() -> None:
    bench = running()
    bench.control("STOP_ACTIVITY")
    bench.wait(telemetry.LATE_S + 1)
    bench.tell("w.a", run=1, spans=(span(n=5),))
    bench.wait(2.0)

    assert bench.run_info(1).metrics == ()
    assert bench.core.telemetry.next_deadline is None


def test_metrics_outside_of_a_run_are_shown_and_forgotten_when_one_begins() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    watch(bench)
    bench.tell("w.a", spans=(span("temperature", value=20.0),))
    bench.wait(1.5)
    assert [(one.run, one.metrics[0].last) for one in told_metrics(bench)] == [(0, 20.0)]

    bench.control("START_ACTIVITY")
    bench.wait(20.0)

    assert bench.run_info(1).metrics == ()
    assert not bench.records.get("run.metrics")


def test_hooks_are_heard_under_the_id_of_their_life() -> None:
    bench = Bench(workflow(task("a"), task("h", mode=Mode.BASIC, trigger="before_CONFIGURE")))
    watch(bench, metrics=False, lines=True)
    environment = bench.create()
    hook = next(one.id for one in bench.core.environments[environment].cast.tasks.values() if one.hook)
    told = node.TaskTelemetry(task=f"{hook}h2", run=0, lines=(line("from a hook"),))
    bench.send("n1", node.Telemetry(session=bench.nodes["n1"].session, tasks=(told,)))
    bench.wait(1.5)

    (got,) = told_lines(bench)
    assert got.lines[0].role == "w.h"


def test_many_metrics_go_in_out_and_to_disk_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PORTION", 4)
    monkeypatch.setattr(telemetry, "TASKS", 3)
    bench = running(*(f"t{i}" for i in range(10)))
    watch(bench)
    one = bench.nodes["n1"]
    told = tuple(node.TaskTelemetry(task=name, run=1, metrics=(span(),)) for name in one.specs)
    bench.send("n1", node.Telemetry(session=one.session, tasks=told))

    bench.wait(30.0, step=0.25)

    sizes = [len(one.metrics) for one in told_metrics(bench)]
    assert (max(sizes), sum(sizes)) == (4, 10)
    assert len(bench.records["run.metrics"]) == 10
    bench.control("STOP_ACTIVITY")
    assert [len(run.metrics) for run in bench.saved] == [10]


def test_metrics_of_the_oldest_runs_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "KEEP_BYTES", 200)
    bench = running()
    for number in range(1, 6):
        bench.tell("w.a", run=number, spans=(span(),))
        bench.control("STOP_ACTIVITY")
        bench.control("START_ACTIVITY")
    bench.wait(telemetry.LATE_S + 1)

    assert bench.run_info(1).metrics == ()
    assert bench.run_info(5).metrics != ()
    assert len(bench.records["run.metrics"]) < 5
    assert bench.run_info(1).number == 1


def test_a_record_that_cant_be_read_costs_the_metrics_of_one_task() -> None:
    bench = running("a", "b")
    for role in ("w.a", "w.b"):
        bench.tell(role, run=1, spans=(span(),))
    bench.control("STOP_ACTIVITY")
    bench.records["run.metrics"]["1/w.a"] = b"\xc1"
    bench.records["run.configuration"]["1"] = b"\xc1"

    bench.restart()

    run = bench.run_info(1)
    assert [one.role for one in run.metrics] == ["w.b"]
    assert run.configuration == {}


def test_a_list_of_runs_leaves_out_what_fills_pages() -> None:
    bench = running()
    bench.tell("w.a", run=1, spans=(span(),))
    bench.control("STOP_ACTIVITY")

    bench.ask(client.ShowRuns(request="r"))

    (run,) = bench.run_infos
    assert (run.metrics, run.configuration) == ((), {})
    assert attrs.evolve(bench.run_info(1), metrics=(), configuration={}, placement={}) == run


def test_taking_telemetry_writes_nothing_and_asks_for_no_more_than_a_timer() -> None:
    bench = running()
    one = bench.nodes["n1"]
    told = node.TaskTelemetry(task=one.find("w.a"), run=1, metrics=(span(),) * 5, lines=(line("x"),))

    effects = bench.core.handle(Received("n1", node.Telemetry(session=one.session, tasks=(told,))), bench.now)

    assert [effect for effect in effects if isinstance(effect, Persist)] == []
    assert effects == []


@pytest.mark.parametrize("n", [2**63, 2**53])
def test_numbers_of_a_node_that_cannot_be_stop_no_core(n: int) -> None:
    bench = running("a", "b")
    watch(bench, lines=True)
    for lost in (2**64 - 1, 0) * 3:
        bench.tell("w.a", run=1, spans=(span(n=n), *(span(f"m{i}", n=n) for i in range(70))), dropped=lost)
        bench.tell("w.b", run=1, lines=(line("x"),), dropped=lost)
        bench.wait(1.0)
    bench.wait(20.0)

    for told in bench.told[CLIENT]:
        client.CLIENT.encode(told)
    assert bench.run_info(1).dropped > 0


def test_nothing_is_kept_of_tasks_whose_environment_is_gone() -> None:
    bench = Bench(workflow(task("a"), task("h", trigger="before_START_ACTIVITY")))
    environment = bench.create()
    hook = next(one.id for one in bench.core.environments[environment].cast.tasks.values() if one.hook)
    told = node.TaskTelemetry(task=f"{hook}h2", run=0, dropped=3)
    bench.send("n1", node.Telemetry(session=bench.nodes["n1"].session, tasks=(told,)))
    bench.tell("w.a", dropped=2)
    assert len(bench.core.telemetry._told) == 2

    bench.destroy()

    assert bench.core.telemetry._told == {}


def test_what_was_lost_before_a_restart_of_the_core_is_counted_once() -> None:
    bench = running("a")
    bench.tell("w.a", run=1, dropped=5)
    bench.wait(11.0)
    bench.restart()

    bench.tell("w.a", run=1, dropped=6)
    bench.tell("w.a", run=1, dropped=8)

    assert 7 <= bench.run_info(1).dropped <= 8  # what it lost while the core was away may be missing
