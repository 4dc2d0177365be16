"""Plans: placement with reasons, steps, what is missing."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from ecsd.coconut.plan import offer as offer_of
from ecsd.coconut.plan import plan_lines
from libecs.config.tree import Tree
from libecs.engine.placement import NodeOffer
from libecs.fsm import Mode
from libecs.io.consult.planning import EnvironmentPlan, make_plan, unserved
from libecs.io.embedded import NodeDescription
from libecs.workflow.expand import expand
from libecs.workflow.role import CallTraits, Moment, Role, RoleKind, TaskClass, TaskTraits, Workflow
from libecs.workflow.source import TextSource


@pytest.fixture
def demo(project: Path) -> Workflow:
    root = project / "examples" / "demo"
    files = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.yaml")}
    counter = count()
    return expand(
        TextSource(files=files),
        "demo",
        {"environment_id": "e"},
        Tree({}),
        ids=lambda: str(next(counter)),
        base_defaults={"examples": "/x", "python": "/p"},
    )


def offer(name: str) -> NodeOffer:
    made: NodeOffer = offer_of(NodeDescription(name=name, attributes={"machine_id": name}))
    return made


def text_of(plan: EnvironmentPlan) -> str:
    return "\n".join(plan_lines(plan.document()))


def test_demo_is_at_least_three_nodes_and_twelve_tasks_half_c_half_python(demo: Workflow) -> None:
    tasks = [role for role in demo.roles if role.task is not None]
    constraints = {constraint.value for role in tasks for constraint in role.constraints}
    in_c = [role for role in tasks if role.task is not None and role.task.class_name.endswith("-c")]

    assert len(constraints) >= 3
    assert len(tasks) >= 12
    assert len(in_c) * 2 == len(tasks)


def test_plan_says_who_runs_where_and_why_and_every_step(demo: Workflow) -> None:
    plan = make_plan(demo, [offer(f"node{n}") for n in (1, 2, 3)], fixed_ports=())
    text = text_of(plan)

    assert plan.works
    assert len(plan.placed) == 20
    assert "on node2: machine_id = node2" in text
    assert "on node1: least loaded of 3" in text or "least loaded of 3" in text
    assert "in at tcp://127.0.0.1:*" in text
    assert "START_ACTIVITY: CONFIGURED to RUNNING" in text
    assert "take run number" in text
    assert text.endswith("The plan works; nothing was launched.")


def test_document_holds_tree_placement_and_transitions(demo: Workflow) -> None:
    document = make_plan(demo, [offer(f"node{n}") for n in (1, 2, 3)], []).document()

    assert document["ok"]
    assert document["tree"]["name"] == "demo"
    assert {one["node"] for one in document["placement"]} == {"node1", "node2", "node3"}
    assert [plan["event"] for plan in document["transitions"]] == [
        "DEPLOY", "CONFIGURE", "START_ACTIVITY", "STOP_ACTIVITY", "RESET", "GO_ERROR", "RECOVER", "DESTROY",
    ]  # fmt: skip


def test_unplaceable_tasks_are_named_and_the_others_still_placed(demo: Workflow) -> None:
    plan = make_plan(demo, [offer("node1"), offer("node2")], ["the key o2/x"])
    text = text_of(plan)

    assert not plan.works
    assert len(plan.unplaced) == 6
    assert len(plan.placed) == 14
    assert "  6 tasks: no node with machine_id = node3" in text
    assert "    demo.node3.c.source, demo.node3.c.filter, demo.node3.c.sink, " in text
    assert "on no node" in text
    assert "the key o2/x" in text


def call(name: str, func: str, trigger: str | None = "before_START_ACTIVITY") -> Role:
    moment = Moment(name=trigger) if trigger else None
    return Role(
        name=name, path=f"w.{name}", parent=0, kind=RoleKind.CALL, critical=False,
        call=CallTraits(func=func, trigger=moment, await_=moment),
    )  # fmt: skip


def workflow(*roles: Role) -> Workflow:
    root = Role(name="w", path="w", parent=-1, kind=RoleKind.AGGREGATOR)
    return Workflow(name="w", roles=(root, *roles), classes={"h": TaskClass(name="h", mode=Mode.BASIC)})


def test_calls_and_hooks_are_shown_at_their_moments() -> None:
    hook = Role(
        name="clean", path="w.clean", parent=0, kind=RoleKind.TASK,
        task=TaskTraits(class_name="h", mode=Mode.BASIC, trigger=Moment(name="DESTROY"), await_=Moment(name="DESTROY")),
    )  # fmt: skip
    plan = make_plan(workflow(call("sor", "dcs.StartOfRun()"), hook), [offer("n")], [])
    text = text_of(plan)

    assert "w.sor  dcs.StartOfRun()  (not critical)" in text
    assert "hook at DESTROY" in text
    assert "w.clean  h" in text


def test_call_roles_without_an_integration_are_missing() -> None:
    wanted = workflow(
        call("a", "dcs.StartOfRun()"),
        call("b", "dcs.StartOfRun()"),
        call("c", "trg.RunStart()"),
        call("d", "trg.RunStop()"),
        call("never", "odc.Start()", None),
    )

    assert unserved(wanted, ["trg.RunStart"], critical=False) == [
        "the integration of dcs.StartOfRun, for 2 call roles: w.a, w.b",
        "the function trg.RunStop, for 1 call role: w.d",
    ]
    assert unserved(wanted, [], critical=True) == []
