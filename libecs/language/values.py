"""What expressions compute with: the types of values, their names in messages, and how a value becomes text."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Final, TypeAlias

import attrs

from libecs.errors import ExpressionError

MAX_TEXT: Final = 1 << 20
"""Characters of one string."""
MAX_JSON: Final = 1 << 17
"""Characters of a JSON text that expressions read."""
MAX_ITEMS: Final = 10_000
"""Items of a list that a range makes."""
MAX_LIST: Final = 100_000
"""Items of a list that a function makes."""
MAX_DEPTH: Final = 64
"""Levels of lists and maps inside each other, and of an expression."""
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1


@attrs.frozen(kw_only=True)
class RoleRef:
    """What `Parent()`, `Up(n)` and `This()` return. Expressions may ask it for `Name` and `Path`, and nothing else."""

    name: str
    path: str


Value: TypeAlias = "str | bool | int | float | list[Value] | dict[str, Value] | RoleRef | None"
"""A value of the expression language. Lists and maps are never changed once made."""

_TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    bool: "bool",
    int: "int",
    float: "float",
    type(None): "nil",
    list: "list",
    dict: "map",
    RoleRef: "role",
}


def type_name(value: Value) -> str:
    """Return the name of a value's type in messages and signatures: string, bool, int, float, nil, list, map, role."""
    return _TYPE_NAMES[type(value)]


def a_type(value: Value) -> str:
    """Return the type with its article: "a string", "an int", "nil"."""
    name = type_name(value)
    if name == "nil":
        return name
    return f"{'an' if name == 'int' else 'a'} {name}"


def fault(reason: str, offset: int = -1, hint: str = "") -> ExpressionError:
    """Return an error at `offset` characters into an expression (-1: not known yet), not yet placed in a file."""
    return ExpressionError(reason, column=offset + 1, hint=hint)


def float_text(value: float) -> str:
    """Return a float as Go's %v: shortest digits, an exponent below 1e-04 and from 1e+06 on (1.5, 3, 1e+06)."""
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int), "not finite"
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + exponent  # digits before the decimal point
    minus = "-" if sign else ""
    if shown == "0":
        return f"{minus}0"
    if not -4 <= point - 1 < 6:
        mantissa = shown[0] + (f".{shown[1:]}" if len(shown) > 1 else "")
        return f"{minus}{mantissa}e{point - 1:+03d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{shown}"
    if len(shown) <= point:
        return minus + shown.ljust(point, "0")
    return f"{minus}{shown[:point]}.{shown[point:]}"


def to_json(value: Value) -> str:
    """Return compact JSON, keys sorted; a role reference is a map of Name and Path.

    Raises:
        ExpressionError: more than `MAX_DEPTH` levels, or about `MAX_TEXT` characters.
    """
    return json.dumps(_Plain().value(value, 0), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class _Plain:
    """Makes a value fit for `json`, and refuses what would be too long before it is written.

    One list can stand a thousand times in another one, so a small value may have a huge text.
    """

    def __init__(self) -> None:
        self._size = 0

    def value(self, value: Value, depth: int) -> object:
        self._size += 32 + (len(value) if isinstance(value, str) else 0)  # an item's work is like that of 32 characters
        if self._size > MAX_TEXT:
            raise fault("the value is too large to be written as JSON")
        if depth > MAX_DEPTH:
            raise fault(f"the value has more than {MAX_DEPTH} levels inside each other")
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        if isinstance(value, dict):
            self._size += sum(map(len, value))
            return {key: self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, RoleRef):
            return {"Name": value.name, "Path": value.path}
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
            return int(value)  # JSON has one kind of number, and 3.0 is written 3
        return value


def from_json(text: str) -> Value:
    """Return what JSON text says; whole numbers are ints, `1.5` and `1e3` floats.

    Raises:
        ExpressionError: not JSON, more than `MAX_JSON` characters, more than `MAX_DEPTH` levels, an int beyond
            64 bits, or no finite number.
    """
    check_json_length(text)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise fault(f"the JSON text has more than {MAX_DEPTH} levels inside each other") from None
    except ValueError as error:
        raise fault(f"not JSON: {error}") from None
    _check_json(value, 0)
    return value  # type: ignore[no-any-return]  # checked one line above


def check_json_length(text: str) -> None:
    """Raise `ExpressionError` for JSON text that is too long to be read here."""
    if len(text) > MAX_JSON:
        raise fault(f"the JSON text has {len(text)} characters, more than {MAX_JSON}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


def _check_json(value: Value, depth: int) -> None:
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise fault("a number in the JSON text has more than 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise fault("a number in the JSON text is too large for a float")
    elif isinstance(value, (list, dict)):
        if depth >= MAX_DEPTH:
            raise fault(f"the JSON text has more than {MAX_DEPTH} levels inside each other")
        for item in value if isinstance(value, list) else value.values():
            if not isinstance(item, str):
                _check_json(item, depth + 1)


def to_text(value: Value) -> str:
    """Return what `{{ }}` inserts for a value.

    Strings as they are, bools true and false, ints in decimal, floats as Go's %v, lists and maps as compact JSON.

    Raises:
        ExpressionError: nil, or an object that has no text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, (list, dict)):
        return to_json(value)
    if value is None:
        raise fault("the result is nil, which has no text", hint="write `... ?? ''` if empty text is meant")
    raise fault("the result is a role, which has no text", hint="write .Path or .Name after it")
