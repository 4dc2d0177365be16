"""What a new life of the core makes of the records of the last one, and of what nodes tell it."""

from __future__ import annotations

import pytest

from libecs.engine import requests
from libecs.engine.core import CoreSettings
from libecs.engine.effects import Call, CallDone, Received, Send
from libecs.fsm import EnvState
from libecs.wire import client, node
from libecs.wire.info import NodeInfo
from libecs.wire.telemetry import MetricSpan
from tests.engine.bench import Bench, never
from tests.engine.flows import call, task, workflow


def test_a_core_that_is_restarted_in_the_middle_goes_on() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_START_ACTIVITY"))
    held: list[Call] = []
    settings = None

    settings = CoreSettings(instance="test", idempotent_calls=frozenset({"x.Slow"}))
    bench = Bench(flow, integrations={"x.Slow": lambda call: held.append(call)}, settings=settings)
    bench.create()
    bench.control("START_ACTIVITY")

    bench.restart()
    assert [one.call for one in held] == [held[0].call] * 2  # it may be repeated, under the same name
    bench.queue.append(CallDone(call=held[0].call, ok=True))
    bench.run()

    assert bench.state is EnvState.RUNNING
    assert list(bench.core.runbook.runs) == [1]


def test_a_call_that_may_not_be_repeated_fails_after_a_restart() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_START_ACTIVITY"))
    bench = Bench(flow, integrations={"x.Slow": never})
    bench.create()
    bench.control("START_ACTIVITY")

    bench.restart()

    assert bench.state is EnvState.ERROR
    assert "outcome unknown" in bench.show().cause
    assert len(bench.calls) == 1


def test_a_core_that_is_restarted_keeps_runs_and_touches_no_task() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")
    commands = len(bench.nodes["n1"].commands)

    bench.restart()

    assert bench.state is EnvState.RUNNING
    assert bench.show().run_number == 1
    assert {info.state.name for info in bench.show().tasks} == {"RUNNING"}
    assert len(bench.nodes["n1"].commands) == commands


def test_a_task_that_died_while_the_core_was_away_is_noticed() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")
    one = bench.nodes["n1"]
    del one.tasks[one.find("w.b")]

    bench.restart()

    assert bench.state is EnvState.ERROR
    assert "w.b on node n1 ended, nobody saw how" in bench.show().cause


def test_a_task_that_no_record_knows_is_shown_and_left_alone() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.records = {"core": bench.records["core"]}

    bench.restart()

    assert len(bench.nodes["n1"].tasks) == 1
    (orphan,) = [event for event in bench.events if event.kind == "orphan"]
    assert orphan.role == "w.a"


def test_an_order_survives_a_restart_between_its_groups() -> None:
    bench = Bench(workflow(task("daq", start_after=("w.hv",)), task("hv")))
    bench.create()
    one = bench.nodes["n1"]
    one.commands.clear()
    one.deaf = True
    bench.control("START_ACTIVITY")
    bench.restart()
    one.deaf = False
    bench.wait(3.0)

    order = [(one.specs[name].role, told.event.name) for told in one.commands for name in told.tasks]
    assert order == [("w.hv", "START"), ("w.daq", "START")]
    assert bench.state is EnvState.RUNNING


def test_a_core_that_lost_its_records_gives_no_id_again() -> None:
    bench = Bench(workflow(task("a")))
    before = bench.create()
    bench.records.clear()
    bench.nodes["n1"].silent = True
    bench.mono += 60.0
    bench.unix += 60_000
    bench.restart()
    bench.ask(client.Create(operation="again", workflow="test"))

    (after,) = bench.core.environments
    assert after != before


def test_a_core_that_lost_its_records_takes_the_next_epoch_even_from_a_first_life() -> None:
    bench = Bench(workflow(task("a")), nodes=("n1", "n2"))
    bench.create()
    for one in bench.nodes.values():
        one.epoch_seen = bench.core.epoch
    bench.records.clear()

    bench.restart()

    assert bench.core.epoch == 2
    assert [event.kind for event in bench.events].count("orphan") == 1
    bench.queue.append(Received("n1", bench.nodes["n1"].hello()))  # one that we know by now says hello again
    bench.run()
    assert bench.core.epoch == 2


def test_a_core_without_records_that_dies_before_any_node_has_come_is_as_fresh_in_its_next_life() -> None:
    bench = Bench(workflow(task("a")))
    one = bench.nodes["n1"]
    one.epoch_seen = 7
    bench.records.clear()
    one.silent = True
    bench.restart()

    one.silent = False
    bench.restart()

    assert bench.core.epoch == 8
    bench.ask(client.Create(operation="later", workflow="test"))
    (environment,) = bench.core.environments
    assert len(environment) > 5, "no id of an epoch that was taken over may have been given before"
    bench.restart()
    assert not bench.core.is_fresh


def test_a_task_that_is_not_critical_is_not_passed_over_because_its_node_has_not_told_yet() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    one = bench.nodes["n1"]
    one.deaf = True
    bench.control("START_ACTIVITY")
    bench.restart()
    one.deaf = False
    bench.wait(3.0)

    assert bench.state is EnvState.RUNNING
    assert {info.state.name for info in bench.show().tasks} == {"RUNNING"}


def test_going_to_error_stops_tasks_of_which_a_new_life_has_not_heard_yet() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")
    one = bench.nodes["n1"]
    one.deaf = True
    bench.kill("w.a", signal=9)
    assert bench.show().transition == "GO_ERROR"
    bench.restart()
    one.deaf = False
    bench.wait(3.0)

    assert bench.state is EnvState.ERROR
    assert [info.state.name for info in bench.show().tasks if info.role == "w.b"] == ["CONFIGURED"]


@pytest.mark.parametrize("table", ["operation", "run", "environment", "workflow", "plan", "configuration"])
def test_a_record_that_cant_be_read_costs_what_it_says_and_is_named(table: str) -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_STOP_ACTIVITY"))
    bench = Bench(flow, integrations={"x.Slow": never})
    bench.create()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    key = sorted(bench.records[table])[0]
    bench.records[table][key] = b"\xc1"

    bench.restart()

    (said,) = [event for event in bench.events if event.kind == "quarantine"]
    shown = said.name.partition("/")[0]
    assert shown == (table if table in ("operation", "run", "configuration") else "environment")
    assert bool(bench.core.environments) is (table in ("operation", "run", "configuration"))
    if table != "run":  # the run goes on: its record is written anew
        assert bench.records[table][key] == b"\xc1"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("core", "fence"),
        ("core", "sequence"),
        ("core", "epoch"),
        ("condemned", "a task"),
        ("run.metrics", "\ufffd/w.a"),
        ("run.configuration", "\ufffd"),
        ("run.placement", "\ufffd"),
    ],
)
def test_no_damaged_record_keeps_a_core_from_starting(table: str, key: str) -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.records.setdefault(table, {})[key] = b""  # as the store gives what is damaged

    bench.restart()

    assert bench.state is EnvState.CONFIGURED
    assert (f"{table}/{key}" in bench.core.quarantine) is (table == "condemned")


def test_the_oldest_operations_are_forgotten_first_after_a_restart_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(workflow(task("a")))
    for id in ("z", "m", "a"):
        bench.unix += 1000
        bench.ask(client.Lock(operation=id, detectors=("its",)))
    bench.restart()
    monkeypatch.setattr(requests, "KEEP_OPERATIONS", 3)

    bench.ask(client.Lock(operation="b", detectors=("its",)))

    assert list(bench.core.requests.operations) == ["m", "a", "b"]


def test_a_node_that_has_seen_an_epoch_that_cannot_be_is_refused() -> None:
    bench = Bench(workflow(task("a")))
    bench.nodes["n1"].epoch_seen = 2**64 - 1
    bench.records = {}
    bench.restart()

    answers = bench.core.handle(Received("n1", bench.nodes["n1"].hello()), bench.now)

    for message in [one.message for one in answers if isinstance(one, Send)]:
        assert isinstance(message, node.NodeRefused)
        assert node.NODE.decode(node.NODE.encode(message)) == message
    assert bench.core.epoch == 1


def test_what_is_created_in_the_first_seconds_waits_for_the_nodes_of_the_last_life() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.nodes["n2"].silent = True
    bench.restart()
    assert [one.node for one in nodes(bench) if one.reach == "AWAY"] == ["n2"]

    bench.ask(client.Create(operation="early", workflow="test"))
    assert "early" not in bench.answers
    bench.nodes["n2"].silent = False
    bench.queue.append(Received("n2", bench.nodes["n2"].hello()))
    bench.wait(1.0)

    assert bench.answers["early"].code == ""


def test_the_core_does_not_wait_for_ever_for_nodes_that_are_away() -> None:
    bench = Bench(workflow(task("a")), nodes=("n1", "n2"))
    bench.nodes["n2"].silent = True
    bench.restart()
    bench.ask(client.Create(operation="early", workflow="test"))

    bench.wait(4.0)
    assert bench.answers["early"].code == ""
    bench.ask(client.Create(operation="late", workflow="test"))
    assert bench.answers["late"].code == ""


def test_a_node_that_has_not_come_for_weeks_is_forgotten() -> None:
    bench = Bench(workflow(task("a")), nodes=("n1", "n2"))
    bench.nodes["n2"].silent = True
    bench.unix += 15 * 86_400_000
    bench.restart()

    assert [one.node for one in nodes(bench)] == ["n1"]
    assert list(bench.records["node"]) == ["n1"]


def nodes(bench: Bench) -> tuple[NodeInfo, ...]:
    """Return the nodes as clients see them."""
    (told,) = bench.ask(client.ShowNodes(request="n"))
    assert isinstance(told, client.Nodes)
    return told.nodes


def test_a_pause_of_our_own_is_forgiven_once_however_much_has_come_meanwhile() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), ("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    span = MetricSpan(name="rate", unit="", n=1, sum=1.0, min=1.0, max=1.0, last=1.0, unix_ms=1)
    bench.tell("w.a", run=1, spans=(span,))  # to be told on within a second: that is overdue, too, and is not put off
    bench.ask(client.Watch(request="w", metrics=True))

    bench.mono += 5.0
    one = bench.nodes["n1"]
    for _ in range(50):
        bench.queue.append(Received("n1", node.NodeKeepalive(session=one.session, sequence=one.sequence)))
    bench.run()
    for silent in bench.nodes.values():
        silent.silent = True
    bench.wait(4)

    lost = [event.name for event in bench.events if event.kind == "node" and event.state == "LOST"]
    assert sorted(lost) == ["n1", "n2"]
