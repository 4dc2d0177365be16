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

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

import attrs

from libecs.config.tree import Tree
from libecs.errors import InvalidInput, Missing, TemplateError
from libecs.language.expression import RoleRef, Text, compile_text
from libecs.language.fields import Finding
from libecs.language.functions import FunctionTable, pure_functions
from libecs.language.task import TaskTemplate
from libecs.language.template import (
    AggregatorBody,
    CallBody,
    CountRange,
    IncludeBody,
    TaskBody,
    TemplateRole,
)
from libecs.language.variables import Base, LazyTexts, Stack
from libecs.workflow import channels, evaluate, growth, order
from libecs.workflow.calls import check_call
from libecs.workflow.constraints import merge
from libecs.workflow.growth import Node, flatten, label
from libecs.workflow.library import Library
from libecs.workflow.limits import ExpansionLimits as ExpansionLimits
from libecs.workflow.role import CallTraits, Mode, TaskClass, TaskTraits, Workflow
from libecs.workflow.scope import Meter, RoleScope
from libecs.workflow.services import Allowed, Services, functions
from libecs.workflow.source import Kind, Reference, TemplateSource, parse_reference

_TRUE = ("true", "1")
ROLE_STEPS = 50
"""What a role costs besides its texts."""
_NOTHING: Mapping[str, str] = {}
_NOTHING_ALLOWED: Allowed = {}
_LIMITS = ExpansionLimits()


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
    allow: Allowed = _NOTHING_ALLOWED,
    writes: MutableMapping[str, str] | None = None,
    findings: list[Finding] | None = None,
    limits: ExpansionLimits = _LIMITS,
    exceeded: list[str] | None = None,
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
        exceeded: takes the names of limits that stopped it: roles, steps, characters.

    Raises:
        NotFound: there is no such workflow template.
        TemplateError: a template is wrong, at file:line:column; duplicate role paths; channels that lead nowhere.
        Missing: the snapshot or the source lack keys; fetch them and expand again.
    """
    reference = parse_reference(workflow, "workflows", "")
    written: MutableMapping[str, str] = {} if writes is None else writes
    services = Services(
        snapshot, written, integrations, allow, lambda name, base: source.command(name, base) is not None
    )
    expander = _Expander(source, functions(pure_functions(ids), services), limits)
    base = Base(user=variables, vars=base_vars, defaults=base_defaults)
    try:
        return attrs.evolve(expander.run(reference, base), runtime=dict(written))
    finally:
        if findings is not None:
            findings.extend(expander.findings)
        if exceeded is not None:
            exceeded.extend(expander.exceeded)


class _Expander:
    """One expansion."""

    def __init__(self, source: TemplateSource, table: FunctionTable, limits: ExpansionLimits) -> None:
        self._library = Library(source, limits.characters)
        self._functions = table
        self._limits = limits
        self._meter = Meter.of(limits.steps)
        self._missing: dict[str, None] = {}
        self._roles = 0
        self._disabled: set[str] = set()
        self._findings: list[Finding] = []

    @property
    def findings(self) -> list[Finding]:
        """What was found in the templates that were read so far, and in the roles made of them."""
        return [*self._library.findings, *self._findings]

    @property
    def exceeded(self) -> list[str]:
        """Names of the limits that were reached."""
        used = {
            "roles": self._roles > self._limits.roles,
            "steps": self._meter.left < 0,
            "characters": self._library.left < 0,
        }
        return [name for name, is_reached in used.items() if is_reached]

    def run(self, reference: Reference, base: Base) -> Workflow:
        """Return the workflow, or raise as `expand`."""
        template = self._library.top(reference)
        self._foresee(template.root, template.name)
        root: Node | None = None
        with _Remembered(self._missing):
            root = self._role(template.root, None, Stack(base), reference.base, (reference.key,), _NOTHING)
        if self._missing:
            raise Missing(sorted(self._missing))
        if root is None:
            raise template.root.mark.error(
                f"workflow {template.name!r} has no role left: all are disabled",
                hint=f"disabled: {', '.join(sorted(self._disabled)[:10])}" if self._disabled else "",
            )
        source = self._library.source
        result = Workflow(
            name=template.name,
            roles=order.resolve(flatten(root), self._disabled),
            classes=self._library.classes,
            repository=source.repository,
            revision=source.revision,
            description=template.description if template.description_public else "",
            user_vars=dict(base.user),
            base_vars=dict(base.vars),
            base_defaults=dict(base.defaults),
        )
        channels.check(result)
        return result

    # ------------------------------------------------------------------------------------------------ the tree

    def _children(self, node: Node, templates: Iterable[TemplateRole]) -> None:
        for template in templates:
            with _Remembered(self._missing):  # keys that a range needs
                for local in self._locals(node, template):
                    with _Remembered(self._missing):
                        child = self._role(template, node, node.stack, node.base, node.includes, local)
                        if child is not None:
                            node.children.append(child)

    def _locals(self, parent: Node, template: TemplateRole) -> Iterator[Mapping[str, str]]:
        """Go through the values of the iterator's variable; once through nothing for a role without `for`."""
        loop = template.loop
        if loop is None:
            yield _NOTHING
            return
        scope = self._scope(parent.stack.tables, parent, parent.base)
        if isinstance(loop, CountRange):
            for number in evaluate.count(loop, scope, self._limits.copies):
                yield {loop.var: str(number)}
        else:
            for item in evaluate.items(loop, scope, self._limits.copies):
                yield {loop.var: item}

    def _role(
        self,
        template: TemplateRole,
        parent: Node | None,
        above: Stack,
        base: str,
        includes: tuple[str, ...],
        local: Mapping[str, str],
    ) -> Node | None:
        """Return the role, or None if it is disabled or nothing is left of it."""
        self._meter.spend(ROLE_STEPS)  # also for one that is not enabled
        depth = parent.depth + 1 if parent else 1
        node = Node(template=template, parent=parent, depth=depth, base=base, includes=includes, stack=above)
        if not self._stages(node, above, local):
            return None
        self._count(node)
        self._inherit(node, parent)
        return node if self._body(node, template.body) else None

    def _stages(self, node: Node, above: Stack, local: Mapping[str, str]) -> bool:
        """Evaluate stages 0 to 2, and the name if it is not known yet. Returns False if the role is disabled."""
        template, parent = node.template, node.parent
        first = (local,) if local else ()
        shown = node.path or label(template, parent)
        scope = self._scope(first + above.tables, parent, node.base, label=shown)
        if template.enabled is not None and evaluate.value(template.enabled, scope).strip().lower() not in _TRUE:
            if node.path or template.name.is_literal:
                self._disabled.add(shown)
            return False
        node.defaults = evaluate.variables(template.defaults, scope)
        if template.vars:
            with_defaults = above.child("", defaults=node.defaults) if node.defaults else above
            scope = self._scope(first + with_defaults.tables, parent, node.base, label=shown)
        node.vars = evaluate.variables(template.vars, scope)
        if not node.name:
            inside = above.child("", defaults=node.defaults, vars=node.vars)
            scope = self._scope(first + inside.tables, parent, node.base, label=shown)
            node.name = evaluate.value(template.name, scope)
            if not node.name:
                raise template.mark.error("the name of the role is empty text", path=shown)
            node.path = f"{parent.path}.{node.name}" if parent else node.name
        node.vars = {**node.vars, **local}
        node.stack = above.child(node.path, defaults=node.defaults, vars=node.vars)
        return True

    def _inherit(self, node: Node, outer: Node | None) -> None:
        """Evaluate stage 5: what a role, and `outer` around it, say about nodes and channels."""
        template = node.template
        scope = self._inside(node, final=True)
        own = tuple(evaluate.constraint(item, scope) for item in template.constraints)
        bind = tuple(evaluate.inbound(item, scope) for item in template.bind)
        connect = tuple(evaluate.outbound(item, scope) for item in template.connect)
        node.start_after = tuple(evaluate.value(text, scope) for text in template.start_after)
        node.constraints = merge(outer.constraints if outer else (), own)
        node.bind = channels.collect(bind, outer.bind if outer else ())
        node.connect = channels.collect(connect, outer.connect if outer else ())
        node.own_bind, node.own_connect = len(bind), len(connect)

    def _body(self, node: Node, body: AggregatorBody | TaskBody | CallBody | IncludeBody) -> bool:
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

    def _include(self, node: Node, body: IncludeBody) -> bool:
        """Put the root of another template in the place of `node`, which keeps its name and adds its own settings."""
        reference = self._reference(body.workflow, "workflows", node)
        asking = node.mark_of(body.workflow)
        if reference.key in node.includes:
            circle = " -> ".join((*node.includes, reference.key))
            raise asking.error(f"includes go round in a circle: {circle}", path=node.path)
        if len(node.includes) >= self._limits.includes:
            raise asking.error(f"more than {self._limits.includes} includes inside each other", path=node.path)
        template = self._library.included(reference, asking, node.path)
        self._foresee(template.root, node.path)
        outer = attrs.evolve(node)
        node.template = attrs.evolve(template.root, name=node.template.name, mark=node.template.mark)
        node.base, node.includes = reference.base, (*node.includes, reference.key)
        if not self._stages(node, outer.stack, _NOTHING):
            return False
        node.defaults = {**outer.defaults, **node.defaults}
        node.vars = {**outer.vars, **node.vars}
        self._inherit(node, outer)
        node.own_bind = len(channels.collect(node.bind[: node.own_bind], outer.bind[: outer.own_bind]))
        node.own_connect = len(channels.collect(node.connect[: node.own_connect], outer.connect[: outer.own_connect]))
        node.start_after = (*outer.start_after, *node.start_after)
        return self._body(node, template.root.body)

    def _foresee(self, root: TemplateRole, path: str) -> None:
        """Refuse a template whose iterators can be seen to make too many roles, before they are gone through."""
        least, loop = growth.least_roles(root, self._limits.copies)
        if least > self._limits.roles:
            self._roles = least
            reason = f"the workflow has more than {self._limits.roles} roles: at least {least}"
            raise (loop or root).mark.error(reason, path=path)

    def _count(self, node: Node) -> None:
        self._roles += 1
        if self._roles > self._limits.roles:
            raise node.template.mark.error(f"the workflow has more than {self._limits.roles} roles", path=node.path)
        if node.depth > self._limits.depth:
            raise node.template.mark.error(f"more than {self._limits.depth} roles inside each other", path=node.path)

    # ------------------------------------------------------------------------------------------------ leaves

    def _task(self, node: Node, body: TaskBody) -> None:
        reference = self._reference(body.load, "tasks", node)
        template, task_class = self._library.task(reference, node.mark_of(body.load), node.path)
        trigger, await_, timeout_s = evaluate.traits(body.traits, self._inside(node), node.template.mark)
        mode = task_class.mode
        if trigger is not None and mode in (Mode.DIRECT, Mode.FAIRMQ):
            raise node.mark_of(body.traits.trigger).error(
                f"a {mode.name.lower()} task can't be a hook: {reference.key} is no command that ends by itself",
                path=node.path,
                hint="take a task template with `mode: basic`, or remove `trigger`",
            )
        if trigger is None and mode is Mode.HOOK:
            self._note(node, f"hook task {node.path} has no trigger and never runs")
        if trigger is not None:
            mode = Mode.HOOK
        node.task = TaskTraits(class_name=reference.key, mode=mode, trigger=trigger, await_=await_, timeout_s=timeout_s)
        node.critical = body.traits.critical
        self._add_class(node, task_class, template)

    def _add_class(self, node: Node, task_class: TaskClass, template: TaskTemplate) -> None:
        """Put constraints and channels of the task class below those of the roles.

        Texts in them see the role's variables and, weaker, those of the class.
        """
        texts: Mapping[str, str] = {}
        if any("{{" in item.value for item in task_class.constraints) or any(
            "{{" in channel.target + channel.global_ for channel in task_class.bind
        ):
            texts = {**template.defaults, **template.vars}
        lazy = LazyTexts({name: compile_text(text, template.mark) for name, text in texts.items()})
        scope = self._scope(node.stack.tables, node.parent, node.base, this=node.ref, lazy=lazy)
        if template.constraints:
            outer = tuple(evaluate.constraint(item, scope) for item in template.constraints)
            node.constraints = merge(outer, node.constraints)
        if template.bind:
            taken = {channel.name for channel in node.bind}
            inherited = tuple(
                channel if item.target.is_literal and item.global_.is_literal else evaluate.inbound(item, scope)
                for item, channel in zip(template.bind, task_class.bind, strict=True)
                if item.name not in taken
            )
            node.bind = channels.collect(node.bind, inherited)
        if task_class.connect:
            node.connect = channels.collect(node.connect, task_class.connect)

    def _call(self, node: Node, body: CallBody) -> None:
        scope = self._inside(node)
        func = evaluate.value(body.func, scope)
        try:
            check_call(func)
        except InvalidInput as error:
            raise node.mark_of(body.func).error(error.message, hint=error.hint, path=node.path) from None
        trigger, await_, timeout_s = evaluate.traits(body.traits, scope, node.template.mark)
        if trigger is None:
            self._note(node, f"call {node.path} has no trigger and never runs")
        returns = evaluate.value(body.returns, scope)
        node.call = CallTraits(func=func, returns=returns, trigger=trigger, await_=await_, timeout_s=timeout_s)
        node.critical = body.traits.critical

    # ------------------------------------------------------------------------------------------------ pieces

    def _reference(self, text: Text, kind: Kind, node: Node) -> Reference:
        try:
            return parse_reference(evaluate.value(text, self._inside(node)), kind, node.base)
        except InvalidInput as error:
            if isinstance(error, TemplateError):
                raise
            raise node.mark_of(text).error(error.message, hint=error.hint, path=node.path) from None

    def _inside(self, node: Node, *, final: bool = False) -> RoleScope:
        """Return the scope of a role whose name is known; `final`: `This()` is, too."""
        this = node.ref if final else None
        return self._scope(node.stack.tables, node.parent, node.base, this=this, label=node.path)

    def _scope(
        self,
        tables: tuple[Mapping[str, str], ...],
        parent: Node | None,
        base: str,
        *,
        this: RoleRef | None = None,
        lazy: LazyTexts | None = None,
        label: str = "",
    ) -> RoleScope:
        return RoleScope(tables, self._functions, parent, this, lazy, label, base, self._meter)

    def _note(self, node: Node, message: str) -> None:
        self._findings.append(Finding(mark=node.template.mark, message=message, code="no-trigger"))


class _Remembered:
    """Takes the keys of a `Missing` and lets expansion go on."""

    def __init__(self, keys: dict[str, None]) -> None:
        self._keys = keys

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Missing):
            return False
        self._keys.update(dict.fromkeys(error.keys))
        return True
