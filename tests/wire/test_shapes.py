"""The codec with the compiled shapes and with those in Python: same bytes, same values, same refusals."""

from __future__ import annotations

import pickle
import types
import typing
import weakref
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libecs.engine.held import HeldRecord
from libecs.engine.plan import Plan
from libecs.engine.records import EnvironmentRecord, OperationRecord, PlacementRecord
from libecs.errors import DecodeError
from libecs.wire import codec, shapes
from libecs.wire.client import CLIENT
from libecs.wire.codec import Schemas, Table
from libecs.wire.info import RunInfo
from libecs.wire.node import NODE
from libecs.wire.task import TASK
from libecs.workflow.role import Workflow

ROOT = Path(__file__).resolve().parents[2]
KITS = {"python": shapes} | ({"compiled": codec.compiled} if codec.compiled is not None else {})
LINKS = (TASK, NODE, CLIENT)
MESSAGES = [(link, kind, cls) for link in LINKS for kind, cls in link.kinds().items()]
NAMES = [f"{link.name}: {cls.__name__}" for link, _, cls in MESSAGES]
RECORDS = (EnvironmentRecord, PlacementRecord, OperationRecord, HeldRecord, RunInfo, Plan, Workflow)
FAST = settings(max_examples=10, deadline=None)


@cache
def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return values of a type, made from its annotations alone."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.none() | values(next(one for one in arguments if one is not type(None)))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(one) for one in arguments))
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=40), values(arguments[1]), max_size=3)
    if issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    if attrs.has(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field.name: values(hints[field.name]) for field in attrs.fields(hint)})
    if hint is int:
        return st.integers(-(2**63), 2**64 - 1)
    if hint is float:
        return st.floats(allow_nan=False)
    return {str: st.text(max_size=300), bool: st.booleans(), bytes: st.binary(max_size=300)}[hint]


def plain(value: Any) -> Any:
    """Return what lies in a frame, by the words of the protocol."""
    if attrs.has(type(value)):
        return [plain(getattr(value, field.name)) for field in attrs.fields(type(value))]
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return int(value) if isinstance(value, IntEnum) else value


def table(kit: Any, link: Table) -> Table:
    """Return the same messages, read and written with other shapes."""
    made = Table(link.name, Schemas(kit))
    for kind, cls in link.kinds().items():
        made.message(kind)(cls)
    return made


TABLES = {(name, link.name): table(kit, link) for name, kit in KITS.items() for link in LINKS}
SCHEMAS = {name: Schemas(kit) for name, kit in KITS.items()}


def outcome(link: Table, frame: bytes) -> object:
    """Return the message, or why it is none."""
    try:
        return link.decode(frame)
    except DecodeError as error:
        return error.message


def spoiled(data: st.DataObject, items: Any) -> Any:
    """Return items with one of them, however deep, replaced, removed or repeated."""
    if isinstance(items, dict):
        name = data.draw(st.sampled_from([*items, "new"]))
        return {**items, data.draw(st.sampled_from([name, 5, b"name"])): spoiled(data, items.get(name))}
    if not isinstance(items, list) or not items or data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.sampled_from([None, True, -1, 2**63, 2.5, "x", b"x", [], {}, [[]], {"a": 1}]))
    place = data.draw(st.integers(0, len(items) - 1))
    way = data.draw(st.sampled_from(["spoil", "spoil", "spoil", "cut", "grow"]))
    if way == "cut":
        return items[:place]
    if way == "grow":
        return [*items, *items[place:]]
    return [*items[:place], spoiled(data, items[place]), *items[place + 1 :]]


def test_what_is_installed_has_the_compiled_shapes() -> None:
    if Path(codec.__file__).is_relative_to(ROOT) and ".venv" not in Path(codec.__file__).parts:
        pytest.skip("this is a source tree")
    assert codec.compiled is not None


@pytest.mark.parametrize("kit", KITS)
@pytest.mark.parametrize(("link", "kind", "cls"), MESSAGES, ids=NAMES)
@FAST
@given(data=st.data())
def test_every_message_comes_back_as_it_was(kit: str, link: Table, kind: int, cls: type, data: st.DataObject) -> None:
    message = data.draw(values(cls))
    ours = TABLES[kit, link.name]

    frame = ours.encode(message)

    assert frame == msgpack.packb([kind, *plain(message)], use_bin_type=True)
    assert ours.decode(frame) == message


@pytest.mark.parametrize("kit", KITS)
@pytest.mark.parametrize("cls", RECORDS)
@FAST
@given(data=st.data())
def test_every_record_comes_back_as_it_was(kit: str, cls: type, data: st.DataObject) -> None:
    value = data.draw(values(cls))
    shape = SCHEMAS[kit].of(cls)

    frame = msgpack.packb(shape.pack(value), use_bin_type=True, default=dict)

    assert shape.unpack(msgpack.unpackb(frame)) == value
    assert codec.unpack_value(cls, codec.pack_value(value)) == value


@pytest.mark.parametrize(("link", "kind", "cls"), MESSAGES, ids=NAMES)
@FAST
@given(data=st.data())
def test_what_does_not_fit_is_refused_in_the_same_words(link: Table, kind: int, cls: type, data: st.DataObject) -> None:
    items = spoiled(data, plain(data.draw(values(cls))))
    frame = msgpack.packb([kind, *items] if isinstance(items, list) else [kind, items])

    told = [outcome(TABLES[kit, link.name], frame) for kit in KITS]

    assert all(one == told[0] and type(one) is type(told[0]) for one in told)


@pytest.mark.parametrize("kit", KITS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_spoiled_frame_is_refused_or_is_a_message(kit: str, data: st.DataObject) -> None:
    link, kind, cls = data.draw(st.sampled_from(MESSAGES))
    frame = bytearray(msgpack.packb([kind, *plain(data.draw(values(cls)))]))
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    del frame[data.draw(st.integers(0, len(frame))) or len(frame) :]

    told = outcome(TABLES[kit, link.name], bytes(frame))

    assert isinstance(told, str) or type(told) in link.kinds().values()


@pytest.mark.parametrize(
    "frame",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x92\x02\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"\x81\x90\xc0",
        b"\x81\x80\xc0",
        b"\xd6\xff\xff\xff\xff\xff",
        b"\xc7\x0c\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xd4\x05\x01",
        b"\x93\x03\xd6\xff\x00\x00\x00\x00\xc0",
    ],
)
def test_frames_that_claim_or_nest_too_much_are_refused(frame: bytes) -> None:
    assert isinstance(outcome(TASK, frame), str)


@pytest.mark.parametrize("kit", KITS)
def test_longer_arrays_and_maps_than_allowed_are_refused(kit: str) -> None:
    shape = SCHEMAS[kit].of(Lists)

    with pytest.raises(DecodeError, match=r"Lists.names: an array of 1000001; 1000000 are allowed"):
        shape.unpack([[""] * 1_000_001, {}])
    with pytest.raises(DecodeError, match=r"Lists.table: a map of 1000001; 1000000 are allowed"):
        shape.unpack([[], dict.fromkeys(map(str, range(1_000_001)), "")])


@pytest.mark.parametrize("kit", KITS)
def test_a_class_whose_init_does_more_is_made_by_it(kit: str) -> None:
    schemas = SCHEMAS[kit]

    assert schemas.of(Converted).unpack([3]) == Converted(number=3)
    assert schemas.of(Converted).unpack([3]).number == 6
    assert schemas.of(Loose).unpack([3]) == Loose(number=3, names=())
    assert schemas.of(Loose).pack(Loose(number=3)) == (3, ())
    with pytest.raises(DecodeError, match=r"Loose.number: int expected, not str"):
        schemas.of(Loose).unpack(["3"])


@pytest.mark.parametrize("kit", KITS)
def test_each_value_has_defaults_of_its_own(kit: str) -> None:
    shape = SCHEMAS[kit].of(Lists)

    first, second = shape.unpack([[]]), shape.unpack([[]])

    assert first.table == {}
    assert first.table is not second.table


def test_maps_and_texts_of_other_classes_are_written_as_plain_ones() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    odd = Lists(names=(Text("a"),), table=types.MappingProxyType({Text("k"): "v"}))

    assert codec.pack_value(odd) == codec.pack_value(Lists(names=("a",), table={"k": "v"}))
    assert codec.pack_value(Loose(number=Number(4))) == codec.pack_value(Loose(number=4))


def test_what_is_not_for_the_wire_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="complex is not for the wire"):
        codec.pack_value(Loose(number=1j))  # type: ignore[arg-type]


@pytest.mark.skipif(codec.compiled is None, reason="this is a source tree")
def test_compiled_shapes_take_shapes_only() -> None:
    compiled: Any = codec.compiled

    with pytest.raises(TypeError, match="is no shape"):
        compiled.Record(Lists, ["names"], [shapes.Number()], 1)
    with pytest.raises(TypeError, match="2 names, 1 shapes"):
        compiled.Record(Lists, ["names", "table"], [compiled.Number()], 1)
    with pytest.raises(TypeError):
        Schemas(compiled).of(Lists).pack(Loose(number=1))


@attrs.frozen(kw_only=True)
class Lists:
    names: tuple[str, ...]
    table: Mapping[str, str] = attrs.field(factory=dict)


def doubled(number: int) -> int:
    return number * 2


@attrs.frozen(kw_only=True)
class Converted:
    number: int = attrs.field(converter=doubled)


@attrs.frozen(kw_only=True, slots=False)
class Loose:
    number: int
    names: tuple[str, ...] = ()


@attrs.frozen
class Nothing:
    """A message that says no more than its kind."""


@pytest.mark.parametrize("kit", KITS)
def test_a_class_without_fields_is_an_empty_array(kit: str) -> None:
    shape = SCHEMAS[kit].of(Nothing)

    assert shape.pack(Nothing()) == ()
    assert shape.unpack([]) == Nothing()


@pytest.mark.parametrize("kit", KITS)
def test_messages_are_freed_when_nobody_holds_them(kit: str) -> None:
    message = SCHEMAS[kit].of(Lists).unpack([["a"], {"b": "c"}])
    gone = weakref.ref(message)

    assert pickle.loads(pickle.dumps(message)) == message
    assert attrs.evolve(message, names=()).table == {"b": "c"}
    del message
    assert gone() is None
