"""Variables: three layers of chains, who wins, and where a value comes from.

A name is looked up, the strongest first, in

    specials             task_name, task_hostname and the like, of one task; locals of an iterator while it expands
    runtime              values set while the environment lives, on a role and its ancestors, the nearest first
    user                 values of the request
    vars                 of the role, its ancestors up to the root, then of the installation
    defaults             likewise
    class vars           of the task template, evaluated when they are asked for
    class defaults       likewise

A layer as a whole beats the next, whatever the depth: a `vars` entry of the root beats a `defaults` entry of a leaf.
Nothing is copied: a role's stack is a tuple of references to the mappings of its ancestors.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.errors import ExpressionError
from libecs.language.expression import Scope, Text

Overlay = Mapping[str, Mapping[str, str]]
"""Runtime values: role path to names and values."""

_Tables = tuple[Mapping[str, str], ...]
_EMPTY: Mapping[str, str] = {}
_NO_OVERLAY: Overlay = {}


@attrs.frozen(kw_only=True)
class Origin:
    """One place where a variable has a value."""

    layer: str
    """special, runtime, user, vars, defaults, class vars or class defaults."""
    role: str
    """Path of the role that says so; "" for what is no role's."""
    value: str


@attrs.frozen(kw_only=True)
class Base:
    """Where the three chains end: what the request and the installation say."""

    user: Mapping[str, str] = _EMPTY
    vars: Mapping[str, str] = _EMPTY
    defaults: Mapping[str, str] = _EMPTY


class Stack:
    """The variables that one role sees. Immutable; children share what they inherit."""

    __slots__ = ("_defaults", "_vars", "base", "defaults", "parent", "path", "tables", "vars")

    def __init__(
        self,
        base: Base,
        parent: Stack | None = None,
        path: str = "",
        defaults: Mapping[str, str] = _EMPTY,
        vars: Mapping[str, str] = _EMPTY,
    ) -> None:
        self.base = base
        self.parent = parent
        self.path = path
        self.defaults = defaults
        self.vars = vars
        above_vars: _Tables = parent._vars if parent else (base.vars,) if base.vars else ()
        above_defaults: _Tables = parent._defaults if parent else (base.defaults,) if base.defaults else ()
        self._vars: _Tables = (vars, *above_vars) if vars else above_vars
        self._defaults: _Tables = (defaults, *above_defaults) if defaults else above_defaults
        self.tables: _Tables = parent.tables if parent and not vars and not defaults else self._tables()
        """All mappings, the strongest first. Look up in the first that has the name."""

    def _tables(self) -> _Tables:
        user = (self.base.user,) if self.base.user else ()
        return user + self._vars + self._defaults

    def child(self, path: str, *, defaults: Mapping[str, str] = _EMPTY, vars: Mapping[str, str] = _EMPTY) -> Stack:
        """Return the stack of a role below this one."""
        return Stack(self.base, self, path, defaults, vars)

    def get(self, name: str) -> str | None:
        """Return the value of `name`, or None."""
        for table in self.tables:
            if name in table:
                return table[name]
        return None

    def runtime(self, overlay: Overlay) -> _Tables:
        """Return what `overlay` says of this role and its ancestors, the nearest first."""
        if not overlay:
            return ()
        found = []
        stack: Stack | None = self
        while stack is not None:
            table = overlay.get(stack.path)
            if table:
                found.append(table)
            stack = stack.parent
        return tuple(found)

    def consolidated(self, overlay: Overlay = _NO_OVERLAY) -> dict[str, str]:
        """Return all variables with the values that win: the dictionary that external services get."""
        result: dict[str, str] = {}
        for table in reversed(self.runtime(overlay) + self.tables):
            result.update(table)
        return result

    def explain(self, name: str, overlay: Overlay = _NO_OVERLAY) -> tuple[Origin, ...]:
        """Return every value that `name` has, the one that wins first; nothing if it has none."""
        chain: list[Stack] = []
        stack: Stack | None = self
        while stack is not None:
            chain.append(stack)
            stack = stack.parent
        candidates: list[tuple[str, str, Mapping[str, str]]] = [
            ("runtime", level.path, overlay.get(level.path, _EMPTY)) for level in chain
        ]
        candidates.append(("user", "", self.base.user))
        candidates.extend(("vars", level.path, level.vars) for level in chain)
        candidates.append(("vars", "", self.base.vars))
        candidates.extend(("defaults", level.path, level.defaults) for level in chain)
        candidates.append(("defaults", "", self.base.defaults))
        return tuple(
            Origin(layer=layer, role=role, value=table[name]) for layer, role, table in candidates if name in table
        )


class LazyTexts:
    """Variables of a task template: texts that are evaluated when somebody asks for them, in whatever order that is."""

    __slots__ = ("_pending", "_texts", "_values")

    def __init__(self, texts: Mapping[str, Text]) -> None:
        self._texts = texts
        self._values: dict[str, str] = {}
        self._pending: list[str] = []

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def names(self) -> frozenset[str]:
        """Return the names of all of them."""
        return frozenset(self._texts)

    def get(self, name: str, scope: Scope) -> str:
        """Return the value of `name`, evaluated in `scope`, which may come back here for other names.

        Raises:
            ExpressionError: as the evaluation, or the variable needs itself.
        """
        value = self._values.get(name)
        if value is not None:
            return value
        if name in self._pending:
            circle = " -> ".join([*self._pending[self._pending.index(name) :], name])
            raise ExpressionError(
                f"variable {name!r} of the task template needs itself: {circle}",
                hint="give it a value in a role, or name it differently",
            )
        self._pending.append(name)
        try:
            value = self._texts[name].evaluate(scope)
        finally:
            self._pending.pop()
        self._values[name] = value
        return value
