"""An executor's two links to its core, over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from libecs.engine.effects import Connected, Disconnected, Input, Received
from libecs.engine.outbox import CORE, TELEMETRY
from libecs.io.link import Context, Origin, Refusal, Router, Trouble
from libecs.io.memory import MemoryLink
from libecs.io.uplink import TELEMETRY_HIGH_WATER, TELEMETRY_QUEUED, TcpUplink, Uplink
from libecs.wire.codec import MAX_FRAME_BYTES, VERSION_FRAME
from libecs.wire.node import NODE, NodeKeepalive, NodeRefused, TaskTelemetry, Telemetry, Welcome
from libecs.wire.telemetry import LogLine, Severity
from tests.io.places import bind_again, own_host

WELCOME = Welcome(version=1, epoch=1, session=1, instance="i")


class Rig:
    """A core's ROUTER, and an uplink to it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.seen: list[tuple[bytes, object]] = []
        self.inputs: list[Input] = []
        self.heard: list[object] = []
        self._changed = asyncio.Event()
        self.router = self._open()
        self.endpoint = self.router.bind(f"tcp://{own_host()}:*")
        self.uplink = TcpUplink(
            context,
            self.endpoint,
            None,
            on_trouble=self._hear,
            on_welcome=self._hear,
            on_refused=self._hear,
            on_link=self._hear,
        )

    def _open(self) -> Router:
        # Who sends more than we take is held up at once.
        return Router(self.context, None, on_traced=self._take, heartbeats=True, receive_high_water=10)

    async def come_back(self) -> None:
        self.router = self._open()
        await bind_again(self.router, self.endpoint)

    def _hear(self, what: object) -> None:
        self.heard.append(what)
        self._changed.set()

    def put(self, input: Input) -> None:
        self.inputs.append(input)
        self._changed.set()

    def _take(self, peer: bytes, frames: list[bytes], _origin: Origin) -> None:
        channel, version, payload = frames
        assert (channel, version) == (b"node", VERSION_FRAME)
        self.seen.append((peer, NODE.decode(payload)))
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def answer(self, *frames: bytes) -> None:
        self.router.send(self.seen[-1][0], frames)


@pytest_asyncio.fixture
async def rig(context: Context) -> AsyncIterator[Rig]:
    rig = Rig(context)
    yield rig
    rig.uplink.detach()
    rig.router.close()


KEEPALIVE = NodeKeepalive(session=1, sequence=1)


async def test_what_comes_and_goes_are_inputs_of_the_engine(rig: Rig) -> None:
    rig.uplink.send(CORE, KEEPALIVE)  # before there is a link: lost
    rig.uplink.attach(rig.put)
    await rig.until(lambda: Connected(CORE) in rig.inputs)
    rig.uplink.send(CORE, KEEPALIVE)
    await rig.until(lambda: rig.seen)
    rig.answer(VERSION_FRAME, NODE.encode(WELCOME))
    await rig.until(lambda: Received(CORE, WELCOME) in rig.inputs)
    rig.answer(VERSION_FRAME, NODE.encode(NodeRefused(epoch=1, reason="no")))
    await rig.until(lambda: len(rig.inputs) == 3)

    rig.router.close()
    await rig.until(lambda: Disconnected(CORE, "link lost") in rig.inputs)
    rig.uplink.send(CORE, KEEPALIVE)  # lost
    await rig.come_back()
    await rig.until(lambda: rig.inputs.count(Connected(CORE)) == 2)

    assert len(rig.seen) == 1
    told = [one for one in rig.heard if not isinstance(one, Trouble)]
    assert told == [True, WELCOME, NodeRefused(epoch=1, reason="no"), False, True]
    assert rig.uplink.up
    assert rig.uplink.trouble is None


async def test_why_there_is_no_core_is_told(rig: Rig) -> None:
    rig.router.close()

    rig.uplink.attach(rig.put)
    # The port may live for a moment, and a machine that stands still looks like a silent one.
    await rig.until(lambda: any(isinstance(one, Trouble) and one.refusal is Refusal.REFUSED for one in rig.heard))

    trouble = rig.heard[-1]
    assert rig.uplink.trouble == trouble
    assert not rig.uplink.up


async def test_what_is_no_message_is_counted_and_dropped(rig: Rig) -> None:
    rig.uplink.attach(rig.put)
    await rig.until(lambda: rig.uplink.up)
    rig.uplink.send(CORE, KEEPALIVE)
    await rig.until(lambda: rig.seen)

    for frames in ((b"",), (VERSION_FRAME, b"\xc1"), (b"\x09", NODE.encode(WELCOME)), (VERSION_FRAME, b"a", b"b")):
        rig.answer(*frames)
    rig.answer(VERSION_FRAME, NODE.encode(WELCOME))
    await rig.until(lambda: WELCOME in rig.heard)

    assert rig.uplink.undecodable == 4
    assert [input for input in rig.inputs if isinstance(input, Received)] == [Received(CORE, WELCOME)]


def bulletin(number: int, size: int = 10) -> Telemetry:
    line = LogLine(severity=Severity.INFO, text="x" * size, unix_ms=number)
    return Telemetry(session=number, tasks=(TaskTelemetry(task="t", run=1, lines=(line,)),))


async def test_telemetry_goes_by_a_link_of_its_own_and_the_oldest_is_dropped_when_it_is_slow(rig: Rig) -> None:
    rig.uplink.attach(rig.put)
    await rig.until(lambda: rig.uplink.up)
    async with asyncio.timeout(30):
        while not rig.uplink.telemetry_up:
            await asyncio.sleep(0)
    count = 50 * (TELEMETRY_HIGH_WATER + TELEMETRY_QUEUED)
    for number in range(count):
        rig.uplink.send(TELEMETRY, bulletin(number, 40_000))
    rig.uplink.send(CORE, KEEPALIVE)
    await rig.until(lambda: KEEPALIVE in [message for _, message in rig.seen])
    await rig.until(lambda: [one for _, one in rig.seen if one == bulletin(count - 1, 40_000)])

    told = [one.session for _, one in rig.seen if isinstance(one, Telemetry)]
    assert told == sorted(told)
    assert rig.uplink.dropped == count - len(told) > 0
    assert len({peer for peer, _ in rig.seen}) == 2


async def test_what_is_too_large_for_the_core_is_not_sent_and_the_link_stays(rig: Rig) -> None:
    rig.uplink.attach(rig.put)
    await rig.until(lambda: rig.uplink.up)

    rig.uplink.send(CORE, bulletin(1, MAX_FRAME_BYTES + 1))
    rig.uplink.send(CORE, KEEPALIVE)
    await rig.until(lambda: rig.seen)

    assert [message for _, message in rig.seen] == [KEEPALIVE]


async def test_after_detach_nothing_comes(rig: Rig) -> None:
    rig.uplink.attach(rig.put)
    await rig.until(lambda: rig.uplink.up)

    rig.uplink.detach()
    rig.uplink.send(CORE, KEEPALIVE)

    assert not rig.uplink.up
    assert rig.uplink.dropped == 0
    assert rig.uplink.trouble is None


def test_an_uplink_in_memory_is_the_same_to_an_executor() -> None:
    at_core: list[Input] = []
    at_node: list[Input] = []
    link = MemoryLink(NODE, at_core.append, hub_name=CORE)
    uplink: Uplink = link.uplink("n1")

    uplink.attach(at_node.append)
    uplink.send(CORE, KEEPALIVE)
    uplink.send(TELEMETRY, KEEPALIVE)
    link.to_peer("n1", WELCOME)
    uplink.detach()
    uplink.send(CORE, KEEPALIVE)

    assert at_core == [Received("n1", KEEPALIVE)] * 2
    assert at_node == [Connected(CORE), Received(CORE, WELCOME), Disconnected(CORE, "")]
