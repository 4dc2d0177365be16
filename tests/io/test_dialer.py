"""One peer over real TCP with CURVE: up, down, and each way of not coming up told apart."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
import zmq

from libecs.errors import Conflict, Denied, InvalidInput, Unreachable
from libecs.io.link import (
    MAX_PUMP_FRAMES,
    ClientCurve,
    Context,
    Dialer,
    Origin,
    Refusal,
    Router,
    ServerCurve,
    Trouble,
    close_context,
    new_context,
    new_keys,
    public_key,
)
from libecs.io.link import dialer as dialer_module
from libecs.io.link.dialer import pause_s
from libecs.io.link.probe import probe
from libecs.io.zap import ZapResponder
from tests.io.places import bind_again, own_host, refusing

T = TypeVar("T")
HERE = Path(__file__).parent
DOMAIN = "test"
SERVER_KEYS = new_keys()
CLIENT_KEYS = new_keys()
IN_TIME_S = 30.0
"""Nothing here takes that long; a slow machine may."""
SLOW = frozenset({Refusal.UNREACHABLE, Refusal.SILENT})
"""What a machine that stands still for a second is taken for, until the next attempt."""

pytestmark = pytest.mark.timeout(150)


class Server:
    """A core's end: echoes what comes, and remembers of whom."""

    def __init__(self, context: Context, **options: object) -> None:
        curve = ServerCurve(secret=SERVER_KEYS[1], domain=DOMAIN)
        self.seen: list[tuple[bytes, list[bytes], str, str]] = []
        self.gone: list[bytes] = []
        self.hang_up = False
        self.router = Router(
            context,
            None,
            **{  # type: ignore[arg-type]
                "on_traced": self._take,
                "on_gone": self.gone.append,
                "curve": curve,
                "heartbeats": True,
                **options,
            },
        )

    def _take(self, peer: bytes, frames: list[bytes], origin: Origin) -> None:
        self.seen.append((peer, frames, origin.key, origin.address))
        if self.hang_up:
            origin.hang_up()
        self.router.send(peer, frames[1:])


class Client:
    """A Dialer, and what it tells."""

    def __init__(self, context: Context, endpoint: str, curve: ClientCurve | None, **options: object) -> None:
        self.messages: list[list[bytes]] = []
        self.links: list[bool] = []
        self.troubles: list[Trouble] = []
        self.changed = asyncio.Event()
        self.dialer = Dialer(
            context,
            endpoint,
            self._keep(self.messages),
            channel=b"node",
            curve=curve,
            on_link=self._keep(self.links),
            on_trouble=self._keep(self.troubles),
            **options,  # type: ignore[arg-type]
        )

    def _keep(self, where: list[T]) -> Callable[[T], None]:
        def take(one: T) -> None:
            where.append(one)
            self.changed.set()

        return take

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def first_trouble(self, *, of: Refusal | None = None) -> Trouble:
        """Return the first trouble; those of a slow machine are passed over, if they are not `of` that kind."""
        found: list[Trouble] = []

        def look() -> bool:
            found[:] = [one for one in self.troubles if one.refusal is of or one.refusal not in SLOW]
            return bool(found)

        await self.until(look)
        return found[0]


class Hall:
    """A server with its ZAP in a context of its own, as another process would have it."""

    def __init__(self, **options: object) -> None:
        self.context = new_context()
        self.allowed = {CLIENT_KEYS[0]}
        self.zap = ZapResponder(self.context, {DOMAIN: lambda key, address: key in self.allowed})
        self.options = options
        self.server = Server(self.context, **options)
        self.endpoint = self.server.router.bind(f"tcp://{own_host()}:*")

    def stop(self) -> None:
        self.server.router.close()

    async def start_again(self) -> None:
        self.server = Server(self.context, **self.options)
        await bind_again(self.server.router, self.endpoint)

    def close(self) -> None:
        self.server.router.close()
        self.zap.close()
        close_context(self.context)


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Hall]:
    hall = Hall()
    yield hall
    hall.close()


Dial = Callable[..., Client]


@pytest_asyncio.fixture
async def dial(context: Context) -> AsyncIterator[Dial]:
    clients: list[Client] = []

    def make(endpoint: str, curve: ClientCurve | None, **options: object) -> Client:
        clients.append(Client(context, endpoint, curve, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.dialer.close()


def known() -> ClientCurve:
    return ClientCurve(public=CLIENT_KEYS[0], secret=CLIENT_KEYS[1], server=SERVER_KEYS[0])


def stranger() -> ClientCurve:
    public, secret = new_keys()
    return ClientCurve(public=public, secret=secret, server=SERVER_KEYS[0])


async def up(client: Client) -> None:
    await client.until(lambda: client.dialer.up)


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
        await client.until(lambda count=count: len(client.messages) == count)  # type: ignore[misc]
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


# not coming up: four sentences, and more


async def test_a_key_that_is_not_known_is_told_and_works_as_soon_as_it_is_approved(hall: Hall, dial: Dial) -> None:
    keys = stranger()
    client = dial(hall.endpoint, keys)

    trouble = await client.first_trouble()
    error = trouble.error("alice")

    assert trouble.refusal is Refusal.WRONG_KEY
    assert isinstance(error, Denied)
    assert error.message == f"the core at {hall.endpoint} refused key {keys.public[:8]} (not approved, or revoked)"
    assert error.hint == "ask an admin: coconut key approve alice"
    assert "coconut node approve flp1" in trouble.hint("flp1", "node")
    assert hall.server.router.failed_handshakes >= 1

    hall.allowed.add(keys.public)
    await up(client)
    assert client.dialer.trouble is None


async def test_a_core_with_another_key_is_told(hall: Hall, dial: Dial) -> None:
    wrong = new_keys()[0]
    client = dial(hall.endpoint, ClientCurve(public=CLIENT_KEYS[0], secret=CLIENT_KEYS[1], server=wrong))

    trouble = await client.first_trouble()

    assert trouble.refusal is Refusal.WRONG_CORE
    assert isinstance(trouble.error(), Denied)
    assert f"is not the core you pinned: it does not have key {wrong[:8]}" in trouble.sentence
    assert not client.dialer.up


# the peer's next key

NEXT_KEYS = new_keys()


def pinned(server: str, next_server: str) -> ClientCurve:
    return ClientCurve(public=CLIENT_KEYS[0], secret=CLIENT_KEYS[1], server=server, next_server=next_server)


async def nobody(client: Client) -> None:
    """Wait until the port is free again."""
    await client.until(lambda: any(trouble.refusal is Refusal.REFUSED for trouble in client.troubles))


async def test_a_core_that_took_its_next_key_is_believed_and_its_old_key_no_more(hall: Hall, dial: Dial) -> None:
    old, now = NEXT_KEYS[0], SERVER_KEYS[0]
    turned: list[str] = []
    client = dial(hall.endpoint, pinned(old, now), on_next_key=lambda: turned.append("to the next"))

    await client.until(lambda: client.links == [True])

    assert turned == ["to the next"]
    assert client.dialer.curve == pinned(now, "")
    assert not client.troubles


async def test_a_core_that_has_its_present_key_still_keeps_it(hall: Hall, dial: Dial) -> None:
    turned: list[str] = []
    client = dial(hall.endpoint, pinned(SERVER_KEYS[0], NEXT_KEYS[0]), on_next_key=lambda: turned.append("to the next"))
    await client.until(lambda: client.links == [True])

    hall.stop()
    await nobody(client)  # both keys were tried by then
    await hall.start_again()
    await client.until(lambda: client.links == [True, False, True])

    assert client.dialer.curve == pinned(SERVER_KEYS[0], NEXT_KEYS[0])
    assert not turned


async def test_a_core_takes_its_next_key_while_a_client_is_there(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, pinned(SERVER_KEYS[0], ""))
    await client.until(lambda: client.links == [True])

    client.dialer.curve = pinned(SERVER_KEYS[0], NEXT_KEYS[0])
    hall.stop()
    await nobody(client)
    hall.options = {"curve": ServerCurve(secret=NEXT_KEYS[1], domain=DOMAIN)}
    await hall.start_again()
    await client.until(lambda: client.links == [True, False, True])

    assert client.dialer.curve == pinned(NEXT_KEYS[0], "")


async def test_a_core_with_neither_key_is_told_with_both(hall: Hall, dial: Dial) -> None:
    wrong, other = new_keys()[0], new_keys()[0]

    trouble = await dial(hall.endpoint, pinned(wrong, other)).first_trouble()

    assert trouble.refusal is Refusal.WRONG_CORE
    assert f"it does not have key {wrong[:8]} or {other[:8]}" in trouble.sentence
    assert "coconut node invite n1 --rotate" in trouble.hint("n1", "node")


async def test_who_has_no_key_is_told_that_one_is_needed(hall: Hall, dial: Dial) -> None:
    trouble = await dial(hall.endpoint, None).first_trouble()

    assert trouble.refusal is Refusal.NO_KEY
    assert "you have no key" in trouble.sentence
    assert "coconut login TOKEN" in trouble.hint()
    assert "ecs-executord join TOKEN" in trouble.hint(kind="node")


async def test_a_core_without_keys_is_told(context: Context, dial: Dial) -> None:
    plain = Router(context, lambda peer, frames: None)

    trouble = await dial(plain.bind("tcp://127.0.0.1:*"), known()).first_trouble()

    assert trouble.refusal is Refusal.INSECURE
    assert "--insecure" in trouble.sentence
    plain.close()


async def test_a_core_without_keys_takes_who_has_none(context: Context, dial: Dial) -> None:
    plain = Server(context, curve=None)
    client = dial(plain.router.bind("tcp://127.0.0.1:*"), None)
    await up(client)

    client.dialer.send([b"x"])
    await client.until(lambda: client.messages != [])

    assert plain.seen[0][2:] == ("", "127.0.0.1")
    plain.router.close()


@contextlib.contextmanager
def deaf_port() -> Iterator[str]:
    """A port where connections are taken, and nobody says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_port_where_nobody_listens_is_told(dial: Dial) -> None:
    with refusing() as endpoint:
        trouble = await dial(endpoint, known()).first_trouble()

    assert trouble.refusal is Refusal.REFUSED
    assert isinstance(trouble.error(), Unreachable)
    assert trouble.sentence == f"nobody answers at {endpoint}: connection refused"


async def test_a_name_with_several_addresses_where_nobody_listens_is_told_as_one(dial: Dial) -> None:
    with refusing() as endpoint:
        trouble = await dial(endpoint.replace("127.0.0.1", "localhost"), known()).first_trouble()

    assert (trouble.refusal, trouble.detail) == (Refusal.REFUSED, "connection refused")


async def test_a_network_without_a_way_there_is_told(dial: Dial) -> None:
    # A multicast address: no network takes a connection there, and our own kernel says so.
    trouble = await dial("tcp://224.0.0.1:47102", known()).first_trouble(of=Refusal.UNREACHABLE)

    assert trouble.refusal is Refusal.UNREACHABLE
    assert "nobody answers" in trouble.sentence
    assert "call failed" not in trouble.sentence


@pytest.mark.timeout(240)  # who is asked for names may not answer: that takes libzmq some time, too
async def test_a_name_that_means_nothing_is_told(dial: Dial) -> None:
    trouble = await dial("tcp://no-such-host.invalid:47102", known()).first_trouble()

    assert trouble.refusal is Refusal.UNKNOWN_HOST
    assert "no-such-host.invalid" in trouble.sentence


async def test_a_name_that_nobody_knows_yet_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait(IN_TIME_S) and [])

    try:
        refusal, detail = await probe("tcp://head:47102", curve=True, timeout_s=0.05)
    finally:
        answers.set()

    assert (refusal, detail) == (Refusal.UNKNOWN_HOST, "nobody has said yet which host head is (timed out)")


async def test_a_port_that_takes_the_connection_and_says_nothing_is_told(dial: Dial) -> None:
    with deaf_port() as endpoint:
        trouble = await dial(endpoint, known()).first_trouble(of=Refusal.SILENT)

    assert trouble.refusal is Refusal.SILENT
    assert "nothing is said" in trouble.sentence


@pytest.mark.parametrize(
    ("endpoint", "refusal"),
    [
        ("tcp://host:99999", Refusal.REFUSED),
        ("tcp://host", Refusal.REFUSED),
        ("ipc:///nobody", Refusal.REFUSED),
        (f"tcp://{'x' * 70}.invalid:1", Refusal.UNKNOWN_HOST),
    ],
)
async def test_whatever_an_endpoint_is_a_question_to_it_has_an_answer(endpoint: str, refusal: Refusal) -> None:
    assert (await probe(endpoint, curve=True))[0] is refusal


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n"])
async def test_a_port_of_another_protocol_is_told(words: bytes, dial: Dial) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        with contextlib.suppress(OSError):
            await reader.read(1000)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    trouble = await dial(f"tcp://127.0.0.1:{port}", known()).first_trouble()

    assert trouble.refusal is Refusal.NOT_A_CORE
    assert "is no core" in trouble.sentence
    server.close()


async def test_what_is_no_endpoint_and_what_is_no_key_is_refused_at_once(context: Context, dial: Dial) -> None:
    with pytest.raises(InvalidInput, match="cannot be dialled"):
        dial("carrier pigeon", known())
    with pytest.raises(InvalidInput, match="40 characters of z85"):
        dial("tcp://127.0.0.1:1", ClientCurve(public="short", secret="short", server="short"))


def test_a_secret_key_gives_its_public_one_and_what_is_none_is_told() -> None:
    public, secret = new_keys()

    assert public_key(secret) == public
    for wrong in ("", "short", secret[:-1] + "\N{SNOWMAN}"):
        with pytest.raises(InvalidInput):
            public_key(wrong)
    assert secret not in repr(ClientCurve(public=public, secret=secret, server=public))
    assert secret not in repr(ServerCurve(secret=secret, domain=DOMAIN))


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

FROZEN = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from test_dialer import Hall

async def main():
    hall = Hall()
    print(hall.endpoint, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

import test_dialer
test_dialer.SERVER_KEYS = tuple(sys.argv[3:5])
test_dialer.CLIENT_KEYS = tuple(sys.argv[5:7])
asyncio.run(main())
"""


async def test_a_peer_that_is_stopped_is_noticed_and_comes_back(dial: Dial, tmp_path: Path) -> None:
    program = tmp_path / "hall.py"
    program.write_text(textwrap.dedent(FROZEN))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        "-",
        HERE,
        *SERVER_KEYS,
        *CLIENT_KEYS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE.parents[1])])},
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
