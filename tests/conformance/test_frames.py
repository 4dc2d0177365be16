"""Bytes that are no message: they are passed over, and cost nobody else anything."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.conftest import Connect
from tests.conformance.peer import Peer, Task
from tests.conformance.protocol import (
    CONTROLLER,
    FIELDS,
    HELLO,
    MAX_FRAME_BYTES,
    OBSERVER,
    PING,
    PONG,
    REQUIRED,
    TRANSITION,
    VERSION,
    WELCOME,
    pack,
    wrong_values,
)

GOOD: dict[int, list[Any]] = {HELLO: [OBSERVER, 0, ""], TRANSITION: ["id", 1, 1, {}], PING: [5]}
"""A message of each kind that would be answered, or would act."""


def answered_only(peer: Peer, n: int = 424242) -> None:
    """Check that nothing comes before the Pong of a Ping that is sent now."""
    peer.send(PING, n)
    message = peer.receive()
    assert (message.kind, message.number) == (PONG, n), message


MALFORMED: dict[str, list[bytes]] = {
    "one empty frame": [b""],
    "a version alone": [VERSION],
    "an empty payload": [VERSION, b""],
    "version 0": [b"\x00", pack([PING, 1])],
    "version 2": [b"\x02", pack([PING, 1])],
    "version of two bytes": [b"\x01\x01", pack([PING, 1])],
    "no version": [b"", pack([PING, 1])],
    "a frame too many": [VERSION, pack([PING, 1]), b""],
    "a thousand frames": [b"x"] * 1000,
    "two messages in one": [VERSION, pack([PING, 1]) + pack([PING, 2])],
    "nil": [VERSION, b"\xc0"],
    "never used": [VERSION, b"\xc1"],
    "a number": [VERSION, pack(3)],
    "a map": [VERSION, pack({"kind": 3})],
    "an empty array": [VERSION, pack([])],
    "kind as text": [VERSION, pack(["3", 1])],
    "kind as float": [VERSION, pack([3.0, 1])],
    "kind as truth value": [VERSION, pack([True, 1])],
    "kind as array": [VERSION, pack([[3], 1])],
    "array of 2^32": [VERSION, b"\xdd\xff\xff\xff\xff" + pack(PING)],
    "array of 2^16": [VERSION, b"\xdc\xff\xff" + pack(PING) + pack(1)],
    "map of 2^32": [VERSION, b"\x95\x02\xa1a\x01\x01\xdf\xff\xff\xff\xff"],
    "text of 2^32": [VERSION, b"\x94\x02\xdb\xff\xff\xff\xff"],
    "bytes of 2^32": [VERSION, b"\x92\x03\xc6\xff\xff\xff\xff"],
    "extension": [VERSION, b"\x92\x03\xd4\x00\x00"],
    "extension of 2^32": [VERSION, b"\x92\x03\xc9\xff\xff\xff\xff\x00"],
    "number beyond 64 bits with a sign": [VERSION, b"\x92\x03\xcf\xff\xff\xff\xff\xff\xff\xff\xff"],
    "not UTF-8": [VERSION, b"\x95\x02\xa1\xff\x01\x01\x80"],
    "overlong UTF-8": [VERSION, b"\x95\x02\xa2\xc0\x80\x01\x01\x80"],
    "a surrogate": [VERSION, pack([TRANSITION, "\ud800", 1, 1, {}])],
    "beyond Unicode": [VERSION, b"\x95\x02\xa4\xf4\x90\x80\x80\x01\x01\x80"],
    "an argument that is not UTF-8": [VERSION, b"\x95\x02\xa1a\x01\x01\x81\xa1\xff\xa1a"],
    "an argument without a value": [VERSION, b"\x95\x02\xa1a\x01\x01\x81\xa1a"],
    "deep": [VERSION, b"\x91" * 100_000],
    "deep behind a good message": [VERSION, b"\x93" + pack(PING) + pack(1) + b"\x91" * 50_000 + b"\xc0"],
    "deep maps": [VERSION, b"\x93" + pack(PING) + pack(1) + b"\x81\xa1a" * 50_000 + b"\xc0"],
}


def unknown_kinds() -> Iterator[int]:
    """Yield numbers of no message, and of messages that only a task sends."""
    known = (HELLO, TRANSITION, PING)
    yield from (kind for kind in range(-40, 300) if kind not in known)
    yield from (2**16, 2**32, 2**63 - 1, -(2**63))


@pytest.mark.parametrize("parts", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_message_is_passed_over(peer: Peer, parts: list[bytes]) -> None:
    before = peer.ping()

    peer.send_frames(*parts)

    if parts in (MALFORMED["deep behind a good message"], MALFORMED["deep maps"]):
        peer.send(PING, 424242)  # extra fields of any depth may be passed over, with the message or without
        peer.wait_for(PONG, lambda pong: pong.number == 424242)
    else:
        answered_only(peer)
    after = peer.ping()
    assert (after.state, after.sequence) == (before.state, before.sequence)


def test_unknown_kinds_are_passed_over(peer: Peer) -> None:
    for kind in unknown_kinds():
        peer.send(kind)
        peer.send(kind, *(1, 2, "x", 4, 5, 6, 7))
        peer.send(kind, *["x", "x", 1, 1.0, 1.0, 1.0, 1.0, 1])

    answered_only(peer)


@pytest.mark.parametrize("kind", GOOD, ids=["Hello", "Transition", "Ping"])
def test_a_field_of_a_wrong_type_spoils_the_message(peer: Peer, kind: int) -> None:
    whole = [*GOOD[kind], 1, 1, False] if kind == HELLO else GOOD[kind]
    for i, (_, type_) in enumerate(FIELDS[kind]):
        for value in wrong_values(type_):
            peer.send(kind, *whole[:i], value, *whole[i + 1 :])
            peer.send(kind, *whole[:i], value)

    answered_only(peer)


@pytest.mark.parametrize("kind", GOOD, ids=["Hello", "Transition", "Ping"])
def test_a_missing_field_spoils_the_message(peer: Peer, kind: int) -> None:
    for n in range(REQUIRED[kind]):
        peer.send(kind, *GOOD[kind][:n])

    answered_only(peer)


@pytest.mark.parametrize("kind", GOOD, ids=["Hello", "Transition", "Ping"])
def test_a_message_cut_anywhere_is_none(peer: Peer, kind: int) -> None:
    whole = pack([kind, *GOOD[kind]])
    for size in range(len(whole)):
        peer.send_frames(VERSION, whole[:size])

    answered_only(peer)


@pytest.mark.parametrize("role", [0, 3, -1, 255, 2**40])
def test_a_role_that_is_none_spoils_the_message(peer: Peer, role: int) -> None:
    peer.send(HELLO, role, 2**40, "x")

    answered_only(peer)


def test_fields_of_a_later_version_are_ignored(peer: Peer, epoch: int) -> None:
    future: list[object] = [None, 1.5, b"bytes", [1, [2]], {"a": {"b": []}}, "text"]

    peer.send(PING, 7, *future)
    assert peer.receive().number == 7
    peer.send(HELLO, CONTROLLER, epoch, peer.name, 1, 1, False, *future)
    assert peer.receive().kind == WELCOME
    state = peer.ping().state
    event = next(iter(peer.machine.table[state]))
    peer.send(TRANSITION, "future", event, state, peer.task.configuration, *future)
    assert peer.wait_for(18).ok


def test_longer_forms_than_needed_are_read(peer: Peer) -> None:
    peer.send_frames(VERSION, b"\xdd\x00\x00\x00\x02\xd3" + struct.pack(">q", PING) + b"\xd1\x00\x05")

    assert peer.receive().number == 5


def test_too_long_a_frame_costs_only_its_sender_the_connection(shared: Task, peer: Peer, connect: Connect) -> None:
    flooder = connect(shared)
    flooder.welcome(OBSERVER, 0)
    memory = shared.memory_kib()

    flooder.send_frames(VERSION, bytes(MAX_FRAME_BYTES + 1))

    for number in range(100):
        assert peer.ping(number).kind == PONG
    assert connect(shared).hello(OBSERVER, 0).kind == WELCOME
    assert shared.memory_kib() < memory + 40 * 1024


def mutated(random_: random.Random) -> bytes:
    """Return a good message with something wrong, or random bytes."""
    kind = random_.choice(list(GOOD))
    frame = bytearray(pack([kind, *GOOD[kind]]))
    if random_.random() < 0.1:
        return random_.randbytes(random_.randrange(200))
    for _ in range(random_.randrange(1, 5)):
        place = random_.randrange(len(frame) + 1)
        what = random_.randrange(4)
        if what == 0 and place < len(frame):
            frame[place] = random_.randrange(256)
        elif what == 1:
            frame[place:place] = random_.randbytes(random_.randrange(1, 9))
        elif what == 2:
            del frame[place : place + random_.randrange(1, 4)]
        else:
            frame[place:place] = random_.choice(
                [b"\xdd\xff\xff\xff\xff", b"\xdf\x00\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
            )
    return bytes(frame)


def test_ten_thousand_broken_frames_leave_the_task_as_it_was(own: Peer, task: Task) -> None:
    """Own task: some of them are good messages. Memory is flat, and the task answers and obeys afterwards."""
    seed = 20261123
    random_ = random.Random(seed)
    print(f"seed {seed}")
    memory = 0
    for i in range(10_000):
        own.send_frames(VERSION, mutated(random_))
        if i % 200 == 199:
            own.send(PING, 10**12 + i)  # answers to mutants may come before
            own.wait_for(PONG, lambda pong, number=10**12 + i: pong.number == number)  # type: ignore[misc]
            own.seen.clear()
        if i == 1999:
            memory = task.memory_kib()

    assert own.hello(CONTROLLER, 2**62, None, 1, 1, True).kind == WELCOME
    own.bring(own.machine.running)
    kept = 4096 if "ASAN_OPTIONS" not in os.environ else 300 * 1024  # the sanitizer keeps what was freed
    assert task.memory_kib() < memory + kept
