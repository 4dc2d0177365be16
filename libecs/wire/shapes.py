"""Shapes: how values of a type lie in a frame, as nested tuples, lists and maps of plain values, and come back checked.

A shape is made once for each annotation by `codec`. `pack` gives what the byte writer takes, `unpack` takes what the
byte reader gave; it raises DecodeError and nothing else, whatever it is given. A shape that is `as_is` has nothing to
pack: the writer takes enums, tuples and maps as they are.

`_shapes.pyx` is the same, compiled, and is what an installed package runs; this file says what it must do and stands in
for it in a source tree. tests/wire holds both to the same bytes, values and words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from operator import attrgetter
from typing import Any, Protocol

from libecs.errors import DecodeError

MAX_ITEMS = 1_000_000
"""Longest array and largest map."""


class Shape(Protocol):
    """What every shape can do."""

    as_is: bool
    """`pack` returns its argument."""

    def pack(self, value: Any) -> Any:
        """Return what the byte writer takes for a value."""

    def unpack(self, value: Any) -> Any:
        """Return the value that lies in what the byte reader gave. Raises DecodeError."""


class Exact:
    """bool, int, str or bytes: as they are, and nothing that only looks like them."""

    def __init__(self, kind: type) -> None:
        self.as_is = True
        self.kind = kind

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is not self.kind:
            raise DecodeError(f"{self.kind.__name__} expected, not {type(value).__name__}")
        return value


class Number:
    """A float, which whoever wrote it may have written as an integer."""

    def __init__(self) -> None:
        self.as_is = True

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is float:
            return value
        if type(value) is int:
            return float(value)
        raise DecodeError(f"number expected, not {type(value).__name__}")


class Member:
    """A member of an IntEnum, by its number."""

    def __init__(self, cls: type[IntEnum]) -> None:
        self.as_is = True
        self.cls = cls
        self.members = {int(member): member for member in cls}

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        member = self.members.get(value) if type(value) is int else None
        if member is None:
            raise DecodeError(f"{value!r:.40} is no {self.cls.__name__}")
        return member


class Maybe:
    """A value or None."""

    def __init__(self, inner: Shape) -> None:
        self.as_is = inner.as_is
        self.inner = inner

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return None if value is None else self.inner.pack(value)

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        return None if value is None else self.inner.unpack(value)


class Many:
    """A tuple of any length, of one kind."""

    def __init__(self, inner: Shape) -> None:
        self.as_is = inner.as_is
        self.inner = inner

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value if self.as_is else [self.inner.pack(one) for one in value]

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is not list:
            raise DecodeError(f"array expected, not {type(value).__name__}")
        if len(value) > MAX_ITEMS:
            raise DecodeError(f"an array of {len(value)}; {MAX_ITEMS} are allowed")
        return tuple([self.inner.unpack(one) for one in value])


class Fixed:
    """A tuple with a kind for each place."""

    def __init__(self, inner: Sequence[Shape]) -> None:
        self.inner = tuple(inner)
        self.as_is = all(shape.as_is for shape in self.inner)

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value if self.as_is else [shape.pack(one) for shape, one in zip(self.inner, value, strict=True)]

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is not list or len(value) != len(self.inner):
            raise DecodeError(f"array of {len(self.inner)} expected")
        return tuple([shape.unpack(one) for shape, one in zip(self.inner, value, strict=True)])


class Keyed:
    """A map from text to one kind of value. It comes back as a dict that is the receiver's own."""

    def __init__(self, inner: Shape) -> None:
        self.as_is = inner.as_is
        self.inner = inner

    def pack(self, value: Any) -> Any:
        """See Shape."""
        return value if self.as_is else {name: self.inner.pack(one) for name, one in value.items()}

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is not dict:
            raise DecodeError(f"map expected, not {type(value).__name__}")
        if len(value) > MAX_ITEMS:
            raise DecodeError(f"a map of {len(value)}; {MAX_ITEMS} are allowed")
        for name in value:
            if type(name) is not str:
                raise DecodeError(f"map key: str expected, not {type(name).__name__}")
        return {name: self.inner.unpack(one) for name, one in value.items()}


class Record:
    """An attrs class: an array of its fields, in their order.

    Fields that are missing at the end get their defaults; items beyond the fields are from the future, and ignored.
    """

    def __init__(self, cls: type, names: Sequence[str], shapes: Sequence[Shape], required: int) -> None:
        """`required`: how many fields, from the first on, have no default."""
        self.as_is = False
        self.cls = cls
        self.names = tuple(names)
        self.shapes = tuple(shapes)
        self.required = required
        self._fields = _getter(self.names)
        self._converted = [(i, shape.pack) for i, shape in enumerate(self.shapes) if not shape.as_is]

    def pack(self, value: Any) -> tuple[Any, ...]:
        """See Shape."""
        items = self._fields(value)
        if not self._converted:
            return items
        packed = list(items)
        for place, pack in self._converted:
            packed[place] = pack(packed[place])
        return tuple(packed)

    def pack_as(self, kind: int, value: Any) -> tuple[Any, ...]:
        """Return the array of a message, its kind first."""
        return (kind, *self.pack(value))

    def unpack(self, value: Any) -> Any:
        """See Shape."""
        if type(value) is not list:
            raise DecodeError(f"{self.cls.__name__}: an array was expected, not {type(value).__name__}")
        return self._make(value)

    def unpack_message(self, value: list[Any]) -> Any:
        """Return the message in an array that begins with a kind. Raises DecodeError."""
        return self._make(value[1:])

    def _make(self, items: list[Any]) -> Any:
        if len(items) < self.required:
            raise DecodeError(f"{self.cls.__name__}: {len(items)} fields, at least {self.required} are needed")
        values: dict[str, Any] = {}
        for name, shape, item in zip(self.names, self.shapes, items, strict=False):
            try:
                values[name] = shape.unpack(item)
            except DecodeError as error:
                raise DecodeError(f"{self.cls.__name__}.{name}: {error.message}") from None
        return self.cls(**values)


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads all fields at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)
