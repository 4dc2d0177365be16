"""The built-in functions of expr-lang 1.17, but for those with a closure (loops.py), and `sh`, which is ours.

Functions of dates are there to be refused: what a template means may not depend on when it is expanded.
"""

from __future__ import annotations

import json
import math
import operator
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from libecs.language import lists, numbers, strings
from libecs.language.signature import Function, Kind
from libecs.language.values import Value, fault, from_json, to_json, to_text, type_name

_TEXT: Final[tuple[Kind, ...]] = ("string",)
_TEXTS: Final[tuple[Kind, ...]] = ("string", "string")
_NUMBER: Final[tuple[Kind, ...]] = ("number",)
_INTS: Final[tuple[Kind, ...]] = ("int", "int")
_LIST: Final[tuple[Kind, ...]] = ("list",)
_MAP: Final[tuple[Kind, ...]] = ("map",)
_ANY: Final[tuple[Kind, ...]] = ("any",)
_CUT: Final[tuple[Kind, ...]] = ("string", "string", "int")


def _refuse_date(name: str) -> Callable[..., Value]:
    def refuse(*_: Value) -> Value:
        raise fault(
            f"{name}() is not known here: a template must mean the same whenever it is expanded",
            hint="give the time as a variable of the request; START tells tasks run_start_time_ms",
        )

    return refuse


def _pretty(value: Value) -> str:
    """Return JSON with a line for each item, as expr-lang's `toJSON`."""
    return json.dumps(json.loads(to_json(value)), ensure_ascii=False, indent=2)


def _type(value: Value) -> str:
    return "array" if isinstance(value, list) else type_name(value)


BUILTINS: Final[Mapping[str, Function]] = {
    # strings
    "trim": Function(strings.trim, _TEXTS, optional=1),
    "trimPrefix": Function(lambda text, part: text.removeprefix(part), _TEXTS),
    "trimSuffix": Function(lambda text, part: text.removesuffix(part), _TEXTS),
    "upper": Function(lambda text: text.upper(), _TEXT),
    "lower": Function(lambda text: text.lower(), _TEXT),
    "split": Function(strings.split, _CUT, optional=1),
    "splitAfter": Function(strings.split_after, _CUT, optional=1),
    "replace": Function(strings.replace, ("string", "string", "string", "int"), optional=1),
    "repeat": Function(strings.repeat, ("string", "int")),
    "indexOf": Function(strings.index_of, _TEXTS),
    "lastIndexOf": Function(strings.last_index_of, _TEXTS),
    "hasPrefix": Function(lambda text, part: text.startswith(part), _TEXTS),
    "hasSuffix": Function(lambda text, part: text.endswith(part), _TEXTS),
    # numbers
    "max": Function(numbers.largest, _ANY, variadic=True),
    "min": Function(numbers.smallest, _ANY, variadic=True),
    "mean": Function(numbers.mean, _ANY, variadic=True),
    "median": Function(numbers.median, _ANY, variadic=True),
    "abs": Function(numbers.magnitude, _NUMBER),
    "ceil": Function(numbers.rounded(math.ceil), _NUMBER),
    "floor": Function(numbers.rounded(math.floor), _NUMBER),
    "round": Function(numbers.rounded(numbers.half_away), _NUMBER),
    "bitand": Function(operator.and_, _INTS),
    "bitor": Function(operator.or_, _INTS),
    "bitxor": Function(operator.xor, _INTS),
    "bitnand": Function(numbers.bit_not_and, _INTS),
    "bitnot": Function(operator.invert, ("int",)),
    "bitshl": Function(numbers.shift_left, _INTS),
    "bitshr": Function(numbers.shift_right, _INTS),
    "bitushr": Function(numbers.shift_right_unsigned, _INTS),
    # lists and maps
    "join": Function(lists.join, ("list", "string"), optional=1),
    "first": Function(lists.first, _LIST),
    "last": Function(lists.last, _LIST),
    "take": Function(lists.take, ("list", "int")),
    "get": Function(lists.get, ("any", "any")),
    "reverse": Function(lists.reverse, _LIST),
    "concat": Function(lists.concat, _LIST, variadic=True),
    "flatten": Function(lists.flatten, _LIST),
    "uniq": Function(lists.unique, _LIST),
    "sort": Function(lists.sort, ("list", "string"), optional=1),
    "keys": Function(lists.keys, _MAP),
    "values": Function(lists.values, _MAP),
    "toPairs": Function(lists.to_pairs, _MAP),
    "fromPairs": Function(lists.from_pairs, _LIST),
    # types
    "type": Function(_type, _ANY),
    "int": Function(numbers.to_int, _ANY),
    "float": Function(numbers.to_float, _ANY),
    "string": Function(to_text, _ANY),
    "toJSON": Function(_pretty, _ANY),
    "fromJSON": Function(from_json, _TEXT),
    "toBase64": Function(strings.to_base64, _TEXT),
    "fromBase64": Function(strings.from_base64, _TEXT),
    # a text as one word of a shell command
    "sh": Function(shlex.quote, _TEXT),
    # dates
    **{name: Function(_refuse_date(name), None) for name in ("now", "date", "duration", "timezone")},
}
