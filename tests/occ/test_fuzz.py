"""Both decoders of the task link in Python, on broken frames: they never fail otherwise, and they agree.

The one in C, and the whole of a task, get their million in test_fuzz.c.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgpack

from libecs.errors import DecodeError
from libecs.wire.task import TASK
from occ import _link

SEED = 20261123
FRAMES = 50_000

GROUPS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "task.json").read_text(encoding="utf-8"))
SEEDS = [bytes.fromhex(vector["hex"]) for group in GROUPS.values() for vector in group]
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    1.5,
    float("inf"),
    "",
    "x" * 40,
    b"b",
    [],
    [[]],
    {},
    {"a": "b"},
]


def broken_frames() -> Iterator[bytes]:
    """Yield frames that are almost messages, the same ones in every run."""
    chosen = random.Random(SEED)
    for _ in range(FRAMES):
        frame = bytearray(chosen.choice(SEEDS))
        if chosen.random() < 0.5:
            try:
                items = msgpack.unpackb(bytes(frame), strict_map_key=False)
                assert type(items) is list
                assert items
            except (ValueError, AssertionError, RecursionError):
                continue
            items[chosen.randrange(len(items))] = chosen.choice(ODD)
            frame = bytearray(msgpack.packb(items))
        for _ in range(chosen.randrange(3)):
            place = chosen.randrange(len(frame) + 1)
            frame[place : place + chosen.randrange(3)] = chosen.randbytes(chosen.randrange(3))
        yield bytes(frame)


def outcome(frame: bytes) -> tuple[Any, Any]:
    """Return what each decoder makes of a frame; None if it is no message."""
    try:
        ours: Any = attrs.asdict(_link.decode(frame))
    except _link.FrameError:
        ours = None
    try:
        theirs: Any = attrs.asdict(TASK.decode(frame))
    except DecodeError:
        theirs = None
    return ours, theirs


def only_libecs_reads(frame: bytes, message: dict[str, Any]) -> bool:
    """Tell whether the protocol leaves a frame open: numbers beyond 64 bits, odd maps in fields of later versions."""
    items = msgpack.Unpacker(strict_map_key=False)
    items.feed(frame)
    has_more = items.read_array_header() - 1 > len(message)
    return has_more or any(type(value) is int and value >= 2**63 for value in message.values())


def test_broken_frames_are_refused_alike() -> None:
    print(f"seed {SEED}")
    read = 0
    for frame in broken_frames():
        ours, theirs = outcome(frame)
        if ours is None and theirs is not None and only_libecs_reads(frame, theirs):
            continue
        assert repr(ours) == repr(theirs), frame.hex()  # not ==: a NaN equals nothing
        read += ours is not None

    assert read > FRAMES / 20
