from __future__ import annotations

from random import Random
from typing import Any

from libecs.fsm import Mode
from libecs.sim.workflows import make_workflow
from libecs.wire.codec import pack_value, unpack_value
from libecs.workflow.role import RoleKind, Workflow


def many(n: int = 200, **options: Any) -> list[Workflow]:
    return [make_workflow(Random(seed), f"w{seed}", ["n1", "n2"], trouble=0.5, **options) for seed in range(n)]


def test_workflows_are_trees_in_pre_order_with_unique_paths() -> None:
    for workflow in many():
        assert workflow.roles[0].parent == -1
        seen = set()
        for index, role in enumerate(workflow.roles):
            assert role.path not in seen
            seen.add(role.path)
            if index:
                parent = workflow.roles[role.parent]
                assert role.parent < index
                assert role.path == f"{parent.path}.{role.name}"
            # pre-order: the chain of parents of the role before holds this role's parent
            if index > 1:
                chain = set()
                at = index - 1
                while at >= 0:
                    chain.add(at)
                    at = workflow.roles[at].parent
                assert role.parent in chain


def test_workflows_have_everything_that_histories_are_about() -> None:
    workflows = many()
    roles = [role for workflow in workflows for role in workflow.roles]
    tasks = [role for role in roles if role.task is not None]
    calls = [role.call for role in roles if role.call is not None]

    assert {role.task.mode for role in tasks if role.task is not None} == set(Mode)
    assert {role.critical for role in tasks} == {True, False}
    assert len({str(call.trigger) for call in calls}) > 20
    assert any(call.trigger and call.await_ and call.trigger.name != call.await_.name for call in calls)
    assert any(role.bind for role in roles)
    assert any(role.constraints for role in roles)


def test_every_aggregator_has_a_critical_task() -> None:
    for workflow in many():
        for index, role in enumerate(workflow.roles):
            if role.kind is RoleKind.AGGREGATOR:
                children = [child for child in workflow.roles if child.parent == index]
                assert any(child.task is not None and child.critical for child in children)


def test_critical_calls_are_healthy_where_only_non_critical_trouble_is_wanted() -> None:
    for workflow in many(only_non_critical_trouble=True):
        for role in workflow.roles:
            if role.call is not None and role.critical:
                assert role.call.func in ("sim.Quick()", "sim.Set()", "sim.Slow()")


def test_a_workflow_is_the_same_after_packing() -> None:
    for workflow in many(20):
        assert unpack_value(Workflow, pack_value(workflow)) == workflow
