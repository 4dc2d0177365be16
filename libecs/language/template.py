"""Workflow templates: one YAML file becomes a tree of template roles, checked, with every text compiled.

A role has exactly one of `roles`, `task`, `call` and `include`, and may have `for`, which makes many of it. What the
texts mean is decided later, by expansion; here a file is right or wrong by itself.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from libecs.language.expression import Text, compile_text
from libecs.language.fields import (
    ChannelTemplate,
    ConstraintTemplate,
    Finding,
    Reader,
    Variable,
    check_name,
    parse_template,
)
from libecs.language.marks import Mark
from libecs.language.yaml import Mapping, Node, Scalar

_KINDS = ("roles", "task", "call", "include")
_COMMON_KEYS = ("name", "enabled", "defaults", "vars", "constraints", "connect", "bind", "for", "start_after")
_TASK_KEYS = ("load", "trigger", "await", "timeout", "critical")
_CALL_KEYS = ("func", "return", "trigger", "await", "timeout", "critical")


@attrs.frozen(kw_only=True)
class Traits:
    """When a task or call runs, and what its failure means. Empty texts mean the default."""

    trigger: Text
    await_: Text
    timeout: Text
    critical: bool = True


@attrs.frozen(kw_only=True)
class TaskBody:
    """What follows `task:`."""

    load: Text
    """Name of the task template."""
    traits: Traits


@attrs.frozen(kw_only=True)
class CallBody:
    """What follows `call:`."""

    func: Text
    """An expression without braces, but with {{ }} inside it that are evaluated before."""
    returns: Text
    traits: Traits


@attrs.frozen(kw_only=True)
class IncludeBody:
    """What follows `include:`."""

    workflow: Text


@attrs.frozen(kw_only=True)
class AggregatorBody:
    """What follows `roles:`."""

    roles: tuple[TemplateRole, ...]
    min: int = 0
    """How many of the members a run needs, 0 = all."""


Body: TypeAlias = "TaskBody | CallBody | IncludeBody | AggregatorBody"


@attrs.frozen(kw_only=True)
class ListRange:
    """`for: {range, var}`: one role for each item of a JSON list of strings."""

    range: Text
    var: str
    mark: Mark


@attrs.frozen(kw_only=True)
class CountRange:
    """`for: {begin, end, var}`: one role for each integer from begin to end, both included."""

    begin: Text
    end: Text
    var: str
    mark: Mark


@attrs.frozen(kw_only=True)
class TemplateRole:
    """A role as it is written."""

    name: Text
    body: Body
    loop: ListRange | CountRange | None = None
    enabled: Text | None = None
    defaults: tuple[Variable, ...] = ()
    vars: tuple[Variable, ...] = ()
    constraints: tuple[ConstraintTemplate, ...] = ()
    bind: tuple[ChannelTemplate, ...] = ()
    connect: tuple[ChannelTemplate, ...] = ()
    start_after: tuple[Text, ...] = ()
    """Names of siblings, or paths, of what must be RUNNING before this one is started."""
    mark: Mark


@attrs.frozen(kw_only=True)
class WorkflowTemplate:
    """A workflow template file."""

    name: str
    public: bool = False
    """Its name is tagged !public: it is meant for users, not for inclusion only."""
    description: str = ""
    description_public: bool = False
    root: TemplateRole
    """An aggregator."""
    findings: tuple[Finding, ...] = ()
    file: str = ""

    def variables(self) -> tuple[Variable, ...]:
        """Return all variables that are tagged !public, in the order of the file."""
        found: list[Variable] = []
        pending = [self.root]
        while pending:
            role = pending.pop()
            found.extend(variable for variable in (*role.defaults, *role.vars) if variable.spec)
            if isinstance(role.body, AggregatorBody):
                pending.extend(reversed(role.body.roles))
        return tuple(found)


def read_workflow(text: str | bytes, file: str, *, name: str | None = None) -> WorkflowTemplate:
    """Read a workflow template.

    Args:
        text: the file's content.
        file: its name as the user knows it, for messages.
        name: what its `name` must be; None for includes, which may be named anyhow.

    Raises:
        TemplateError: it is not YAML, or not a workflow template, at file:line:column.
    """
    root = parse_template(text, file).expect_mapping("a workflow template")
    reader = Reader()
    found = check_name(root, "the workflow template", name)
    if "roles" not in root:
        hint = "is this a task template? Those are loaded by `task:`" if "command" in root else ""
        raise root.mark.error("a workflow template needs the key 'roles'", hint=hint)
    name_node, description = root.get("name"), root.get("description")
    role = _role(reader, root, is_root=True)
    return WorkflowTemplate(
        name=found,
        public=isinstance(name_node, Scalar) and name_node.is_public,
        description=reader.text(root, "description", "the workflow template"),
        description_public=isinstance(description, Scalar) and description.is_public,
        root=role,
        findings=tuple(reader.findings),
        file=file,
    )


def _role(reader: Reader, node: Mapping, *, is_root: bool = False) -> TemplateRole:
    name = reader.template(node, "name", "a role")
    what = f"role {name.source!r}" if name.source else "a role without a name"
    kind = _kind(node, what)
    own_keys = {"roles": ("roles", "min"), "task": ("task",), "call": ("call",), "include": ("include",)}[kind]
    reader.check_keys(node, _COMMON_KEYS + own_keys + (("description",) if is_root else ()), what)
    if is_root and "for" in node:
        raise node.mark.error("the root of a workflow can't be repeated by `for`")
    if not name.source:
        raise node.mark.error("a role needs a name")
    enabled = node.get("enabled")
    is_set = enabled is not None and not (isinstance(enabled, Scalar) and enabled.is_null)
    return TemplateRole(
        name=name,
        body=_body(reader, node, kind, what),
        loop=_loop(reader, node, what),
        enabled=reader.template(node, "enabled", what) if is_set else None,
        defaults=reader.variables(node, "defaults", what),
        vars=reader.variables(node, "vars", what),
        constraints=reader.constraints(node, what),
        bind=reader.channels(node, "bind", what),
        connect=reader.channels(node, "connect", what),
        start_after=_start_after(reader, node, what),
        mark=node.mark,
    )


def _kind(node: Mapping, what: str) -> str:
    present = [kind for kind in _KINDS if kind in node]
    if len(present) == 1:
        return present[0]
    if not present:
        raise node.mark.error(f"{what} has none of `roles`, `task`, `call` and `include`", hint="give it one of them")
    raise node.mark.error(f"{what} has {' and '.join(f'`{kind}`' for kind in present)}", hint="a role has one of them")


def _body(reader: Reader, node: Mapping, kind: str, what: str) -> Body:
    if kind == "roles":
        roles = tuple(
            _role(reader, item.expect_mapping(f"a role in `roles` of {what}"))
            for item in reader.sequence(node, "roles", what)
        )
        return AggregatorBody(roles=roles, min=reader.integer(node, "min", what, 0))
    if kind == "include":
        return IncludeBody(workflow=_needed(reader, node, "include", what))
    body = node.require(kind, what).expect_mapping(f"`{kind}` of {what}")
    reader.check_keys(body, _TASK_KEYS if kind == "task" else _CALL_KEYS, f"`{kind}` of {what}")
    traits = Traits(
        trigger=reader.template(body, "trigger", what),
        await_=reader.template(body, "await", what),
        timeout=reader.template(body, "timeout", what),
        critical=reader.boolean(body, "critical", what, True),
    )
    if kind == "task":
        return TaskBody(load=_needed(reader, body, "load", what), traits=traits)
    return CallBody(
        func=_needed(reader, body, "func", what), returns=reader.template(body, "return", what), traits=traits
    )


def _needed(reader: Reader, node: Mapping, key: str, what: str) -> Text:
    node.require(key, what)
    text = reader.template(node, key, what)
    if not text.source.strip():
        raise node.mark.error(f"`{key}` of {what} is empty")
    return text


def _loop(reader: Reader, node: Mapping, what: str) -> ListRange | CountRange | None:
    loop = node.get("for")
    if loop is None:
        return None
    mapping = loop.expect_mapping(f"`for` of {what}")
    reader.check_keys(mapping, ("range", "begin", "end", "var"), f"`for` of {what}")
    var = reader.text(mapping, "var", f"`for` of {what}")
    counted = "begin" in mapping and "end" in mapping
    if not var or not (counted or "range" in mapping):
        raise mapping.mark.error(f"`for` of {what} needs `var`, and either `range` or `begin` and `end`")
    if not counted:
        return ListRange(range=reader.template(mapping, "range", what), var=var, mark=mapping.mark)
    if "range" in mapping:
        reader.note(
            mapping.mark, f"`for` of {what} has `range` beside `begin` and `end`; `range` is ignored", "ignored"
        )
    begin, end = reader.template(mapping, "begin", what), reader.template(mapping, "end", what)
    return CountRange(begin=begin, end=end, var=var, mark=mapping.mark)


def _start_after(reader: Reader, node: Mapping, what: str) -> tuple[Text, ...]:
    value = node.get("start_after")
    items: tuple[Node, ...] = (value,) if isinstance(value, Scalar) and not value.is_null else ()
    texts = []
    for item in items or reader.sequence(node, "start_after", what):
        scalar = item.expect_scalar(f"an entry of `start_after` of {what}")
        texts.append(compile_text(scalar.text, scalar.mark))
    return tuple(texts)
