"""Where AliECS surprises its users and we chose otherwise: one test for each row of the decision record 0002."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from libecs.engine.effects import Received
from libecs.engine.placement import NodeOffer, place, runnable
from libecs.engine.transitioner import TRANSITIONERS
from libecs.errors import Unplaceable
from libecs.fsm import Mode
from libecs.wire import client
from libecs.wire.node import Limits
from tests.engine.bench import CLIENT, Bench, never
from tests.engine.flows import call, task, workflow


def test_after_a_failed_transition_nothing_is_going_on() -> None:
    bench = Bench(workflow(task("a")))
    bench.nodes["n1"].refuse["w.a", "CONFIGURE"] = "no"
    bench.create()

    assert bench.show().transition == ""
    assert bench.show().step == ""
    recovered = bench.control("RECOVER")
    assert recovered is not None
    assert recovered.code == ""


def test_a_workflow_of_non_critical_tasks_only_deploys() -> None:
    bench = Bench(workflow(task("a", critical=False), task("b", critical=False)))
    bench.create()

    assert bench.state.name == "CONFIGURED"


def test_a_workflow_of_calls_only_goes_through_its_life() -> None:
    bench = Bench(workflow(call("c", "x.Y()", "before_START_ACTIVITY")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    bench.destroy()

    assert bench.states()[-1] == "DONE"


def test_notifications_do_not_put_the_deadline_of_deploying_off() -> None:
    bench = Bench(
        workflow(task("a", node="n1"), task("b", node="n2"), variables={"deploy_timeout": "10s"}), nodes=("n1", "n2")
    )
    bench.nodes["n2"].silent = True
    bench.create()
    for _ in range(12):
        one = bench.nodes["n1"]
        bench.send("n1", one.update(*one.tasks))
        bench.wait(1.0)

    assert bench.state.name == "ERROR"


def test_the_end_of_one_stream_waits_for_programs_that_still_work_and_for_no_hook() -> None:
    hook = task("h", mode=Mode.BASIC, trigger="after_NOTHING")
    bench = Bench(workflow(task("a"), task("b"), task("p", mode=Mode.BASIC), hook))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.change("w.a", end_of_stream=True)
    assert bench.state.name == "RUNNING"
    bench.change("w.p", end_of_stream=True)

    assert bench.state.name == "CONFIGURED"


def test_hooks_of_a_moment_that_does_not_exist_never_run_and_nothing_says_that_they_did() -> None:
    bench = Bench(workflow(task("a"), call("c", "x.Y()", "before_CREATE")))
    bench.create()
    bench.destroy()

    assert bench.called() == []
    assert not any("CREATE" in event.moment for event in bench.events)


def test_a_request_has_no_field_without_effect() -> None:
    assert "public" not in {field.name for field in attrs.fields(client.Create)}


def test_a_variable_for_one_role_is_refused_instead_of_forgotten() -> None:
    bench = Bench(workflow(task("a")))
    variables: dict[str, Any] = {"path.to.role:key": "value"}
    bench.create(**variables)

    assert bench.answers["op1"].code == "E_USAGE"
    assert bench.core.environments == {}


def test_every_control_mode_has_a_transitioner() -> None:
    assert set(TRANSITIONERS) == set(Mode)


def test_one_environment_never_waits_for_another() -> None:
    slow = workflow(task("a"), call("c", "x.Slow()", "before_START_ACTIVITY"))
    bench = Bench(slow, integrations={"x.Slow": never})
    first = bench.create()
    bench.control("START_ACTIVITY", first)
    bench.workflow = workflow(task("a"))

    bench.create()
    second = next(name for name in bench.core.environments if name != first)
    started = bench.control("START_ACTIVITY", second)

    assert started is not None
    assert started.state.name == "RUNNING"


def test_subscribing_is_answered_at_once_with_the_number_to_go_on_from() -> None:
    bench = Bench(workflow(task("a")))
    bench.queue.append(Received(CLIENT, client.Subscribe(request="s")))
    bench.run()

    assert bench.shown == ()
    assert bench.core.sequence == len(bench.events)


def offer(name: str, **fields: object) -> NodeOffer:
    return NodeOffer(name=name, host=name, attributes={"machine_id": name}, **fields)  # type: ignore[arg-type]


def test_packing_a_node_counts_cpu_and_memory_as_well_as_ports() -> None:
    flow = workflow(task("a"), task("b"), task("c"))
    wants = Limits(cpu=1.0, memory_mb=100.0)
    flow = attrs.evolve(flow, classes={k: attrs.evolve(v, wants=wants) for k, v in flow.classes.items()})
    ids = {index: str(index) for index in runnable(flow)}

    with pytest.raises(Unplaceable, match="wants 1 CPUs, 0 of 2 are free"):
        place(flow, [offer("n1", cpus=2.0)], ids)
    with pytest.raises(Unplaceable, match="wants 100 MB of memory, 50 of 250 are free"):
        place(flow, [offer("n1", memory_mb=250.0)], ids)


def test_a_task_that_fits_nowhere_takes_no_other_with_it() -> None:
    flow = workflow(task("a", node="n1", critical=False), task("b", node="n1"), task("c", node="n9"))
    ids = {index: str(index) for index in runnable(flow)}

    with pytest.raises(Unplaceable) as caught:
        place(flow, [offer("n1")], ids)

    assert set(caught.value.reasons) == {"w.c"}


def test_destroying_ends_although_a_node_is_lost_and_its_tasks_end_when_it_is_back() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create()
    bench.nodes["n2"].silent = True
    bench.destroy(force=True)
    bench.wait(60.0)

    assert bench.core.environments == {}
    assert len(bench.records["condemned"]) == 1
    bench.nodes["n2"].silent = False
    bench.wait(10.0)
    assert bench.nodes["n2"].tasks == {}
    assert not bench.records["condemned"]


def test_creating_an_environment_ends_nobodys_tasks() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.records = {"core": bench.records["core"]}
    bench.restart()  # its task is an orphan now
    bench.create()

    assert len(bench.nodes["n1"].tasks) == 2


def test_a_step_that_went_well_is_told_as_such() -> None:
    bench = Bench(workflow(task("a"), call("c", "x.Y()", "leave_DEPLOYED")))
    bench.create()

    steps = [event for event in bench.events if event.kind == "transition.step" and event.moment == "leave_DEPLOYED"]
    assert steps
    assert all(event.ok for event in steps)
