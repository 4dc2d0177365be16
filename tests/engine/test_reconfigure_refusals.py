"""What can't be reconfigured is refused, and nothing has changed."""

from __future__ import annotations

import attrs
import pytest

from libecs.fsm import EnvState, Mode
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.workflow.role import Channel
from tests.engine.bench import Bench
from tests.engine.flows import call, task
from tests.engine.reconfiguring import change, flow, made, told


def unchanged(bench: Bench, answer: Finished | None, code: str) -> Finished:
    assert answer is not None
    assert answer.code == code
    assert told(bench) == []
    record = next(iter(bench.core.environments.values())).record
    assert (record.properties, record.operation) == ({}, "")
    assert bench.show().transition == ""
    return answer


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    bench = made()

    answer = unchanged(bench, change(bench, "a", treshold="5"), "E_INVALID")

    assert answer.message == "'treshold' is neither a property nor a variable of the chosen tasks"
    assert answer.hint == "did you mean threshold?"
    assert bench.state is EnvState.CONFIGURED


def test_one_unknown_key_among_good_ones_changes_nothing() -> None:
    bench = made()

    answer = unchanged(bench, change(bench, threshold="5", nonsense="1", more="2"), "E_INVALID")

    assert "'nonsense'" in answer.message
    assert "'more'" in answer.message


def test_a_property_of_another_task_is_unknown_to_the_chosen_one() -> None:
    bench = made()

    unchanged(bench, change(bench, "p", mask="0"), "E_INVALID")


def test_a_property_of_a_program_is_none() -> None:
    bench = made()

    unchanged(bench, change(bench, "p", threshold="5"), "E_INVALID")


@pytest.mark.parametrize("pattern", ["x", "**.c", "w.aa"])
def test_a_pattern_that_chooses_no_task_is_refused(pattern: str) -> None:
    bench = made()

    answer = unchanged(bench, change(bench, pattern, threshold="5"), "E_INVALID")

    assert f"matches {pattern!r}" in answer.message


def test_a_hook_is_no_task_to_be_chosen() -> None:
    bench = made(True, task("h", mode=Mode.BASIC, trigger="after_NOTHING"))

    unchanged(bench, change(bench, "h", gain="5"), "E_INVALID")


def test_a_pattern_that_is_none_is_refused() -> None:
    bench = made()

    unchanged(bench, change(bench, "a..b", threshold="5"), "E_USAGE")


def test_no_values_are_refused() -> None:
    bench = made()

    unchanged(bench, change(bench), "E_INVALID")


def test_properties_of_channels_cant_be_changed() -> None:
    one = flow()
    channel = Channel(name="data", type="push")
    role = attrs.evolve(one.roles[1], bind=(channel,))
    bench = Bench(attrs.evolve(one, roles=(one.roles[0], role, *one.roles[2:])))
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = unchanged(bench, change(bench, "a", **{"chans.data.0.type": "pull"}), "E_INVALID")

    assert "comes from the channels of a task" in answer.message


@pytest.mark.parametrize("event", ["RESET", "START_ACTIVITY"])
def test_an_environment_that_is_not_configured_refuses(event: str) -> None:
    bench = made()
    bench.control(event)
    bench.nodes["n1"].commands.clear()

    answer = unchanged(bench, change(bench, threshold="5"), "E_STATE")

    assert "RECONFIGURE is not possible" in answer.message


def test_an_environment_in_error_refuses() -> None:
    bench = made()
    bench.kill("w.a", signal=9)
    bench.nodes["n1"].commands.clear()

    unchanged(bench, change(bench, threshold="5"), "E_STATE")


def test_a_busy_environment_refuses() -> None:
    bench = Bench(flow(call("c", "x.Slow()", "before_RESET")), integrations={"x.Slow": lambda one: None})
    bench.create()
    bench.control("RESET")

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == "E_CONFLICT"


def test_an_environment_that_is_not_there_refuses() -> None:
    bench = made()
    bench.ask(client.Reconfigure(operation="x", environment="none", values={"a": "b"}))

    assert bench.answers["x"].code == "E_NOT_FOUND"


def test_a_value_that_breaks_a_text_is_refused_and_nothing_has_changed() -> None:
    one = flow()
    direct = attrs.evolve(one.classes["DIRECT"], properties={"n": "{{ json.Unmarshal(gain)[0] }}"})
    one = attrs.evolve(one, classes={**one.classes, "DIRECT": direct}, user_vars={"gain": "[1]"})
    bench = Bench(one)
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "a", gain="[]")

    assert answer is not None
    assert answer.code in ("E_EXPRESSION", "E_TEMPLATE")
    assert told(bench) == []
    assert bench.state is EnvState.CONFIGURED
    assert bench.show().transition == ""
    assert not bench.records["reconfiguration"]
    again = change(bench, "a", "again", gain="[2]")
    assert again is not None
    assert (again.code, told(bench)) == ("", [("w.a", "RECONFIGURE", {"n": "2"})])
