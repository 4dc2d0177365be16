"""Findings about channels: targets that lead nowhere, as far as can be told without expanding.

Paths and names that hold {{ }} become patterns: what is not known is a wildcard. A target is a mistake only if no
inbound channel could have its name. Where roles are included by an expression, or come from templates that are not
here, anything may be bound.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeAlias

import attrs

from libecs.language.expression import CLOSE, OPEN, Text
from libecs.language.fields import ChannelTemplate, Finding, Severity
from libecs.language.program import suggest
from libecs.language.task import TaskTemplate
from libecs.language.template import AggregatorBody, IncludeBody, TaskBody, TemplateRole, WorkflowTemplate

ANY: Final = "\0"
"""Any text, in a pattern."""
_ROLE = re.compile(r"(?:Parent\(\)|This\(\)|Up\(\s*([0-9]+)\s*\))\.(Path|Name)")
_MAX_INCLUDES: Final = 16


_Above: TypeAlias = "tuple[TemplateRole, tuple[str, ...]]"


@attrs.frozen
class _Role:
    """A role with the patterns of its own path and of those above it, the root's first."""

    role: TemplateRole
    paths: tuple[str, ...]
    above: tuple[_Above, ...]
    """The roles above, include roles of other files among them, each with its `paths`."""

    @property
    def path(self) -> str:
        return self.paths[-1]


@attrs.frozen(kw_only=True)
class _Bound:
    """What can be connected to."""

    path: str
    """Pattern of the task's path."""
    channel: str
    """Name of the channel, or `ANY`."""
    alias: str = ""
    """Pattern of the global name; "" if it has none."""


def check(
    workflows: Collection[WorkflowTemplate], tasks: Collection[TaskTemplate], *, is_complete: bool
) -> Iterator[Finding]:
    """Go through the findings. `is_complete`: nothing is included or loaded that is not here."""
    finder = _Finder(workflows, tasks)
    everywhere = [bound for workflow in workflows for bound in finder.bound(workflow)]
    for workflow in workflows:
        here = finder.bound(workflow)
        for place in finder.places(workflow, (workflow.name,), ()):
            yield from _addresses(place.role)
            yield from _without_target(place, finder.classes)
            for channel in place.role.connect:
                finding = _target(workflow, place, channel, here, everywhere, is_complete)
                if finding is not None:
                    yield finding


class _Finder:
    """Finds what is bound, through the includes that are known."""

    def __init__(self, workflows: Collection[WorkflowTemplate], tasks: Collection[TaskTemplate]) -> None:
        self._workflows = {workflow.name: workflow for workflow in workflows}
        self.classes: Mapping[str, TaskTemplate] = {task.name: task for task in tasks}

    def bound(self, workflow: WorkflowTemplate) -> list[_Bound]:
        """Return all that one template binds, with what it includes."""
        return [bound for place in self.places(workflow, (workflow.name,), ()) for bound in self._of(place, 0)]

    def places(self, workflow: WorkflowTemplate, root: tuple[str, ...], above: tuple[_Above, ...]) -> Iterator[_Role]:
        """Go through the roles of a file. `root`: patterns of the paths down to its root, that one included."""
        yield from self._places(workflow.root, root, above)

    def _places(self, role: TemplateRole, paths: tuple[str, ...], above: tuple[_Above, ...]) -> Iterator[_Role]:
        yield _Role(role, paths, above)
        if isinstance(role.body, AggregatorBody):
            for child in role.body.roles:
                path = f"{paths[-1]}.{pattern(child.name, paths, '')}"
                yield from self._places(child, (*paths, path), (*above, (role, paths)))

    def _of(self, place: _Role, depth: int) -> Iterator[_Bound]:
        """Go through what a leaf binds: its own channels, those of the roles above it, and of its task template."""
        body = place.role.body
        if isinstance(body, IncludeBody):
            included = self._workflows.get(body.workflow.source.strip())
            if included is None or depth >= _MAX_INCLUDES:
                yield _Bound(path=place.path + ANY, channel=ANY, alias=ANY)
                return
            for inner in self.places(included, place.paths, (*place.above, (place.role, place.paths))):
                yield from self._of(inner, depth + 1)
        if not isinstance(body, TaskBody):
            return
        task = self.classes.get(body.load.source.strip())
        if task is None:
            yield _Bound(path=place.path, channel=ANY, alias=ANY)
        elif task.mode not in ("direct", "fairmq"):
            return
        for role, paths in (*place.above, (place.role, place.paths)):
            for channel in role.bind:
                yield _inbound(place.path, channel, paths)
        for channel in task.bind if task is not None else ():
            yield _inbound(place.path, channel, place.paths)


def _inbound(path: str, channel: ChannelTemplate, paths: tuple[str, ...]) -> _Bound:
    alias = pattern(channel.global_, paths[:-1], paths[-1]) if channel.global_.source else ""
    return _Bound(path=path, channel=channel.name, alias=alias)


def pattern(text: Text, above: tuple[str, ...], this: str) -> str:
    """Return a text with its tags replaced by what is known of them: paths and names of roles, else `ANY`.

    Args:
        text: the text.
        above: patterns of the paths of the roles above, the root's first.
        this: pattern of the role's own path.
    """
    source, parts, at = text.source, [], 0
    while (begin := source.find(OPEN, at)) >= 0:
        end = source.find(CLOSE, begin)
        parts += [source[at:begin], _known(source[begin + len(OPEN) : end].strip(), above, this)]
        at = end + len(CLOSE)
    return "".join([*parts, source[at:]])


def _known(expression: str, above: tuple[str, ...], this: str) -> str:
    found = _ROLE.fullmatch(expression)
    if not found:
        return ANY
    if expression.startswith("This"):
        path = this
    else:
        generations = int(found[1] or 1)
        path = above[-generations] if 0 < generations <= len(above) else ANY
    return path if found[2] == "Path" else path.rpartition(".")[2]


def may_equal(one: str, other: str) -> bool:
    """Return whether two patterns have a text in common."""
    pending, seen = [(0, 0)], {(0, 0)}
    while pending:
        i, j = pending.pop()
        if i == len(one) and j == len(other):
            return True
        left, right = one[i : i + 1], other[j : j + 1]
        steps: list[tuple[int, int]] = []
        if left == ANY:
            steps += [(i + 1, j), (i, j + 1)] if right else [(i + 1, j)]
        if right == ANY:
            steps += [(i, j + 1), (i + 1, j)] if left else [(i, j + 1)]
        if left and left == right:
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in seen:
                seen.add(step)
                pending.append(step)
    return False


def _target(
    workflow: WorkflowTemplate,
    place: _Role,
    channel: ChannelTemplate,
    here: list[_Bound],
    everywhere: list[_Bound],
    is_complete: bool,
) -> Finding | None:
    target = pattern(channel.target, place.paths[:-1], place.path)
    if not target.strip(ANY) or target.startswith(("tcp://", "ipc://")):
        return None
    unknown = Severity.WARNING if is_complete else Severity.HINT
    if target.startswith("::"):
        alias = target[2:]
        if any(one.alias and may_equal(one.alias, alias) for one in everywhere):
            return None
        known = sorted({_readable(one.alias) for one in everywhere if one.alias.strip(ANY)})
        message = f"nothing here binds the global channel name `{_readable(alias)}`"
        return _unknown(channel, message, unknown, suggest(_readable(alias), known))
    path, colon, name = target.rpartition(":")
    if not colon:
        return None
    is_own = path == workflow.name or path.startswith(f"{workflow.name}.")
    pool = here if is_own else everywhere
    if any(one.channel in (name, ANY) and may_equal(one.path, path) for one in pool):
        return None
    if not is_own and any(one.channel in (name, ANY) and may_equal(_below_any(one.path), path) for one in pool):
        return None
    there = sorted({one.channel for one in pool if may_equal(one.path, path)} - {ANY})
    if there:
        message = f"`{_readable(path)}` binds no channel {name!r}"
        hint = suggest(name, there) or f"it binds {', '.join(there[:8])}"
    else:
        message = f"there is no task `{_readable(path)}` that binds channel {name!r}"
        hint = suggest(_readable(path), {_readable(one.path) for one in pool if one.channel == name})
    return _unknown(channel, message, Severity.ERROR if is_own else unknown, hint)


def _below_any(path: str) -> str:
    """Return the path of a role where its file's root is a part of some other workflow."""
    return ANY + path[path.find(".") :] if "." in path else ANY


def _readable(text: str) -> str:
    return text.replace(ANY, "*")


def _unknown(channel: ChannelTemplate, reason: str, severity: Severity, hint: str) -> Finding:
    return Finding(
        mark=channel.target.mark or channel.mark,
        message=f"channel {channel.name!r} leads nowhere: {reason}",
        code="unknown-channel",
        severity=severity,
        hint=hint,
    )


def _addresses(role: TemplateRole) -> Iterator[Finding]:
    for channel in role.bind:
        target = channel.target
        if target.is_literal and target.source and not target.source.startswith(("tcp://", "ipc://")):
            yield Finding(
                mark=target.mark or channel.mark,
                message=f"the fixed address of inbound channel {channel.name!r} is {target.source!r}",
                code="bad-address",
                severity=Severity.ERROR,
                hint="write tcp://host:port or ipc://name, or leave `target` out",
            )


def _without_target(place: _Role, classes: Mapping[str, TaskTemplate]) -> Iterator[Finding]:
    """Find outbound channels that get no target: their task template can't know one, and no role gives it."""
    body = place.role.body
    task = classes.get(body.load.source.strip()) if isinstance(body, TaskBody) else None
    if task is None or task.mode not in ("direct", "fairmq"):
        return
    roles = [*(role for role, _ in place.above), place.role]
    given = {channel.name: channel for role in roles for channel in role.connect}
    for name in [channel.name for channel in task.connect if channel.name not in given]:
        yield Finding(
            mark=place.role.mark,
            message=f"role {place.role.name.source!r} has no target for channel {name!r} of its task {task.name!r}",
            code="no-target",
            severity=Severity.WARNING,
            hint="repeat the channel under `connect:` of the role, with `target:`",
        )
    for channel in place.role.connect:
        if not channel.target.source:
            yield Finding(
                mark=channel.mark,
                message=f"outbound channel {channel.name!r} of role {place.role.name.source!r} has no target",
                code="no-target",
                severity=Severity.ERROR,
                hint="write role.path:channel, ::alias, tcp://host:port or ipc://name",
            )
