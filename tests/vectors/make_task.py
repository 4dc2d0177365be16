#!/usr/bin/env python3
"""Write the golden frames of the task link: `task.json`, read by the tests of Python and of C.

    make_task.py [--check]

`frames` are decoded and encoded again byte for byte by both; `readable` decode to the message told, but are not how
it is written; `unreadable` are refused by both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgpack

from libecs.wire.task import (
    TASK,
    DeviceEventType,
    Happened,
    Hello,
    Log,
    Machine,
    Metric,
    PeerRole,
    Ping,
    Pong,
    Refusal,
    Refused,
    Result,
    StateChanged,
    Transition,
    Trigger,
    Welcome,
)
from libecs.wire.telemetry import Severity

TARGET = Path(__file__).with_name("task.json")

FRAMES: dict[str, Any] = {
    "hello controller": Hello(role=PeerRole.CONTROLLER, epoch=1, name="executor-1"),
    "hello observer, steal": Hello(role=PeerRole.OBSERVER, epoch=2**40, name="", steal=True, version_high=300),
    "hello, negative epoch": Hello(role=PeerRole.CONTROLLER, epoch=-1, name="n" * 31),
    "hello, long name": Hello(role=PeerRole.CONTROLLER, epoch=-(2**40), name="n" * 32),
    "transition without arguments": Transition(id="c1", event=3, source=2),
    "transition with arguments": Transition(
        id="x" * 63, event=1, source=1, arguments={"chans.data.0.address": "tcp://*:9000", "empty": "", "é": "µ€😀"}
    ),
    "transition with 16 arguments": Transition(
        id="c", event=1, source=1, arguments={f"key{i}": f"{i}" for i in range(16)}
    ),
    "transition with a long value": Transition(id="c", event=1, source=1, arguments={"a": "v" * 255, "b": "w" * 256}),
    "ping": Ping(number=0),
    "ping 127": Ping(number=127),
    "ping 128": Ping(number=128),
    "ping 256": Ping(number=256),
    "ping 65536": Ping(number=65536),
    "ping 2^32": Ping(number=2**32),
    "ping 2^63-1": Ping(number=2**63 - 1),
    "ping -32": Ping(number=-32),
    "ping -33": Ping(number=-33),
    "ping -129": Ping(number=-129),
    "ping -32769": Ping(number=-32769),
    "ping -2^63": Ping(number=-(2**63)),
    "welcome": Welcome(version=1, machine=Machine.OCC, state=1, sequence=0, pid=4194303, task=""),
    "welcome of a device": Welcome(
        version=1, machine=Machine.FAIRMQ, state=9, sequence=70000, pid=1, task="a/b/c", run=4294967295
    ),
    "refused": Refused(reason=Refusal.VERSION),
    "refused, conflict": Refused(reason=Refusal.CONFLICT, holder="core@host", epoch=7),
    "result": Result(id="c1", ok=True, state=2, event=1, sequence=1),
    "result with error": Result(
        id="c1",
        ok=False,
        state=4,
        event=1,
        trigger=Trigger.DEVICE_ERROR,
        error="ValueError: no µ" + "!" * 300,
        sequence=3,
    ),
    "state changed": StateChanged(state=3, sequence=3),
    "pong": Pong(number=5, state=3, sequence=3, progress=2**33),
    "end of stream": Happened(type=DeviceEventType.END_OF_STREAM),
    "internal error": Happened(type=DeviceEventType.TASK_INTERNAL_ERROR, text="lost the card"),
    "reconfigure": Transition(id="c2", event=10, source=2, arguments={"voltage": "1.5"}),
    "metric": Metric(name="events", unit="", n=3, sum=6.0, min=1.0, max=3.0, last=2.0, unix_ms=1_700_000_000_123),
    "metric of extremes": Metric(
        name="µ" * 31, unit="m/s", n=2**40, sum=-0.0, min=-1.7976931348623157e308, max=5e-324, last=0.1, unix_ms=0
    ),
    "log": Log(severity=Severity.INFO, text="ready", unix_ms=1_700_000_000_123),
    "log after lost lines": Log(severity=Severity.FATAL, text="€" * 341, unix_ms=1, dropped=70000),
}

READABLE: dict[str, tuple[Any, bytes]] = {
    "fields of a later version": (Ping(number=1), msgpack.packb([3, 1, "new", {"a": [1, 2, {"b": None}]}, 1.5, b"x"])),
    "defaults left out": (Transition(id="c1", event=3, source=2), msgpack.packb([2, "c1", 3, 2])),
    "array 16": (Ping(number=1), b"\xdc\x00\x02\x03\x01"),
    "array 32": (Ping(number=1), b"\xdd\x00\x00\x00\x02\x03\x01"),
    "numbers longer than needed": (Ping(number=1), b"\x92\x03\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
    "integers for floats": (
        Metric(name="n", unit="", n=2, sum=-3.0, min=-2.0, max=-1.0, last=2.0**63, unix_ms=0),
        msgpack.packb([22, "n", "", 2, -3, -2, -1, 2**63, 0]),
    ),
    "floats of four bytes": (
        Metric(name="n", unit="", n=1, sum=1.5, min=1.5, max=1.5, last=1.5, unix_ms=0),
        msgpack.packb([22, "n", "", 1, 1.5, 1.5, 1.5, 1.5, 0], use_single_float=True),
    ),
    "text longer than needed": (
        Transition(id="a", event=3, source=2),
        b"\x95\x02\xdb\x00\x00\x00\x01a\x03\x02\xdf\x00\x00\x00\x00",
    ),
}

UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "not an array": b"\x01",
    "empty array": b"\x90",
    "nil": b"\xc0",
    "never used": b"\xc1",
    "kind is text": msgpack.packb(["3", 1]),
    "kind is a truth value": msgpack.packb([True, 1]),
    "unknown kind": msgpack.packb([99, 1]),
    "a field too few": msgpack.packb([3]),
    "number as text": msgpack.packb([3, "1"]),
    "number as float": msgpack.packb([3, 1.0]),
    "number as truth value": msgpack.packb([3, True]),
    "truth value as number": msgpack.packb([18, "c", 1, 2, 3]),
    "text as bytes": msgpack.packb([2, b"c", 1, 1], use_bin_type=True),
    "not UTF-8": b"\x94\x02\xa1\xff\x01\x01",
    "overlong UTF-8": b"\x94\x02\xa2\xc0\x80\x01\x01",
    "surrogate": b"\x94\x02\xa3\xed\xa0\x80\x01\x01",
    "no such role": msgpack.packb([1, 9, 1, "n"]),
    "role is negative": msgpack.packb([1, -1, 1, "n"]),
    "map value is a number": msgpack.packb([2, "c", 1, 1, {"a": 1}]),
    "map key is a number": msgpack.packb([2, "c", 1, 1, {1: "a"}]),
    "map is an array": msgpack.packb([2, "c", 1, 1, ["a"]]),
    "float as text": msgpack.packb([22, "n", "", 1, "1", 1.0, 1.0, 1.0, 0]),
    "float as truth value": msgpack.packb([22, "n", "", 1, 1.0, True, 1.0, 1.0, 0]),
    "count as float": msgpack.packb([22, "n", "", 1.0, 1.0, 1.0, 1.0, 1.0, 0]),
    "no such severity": msgpack.packb([23, 6, "text", 0]),
    "cut in a float": b"\x99\x16\xa1n\xa0\x01\xcb\x3f\xf0",
    "cut in a number": b"\x92\x03\xcd\x01",
    "cut in a text": b"\x94\x02\xa5ab",
    "array of four thousand million": b"\xdd\xff\xff\xff\xff\x03",
    "map of four thousand million": b"\x95\x02\xa1a\x01\x01\xdf\xff\xff\xff\xff",
    "text of four thousand million": b"\x94\x02\xdb\xff\xff\xff\xff",
    "more after the end": msgpack.packb([3, 1]) + b"\x00",
    "deep": b"\x91" * 5000 + b"\xc0",
}


def fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message as JSON has them."""
    return {name: dict(value) if isinstance(value, dict) else value for name, value in attrs.asdict(message).items()}


def rows() -> Iterator[str]:
    """Yield the lines of the file: one vector a line, so that a diff shows one."""
    groups: dict[str, list[dict[str, object]]] = {
        "frames": [
            {"name": name, "kind": type(m).__name__, "fields": fields(m), "hex": TASK.encode(m).hex()}
            for name, m in FRAMES.items()
        ],
        "readable": [
            {"name": name, "kind": type(m).__name__, "fields": fields(m), "hex": frame.hex()}
            for name, (m, frame) in READABLE.items()
        ],
        "unreadable": [{"name": name, "hex": frame.hex()} for name, frame in UNREADABLE.items()],
    }
    yield "{"
    for i, (group, vectors) in enumerate(groups.items()):
        yield f' "{group}": ['
        for j, vector in enumerate(vectors):
            yield f"  {json.dumps(vector)}{',' if j + 1 < len(vectors) else ''}"
        yield f" ]{',' if i + 1 < len(groups) else ''}"
    yield "}"


def main() -> int:
    """Write the file, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description="write the golden frames of the task link")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is stale")
    options = parser.parse_args()
    text = "\n".join(rows()) + "\n"
    if options.check:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
