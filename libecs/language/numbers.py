"""What the built-in functions do to numbers. Integers have 64 bits, and what does not fit is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from libecs.language.operators import finite
from libecs.language.values import INT_MAX, INT_MIN, Value, a_type, fault

Number = int | float
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_ALL_BITS: Final = (1 << 64) - 1


def is_number(value: Value) -> bool:
    """Return whether a value is an int or a float."""
    return type(value) is int or type(value) is float


def gathered(name: str, values: tuple[Value, ...]) -> list[Number]:
    """Return the numbers among the arguments of `name`, which may be lists of them.

    Raises:
        ExpressionError: there is something else.
    """
    found: list[Number] = []
    for value in values:
        for item in value if isinstance(value, list) else (value,):
            if not isinstance(item, (int, float)) or isinstance(item, bool):
                raise fault(f"{name} takes numbers, not {a_type(item)}", hint=_hint(item))
            found.append(item)
    return found


def largest(*values: Value) -> Number:
    """Return the largest of some numbers."""
    return max(_some("max", values))


def smallest(*values: Value) -> Number:
    """Return the smallest of some numbers."""
    return min(_some("min", values))


def mean(*values: Value) -> float:
    """Return the mean, 0 of nothing."""
    numbers = gathered("mean", values)
    return float(finite(sum(float(number) for number in numbers) / len(numbers))) if numbers else 0.0


def median(*values: Value) -> float:
    """Return the median, 0 of nothing."""
    numbers = sorted(gathered("median", values))
    if not numbers:
        return 0.0
    half = len(numbers) // 2
    return float(numbers[half]) if len(numbers) % 2 else float(finite((numbers[half - 1] + numbers[half]) / 2))


def magnitude(value: Number) -> Number:
    """Return a number without its sign."""
    return finite(abs(value))


def rounded(how: Callable[[float], float]) -> Callable[[Number], float]:
    """Return the function that rounds a number by `how`, to a float as in Go."""
    return lambda value: float(how(value))


def half_away(value: float) -> float:
    """Round to the nearest integer, halves away from 0."""
    whole = math.floor(abs(value))
    return math.copysign(whole + (abs(value) - whole >= 0.5), value)


def to_int(value: Value) -> int:
    """Return the integer that a text spells in decimal, or a float without its fraction."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise fault(f"int: {_shown(value)} is no integer")
        return int(finite(int(value)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(finite(math.trunc(value)))
    raise fault(f"int takes a number or a string, not {a_type(value)}")


def to_float(value: Value) -> float:
    """Return the number that a text spells, or an int, as a float."""
    if isinstance(value, str):
        if not _FLOAT.fullmatch(value):
            raise fault(f"float: {_shown(value)} is no number")
        return float(finite(float(value)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise fault(f"float takes a number or a string, not {a_type(value)}")


def bit_not_and(a: int, b: int) -> int:
    """Return the bits of `a` that `b` has not."""
    return a & ~b


def shift_left(value: int, bits: int) -> int:
    """Shift to the left; bits that leave the 64 are lost."""
    return _signed(value << _distance(bits)) if bits < 64 else 0


def shift_right(value: int, bits: int) -> int:
    """Shift to the right; the sign stays."""
    return value >> min(_distance(bits), 64)


def shift_right_unsigned(value: int, bits: int) -> int:
    """Shift to the right and fill up by 0."""
    return _signed((value & _ALL_BITS) >> min(_distance(bits), 64))


def _signed(value: int) -> int:
    bits = value & _ALL_BITS
    return bits if bits <= INT_MAX else bits + 2 * INT_MIN


def _distance(bits: int) -> int:
    if bits < 0:
        raise fault(f"a shift by {bits} bits is not possible")
    return bits


def _some(name: str, values: tuple[Value, ...]) -> list[Number]:
    numbers = gathered(name, values)
    if not numbers:
        raise fault(f"{name} of nothing")
    return numbers


def _hint(value: Value) -> str:
    return "int(x) makes a number of text" if isinstance(value, str) else ""


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 40 else repr(text[:40]) + "…"
