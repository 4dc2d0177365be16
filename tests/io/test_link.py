"""ROUTER sockets on an event loop, by their edge-triggered file descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio
import zmq

from libecs.io.link import MAX_PUMP_FRAMES, Router, new_context, raise_limits, version
from libecs.io.link.pump import Pump
from libecs.wire.codec import MAX_FRAME_BYTES

Context = zmq.Context[zmq.Socket[bytes]]


class Mailbox:
    """Keeps what comes and lets one wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, list[bytes]]] = []
        self.links: list[tuple[str, bool]] = []
        self._changed = asyncio.Event()

    def take(self, peer: bytes, frames: list[bytes]) -> None:
        self.messages.append((peer, frames))
        self._changed.set()

    def watch(self, endpoint: str, up: bool) -> None:
        self.links.append((endpoint, up))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)


@pytest_asyncio.fixture
async def pair(context: Context, folder: Path) -> AsyncIterator[tuple[Router, Mailbox, Router, Mailbox, str]]:
    here, there = Mailbox(), Mailbox()
    dialler = Router(context, here.take, on_link=here.watch)
    listener = Router(context, there.take)
    endpoint = f"ipc://{folder}/s"
    yield dialler, here, listener, there, endpoint
    dialler.close()
    listener.close()


Pair = tuple[Router, Mailbox, Router, Mailbox, str]


async def test_a_message_sent_before_the_peer_binds_arrives_when_it_does(pair: Pair) -> None:
    dialler, here, listener, there, endpoint = pair

    dialler.connect(endpoint, b"task", identity=b"dialler")
    assert dialler.send(b"task", [b"hello"])
    listener.bind(endpoint)
    await there.until(lambda: there.messages != [])
    assert listener.send(b"dialler", [b"ap", b"plause"])
    await here.until(lambda: here.messages != [])

    assert there.messages == [(b"dialler", [b"hello"])]
    assert here.messages == [(b"task", [b"ap", b"plause"])]


async def test_a_flood_arrives_whole_and_in_order_while_both_sides_send(pair: Pair) -> None:
    """The case that loses edges: sends and receives interleave, each may eat the other's wake-up."""
    dialler, here, listener, there, endpoint = pair
    n = 20 * MAX_PUMP_FRAMES
    echo = there.take

    def answer(peer: bytes, frames: list[bytes]) -> None:
        echo(peer, frames)
        listener.send(peer, frames)

    listener._on_message = answer
    listener.bind(endpoint)
    dialler.connect(endpoint, b"task", identity=b"dialler")
    for i in range(n):
        dialler.send(b"task", [str(i).encode()])
        if i % 100 == 0:
            await asyncio.sleep(0)
    await here.until(lambda: len(here.messages) == n)

    assert [int(frames[0]) for _, frames in here.messages] == list(range(n))
    assert (dialler.sent, dialler.received, dialler.dropped) == (n, n, 0)


class Silent:
    """A ROUTER whose descriptor tells nothing: one message is there, and its edge is eaten."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages = [zmq.Frame(b"question")]

    def getsockopt(self, option: int) -> int:
        return self._descriptor if option == zmq.FD else int(zmq.ROUTER)

    def recv(self, flags: int, copy: bool) -> zmq.Frame:
        if not self._messages:
            raise zmq.Again
        return self._messages.pop()


async def test_what_is_refused_while_messages_are_taken_is_tried_again_though_nothing_more_comes() -> None:
    waiting: list[object] = []
    tried = asyncio.Event()

    def take(parts: list[object]) -> None:
        waiting.append(parts)  # the answer to it, which its peer does not take now
        pump.held()

    def flush() -> bool:
        if waiting:
            tried.set()
        return bool(waiting)

    silent, other = os.pipe()
    pump = Pump(Silent(silent), take, flush)  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(tried.wait(), 30)
    finally:
        pump.close()
        os.close(silent)
        os.close(other)


async def test_messages_that_come_together_are_gathered_and_answered_together(context: Context, folder: Path) -> None:
    """Answers are sent from within the pump: it must look again, or what comes meanwhile would wait for ever."""
    here, told = Mailbox(), list[object]()
    waiting: list[bytes] = []

    def take(peer: bytes, frames: list[bytes]) -> None:
        told.append(frames[0])
        waiting.append(frames[0])

    def gather(more: bool) -> None:
        told.append(more)
        if not more:
            while waiting:
                listener.send(b"dialler", [waiting.pop(0)])

    dialler, listener = Router(context, here.take), Router(context, take, gather=gather)
    listener.bind(f"ipc://{folder}/s")
    dialler.connect(f"ipc://{folder}/s", b"task", identity=b"dialler")
    n = 2 * MAX_PUMP_FRAMES
    for i in range(n):
        dialler.send(b"task", [str(i).encode()])
        if i % 50 == 0:
            await asyncio.sleep(0)
    await here.until(lambda: len(here.messages) == n)

    assert [int(frames[0]) for _, frames in here.messages] == list(range(n))
    marks = [one for one in told if isinstance(one, bool)]
    assert marks == [True, False] * (len(marks) // 2)
    assert told[0] is True
    assert told[-1] is False
    assert len(marks) // 2 < n
    dialler.close()
    listener.close()


async def test_a_pump_leaves_turns_to_others(pair: Pair) -> None:
    dialler, _, listener, there, endpoint = pair
    listener.bind(endpoint)
    dialler.connect(endpoint, b"task", identity=b"dialler")
    for i in range(4 * MAX_PUMP_FRAMES):
        dialler.send(b"task", [str(i).encode()])
    per_turn: list[int] = []
    seen = 0

    while seen < 4 * MAX_PUMP_FRAMES:
        await asyncio.sleep(0)
        per_turn.append(len(there.messages) - seen)
        seen = len(there.messages)

    assert max(per_turn) <= MAX_PUMP_FRAMES


async def test_a_peer_that_takes_nothing_gets_a_queue_with_an_end_and_others_do_not_notice(
    context: Context, folder: Path
) -> None:
    box = Mailbox()
    router = Router(context, box.take, high_water=10, max_queued=5)
    slow = context.socket(zmq.ROUTER)
    slow.setsockopt(zmq.RCVHWM, 10)
    slow.setsockopt(zmq.ROUTING_ID, b"slow")
    good_box = Mailbox()
    good = Router(context, good_box.take)
    good.bind(f"ipc://{folder}/good")
    router.connect(f"ipc://{folder}/good", b"good", identity=b"dialler")
    router.connect(f"ipc://{folder}/slow", b"slow", identity=b"me")  # nobody binds it yet: ZeroMQ keeps 10

    accepted = sum(router.send(b"slow", [str(i).encode()]) for i in range(100))

    assert accepted == 15
    assert (router.queued, router.dropped) == (5, 85)
    assert (router.waiting(b"slow"), router.waiting(b"good")) == (5, 0)
    assert router.send(b"good", [b"x"])
    await good_box.until(lambda: good_box.messages != [])

    slow.bind(f"ipc://{folder}/slow")
    thread = threading.Thread(target=lambda: [slow.recv_multipart() for _ in range(15)])
    thread.start()
    while router.queued:  # the file descriptor of the router wakes it
        await asyncio.wait_for(asyncio.sleep(0), 30)
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()

    slow.close(linger=0)
    good.close()
    router.close()


async def test_an_unknown_peer_is_said_to_be_one(pair: Pair) -> None:
    dialler = pair[0]

    assert dialler.send(b"nobody", [b"x"]) is False
    assert dialler.dropped == 1


async def test_links_that_go_up_and_down_are_reported_by_endpoint(pair: Pair) -> None:
    dialler, here, listener, _, endpoint = pair

    dialler.connect(endpoint, b"task", identity=b"dialler")
    listener.bind(endpoint)
    await here.until(lambda: here.links == [(endpoint, True)])
    listener.close()
    await here.until(lambda: here.links == [(endpoint, True), (endpoint, False)])


async def test_a_frame_that_is_too_large_ends_the_link_and_nothing_else(pair: Pair, context: Context) -> None:
    dialler, _here, listener, there, endpoint = pair
    listener.bind(endpoint)
    hostile = context.socket(zmq.DEALER)
    hostile.connect(endpoint)
    dialler.connect(endpoint, b"task", identity=b"dialler")

    hostile.send(bytes(MAX_FRAME_BYTES + 1))
    dialler.send(b"task", [b"fine"])
    await there.until(lambda: there.messages != [])

    assert there.messages == [(b"dialler", [b"fine"])]
    hostile.close(linger=0)


async def test_after_disconnect_nothing_is_sent_and_the_endpoint_can_be_dialled_anew(pair: Pair) -> None:
    dialler, _, listener, there, endpoint = pair
    dialler.connect(endpoint, b"one", identity=b"dialler")
    dialler.disconnect(endpoint, b"one")
    dialler.disconnect(endpoint, b"one")  # harmless
    dialler.connect(endpoint, b"two", identity=b"again")
    listener.bind(endpoint)

    dialler.send(b"two", [b"x"])
    await there.until(lambda: there.messages != [])

    assert there.messages == [(b"again", [b"x"])]


async def test_a_closed_router_sends_nothing_and_closes_twice(pair: Pair) -> None:
    dialler = pair[0]
    dialler.close()
    dialler.close()

    assert dialler.send(b"task", [b"x"]) is False


async def test_bind_tells_the_port_that_was_chosen(context: Context) -> None:
    router = Router(context, Mailbox().take)

    endpoint = router.bind("tcp://127.0.0.1:*")

    assert int(endpoint.rpartition(":")[2]) > 0
    router.close()


def test_limits_are_raised_to_what_is_allowed() -> None:
    raise_limits()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
    assert version().startswith("4.")


def test_a_context_allows_many_sockets() -> None:
    context = new_context()
    assert context.get(zmq.MAX_SOCKETS) > 10_000
    context.term()


async def test_messages_that_wait_to_be_received_take_no_more_room_than_they_need(
    context: Context, folder: Path
) -> None:
    def most_kb() -> int:
        """Return the most memory that this process had since the last look."""
        with open("/proc/self/status", encoding="ascii") as file:
            most = int(file.read().partition("VmHWM:")[2].split()[0])
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return most

    busy = context.socket(zmq.ROUTER)
    busy.setsockopt(zmq.RCVHWM, 100_000)
    busy.bind(f"ipc://{folder}/busy")
    other = zmq.Context()
    peers = [other.socket(zmq.DEALER) for _ in range(20)]
    for peer in peers:
        peer.connect(f"ipc://{folder}/busy")
    most_kb()
    before = most_kb()

    for _ in range(200):
        for peer in peers:
            peer.send_multipart([b"\x01", b"x" * 120])
        await asyncio.sleep(0.001)  # so that each is read by itself
    other.destroy(linger=30_000)
    for _ in range(4000):  # all were there before the first is taken
        assert busy.poll(30_000)
        busy.recv_multipart()

    grown = most_kb() - before
    assert grown < 16_000, f"4000 messages of 120 bytes take {grown} kB"
    busy.close(linger=0)
