"""Groups that can do without members, and tasks whose death does not matter."""

from __future__ import annotations

import attrs

from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire.info import RunCondition
from libecs.wire.node import Exit, ExitCause, Phase
from libecs.workflow.role import TaskTraits, Workflow
from tests.engine.bench import Bench
from tests.engine.detectors import detectors, up
from tests.engine.flows import task, workflow

# groups that can do without members


def test_fewer_members_than_the_minimum_are_refused() -> None:
    bench = up(flow=detectors(minimum=4))  # of five
    assert bench.modify(exclude=("its",)).code == ""  # type: ignore[union-attr] # None fails the test
    answer = bench.modify(exclude=("tpc",))
    assert answer is not None
    assert answer.code == "E_INVALID"
    assert answer.message == "w needs 4 whole members, 3 would be left"
    assert next(role for role in bench.show().roles if role.path == "w").min == 4


def test_a_death_is_borne_as_long_as_enough_members_are_whole() -> None:
    bench = up(flow=detectors(minimum=4))
    bench.kill("w.its.ro", signal=9)
    assert bench.state.name == "RUNNING"
    assert bench.show().roles[0].state is TaskState.RUNNING
    (span,) = bench.run_info(1).degraded
    assert span.role == "w.its.ro"

    bench.kill("w.tpc.ro", signal=9)
    assert bench.state.name == "ERROR"
    assert "w.tpc.ro" in bench.show().cause


def test_the_next_transitions_do_without_the_dead_member() -> None:
    bench = up(flow=detectors(minimum=4))
    bench.kill("w.its.ro", signal=9)
    for event, state in (
        ("STOP_ACTIVITY", "CONFIGURED"),
        ("START_ACTIVITY", "RUNNING"),
        ("STOP_ACTIVITY", "CONFIGURED"),
    ):
        answer = bench.control(event)
        assert answer is not None
        assert (answer.code, answer.state.name) == ("", state)
    run = bench.run_info(2)
    assert run.condition is RunCondition.DEGRADED
    assert [span.role for span in run.degraded] == ["w.its.ro"]


def test_a_start_with_fewer_members_than_the_minimum_is_refused() -> None:
    bench = up(EnvState.CONFIGURED, detectors(minimum=5))
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    answer = bench.control("START_ACTIVITY")
    assert answer is not None
    assert answer.code == "E_INVALID"
    assert answer.message.startswith("w needs 5 whole members and has 3")
    assert bench.state.name == "CONFIGURED"


def test_what_finds_no_node_is_done_without_if_the_group_can() -> None:
    bench = Bench(detectors(minimum=3), ("n1",))  # its, mch and the trigger
    bench.create(target=EnvState.RUNNING)
    assert bench.state.name == "RUNNING"
    assert {span.role for span in bench.run_info(1).degraded} == {"w.tpc.ro", "w.emc.ro"}


def test_what_finds_no_node_and_is_needed_is_an_error() -> None:
    bench = Bench(detectors(minimum=4), ("n1",))
    bench.create()
    assert bench.state.name == "ERROR"


def test_failures_of_a_transition_are_judged_together() -> None:
    for refusing, state in ((("its",), EnvState.RUNNING), (("its", "mch"), EnvState.ERROR)):
        bench = up(EnvState.CONFIGURED, detectors(minimum=4))
        for name in refusing:
            bench.nodes["n1"].refuse[f"w.{name}.ro", "START"] = "no"
        bench.control("START_ACTIVITY")
        bench.wait(8.0)
        assert bench.state is state


# tasks whose death does not matter


def dropping(minimum: int = 0) -> Workflow:
    made = detectors(minimum)
    direct = attrs.evolve(made.classes["DIRECT"], on_exit="drop")
    roles = list(made.roles)
    n = next(n for n, role in enumerate(roles) if role.path == "w.its.ro")
    roles[n] = attrs.evolve(roles[n], task=TaskTraits(class_name="DROP", mode=Mode.DIRECT))
    return attrs.evolve(made, roles=tuple(roles), classes={**made.classes, "DROP": attrs.evolve(direct, name="DROP")})


def test_a_task_that_may_be_dropped_is_excluded_when_it_dies() -> None:
    bench = up(flow=dropping())
    bench.kill("w.its.ro", signal=9)
    assert bench.state.name == "RUNNING"
    assert bench.show().excluded == ("w.its.ro",)
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    (span,) = bench.run_info(1).degraded
    assert (span.role, span.end_ms) == ("w.its.ro", 0)
    bench.modify(include=("its.ro",))
    assert bench.task("w.its.ro").state is TaskState.RUNNING
    assert bench.run_info(1).degraded[0].end_ms


def test_a_task_that_may_be_dropped_is_missed_where_its_group_is_too_small_then() -> None:
    bench = up(flow=dropping(minimum=5))
    bench.kill("w.its.ro", signal=9)
    assert bench.state.name == "ERROR"


def test_a_task_that_dies_in_a_transition_is_dropped_after_it() -> None:
    bench = up(EnvState.CONFIGURED, dropping())
    bench.nodes["n1"].deaf = True
    bench.control("START_ACTIVITY")
    bench.kill("w.its.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(8.0)
    assert bench.state.name == "RUNNING"
    assert bench.show().excluded == ("w.its.ro",)


def test_the_last_task_is_not_dropped() -> None:
    made = workflow(task("a"))
    flow = attrs.evolve(made, classes={**made.classes, "DIRECT": attrs.evolve(made.classes["DIRECT"], on_exit="drop")})
    bench = up(flow=flow)
    bench.kill("w.a", signal=9)
    assert bench.state.name == "ERROR"


def test_the_death_of_an_excluded_task_in_the_pool_is_told() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    one = bench.nodes["n1"]
    name = one.find("w.its.ro")
    one.tasks[name] = attrs.evolve(
        one.tasks[name], phase=Phase.EXITED, state=TaskState.ERROR, exit=Exit(cause=ExitCause.SIGNALED, signal=9)
    )
    bench.send("n1", one.update(name))
    assert name not in bench.core.pool.idle
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    told_of = [event for event in bench.events if event.kind == "pool" and event.state == "GONE"]
    assert [event.text for event in told_of] == ["1 task on node n1: killed by signal 9"]
    assert bench.state.name == "RUNNING"
