"""Small workflows for tests."""

from __future__ import annotations

from collections.abc import Mapping

from libecs.fsm import Mode
from libecs.workflow.role import CallTraits, Constraint, Moment, Role, RoleKind, TaskClass, TaskTraits, Workflow


def moment(text: str) -> Moment | None:
    """Read `before_CONFIGURE-10`."""
    if not text:
        return None
    for sign in "+-":
        name, found, weight = text.rpartition(sign)
        if found:
            return Moment(name=name, weight=int(sign + weight))
    return Moment(name=text)


def task(
    name: str,
    *,
    critical: bool = True,
    mode: Mode = Mode.DIRECT,
    trigger: str = "",
    node: str = "",
    start_after: tuple[str, ...] = (),
) -> Role:
    """A task role below the root `w`, or below a path in its name."""
    return Role(
        name=name.rpartition(".")[2],
        path=f"w.{name}",
        parent=0,
        kind=RoleKind.TASK,
        critical=critical,
        constraints=(Constraint(attribute="machine_id", value=node),) if node else (),
        task=TaskTraits(class_name=mode.name, mode=mode, trigger=moment(trigger)),
        start_after=start_after,
    )


def call(
    name: str,
    func: str,
    trigger: str,
    await_: str = "",
    *,
    critical: bool = True,
    returns: str = "",
    timeout: float = 30,
) -> Role:
    """A call role below the root `w`."""
    return Role(
        name=name,
        path=f"w.{name}",
        parent=0,
        kind=RoleKind.CALL,
        critical=critical,
        call=CallTraits(
            func=func, trigger=moment(trigger), await_=moment(await_ or trigger), returns=returns, timeout_s=timeout
        ),
    )


def group(name: str) -> Role:
    """An aggregator below the root; roles named `name.x` after it are its children."""
    return Role(name=name, path=f"w.{name}", parent=0, kind=RoleKind.AGGREGATOR)


def workflow(*roles: Role, variables: Mapping[str, str] | None = None) -> Workflow:
    """A workflow of these roles under a root `w`, parents by their paths."""
    import attrs

    root = Role(name="w", path="w", parent=-1, kind=RoleKind.AGGREGATOR)
    index = {"w": 0, **{role.path: i + 1 for i, role in enumerate(roles)}}
    placed = tuple(attrs.evolve(role, parent=index[role.path.rpartition(".")[0]]) for role in roles)
    classes = {mode.name: TaskClass(name=mode.name, mode=mode, command="/bin/true") for mode in Mode}
    return Workflow(name="w", roles=(root, *placed), classes=classes, user_vars=variables or {})
