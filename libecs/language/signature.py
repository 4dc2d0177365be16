"""What a function of the expression language is: what it takes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from libecs.language.values import Value, a_type, fault, type_name

Kind: TypeAlias = Literal["string", "int", "number", "bool", "list", "map", "any"]


@attrs.frozen
class Function:
    """A function of the expression language."""

    run: Callable[..., Value]
    """Called with the arguments, after the scope if `scoped`. It may raise any `EcsError`."""
    parameters: tuple[Kind, ...] | None = ()
    """Types of the arguments, checked before `run`; None: `run` takes what comes."""
    scoped: bool = False
    """True if `run` reads variables of the caller."""
    optional: int = 0
    """How many of the last parameters may be left out."""
    variadic: bool = False
    """The last parameter may be given any number of times, also not at all."""


def check_arguments(name: str, function: Function, args: list[Value]) -> None:
    """Check the arguments of a call.

    Raises:
        ExpressionError: too many or too few, or one of a wrong type.
    """
    parameters = function.parameters
    if parameters is None:
        return
    if function.variadic:
        parameters = parameters[:-1] + parameters[-1:] * (len(args) - len(parameters) + 1)
    most, least = len(parameters), len(parameters) - function.optional
    if not least <= len(args) <= most:
        wanted = f"{least} or {most}" if least != most else str(most)
        if function.optional > 1:
            wanted = f"{least} to {most}"
        raise fault(f"{name} takes {wanted} argument{'s' if most != 1 else ''}, not {len(args)}")
    for number, (kind, value) in enumerate(zip(parameters, args, strict=False), 1):
        if kind != "any" and type_name(value) != kind and not (kind == "number" and type_name(value) in _NUMBERS):
            raise fault(
                f"{name}: argument {number} must be {_SPELT[kind]}, not {a_type(value)}",
                hint=_HINTS.get((kind, type_name(value)), ""),
            )


_NUMBERS: Final = ("int", "float")
_SPELT: Final[Mapping[Kind, str]] = {
    "string": "a string",
    "int": "an int",
    "number": "a number",
    "bool": "a bool",
    "list": "a list",
    "map": "a map",
}
_HINTS: Final[Mapping[tuple[Kind, str], str]] = {
    ("string", "int"): "strings.Itoa(n) makes text of an int",
    ("string", "nil"): "util.Nullable(x) makes empty text of nil",
    ("string", "list"): "json.Marshal(x) makes text of a list",
    ("int", "string"): "strings.Atoi(x) makes an int of text",
    ("number", "string"): "int(x) and float(x) make numbers of text",
    ("list", "string"): "json.Unmarshal(x) makes a list of JSON text",
    ("map", "string"): "json.Unmarshal(x) makes a map of JSON text",
}
