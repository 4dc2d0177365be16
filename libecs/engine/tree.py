"""The role tree of a living environment: states and statuses, merged upwards as leaves change.

Each node keeps how many of its counting children are in each state, so that one task's change costs O(depth).
Non-critical tasks, hooks and calls count for nothing; aggregators always do.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.fsm import Status, TaskState, merge_counts, merge_status_counts
from libecs.workflow.role import Role, RoleKind, Workflow


@attrs.define
class _Node:
    parent: int
    counts: bool
    """Whether the state of this node counts in its parent."""
    state: TaskState = TaskState.INVARIANT
    status: Status = Status.INVARIANT
    children: dict[TaskState, int] = attrs.field(factory=dict)
    statuses: dict[Status, int] = attrs.field(factory=dict)


def counts(role: Role) -> bool:
    """Return whether a role's state counts above it: critical tasks that are no hooks, and aggregators."""
    if role.kind is RoleKind.AGGREGATOR:
        return True
    return role.kind is RoleKind.TASK and role.critical and role.task is not None and role.task.trigger is None


class RoleTree:
    """States of all roles of one workflow, by index."""

    def __init__(self, workflow: Workflow) -> None:
        self._nodes = [_Node(parent=role.parent, counts=counts(role)) for role in workflow.roles]
        for index in range(len(self._nodes) - 1, 0, -1):
            node, role = self._nodes[index], workflow.roles[index]
            if role.kind is RoleKind.AGGREGATOR:
                node.state, node.status = merge_counts(node.children), merge_status_counts(node.statuses)
            elif node.counts:
                node.state, node.status = TaskState.STANDBY, Status.INACTIVE
            else:
                node.state = TaskState.STANDBY if role.kind is RoleKind.TASK else TaskState.INVARIANT
                node.status = Status.INACTIVE
                continue
            self._count(node.parent, node.state, node.status)
        root = self._nodes[0]
        if workflow.roles[0].kind is RoleKind.AGGREGATOR:
            root.state, root.status = merge_counts(root.children), merge_status_counts(root.statuses)

    def _count(self, parent: int, state: TaskState, status: Status, by: int = 1) -> None:
        if parent >= 0:
            above = self._nodes[parent]
            above.children[state] = above.children.get(state, 0) + by
            above.statuses[status] = above.statuses.get(status, 0) + by

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
            if not node.counts or node.parent < 0:
                break
            self._count(node.parent, old_state, old_status, -1)
            self._count(node.parent, state, status)
            above = self._nodes[node.parent]
            index, state, status = node.parent, merge_counts(above.children), merge_status_counts(above.statuses)
        return changed

    def census(self, index: int) -> Mapping[TaskState, int]:
        """Return how many counting children of a role are in each state."""
        return {state: n for state, n in self._nodes[index].children.items() if n}
