"""What tests of expansion share: the types of its fixtures, and paths of roles."""

from __future__ import annotations

from collections.abc import Callable

from libecs.workflow.role import Role, Workflow

Grow = Callable[..., Workflow]
At = Callable[[Workflow, str], Role]


def paths(workflow: Workflow) -> list[str]:
    return [role.path for role in workflow.roles]
