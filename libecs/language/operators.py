"""What the operators do to values. Types are strict: text is not a number, and nothing but a bool is true or false."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias, TypeGuard

from libecs.errors import ExpressionError
from libecs.language.matcher import search
from libecs.language.values import (
    INT_MAX,
    INT_MIN,
    MAX_ITEMS,
    MAX_TEXT,
    RoleRef,
    Value,
    a_type,
    fault,
)

MAX_STEPS: Final = 100_000
"""Steps of one evaluation. A step is about a microsecond's work: an item looked at, 16 characters gone through."""


class Budget:
    """Steps that are left of one evaluation, so that no expression takes long whatever its data."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take `steps` off.

        Raises:
            ExpressionError: there are none left.
        """
        self.left -= steps
        if self.left < 0:
            raise fault(f"the expression needs more than {MAX_STEPS} steps", hint="make its lists or strings smaller")


Binary: TypeAlias = Callable[[Budget, Value, Value], Value]


def concatenate(budget: Budget, left: str, right: str) -> str:
    """Join two strings within the limits."""
    size = len(left) + len(right)
    if size > MAX_TEXT:
        raise fault(f"the string would have {size} characters, more than {MAX_TEXT}")
    budget.spend(size >> 8)
    return left + right


def add(budget: Budget, left: Value, right: Value) -> Value:
    """`+` joins strings (nil joins as empty text, as in AliECS) and adds numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return concatenate(budget, left, right)
    if left is None and isinstance(right, str):
        return right
    if right is None and isinstance(left, str):
        return left
    a, b = _numbers("+", left, right)
    return finite(a + b)


def subtract(budget: Budget, left: Value, right: Value) -> Value:
    """`-` of numbers."""
    a, b = _numbers("-", left, right)
    return finite(a - b)


def multiply(budget: Budget, left: Value, right: Value) -> Value:
    """`*` of numbers."""
    a, b = _numbers("*", left, right)
    return finite(a * b)


def divide(budget: Budget, left: Value, right: Value) -> Value:
    """`/` of numbers, always a float."""
    a, b = _numbers("/", left, right)
    if b == 0:
        raise fault("division by zero")
    return finite(a / b)


def remainder(budget: Budget, left: Value, right: Value) -> Value:
    """`%` of ints; the sign is that of the dividend, as in Go and C."""
    a, b = _numbers("%", left, right)
    if isinstance(a, float) or isinstance(b, float):
        raise _mismatch("%", left, right)
    if b == 0:
        raise fault("division by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def power(budget: Budget, left: Value, right: Value) -> Value:
    """`**` and `^` of numbers, always a float."""
    a, b = _numbers("**", left, right)
    try:
        return finite(math.pow(a, b))
    except (OverflowError, ValueError):
        raise fault(f"{a} ** {b} is not a finite number") from None


def finite(value: int | float) -> int | float:
    """Return `value`, or raise `ExpressionError` if it is no 64-bit integer or finite float."""
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise fault("the integer has more than 64 bits")
    elif not math.isfinite(value):
        raise fault("the number is too large for a float")
    return value


def equal(budget: Budget, left: Value, right: Value) -> bool:
    """Compare two values of one type; nil may be compared with anything.

    Raises:
        ExpressionError: the types differ, which in a template is always a mistake.
    """
    if type(left) is type(right):
        return same(budget, left, right)
    if left is None or right is None:
        return False
    if _is_number(left) and _is_number(right):
        return left == right
    raise _mismatch("==", left, right)


def same(budget: Budget, left: Value, right: Value) -> bool:
    """Compare any two values; other types are just different."""
    if left is right:
        return True
    if isinstance(left, str):
        if len(left) > 1024:
            budget.spend(len(left) >> 10)
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        budget.spend(2 + 2 * len(left))
        return len(left) == len(right) and all(same(budget, a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        budget.spend(2 + 2 * len(left))
        return left.keys() == right.keys() and all(same(budget, value, right[key]) for key, value in left.items())
    if _is_number(left) and _is_number(right):
        return left == right
    return type(left) is type(right) and left == right


def less(budget: Budget, left: Value, right: Value) -> Value:
    """`<` of two numbers or two strings."""
    return _order(budget, "<", left, right) < 0


def less_equal(budget: Budget, left: Value, right: Value) -> Value:
    """`<=` of two numbers or two strings."""
    return _order(budget, "<=", left, right) <= 0


def greater(budget: Budget, left: Value, right: Value) -> Value:
    """`>` of two numbers or two strings."""
    return _order(budget, ">", left, right) > 0


def greater_equal(budget: Budget, left: Value, right: Value) -> Value:
    """`>=` of two numbers or two strings."""
    return _order(budget, ">=", left, right) >= 0


def _order(budget: Budget, sign: str, left: Value, right: Value) -> int:
    if isinstance(left, str) and isinstance(right, str):
        budget.spend(len(left) >> 10)
        return (left > right) - (left < right)
    a, b = _numbers(sign, left, right)
    return (a > b) - (a < b)


def contained(budget: Budget, left: Value, right: Value) -> Value:
    """`in`: an item of a list, a key of a map; nothing is in nil."""
    if right is None:
        return False
    if isinstance(right, list):
        if isinstance(left, str):
            budget.spend(len(right) * (1 + (len(left) >> 6)) >> 2)
            return left in right
        return any(same(budget, left, item) for item in right)
    if isinstance(right, dict) and isinstance(left, str):
        return left in right
    hint = ""
    if isinstance(right, str):
        hint = "for text in text write `b contains a`; for text that is a JSON list write `a in json.Unmarshal(b)`"
    raise fault(f"`in` does not look for {a_type(left)} in {a_type(right)}", hint=hint)


def contains(budget: Budget, left: Value, right: Value) -> Value:
    """`contains`: the second string stands somewhere in the first."""
    a, b = _strings("contains", left, right)
    budget.spend((len(a) + len(b)) >> 4)
    return b in a


def starts_with(budget: Budget, left: Value, right: Value) -> Value:
    """`startsWith` of strings."""
    a, b = _strings("startsWith", left, right)
    budget.spend(len(b) >> 10)
    return a.startswith(b)


def ends_with(budget: Budget, left: Value, right: Value) -> Value:
    """`endsWith` of strings."""
    a, b = _strings("endsWith", left, right)
    budget.spend(len(b) >> 10)
    return a.endswith(b)


def matches(budget: Budget, left: Value, right: Value) -> Value:
    """`matches`: a part of the string fits the regular expression."""
    a, b = _strings("matches", left, right)
    return search(b, a, budget.spend)


def count_range(budget: Budget, left: Value, right: Value) -> Value:
    """`a..b`: the integers from a to b, both included; none if b is less than a."""
    if type(left) is not int or type(right) is not int:
        raise fault(f"a range needs two ints, not {a_type(left)} and {a_type(right)}", hint=_number_hint(left, right))
    if right - left >= MAX_ITEMS:
        raise fault(f"the range {left}..{right} has more than {MAX_ITEMS} items")
    items: list[Value] = list(range(left, right + 1))
    budget.spend(len(items))
    return items


def negate(value: Value) -> Value:
    """Unary `-`."""
    if not _is_number(value):
        raise fault(f"`-` needs a number, not {a_type(value)}", hint=_number_hint(value, value))
    return finite(-value)


def affirm(value: Value) -> Value:
    """Unary `+`."""
    if not _is_number(value):
        raise fault(f"`+` before a value needs a number, not {a_type(value)}", hint=_number_hint(value, value))
    return value


def invert(value: Value) -> bool:
    """`not` and `!`."""
    if value is True or value is False:
        return not value
    raise fault(f"`not` needs a bool, not {a_type(value)}", hint=bool_hint(value))


def member(value: Value, name: str) -> Value:
    """`value.name`: Name and Path of a role, a key of a map (nil if absent)."""
    if isinstance(value, RoleRef):
        if name == "Path":
            return value.path
        if name == "Name":
            return value.name
        raise fault(f"a role has no {name!r}", hint="it has .Name and .Path")
    if isinstance(value, dict):
        return value.get(name)
    hint = "is there a role at this height? `?.` gives nil instead" if value is None else ""
    raise fault(f"{a_type(value)} has no {name!r}", hint=hint)


def item(value: Value, index: Value) -> Value:
    """`value[index]`: an item of a list or a character of a string (from the end if negative), a key of a map."""
    if isinstance(value, dict):
        if isinstance(index, str):
            return value.get(index)
        raise fault(f"the key of a map must be a string, not {a_type(index)}")
    if not isinstance(value, (list, str)):
        raise fault(f"{a_type(value)} has no items", hint="json.Unmarshal makes a list of JSON text")
    if type(index) is not int:
        raise fault(f"the index must be an int, not {a_type(index)}", hint=_number_hint(index, index))
    if not -len(value) <= index < len(value):
        raise fault(f"the index {index} is out of range: there are {len(value)} items")
    return value[index]


def cut(budget: Budget, value: Value, begin: Value, end: Value) -> Value:
    """`value[begin:end]` of a list or a string; ends beyond it are moved to it."""
    if not isinstance(value, (list, str)):
        raise fault(f"{a_type(value)} can't be sliced")
    part = value[_bound(begin) : _bound(end)]
    budget.spend(len(part) >> 4)
    return part


def _bound(value: Value) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise fault(f"the ends of a slice must be ints, not {a_type(value)}", hint=_number_hint(value, value))


def bool_hint(value: Value) -> str:
    """Return what to write when a condition is not a bool."""
    if isinstance(value, str):
        return "compare it: x == 'true', or ask strings.IsTruthy(x)"
    if isinstance(value, list):
        return "ask for its length: len(x) > 0"
    return "compare it with something"


def _is_number(value: Value) -> TypeGuard[int | float]:
    return type(value) is int or type(value) is float


def _numbers(sign: str, left: Value, right: Value) -> tuple[int | float, int | float]:
    if _is_number(left) and _is_number(right):
        return left, right
    raise _mismatch(sign, left, right)


def _strings(sign: str, left: Value, right: Value) -> tuple[str, str]:
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    raise _mismatch(sign, left, right)


def _number_hint(left: Value, right: Value) -> str:
    return "strings.Atoi(x) makes an int of text" if isinstance(left, str) or isinstance(right, str) else ""


def _mismatch(sign: str, left: Value, right: Value) -> ExpressionError:
    kinds = {type(left), type(right)}
    hint = ""
    if sign in ("==", "!=") and kinds == {str, bool}:
        hint = "variables are text: compare with 'true' or 'false' in quotes"
    elif sign == "+" and kinds in ({str, int}, {str, float}, {str, bool}):
        hint = "strings.Itoa(n) makes text of an int; strings.Atoi(x) an int of text"
    elif str in kinds and kinds & {int, float}:
        hint = "quote the number to compare texts, or strings.Atoi(x) to compare numbers"
    elif str in kinds and kinds & {list, dict}:
        hint = "json.Unmarshal(x) makes a list or map of JSON text"
    return fault(f"`{sign}` does not work on {a_type(left)} and {a_type(right)}", hint=hint)


RELATIONS: Final[dict[str, Binary]] = {
    "==": equal,
    "!=": lambda budget, left, right: not equal(budget, left, right),
    "<": less,
    "<=": less_equal,
    ">": greater,
    ">=": greater_equal,
    "in": contained,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "matches": matches,
}
ARITHMETIC: Final[dict[str, Binary]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "**": power,
    "^": power,
    "..": count_range,
}
