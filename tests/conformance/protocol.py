"""The task link as docs/protocol.md tells it, written down once more by hand: this suite trusts no code of ours.

Nothing here or beside it imports `libecs` or `occ`.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

VERSION = b"\x01"
MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_ID_BYTES = 63
MAX_ERROR_BYTES = 1023
ANSWERS_KEPT = 16

# kinds: from the controller, then from the task
HELLO, TRANSITION, PING = 1, 2, 3
WELCOME, REFUSED, RESULT, STATE_CHANGED, PONG, HAPPENED, METRIC, LOG = range(16, 24)

FIELDS: Mapping[int, tuple[tuple[str, type], ...]] = {
    HELLO: (
        ("role", int),
        ("epoch", int),
        ("name", str),
        ("version_low", int),
        ("version_high", int),
        ("steal", bool),
    ),
    TRANSITION: (("id", str), ("event", int), ("source", int), ("arguments", dict)),
    PING: (("number", int),),
    WELCOME: (
        ("version", int),
        ("machine", int),
        ("state", int),
        ("sequence", int),
        ("pid", int),
        ("task", str),
        ("run", int),
    ),
    REFUSED: (("reason", int), ("holder", str), ("epoch", int)),
    RESULT: (
        ("id", str),
        ("ok", bool),
        ("state", int),
        ("event", int),
        ("trigger", int),
        ("error", str),
        ("sequence", int),
    ),
    STATE_CHANGED: (("state", int), ("sequence", int)),
    PONG: (("number", int), ("state", int), ("sequence", int), ("progress", int)),
    HAPPENED: (("type", int), ("text", str)),
    METRIC: (
        ("name", str),
        ("unit", str),
        ("n", int),
        ("sum", float),
        ("min", float),
        ("max", float),
        ("last", float),
        ("unix_ms", int),
    ),
    LOG: (("severity", int), ("text", str), ("unix_ms", int), ("dropped", int)),
}
REQUIRED = {HELLO: 3, TRANSITION: 3, PING: 1}
"""How many fields a controller's message must have."""

CONTROLLER, OBSERVER = 1, 2
CONFLICT, STALE, WRONG_VERSION, SUPERSEDED, NOT_CONTROLLER = 1, 2, 3, 4, 5
EXECUTOR, DEVICE_INTENTIONAL, DEVICE_ERROR = 0, 1, 2
END_OF_STREAM, TASK_INTERNAL_ERROR = 1, 3
OCC, FAIRMQ = 1, 2


@attrs.frozen(kw_only=True)
class Machine:
    """A state machine: numbers of states and events, and what leads where."""

    number: int
    initial: int
    running: int
    error: int
    done: int
    states: Mapping[int, str]
    events: Mapping[int, str]
    table: Mapping[int, Mapping[int, int]]
    start: int
    stop: int
    by_way_of: Mapping[int, int] = attrs.field(factory=dict)
    """Working states that are told on the way of an event."""
    moments: Mapping[int, str] = attrs.field(factory=dict)
    """The names that an obedient task gives to its callbacks, by event."""

    @property
    def at_rest(self) -> tuple[int, ...]:
        """The states in which a task can be met, but the last one."""
        return tuple(state for state in self.table if state != self.done)

    def way(self, source: int, target: int) -> list[tuple[int, int]] | None:
        """Return the shortest way from a state to another as pairs of event and source; None if there is none."""
        ways: dict[int, list[tuple[int, int]]] = {source: []}
        queue = deque([source])
        while queue:
            state = queue.popleft()
            for event, following in self.table.get(state, {}).items():
                if following not in ways:
                    ways[following] = [*ways[state], (event, state)]
                    queue.append(following)
        return ways.get(target)


STANDBY, CONFIGURED, RUNNING, ERROR, DONE, PAUSED = 1, 2, 3, 4, 5, 8
CONFIGURE, RESET, START, STOP, EXIT, GO_ERROR, RECOVER, PAUSE, RESUME, RECONFIGURE = range(1, 11)

OCC_MACHINE = Machine(
    number=OCC,
    initial=STANDBY,
    running=RUNNING,
    error=ERROR,
    done=DONE,
    states={1: "STANDBY", 2: "CONFIGURED", 3: "RUNNING", 4: "ERROR", 5: "DONE", 8: "PAUSED"},
    events={
        1: "CONFIGURE",
        2: "RESET",
        3: "START",
        4: "STOP",
        5: "EXIT",
        6: "GO_ERROR",
        7: "RECOVER",
        8: "PAUSE",
        9: "RESUME",
        10: "RECONFIGURE",
    },
    table={
        STANDBY: {CONFIGURE: CONFIGURED, EXIT: DONE, GO_ERROR: ERROR},
        CONFIGURED: {START: RUNNING, RESET: STANDBY, RECONFIGURE: CONFIGURED, EXIT: DONE, GO_ERROR: ERROR},
        RUNNING: {STOP: CONFIGURED, PAUSE: PAUSED, GO_ERROR: ERROR},
        PAUSED: {RESUME: RUNNING, STOP: CONFIGURED, GO_ERROR: ERROR},
        ERROR: {RECOVER: STANDBY, EXIT: DONE},
        DONE: {},
    },
    start=START,
    stop=STOP,
    moments={
        CONFIGURE: "configure",
        RESET: "reset",
        START: "start",
        STOP: "stop",
        EXIT: "exit",
        RECOVER: "recover",
        PAUSE: "pause",
        RESUME: "resume",
        RECONFIGURE: "reconfigure",
    },
)

FAIRMQ_MACHINE = Machine(
    number=FAIRMQ,
    initial=1,
    running=10,
    error=14,
    done=13,
    states={
        1: "IDLE",
        2: "INITIALIZING DEVICE",
        3: "INITIALIZED",
        4: "BINDING",
        5: "BOUND",
        6: "CONNECTING",
        7: "DEVICE READY",
        8: "INITIALIZING TASK",
        9: "READY",
        10: "RUNNING",
        11: "RESETTING TASK",
        12: "RESETTING DEVICE",
        13: "EXITING",
        14: "ERROR",
    },
    events={
        1: "INIT DEVICE",
        2: "COMPLETE INIT",
        3: "BIND",
        4: "CONNECT",
        5: "INIT TASK",
        6: "RUN",
        7: "STOP",
        8: "RESET TASK",
        9: "RESET DEVICE",
        10: "END",
        11: "ERROR FOUND",
    },
    table={
        1: {1: 2, 10: 13, 11: 14},
        2: {2: 3, 11: 14},
        3: {3: 5, 9: 1, 11: 14},
        5: {4: 7, 9: 1, 11: 14},
        7: {5: 9, 9: 1, 11: 14},
        9: {6: 10, 8: 7, 11: 14},
        10: {7: 9, 11: 14},
        14: {},
        13: {},
    },
    start=6,
    stop=7,
    by_way_of={3: 4, 4: 6, 5: 8, 8: 11, 9: 12},
    moments={2: "init", 3: "bind", 4: "connect", 5: "init_task", 7: "post_run", 8: "reset_task", 9: "reset_device"},
)

MACHINES: Mapping[int, Machine] = {OCC: OCC_MACHINE, FAIRMQ: FAIRMQ_MACHINE}


def pack(value: Any) -> bytes:
    """Return a value as msgpack, in the shortest form."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return pack_int(value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, bytes):
        return head(len(value), None, 0xC4) + value
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        return (bytes([0xA0 | len(encoded)]) if len(encoded) < 32 else head(len(encoded), None, 0xD9)) + encoded
    if isinstance(value, Mapping):
        pairs = b"".join(pack(key) + pack(item) for key, item in value.items())
        return head(len(value), 0x80, 0xDD) + pairs
    if isinstance(value, Sequence):
        return head(len(value), 0x90, 0xDB) + b"".join(map(pack, value))
    raise TypeError(f"no form for {type(value).__name__}")


def head(size: int, short: int | None, long: int) -> bytes:
    """Return the head of something of a size; `short` takes sizes under 16, `long` is the tag for one byte."""
    if short is not None and size < 16:
        return bytes([short | size])
    if size < 2**8 and short is None:
        return struct.pack(">BB", long, size)
    if size < 2**16:
        return struct.pack(">BH", long + 1, size)
    return struct.pack(">BI", long + 2, size)


def pack_int(number: int) -> bytes:
    """Return an integer in its shortest form."""
    if -32 <= number < 128:
        return struct.pack(">b" if number < 0 else ">B", number)
    unsigned = ((0xCC, "B", 2**8), (0xCD, "H", 2**16), (0xCE, "I", 2**32), (0xCF, "Q", 2**64))
    signed = ((0xD0, "b", 2**7), (0xD1, "h", 2**15), (0xD2, "i", 2**31), (0xD3, "q", 2**63))
    for tag, code, limit in unsigned if number >= 0 else signed:
        if (number if number >= 0 else -number - 1) < limit:
            return struct.pack(f">B{code}", tag, number)
    raise ValueError(f"{number} is beyond 64 bits")


def wrong_values(kind: type) -> Iterator[Any]:
    """Yield values that no field of this type may have."""
    values: tuple[Any, ...] = (None, True, 1, 1.5, "text", b"bytes", [], [1], {}, {"a": 1}, {1: "a"})
    for value in values:
        is_map_of_text = type(value) is dict and all(type(k) is type(v) is str for k, v in value.items())
        fits = is_map_of_text if kind is dict else type(value) is kind
        if not fits:
            yield value
