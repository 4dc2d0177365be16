"""Messages to bytes and back, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import DecodeError
from libecs.fsm import EnvState, TaskEvent, TaskState
from libecs.wire import client, codec, node, task
from libecs.wire.codec import Table, pack_value, schema_of, unpack_value
from libecs.wire.info import Event

TABLES = {"task": task.TASK, "node": node.NODE, "client": client.CLIENT}


@attrs.frozen(kw_only=True)
class Old:
    name: str


@attrs.frozen(kw_only=True)
class New:
    name: str
    extra: int = 7


def test_a_new_decoder_fills_in_what_an_old_message_lacks() -> None:
    assert unpack_value(New, pack_value(Old(name="a"))) == New(name="a", extra=7)


def test_an_old_decoder_ignores_what_it_does_not_know() -> None:
    assert unpack_value(Old, pack_value(New(name="a", extra=1))) == Old(name="a")


@pytest.mark.parametrize(
    "message",
    [
        task.Transition(id="x", event=1, source=1, arguments={"a": "b", "ü": ""}),
        task.Welcome(version=1, machine=task.Machine.FAIRMQ, state=3, sequence=9, pid=1, task="i/n/t"),
        node.Transit(session=1, epoch=2, id="e.1.2", event=TaskEvent.START, tasks=("a", "b"), each=({"k": "v"}, {})),
        node.Update(
            session=1,
            sequence=5,
            tasks=(
                node.TaskStatus(
                    task="t",
                    phase=node.Phase.EXITED,
                    state=TaskState.ERROR,
                    exit=node.Exit(cause=node.ExitCause.SIGNALED, signal=9),
                ),
            ),
        ),
        client.Finished(operation="o", state=EnvState.ERROR, code="E_RUN", failures={"a": "b"}),
        client.Events(events=(Event(sequence=1, unix_ms=2, kind="tasks", tasks=(("a", TaskState.DONE),)),)),
    ],
)
def test_a_message_survives_the_way_there_and_back(message: object) -> None:
    table = next(table for table in TABLES.values() if type(message) in table.kinds().values())
    assert table.decode(table.encode(message)) == message


@pytest.mark.parametrize("name", TABLES)
def test_every_message_has_a_wire_form_and_its_own_kind(name: str) -> None:
    kinds = TABLES[name].kinds()
    assert len(set(kinds.values())) == len(kinds)
    for cls in kinds.values():
        assert schema_of(cls).required <= len(attrs.fields(cls))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"", "not a msgpack frame"),
        (b"\xc1", "not a msgpack frame"),
        (msgpack.packb({"a": 1}), "begins with its kind"),
        (msgpack.packb([]), "begins with its kind"),
        (msgpack.packb(["1"]), "begins with its kind"),
        (msgpack.packb([True]), "begins with its kind"),
        (msgpack.packb([99]), "unknown kind 99"),
        (msgpack.packb([2, "id"]), "at least 3 are needed"),
        (msgpack.packb([2, b"id", 1, 1, {}]), "Transition.id: str expected, not bytes"),
        (msgpack.packb([2, "id", True, 1, {}]), "Transition.event: int expected, not bool"),
        (msgpack.packb([2, "id", 1, 1, []]), "Transition.arguments: map expected, not list"),
        (msgpack.packb([2, "id", 1, 1, {"a": 1}]), "Transition.arguments: str expected, not int"),
        (msgpack.packb([2, "id", 1, 1, {b"a": "1"}]), "map key: str expected, not bytes"),
        (msgpack.packb([1, 7, 1, "n"]), "7 is no PeerRole"),
        (msgpack.packb([1, "CONTROLLER", 1, "n"]), "is no PeerRole"),
        (msgpack.packb([2, "id", 1, 1, {}])[:-1], "not a msgpack frame"),
        (b"\xdd\xff\xff\xff\xff", "not a msgpack frame"),
        (b"\x91" * 2000, "not a msgpack frame"),
        (b"\x92\x02\xa1\xff", "not a msgpack frame"),
    ],
)
def test_what_is_no_message_is_refused_and_says_why(frame: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        task.TASK.decode(frame)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([17, 1, 1, 5], "array expected, not int"),
        ([17, 1, 1, [[["t", 3], "e", "r"]]], "at least"),
        ([16, "n", "l", "h", {}, 1.0, "x", [], 0], "number expected, not str"),
        ([16, "n", "l", "h", {}, 1.0, 2, [[1, 2, 3]], 0], "array of 2 expected"),
        ([16, "n", "l", "h", {}, 1.0, 2, [7], 0], "array of 2 expected"),
        ([18, 1, 1, [7]], "TaskStatus: an array was expected, not int"),
    ],
)
def test_nested_values_are_checked_too(items: list[object], said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        node.NODE.decode(msgpack.packb(items))


def test_a_frame_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(DecodeError, match="are allowed"):
        task.TASK.decode(b"\x00" * (codec.MAX_FRAME_BYTES + 1))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_are_a_message(frame: bytes) -> None:
    for table in TABLES.values():
        try:
            message = table.decode(frame)
        except DecodeError:
            continue
        assert type(message) in table.kinds().values()


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=4), st.lists, max_leaves=20))
def test_well_formed_nonsense_is_refused_or_is_a_message(value: object) -> None:
    for table in TABLES.values():
        for kind in table.kinds():
            items = [kind, *value] if isinstance(value, list) else [kind, value]
            try:
                table.decode(msgpack.packb(items))
            except DecodeError:
                continue


def test_a_kind_is_never_given_twice() -> None:
    table = Table("test")
    table.message(1)(Old)
    with pytest.raises(ValueError, match="kind 1 is Old already"):
        table.message(1)(New)


def test_a_class_without_a_wire_form_is_a_mistake_of_ours() -> None:
    @attrs.frozen
    class Odd:
        value: complex

    @attrs.frozen
    class Keyed:
        value: Mapping[int, str]

    with pytest.raises(TypeError, match="no wire form"):
        schema_of(Odd)
    with pytest.raises(TypeError, match="keys on the wire are str"):
        schema_of(Keyed)


def test_ends_of_processes_are_told_in_words() -> None:
    cause = node.ExitCause
    said = {
        cause.EXITED: "exited with code 3 (no such file)",
        cause.SIGNALED: "killed by signal 9 (no such file)",
        cause.LAUNCH_FAILED: "could not be started: no such file",
        cause.ORPHANED: "stopped as an orphan",
        cause.NEVER_STARTED: "was never started",
        cause.UNKNOWN: "ended, nobody saw how",
    }
    for one, words in said.items():
        assert node.Exit(cause=one, code=3, signal=9, text="no such file").describe() == words
    assert node.Exit(cause=cause.EXITED, code=3).describe() == "exited with code 3"
    assert node.Exit(cause=cause.SIGNALED, signal=9).describe() == "killed by signal 9"
