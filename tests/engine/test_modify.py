"""Parts of an environment are taken out and put back, and nobody else notices."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire.info import RunCondition
from libecs.workflow.role import Channel, Workflow
from tests.engine.bench import Bench
from tests.engine.detectors import DETECTORS, configured, detectors, picture, up
from tests.engine.flows import call, group, task, workflow


def told(bench: Bench) -> list[tuple[str, str]]:
    """Return (role, event) of all commands."""
    return [
        (one.specs[name].role, message.event.name)
        for one in bench.nodes.values()
        for message in one.commands
        for name in message.tasks
    ]


@pytest.mark.parametrize("state", [EnvState.CONFIGURED, EnvState.RUNNING])
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_excluded_and_included_and_the_others_are_not_touched(name: str, state: EnvState) -> None:
    bench = up(state)
    before = picture(bench, name)
    ids = {one.task: one.pid for one in bench.show().tasks if one.role.startswith(f"w.{name}.")}

    out = bench.modify(exclude=(name,))

    assert out is not None
    assert (out.code, out.state) == ("", state)
    info = bench.show()
    assert info.excluded == (f"w.{name}",)
    assert {role.path for role in info.roles if role.excluded} == {f"w.{name}", f"w.{name}.ro", f"w.{name}.qc"}
    assert {one.role for one in info.tasks if one.excluded} == {f"w.{name}.ro", f"w.{name}.qc"}
    assert set(bench.core.pool.idle) == set(ids)
    assert picture(bench, name) == before
    events = ["STOP", "RESET"] if state is EnvState.RUNNING else ["RESET"]
    assert told(bench) == [(f"w.{name}.{one}", event) for event in events for one in ("ro", "qc")]

    bench.modify(include=(f"w.{name}",))

    info = bench.show()
    assert (info.excluded, info.state) == ((), state)
    assert {one.task: one.pid for one in info.tasks if one.role.startswith(f"w.{name}.")} == ids  # out of the pool
    assert not bench.core.pool.idle
    assert picture(bench, name) == before
    assert {one.state.name for one in info.tasks} == {state.name}
    assert {role.state.name for role in info.roles} == {state.name}


def test_a_run_goes_on_degraded_for_the_span() -> None:
    bench = up()
    bench.unix += 1000
    bench.modify(exclude=("its",), requester="anna")
    assert bench.run_info(1).excluded == ("w.its",)
    bench.unix += 1000
    bench.modify(include=("its",))
    bench.control("STOP_ACTIVITY")

    run = bench.run_info(1)
    assert run.condition is RunCondition.DEGRADED
    assert run.excluded == ()
    (span,) = run.degraded
    assert (span.role, span.reason) == ("w.its", "excluded: taken out by anna")
    assert 900 < span.end_ms - span.start_ms < 1200
    assert [event.run_number for event in bench.events if event.kind == "run.start"] == [1]
    kinds = [(event.role, event.state) for event in bench.events if event.kind == "modify"]
    assert kinds == [("w.its", "EXCLUDED"), ("w.its", "INCLUDED")]


def test_what_is_excluded_is_left_out_of_later_transitions_and_hooks_and_calls_below_it_do_not_run() -> None:
    flow = workflow(
        task("a"),
        group("det"),
        task("det.ro"),
        attrs.evolve(call("det.c", "x.Go()", "before_START_ACTIVITY")),
        task("det.h", mode=Mode.HOOK, trigger="before_START_ACTIVITY"),
        call("c", "x.Root()", "before_START_ACTIVITY"),
    )
    bench = up(EnvState.CONFIGURED, flow)
    bench.modify(exclude=("det",))
    for one in bench.nodes.values():
        one.commands.clear()
    for event in ("START_ACTIVITY", "STOP_ACTIVITY", "RESET", "CONFIGURE"):
        answer = bench.control(event)
        assert answer is not None
        assert answer.code == ""

    assert [one for one in told(bench) if one[0] != "w.a"] == []
    assert [function for function, _ in bench.called()] == ["x.Root()"] or bench.called()[0][0].startswith("x.Root")
    assert not any(one.hooks_run for one in bench.nodes.values())

    bench.modify(include=("det",))
    bench.control("START_ACTIVITY")
    assert [one.hooks_run for one in bench.nodes.values() if one.hooks_run] == [["w.det.h"]]
    assert len(bench.calls) == 3


def test_a_node_stands_for_all_tasks_on_it() -> None:
    bench = up()
    bench.modify(exclude_nodes=("n2",))
    assert bench.show().excluded == ("w.tpc", "w.emc")

    bench.modify(include_nodes=("n2",))
    assert bench.show().excluded == ()
    assert bench.state is EnvState.RUNNING


def test_a_part_of_what_is_excluded_can_be_included_and_the_rest_later() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    bench.modify(include=("its.ro",))
    assert bench.show().excluded == ("w.its.qc",)
    assert [(span.role, bool(span.end_ms)) for span in bench.run_info(1).degraded] == [
        ("w.its", True),
        ("w.its.qc", False),
    ]
    bench.modify(include=("its.qc",))
    assert all(span.end_ms for span in bench.run_info(1).degraded)


def test_one_detector_can_be_exchanged_for_another() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    answer = bench.modify(exclude=("tpc",), include=("its",))
    assert answer is not None
    assert answer.code == ""
    assert bench.show().excluded == ("w.tpc",)


def test_a_basic_task_is_ended_and_started_again() -> None:
    bench = up(flow=detectors(its=Mode.BASIC))
    bench.modify(exclude=("its",))
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    bench.modify(include=("its",))
    assert bench.nodes["n1"].launched == ["w.its.ro"]
    assert bench.task("w.its.ro").state is TaskState.RUNNING


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "nothing to modify"),
        ({"exclude": ("nowhere",)}, "no role of environment"),
        ({"include": ("its",)}, "is not excluded"),
        ({"exclude": ("its", "tpc", "mch", "emc", "trg")}, "nothing would be left"),
        ({"exclude": ("**",)}, "nothing would be left"),
        ({"exclude_nodes": ("n3",)}, "no task on node 'n3'"),
        ({"exclude": ("its",), "take_from": "x"}, "take_from says where"),
        ({"exclude": ("c",)}, "no role of environment"),
        ({"exclude": ("w",)}, "is the whole environment"),
        ({"exclude": ("a..b",)}, "no pattern"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(fields: dict[str, Any], text: str) -> None:
    bench = up()
    answer = bench.modify(**fields)
    assert answer is not None
    assert answer.code in ("E_INVALID", "E_USAGE")
    assert text in answer.message
    assert told(bench) == []
    assert bench.show().excluded == ()


def test_a_role_is_excluded_once() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    answer = bench.modify(exclude=("its.ro",))
    assert answer is not None
    assert (answer.code, answer.message) == ("E_INVALID", "'its.ro' is excluded already")
    assert answer.hint == "excluded now: w.its"


def test_a_role_without_tasks_is_refused() -> None:
    bench = up(flow=workflow(task("a"), group("g"), task("g.h", mode=Mode.HOOK, trigger="before_RESET"), task("b")))
    answer = bench.modify(exclude=("g",))
    assert answer is not None
    assert "stands for no task" in answer.message


def test_only_an_environment_that_is_configured_or_running_can_be_modified() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.control("RESET")
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == "E_STATE"
    assert "MODIFY" in answer.message


def test_a_busy_environment_is_not_modified() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.nodes["n1"].deaf = True
    bench.control("START_ACTIVITY")
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == "E_CONFLICT"


def channelled() -> Workflow:
    """`sink` binds, `source` connects to it."""
    made = workflow(task("sink"), task("source"), task("other"))
    roles = list(made.roles)
    roles[1] = attrs.evolve(roles[1], bind=(Channel(name="data", type="pull"),))
    roles[2] = attrs.evolve(roles[2], connect=(Channel(name="out", type="push", target="w.sink:data"),))
    return attrs.evolve(made, roles=tuple(roles))


def test_what_is_put_back_has_the_address_that_others_connect_to() -> None:
    bench = Bench(channelled())
    bench.create()
    address = configured(bench, "w.source")["chans.out.0.address"]
    bench.modify(exclude=("sink",))
    bench.control("RESET")
    bench.control("CONFIGURE")  # the other end is out: its address is kept for it
    assert configured(bench, "w.source")["chans.out.0.address"] == address
    bench.modify(include=("sink",))
    port = address.rpartition(":")[2]
    assert configured(bench, "w.sink")["chans.data.0.address"].rpartition(":")[2] == port


def test_what_is_put_back_connects_to_living_peers() -> None:
    bench = Bench(channelled())
    bench.create()
    address = configured(bench, "w.source")["chans.out.0.address"]
    bench.modify(exclude=("source",))
    bench.modify(include=("source",))
    assert configured(bench, "w.source")["chans.out.0.address"] == address
