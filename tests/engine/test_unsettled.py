"""Tasks that are in the middle of something when their environment fails; attached tasks that somebody has already."""

from __future__ import annotations

import attrs

from libecs.fsm import EnvState, TaskState
from libecs.workflow.role import Workflow
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow


def interrupted(event: str) -> Bench:
    """Two nodes; `b` on n2 is in the middle of an event when `a` dies."""
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), ("n1", "n2"))
    bench.create(EnvState.CONFIGURED if event == "START" else EnvState.DEPLOYED)
    bench.nodes["n2"].deaf = True
    bench.control("START_ACTIVITY" if event == "START" else "CONFIGURE")
    bench.kill("w.a", signal=9)
    bench.nodes["n2"].heard.clear()
    return bench


def heard(bench: Bench) -> list[str]:
    return [message.event.name for message in bench.nodes["n2"].heard]


def test_a_task_in_the_middle_of_start_is_told_to_stop() -> None:
    bench = interrupted("START")
    bench.wait(1.5)
    assert set(heard(bench)) == {"STOP"}
    bench.nodes["n2"].deaf = False
    bench.wait(3.0)
    assert bench.state is EnvState.ERROR
    assert not bench.core.environments[bench.show().environment].record.unsettled


def test_what_is_in_the_middle_is_known_after_a_restart_of_the_core() -> None:
    bench = interrupted("START")
    bench.restart()
    bench.wait(1.5)
    assert set(heard(bench)) == {"STOP"}


def test_a_task_in_the_middle_of_configure_is_reset_by_recover() -> None:
    bench = interrupted("CONFIGURE")
    bench.wait(10.0)
    assert bench.state is EnvState.ERROR
    bench.nodes["n2"].deaf = False
    answer = bench.control("RECOVER")
    assert answer is not None
    assert answer.code == ""
    assert heard(bench) == ["RESET"]
    assert not bench.core.environments[bench.show().environment].record.unsettled


def test_a_task_that_is_settled_is_told_nothing_more() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), ("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.a", signal=9)
    bench.nodes["n2"].heard.clear()
    bench.control("RECOVER")
    assert heard(bench) == ["RESET"]
    assert {one.state for one in bench.show().tasks} == {TaskState.STANDBY}


def attached(*nodes: str, critical: bool = True) -> Workflow:
    roles = [task(f"x{n}", node=node, critical=critical) for n, node in enumerate(nodes)]
    made = workflow(*roles, task("z"))
    direct = attrs.evolve(made.classes["DIRECT"], endpoint="tcp://pi:47100")
    classes = {**made.classes, "DIRECT": direct, "PLAIN": attrs.evolve(made.classes["DIRECT"], name="PLAIN")}
    plain = made.roles[-1].task
    assert plain is not None
    last = attrs.evolve(made.roles[-1], task=attrs.evolve(plain, class_name="PLAIN"))
    return attrs.evolve(made, roles=(*made.roles[:-1], last), classes=classes)


def test_what_another_environment_has_attached_through_any_node_is_refused() -> None:
    bench = Bench(attached("n1"), ("n1", "n2"))
    first = bench.create()
    bench.workflow = attached("n2")
    second = bench.create()
    assert second != first
    assert bench.show(second).state is EnvState.ERROR
    assert (
        f"tcp://pi:47100 is attached to environment {first} (test) as w.x0 on node n1 already"
        in bench.show(second).cause
    )
    assert bench.show(first).state is EnvState.CONFIGURED

    bench.destroy(second, force=True)
    bench.destroy(first)
    bench.create()
    assert bench.state is EnvState.CONFIGURED


def test_two_roles_of_one_environment_can_not_attach_the_same() -> None:
    bench = Bench(attached("n1", "n2"), ("n1", "n2"))
    bench.create()
    assert bench.state is EnvState.ERROR
    assert "is attached to this environment as w.x0 already" in bench.show().cause


def test_who_can_do_without_an_attached_task_goes_on() -> None:
    bench = Bench(attached("n1", critical=False), ("n1", "n2"))
    bench.create()
    bench.workflow = attached("n2", critical=False)
    second = bench.create()
    assert bench.show(second).state is EnvState.CONFIGURED
    assert [one.role for one in bench.show(second).tasks] == ["w.z"]
    told = [event.text for event in bench.events if event.role == "w.x0" and not event.ok]
    assert len(told) == 1
    assert "already" in told[0]
