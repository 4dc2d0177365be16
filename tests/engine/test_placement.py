"""Placement: who runs where, and why not elsewhere."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.engine.effects import Disconnected, Received
from libecs.engine.placement import NodeOffer, place, runnable
from libecs.errors import Unplaceable
from libecs.fsm import EnvState, Mode
from libecs.wire import client
from libecs.wire.node import Limits
from libecs.workflow.constraints import unsatisfied
from libecs.workflow.role import Channel, Constraint, Workflow
from tests.engine.bench import Bench
from tests.engine.detectors import detectors
from tests.engine.flows import task, workflow


def offer(name: str, **fields: object) -> NodeOffer:
    attributes = {"machine_id": name, "kind": "flp,daq"}
    return NodeOffer(name=name, host=f"10.0.0.{name[-1]}", attributes=attributes, ports=((9000, 9009),), **fields)  # type: ignore[arg-type]


def ids(flow: Workflow) -> dict[int, str]:
    return {index: f"t{index}" for index in runnable(flow)}


def wanting(flow: Workflow, **limits: object) -> Workflow:
    wants = Limits(**limits)  # type: ignore[arg-type]
    return attrs.evolve(flow, classes={k: attrs.evolve(v, wants=wants) for k, v in flow.classes.items()})


def binding(flow: Workflow, *channels: Channel) -> Workflow:
    roles = tuple(attrs.evolve(role, bind=channels) if role.task else role for role in flow.roles)
    return attrs.evolve(flow, roles=roles)


def test_a_constraint_puts_a_task_on_its_machine_and_says_so() -> None:
    flow = workflow(task("a", node="n2"), task("b", node="n1"))

    placed = place(flow, [offer("n1"), offer("n2")], ids(flow))

    assert {flow.roles[one.role].name: one.node for one in placed} == {"a": "n2", "b": "n1"}
    assert placed[0].reason == "machine_id = n2"


def test_constraints_are_a_logical_and() -> None:
    flow = workflow(task("a"))
    both = (Constraint(attribute="kind", value="epn"), Constraint(attribute="machine_id", value="n1"))
    flow = attrs.evolve(flow, roles=(flow.roles[0], attrs.evolve(flow.roles[1], constraints=both)))

    with pytest.raises(Unplaceable, match=r"no node with kind = epn \(n1: kind is flp,daq, not epn\)"):
        place(flow, [offer("n1")], ids(flow))


def test_one_of_several_values_of_an_attribute_is_enough() -> None:
    assert unsatisfied(Constraint(attribute="kind", value="daq"), {"kind": "flp,daq"}) == ""
    assert "has no attribute rack" in unsatisfied(Constraint(attribute="rack", value="1"), {"kind": "flp"})


def test_tasks_without_a_wish_are_spread_evenly() -> None:
    flow = workflow(*(task(f"t{i}") for i in range(6)))

    placed = place(flow, [offer("n1"), offer("n2"), offer("n3")], ids(flow))

    counts = [sum(1 for one in placed if one.node == name) for name in ("n1", "n2", "n3")]
    assert counts == [2, 2, 2]
    assert placed[0].reason == "least loaded of 3"


def test_inbound_channels_get_addresses_that_nobody_else_has() -> None:
    tcp = Channel(name="data", type="push")
    ipc = Channel(name="local", type="push", addressing="ipc")
    fixed = Channel(name="fixed", type="pub", target="tcp://*:5555")
    flow = binding(workflow(task("a", node="n1"), task("b", node="n1")), tcp, ipc, fixed)

    placed = place(flow, [offer("n1")], ids(flow))

    assert [one.endpoints["data"] for one in placed] == ["tcp://10.0.0.1:9000", "tcp://10.0.0.1:9001"]
    assert len({one.endpoints["local"] for one in placed}) == 2
    assert placed[0].ports == (9000,)


def test_ports_and_resources_in_use_are_left_alone() -> None:
    flow = binding(wanting(workflow(task("a")), cpu=1.0, memory_mb=10.0), Channel(name="data", type="push"))
    used = offer("n1", used_ports=frozenset({9000, 9001}), cpus=4.0, used_cpus=3.0, memory_mb=100.0)

    (one,) = place(flow, [used], ids(flow))

    assert one.ports == (9002,)


@pytest.mark.parametrize(
    ("limits", "fields", "said"),
    [
        ({"cpu": 2.0}, {"cpus": 2.0, "used_cpus": 1.0}, "wants 2 CPUs, 1 of 2 are free"),
        (
            {"memory_mb": 64.0},
            {"memory_mb": 100.0, "used_memory_mb": 50.0},
            "wants 64 MB of memory, 50 of 100 are free",
        ),
        ({"ports": (9003,)}, {"used_ports": frozenset({9003})}, "port 9003 is in use"),
    ],
)
def test_a_full_node_says_what_it_lacks(limits: dict[str, object], fields: dict[str, object], said: str) -> None:
    flow = wanting(workflow(task("a", node="n1")), **limits)

    with pytest.raises(Unplaceable, match=said):
        place(flow, [offer("n1", **fields)], ids(flow))


def test_a_node_without_free_ports_says_so() -> None:
    flow = binding(workflow(task("a", node="n1")), *(Channel(name=f"c{i}", type="push") for i in range(11)))

    with pytest.raises(Unplaceable, match="needs 11 TCP ports, too few are free in 9000-9009"):
        place(flow, [offer("n1")], ids(flow))


def test_without_nodes_nothing_can_be_placed() -> None:
    with pytest.raises(Unplaceable, match="there are no nodes"):
        place(workflow(task("a")), [], ids(workflow(task("a"))))


def test_a_non_critical_task_that_fits_nowhere_is_left_out() -> None:
    flow = workflow(task("a", critical=False, node="n9"), task("b"))

    placed = place(flow, [offer("n1")], ids(flow))

    assert [flow.roles[one.role].name for one in placed] == ["b"]


def test_a_task_stays_on_the_node_it_was_on() -> None:
    flow = workflow(task("a"))

    (one,) = place(flow, [offer("n1"), offer("n2")], ids(flow), keep={1: "n2"})

    assert one.node == "n2"


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_the_same_question_has_the_same_answer_and_no_port_is_given_twice(
    tasks: int, nodes: int, channels: int
) -> None:
    bound = [Channel(name=f"c{i}", type="push") for i in range(channels)]
    flow = binding(workflow(*(task(f"t{i}", mode=Mode.DIRECT) for i in range(tasks))), *bound)
    offers = [attrs.evolve(offer(f"n{i}"), ports=((9000, 9099),)) for i in range(nodes)]

    once = place(flow, offers, ids(flow))
    again = place(flow, offers[::-1], ids(flow))

    assert once == again
    taken = [(one.node, port) for one in once for port in one.ports]
    assert len(taken) == len(set(taken)) == tasks * channels


@given(st.data())
def test_the_least_loaded_node_that_fits_is_chosen_whatever_was_refused_before(data: st.DataObject) -> None:
    """The heaps of nodes choose what looking at all nodes for each task would choose."""
    names = [f"n{i}" for i in range(1, data.draw(st.integers(1, 4)) + 1)]
    offers = [offer(name, cpus=data.draw(st.sampled_from([1.0, 2.0, 3.0]))) for name in names]
    wishes = data.draw(st.lists(st.sampled_from(["", *names]), min_size=1, max_size=8))
    small = [data.draw(st.booleans()) for _ in wishes]
    flow = workflow(*(task(f"t{i}", node=node, critical=False) for i, node in enumerate(wishes)))
    classes = dict(flow.classes)
    for name, cpu in (("small", 0.5), ("large", 1.0)):
        classes[name] = attrs.evolve(flow.classes["DIRECT"], name=name, wants=Limits(cpu=cpu))
    roles = [flow.roles[0]]
    for role, is_small in zip(flow.roles[1:], small, strict=True):
        assert role.task is not None
        chosen = attrs.evolve(role.task, class_name="small" if is_small else "large")
        roles.append(attrs.evolve(role, task=chosen))
    flow = attrs.evolve(flow, roles=tuple(roles), classes=classes)

    placed = {one.role: one.node for one in place(flow, offers, ids(flow))}

    load, free = dict.fromkeys(names, 0), {one.name: one.cpus for one in offers}
    for index in sorted(placed.keys() | ids(flow).keys(), key=lambda i: (not flow.roles[i].constraints, i)):
        cpu = 0.5 if small[index - 1] else 1.0
        fitting = [n for n in names if wishes[index - 1] in ("", n) and free[n] >= cpu]
        expected = min(fitting, key=lambda n: (load[n], n), default=None)
        assert placed.get(index) == expected
        if expected is not None:
            load[expected] += 1
            free[expected] -= cpu


# nodes that are away


def begin_without(gone: str) -> Bench:
    """Ask for a task on each of two nodes when the executor of one has just ended."""
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.queue.append(Disconnected(gone))
    bench.run()
    bench.nodes[gone].silent = True
    bench.wait(1.0)
    bench.create()
    assert "op1" not in bench.answers
    return bench


def test_a_node_that_was_here_a_moment_ago_is_waited_for() -> None:
    bench = begin_without("n2")

    bench.nodes["n2"].silent = False
    bench.queue.append(Received("n2", bench.nodes["n2"].hello()))
    bench.run()

    assert bench.answers["op1"].code == ""
    assert bench.nodes["n2"].launched == ["w.b"]


def test_a_node_that_only_was_silent_is_taken_as_soon_as_it_speaks_again() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.nodes["n2"].silent = True
    bench.wait(3.0)
    bench.create()
    assert "op1" not in bench.answers

    bench.nodes["n2"].silent = False
    bench.wait(1.0)

    assert bench.answers["op1"].code == ""
    assert bench.nodes["n2"].launched == ["w.b"]


def test_a_node_that_stays_away_is_named_after_ten_seconds() -> None:
    bench = begin_without("n2")

    bench.wait(8.0)
    assert "op1" not in bench.answers
    bench.wait(1.5)

    answer = bench.answers["op1"]
    assert answer.code == "E_TRANSITION"
    assert answer.failures == {
        "w.b": "no node with machine_id = n2 (n1: machine_id is n1, not n2); not connected: n2",
    }


def begin_group_without_n2() -> Bench:
    """Ask for a group that can do without the members of a node whose executor has just ended."""
    bench = Bench(detectors(minimum=3), nodes=("n1", "n2"))
    bench.queue.append(Disconnected("n2"))
    bench.run()
    bench.nodes["n2"].silent = True
    bench.wait(1.0)
    bench.create(target=EnvState.RUNNING)
    assert "op1" not in bench.answers
    return bench


def test_members_that_a_group_can_do_without_wait_for_their_node_too() -> None:
    bench = begin_group_without_n2()

    bench.nodes["n2"].silent = False
    bench.queue.append(Received("n2", bench.nodes["n2"].hello()))
    bench.run()

    assert bench.answers["op1"].code == ""
    assert sorted(bench.nodes["n2"].launched) == ["w.emc.qc", "w.emc.ro", "w.tpc.qc", "w.tpc.ro"]
    assert bench.run_info(1).degraded == ()


def test_a_group_does_without_members_whose_node_stays_away() -> None:
    bench = begin_group_without_n2()

    bench.wait(8.0)
    assert "op1" not in bench.answers
    bench.wait(1.5)

    assert bench.answers["op1"].code == ""
    assert bench.state is EnvState.RUNNING
    assert {span.role for span in bench.run_info(1).degraded} == {"w.tpc.ro", "w.emc.ro"}


def test_a_node_that_takes_nothing_new_is_not_waited_for() -> None:
    bench = Bench(workflow(task("b", node="n2")), nodes=("n1", "n2"))
    bench.ask(client.Drain(operation="d", node="n2"))
    bench.queue.append(Disconnected("n2"))
    bench.run()

    bench.create()

    assert bench.answers["op1"].code == "E_TRANSITION"
