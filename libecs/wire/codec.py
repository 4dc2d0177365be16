"""Messages to bytes and back: a version frame, then a msgpack array `[kind, field, …]`.

A message is a frozen attrs class whose annotations are the schema. New fields go to the end, with a default: an old
decoder ignores extra fields, a new one fills in the missing ones. Kind numbers are never reused. Whatever does not
fit the schema is a `DecodeError`, never a default and never another exception.

msgspec reads and writes the bytes; the shapes between them and the classes are compiled (docs/decisions/0003-codec.md).
This module and no other knows msgpack.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Protocol, TypeVar

import attrs
import msgspec

from libecs.errors import DecodeError
from libecs.wire import shapes

compiled: Any
"""The compiled shapes; None in a source tree that nobody has built."""
try:
    from libecs.wire import _shapes

    compiled = _shapes
except ImportError:
    compiled = None

VERSION = 1
"""Version of all frames of this module, sent as a frame of one byte in front."""

VERSION_FRAME = bytes([VERSION])
MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_RECORD_BYTES = 256 * 1024 * 1024

T = TypeVar("T")


class Record(shapes.Shape, Protocol):
    """What is used of `shapes.Record`, compiled or not."""

    cls: type
    required: int

    def pack_as(self, kind: int, value: Any) -> tuple[Any, ...]:
        """Return the array of a message."""

    def unpack_message(self, value: list[Any]) -> Any:
        """Return the message in an array."""


class Schemas:
    """The shapes of classes, made from their annotations when they are first asked for."""

    def __init__(self, kit: Any) -> None:
        """`kit`: the module whose shapes are used."""
        self._kit = kit
        self._records: dict[type, Record] = {}

    def of(self, cls: type) -> Record:
        """Return (and keep) the shape of an attrs class. Raises TypeError for a type that has no wire form."""
        record = self._records.get(cls)
        if record is None:
            hints = typing.get_type_hints(cls)
            fields = attrs.fields(cls)
            record = self._records[cls] = self._kit.Record(
                cls,
                [field.name for field in fields],
                [self._shape(hints[field.name]) for field in fields],
                sum(1 for field in fields if field.default is attrs.NOTHING),
            )
        return record

    def _shape(self, hint: Any) -> Any:
        kit, origin, arguments = self._kit, typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Union or origin is types.UnionType:
            (inner,) = [argument for argument in arguments if argument is not type(None)]
            return kit.Maybe(self._shape(inner))
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return kit.Many(self._shape(arguments[0]))
            return kit.Fixed([self._shape(argument) for argument in arguments])
        if origin is not None and issubclass(origin, Mapping):
            if arguments[0] is not str:
                raise TypeError(f"keys on the wire are str, not {arguments[0]!r}")
            return kit.Keyed(self._shape(arguments[1]))
        if isinstance(hint, type) and issubclass(hint, IntEnum):
            return kit.Member(hint)
        if isinstance(hint, type) and attrs.has(hint):
            return self.of(hint)
        if hint in (bool, int, str, bytes):
            return kit.Exact(hint)
        if hint is float:
            return kit.Number()
        raise TypeError(f"no wire form for {hint!r}")


class Table:
    """The messages of one link: kind number to class and back. A shape is made with the first message that has it."""

    def __init__(self, name: str, schemas: Schemas | None = None) -> None:
        self.name = name
        self._schemas = schemas or _schemas
        self._kinds: dict[int, type] = {}
        self._numbers: dict[type, int] = {}
        self._by_kind: dict[int, Record] = {}
        self._by_class: dict[type, tuple[int, Callable[[int, Any], tuple[Any, ...]]]] = {}

    def message(self, kind: int) -> Callable[[type[T]], type[T]]:
        """Register a frozen attrs class as message number `kind` (decorator)."""

        def register(cls: type[T]) -> type[T]:
            if kind in self._kinds:
                raise ValueError(f"{self.name}: kind {kind} is {self._kinds[kind].__name__} already")
            self._kinds[kind] = cls
            self._numbers[cls] = kind
            return cls

        return register

    def kinds(self) -> Mapping[int, type]:
        """Return every kind number and its class, for documents and generated code."""
        return dict(self._kinds)

    def encode(self, message: object) -> bytes:
        """Return the payload frame of a message. Raises KeyError for one of another table."""
        known = self._by_class.get(type(message))
        if known is None:
            cls = type(message)
            known = self._by_class[cls] = (self._numbers[cls], self._schemas.of(cls).pack_as)
        kind, pack_as = known
        return _write(pack_as(kind, message))

    def decode(self, frame: bytes, limit: int = MAX_FRAME_BYTES) -> Any:
        """Return the message in a payload frame of at most `limit` bytes.

        Raises:
            DecodeError: the frame is too large, no msgpack, of an unknown kind, or does not fit its class.
        """
        items = _read(frame, limit)
        if type(items) is not list or not items or type(items[0]) is not int:
            raise DecodeError(f"{self.name}: a message is an array that begins with its kind")
        record = self._by_kind.get(items[0])
        if record is None:
            cls = self._kinds.get(items[0])
            if cls is None:
                raise DecodeError(f"{self.name}: unknown kind {items[0]}")
            record = self._by_kind[items[0]] = self._schemas.of(cls)
        return record.unpack_message(items)


def pack_value(value: object) -> bytes:
    """Encode one attrs value without a kind, for records on disk."""
    return _write(_schemas.of(type(value)).pack(value))


def unpack_value(cls: type[T], data: bytes) -> T:
    """Decode what `pack_value` wrote. Raises DecodeError."""
    return typing.cast(T, _schemas.of(cls).unpack(_read(data, MAX_RECORD_BYTES)))


def schema_of(cls: type) -> Record:
    """Return the shape that the annotations of an attrs class say. Raises TypeError: a type has no wire form."""
    return _schemas.of(cls)


def _other(value: object) -> object:
    """Return a plain value for one that the byte writer does not know: a map or a text of another class."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} is not for the wire")


_write = msgspec.msgpack.Encoder(enc_hook=_other).encode
_reader = msgspec.msgpack.Decoder()
_schemas = Schemas(shapes if compiled is None else compiled)


def _read(frame: bytes, limit: int) -> Any:
    """Return the plain values in a frame. What it claims to hold is not reserved before it is there."""
    if len(frame) > limit:
        raise DecodeError(f"a frame of {len(frame)} bytes; {limit} are allowed")
    try:
        return _reader.decode(frame)
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise DecodeError(f"not a msgpack frame: {type(error).__name__}: {str(error)[:120]}") from None
