"""How long tasks have for what they are told: their templates' times, each its own."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest

from libecs.engine import launching, steps, transits
from libecs.fsm import EnvState, Mode, TaskEvent, TaskState
from libecs.wire import client, node
from libecs.wire.node import Phase
from libecs.workflow.role import TaskClass, Workflow
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow


def timed(times: Mapping[str, float], mode: Mode = Mode.DIRECT, **fields: object) -> Workflow:
    """Two tasks: `slow` has these times, `usual` none."""
    flow = workflow(task("slow", mode=mode), task("usual"))
    slow = attrs.evolve(flow.classes[mode.name], name="slow", transition_s=times, **fields)  # type: ignore[arg-type]
    role = flow.roles[1]
    assert role.task is not None
    role = attrs.evolve(role, task=attrs.evolve(role.task, class_name="slow"))
    return attrs.evolve(flow, roles=(flow.roles[0], role, flow.roles[2]), classes={**flow.classes, "slow": slow})


def told(bench: Bench, event: TaskEvent) -> dict[str, float]:
    """Return role to the seconds that it was given."""
    one = bench.nodes["n1"]
    return {
        one.specs[name].role: message.deadline_s
        for message in one.commands
        if message.event is event
        for name in message.tasks
    }


@pytest.mark.parametrize(
    ("event", "control"),
    [
        (TaskEvent.CONFIGURE, "CONFIGURE"),
        (TaskEvent.START, "START_ACTIVITY"),
        (TaskEvent.STOP, "STOP_ACTIVITY"),
        (TaskEvent.RESET, "RESET"),
    ],
)
def test_each_task_has_the_time_of_its_own_template(event: TaskEvent, control: str) -> None:
    bench = Bench(timed({event.name: 300.0}))
    bench.create()
    for name in ("START_ACTIVITY", "STOP_ACTIVITY", "RESET"):
        bench.control(name)

    assert told(bench, event) == {"w.slow": 300.0, "w.usual": transits.TRANSITION_S[event]}


def test_the_core_waits_for_the_slowest_and_no_longer() -> None:
    bench = Bench(timed({"START": 60.0}))
    bench.create()
    bench.nodes["n1"].deaf = True
    bench.control("START_ACTIVITY")

    bench.wait(59.0)
    assert bench.state.name == "CONFIGURED"
    bench.wait(transits.GRACE_S + 2.0)
    bench.wait(transits.LENIENT_S + transits.GRACE_S + 1)

    assert bench.state.name == "ERROR"
    assert set(bench.show().failures) == {"w.slow", "w.usual"}


def test_recovering_takes_the_times_of_the_template_too() -> None:
    bench = Bench(timed({"RECOVER": 70.0, "RESET": 80.0}))
    bench.create()
    bench.change("w.slow", state=TaskState.ERROR, error="broken")
    bench.nodes["n1"].commands.clear()
    bench.control("RECOVER")

    assert told(bench, TaskEvent.RECOVER) == {"w.slow": 70.0}
    assert told(bench, TaskEvent.RESET) == {"w.usual": transits.LENIENT_S}


def test_nobody_waits_long_for_the_siblings_of_a_task_that_failed() -> None:
    bench = Bench(timed({"STOP": 300.0}))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.usual", signal=9)

    assert told(bench, TaskEvent.STOP) == {"w.slow": transits.LENIENT_S}


def specs(bench: Bench) -> dict[str, node.TaskSpec]:
    return {spec.role: spec for spec in bench.nodes["n1"].specs.values()}


def test_launching_has_the_time_of_deploy() -> None:
    bench = Bench(timed({"DEPLOY": 200.0}))
    bench.create()

    assert specs(bench)["w.slow"].start_s == 200.0
    assert specs(bench)["w.usual"].start_s == 45.0


@pytest.mark.parametrize(("variables", "seconds"), [({}, 202.0), ({"deploy_timeout": "20s"}, 20.0)])
def test_deploying_waits_for_the_slowest_launch_unless_the_workflow_says_how_long(
    variables: dict[str, str], seconds: float
) -> None:
    bench = Bench(attrs.evolve(timed({"DEPLOY": 200.0}), user_vars=variables))
    bench.nodes["n1"].deaf = True
    bench.create()

    bench.wait(seconds - 1.0)
    assert bench.state.name == "STANDBY"
    bench.wait(2.5)

    assert bench.state.name == "ERROR"


def test_deploying_has_its_usual_time_without_a_word() -> None:
    bench = Bench(workflow(task("a")))
    bench.nodes["n1"].deaf = True
    bench.create()

    bench.wait(launching.DEPLOY_S + 1.5)

    assert bench.state.name == "ERROR"


def test_ending_waits_for_the_walk_that_the_template_wants() -> None:
    bench = Bench(timed({"EXIT": 30.0}))
    bench.create(target=EnvState.DEPLOYED)
    assert specs(bench)["w.slow"].exit_s == 30.0
    assert specs(bench)["w.usual"].exit_s == 0.0
    bench.nodes["n1"].deaf = True
    bench.destroy()

    bench.wait(steps.KILL_S + 1.5)
    assert bench.core.environments
    bench.wait(steps.WALK * 30.0)

    assert not bench.core.environments


def test_a_program_has_the_time_of_its_stop_before_it_is_killed() -> None:
    given = Bench(timed({"STOP": 8.0}, mode=Mode.BASIC, stop="SIGINT", stop_s=3.0))
    given.create()
    bench = Bench(timed({"STOP": 8.0}, mode=Mode.BASIC, stop="SIGINT"))
    bench.create()

    assert (specs(given)["w.slow"].stop_s, specs(given)["w.slow"].stop_signal) == (3.0, 2)
    assert specs(bench)["w.slow"].stop_s == 8.0
    assert specs(bench)["w.usual"].stop_s == 0.0


def test_what_the_end_of_a_program_means_is_told_to_its_node() -> None:
    flow = workflow(task("a", mode=Mode.BASIC))
    strict: TaskClass = attrs.evolve(flow.classes["BASIC"], on_exit="error")
    for classes, expected in ((flow.classes, False), ({**flow.classes, "BASIC": strict}, True)):
        bench = Bench(attrs.evolve(flow, classes=classes))
        bench.create()
        (spec,) = bench.nodes["n1"].specs.values()
        assert spec.exit_is_error is expected


def test_an_attached_task_is_shown_as_such() -> None:
    flow = workflow(task("a"), task("b"))
    far = attrs.evolve(flow.classes["DIRECT"], name="far", endpoint="tcp://pi:47100")
    traits = flow.roles[1].task
    assert traits is not None
    role = attrs.evolve(flow.roles[1], task=attrs.evolve(traits, class_name="far"))
    flow = attrs.evolve(flow, roles=(flow.roles[0], role, flow.roles[2]), classes={**flow.classes, "far": far})
    bench = Bench(flow)
    bench.create()

    assert [(one.role, one.attached) for one in bench.show().tasks] == [("w.a", True), ("w.b", False)]
    (spec,) = [spec for spec in bench.nodes["n1"].specs.values() if spec.role == "w.a"]
    assert (spec.attached, spec.endpoint, spec.command.argv) == (True, "tcp://pi:47100", ())


def test_a_command_that_cant_be_made_fails_the_launch_at_once() -> None:
    flow = workflow(task("a"), task("b"))
    flow = attrs.evolve(
        flow, classes={**flow.classes, "DIRECT": attrs.evolve(flow.classes["DIRECT"], command="{{ x }}")}
    )
    bench = Bench(flow)
    bench.create()

    assert bench.state.name == "ERROR"
    assert set(bench.answers["op1"].failures) == {"w.a", "w.b"}


def test_properties_that_cant_be_made_fail_the_transition_at_once() -> None:
    flow = workflow(task("a"))
    broken = attrs.evolve(flow.classes["DIRECT"], properties={"gain": "{{ x }}"})
    bench = Bench(attrs.evolve(flow, classes={**flow.classes, "DIRECT": broken}))
    bench.create()

    assert bench.state.name == "ERROR"
    assert "CONFIGURE failed" in bench.answers["op1"].cause
    assert not bench.nodes["n1"].commands
    assert next(iter(bench.nodes["n1"].tasks.values())).phase is Phase.ACTIVE


@pytest.mark.parametrize("lost", [False, True])
def test_a_critical_task_that_dies_while_others_are_launched_fails_the_launch(lost: bool) -> None:
    """Also when its node is silent by the time that the others are there: what was told of it before still holds."""
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.nodes["n2"].deaf = True
    bench.operation += 1
    bench.ask(client.Create(operation="c", workflow="w", target=EnvState.DEPLOYED))
    bench.kill("w.a", signal=9)
    assert bench.show().transition == "DEPLOY"
    if lost:
        bench.nodes["n1"].silent = True
        bench.wait(3.0)

    bench.nodes["n2"].deaf = False
    bench.wait(8.0)  # it is told again

    assert bench.state.name == "ERROR"
    assert "w.a" in bench.show().cause
