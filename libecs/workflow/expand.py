"""Expansion: a workflow template and variables become a `Workflow`, the tree of roles that is launched.

Pure: the same template, variables and snapshot give the same tree. A role is evaluated in stages, each of which sees
what the stages before it made, and its children only after it:

    0  enabled                                          variables of the parent
    1  defaults                                         likewise
    2  vars                                             + own defaults
    4  name, load, func, include, trigger, timeout …    + own vars
    5  constraints, connect targets, global names       + This()

(Stage 3 of AliECS, the users' variables of a role, has nothing to evaluate before an environment exists.) All texts of
one stage see the same variables: entries of one map never see each other's results.

A key that a partial snapshot does not hold is remembered, and expansion goes on with the next role, so that one
`Missing` names as many keys as can be known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

import attrs

from libecs.config.tree import Tree
from libecs.errors import InvalidInput, Missing, NotFound, TemplateError
from libecs.language.duration import parse_duration
from libecs.language.expression import RoleRef, Text, compile_text
from libecs.language.fields import ChannelTemplate, ConstraintTemplate, Finding, Variable
from libecs.language.functions import FunctionTable, pure_functions
from libecs.language.marks import Mark
from libecs.language.task import TaskTemplate, read_task
from libecs.language.template import (
    AggregatorBody,
    CallBody,
    CountRange,
    IncludeBody,
    ListRange,
    TaskBody,
    TemplateRole,
    Traits,
    WorkflowTemplate,
    read_workflow,
)
from libecs.language.variables import Base, LazyTexts, Stack
from libecs.workflow import channels as channels_of
from libecs.workflow import classes, order
from libecs.workflow.calls import check_call
from libecs.workflow.constraints import merge
from libecs.workflow.hooks import parse_moment
from libecs.workflow.role import (
    CallTraits,
    Channel,
    Constraint,
    Mode,
    Moment,
    Role,
    RoleKind,
    TaskClass,
    TaskTraits,
    Workflow,
)
from libecs.workflow.scope import RoleScope
from libecs.workflow.services import Allowed, Services, functions
from libecs.workflow.source import Kind, Reference, TemplateSource, parse_reference

HOOK_TIMEOUT_S = 30.0
"""Default life of a call or a hook task."""
_TRUE = ("true", "1")
_NOTHING: Mapping[str, str] = {}


@attrs.frozen(kw_only=True)
class ExpansionLimits:
    """How large a workflow may become."""

    roles: int = 200_000
    depth: int = 48
    """Roles inside each other."""
    includes: int = 16
    """Includes inside each other."""


@attrs.define(eq=False)
class _Node:
    """A role while its workflow grows."""

    template: TemplateRole
    parent: _Node | None
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
    children: list[_Node] = attrs.field(factory=list)

    @property
    def ref(self) -> RoleRef:
        return RoleRef(name=self.name, path=self.path)


def expand(
    source: TemplateSource,
    workflow: str,
    variables: Mapping[str, str],
    snapshot: Tree,
    *,
    ids: Callable[[], str],
    base_vars: Mapping[str, str] = _NOTHING,
    base_defaults: Mapping[str, str] = _NOTHING,
    integrations: Mapping[str, str] = _NOTHING,
    allow: Allowed = {},  # noqa: B006 - never changed
    writes: MutableMapping[str, str] | None = None,
    findings: list[Finding] | None = None,
    limits: ExpansionLimits = ExpansionLimits(),
) -> Workflow:
    """Return the workflow that a template means.

    Args:
        source: where the templates are.
        workflow: name of the workflow template, in the forms of `parse_reference`.
        variables: values of the request, and `environment_id`.
        snapshot: configuration, runtime values and inventory.
        ids: gives the ids of `uid.New()`, none twice.
        base_vars: the installation's `vars`.
        base_defaults: the installation's `defaults`, and computed ones such as consul_endpoint.
        integrations: functions of integrations that templates may call, such as "odc.GenerateEPNWorkflowScript".
        allow: functions that are off unless an administrator allows them.
        writes: takes what `runtime.Set` writes, key to value.
        findings: takes what is allowed and probably a mistake.
        limits: how large the workflow may become.

    Raises:
        NotFound: there is no such workflow template.
        TemplateError: a template is wrong, at file:line:column; duplicate role paths; channels that lead nowhere.
        Missing: the snapshot or the source lack keys; fetch them and expand again.
    """
    reference = parse_reference(workflow, "workflows", "")
    services = Services(snapshot, {} if writes is None else writes, integrations, allow)
    expander = _Expander(source, functions(pure_functions(ids), services), limits)
    base = Base(user=variables, vars=base_vars, defaults=base_defaults)
    try:
        return expander.run(reference, base)
    finally:
        if findings is not None:
            findings.extend(expander.findings)


class _Expander:
    """One expansion."""

    def __init__(self, source: TemplateSource, table: FunctionTable, limits: ExpansionLimits) -> None:
        self._source = source
        self._functions = table
        self._limits = limits
        self._workflows: dict[str, WorkflowTemplate] = {}
        self._tasks: dict[str, TaskTemplate] = {}
        self._classes: dict[str, TaskClass] = {}
        self._missing: dict[str, None] = {}
        self._roles = 0
        self._disabled: set[str] = set()
        self.findings: list[Finding] = []

    def run(self, reference: Reference, base: Base) -> Workflow:
        text, file = self._source.workflow(reference.name, reference.base)
        template = read_workflow(text, file, name=reference.name)
        self._workflows[reference.key] = template
        self.findings.extend(template.findings)
        root: _Node | None = None
        try:
            root = self._role(
                template.root, None, Stack(base), reference.base, (reference.key,), _NOTHING, is_root=True
            )
        except Missing as error:
            self._missing.update(dict.fromkeys(error.keys))
        if self._missing:
            raise Missing(sorted(self._missing))
        if root is None:
            raise template.root.mark.error(
                f"workflow {template.name!r} has no role left: all are disabled",
                hint=f"disabled: {', '.join(sorted(self._disabled)[:10])}" if self._disabled else "",
            )
        roles = tuple(self._flatten(root))
        result = Workflow(
            name=template.name,
            roles=order.resolve(roles, self._disabled),
            classes={key: self._classes[key] for key in sorted(self._classes)},
            repository=self._source.repository,
            revision=self._source.revision,
            description=template.description if template.description_public else "",
            user_vars=dict(base.user),
            base_vars=dict(base.vars),
            base_defaults=dict(base.defaults),
        )
        channels_of.check(result)
        return result

    # ------------------------------------------------------------------------------------------------ the tree

    def _children(self, node: _Node, templates: Iterable[TemplateRole]) -> None:
        for template in templates:
            try:
                for local in self._locals(node, template):
                    child = self._guarded(node, template, local)
                    if child is not None:
                        node.children.append(child)
            except Missing as error:  # of the range
                self._missing.update(dict.fromkeys(error.keys))

    def _guarded(self, node: _Node, template: TemplateRole, local: Mapping[str, str]) -> _Node | None:
        try:
            return self._role(template, node, node.stack, node.base, node.includes, local)
        except Missing as error:
            self._missing.update(dict.fromkeys(error.keys))
            return None

    def _locals(self, parent: _Node, template: TemplateRole) -> Iterator[Mapping[str, str]]:
        """Go through the values of the iterator's variable; once through nothing for a role without `for`."""
        loop = template.loop
        if loop is None:
            yield _NOTHING
            return
        scope = RoleScope(parent.stack.tables, self._functions, parent)
        if isinstance(loop, CountRange):
            begin = self._integer(loop.begin, scope, loop)
            end = self._integer(loop.end, scope, loop)
            if end - begin >= self._limits.roles:
                raise loop.mark.error(f"`for` counts from {begin} to {end}: more than {self._limits.roles} roles")
            for number in range(begin, end + 1):
                yield {loop.var: str(number)}
            return
        text = self._text(loop.range, scope)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            mark = loop.range.mark or loop.mark
            raise mark.error(
                f"`range` must give a JSON list of strings, and gives {_short(text)}",
                hint='such as ["flp001", "flp002"]',
                path=parent.path,
            )
        for value in values:
            yield {loop.var: value}

    def _integer(self, text: Text, scope: RoleScope, loop: CountRange | ListRange) -> int:
        value = self._text(text, scope)
        try:
            return int(value)
        except ValueError:
            raise (text.mark or loop.mark).error(f"`begin` and `end` must be integers: {_short(value)}") from None

    def _role(
        self,
        template: TemplateRole,
        parent: _Node | None,
        above: Stack,
        base: str,
        includes: tuple[str, ...],
        local: Mapping[str, str],
        *,
        is_root: bool = False,
    ) -> _Node | None:
        """Return the role, or None if it is disabled or nothing is left of it."""
        depth = parent.depth + 1 if parent else 1
        node = _Node(template=template, parent=parent, depth=depth, base=base, includes=includes, stack=above)
        if not self._stages(node, parent, above, local):
            return None
        self._count(node)
        self._inherit(node, parent)
        return node if self._body(node, template.body) else None

    def _stages(self, node: _Node, parent: _Node | None, above: Stack, local: Mapping[str, str]) -> bool:
        """Evaluate stages 0 to 2 and the name. Returns False if the role is disabled."""
        template = node.template
        first = (local,) if local else ()
        label = _label(template, parent)
        scope = RoleScope(first + above.tables, self._functions, parent, label=label)
        if not self._enabled(template, scope, parent):
            return False
        node.defaults = self._variables(template.defaults, scope)
        if template.vars:
            with_defaults = above.child("", defaults=node.defaults) if node.defaults else above
            scope = RoleScope(first + with_defaults.tables, self._functions, parent, label=label)
        node.vars = self._variables(template.vars, scope)
        inside = above.child("", defaults=node.defaults, vars=node.vars)
        scope = RoleScope(first + inside.tables, self._functions, parent, label=label)
        node.name = self._text(template.name, scope)
        if not node.name:
            raise template.mark.error("the name of the role is empty text", path=parent.path if parent else "")
        node.path = f"{parent.path}.{node.name}" if parent else node.name
        node.vars = {**node.vars, **local}
        node.stack = above.child(node.path, defaults=node.defaults, vars=node.vars)
        return True

    def _enabled(self, template: TemplateRole, scope: RoleScope, parent: _Node | None) -> bool:
        if template.enabled is None or self._text(template.enabled, scope).strip().lower() in _TRUE:
            return True
        if template.name.is_literal:
            self._disabled.add(_label(template, parent))
        return False

    def _inherit(self, node: _Node, parent: _Node | None) -> None:
        """Evaluate stage 5: what a role and its ancestors say about nodes and channels."""
        template = node.template
        scope = self._inside(node, final=True)
        own = tuple(self._constraint(item, scope) for item in template.constraints)
        bind = tuple(self._inbound(item, scope) for item in template.bind)
        connect = tuple(self._outbound(item, scope) for item in template.connect)
        node.start_after = tuple(self._text(text, scope) for text in template.start_after)
        node.constraints = merge(parent.constraints, own) if parent else merge((), own)
        node.bind = channels_of.collect(bind, parent.bind if parent else ())
        node.connect = channels_of.collect(connect, parent.connect if parent else ())
        node.own_bind, node.own_connect = len(bind), len(connect)

    def _body(self, node: _Node, body: AggregatorBody | TaskBody | CallBody | IncludeBody) -> bool:
        """Evaluate what the role is. Returns False if nothing is left of it."""
        if isinstance(body, TaskBody):
            self._task(node, body)
            return True
        if isinstance(body, CallBody):
            self._call(node, body)
            return True
        if isinstance(body, IncludeBody):
            return self._include(node, body)
        self._children(node, body.roles)
        if body.min > len(node.children) and not self._missing:
            raise node.template.mark.error(
                f"`min` is {body.min}, but the role has {len(node.children)} members", path=node.path
            )
        node.min = body.min
        return bool(node.children)

    def _include(self, node: _Node, body: IncludeBody) -> bool:
        """Put the root of another template in the place of `node`, which keeps its name and adds its own settings."""
        reference = self._reference(body.workflow, "workflows", node)
        if reference.key in node.includes:
            circle = " -> ".join((*node.includes, reference.key))
            raise _mark(body.workflow, node).error(f"includes go round in a circle: {circle}", path=node.path)
        if len(node.includes) >= self._limits.includes:
            raise _mark(body.workflow, node).error(
                f"more than {self._limits.includes} includes inside each other", path=node.path
            )
        template = self._workflow(reference, body.workflow, node)
        sub = template.root
        inner = attrs.evolve(node.template, name=compile_text(node.name, node.template.name.mark), loop=None)
        inner = attrs.evolve(inner, body=sub.body, enabled=sub.enabled, defaults=sub.defaults, vars=sub.vars)
        inner = attrs.evolve(inner, constraints=sub.constraints, bind=sub.bind, connect=sub.connect)
        outer = attrs.evolve(node)
        node.template = attrs.evolve(inner, start_after=sub.start_after)
        node.base, node.includes = reference.base, (*node.includes, reference.key)
        if not self._stages(node, node.parent, outer.stack, _NOTHING):
            return False
        node.defaults = {**outer.defaults, **node.defaults}
        node.vars = {**outer.vars, **node.vars}
        self._inherit(node, outer)
        node.own_bind = len(channels_of.collect(node.bind[: node.own_bind], outer.bind[: outer.own_bind]))
        node.own_connect = len(
            channels_of.collect(node.connect[: node.own_connect], outer.connect[: outer.own_connect])
        )
        node.start_after = (*outer.start_after, *node.start_after)
        node.template = attrs.evolve(node.template, mark=outer.template.mark)
        return self._body(node, sub.body)

    # ------------------------------------------------------------------------------------------------ leaves

    def _task(self, node: _Node, body: TaskBody) -> None:
        scope = self._inside(node)
        reference = self._reference(body.load, "tasks", node)
        task_class, template = self._task_class(reference, body.load, node)
        trigger, await_, timeout_s = self._traits(body.traits, scope, node)
        mode = task_class.mode
        if trigger is not None and mode in (Mode.DIRECT, Mode.FAIRMQ):
            raise _mark(body.traits.trigger, node).error(
                f"a {mode.name.lower()} task can't be a hook: {reference.key} is no command that ends by itself",
                path=node.path,
                hint="take a task template with `mode: basic`, or remove `trigger`",
            )
        if trigger is not None:
            mode = Mode.HOOK
        node.task = TaskTraits(class_name=reference.key, mode=mode, trigger=trigger, await_=await_, timeout_s=timeout_s)
        node.critical = body.traits.critical
        self._add_class(node, task_class, template)

    def _add_class(self, node: _Node, task_class: TaskClass, template: TaskTemplate) -> None:
        """Put constraints and channels of the task class below those of the roles.

        Texts in them see the role's variables and, weaker, those of the class.
        """
        lazy = LazyTexts(
            {name: compile_text(text, template.mark) for name, text in {**template.defaults, **template.vars}.items()}
            if any("{{" in item.value for item in task_class.constraints)
            or any("{{" in channel.target + channel.global_ for channel in task_class.bind)
            else {}
        )
        scope = RoleScope(node.stack.tables, self._functions, node.parent, node.ref, lazy)
        if template.constraints:
            outer = tuple(self._constraint(item, scope) for item in template.constraints)
            node.constraints = merge(outer, node.constraints)
        if template.bind:
            taken = {channel.name for channel in node.bind}
            inherited = tuple(
                channel if item.target.is_literal and item.global_.is_literal else self._inbound(item, scope)
                for item, channel in zip(template.bind, task_class.bind, strict=True)
                if item.name not in taken
            )
            node.bind = channels_of.collect(node.bind, inherited)
        if task_class.connect:
            node.connect = channels_of.collect(node.connect, task_class.connect)

    def _call(self, node: _Node, body: CallBody) -> None:
        scope = self._inside(node)
        func = self._text(body.func, scope)
        try:
            check_call(func)
        except InvalidInput as error:
            raise _mark(body.func, node).error(error.message, hint=error.hint, path=node.path) from None
        trigger, await_, timeout_s = self._traits(body.traits, scope, node)
        if trigger is None:
            self.findings.append(
                Finding(mark=node.template.mark, message=f"call {node.path} has no trigger and never runs")
            )
        node.call = CallTraits(
            func=func,
            returns=self._text(body.returns, scope),
            trigger=trigger,
            await_=await_,
            timeout_s=timeout_s,
        )
        node.critical = body.traits.critical

    def _traits(self, traits: Traits, scope: RoleScope, node: _Node) -> tuple[Moment | None, Moment | None, float]:
        """Return trigger, await and timeout in seconds."""
        trigger = self._moment(traits.trigger, scope, node)
        await_ = self._moment(traits.await_, scope, node) or trigger if trigger else None
        text = self._text(traits.timeout, scope)
        if not text.strip():
            return trigger, await_, HOOK_TIMEOUT_S if trigger else 0.0
        try:
            return trigger, await_, parse_duration(text)
        except InvalidInput as error:
            raise _mark(traits.timeout, node).error(
                f"timeout: {error.message}", hint=error.hint, path=node.path
            ) from None

    def _moment(self, text: Text, scope: RoleScope, node: _Node) -> Moment | None:
        value = self._text(text, scope)
        if not value.strip():
            return None
        try:
            return parse_moment(value)
        except InvalidInput as error:
            raise _mark(text, node).error(error.message, hint=error.hint, path=node.path) from None

    # ------------------------------------------------------------------------------------------------ templates

    def _reference(self, text: Text, kind: Kind, node: _Node) -> Reference:
        value = self._text(text, self._inside(node))
        try:
            return parse_reference(value, kind, node.base)
        except InvalidInput as error:
            raise _mark(text, node).error(error.message, hint=error.hint, path=node.path) from None

    def _workflow(self, reference: Reference, text: Text, node: _Node) -> WorkflowTemplate:
        template = self._workflows.get(reference.key)
        if template is None:
            with _Placed(text, node):
                content, file = self._source.workflow(reference.name, reference.base)
            template = self._workflows[reference.key] = read_workflow(content, file)
            self.findings.extend(template.findings)
        return template

    def _task_class(self, reference: Reference, text: Text, node: _Node) -> tuple[TaskClass, TaskTemplate]:
        template = self._tasks.get(reference.key)
        if template is None:
            with _Placed(text, node):
                content, file = self._source.task(reference.name, reference.base)
            template = self._tasks[reference.key] = read_task(content, file, name=reference.name)
            self._classes[reference.key] = classes.task_class(template, reference.key)
            self.findings.extend(template.findings)
        return self._classes[reference.key], template

    # ------------------------------------------------------------------------------------------------ texts

    def _inside(self, node: _Node, *, final: bool = False) -> RoleScope:
        this = node.ref if final else None
        return RoleScope(node.stack.tables, self._functions, node.parent, this, label=node.path)

    def _variables(self, variables: tuple[Variable, ...], scope: RoleScope) -> dict[str, str]:
        return {variable.name: self._text(variable.text, scope) for variable in variables}

    def _constraint(self, item: ConstraintTemplate, scope: RoleScope) -> Constraint:
        return Constraint(attribute=item.attribute, value=self._text(item.value, scope))

    def _inbound(self, item: ChannelTemplate, scope: RoleScope) -> Channel:
        target = self._text(item.target, scope)
        if target and not channels_of.is_address(target):
            raise item.mark.error(
                f"the fixed address of inbound channel {item.name!r} is {_short(target)}",
                hint="write tcp://host:port or ipc://name, or leave `target` out to have an address chosen",
            )
        return classes.channel(item, target, self._text(item.global_, scope))

    def _outbound(self, item: ChannelTemplate, scope: RoleScope) -> Channel:
        return classes.channel(item, self._text(item.target, scope), "")

    def _text(self, text: Text, scope: RoleScope) -> str:
        """Return the value of a text. Unknown names are errors wherever they stand in it."""
        if text.is_literal:
            return text.source
        try:
            for name in text.names:
                if name not in scope:
                    text.check(set(scope.names()))
            return text.evaluate(scope)
        except TemplateError as error:
            raise error.at(path=scope.path) from None

    def _count(self, node: _Node) -> None:
        self._roles += 1
        if self._roles > self._limits.roles:
            raise node.template.mark.error(f"the workflow has more than {self._limits.roles} roles", path=node.path)
        if node.depth > self._limits.depth:
            raise node.template.mark.error(f"more than {self._limits.depth} roles inside each other", path=node.path)

    # ------------------------------------------------------------------------------------------------ the result

    def _flatten(self, root: _Node) -> list[Role]:
        roles: list[Role] = []
        marks: dict[str, Mark] = {}
        pending = [(root, -1)]
        while pending:
            node, parent = pending.pop()
            mark = node.template.mark
            if node.path in marks:
                first = marks[node.path]
                raise mark.error(
                    f"two roles are named {node.path}, in {_where(first)} and {_where(mark)}",
                    hint="rename one, or see why both are enabled; the name of an iterator must hold its variable",
                )
            marks[node.path] = mark
            roles.append(_finished(node, parent))
            index = len(roles) - 1
            pending.extend((child, index) for child in reversed(node.children))
        return roles


class _Placed:
    """Turns "there is no such template" into an error at the place that asks for it."""

    def __init__(self, text: Text, node: _Node) -> None:
        self._text = text
        self._node = node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NotFound):
            raise _mark(self._text, self._node).error(error.message, hint=error.hint, path=self._node.path) from None


def _finished(node: _Node, parent: int) -> Role:
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


def _label(template: TemplateRole, parent: _Node | None) -> str:
    """Return the path that a role will have, or its parent's if its name is not known before it is evaluated."""
    above = parent.path if parent else ""
    if not template.name.is_literal:
        return above
    return f"{above}.{template.name.source}" if above else template.name.source


def _mark(text: Text, node: _Node) -> Mark:
    return text.mark if text.mark and text.mark.line else node.template.mark


def _where(mark: Mark) -> str:
    return f"{mark.file}:{mark.line}"


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "…"
