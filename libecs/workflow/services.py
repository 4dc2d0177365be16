"""The functions of expressions that need more than arguments: config, inventory, runtime, dpl, roles, integrations.

They read a snapshot of the key-value tree and nothing else. `runtime.Set` writes into an overlay that the caller gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Protocol

import attrs

from libecs.config import path as paths
from libecs.config import payload
from libecs.config.inventory import Inventory, host_list, json_list
from libecs.config.tree import Tree
from libecs.errors import ExpressionError, InvalidInput
from libecs.language.compiler import Scope
from libecs.language.expression import RoleRef, Value, compile_expression, compile_text, to_text
from libecs.language.functions import Function, FunctionTable, Kind

Allowed = Mapping[str, Callable[..., str]]
"""Functions that run a command where templates are expanded, by the name under which an administrator allows them:
`dpl` is called with the method's name and its argument."""

_TEXT: tuple[Kind, ...] = ("string",)
_TEXTS: tuple[Kind, ...] = ("string", "string")
_DPL = ("Generate", "GenerateFromUri", "GenerateFromUriOrFallbackToTemplate")


class RoleView(Protocol):
    """What the role functions ask of a scope."""

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
            "Parent": Function(lambda scope: scope.ancestor(1), (), scoped=True),
            "Up": Function(_up, ("int",), scoped=True),
            "This": Function(_this, (), scoped=True),
        }
        for method in _DPL:
            table[f"dpl.{method}"] = Function(self._dpl(method), _TEXT)
        for name, text in self.integrations.items():
            table[name.removesuffix("()")] = Function(_constant(text))
        return table

    def _config_get(self, scope: Scope, path: str) -> str:
        def evaluate(source: str) -> str:
            return to_text(compile_expression(source, None).evaluate(scope))

        return payload.process(paths.parse_path(path).key, self.tree.get, evaluate)

    def _config_get_legacy(self, scope: Scope, path: str) -> str:
        parsed = paths.parse_path(path)
        text = self.tree.get(parsed.key)
        if text is None:
            raise ExpressionError(f"no payload at configuration path {parsed}")
        return compile_text(text, None).evaluate(scope)

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

    def _dpl(self, method: str) -> Callable[[str], Value]:
        allowed = self.allow.get("dpl")

        def generate(argument: str) -> str:
            if allowed is not None:
                return allowed(method, argument)
            what = "this shell command" if method == "Generate" else f"the shell command in jit/{argument}"
            raise ExpressionError(
                f"dpl.{method} is off: it would run {what} on the control machine, as the control system's user",
                hint="include a workflow that was generated before, or let an administrator allow `dpl`",
            )

        return generate


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
