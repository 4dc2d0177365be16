"""Tasks that refuse new properties or die of them, and cores that die meanwhile."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine import reconfigure
from libecs.engine.effects import Call, Received
from libecs.fsm import EnvState, TaskEvent
from libecs.wire import client
from tests.engine.bench import CLIENT, Bench
from tests.engine.flows import call, group, task, workflow
from tests.engine.reconfiguring import change, flow, made, told

# failures


def test_a_live_task_that_refuses_takes_the_environment_to_error() -> None:
    bench = made()
    bench.nodes["n1"].refuse["w.a", "RECONFIGURE"] = "not while the pump is on"

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == "E_TRANSITION"
    assert bench.state.name == "ERROR"
    assert not bench.records["reconfiguration"]
    assert bench.show().cause == "RECONFIGURE failed: w.a: on node n1 not while the pump is on"


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_what_a_task_refuses_is_put_back_so_that_the_environment_can_be_recovered(live: bool, restart: bool) -> None:
    bench = made(live)
    change(bench, "a", "good", threshold="7", colour="blue")
    refused = "RECONFIGURE" if live else "CONFIGURE"
    bench.nodes["n1"].refuse["w.a", refused] = "too much"
    change(bench, "**", "bad", threshold="900", gain="3")
    assert bench.state.name == "ERROR"
    if restart:
        bench.restart()
    record = next(iter(bench.core.environments.values())).record
    assert record.properties == {"w.a": {"threshold": "7"}}
    assert {path: dict(table) for path, table in record.overlay.items() if path != "w"} == {"w.a": {"colour": "blue"}}

    del bench.nodes["n1"].refuse["w.a", refused]
    bench.control("RECOVER")
    bench.nodes["n1"].commands.clear()
    bench.control("CONFIGURE")

    assert bench.state.name == "CONFIGURED"
    told_now = {role: properties.get("threshold") for role, _, properties in told(bench)}
    assert told_now == {"w.a": "7", "w.b": "10", "w.p": None}
    one = bench.nodes["n1"]
    (program,) = [one.specs[name] for name in one.tasks if one.specs[name].role == "w.p"]
    assert program.command.argv[-1] == "1"


def test_a_task_that_is_not_critical_may_refuse() -> None:
    bench = made(True, task("n", critical=False))
    bench.nodes["n1"].refuse["w.n", "RECONFIGURE"] = "no"

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == ""
    assert [event.role for event in bench.events if event.kind == "transition.step" and not event.ok] == ["w.n"]


def test_a_dead_task_is_passed_over_and_takes_the_value_in_its_next_life() -> None:
    bench = made(True, task("n", critical=False))
    bench.kill("w.n", signal=9)

    change(bench, "n", threshold="5")

    assert told(bench) == []
    assert next(iter(bench.core.environments.values())).record.properties == {"w.n": {"threshold": "5"}}


def test_only_the_answer_ends_the_step_of_a_live_task_and_not_its_state() -> None:
    bench = made()
    bench.nodes["n1"].deaf = True
    change(bench, "a", threshold="5")
    bench.change("w.a", last_log="still here")
    assert bench.show().transition == "RECONFIGURE"

    bench.wait(40.0)

    assert bench.state.name == "ERROR"


def test_a_task_that_dies_meanwhile_ends_it() -> None:
    bench = made()
    bench.nodes["n1"].deaf = True
    change(bench, "a", threshold="5")
    bench.kill("w.a", signal=11)

    assert bench.state is not EnvState.ERROR or "signal 11" in bench.show().cause
    bench.wait(20.0)
    assert "signal 11" in bench.show().cause


# crashes of the core


def test_a_core_that_died_in_the_middle_goes_on_with_the_same_command() -> None:
    bench = made()
    one = bench.nodes["n1"]
    one.deaf = True
    change(bench, "a", threshold="5")
    bench.restart()
    one.deaf = False
    bench.wait(3.0)

    ids = [message.id for message in one.heard if message.event is TaskEvent.RECONFIGURE]
    assert len(ids) > 1
    assert len(set(ids)) == 1
    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "5"})]
    assert bench.show().transition == ""
    assert not bench.records["reconfiguration"]
    assert change(bench, "a", threshold="5") is not None  # the operation's answer is known


@pytest.mark.parametrize("live", [True, False])
def test_a_core_that_dies_after_any_input_ends_up_with_the_same_configuration(live: bool) -> None:
    """Count the inputs of an undisturbed history, then crash after each."""
    for crash_after in range(1, 60):
        bench = made(live)
        environment = bench.show().environment
        message = client.Reconfigure(operation="change", environment=environment, values={"gain": "4"})
        bench.queue.append(Received(CLIENT, message))
        handled = 0
        while bench.queue and handled < crash_after:
            bench.unix += 1
            bench.perform(bench.core.handle(bench.queue.popleft(), bench.now))
            handled += 1
        over = not bench.queue
        bench.restart()
        bench.wait(5.0)

        assert bench.show().transition == ""
        assert bench.state.name == "CONFIGURED"
        one = bench.nodes["n1"]
        final = {role: properties for role, event, properties in told(bench) if event in ("RECONFIGURE", "CONFIGURE")}
        assert final["w.a"]["threshold"] == "40"
        commands = [one.specs[name].command.argv[-1] for name in one.tasks if one.specs[name].role == "w.p"]
        assert commands == ["4"]
        if over:
            return
    raise AssertionError("the history does not end")


def test_many_tasks_are_compared_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconfigure, "PORTION", 3)
    one = workflow(group("g"), *(task(f"g.t{i}") for i in range(10)))
    direct = attrs.evolve(one.classes["DIRECT"], properties={"x": "1"}, reconfigure="live")
    bench = Bench(attrs.evolve(one, classes={**one.classes, "DIRECT": direct}))
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "g.*", x="2")

    assert answer is not None
    assert answer.code == ""
    assert len(told(bench)) == 10
    assert len(bench.nodes["n1"].commands) == 1


def test_destroying_by_force_ends_a_comparison() -> None:
    bench = made()
    environment = bench.show().environment
    message = client.Reconfigure(operation="change", environment=environment, values={"gain": "4"})
    bench.queue.append(Received(CLIENT, message))
    bench.queue.append(Received(CLIENT, client.Destroy(operation="end", environment=environment, force=True)))
    bench.run()

    assert bench.core.environments == {}
    assert bench.answers["change"].code == "E_CONFLICT"
    assert not bench.records["reconfiguration"]


def test_the_same_operation_twice_changes_once() -> None:
    bench = made()
    change(bench, "a", threshold="5")
    bench.restart()
    again = change(bench, "a", threshold="5")

    assert again is not None
    assert again.code == ""
    assert len(told(bench)) == 1


def test_a_value_that_replaces_a_tree_of_properties_leaves_nothing_of_it() -> None:
    one = flow(live=False)
    direct = attrs.evolve(one.classes["DIRECT"], properties={"config": "{{ ToPtree('{}', 'json') }}"})
    bench = Bench(attrs.evolve(one, classes={**one.classes, "DIRECT": direct}))
    bench.create()
    first = told(bench)[0][2]
    bench.nodes["n1"].commands.clear()
    assert first["config"] in first

    change(bench, "a", config="plain")

    configured = next(properties for _, event, properties in told(bench) if event == "CONFIGURE")
    assert configured["config"] == "plain"
    assert not any(name.startswith("__ptree__") for name in configured)


def test_a_change_while_a_call_is_pending_keeps_the_call() -> None:
    held: list[Call] = []
    bench = Bench(
        flow(call("c", "x.Slow()", "before_CONFIGURE", "before_RESET")),
        integrations={"x.Slow": lambda one: held.append(one)},
    )
    bench.create()
    change(bench, "a", threshold="5")

    assert not bench.cancelled
    assert len(held) == 1
