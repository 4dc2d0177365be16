"""What the built-in functions do to lists and maps. Nothing is changed: each gives a new value.

A list can stand in another one many times, so a small value may be a huge one when it is written out: what joins or
flattens counts before it makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from libecs.language.values import MAX_LIST, MAX_TEXT, Value, a_type, fault, to_json, to_text, type_name

ORDERS: Final = ("asc", "desc")
_MAX_COMPARED: Final = 1 << 17
"""Characters of lists and maps, written as JSON, that are compared with each other."""


def join(items: list[Value], separator: str = "") -> str:
    """Join strings."""
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) != len(items):
        wrong = next(item for item in items if not isinstance(item, str))
        raise fault(f"join takes a list of strings, and it holds {a_type(wrong)}", hint="map(xs, string(#)) makes one")
    size = sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0)
    if size > MAX_TEXT:
        raise fault(f"the string would have {size} characters, more than {MAX_TEXT}")
    return separator.join(texts)


def first(items: list[Value]) -> Value:
    """Return the first item, nil of an empty list."""
    return items[0] if items else None


def last(items: list[Value]) -> Value:
    """Return the last item, nil of an empty list."""
    return items[-1] if items else None


def take(items: list[Value], number: int) -> list[Value]:
    """Return the first items, at most `number`."""
    if number < 0:
        raise fault(f"take can't take {number} items")
    return items[:number]


def get(value: Value, index: Value) -> Value:
    """Return an item of a list or the value of a key, nil if there is none."""
    if isinstance(value, dict):
        return value.get(index) if isinstance(index, str) else None
    if isinstance(value, list) and type(index) is int:
        return value[index] if -len(value) <= index < len(value) else None
    if value is None:
        return None
    raise fault(f"get takes a list and an int, or a map and a string, not {a_type(value)} and {a_type(index)}")


def reverse(items: list[Value]) -> list[Value]:
    """Return the items, the last one first."""
    return items[::-1]


def concat(*lists: list[Value]) -> list[Value]:
    """Return the items of all lists in one."""
    _check_size(sum(map(len, lists)))
    return [item for items in lists for item in items]


def flatten(items: list[Value]) -> list[Value]:
    """Return the items of all lists inside of each other in one."""
    found: list[Value] = []
    looked_at = 0
    pending: list[Iterator[Value]] = [iter(items)]
    while pending:
        for item in pending[-1]:
            looked_at += 1
            _check_size(looked_at)
            if isinstance(item, list):
                pending.append(iter(item))
                break
            found.append(item)
        else:
            pending.pop()
    return found


def unique(items: list[Value]) -> list[Value]:
    """Return each item once, in the order of their first places."""
    found: dict[object, Value] = {}
    size = 0
    for item in items:
        key: object = item
        if isinstance(item, (list, dict)):
            key = (list, to_json(item))
            size += len(key[1])
            if size > _MAX_COMPARED:
                raise fault("the items are too large to be compared")
        elif isinstance(item, bool):
            key = (bool, item)
        found.setdefault(key, item)
    return list(found.values())


def sort(items: list[Value], order: str = "asc") -> list[Value]:
    """Return numbers or strings in ascending order, descending if `order` is `desc`."""
    return [items[i] for i in ascending("sort", items, order)]


def ascending(name: str, keys: list[Value], order: Value) -> list[int]:
    """Return the numbers of `keys` in their order. Equal ones stay as they are."""
    if order not in ORDERS:
        shown = repr(order) if isinstance(order, str) else a_type(order)
        raise fault(f"{name}: the order is {shown}", hint="write 'asc' or 'desc'")
    if all(isinstance(key, str) for key in keys):
        pass
    elif not all(type(key) in (int, float) for key in keys):
        kinds = ", ".join(sorted({type_name(key) for key in keys}))
        raise fault(f"{name} compares numbers or strings, and there are {kinds}")
    numbers = list(range(len(keys)))
    if order == "desc":  # backwards before and after, so that equal ones stay in their order
        numbers.reverse()
    numbers.sort(key=lambda i: keys[i])  # type: ignore[arg-type,return-value]  # one type, checked above
    if order == "desc":
        numbers.reverse()
    return numbers


def keys(value: dict[str, Value]) -> list[Value]:
    """Return the keys of a map, sorted: a map has no order of its own."""
    return [*sorted(value)]


def values(value: dict[str, Value]) -> list[Value]:
    """Return the values of a map, in the order of its keys."""
    return [value[key] for key in sorted(value)]


def to_pairs(value: dict[str, Value]) -> list[Value]:
    """Return [key, value] for each key of a map, in their order."""
    return [[key, value[key]] for key in sorted(value)]


def from_pairs(pairs: list[Value]) -> dict[str, Value]:
    """Return the map of a list of [key, value]."""
    made: dict[str, Value] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise fault("fromPairs takes a list of lists [key, value]")
        made[to_text(pair[0])] = pair[1]
    return made


def _check_size(size: int) -> None:
    if size > MAX_LIST:
        raise fault(f"the list would have more than {MAX_LIST} items")
