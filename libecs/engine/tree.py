"""The role tree of a living environment: states and statuses, merged upwards as leaves change.

Each node keeps how many of its counting children are in each state, so that one task's change costs O(depth).
Non-critical tasks, hooks and calls count for nothing; aggregators always do. What is out (see `members`) counts for
nothing while it is, and a group with `min: N` is not in ERROR as long as N of its members are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import attrs

from libecs.fsm import Status, TaskState, merge_counts, merge_status_counts
from libecs.workflow.role import Role, RoleKind, Workflow


@attrs.define
class _Node:
    parent: int
    counts: bool
    """Whether the state of this node counts in its parent."""
    min: int = 0
    is_out: bool = False
    state: TaskState = TaskState.INVARIANT
    status: Status = Status.INVARIANT
    children: dict[TaskState, int] = attrs.field(factory=dict)
    statuses: dict[Status, int] = attrs.field(factory=dict)
    broken: dict[Status, int] = attrs.field(factory=dict)
    """Of a group with `min`: statuses of its children in ERROR."""

    def merged(self) -> tuple[TaskState, Status]:
        """Return what the children merge to."""
        children, statuses = self.children, self.statuses
        if self.min and (errors := children.get(TaskState.ERROR, 0)) and sum(children.values()) - errors >= self.min:
            children = {state: n for state, n in children.items() if state is not TaskState.ERROR}
            statuses = {status: n - self.broken.get(status, 0) for status, n in statuses.items()}
        return merge_counts(children), merge_status_counts(statuses)


def counts(role: Role) -> bool:
    """Return whether a role's state counts above it: critical tasks that are no hooks, and aggregators."""
    if role.kind is RoleKind.AGGREGATOR:
        return True
    return role.kind is RoleKind.TASK and role.critical and role.task is not None and role.task.trigger is None


class RoleTree:
    """States of all roles of one workflow, by index."""

    def __init__(self, workflow: Workflow) -> None:
        self._nodes = [_Node(parent=role.parent, counts=counts(role), min=role.min) for role in workflow.roles]
        self._out: Set[int] = frozenset()
        for index in range(len(self._nodes) - 1, 0, -1):
            node, role = self._nodes[index], workflow.roles[index]
            if role.kind is RoleKind.AGGREGATOR:
                node.state, node.status = node.merged()
            elif node.counts:
                node.state, node.status = TaskState.STANDBY, Status.INACTIVE
            else:
                node.state = TaskState.STANDBY if role.kind is RoleKind.TASK else TaskState.INVARIANT
                node.status = Status.INACTIVE
                continue
            self._count(node.parent, node.state, node.status)
        if workflow.roles and workflow.roles[0].kind is RoleKind.AGGREGATOR:
            root = self._nodes[0]
            root.state, root.status = root.merged()

    def _count(self, parent: int, state: TaskState, status: Status, by: int = 1) -> None:
        if parent >= 0:
            above = self._nodes[parent]
            above.children[state] = above.children.get(state, 0) + by
            above.statuses[status] = above.statuses.get(status, 0) + by
            if above.min and state is TaskState.ERROR:
                above.broken[status] = above.broken.get(status, 0) + by

    @property
    def root(self) -> TaskState:
        """State of the root role."""
        return self._nodes[0].state

    @property
    def root_status(self) -> Status:
        """Status of the root role."""
        return self._nodes[0].status

    def state(self, index: int) -> TaskState:
        """Return the state of a role."""
        return self._nodes[index].state

    def status(self, index: int) -> Status:
        """Return the status of a role."""
        return self._nodes[index].status

    def set(self, index: int, state: TaskState, status: Status) -> list[int]:
        """Set a leaf, merge upwards, return the roles that changed, from the leaf up."""
        changed = []
        while index >= 0:
            node = self._nodes[index]
            if node.state is state and node.status is status:
                break
            old_state, old_status = node.state, node.status
            node.state, node.status = state, status
            changed.append(index)
            if not node.counts or node.is_out or node.parent < 0:
                break
            self._count(node.parent, old_state, old_status, -1)
            self._count(node.parent, state, status)
            index = node.parent
            state, status = self._nodes[index].merged()
        return changed

    def set_out(self, out: Set[int]) -> None:
        """Let these roles count for nothing from now on, and all others count again."""
        for index in sorted(out ^ self._out, reverse=True):
            node = self._nodes[index]
            node.is_out = index in out
            if node.counts and node.parent >= 0:
                self._count(node.parent, node.state, node.status, -1 if node.is_out else 1)
                state, status = self._nodes[node.parent].merged()
                self.set(node.parent, state, status)
        self._out = frozenset(out)

    def breaks_root(self, index: int) -> bool:
        """Return whether the ERROR of a role is that of the root too: no group with `min` does without it."""
        while index >= 0:
            node = self._nodes[index]
            if node.is_out or node.state is not TaskState.ERROR or (not node.counts and node.parent >= 0):
                return False
            index = node.parent
        return True

    def group_of(self, index: int) -> int:
        """Return the nearest group with `min` above a role, -1 if there is none."""
        index = self._nodes[index].parent
        while index >= 0 and not self._nodes[index].min:
            index = self._nodes[index].parent
        return index

    def census(self, index: int) -> Mapping[TaskState, int]:
        """Return how many counting children of a role are in each state."""
        return {state: n for state, n in self._nodes[index].children.items() if n}
