"""Frames that are nearly valid: real messages, broken in one or a few places, from a seed."""

from __future__ import annotations

import random
import typing
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

import attrs

from libecs.errors import DecodeError
from libecs.wire.codec import Table

TASTES = (
    b"", b"\xc0", b"\xc1", b"\x90", b"\x80", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8, b"\xcb\x7f\xf8" + bytes(6), b"\xa5\xff\xfe\xfd\xfc\xfb",
    b"\xc7\xff\x05", b"\x91" * 2000,
)  # fmt: skip
"""What is put in somewhere: nothing, types of msgpack, lengths that lie, depth."""


def samples(table: Table) -> list[bytes]:
    """Return one frame of each kind of message, with something in every field."""
    return [table.encode(sample(cls)) for cls in table.kinds().values()]


def sample(cls: type) -> Any:
    """Return a value of an attrs class that has something in every field."""
    hints = typing.get_type_hints(cls)
    return cls(**{field.name: _value(hints[field.name]) for field in attrs.fields(cls)})


def _value(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if type(None) in arguments:
        return _value(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        inner = arguments[:1] if arguments[-1] is Ellipsis else arguments
        return tuple(_value(one) for one in inner)
    if origin is not None and issubclass(origin, Mapping):
        return {"key": _value(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return next(iter(hint))
    if isinstance(hint, type) and attrs.has(hint):
        return sample(hint)
    return {bool: True, int: 7, float: 0.5, str: "text", bytes: b"bytes"}[hint]


def mutants(table: Table, seed: int) -> Iterator[bytes]:
    """Yield payloads for ever that `table` does not take."""
    chance = random.Random(seed)
    frames = samples(table)
    while True:
        frame = bytearray(chance.choice(frames))
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            _mutate(frame, chance)
        data = bytes(frame)
        try:
            table.decode(data)
        except DecodeError:
            yield data


def _mutate(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(frame) + 1)
    match chance.randrange(7):
        case 0 if frame:
            frame[at % len(frame)] ^= 1 << chance.randrange(8)
        case 1 if frame:
            frame[at % len(frame)] = chance.choice((0, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xD9, 0xDD, 0xFF))
        case 2:
            del frame[at:]
        case 3:
            frame[at:at] = chance.choice(TASTES)
        case 4:
            frame[at:at] = chance.randbytes(chance.choice((1, 2, 8, 64)))
        case 5:
            del frame[at : at + chance.choice((1, 2, 5))]
        case _:
            other = frame[at : at + 20]
            frame[chance.randrange(len(frame) + 1) : 0] = other
