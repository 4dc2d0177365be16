"""One peer over real TCP with CURVE: up, down, full, revoked and stopped."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import zmq

from libecs.errors import Conflict, InvalidInput
from libecs.io.link import (
    MAX_PUMP_FRAMES,
    Context,
    Refusal,
)
from libecs.io.link import dialer as dialer_module
from libecs.io.link.dialer import pause_s
from tests.io.dialer.hall import (
    CLIENT_KEYS,
    IN_TIME_S,
    SERVER_KEYS,
    SLOW,
    Dial,
    Hall,
    Server,
    known,
    up,
)
from tests.io.places import refusing

pytestmark = pytest.mark.timeout(150)


# up and down


async def test_a_message_comes_with_key_and_address_of_its_sender_behind_the_channel(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    await up(client)

    assert client.dialer.send([b"\x01", b"hello"])
    await client.until(lambda: client.messages != [])

    ((_, frames, key, address),) = hall.server.seen
    assert (frames, key, address) == ([b"node", b"\x01", b"hello"], CLIENT_KEYS[0], "127.0.0.1")
    assert client.messages == [[b"\x01", b"hello"]]
    assert (client.links, client.troubles) == ([True], [])
    assert client.dialer.local_address == "127.0.0.1"


async def test_a_flood_both_ways_comes_whole_and_in_order(hall: Hall, dial: Dial) -> None:
    """Sends and receives interleave: each may eat the other's edge."""
    client = dial(hall.endpoint, known())
    await client.until(lambda: client.links == [True])
    n = 10 * MAX_PUMP_FRAMES

    for i in range(n):
        assert client.dialer.send([str(i).encode()])
        if i % 64 == 0:
            await asyncio.sleep(0)
    await client.until(lambda: len(client.messages) == n)

    assert [int(frames[0]) for frames in client.messages] == list(range(n))


async def test_questions_one_after_the_other_are_all_answered(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    await client.until(lambda: client.links == [True])

    for i in range(300):
        client.dialer.send([str(i).encode()])
        await client.until(lambda: len(client.messages) > i)  # noqa: B023 # is called in this turn

    assert client.messages[-1] == [b"299"]


async def test_a_dialer_without_descriptors_dials_again_later(
    hall: Hall, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = dial(hall.endpoint, known(), random=lambda: 0.0)
    await up(client)
    tried: list[int] = []
    make = Context.socket

    def none_left(context: Context, kind: int) -> object:
        if kind == zmq.DEALER and len(tried) < 2:
            tried.append(kind)
            raise zmq.ZMQError(errno.EMFILE)
        return make(context, kind)

    monkeypatch.setattr(zmq.Context, "socket", none_left)
    hall.stop()
    await client.until(lambda: not client.dialer.up)
    await hall.start_again()

    await up(client)
    assert len(tried) == 2


async def test_what_is_sent_while_the_link_is_down_is_refused_and_never_comes_later(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    assert client.dialer.send([b"too early"]) is False
    await up(client)
    hall.stop()
    await client.until(lambda: not client.dialer.up)

    assert client.dialer.send([b"too late"]) is False
    await hall.start_again()
    await up(client)
    client.dialer.send([b"now"])
    await client.until(lambda: client.messages != [])

    assert client.links == [True, False, True]
    assert [frames for _, frames, _, _ in hall.server.seen] == [[b"node", b"now"]]


async def test_each_connection_is_a_new_peer(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    for count in (1, 2):
        await up(client)
        client.dialer.send([b"x"])
        await client.until(lambda count=count: len(client.messages) == count)  # type: ignore[misc] # a default
        first = [peer for peer, *_ in hall.server.seen]
        if count == 1:
            hall.stop()
            await client.until(lambda: not client.dialer.up)
            seen = first
            await hall.start_again()

    assert seen != [peer for peer, *_ in hall.server.seen]


def test_pauses_between_attempts_grow_to_a_limit_and_depend_on_chance() -> None:
    assert [pause_s(n, 0.6, 0.5) for n in range(5)] == [0.1, 0.2, 0.4, 0.6, 0.6]
    assert [pause_s(3, 0.6, 0.0), pause_s(3, 0.6, 1.0)] == pytest.approx([0.3, 0.9])


async def test_what_stays_wrong_is_told_once(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer_module, "TELL_AGAIN_S", float("inf"))
    tries: list[float] = []

    def random() -> float:
        tries.append(0.0)
        client.changed.set()
        return -0.5  # no pause at all

    with refusing() as endpoint:
        client = dial(endpoint, known(), random=random)
        await client.first_trouble()
        already = len(tries)
        await client.until(lambda: len(tries) > already + 3)

    assert client.dialer.trouble is not None
    assert len([one for one in client.troubles if one.refusal not in SLOW]) == 1


@pytest_asyncio.fixture
async def narrow_hall() -> AsyncIterator[Hall]:
    """A server that takes what the kernel holds, and no more before it is asked."""
    hall = Hall(receive_high_water=10)
    yield hall
    hall.close()


async def test_a_full_queue_drops_what_is_old_or_what_is_new(narrow_hall: Hall, dial: Dial) -> None:
    hall = narrow_hall
    slow = dial(hall.endpoint, known(), high_water=1, max_queued=2)
    lossy = dial(hall.endpoint, known(), high_water=1, max_queued=2, drop_oldest=True)
    await up(slow)
    await up(lossy)

    taken = [slow.dialer.send([bytes(1_000_000), str(i).encode()]) for i in range(100)]
    all_taken = [lossy.dialer.send([bytes(1_000_000), str(i).encode()]) for i in range(100)]

    assert not all(taken)
    assert slow.dialer.dropped == taken.count(False)
    assert all(all_taken)
    assert lossy.dialer.dropped > 0
    await lossy.until(lambda: len(lossy.messages) == 100 - lossy.dialer.dropped)
    assert lossy.messages[-1][1] == b"99"


# what a server may do about its peers


async def test_whoever_revokes_a_key_can_end_its_connection_and_it_does_not_come_back(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    await up(client)

    hall.allowed.clear()
    hall.server.hang_up = True
    client.dialer.send([b"x"])
    trouble = await client.first_trouble()

    assert trouble.refusal is Refusal.WRONG_KEY
    assert client.links == [True, False]


async def test_an_address_has_no_more_connections_than_it_may(dial: Dial) -> None:
    hall = Hall(max_per_address=3)
    clients = [dial(hall.endpoint, known()) for _ in range(3)]
    for client in clients:
        await up(client)
    async with asyncio.timeout(IN_TIME_S):
        while hall.server.router.connections != 3:  # nothing tells of it
            await asyncio.sleep(0.01)

    one_more = dial(hall.endpoint, known())
    async with asyncio.timeout(IN_TIME_S):
        while hall.server.router.refused < 2:
            await asyncio.sleep(0.01)
    await one_more.until(lambda: not one_more.dialer.up)  # it may be up for a moment, until it is hung up on

    clients[0].dialer.close()
    await one_more.until(lambda: one_more.dialer.up)
    assert all(client.dialer.up for client in clients[1:])
    hall.close()


async def test_a_peer_that_is_gone_is_told_at_the_next_message_to_it(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, known())
    await up(client)
    client.dialer.send([b"x"])
    await client.until(lambda: client.messages != [])
    peer = hall.server.seen[0][0]
    client.dialer.close()

    async with asyncio.timeout(IN_TIME_S):
        while not hall.server.gone:
            hall.server.router.send(peer, [b"are you there?"])
            hall.server.router.send(peer, [b"are you there?"])
            await asyncio.sleep(0)

    assert hall.server.gone == [peer]


async def test_a_port_that_is_taken_and_an_address_that_is_none_are_errors(hall: Hall) -> None:
    other = Server(hall.context)

    with pytest.raises(Conflict, match="cannot listen at"):
        other.router.bind(hall.endpoint)
    with pytest.raises(InvalidInput, match="cannot listen at"):
        other.router.bind("tcp://192.0.2.77:1")

    other.router.close()


async def test_without_somebody_who_answers_for_keys_nobody_comes_in(hall: Hall, dial: Dial) -> None:
    hall.zap.close()

    client = dial(hall.endpoint, known())
    await client.first_trouble()

    assert not client.links
    assert not hall.server.seen


# half-open links: the peer is there and does nothing

ROOT = Path(__file__).resolve().parents[3]
FROZEN = """
import asyncio, sys
import tests.io.dialer.hall as kit

async def main():
    hall = kit.Hall()
    print(hall.endpoint, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

kit.SERVER_KEYS = tuple(sys.argv[1:3])
kit.CLIENT_KEYS = tuple(sys.argv[3:5])
asyncio.run(main())
"""


async def test_a_peer_that_is_stopped_is_noticed_and_comes_back(dial: Dial, tmp_path: Path) -> None:
    program = tmp_path / "hall.py"
    program.write_text(textwrap.dedent(FROZEN))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        *SERVER_KEYS,
        *CLIENT_KEYS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
    )
    try:
        assert process.stdout is not None
        endpoint = (await asyncio.wait_for(process.stdout.readline(), IN_TIME_S)).decode().strip()
        assert re.match("tcp://", endpoint)
        client = dial(endpoint, known())
        await up(client)

        began = asyncio.get_running_loop().time()
        process.send_signal(signal.SIGSTOP)
        await client.until(lambda: not client.dialer.up)
        print(f"a stopped peer is noticed after {asyncio.get_running_loop().time() - began:.2f} s")
        assert (await client.first_trouble(of=Refusal.SILENT)).refusal is Refusal.SILENT

        process.send_signal(signal.SIGCONT)
        await up(client)
        client.dialer.send([b"x"])
        await client.until(lambda: client.messages != [])
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await process.wait()
