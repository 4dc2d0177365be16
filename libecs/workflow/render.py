"""The expanded workflow as JSON, for `coconut template expand --json`, tests and other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from libecs.language.duration import format_duration
from libecs.language.variables import Base, Stack
from libecs.workflow.role import Channel, Moment, Role, RoleKind, Workflow

Json = dict[str, Any]


def to_json(workflow: Workflow, *, all_variables: bool = False) -> Json:
    """Return the tree of roles, the root outermost, children in `children`.

    Args:
        workflow: an expanded workflow.
        all_variables: add to each role `variables`, all that it sees with the values that win.
    """
    base = Base(user=workflow.user_vars, vars=workflow.base_vars, defaults=workflow.base_defaults)
    nodes: list[Json] = []
    stacks: list[Stack] = []
    for role in workflow.roles:
        node = _node(role)
        if all_variables:
            above = stacks[role.parent] if role.parent >= 0 else Stack(base)
            stacks.append(above.child(role.path, defaults=role.defaults, vars=role.vars))
            node["variables"] = stacks[-1].consolidated()
        nodes.append(node)
        if role.parent >= 0:
            nodes[role.parent]["children"].append(node)
    return nodes[0]


def to_lines(workflow: Workflow) -> list[str]:
    """Return the tree as lines of text, one for each role, indented by its depth."""
    depths: list[int] = []
    lines: list[str] = []
    for role in workflow.roles:
        depths.append(depths[role.parent] + 1 if role.parent >= 0 else 0)
        parts = [f"{'  ' * depths[-1]}{role.name}"]
        if role.task is not None:
            parts.append(f"{role.task.class_name} ({role.task.mode.name.lower()})")
        if role.call is not None:
            parts.append(role.call.func)
        traits = role.task or role.call
        if traits is not None and traits.trigger is not None:
            parts.append(f"at {traits.trigger}")
        if traits is not None and not role.critical:
            parts.append("not critical")
        lines.append("  ".join(parts))
    return lines


def _node(role: Role) -> Json:
    node: Json = {
        "name": role.name,
        "path": role.path,
        "kind": role.kind.name.lower(),
        "critical": role.critical,
        "constraints": [{"attribute": item.attribute, "value": item.value} for item in role.constraints],
        "defaults": dict(role.defaults),
        "vars": dict(role.vars),
        "bind": [_channel(item) for item in role.bind[: role.own_bind]],
        "connect": [_channel(item) for item in role.connect[: role.own_connect]],
        "children": [],
    }
    if role.min:
        node["min"] = role.min
    if role.start_after:
        node["start_after"] = list(role.start_after)
    describe = _DESCRIBE.get(role.kind)
    if describe is not None:
        node[role.kind.name.lower()] = describe(role)
    return node


def _task(role: Role) -> Json:
    assert role.task is not None, "kind and traits agree"
    return {
        "class": role.task.class_name,
        "mode": role.task.mode.name.lower(),
        "trigger": _moment(role.task.trigger),
        "await": _moment(role.task.await_),
        "timeout": format_duration(role.task.timeout_s),
        "bind": [_channel(item) for item in role.bind],
        "connect": [_channel(item) for item in role.connect],
    }


def _call(role: Role) -> Json:
    assert role.call is not None, "kind and traits agree"
    return {
        "func": role.call.func,
        "return": role.call.returns,
        "trigger": _moment(role.call.trigger),
        "await": _moment(role.call.await_),
        "timeout": format_duration(role.call.timeout_s),
    }


_DESCRIBE: dict[RoleKind, Callable[[Role], Json]] = {RoleKind.TASK: _task, RoleKind.CALL: _call}


def _moment(moment: Moment | None) -> str:
    return str(moment) if moment is not None else ""


def _channel(channel: Channel) -> Json:
    return {
        "name": channel.name,
        "type": channel.type,
        "sndBufSize": channel.send_buffer,
        "rcvBufSize": channel.receive_buffer,
        "rateLogging": channel.rate_logging,
        "transport": channel.transport,
        "target": channel.target,
        "addressing": channel.addressing,
        "global": channel.global_,
    }
