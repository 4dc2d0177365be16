"""The types of public variables: what a text means as JSON, and what text a JSON value has.

All variables are texts for templates; a type says which texts make sense, and how a user interface asks for them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from libecs.errors import InvalidInput

Json: TypeAlias = "str | bool | int | float | list[Json] | dict[str, Json] | None"

WANTED: Final = {
    "string": "text",
    "number": "a number",
    "bool": "true or false",
    "list": "a list",
    "map": "a map",
}
"""Type to its name in messages."""
EXAMPLES: Final = {
    "string": "put it in quotes",
    "number": "such as 12 or 0.5",
    "bool": "write true or false",
    "list": 'a JSON list, such as ["a", "b"]',
    "map": 'a JSON object, such as {"a": "b"}',
}
"""Type to what to do."""
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 300


def typed(text: str, kind: str) -> Json:
    """Return the JSON value that a text means for a variable of type `kind`.

    Raises:
        InvalidInput: it means none.
    """
    wrong = InvalidInput(f"{shown(text)} is not {WANTED[kind]}", hint=EXAMPLES[kind])
    if kind == "string":
        return text
    if kind == "bool":
        if text not in ("true", "false"):
            raise wrong
        return text == "true"
    if kind == "number":
        match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST_NUMBER else None
        number: float = math.inf if match is None else float(match[0]) if match[1] or match[2] else int(match[0])
        if not math.isfinite(number):
            raise wrong
        return number
    try:
        value: Json = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise wrong from None
    if not is_of_type(value, kind):
        raise wrong
    return value


def fits(text: str, kind: str) -> bool:
    """Return whether a text means something for a variable of type `kind`."""
    try:
        typed(text, kind)
    except InvalidInput:
        return False
    return True


def is_of_type(value: Json, kind: str) -> bool:
    """Return whether a JSON value is one of a variable of type `kind`."""
    if isinstance(value, bool):
        return kind == "bool"
    if isinstance(value, (int, float)):
        return kind == "number" and math.isfinite(value)
    return isinstance(value, {"string": str, "list": list, "map": dict}.get(kind, ()))


def item_type(kind: str) -> str:
    """Return the type of the entries of `values`: of a list they are its items, which are texts."""
    return "string" if kind == "list" else kind


def excluded(value: Json, kind: str, values: Iterable[str]) -> list[Json]:
    """Return what of `value` is not among `values`, texts of a variable of type `kind`: items of a list, or itself."""
    allowed = [typed(text, item_type(kind)) for text in values]
    parts = value if isinstance(value, list) and kind == "list" else [value]
    return [part for part in parts if not any(_same(part, other) for other in allowed)]


def text_of(value: Json) -> str:
    """Return the text of a variable: texts as they are, true and false, numbers in digits, lists and maps as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shown(text: str) -> str:
    """Return a text as messages quote it: on one line, cut when long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text[:40])
    return f"`{printable}…`" if len(text) > 40 else f"`{printable}`"


def _same(one: Json, other: Json) -> bool:
    """JSON's equality: 1 is 1.0 and not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")
