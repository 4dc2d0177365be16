"""The expanded workflow as JSON, for `coconut template expand --json`, tests and other programs.

Of what is evaluated late only `rateLogging` is shown, as it would be now: it is what the tasks get unless something is
set at run time. A text that needs the task's host stays as it is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from libecs.language.duration import format_duration
from libecs.workflow.launch import Launcher
from libecs.workflow.role import CallTraits, Channel, Moment, TaskTraits, Workflow

Json = dict[str, Any]


def to_json(workflow: Workflow, *, all_variables: bool = False) -> Json:
    """Return the tree of roles, the root outermost, children in `children`.

    Args:
        workflow: an expanded workflow.
        all_variables: add to each role `variables`, all that it sees with the values that win.
    """
    launcher = Launcher(workflow)
    nodes: list[Json] = []
    for index, role in enumerate(workflow.roles):
        node = _node(launcher, index)
        if all_variables:
            node["variables"] = launcher.variables(index)
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


def _node(launcher: Launcher, index: int) -> Json:
    role = launcher.workflow.roles[index]
    node: Json = {
        "name": role.name,
        "path": role.path,
        "kind": role.kind.name.lower(),
        "critical": role.critical,
        "constraints": [{"attribute": item.attribute, "value": item.value} for item in role.constraints],
        "defaults": dict(role.defaults),
        "vars": dict(role.vars),
        "bind": _channels(launcher, index, role.bind[: role.own_bind]),
        "connect": _channels(launcher, index, role.connect[: role.own_connect]),
        "children": [],
    }
    if role.min:
        node["min"] = role.min
    if role.start_after:
        node["start_after"] = list(role.start_after)
    if role.task is not None:
        channels = {"bind": role.bind, "connect": role.connect}
        node["task"] = {
            "class": role.task.class_name,
            "mode": role.task.mode.name.lower(),
            **_moments(role.task),
            **{side: _channels(launcher, index, found) for side, found in channels.items()},
        }
    if role.call is not None:
        node["call"] = {"func": role.call.func, "return": role.call.returns, **_moments(role.call)}
    return node


def _moments(traits: TaskTraits | CallTraits) -> Json:
    return {
        "trigger": _moment(traits.trigger),
        "await": _moment(traits.await_),
        "timeout": format_duration(traits.timeout_s),
    }


def _moment(moment: Moment | None) -> str:
    return str(moment) if moment is not None else ""


def _channels(launcher: Launcher, index: int, channels: Iterable[Channel]) -> list[Json]:
    return [
        {
            "name": channel.name,
            "type": channel.type,
            "sndBufSize": channel.send_buffer,
            "rcvBufSize": channel.receive_buffer,
            "rateLogging": launcher.preview(index, channel.rate_logging),
            "transport": channel.transport,
            "target": channel.target,
            "addressing": channel.addressing,
            "global": channel.global_,
        }
        for channel in channels
    ]
