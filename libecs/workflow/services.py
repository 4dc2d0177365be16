"""The functions of expressions that need more than arguments: config, inventory, runtime, dpl, roles, integrations.

They read a snapshot of the key-value tree and nothing else. `runtime.Set` writes into an overlay that the caller gets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from typing import Protocol

import attrs

from libecs.config import path as paths
from libecs.config import payload
from libecs.config.inventory import Inventory, host_list, json_list
from libecs.config.tree import Tree
from libecs.errors import ExpressionError, InvalidInput
from libecs.language.expression import RoleRef, Value, compile_expression, compile_text, to_text
from libecs.language.functions import Function, FunctionTable, Kind
from libecs.language.program import Scope, condition
from libecs.workflow.source import parse_reference

Allowed = Mapping[str, Callable[..., str]]
"""Functions that run a command where templates are expanded, by the name under which an administrator allows them:
`dpl` is called with the method's name and its argument."""

_TEXT: tuple[Kind, ...] = ("string",)
_TEXTS: tuple[Kind, ...] = ("string", "string")
_FALLBACK = "GenerateFromUriOrFallbackToTemplate"
_DPL = ("Generate", "GenerateFromUri", _FALLBACK)
_SYNTAXES = ("ini", "json", "xml")

HasCommand = Callable[[str, str], bool]
"""Name and base of a repository to whether there is a `jit/<name>`, which a workflow could be generated from."""


class RoleView(Protocol):
    """What the functions of roles and of dpl ask of a scope."""

    @property
    def base(self) -> str:
        """Repository that bare references mean, as `Reference.base`."""
        ...

    def ancestor(self, generations: int) -> RoleRef | None:
        """Return the n-th ancestor of the role whose text is evaluated, or None."""
        ...

    def this(self) -> RoleRef | None:
        """Return the role itself, or None while its name is not known yet."""
        ...


@attrs.define
class Services:
    """The functions of one expansion."""

    tree: Tree
    writes: MutableMapping[str, str]
    """Keys that `runtime.Set` wrote; `runtime.Get` sees them."""
    integrations: Mapping[str, str]
    """ "odc.GenerateEPNWorkflowScript" to the text it gives while a workflow is expanded."""
    allow: Allowed
    has_command: HasCommand | None = None
    """None: there is no repository at hand."""
    _inventory: Inventory = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._inventory = Inventory(self.tree)

    def table(self) -> dict[str, Function]:
        """Return the functions by their dotted names."""
        inventory = self._inventory
        table = {
            "config.Get": Function(self._config_get, _TEXT, scoped=True),
            "config.GetLegacy": Function(self._config_get_legacy, _TEXT, scoped=True),
            "config.Resolve": Function(self._config_resolve, ("string", "string", "string", "string")),
            "config.ResolvePath": Function(self._config_resolve_path, _TEXT),
            "inventory.DetectorForHost": Function(inventory.detector_for_host, _TEXT),
            "inventory.DetectorsForHosts": Function(
                lambda hosts: json_list(inventory.detectors_for_hosts(host_list(hosts))), _TEXT
            ),
            "inventory.CRUCardsForHost": Function(lambda host: json_list(inventory.cru_cards_for_host(host)), _TEXT),
            "inventory.EndpointsForCRUCard": Function(
                lambda host, serial: " ".join(inventory.endpoints_for_cru_card(host, serial)), _TEXTS
            ),
            "runtime.Get": Function(self._runtime_get, _TEXTS),
            "runtime.Set": Function(self._runtime_set, ("string", "string", "string")),
            "ToPtree": refused(
                "ToPtree works only in the `properties` of a task template", "config.Get gives the text of a payload"
            ),
            "Parent": Function(lambda scope: scope.ancestor(1), (), scoped=True),
            "Up": Function(_up, ("int",), scoped=True),
            "This": Function(_this, (), scoped=True),
        }
        for method in _DPL:
            table[f"dpl.{method}"] = Function(self._dpl(method), _TEXT, scoped=True)
        for name, text in self.integrations.items():
            table[name.removesuffix("()")] = Function(_constant(text))
        return table

    def _config_get(self, scope: Scope, path: str) -> str:
        return payload.process(paths.parse_path(path).key, self.tree.get, _Evaluator(scope))

    def _config_get_legacy(self, scope: Scope, path: str) -> str:
        parsed = paths.parse_path(path)
        text = self.tree.get(parsed.key)
        if text is None:
            raise ExpressionError(f"no payload at configuration path {parsed}")
        try:
            return compile_text(text, None).evaluate(scope)
        except ExpressionError as error:
            raise error.at(file=str(parsed), line=1) from None

    def _config_resolve(self, component: str, run_type: str, role: str, entry: str) -> str:
        return str(paths.resolve(paths.component_path(component, run_type, role, entry), self.tree.has))

    def _config_resolve_path(self, path: str) -> str:
        return str(paths.resolve(paths.parse_path(path), self.tree.has))

    def _runtime_get(self, component: str, key: str) -> str:
        if not key.strip():
            return ""  # templates hand on a variable that names no entry by default: nothing is asked for
        full = paths.runtime_key(component, key)
        value = self.writes.get(full)
        if value is None:
            value = self.tree.get(full)
        if value is None:
            raise ExpressionError(f"there is no runtime value {component}/{key}", hint=f"the key {full} does not exist")
        return value

    def _runtime_set(self, component: str, key: str, value: str) -> str:
        self.writes[paths.runtime_key(component, key)] = value
        return value

    def _dpl(self, method: str) -> Callable[[RoleView, str], Value]:
        allowed = self.allow.get("dpl")

        def generate(scope: RoleView, argument: str) -> str:
            name = argument.strip()
            if self.has_command is None:
                raise ExpressionError(f"dpl.{method} works only where a workflow is loaded")
            if method == _FALLBACK and not self.has_command(name, scope.base):
                parse_reference(name, "workflows", scope.base)  # the name of a workflow template: nothing is run
                return name
            if not name or name == "none":
                raise ExpressionError(f"dpl.{method} of {argument!r}: there is no such command")
            if allowed is not None:
                return allowed(method, argument)
            what = "this shell command" if method == "Generate" else f"the shell command in jit/{name}"
            raise ExpressionError(
                f"dpl.{method} is off: it would run {what} on the control machine, as the control system's user",
                hint="include a workflow that was generated before, or let an administrator allow `dpl`",
            )

        return generate


@attrs.frozen
class _LocalScope:
    """Variables that a payload made itself, above those of the role."""

    outer: Scope
    local: Mapping[str, object]

    def lookup(self, name: str) -> Value:
        if name in self.local:
            return self.local[name]  # type: ignore[return-value]  # put there by payload.process, which had it from here
        return self.outer.lookup(name)

    def names(self) -> set[str]:
        return {*self.local, *self.outer.names()}

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        return self.outer.call(path, args)

    def spend(self, steps: int) -> None:
        self.outer.spend(steps)


@attrs.frozen
class _Evaluator:
    """Expressions in payloads."""

    scope: Scope

    def text(self, expression: str, local: payload.Local) -> str:
        return to_text(self.value(expression, local))

    def truth(self, expression: str, local: payload.Local) -> bool:
        return condition(self.value(expression, local), 0)

    def value(self, expression: str, local: payload.Local) -> Value:
        scope = _LocalScope(self.scope, local) if local else self.scope
        return compile_expression(expression, None).evaluate(scope)


def with_runtime(table: FunctionTable, values: Mapping[str, str]) -> FunctionTable:
    """Return a table whose `runtime.Get` knows `values`, key to text, before all others. Raises KeyError without it."""
    below = table.function("runtime.Get")

    def runtime_get(component: str, key: str) -> Value:
        found = values.get(paths.runtime_key(component, key)) if key.strip() else None
        return found if found is not None else below.run(component, key)

    return table.replaced({"runtime.Get": Function(runtime_get, _TEXTS)})


def with_trees(table: FunctionTable, trees: MutableMapping[str, str]) -> FunctionTable:
    """Return a table with a `ToPtree` that puts its payloads into `trees`.

    A property that is to be a tree is the name of another one, `__ptree__:<syntax>:<id>`, which holds the text of the
    tree; tasks read it from there. The id is made of the text, so that equal ones are sent once.
    """

    def to_ptree(text: str, syntax: str) -> str:
        if syntax not in _SYNTAXES:
            raise ExpressionError(f"ToPtree does not know the syntax {syntax!r}", hint=f"one of {', '.join(_SYNTAXES)}")
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        key = f"__ptree__:{syntax}:{digest[:16]}"
        trees[key] = text
        return key

    return table.replaced({"ToPtree": Function(to_ptree, _TEXTS)})


def refused(reason: str, hint: str) -> Function:
    """Return a function that can't be called where it stands."""

    def refuse(*_: Value) -> Value:
        raise ExpressionError(reason, hint=hint)

    return Function(refuse, None)


def functions(pure: FunctionTable, services: Services) -> FunctionTable:
    """Return the functions that a workflow template may call.

    Raises:
        UsageError: an integration has a function that exists already.
    """
    return pure.extended(services.table())


def missing_integration(path: tuple[str, ...], known: FunctionTable) -> ExpressionError | None:
    """Return the error for a function of an integration that is not loaded; None if `path` is no such function."""
    if len(path) != 2 or path in known:
        return None
    if any(other[0] == path[0] and len(other) == 2 for other in known):
        return None
    return ExpressionError(
        f"{'.'.join(path)}() belongs to the integration {path[0]!r}, which is not loaded",
        hint=f"load {path[0]!r}, or switch off what needs it",
    )


def _up(scope: RoleView, generations: int) -> RoleRef | None:
    if generations < 1:
        raise InvalidInput(f"Up({generations}) is no ancestor", hint="Up(1) is the parent")
    return scope.ancestor(generations)


def _this(scope: RoleView) -> RoleRef:
    role = scope.this()
    if role is None:
        raise InvalidInput(
            "This() is not known yet", hint="use it in constraints, connect targets and global channel names only"
        )
    return role


def _constant(text: str) -> Callable[[], Value]:
    return lambda: text
