"""Which roles of a workflow take part, and what may be missing: pure functions of the workflow.

A role is *out* when somebody has taken it out of its environment (`modify`), with all that stands below it. A group
with `min: N` is whole as long as N of its members are; a group without it needs all that are not out.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from libecs.workflow.role import Role, RoleKind, Workflow


def is_runner(role: Role) -> bool:
    """Return whether a role is a task that takes part in transitions: no hook, no call."""
    return role.kind is RoleKind.TASK and role.task is not None and role.task.trigger is None


def runners(workflow: Workflow) -> list[int]:
    """Return the tasks that take part in transitions."""
    return [index for index, role in enumerate(workflow.roles) if is_runner(role)]


def at_or_below(workflow: Workflow, chosen: Set[int]) -> frozenset[int]:
    """Return these roles and all that stand below them."""
    if not chosen:
        return frozenset()
    found = set(chosen)
    for index, role in enumerate(workflow.roles):
        if role.parent in found:
            found.add(index)
    return frozenset(found)


def outside(workflow: Workflow, paths: Iterable[str]) -> frozenset[int]:
    """Return the roles of these paths and all that stand below them; a path that is not there is none."""
    wanted = set(paths)
    if not wanted:
        return frozenset()
    return at_or_below(workflow, {index for index, role in enumerate(workflow.roles) if role.path in wanted})


def topmost(workflow: Workflow, tasks: Set[int]) -> tuple[str, ...]:
    """Return the paths of the topmost roles that are out when these tasks are: all tasks below them are."""
    if not tasks:
        return ()
    n = len(workflow.roles)
    all_, gone = [0] * n, [0] * n
    for index in range(n - 1, -1, -1):
        role = workflow.roles[index]
        if is_runner(role):
            all_[index] += 1
            gone[index] += index in tasks
        if role.parent >= 0:
            all_[role.parent] += all_[index]
            gone[role.parent] += gone[index]
    is_out = [0 < all_[index] == gone[index] for index in range(n)]
    return tuple(
        role.path
        for index, role in enumerate(workflow.roles)
        if is_out[index] and (role.parent < 0 or not is_out[role.parent])
    )


def is_member(role: Role) -> bool:
    """Return whether a role counts for the group above it: critical tasks that are no hooks, and groups."""
    return role.kind is RoleKind.AGGREGATOR or (is_runner(role) and role.critical)


def short_groups(workflow: Workflow, lost: Set[int], out: Set[int]) -> dict[int, int]:
    """Return the groups with `min` that have fewer whole members than that, and how many they have.

    lost: roles that are broken. out: those that are out.
    """
    return _judge(workflow, lost, out)[1]


def is_broken(workflow: Workflow, lost: Set[int], out: Set[int]) -> bool:
    """Return whether a workflow can't go on when these roles are broken."""
    return 0 in _judge(workflow, lost, out)[0]


def _judge(workflow: Workflow, lost: Set[int], out: Set[int]) -> tuple[set[int], dict[int, int]]:
    """Return what is broken by what is lost, and the groups that have too few members."""
    broken = set(lost) - out
    short: dict[int, int] = {}
    n = len(workflow.roles)
    members, missing, stricken = [0] * n, [0] * n, [False] * n
    for index in range(n - 1, -1, -1):
        role = workflow.roles[index]
        if role.kind is RoleKind.AGGREGATOR:
            whole = members[index] - missing[index]
            if role.min and whole < role.min and index not in out:
                short[index] = whole
                broken.add(index)
            elif stricken[index] or (not role.min and missing[index]):
                broken.add(index)
        if role.parent < 0 or index in out:
            continue
        if is_member(role):
            members[role.parent] += 1
            missing[role.parent] += index in broken
        elif index in broken:  # a call or a hook is no member: its group has failed
            stricken[role.parent] = True
    return broken, short
