"""What a compiled expression is made of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import attrs

from libecs.errors import ExpressionError
from libecs.language.operators import MAX_STEPS, Budget, bool_hint
from libecs.language.values import Value, a_type, fault


class Scope(Protocol):
    """What an expression can see: variables, and functions by their dotted names."""

    def lookup(self, name: str) -> Value:
        """Return the value of a variable, or raise `KeyError` if there is none of that name."""
        ...

    def names(self) -> Iterable[str]:
        """Return the names of all variables, for checks and for "did you mean"."""
        ...

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        """Call the function `path`, such as ("strings", "ToLower"), or raise an `EcsError`."""
        ...

    def spend(self, steps: int) -> None:
        """Take note of what an evaluation cost, or raise an `ExpressionError` if all of them cost too much."""
        ...


class Frame:
    """The state of one evaluation."""

    __slots__ = ("acc", "budget", "index", "item", "locals", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.budget = Budget()
        self.item: Value = None
        """`#` of the innermost closure."""
        self.index = 0
        """`#index`."""
        self.acc: Value = None
        """`#acc` of the innermost reduce."""
        self.locals: dict[int, Value] = {}
        """Variables that `let` made, by the numbers that the compiler gave them."""


Code: TypeAlias = Callable[[Frame], Value]


@attrs.frozen(kw_only=True)
class Program:
    """A compiled expression. It holds no place and no values, so equal sources share one."""

    source: str
    code: Code = attrs.field(eq=False, repr=False)
    names: dict[str, int]
    """Free variables, each with the offset where it stands first."""
    calls: dict[tuple[str, ...], int]
    """Functions, each with the offset where it is called first."""
    bare: str | None
    """The name, if the expression is nothing but a variable."""

    def run(self, scope: Scope) -> Value:
        """Return the value.

        Raises:
            ExpressionError: it can't be computed; `column` is an offset into the source plus one, no line is given,
                unless a function raised an error with a place of its own.
            Missing: a function needs configuration keys first.
        """
        frame = Frame(scope)
        value = self.code(frame)
        scope.spend(MAX_STEPS - frame.budget.left)
        return value


def place(error: ExpressionError, offset: int) -> ExpressionError:
    """Return the error with `offset` filled in, unless it has a place already."""
    if error.column or error.line:
        return error
    return ExpressionError(error.reason, path=error.path, column=offset + 1, hint=error.hint)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" with the nearest known names, or ""."""
    names = sorted(set(known))
    near = [other for other in names if other.lower() == name.lower()]
    near += [other for other in difflib.get_close_matches(name, names, n=3, cutoff=0.7) if other not in near]
    return f"did you mean {' or '.join(near[:3])}?" if near else ""


def unknown_name(name: str, known: Iterable[str], offset: int) -> ExpressionError:
    """Return the error for a variable that nobody has set."""
    name = name if len(name) <= 60 else f"{name[:60]}..."
    hint = {"True": "write true", "False": "write false", "None": "write nil", "null": "write nil"}.get(name)
    hint = hint or suggest(name, known) or "set it in defaults or vars, or quote it if it is text"
    return fault(f"unknown variable {name!r}", offset, hint)


def condition(value: Value, offset: int) -> bool:
    """Return a bool, or raise `ExpressionError`: nothing else is true or false."""
    if value is True or value is False:
        return value
    raise fault(f"a condition must be a bool, and is {a_type(value)}", offset, bool_hint(value))


def unary(operate: Callable[[Value], Value], code: Code, offset: int) -> Code:
    """Return the code that does something to one value; errors are placed at `offset`."""

    def run(frame: Frame) -> Value:
        value = code(frame)
        try:
            return operate(value)
        except ExpressionError as error:
            raise place(error, offset) from None

    return run
