"""What fails, dies or is missing while parts are taken out and put back, and what a core remembers of it."""

from __future__ import annotations

from typing import Any

import pytest

from libecs.engine.effects import Received
from libecs.fsm import EnvState, TaskState
from libecs.wire import client
from tests.engine.bench import CLIENT
from tests.engine.detectors import detectors, picture, up
from tests.engine.flows import task, workflow


def test_a_task_that_can_not_be_stopped_is_ended() -> None:
    bench = up()
    bench.nodes["n1"].refuse["w.its.ro", "STOP"] = "hardware is stuck"
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == ""
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.its.qc"]
    assert bench.state.name == "RUNNING"


def test_a_dead_node_is_excluded_from_a_run_that_goes_on() -> None:
    bench = up()
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    assert bench.state.name == "RUNNING"

    answer = bench.modify(exclude_nodes=("n2",))

    assert answer is not None
    assert answer.code == ""
    assert bench.state.name == "RUNNING"
    assert not bench.core.pool.idle
    spans = {(span.role, span.reason.partition(":")[0], bool(span.end_ms)) for span in bench.run_info(1).degraded}
    assert ("w.tpc", "excluded", False) in spans
    assert ("w.tpc.ro", "unknown", True) in spans

    bench.nodes["n2"].silent = False
    bench.send("n2", bench.nodes["n2"].hello())  # it comes back: what it holds is not wanted any more
    assert sorted(bench.nodes["n2"].killed) == ["w.emc.qc", "w.emc.ro", "w.tpc.qc", "w.tpc.ro"]
    assert bench.state.name == "RUNNING"

    bench.modify(include_nodes=("n2",))
    assert bench.show().excluded == ()
    assert {one.state for one in bench.show().tasks} == {TaskState.RUNNING}


def test_what_is_on_a_node_that_did_not_survive_the_core_is_let_go_at_once() -> None:
    bench = up()
    bench.nodes["n2"].silent = True
    bench.restart()
    bench.wait(12.0)
    answer = bench.modify(exclude_nodes=("n2",))
    assert answer is not None
    assert answer.code == ""
    assert bench.state.name == "RUNNING"
    assert bench.show().excluded == ("w.tpc", "w.emc")


def test_what_is_put_back_is_known_to_later_runs() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.workflow = detectors()
    bench.modify(exclude=("its",))
    bench.modify(include=("its",))
    env = bench.core.environments[bench.show().environment]
    assert env.packed_configuration == bench.records["configuration"][env.id]


def test_a_critical_task_that_dies_while_it_is_taken_out_is_nobodys_loss() -> None:
    bench = up()
    bench.nodes["n1"].deaf = True
    bench.modify(exclude=("its",))
    bench.kill("w.its.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(3.0)

    assert bench.state.name == "RUNNING"
    assert bench.show().excluded == ("w.its",)
    assert bench.nodes["n1"].killed == ["w.its.ro"]


def test_an_inclusion_that_fails_leaves_the_environment_as_it_was() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    before = picture(bench, "its")
    bench.nodes["n1"].refuse["w.its.ro", "CONFIGURE"] = "no clock"

    answer = bench.modify(include=("its",))

    assert answer is not None
    assert (answer.code, answer.state, answer.run_number) == ("E_TRANSITION", EnvState.RUNNING, 1)
    assert "no clock" in answer.message
    assert "stays excluded" in answer.message
    assert set(answer.failures) == {"w.its.ro"}
    assert bench.show().excluded == ("w.its",)
    assert bench.state.name == "RUNNING"
    assert picture(bench, "its") == before
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.its.qc"]
    assert bench.nodes["n1"].killed == ["w.its.ro"]  # nobody knows what state it is in
    assert bench.core.environments[bench.show().environment].modification is None

    bench.nodes["n1"].refuse.clear()
    again = bench.modify(include=("its",))
    assert again is not None
    assert again.code == ""


def test_a_part_that_dies_after_it_was_configured_fails_the_inclusion_and_not_the_run() -> None:
    bench = up()
    bench.modify(exclude=("its", "tpc"))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("its", "tpc"), operation="back")
    bench.kill("w.its.ro", signal=11)
    bench.nodes["n2"].deaf = False
    bench.wait(3.0)

    assert bench.answers["back"].code == "E_TRANSITION"
    assert bench.state.name == "RUNNING"
    assert bench.show().excluded == ("w.its", "w.tpc")


def test_what_finds_no_node_stays_excluded() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    bench.nodes["n2"].silent = True
    bench.wait(11.0)
    answer = bench.modify(include=("tpc",))
    assert answer is not None
    assert answer.code == "E_TRANSITION"
    assert "machine_id" in answer.message
    assert bench.show().excluded == ("w.tpc",)
    assert bench.state.name == "RUNNING"


def test_a_role_of_which_nothing_comes_back_is_not_included() -> None:
    bench = up(flow=workflow(task("a"), task("b", critical=False)))
    bench.modify(exclude=("b",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    for one in bench.nodes.values():
        one.deaf = True
    bench.modify(include=("b",), operation="back")
    bench.wait(100.0)
    assert bench.answers["back"].code == "E_TRANSITION"
    assert bench.show().excluded == ("w.b",)


def test_the_loss_of_another_task_ends_the_modification_with_the_run() -> None:
    bench = up()
    bench.nodes["n1"].deaf = True
    bench.modify(exclude=("its",), operation="out")
    bench.kill("w.tpc.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(10.0)

    assert bench.state.name == "ERROR"
    assert bench.answers["out"].code == "E_TRANSITION"
    assert bench.show().excluded == ()

    bench.control("RECOVER")
    assert bench.state.name == "DEPLOYED"
    assert bench.control("CONFIGURE") is not None
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}


def test_what_was_being_included_is_let_go_when_the_environment_fails() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("tpc",), operation="back")
    bench.kill("w.its.ro", signal=9)
    assert bench.state is EnvState.ERROR or bench.show().transition == "GO_ERROR"
    bench.nodes["n2"].deaf = False
    bench.wait(10.0)

    assert bench.state.name == "ERROR"
    assert bench.show().excluded == ("w.tpc",)
    assert not [one for one in bench.show().tasks if one.role.startswith("w.tpc") and not one.excluded]
    bench.control("RECOVER")
    assert bench.state.name == "DEPLOYED"


def test_destroying_by_force_ends_what_is_being_modified() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("tpc",), operation="back")
    bench.destroy(force=True)
    bench.nodes["n2"].deaf = False
    bench.wait(60.0)
    assert bench.answers["back"].code == "E_CONFLICT"
    assert not bench.core.environments
    assert not bench.nodes["n1"].tasks
    assert len(bench.nodes["n2"].tasks) == len(bench.core.pool.idle)
    for table in ("environment", "placement", "plan", "modification", "launched", "configuration"):
        assert not bench.records.get(table), table


@pytest.mark.parametrize("rounds", range(14))
@pytest.mark.parametrize("verb", ["exclude", "include"])
def test_a_core_that_is_killed_at_any_step_goes_on(verb: str, rounds: int) -> None:
    bench = up()
    if verb == "include":
        bench.modify(exclude=("its",))
    pids = {one.role: one.pid for one in bench.show().tasks}
    fields: dict[str, Any] = {verb: ("its",)}
    asked = client.Modify(operation="m", environment=bench.show().environment, **fields)
    bench.queue.append(Received(CLIENT, asked))
    for _ in range(rounds):
        if bench.queue:
            bench.perform(bench.core.handle(bench.queue.popleft(), bench.now))
    begun = "m" in bench.core.requests.operations
    bench.restart()
    bench.wait(8.0)

    assert bench.state.name == "RUNNING"
    if not begun:
        bench.modify(operation="m", **fields)
    assert bench.answers.get("m") is None or bench.answers["m"].code == ""
    assert bench.show().excluded == (("w.its",) if verb == "exclude" else ())
    assert {one.state for one in bench.show().tasks if not one.excluded} == {TaskState.RUNNING}
    others = {role: pid for role, pid in pids.items() if not role.startswith("w.its")}
    assert {one.role: one.pid for one in bench.show().tasks if not one.role.startswith("w.its")} == others
    assert bench.show().run_number == 1


def test_an_excluded_role_stays_so_over_a_restart_of_the_core() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    bench.restart()
    assert bench.show().excluded == ("w.its",)
    assert len(bench.core.pool.idle) == 2
    assert all(one.is_ready for one in bench.core.pool.idle.values())
    assert not [event for event in bench.events if event.kind == "orphan"]
    bench.control("STOP_ACTIVITY")
    bench.modify(include=("its",))
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}
