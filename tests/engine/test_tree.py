"""The role tree: how states and statuses go up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libecs.engine.tree import RoleTree, counts
from libecs.fsm import Status, TaskState, merge, merge_status
from libecs.workflow.role import RoleKind, Workflow
from tests.engine.flows import call, group, task, workflow


def set_all(tree: RoleTree, flow: Workflow, state: TaskState) -> None:
    for index, role in enumerate(flow.roles):
        if role.kind is RoleKind.TASK:
            tree.set(index, state, Status.ACTIVE)


def test_an_aggregator_follows_its_one_critical_task() -> None:
    flow = workflow(task("a"))
    tree = RoleTree(flow)
    tree.set(1, TaskState.RUNNING, Status.ACTIVE)
    roots = [tree.root]
    tree.set(1, TaskState.CONFIGURED, Status.ACTIVE)
    assert [*roots, tree.root] == [TaskState.RUNNING, TaskState.CONFIGURED]


def test_two_critical_tasks_that_differ_are_mixed() -> None:
    tree = RoleTree(workflow(task("a"), task("b")))
    tree.set(1, TaskState.RUNNING, Status.ACTIVE)
    assert tree.root is TaskState.MIXED
    assert tree.root_status is Status.PARTIAL
    assert tree.census(0) == {TaskState.RUNNING: 1, TaskState.STANDBY: 1}


def test_a_non_critical_task_never_alters_its_parent() -> None:
    tree = RoleTree(workflow(task("a", critical=False)))
    assert tree.root is TaskState.INVARIANT
    changed = tree.set(1, TaskState.ERROR, Status.INACTIVE)
    assert changed == [1]
    assert tree.root is TaskState.INVARIANT
    assert tree.state(1) is TaskState.ERROR


def test_a_nested_critical_error_reaches_the_root_and_leaves_it_again() -> None:
    flow = workflow(group("g"), task("g.a"), task("g.b"), task("c"))
    tree = RoleTree(flow)
    set_all(tree, flow, TaskState.RUNNING)
    assert tree.set(2, TaskState.ERROR, Status.ACTIVE) == [2, 1, 0]
    roots = [tree.root]
    tree.set(2, TaskState.RUNNING, Status.ACTIVE)
    assert [*roots, tree.root] == [TaskState.ERROR, TaskState.RUNNING]
    assert tree.root_status is Status.ACTIVE


def test_calls_and_hooks_count_for_nothing() -> None:
    flow = workflow(task("a"), call("c", "x.Y()", "DESTROY"), task("h", trigger="DESTROY"), group("empty"))
    tree = RoleTree(flow)
    tree.set(1, TaskState.RUNNING, Status.ACTIVE)
    assert tree.root is TaskState.RUNNING
    assert tree.root_status is Status.ACTIVE
    assert tree.status(4) is Status.INVARIANT


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(TaskState), st.sampled_from(Status)), max_size=40))
def test_counting_gives_what_merging_everything_anew_gives(moves: list[tuple[int, TaskState, Status]]) -> None:
    flow = workflow(group("g"), task("g.a"), task("g.b", critical=False), group("h"), task("h.c"), task("d"))
    tree = RoleTree(flow)
    for index, state, status in moves:
        if flow.roles[index].kind is RoleKind.TASK:
            tree.set(index, state, status)

    for parent, role in enumerate(flow.roles):
        if role.kind is RoleKind.AGGREGATOR:
            below = [i for i, one in enumerate(flow.roles) if one.parent == parent and counts(one)]
            assert tree.state(parent) is merge(tree.state(i) for i in below)
            assert tree.status(parent) is merge_status(tree.status(i) for i in below)
