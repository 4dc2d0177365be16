"""Which keys of its core somebody believes: what the core tells, what is kept, and that its next key opens the way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio

from libecs.access import Principal, Role
from libecs.engine.effects import Input, Received
from libecs.engine.outbox import CORE
from libecs.errors import EcsError, InvalidInput
from libecs.io import contexts, corefile
from libecs.io.clientlink import ClientLink
from libecs.io.contexts import Context as Place
from libecs.io.contexts import pin, read_contexts, save_context
from libecs.io.corefile import NodePins, next_core_key, pin_core
from libecs.io.hub import NO_NEWS, Hub
from libecs.io.keys import DAY_MS, KeyPair, write_key_file, write_private
from libecs.io.link import ClientCurve, Context, ServerCurve, close_context, new_context
from libecs.io.pins import Pins
from libecs.io.uplink import TcpUplink
from libecs.io.zap import ECS_DOMAIN, ZapResponder
from libecs.wire.client import Ping, Pong
from libecs.wire.node import KeyNews, NodeHello, NodeKeepalive, Welcome
from tests.io.places import bind_again, own_host

IN_TIME_S = 40
"""Nothing here takes that long; a busy machine may."""
ME, PRESENT, NEXT, OTHER = KeyPair.new(), KeyPair.new(), KeyPair.new(), KeyPair.new()
HELLO = NodeHello(node="n1", life="l", host="h", attributes={}, cpus=1, memory_mb=1, ports=(), epoch_seen=0)
WELCOME = Welcome(version=1, epoch=1, session=1, instance="i")


def curve(server: str, next_server: str = "") -> ClientCurve:
    return ClientCurve(public=ME.public, secret=ME.secret, server=server, next_server=next_server)


# what is told


class Kept(list[tuple[str, str]]):
    """Keeps what changes, in a place that outlives the process or not."""

    outlives = True
    error: EcsError | None = None

    def __call__(self, server: str, next_server: str) -> bool:
        self.append((server, next_server))
        if self.error is not None:
            raise self.error
        return self.outlives


@pytest.fixture
def kept() -> Kept:
    return Kept()


def pins(kept: Kept, keys: ClientCurve | None) -> Pins:
    return Pins(keys, kept, renew="coconut key invite alice --rotate", now_ms=lambda: 0)


def test_a_next_key_that_is_told_is_kept_once_and_is_nothing_for_others(kept: Kept) -> None:
    one = pins(kept, curve(PRESENT.public))

    assert one.heard(KeyNews(next_key=NEXT.public))
    assert not one.heard(WELCOME)
    assert one.heard(KeyNews(next_key=NEXT.public))

    assert one.curve == curve(PRESENT.public, NEXT.public)
    assert kept == [(PRESENT.public, NEXT.public)]


def test_a_link_that_begins_with_something_else_has_no_next_key(kept: Kept) -> None:
    one = pins(kept, curve(PRESENT.public, NEXT.public))

    assert not one.heard(WELCOME)

    assert one.curve == curve(PRESENT.public)
    assert kept == [(PRESENT.public, "")]


def test_each_link_begins_anew(kept: Kept) -> None:
    one = pins(kept, curve(PRESENT.public))
    one.heard(KeyNews(next_key=NEXT.public))
    one.linked(False)
    one.linked(True)

    one.heard(WELCOME)

    assert one.curve == curve(PRESENT.public)


def test_the_present_key_of_a_core_is_not_its_next_one(kept: Kept) -> None:
    one = pins(kept, curve(PRESENT.public))

    one.heard(KeyNews(next_key=PRESENT.public))

    assert one.curve == curve(PRESENT.public)
    assert not kept


def test_what_is_no_key_is_not_pinned(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    one = pins(kept, curve(PRESENT.public, NEXT.public))

    one.heard(KeyNews(next_key="x" * 39 + "\n"))

    assert one.curve == curve(PRESENT.public, NEXT.public)
    assert "a next key that is none" in caplog.text


def test_a_core_without_keys_tells_nothing(kept: Kept) -> None:
    one = pins(kept, None)

    assert one.heard(KeyNews(next_key=NEXT.public))
    one.turned()

    assert one.curve is None
    assert not kept


def test_after_a_link_under_the_next_key_the_old_one_counts_for_nothing(kept: Kept) -> None:
    one = pins(kept, curve(PRESENT.public, NEXT.public))

    one.turned()
    one.heard(WELCOME)

    assert one.curve == curve(NEXT.public)
    assert kept == [(NEXT.public, "")]


def test_who_has_set_the_key_by_hand_is_told_what_to_set(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.outlives = False
    one = pins(kept, curve(PRESENT.public))

    one.heard(KeyNews(next_key=NEXT.public))
    assert f"when it has the other one, set {NEXT.public}" in caplog.text
    caplog.clear()
    one.turned()
    assert f"is another one now: set {NEXT.public}" in caplog.text


def test_a_key_that_is_given_up_needs_nothing_of_who_has_set_one_by_hand(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.outlives = False
    one = pins(kept, curve(PRESENT.public, NEXT.public))

    one.heard(KeyNews())

    assert not caplog.records


def test_what_cannot_be_kept_is_believed_all_the_same(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.error = EcsError("core.toml cannot be written: no space")
    one = pins(kept, curve(PRESENT.public))

    one.heard(KeyNews(next_key=NEXT.public))

    assert one.curve == curve(PRESENT.public, NEXT.public)
    assert "believed until this program ends: core.toml cannot be written" in caplog.text


def test_the_end_of_ones_own_key_is_warned_of_once_for_each_end(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    one = pins(kept, curve(PRESENT.public))

    for days in (12, 12, 30):
        one.heard(KeyNews(expires_ms=days * DAY_MS))
        one.linked(True)

    assert [record.getMessage() for record in caplog.records] == [
        f"your key {ME.public[:8]} expires in {days} days: ask an admin: coconut key invite alice --rotate"
        for days in (12, 30)
    ]
    assert not kept


# over a link


class House:
    """A hub with ZAP in a context of its own, which can take another key."""

    def __init__(self) -> None:
        self.context = new_context()
        self.principals = {ME.public: Principal(name="n1", role=Role.NODE, via="node")}
        self.news = NO_NEWS
        self.zap = ZapResponder(self.context, {ECS_DOMAIN: lambda key, address: key in self.principals})
        self.hub = self._open(PRESENT)
        self.endpoint = self.hub.bind(f"tcp://{own_host()}:*")

    def _open(self, pair: KeyPair) -> Hub:
        return Hub(
            self.context,
            self._take,
            curve=ServerCurve(secret=pair.secret, domain=ECS_DOMAIN),
            principal=self.principals.get,
            key_news=lambda key: self.news,
        )

    def _take(self, input: Input) -> None:
        if not isinstance(input, Received):
            return
        if isinstance(input.message, NodeHello):
            self.hub.send(input.peer, WELCOME)
        elif isinstance(input.message, Ping):
            self.hub.send(input.peer, Pong(request=input.message.request, unix_ms=0, sequence=0, epoch=1))

    async def take_next_key(self) -> None:
        self.hub.close()
        self.hub, self.news = self._open(NEXT), NO_NEWS
        await bind_again(self.hub.router, self.endpoint)

    def close(self) -> None:
        self.hub.close()
        self.zap.close()
        close_context(self.context)


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    house.close()


class Node:
    """An uplink that says hello whenever it comes up, and what comes of it."""

    def __init__(self, context: Context, house: House, keep: Kept, keys: ClientCurve) -> None:
        self.inputs: list[object] = []
        self._changed = asyncio.Event()
        self._kept = keep

        def kept(server: str, next_server: str) -> bool:
            self._changed.set()
            return keep(server, next_server)

        self.uplink = TcpUplink(context, house.endpoint, keys, on_link=self._linked, keep=kept, node="n1")
        self.uplink.attach(self._put)

    def _put(self, input: Input) -> None:
        if isinstance(input, Received):
            self.inputs.append(input.message)
        self._changed.set()

    def _linked(self, up: bool) -> None:
        if up:
            self.uplink.send(CORE, HELLO)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def test_a_node_hears_of_the_next_key_before_all_else_and_its_engine_does_not(
    context: Context, house: House, kept: Kept
) -> None:
    house.news = KeyNews(next_key=NEXT.public)
    node = Node(context, house, kept, curve(PRESENT.public))
    try:
        await node.until(lambda: node.inputs)
    finally:
        node.uplink.detach()

    assert set(node.inputs) == {WELCOME}
    assert kept == [(PRESENT.public, NEXT.public)]


async def test_a_node_that_is_there_hears_of_it_and_that_it_was_given_up_and_of_it_once(
    context: Context, house: House, kept: Kept
) -> None:
    node = Node(context, house, kept, curve(PRESENT.public))
    try:
        await node.until(lambda: node.inputs)
        house.hub.tell_key_news()  # there is none
        house.news = KeyNews(next_key=NEXT.public)
        house.hub.tell_key_news()
        house.hub.tell_key_news()
        await node.until(lambda: len(kept) == 1)
        house.news = NO_NEWS
        house.hub.tell_key_news()
        await node.until(lambda: len(kept) == 2)
    finally:
        node.uplink.detach()

    assert kept == [(PRESENT.public, NEXT.public), (PRESENT.public, "")]


async def test_a_node_goes_on_with_a_core_that_has_taken_its_next_key(
    context: Context, house: House, kept: Kept
) -> None:
    house.news = KeyNews(next_key=NEXT.public)
    node = Node(context, house, kept, curve(PRESENT.public))
    try:
        await node.until(lambda: node.inputs)
        await house.take_next_key()
        node.inputs.clear()
        await node.until(lambda: node.inputs and kept[-1] == (NEXT.public, ""))
    finally:
        node.uplink.detach()

    assert kept == [(PRESENT.public, NEXT.public), (NEXT.public, "")]


async def test_a_client_writes_down_the_next_key_and_then_that_it_is_the_present_one(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    house.principals[ME.public] = Principal(name="alice", role=Role.VIEWER, via="client")
    house.news = KeyNews(next_key=NEXT.public)
    write_key_file(tmp_path / "k", ME)
    save_context(Place(name="p2", endpoint=house.endpoint, core_key=PRESENT.public, key_file=tmp_path / "k"))
    heard: asyncio.Queue[object] = asyncio.Queue()

    def linked(up: bool) -> None:
        if up:
            link.send(Ping(request="1"))

    link = ClientLink(contexts.choose("p2"), heard.put_nowait, on_link=linked, on_trouble=lambda trouble: None)
    try:
        assert isinstance(await asyncio.wait_for(heard.get(), IN_TIME_S), Pong)
        told = keys_of("p2")
        await house.take_next_key()
        while keys_of("p2") != (NEXT.public, ""):
            assert isinstance(await asyncio.wait_for(heard.get(), IN_TIME_S), Pong)
    finally:
        link.close()

    assert told == (PRESENT.public, NEXT.public)


async def test_a_hub_without_keys_tells_nothing_of_keys(context: Context) -> None:
    asked: list[str] = []

    def news(key: str) -> KeyNews:
        asked.append(key)
        return KeyNews(next_key=NEXT.public)

    took: asyncio.Queue[Input] = asyncio.Queue()
    hub = Hub(context, took.put_nowait, curve=None, principal=lambda key: None, key_news=news)
    uplink = TcpUplink(context, hub.bind("tcp://127.0.0.1:*"), None, on_link=lambda up: uplinked.set())
    uplinked = asyncio.Event()
    uplink.attach(lambda input: None)
    try:
        await asyncio.wait_for(uplinked.wait(), IN_TIME_S)
        uplink.send(CORE, NodeKeepalive(session=1, sequence=1))
        await asyncio.wait_for(took.get(), IN_TIME_S)
        hub.tell_key_news()
    finally:
        uplink.detach()
        hub.close()

    assert not asked


# what is kept of a client


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    save_context(Place(name="p2", endpoint="tcp://h:1", core_key=PRESENT.public, key_file=tmp_path / "k"))
    return contexts.choose("p2")


def keys_of(name: str) -> tuple[str, str]:
    context = read_contexts().contexts[name]
    return context.core_key, context.next_core_key


def test_keys_of_a_context_are_pinned_in_the_file_and_nothing_else_changes(place: Place) -> None:
    save_context(Place(name="lab", endpoint="tcp://h:2", core_key=OTHER.public, key_file=Path("/k")))
    before = read_contexts()

    assert pin(place, PRESENT.public, NEXT.public)
    assert keys_of("p2") == (PRESENT.public, NEXT.public)
    assert pin(contexts.choose("p2"), NEXT.public, "")

    assert keys_of("p2") == (NEXT.public, "")
    after = read_contexts()
    assert after.contexts["lab"] == before.contexts["lab"]
    assert attrs.evolve(after.contexts["p2"], core_key=PRESENT.public) == before.contexts["p2"]
    assert after.current == before.current == "p2"


def test_what_another_program_has_pinned_already_is_left_as_it_is(place: Place) -> None:
    pin(place, PRESENT.public, NEXT.public)
    written = contexts.contexts_path().stat().st_mtime_ns

    assert pin(place, PRESENT.public, NEXT.public)

    assert contexts.contexts_path().stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "gone"}, {"endpoint": "tcp://h:9"}, {"core_key": OTHER.public}],
    ids=["an address", "removed", "elsewhere", "a key given by the program"],
)
def test_keys_that_come_from_elsewhere_are_not_written_into_a_context(place: Place, changes: dict[str, Any]) -> None:
    asked = attrs.evolve(place, **changes)

    assert not pin(asked, asked.core_key, NEXT.public)

    assert keys_of("p2") == (PRESENT.public, "")


def test_a_context_without_keys_gets_none_from_a_program_that_has_its_own(place: Place) -> None:
    save_context(Place(name="bare", endpoint="tcp://h:1"))
    asked = attrs.evolve(place, name="bare")

    assert not pin(asked, asked.core_key, NEXT.public)

    assert keys_of("bare") == ("", "")  # and the file can be read: a key of the core alone would be refused


def test_a_core_on_this_machine_writes_its_keys_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    local = Place(name="local", endpoint="tcp://h:1", core_key=PRESENT.public, source=str(tmp_path / "client.toml"))

    assert pin(local, PRESENT.public, NEXT.public)

    assert not contexts.contexts_path().exists()


def test_a_folder_of_contexts_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ecs").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    with pytest.raises(EcsError, match="can't be written"):
        pin(Place(name="p2", endpoint="tcp://h:1", core_key=PRESENT.public), PRESENT.public, NEXT.public)


def test_contexts_are_on_the_disk_before_they_take_the_place_of_what_was_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def note(descriptor: int) -> None:
        text = Path(os.readlink(f"/proc/self/fd/{descriptor}")).read_text()
        synced.append((text, NEXT.public in contexts.contexts_path().read_text()))

    monkeypatch.setattr(os, "fsync", note)
    pin(place, PRESENT.public, NEXT.public)

    assert synced == [(contexts.contexts_path().read_text(), False)]


def test_where_files_cannot_be_locked_contexts_are_written_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)

    assert pin(place, PRESENT.public, NEXT.public)
    assert keys_of("p2") == (PRESENT.public, NEXT.public)


# what is kept of a node


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    write_private(tmp_path / "core.toml", f'core = "tcp://h:1"\ncore_key = "{PRESENT.public}"\nnode = "n1"\n')
    return tmp_path


def test_keys_of_a_nodes_core_are_pinned_in_its_file(joined: Path) -> None:
    assert next_core_key(joined, PRESENT.public) == ""
    assert pin_core(joined, PRESENT.public, NEXT.public, known=[PRESENT.public])
    assert next_core_key(joined, PRESENT.public) == NEXT.public
    assert next_core_key(joined, OTHER.public) == ""  # the settings name another core
    assert pin_core(joined, NEXT.public, "", known=[PRESENT.public, NEXT.public])

    assert (joined / "core.toml").read_text() == f'core = "tcp://h:1"\ncore_key = "{NEXT.public}"\nnode = "n1"\n'
    assert (joined / "core.toml").stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_core_is_left_alone(joined: Path) -> None:
    before = (joined / "core.toml").read_text()

    assert not pin_core(joined, PRESENT.public, NEXT.public, known=[OTHER.public])

    assert (joined / "core.toml").read_text() == before


def test_an_executor_goes_on_to_pin_through_one_change_after_the_other(joined: Path) -> None:
    keep = NodePins(joined, curve(PRESENT.public), by_hand=False)

    assert keep(PRESENT.public, NEXT.public)
    assert keep(NEXT.public, "")
    assert keep(NEXT.public, OTHER.public)

    assert next_core_key(joined, NEXT.public) == OTHER.public


def test_what_is_written_for_a_node_does_not_hold_where_its_settings_name_the_key(joined: Path) -> None:
    keep = NodePins(joined, curve(PRESENT.public), by_hand=True)

    assert not keep(PRESENT.public, NEXT.public)


def test_without_a_file_there_is_nothing_to_pin(tmp_path: Path) -> None:
    assert next_core_key(tmp_path, PRESENT.public) == ""
    assert not pin_core(tmp_path, PRESENT.public, NEXT.public, known=[PRESENT.public])


def test_a_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "core.toml").write_text("core =")
    with pytest.raises(InvalidInput, match=r"core\.toml") as caught:
        next_core_key(tmp_path, PRESENT.public)
    assert "join TOKEN" in caught.value.hint

    (tmp_path / "core.toml").write_text(f'core_key = "{PRESENT.public}"\nnext_core_key = "x"\n')
    with pytest.raises(InvalidInput, match="public key"):
        next_core_key(tmp_path, PRESENT.public)


def test_a_file_that_cannot_be_read_or_written_is_told(joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corefile, "write_private", full)
    with pytest.raises(EcsError, match="No space"):
        pin_core(joined, PRESENT.public, NEXT.public, known=[PRESENT.public])

    (joined / "core.toml").unlink()
    (joined / "core.toml").mkdir()
    with pytest.raises(EcsError, match="cannot be read"):
        next_core_key(joined, PRESENT.public)


def test_the_log_shows_no_more_of_a_key_than_is_needed(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one = pins(kept, curve(PRESENT.public))

    one.heard(KeyNews(next_key=NEXT.public))
    one.turned()

    assert NEXT.public[:8] in caplog.text
    assert ME.secret not in caplog.text
