"""Transition plans as lists that people can read."""

from __future__ import annotations

import itertools

import pytest

from libecs.engine import plan
from libecs.fsm import ENVIRONMENT, EnvEvent, EnvState
from libecs.wire.codec import pack_value, unpack_value
from tests.engine.flows import call, group, task, workflow


def described(made: plan.Plan) -> list[str]:
    return [step.describe() for step in made.steps]


def test_a_start_has_its_steps_in_order() -> None:
    flow = workflow(
        task("a"),
        call("c1", "x.A()", "before_START_ACTIVITY-10", "after_START_ACTIVITY-1"),
        call("c2", "x.B()", "before_START_ACTIVITY"),
        task("h", trigger="enter_RUNNING"),
    )

    made = plan.transition(flow, EnvEvent.START_ACTIVITY, EnvState.CONFIGURED)

    assert described(made) == [
        "before_START_ACTIVITY-10: start 1 call",
        "before_START_ACTIVITY: take run number",
        "before_START_ACTIVITY: start 1 call",
        "before_START_ACTIVITY: await 1 call",
        "tasks: START",
        "enter RUNNING",
        "enter_RUNNING: stamp enter",
        "enter_RUNNING: run 1 hook task",
        "after_START_ACTIVITY-1: await 1 call",
        "after_START_ACTIVITY: start completed",
    ]


def test_deploying_places_before_its_first_hook_and_launches_after_leaving() -> None:
    flow = workflow(task("a"), call("c", "x.A()", "before_DEPLOY"))

    made = plan.transition(flow, EnvEvent.DEPLOY, EnvState.STANDBY)

    assert described(made) == [
        "place tasks",
        "before_DEPLOY: start 1 call",
        "before_DEPLOY: await 1 call",
        "launch tasks",
        "enter DEPLOYED",
        "enter_DEPLOYED: stamp enter",
    ]


def test_recovering_revives_and_resets() -> None:
    made = plan.transition(workflow(task("a")), EnvEvent.RECOVER, EnvState.ERROR)

    assert described(made) == [
        "await nodes",
        "revive",
        "tasks: STOP",
        "tasks: RESET",
        "tasks: RECOVER",
        "launch tasks",
        "enter DEPLOYED",
        "enter_DEPLOYED: stamp enter",
    ]


def test_going_to_error_stops_the_tasks_of_a_run_only() -> None:
    flow = workflow(task("a"))

    running = plan.transition(flow, EnvEvent.GO_ERROR, EnvState.RUNNING)
    deployed = plan.transition(flow, EnvEvent.GO_ERROR, EnvState.DEPLOYED)

    assert "tasks: STOP" in described(running)
    assert "tasks: STOP" not in described(deployed)
    assert not any(step.abort for step in running.steps if step.kind in (plan.StepKind.CALLS, plan.StepKind.HOOKS))


@pytest.mark.parametrize("state", EnvState)
def test_every_allowed_event_has_a_plan_that_survives_its_record(state: EnvState) -> None:
    flow = workflow(task("a"), group("g"), task("g.b", start_after=("w.a",)))
    for event in ENVIRONMENT[state]:
        if event is EnvEvent.EXIT:
            continue
        made = plan.transition(flow, event, state)
        assert unpack_value(plan.Plan, pack_value(made)) == made
    end = plan.destruction(flow, state)
    assert end.steps[-1].half >= end.steps[0].half


def test_halves_grow_along_a_plan() -> None:
    flow = workflow(task("a"), call("c1", "x.A()", "before_CONFIGURE-1"), call("c2", "x.A()", "after_CONFIGURE+1"))
    made = plan.transition(flow, EnvEvent.CONFIGURE, EnvState.DEPLOYED)

    halves = [step.half for step in made.steps]
    assert halves == sorted(halves)


def test_start_order_follows_start_after_through_groups() -> None:
    flow = workflow(group("g"), task("g.a"), task("g.b"), task("late", start_after=("w.g",)), task("free"))

    groups = plan.start_groups(flow)

    names = [[flow.roles[i].name for i in one] for one in groups]
    assert names == [["a", "b", "free"], ["late"]]


def test_a_workflow_without_an_order_starts_at_once() -> None:
    assert plan.start_groups(workflow(task("a"), task("b"))) == ((),)


def test_a_cycle_of_orders_is_named() -> None:
    flow = workflow(task("a", start_after=("w.b",)), task("b", start_after=("w.a",)))

    with pytest.raises(ValueError, match="w.a, w.b"):
        plan.start_groups(flow)


def test_every_kind_of_step_has_words() -> None:
    for kind, n in itertools.product(plan.StepKind, (1, 2)):
        assert plan.Step(kind=kind, roles=tuple(range(n)), moment="m", action="do_it", event="START").describe()
