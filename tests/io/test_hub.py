"""The core's door, with real sockets: who is let in, what is dropped, who is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import attrs
import pytest

from libecs.access import Principal, Role
from libecs.engine.effects import Disconnected, Input, Received
from libecs.io import hub as hub_module
from libecs.io.bucket import Rate
from libecs.io.hub import INSECURE, UNLIMITED, Hub
from libecs.io.keys import KeyPair
from libecs.io.link import ClientCurve, Context, Dialer, ServerCurve, close_context, new_context
from libecs.io.zap import ECS_DOMAIN, ZapResponder
from libecs.wire.client import CLIENT, Control, Environments, Events, Finished, Lines, Metrics, Ping, Pong, Refused
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.info import Event
from libecs.wire.node import NODE, NodeHello, NodeKeepalive, NodeRefused

LIMIT_S = 40
ALICE = Principal(name="alice", role=Role.OPERATOR, via="client")
N1 = Principal(name="n1", role=Role.NODE, via="node")


class Door:
    """A hub, and what came through it."""

    def __init__(self, *, secure: bool, rate: Rate = UNLIMITED) -> None:
        self.now = 1000.0
        self.context: Context = new_context()
        self.pair = KeyPair.new()
        self.principals: dict[str, Principal] = {}
        self.inputs: list[Input] = []
        self.forgotten: list[str] = []
        self.is_open = True
        self.changed = asyncio.Event()
        self.zap = ZapResponder(self.context, {ECS_DOMAIN: lambda key, address: key in self.principals})
        self.hub = Hub(
            self.context,
            self._take,
            curve=ServerCurve(secret=self.pair.secret, domain=ECS_DOMAIN) if secure else None,
            principal=self.principals.get,
            is_open=lambda: self.is_open,
            on_forgotten=self.forgotten.append,
            client_rate=rate,
            clock=lambda: self.now,
        )
        self.endpoint = self.hub.bind("tcp://127.0.0.1:*")
        self.peers: list[Peer] = []

    def _take(self, input: Input) -> None:
        self.inputs.append(input)
        self.changed.set()

    def dial(self, channel: bytes, who: Principal | None = None, pair: KeyPair | None = None) -> Peer:
        peer = Peer(self, channel, who, pair)
        self.peers.append(peer)
        return peer

    async def until(self, *kinds: type) -> list[Input]:
        """Wait until as many inputs have come, and return them."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.inputs) < len(kinds):
                self.changed.clear()
                await self.changed.wait()
        found, self.inputs = self.inputs, []
        assert [type(one) for one in found] == list(kinds)
        return found

    async def close(self) -> None:
        for peer in self.peers:
            peer.dialer.close()
        self.hub.close()
        self.zap.close()
        close_context(self.context)


class Peer:
    """Somebody who dials the hub."""

    def __init__(self, door: Door, channel: bytes, who: Principal | None, pair: KeyPair | None = None) -> None:
        self.pair = pair or KeyPair.new()
        curve = None
        if who is not None:
            door.principals[self.pair.public] = who
            curve = ClientCurve(public=self.pair.public, secret=self.pair.secret, server=door.pair.public)
        self.answers: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self.up, self.went_down = asyncio.Event(), asyncio.Event()
        self.dialer = Dialer(
            door.context,
            door.endpoint,
            self.answers.put_nowait,
            channel=channel,
            curve=curve,
            on_link=self._linked,
        )
        self.table = NODE if channel == b"node" else CLIENT

    def _linked(self, is_up: bool) -> None:
        if is_up:
            self.up.set()
        else:
            self.up.clear()
            self.went_down.set()

    async def loses_its_link(self) -> None:
        """Wait until it has lost a link; it may have another one by then."""
        await asyncio.wait_for(self.went_down.wait(), LIMIT_S)

    async def say(self, *messages: object) -> None:
        await asyncio.wait_for(self.up.wait(), LIMIT_S)
        for message in messages:
            assert self.dialer.send([VERSION_FRAME, self.table.encode(message)])

    async def say_frames(self, *frames: bytes) -> None:
        await asyncio.wait_for(self.up.wait(), LIMIT_S)
        assert self.dialer.send(list(frames))

    async def hear(self) -> object:
        version, payload = await asyncio.wait_for(self.answers.get(), LIMIT_S)
        assert version == VERSION_FRAME
        return self.table.decode(payload)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door(secure=True)
    yield door
    await door.close()


@pytest.fixture
async def open_door() -> AsyncIterator[Door]:
    door = Door(secure=False)
    yield door
    await door.close()


def hello(node: str) -> NodeHello:
    return NodeHello(node=node, life="1", host="h", attributes={}, cpus=0.0, memory_mb=0.0, ports=(), epoch_seen=0)


def events(*numbers: int, size: int = 0) -> Events:
    return Events(events=tuple(Event(sequence=n, unix_ms=1, kind="tasks", text="x" * size) for n in numbers))


async def test_a_client_is_who_its_key_says_whatever_it_says(door: Door) -> None:
    alice = door.dial(b"client", ALICE)

    await alice.say(Ping(request="1"))

    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    assert (received.principal, received.message) == (ALICE, Ping(request="1"))
    assert received.peer.startswith("client:")
    assert "alice" not in received.peer
    door.hub.send(received.peer, Pong(request="1", unix_ms=1, sequence=2, epoch=3))
    assert await alice.hear() == Pong(request="1", unix_ms=1, sequence=2, epoch=3)
    assert door.hub.peers == {"client": 1}


async def test_a_key_that_is_revoked_counts_for_the_next_message_and_gets_nothing_more(door: Door) -> None:
    alice, bob = door.dial(b"client", ALICE), door.dial(b"client", Principal(name="bob", role=Role.VIEWER))
    await alice.say(Ping(request="1"))
    (first,) = await door.until(Received)
    assert isinstance(first, Received)

    del door.principals[alice.pair.public]
    door.hub.recheck()
    door.hub.send(first.peer, events(1))
    await alice.say(Ping(request="2"))
    await bob.say(Ping(request="3"))

    gone, received = await door.until(Disconnected, Received)
    assert gone == Disconnected(first.peer, "its key was revoked")
    assert isinstance(received, Received)
    assert received.principal.name == "bob"
    assert door.forgotten == [first.peer]
    assert alice.answers.empty()


async def test_a_role_that_changes_counts_for_the_next_message(door: Door) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    await door.until(Received)

    door.principals[alice.pair.public] = Principal(name="alice", role=Role.VIEWER)
    await alice.say(Ping(request="2"))

    (second,) = await door.until(Received)
    assert isinstance(second, Received)
    assert second.principal.role is Role.VIEWER


async def test_nodes_and_clients_keep_to_their_channels(door: Door) -> None:
    wrong_node, wrong_client = door.dial(b"client", N1), door.dial(b"node", ALICE)
    good = door.dial(b"node", N1)

    await wrong_node.say(Ping(request="1"))
    await wrong_client.say(hello("alice"))
    await good.say(hello("n1"))

    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    assert received.principal == N1
    assert received.peer.startswith("node:")
    async with asyncio.timeout(LIMIT_S):
        while door.hub.dropped["wrong channel"] < 2:
            await good.say(NodeKeepalive(session=1, sequence=0))
            await door.until(Received)


async def test_a_node_is_told_that_it_may_not_have_anothers_name(door: Door) -> None:
    node = door.dial(b"node", N1)

    await node.say(hello("n2"))

    refused = await node.hear()
    assert isinstance(refused, NodeRefused)
    assert refused.reason == "your key is that of node n1, and you say you are n2"
    assert door.inputs == []
    assert door.hub.dropped["another node's name"] == 1


async def test_what_is_no_message_is_dropped_and_counted_and_the_next_one_counts(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    alice = door.dial(b"client", ALICE)

    for frames in (
        [b"", b""],
        [VERSION_FRAME],
        [b"\x09", CLIENT.encode(Ping(request="x"))],
        [VERSION_FRAME, b""],
        [VERSION_FRAME, b"\xc1" * 100],
        [VERSION_FRAME, b"\x91" * 5000],
        [VERSION_FRAME, b"\x91\x7f"],
    ):
        await alice.say_frames(*frames)
    await alice.say(Ping(request="good"))

    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    assert received.message == Ping(request="good")
    assert door.hub.undecodable == {"alice": 7}
    assert door.hub.dropped["undecodable"] == 7
    assert len(caplog.records) == 1  # not one line for each


async def test_while_nobody_can_be_known_nothing_comes_in(door: Door) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    await door.until(Received)

    door.is_open = False
    await alice.say(Ping(request="2"))
    async with asyncio.timeout(LIMIT_S):
        while not door.hub.dropped["nobody can be known"]:
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    door.is_open = True
    await alice.say(Ping(request="3"))

    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    assert received.message == Ping(request="3")


async def test_a_peer_that_is_gone_is_forgotten_when_something_is_sent_to_it(door: Door) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)

    alice.dialer.close()
    async with asyncio.timeout(LIMIT_S):
        while not door.inputs:
            door.hub.send(received.peer, events(1))
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)

    (gone,) = await door.until(Disconnected)
    assert gone == Disconnected(received.peer, "it is gone")
    assert door.hub.peers == {}
    door.hub.send(received.peer, events(2))  # harmless


async def test_who_is_silent_is_forgotten_and_may_come_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)

    monkeypatch.setattr(hub_module, "SILENT_S", -1.0)
    (gone,) = await door.until(Disconnected)
    monkeypatch.undo()
    await alice.say(Ping(request="2"))

    assert gone == Disconnected(received.peer, "it was silent for -1 s")
    (again,) = await door.until(Received)
    assert isinstance(again, Received)
    assert again.peer == received.peer


async def test_after_a_pause_of_our_own_nobody_was_silent(door: Door) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    await door.until(Received)

    door.hub._looked_at -= 3600  # so long were we stopped
    for peer in door.hub._peers.values():
        peer.heard -= 3600
    door.hub._look()

    assert door.inputs == []
    assert door.hub.peers == {"client": 1}


async def test_a_slow_client_gets_no_more_events_and_no_telemetry_but_its_answers(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    waiting = 0
    monkeypatch.setattr(door.hub.router, "waiting", lambda peer: waiting)

    door.hub.send(received.peer, events(1))
    waiting = hub_module.MAX_BEHIND + 1
    door.hub.send(received.peer, events(2))
    waiting = 1
    door.hub.send(received.peer, events(3))  # not before it has caught up with all
    door.hub.send(received.peer, Finished(operation="o"))
    waiting = hub_module.MAX_TELEMETRY_BEHIND + 1
    door.hub.send(received.peer, Metrics(environment="e", run=1, metrics=()))
    door.hub.send(received.peer, Lines(environment="e", run=1, lines=()))
    assert door.hub.is_behind(received.peer)
    waiting = 0
    door.hub.send(received.peer, events(4))

    assert not door.hub.is_behind(received.peer)
    assert [await alice.hear() for _ in range(3)] == [events(1), Finished(operation="o"), events(4)]
    assert door.hub.dropped["slow subscriber"] == 2


async def test_a_client_that_asks_and_does_not_listen_gets_no_answers_either(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    waiting = hub_module.MAX_ANSWERS_BEHIND + 1
    monkeypatch.setattr(door.hub.router, "waiting", lambda peer: waiting)

    door.hub.send(received.peer, Finished(operation="dropped"))
    waiting = 0
    door.hub.send(received.peer, Finished(operation="heard"))

    assert await alice.hear() == Finished(operation="heard")
    assert door.hub.dropped["client that does not listen"] == 1


async def test_a_message_that_is_too_large_for_a_node_is_dropped(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    node = door.dial(b"node", N1)
    await node.say(hello("n1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)
    monkeypatch.setattr(hub_module, "MAX_FRAME_BYTES", 1024)

    door.hub.send(received.peer, NodeRefused(epoch=1, reason="r" * 2000))
    door.hub.send(received.peer, NodeRefused(epoch=2, reason="short"))

    assert await node.hear() == NodeRefused(epoch=2, reason="short")
    assert door.hub.dropped["too large"] == 1


async def test_an_answer_that_no_message_can_hold_is_refused_with_a_hint(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "MAX_FRAME_BYTES", 1024)
    alice = door.dial(b"client", ALICE)
    await alice.say(Ping(request="1"))
    (received,) = await door.until(Received)
    assert isinstance(received, Received)

    door.hub.send(received.peer, Environments(request="r" * 2000, sequence=1, environments=()))

    refused = await alice.hear()
    assert isinstance(refused, Refused)
    assert refused.request == "r" * 2000
    assert refused.hint == "ask for one environment, or without its tasks"


async def test_one_encoding_serves_all_subscribers(door: Door) -> None:
    clients = [door.dial(b"client", ALICE) for _ in range(2)]
    for client in clients:
        await client.say(Ping(request="1"))
    received = await door.until(Received, Received)

    same = events(1)
    for one in received:
        assert isinstance(one, Received)
        door.hub.send(one.peer, Events(events=same.events))

    assert [await client.hear() for client in clients] == [same, same]


async def test_without_keys_clients_are_insecure_and_nodes_who_they_say(open_door: Door) -> None:
    client, node = open_door.dial(b"client"), open_door.dial(b"node")

    await client.say(Ping(request="1"))
    (asked,) = await open_door.until(Received)
    await node.say(hello("n7"), NodeKeepalive(session=1, sequence=0))
    greeted, kept = await open_door.until(Received, Received)

    assert isinstance(asked, Received)
    assert asked.principal == INSECURE
    assert isinstance(greeted, Received)
    assert isinstance(kept, Received)
    assert greeted.principal == kept.principal == Principal(name="n7", role=Role.NODE, via="node")
    open_door.hub.recheck()
    assert open_door.inputs == []


# who asks too often


@pytest.fixture
async def strict_door() -> AsyncIterator[Door]:
    door = Door(secure=True, rate=Rate(1.0, 3.0))
    yield door
    await door.close()


async def test_a_client_that_asks_too_often_is_told_so_and_asks_again_later(strict_door: Door) -> None:
    alice = strict_door.dial(b"client", ALICE)
    control = Control(operation="op", environment="e", event="RESET")

    await alice.say(*(Ping(request=str(n)) for n in range(4)), control)
    busy, refused = await alice.hear(), await alice.hear()

    await strict_door.until(Received, Received, Received)
    assert isinstance(busy, Refused)
    assert (busy.request, busy.code) == ("3", "E_BUSY")
    assert isinstance(refused, Finished)
    assert (refused.operation, refused.code) == ("op", "E_BUSY")

    strict_door.now += 1.0
    await alice.say(control)
    (received,) = await strict_door.until(Received)
    assert isinstance(received, Received)
    assert received == Received(received.peer, control, ALICE)


async def test_all_clients_of_a_key_share_and_other_keys_do_not(strict_door: Door) -> None:
    alice = strict_door.dial(b"client", ALICE)
    other = strict_door.dial(b"client", ALICE, alice.pair)
    bob = strict_door.dial(b"client", attrs.evolve(ALICE, name="bob"))

    await alice.say(*(Ping(request=str(n)) for n in range(3)))
    await strict_door.until(Received, Received, Received)
    await other.say(Ping(request="too many"))
    assert isinstance(await other.hear(), Refused)
    await bob.say(Ping(request="mine"))

    (received,) = await strict_door.until(Received)
    assert isinstance(received, Received)
    assert received.message == Ping(request="mine")


async def test_nodes_may_say_as_much_as_they_have_to(strict_door: Door) -> None:
    node = strict_door.dial(b"node", N1)

    await node.say(hello("n1"), *(NodeKeepalive(session=1, sequence=n) for n in range(100)))

    await strict_door.until(*[Received] * 101)


async def test_a_client_that_floods_is_hung_up_on_and_may_come_back(strict_door: Door) -> None:
    alice = strict_door.dial(b"client", ALICE)

    await alice.say(*(Ping(request=str(n)) for n in range(100)))
    await alice.loses_its_link()
    assert strict_door.hub.dropped["client that asks too often"] == 15
    assert strict_door.hub.dropped["client that floods"]  # of what else was on its way, some is lost with the link
    await strict_door.until(Received, Received, Received)

    strict_door.now += 10.0
    await alice.say(Ping(request="again"))
    (received,) = await strict_door.until(Received)
    assert isinstance(received, Received)
    assert received.message == Ping(request="again")


async def test_a_client_whose_first_word_is_lost_in_a_flood_of_its_key_loses_its_link_too(strict_door: Door) -> None:
    flooder = strict_door.dial(b"client", ALICE)
    honest = strict_door.dial(b"client", ALICE, flooder.pair)
    await flooder.say(*(Ping(request=str(n)) for n in range(18)))
    await strict_door.until(Received, Received, Received)
    for _ in range(15):
        assert isinstance(await flooder.hear(), Refused)

    await honest.say(Ping(request="lost"))
    await honest.loses_its_link()

    strict_door.now += 10.0
    await honest.say(Ping(request="again"))
    (received,) = await strict_door.until(Received)
    assert isinstance(received, Received)
    assert received.message == Ping(request="again")


async def test_without_keys_each_client_counts_for_itself() -> None:
    door = Door(secure=False, rate=Rate(1.0, 3.0))
    try:
        alice, bob = door.dial(b"client"), door.dial(b"client")
        await alice.say(*(Ping(request=str(n)) for n in range(4)))
        await door.until(Received, Received, Received)
        assert isinstance(await alice.hear(), Refused)
        await bob.say(Ping(request="mine"))
        await door.until(Received)
    finally:
        await door.close()


async def test_a_message_of_very_many_parts_is_not_kept_and_ends_its_link(door: Door) -> None:
    alice, bob = door.dial(b"client", ALICE), door.dial(b"client", attrs.evolve(ALICE, name="bob"))

    await alice.say_frames(*[b""] * 20_000)
    await alice.loses_its_link()
    await bob.say(Ping(request="mine"))

    await door.until(Received)
    assert door.hub.undecodable["alice"] == 1
