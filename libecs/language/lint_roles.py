"""Findings about roles: hooks whose moment never comes, roles that never run, names that clash."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping

from libecs.errors import EcsError, ExpressionError, InvalidInput
from libecs.fsm import EnvEvent, EnvState
from libecs.language import walk
from libecs.language.duration import parse_duration
from libecs.language.expression import Text, compile_expression
from libecs.language.fields import Finding, Severity
from libecs.language.functions import TableScope, pure_functions
from libecs.language.marks import Mark
from libecs.language.program import suggest
from libecs.language.task import TaskTemplate
from libecs.language.template import (
    AggregatorBody,
    CallBody,
    CountRange,
    ListRange,
    TaskBody,
    TemplateRole,
    WorkflowTemplate,
)

MOMENTS = frozenset(
    [f"{when}_{event.name}" for when in ("before", "after") for event in EnvEvent]
    + [f"{when}_{state.name}" for when in ("leave", "enter") for state in EnvState]
    + ["before_DESTROY", "DESTROY", "after_DESTROY"]
)
"""Names of the moments at which hooks run."""
_WEIGHT = re.compile(r"[+-]?[0-9]{1,9}")
_ENABLED = ("true", "1")


def check(workflows: Collection[WorkflowTemplate], tasks: Collection[TaskTemplate]) -> Iterator[Finding]:
    """Go through the findings."""
    classes = {task.name: task for task in tasks}
    defaults = {
        variable.name: variable.text
        for workflow in workflows
        for role in walk.roles(workflow)
        for _, variable in walk.variables(role)
    }
    for workflow in workflows:
        for role in walk.roles(workflow):
            yield from _enabled(role)
            yield from _hook(role, classes)
            yield from _timeout(role, defaults)
            yield from _loop(role)
            if isinstance(role.body, AggregatorBody):
                yield from _members(role, role.body)


def _finding(mark: Mark, code: str, severity: Severity, message: str, hint: str = "") -> Finding:
    return Finding(mark=mark, message=message, code=code, severity=severity, hint=hint)


def _place(text: Text | None, role: TemplateRole) -> Mark:
    mark = text.mark if text is not None else None
    return mark if mark is not None and mark.line else role.mark


def _shown(role: TemplateRole) -> str:
    return f"role {role.name.source!r}"


def _enabled(role: TemplateRole) -> Iterator[Finding]:
    """Find roles that are never enabled: a text that is not true, or a condition without variables."""
    text = role.enabled
    if text is None or text.names or text.calls:
        return
    try:
        value = text.evaluate(TableScope({}, pure_functions(str))).strip().lower()
    except EcsError:
        return  # found when it is expanded, with its place
    if value in _ENABLED:
        return
    if text.is_literal and value == "false":
        hint = "remove the role, or make it depend on a variable"
        yield _finding(_place(text, role), "never-enabled", Severity.HINT, f"{_shown(role)} is switched off", hint)
        return
    message = f"{_shown(role)} is never enabled: `{value[:40]}` is neither true nor 1"
    yield _finding(_place(text, role), "never-enabled", Severity.WARNING, message)


def _hook(role: TemplateRole, classes: Mapping[str, TaskTemplate]) -> Iterator[Finding]:
    body = role.body
    if not isinstance(body, (TaskBody, CallBody)):
        return
    traits = body.traits
    for what, text in (("trigger", traits.trigger), ("await", traits.await_)):
        if text.is_literal and text.source.strip():
            yield from _moment(what, text, role)
    if isinstance(body, CallBody):
        yield from _call(role, body)
        return
    if traits.await_.source and traits.await_.source != traits.trigger.source:
        message = "`await` of a task is ignored: a hook task is waited for where it begins"
        yield _finding(_place(traits.await_, role), "ignored-await", Severity.WARNING, message)
    task = classes.get(body.load.source.strip())
    if task is None:
        return
    if task.mode == "hook" and not traits.trigger.source.strip():
        message = f"{_shown(role)} has no trigger and never runs: {task.name!r} is a hook"
        yield _finding(role.mark, "no-trigger", Severity.WARNING, message, "add `trigger:`")
    if task.mode in ("direct", "fairmq") and traits.trigger.source.strip():
        message = f"{_shown(role)} can't be a hook: {task.name!r} is a {task.mode} task, which does not end by itself"
        hint = "take a task template with `mode: basic`, or remove `trigger`"
        yield _finding(_place(traits.trigger, role), "not-a-hook", Severity.ERROR, message, hint)


def _moment(what: str, text: Text, role: TemplateRole) -> Iterator[Finding]:
    written = text.source.strip()
    at = max(written.rfind("+"), written.rfind("-"))
    name, weight = (written[:at], written[at:]) if at >= 0 else (written, "0")
    mark = _place(text, role)
    if not _WEIGHT.fullmatch(weight):
        hint = "write a name and maybe a weight, such as before_CONFIGURE-50"
        yield _finding(mark, "bad-moment", Severity.ERROR, f"`{what}` is {written!r}, which is no moment", hint)
    elif name not in MOMENTS:
        message = f"the moment {written!r} of `{what}` never comes"
        hint = f"write before_{name} or after_{name}" if name in EnvEvent.__members__ else suggest(name, MOMENTS)
        yield _finding(mark, "never-comes", Severity.WARNING, message, hint)


def _call(role: TemplateRole, body: CallBody) -> Iterator[Finding]:
    if not body.traits.trigger.source.strip():
        message = f"{_shown(role)} has no trigger: its call never runs"
        yield _finding(role.mark, "no-trigger", Severity.WARNING, message, "add `trigger:`")
    if not body.func.is_literal:
        return
    try:
        compile_expression(body.func.source.strip(), body.func.mark)
    except ExpressionError as error:
        mark = Mark(error.file, error.line, error.column)
        yield _finding(mark, "bad-call", Severity.ERROR, error.reason, error.hint)


def _timeout(role: TemplateRole, defaults: Mapping[str, Text]) -> Iterator[Finding]:
    """Find timeouts that are no durations: written ones, and the default of a variable that is one."""
    if not isinstance(role.body, (TaskBody, CallBody)):
        return
    text = role.body.traits.timeout
    severity, source = Severity.ERROR, text
    name = text.source.strip().removeprefix("{{").removesuffix("}}").strip()
    if not text.is_literal:
        if text.names != {name} or name not in defaults:
            return
        severity, source = Severity.WARNING, defaults[name]
    if not source.is_literal or not source.source.strip():
        return
    try:
        parse_duration(source.source)
    except InvalidInput as error:
        message = f"timeout of {_shown(role)}: {error.message}"
        yield _finding(_place(source, role), "bad-duration", severity, message, error.hint)


def _loop(role: TemplateRole) -> Iterator[Finding]:
    loop = role.loop
    if loop is None:
        return
    count = _count(loop)
    if count == 0:
        message = f"{_shown(role)} is repeated for nothing: the range is empty"
        yield _finding(loop.mark, "no-members", Severity.WARNING, message)
    if loop.var not in role.name.names and (count is None or count > 1):
        message = f"the name of {_shown(role)} does not hold {loop.var!r}: all that are made of it have one name"
        yield _finding(
            _place(role.name, role), "iterator-name", Severity.WARNING, message, f"write {{{{ {loop.var} }}}} into it"
        )


def _count(loop: ListRange | CountRange) -> int | None:
    """Return how many roles a loop makes, None if that is known only later."""
    if isinstance(loop, CountRange):
        try:
            return max(int(loop.end.source) - int(loop.begin.source) + 1, 0)
        except ValueError:
            return None
    try:
        items = json.loads(loop.range.source)
    except (ValueError, RecursionError):
        return None
    return len(items) if isinstance(items, list) else None


def _members(role: TemplateRole, body: AggregatorBody) -> Iterator[Finding]:
    if not body.roles:
        yield _finding(role.mark, "no-members", Severity.WARNING, f"{_shown(role)} has no roles in it and disappears")
    fixed = all(child.loop is None for child in body.roles)
    if fixed and body.min > len(body.roles):
        message = f"`min` of {_shown(role)} is {body.min}, and it has {len(body.roles)} members"
        yield _finding(role.mark, "too-few-members", Severity.ERROR, message)
    first: dict[str, TemplateRole] = {}
    for child in body.roles:
        if not child.name.is_literal or child.loop is not None:
            continue
        other = first.setdefault(child.name.source, child)
        always = child.enabled is None and other.enabled is None
        same = child.enabled is not None and child.enabled == other.enabled
        if other is not child and (always or same):
            message = f"{_shown(child)} stands in line {other.mark.line}, too, and both are enabled together"
            hint = "rename one; siblings of one name must exclude each other by `enabled`"
            yield _finding(_place(child.name, child), "duplicate-role", Severity.ERROR, message, hint)
    yield from _waits(body)


def _waits(body: AggregatorBody) -> Iterator[Finding]:
    """Find `start_after` of a plain name that is no sibling. Paths are looked at when all is expanded."""
    computed = any(not child.name.is_literal for child in body.roles)
    names = [child.name.source for child in body.roles]
    for child in body.roles:
        for text in child.start_after:
            name = text.source
            if text.is_literal and "." not in name and name not in names and not computed:
                yield _finding(
                    _place(text, child),
                    "unknown-role",
                    Severity.WARNING,
                    f"`start_after` of {_shown(child)} names {name!r}, which is none of its siblings",
                    suggest(name, names),
                )
