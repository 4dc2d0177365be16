"""Messages to bytes and back: a version frame, then a msgpack array `[kind, field, …]`.

A message is a frozen attrs class whose annotations are the schema. New fields go to the end, with a default: an old
decoder ignores extra fields, a new one fills in the missing ones. Kind numbers are never reused. Whatever does not
fit the schema is a `DecodeError`, never a default and never another exception.

This module and no other knows msgpack.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, TypeVar

import attrs
import msgpack

from libecs.errors import DecodeError

VERSION = 1
"""Version of all frames of this module, sent as a frame of one byte in front."""

VERSION_FRAME = bytes([VERSION])
MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 1_000_000
MAX_DEPTH = 16

T = TypeVar("T")
_Pack = Callable[[Any], Any]
_Unpack = Callable[[Any], Any]


@attrs.frozen
class _Schema:
    """How one class becomes a list and comes back."""

    cls: type
    fields: tuple[tuple[str, type | None, _Unpack], ...]
    """Name, exact type of a plain value or None, and what checks and converts everything else."""
    packs: tuple[tuple[str, _Pack | None], ...]
    required: int

    def pack(self, value: Any) -> list[Any]:
        return [getattr(value, name) if pack is None else pack(getattr(value, name)) for name, pack in self.packs]

    def unpack(self, items: Any, skip: int = 0) -> Any:
        if type(items) is not list:
            raise DecodeError(f"{self.cls.__name__}: an array was expected, not {type(items).__name__}")
        if len(items) - skip < self.required:
            raise DecodeError(f"{self.cls.__name__}: {len(items) - skip} fields, at least {self.required} are needed")
        values = {}
        rest = items[skip:] if skip else items
        for (name, plain, unpack), item in zip(self.fields, rest, strict=False):  # extra items are from the future
            if type(item) is plain:
                values[name] = item
                continue
            try:
                values[name] = unpack(item)
            except DecodeError as error:
                raise DecodeError(f"{self.cls.__name__}.{name}: {error.message}") from None
        return self.cls(**values)


class Table:
    """The messages of one link: kind number to class and back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._by_kind: dict[int, _Schema] = {}
        self._by_class: dict[type, tuple[int, _Schema]] = {}

    def message(self, kind: int) -> Callable[[type[T]], type[T]]:
        """Register a frozen attrs class as message number `kind` (decorator)."""

        def register(cls: type[T]) -> type[T]:
            if kind in self._by_kind:
                raise ValueError(f"{self.name}: kind {kind} is {self._by_kind[kind].cls.__name__} already")
            schema = schema_of(cls)
            self._by_kind[kind] = schema
            self._by_class[cls] = (kind, schema)
            return cls

        return register

    def kinds(self) -> Mapping[int, type]:
        """Return every kind number and its class, for documents and generated code."""
        return {kind: schema.cls for kind, schema in self._by_kind.items()}

    def encode(self, message: object) -> bytes:
        """Return the payload frame of a message."""
        kind, schema = self._by_class[type(message)]
        return typing.cast(bytes, msgpack.packb([kind, *schema.pack(message)], use_bin_type=True))

    def decode(self, frame: bytes) -> Any:
        """Return the message in a payload frame.

        Raises:
            DecodeError: the frame is too large, no msgpack, of an unknown kind, or does not fit its class.
        """
        items = _unpack_frame(frame)
        if not isinstance(items, list) or not items or type(items[0]) is not int:
            raise DecodeError(f"{self.name}: a message is an array that begins with its kind")
        schema = self._by_kind.get(items[0])
        if schema is None:
            raise DecodeError(f"{self.name}: unknown kind {items[0]}")
        return schema.unpack(items, skip=1)


def pack_value(value: object) -> bytes:
    """Encode one registered-by-annotation attrs value without a kind, for records on disk."""
    return typing.cast(bytes, msgpack.packb(schema_of(type(value)).pack(value), use_bin_type=True))


def unpack_value(cls: type[T], data: bytes) -> T:
    """Decode what `pack_value` wrote. Raises DecodeError."""
    return typing.cast(T, schema_of(cls).unpack(_unpack_frame(data, limit=256 * 1024 * 1024)))


def _unpack_frame(frame: bytes, limit: int = MAX_FRAME_BYTES) -> Any:
    if len(frame) > limit:
        raise DecodeError(f"a frame of {len(frame)} bytes; {limit} are allowed")
    try:
        return msgpack.unpackb(
            frame,
            raw=False,
            strict_map_key=True,
            max_array_len=min(MAX_ITEMS, len(frame)),
            max_map_len=min(MAX_ITEMS, len(frame)),
        )
    except (ValueError, RecursionError) as error:  # msgpack's own errors are ValueErrors
        raise DecodeError(f"not a msgpack frame: {type(error).__name__}: {str(error)[:120]}") from None


_schemas: dict[type, _Schema] = {}


def schema_of(cls: type) -> _Schema:
    """Return (and keep) the schema that the annotations of an attrs class say."""
    schema = _schemas.get(cls)
    if schema is None:
        hints = typing.get_type_hints(cls)
        fields = attrs.fields(cls)
        pairs = [_converters(hints[field.name]) for field in fields]
        schema = _schemas[cls] = _Schema(
            cls=cls,
            fields=tuple(
                (field.name, _plain(hints[field.name]), unpack)
                for field, (_, unpack) in zip(fields, pairs, strict=True)
            ),
            packs=tuple((field.name, pack) for field, (pack, _) in zip(fields, pairs, strict=True)),
            required=sum(1 for field in fields if field.default is attrs.NOTHING),
        )
    return schema


def _converters(hint: Any) -> tuple[_Pack | None, _Unpack]:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _optional(*_converters(inner))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _sequence(*_converters(arguments[0]))
        return _fixed(tuple(_converters(argument) for argument in arguments))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[0], _plain(arguments[1]), *_converters(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return int, _enum(hint)
    if isinstance(hint, type) and attrs.has(hint):
        schema = schema_of(hint)
        return schema.pack, schema.unpack
    if hint in (bool, int, str, bytes):
        return None, _exact(hint)
    if hint is float:
        return None, _float
    raise TypeError(f"no wire form for {hint!r}")


def _plain(hint: Any) -> type | None:
    """Return the type of a value that is on the wire as it is: nothing is to be done but to look at its type."""
    return hint if hint in (bool, int, str, bytes, float) else None


def _exact(kind: type) -> _Unpack:
    def unpack(value: Any) -> Any:
        if type(value) is not kind:
            raise DecodeError(f"{kind.__name__} expected, not {type(value).__name__}")
        return value

    return unpack


def _float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise DecodeError(f"number expected, not {type(value).__name__}")


def _enum(cls: type[IntEnum]) -> _Unpack:
    members = {int(member): member for member in cls}

    def unpack(value: Any) -> IntEnum:
        if type(value) is not int or value not in members:
            raise DecodeError(f"{value!r:.40} is no {cls.__name__}")
        return members[value]

    return unpack


def _optional(pack: _Pack | None, unpack: _Unpack) -> tuple[_Pack | None, _Unpack]:
    def pack_optional(value: Any) -> Any:
        return None if value is None else (pack(value) if pack else value)

    def unpack_optional(value: Any) -> Any:
        return None if value is None else unpack(value)

    return pack_optional, unpack_optional


def _sequence(pack: _Pack | None, unpack: _Unpack) -> tuple[_Pack, _Unpack]:
    def pack_all(values: Any) -> list[Any]:
        return list(values) if pack is None else [pack(value) for value in values]

    def unpack_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise DecodeError(f"array expected, not {type(values).__name__}")
        return tuple([unpack(value) for value in values])

    return pack_all, unpack_all


def _fixed(pairs: tuple[tuple[_Pack | None, _Unpack], ...]) -> tuple[_Pack, _Unpack]:
    def pack_all(values: Any) -> list[Any]:
        return [pack(value) if pack else value for value, (pack, _) in zip(values, pairs, strict=True)]

    def unpack_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list) or len(values) != len(pairs):
            raise DecodeError(f"array of {len(pairs)} expected")
        return tuple([unpack(value) for value, (_, unpack) in zip(values, pairs, strict=True)])

    return pack_all, unpack_all


def _mapping(key: type, plain: type | None, pack: _Pack | None, unpack: _Unpack) -> tuple[_Pack, _Unpack]:
    if key is not str:
        raise TypeError(f"keys on the wire are str, not {key!r}")

    def pack_all(values: Any) -> dict[str, Any]:
        return dict(values) if pack is None else {name: pack(value) for name, value in values.items()}

    def unpack_all(values: Any) -> dict[str, Any]:
        if type(values) is not dict:
            raise DecodeError(f"map expected, not {type(values).__name__}")
        for name in values:
            if type(name) is not str:
                raise DecodeError(f"map key: str expected, not {type(name).__name__}")
        if plain is not None and all(type(value) is plain for value in values.values()):
            return values  # the decoder made it for us alone
        return {name: unpack(value) for name, value in values.items()}

    return pack_all, unpack_all
