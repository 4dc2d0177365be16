"""What an expression in a template sees: the variables of one role, and functions that know where that role stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs

from libecs.errors import ExpressionError
from libecs.language.expression import RoleRef, Value
from libecs.language.functions import FunctionTable
from libecs.language.variables import LazyTexts
from libecs.workflow.services import missing_integration


class Ancestor(Protocol):
    """A role with its ancestors."""

    @property
    def parent(self) -> Ancestor | None:
        """The role above, None for the root."""
        ...

    @property
    def ref(self) -> RoleRef:
        """Name and path."""
        ...


@attrs.define
class Meter:
    """The steps that are left of one expansion, all its texts together."""

    left: int
    limit: int

    @classmethod
    def of(cls, limit: int) -> Meter:
        """Return a full one."""
        return cls(limit, limit)

    def spend(self, steps: int) -> None:
        """Take steps off.

        Raises:
            ExpressionError: there are none left.
        """
        self.left -= steps
        if self.left < 0:
            raise ExpressionError(
                f"the texts of the workflow need more than {self.limit} steps",
                hint="make fewer roles, or shorter variables; what all roles share belongs into the `vars` of the root",
            )


class RoleScope:
    """Variables in `tables`, the strongest first, then the lazy ones of a task class; functions from a table."""

    __slots__ = ("_functions", "_label", "_lazy", "_meter", "_parent", "_tables", "_this", "base")

    def __init__(
        self,
        tables: tuple[Mapping[str, str], ...],
        functions: FunctionTable,
        parent: Ancestor | None,
        this: RoleRef | None = None,
        lazy: LazyTexts | None = None,
        label: str = "",
        base: str = "",
        meter: Meter | None = None,
    ) -> None:
        self._tables = tables
        self._functions = functions
        self._parent = parent
        self._this = this
        self._lazy = lazy
        self._label = label
        self._meter = meter
        self.base = base
        """Repository that bare references mean, as `Reference.base`."""

    def with_functions(self, functions: FunctionTable) -> RoleScope:
        """Return the same scope with other functions."""
        return RoleScope(
            self._tables, functions, self._parent, self._this, self._lazy, self._label, self.base, self._meter
        )

    @property
    def path(self) -> str:
        """Path of the role, or of its parent while its own is not known, for messages."""
        if self._this is not None:
            return self._this.path
        return self._label or (self._parent.ref.path if self._parent is not None else "")

    def __contains__(self, name: str) -> bool:
        return any(name in table for table in self._tables) or (self._lazy is not None and name in self._lazy)

    def lookup(self, name: str) -> Value:
        """Return a variable, or raise `KeyError`."""
        for table in self._tables:
            if name in table:
                return table[name]
        if self._lazy is not None and name in self._lazy:
            return self._lazy.get(name, self)
        raise KeyError(name)

    def names(self) -> Iterable[str]:
        """Return the names of all variables."""
        names = {name for table in self._tables for name in table}
        return names | self._lazy.names() if self._lazy is not None else names

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        """Call a function."""
        error = missing_integration(path, self._functions)
        if error is not None:
            raise error
        return self._functions.call(path, args, self)

    def spend(self, steps: int) -> None:
        """Take steps off the meter of the whole expansion, if there is one."""
        if self._meter is not None:
            self._meter.spend(steps)

    def ancestor(self, generations: int) -> RoleRef | None:
        """Return the n-th ancestor of the role, None beyond the root."""
        role = self._parent
        for _ in range(generations - 1):
            if role is None:
                return None
            role = role.parent
        return role.ref if role is not None else None

    def this(self) -> RoleRef | None:
        """Return the role itself, None while its name is not known yet."""
        return self._this
