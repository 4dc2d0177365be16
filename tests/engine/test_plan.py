"""Transition plans as lists that people can read."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.engine import plan
from libecs.fsm import ENVIRONMENT, EnvEvent, EnvState
from libecs.wire.codec import pack_value, unpack_value
from libecs.workflow.role import Role, Workflow
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


def test_reconfiguring_knows_its_steps_once_tasks_are_compared() -> None:
    assert described(plan.reconfiguration()) == ["compare", "reconfigured"]
    made = plan.reconfiguration(live=[3, 1], basics=[4], resets=[2])

    assert [step.describe().partition(" (")[0] for step in made.steps] == [
        "compare",
        "tasks: RECONFIGURE",
        "tasks: RESET",
        "tasks: CONFIGURE",
        "renew",
        "launch tasks",
        "tasks: CONFIGURE",
        "reconfigured",
    ]
    assert [step.roles for step in made.steps] == [(), (1, 3), (2,), (2,), (4,), (4,), (4,), ()]
    assert unpack_value(plan.Plan, pack_value(made)) == made
    assert (made.source, made.target) == (EnvState.CONFIGURED, EnvState.CONFIGURED)


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


def test_a_start_that_broke_off_is_undone_on_the_way_to_error() -> None:
    halfway = plan.transition(workflow(task("a")), EnvEvent.GO_ERROR, EnvState.CONFIGURED)

    [stop] = [step for step in halfway.steps if step.kind is plan.StepKind.TASKS]
    assert (stop.event, stop.lenient) == ("STOP", True)


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


@st.composite
def ordered(draw: st.DrawFn) -> Workflow:
    """A workflow of groups of tasks in which later roles may start after earlier ones, or after nobody."""
    roles: list[Role] = []
    for i in range(draw(st.integers(1, 5))):
        earlier = [role.path for role in roles]
        after = tuple(draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))) if earlier else ()
        name = f"g{i}"
        roles.append(attrs.evolve(group(name), start_after=after))
        for j in range(draw(st.integers(0, 3))):
            hook = draw(st.booleans()) and draw(st.booleans())
            mine = tuple(draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))) if earlier else ()
            roles.append(
                task(f"{name}.t{j}", trigger="before_CONFIGURE" if hook else "", start_after=() if hook else mine)
            )
    return workflow(*roles)


@given(ordered())
def test_every_task_starts_in_the_first_round_after_all_that_it_waits_for(flow: Workflow) -> None:
    groups = plan.start_groups(flow)

    tasks = [i for i, role in enumerate(flow.roles) if role.task is not None and role.task.trigger is None]
    if not any(role.start_after for role in flow.roles):
        assert groups == ((),)
        return
    assert sorted(i for one in groups for i in one) == tasks
    number = {i: k for k, one in enumerate(groups) for i in one}
    for i in tasks:
        path = flow.roles[i].path
        waited = {
            j
            for role in flow.roles
            if path == role.path or path.startswith(role.path + ".")
            for target in role.start_after
            for j in tasks
            if flow.roles[j].path == target or flow.roles[j].path.startswith(target + ".")
        }
        assert number[i] == max((number[j] + 1 for j in waited), default=0)


def test_a_long_chain_starts_one_by_one() -> None:
    n = 3000
    flow = workflow(*(task(f"t{i}", start_after=(f"w.t{i - 1}",) if i else ()) for i in range(n)))

    assert plan.start_groups(flow) == tuple((i + 1,) for i in range(n))


def test_orders_of_many_tasks_are_looked_at_once() -> None:
    """The old way compared the paths of each task with those of each role: 10^8 comparisons here."""
    n = 10_000
    second = attrs.evolve(group("b"), start_after=("w.a",))
    flow = workflow(group("a"), *(task(f"a.t{i}") for i in range(n)), second, *(task(f"b.t{i}") for i in range(n)))

    first, last = plan.start_groups(flow)

    assert (len(first), len(last)) == (n, n)


def test_a_cycle_of_orders_is_named() -> None:
    flow = workflow(task("a", start_after=("w.b",)), task("b", start_after=("w.a",)))

    with pytest.raises(ValueError, match="w.a, w.b"):
        plan.start_groups(flow)


def test_every_kind_of_step_has_words() -> None:
    for kind, n in itertools.product(plan.StepKind, (1, 2)):
        assert plan.Step(kind=kind, roles=tuple(range(n)), moment="m", action="do_it", event="START").describe()
