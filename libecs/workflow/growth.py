"""Roles while their workflow grows, and the flat tuple that they become."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.language.expression import RoleRef, Text
from libecs.language.marks import Mark
from libecs.language.template import AggregatorBody, TemplateRole
from libecs.language.variables import Stack
from libecs.workflow import evaluate
from libecs.workflow.role import CallTraits, Channel, Constraint, Role, RoleKind, TaskTraits

_NOTHING: Mapping[str, str] = {}


@attrs.define(eq=False)
class Node:
    """A role that is being expanded."""

    template: TemplateRole
    parent: Node | None
    depth: int
    base: str
    """Repository that its bare references mean."""
    includes: tuple[str, ...]
    """Keys of the workflow templates around it, the outermost first."""
    stack: Stack
    name: str = ""
    path: str = ""
    defaults: Mapping[str, str] = _NOTHING
    vars: Mapping[str, str] = _NOTHING
    constraints: tuple[Constraint, ...] = ()
    bind: tuple[Channel, ...] = ()
    connect: tuple[Channel, ...] = ()
    own_bind: int = 0
    own_connect: int = 0
    """How many of bind and connect are its own; the rest is inherited."""
    start_after: tuple[str, ...] = ()
    min: int = 0
    task: TaskTraits | None = None
    call: CallTraits | None = None
    critical: bool = True
    children: list[Node] = attrs.field(factory=list)

    @property
    def ref(self) -> RoleRef:
        """Name and path."""
        return RoleRef(name=self.name, path=self.path)

    def mark_of(self, text: Text) -> Mark:
        """Return the place of one of its texts; its own for a text that nobody wrote."""
        return text.mark if text.mark and text.mark.line else self.template.mark


def label(template: TemplateRole, parent: Node | None) -> str:
    """Return the path that a role will have, or its parent's if its name is not known before it is evaluated."""
    above = parent.path if parent else ""
    if not template.name.is_literal:
        return above
    return f"{above}.{template.name.source}" if above else template.name.source


def least_roles(template: TemplateRole, most_copies: int) -> tuple[int, TemplateRole | None]:
    """Return how many roles a template makes at least, and the innermost iterator that makes so many of them.

    Only what needs no evaluation is counted: integers that are written, and roles that are enabled in any case.
    Iterators of more than `most_copies` are left to who refuses them.
    """
    if template.enabled is not None:
        return 0, None
    copies = 1
    if template.loop is not None:
        copies = evaluate.least_copies(template.loop)
        copies = 0 if copies > most_copies else copies
    inside, found = 1, None
    if copies and isinstance(template.body, AggregatorBody):
        for child in template.body.roles:
            least, loop = least_roles(child, most_copies)
            inside += least
            found = loop or found
    return copies * inside, found or (template if copies > 1 else None)


def flatten(root: Node) -> tuple[Role, ...]:
    """Return all roles in pre-order.

    Raises:
        TemplateError: two of them have the same path.
    """
    roles: list[Role] = []
    marks: dict[str, Mark] = {}
    pending = [(root, -1)]
    while pending:
        node, parent = pending.pop()
        mark = node.template.mark
        if node.path in marks:
            first = marks[node.path]
            raise mark.error(
                f"two roles are named {node.path}, in {first.file}:{first.line} and {mark.file}:{mark.line}",
                hint="rename one, or see why both are enabled; the name of an iterator must hold its variable",
            )
        marks[node.path] = mark
        roles.append(_finished(node, parent))
        index = len(roles) - 1
        pending.extend((child, index) for child in reversed(node.children))
    return tuple(roles)


def _finished(node: Node, parent: int) -> Role:
    kind = RoleKind.TASK if node.task else RoleKind.CALL if node.call else RoleKind.AGGREGATOR
    is_task = kind is RoleKind.TASK
    return Role(
        name=node.name,
        path=node.path,
        parent=parent,
        kind=kind,
        critical=node.critical,
        defaults=node.defaults,
        vars=node.vars,
        constraints=node.constraints,
        bind=node.bind if is_task else node.bind[: node.own_bind],
        connect=node.connect if is_task else node.connect[: node.own_connect],
        task=node.task,
        call=node.call,
        file=node.template.mark.file,
        line=node.template.mark.line,
        min=node.min,
        start_after=node.start_after,
        own_bind=node.own_bind,
        own_connect=node.own_connect,
    )
