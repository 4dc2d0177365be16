"""Who finishes a handshake with a socket that is bound, through real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import zmq

from libecs.access import Role
from libecs.io.keys import KeyPair, Keyring, KeyState
from libecs.io.link import ClientCurve, Context, Dialer, Origin, Refusal, Router, ServerCurve, Trouble
from libecs.io.link.door import NO_KEY, OTHER_CORE, Door
from libecs.io.zap import ECS_DOMAIN, ENDPOINT, LOBBY_DOMAIN, Handshake, ZapResponder, any_key, known_keys

pytestmark = pytest.mark.timeout(300)

CORE, ALICE, MALLORY = KeyPair.new(), KeyPair.new(), KeyPair.new()


class Server:
    """A socket with a domain, its responder and keyring."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        self.keyring = Keyring(folder)
        self.keyring.add("alice", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0)
        self.refused: list[Handshake] = []
        self.failed: list[tuple[str, str]] = []
        self.heard: list[tuple[str, list[bytes]]] = []
        self.changed = asyncio.Event()
        policies = {ECS_DOMAIN: known_keys(self.keyring), LOBBY_DOMAIN: any_key, "odd": self.odd}
        self.zap = ZapResponder(context, policies, on_refusal=self.refuse)
        self.routers: list[Router] = []
        self.dialers: list[Dialer] = []

    def odd(self, key: str, address: str) -> bool:
        raise ValueError("a policy that fails")

    def refuse(self, handshake: Handshake) -> None:
        self.refused.append(handshake)
        self.changed.set()

    def fail(self, address: str, reason: str) -> None:
        self.failed.append((address, reason))
        self.changed.set()

    def hear(self, peer: bytes, frames: list[bytes], origin: Origin) -> None:
        self.heard.append((origin.key, frames))
        self.changed.set()

    def bind(self, domain: str) -> str:
        curve = ServerCurve(secret=CORE.secret, domain=domain)
        router = Router(self.context, None, on_traced=self.hear, curve=curve, on_failed=self.fail)
        self.routers.append(router)
        return router.bind("tcp://127.0.0.1:*")

    async def dial(self, endpoint: str, pair: KeyPair | None, core: str = CORE.public) -> Dialer | Refusal:
        """Return the link, or why there is none."""
        done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()

        def changed(up: bool) -> None:
            if up and not done.done():
                done.set_result(None)

        def failed(trouble: Trouble) -> None:
            if not done.done():
                done.set_result(trouble.refusal)

        curve = None if pair is None else ClientCurve(public=pair.public, secret=pair.secret, server=core)
        dialer = Dialer(
            self.context, endpoint, lambda frames: None, channel=b"c", curve=curve, on_link=changed, on_trouble=failed
        )
        self.dialers.append(dialer)
        return await asyncio.wait_for(done, 60) or dialer

    async def until_failed(self, reasons: set[str]) -> None:
        while not reasons <= {reason for _, reason in self.failed}:
            self.changed.clear()
            await self.changed.wait()

    async def until_heard(self, count: int) -> None:
        while len(self.heard) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)

    def close(self) -> None:
        for dialer in self.dialers:
            dialer.close()
        for router in self.routers:
            router.close()
        self.zap.close()
        self.keyring.close()


@pytest_asyncio.fixture
async def server(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(context, tmp_path / "principals")
    yield server
    server.close()


async def test_a_known_key_comes_in_and_its_messages_bear_it(server: Server) -> None:
    dialer = await server.dial(server.bind(ECS_DOMAIN), ALICE)

    assert isinstance(dialer, Dialer)
    dialer.send([b"hello"])
    await server.until_heard(1)
    assert server.heard == [(ALICE.public, [b"c", b"hello"])]
    assert server.zap.accepted == 1


async def test_an_unknown_key_stays_outside_and_its_address_is_told(server: Server) -> None:
    assert await server.dial(server.bind(ECS_DOMAIN), MALLORY) is Refusal.WRONG_KEY

    assert server.refused[0] == Handshake(domain=ECS_DOMAIN, address="127.0.0.1", key=MALLORY.public)
    assert server.heard == []


async def test_without_a_key_nobody_comes_in(server: Server) -> None:
    assert await server.dial(server.bind(ECS_DOMAIN), None) is Refusal.NO_KEY


async def test_whoever_has_no_key_or_another_core_s_is_told(server: Server) -> None:
    endpoint = server.bind(ECS_DOMAIN)

    await server.dial(endpoint, None)
    await server.dial(endpoint, ALICE, core=MALLORY.public)
    await asyncio.wait_for(server.until_failed({NO_KEY, OTHER_CORE}), 60)

    # A connection may be over before its address is looked up.
    assert {address for address, _ in server.failed} <= {"127.0.0.1", ""}
    assert {reason for _, reason in server.failed} == {NO_KEY, OTHER_CORE}


async def test_a_known_key_and_who_only_looks_whether_somebody_listens_are_no_failures(server: Server) -> None:
    endpoint = server.bind(ECS_DOMAIN)
    _, writer = await asyncio.open_connection("127.0.0.1", int(endpoint.rpartition(":")[2]))
    writer.close()
    await writer.wait_closed()

    await server.dial(endpoint, ALICE)
    await server.dial(endpoint, MALLORY)

    assert server.failed == []
    assert server.refused[0].key == MALLORY.public


async def test_any_key_comes_into_the_lobby(server: Server) -> None:
    assert isinstance(await server.dial(server.bind(LOBBY_DOMAIN), MALLORY), Dialer)


@pytest.mark.parametrize("domain", ["odd", "unheard-of"])
async def test_a_policy_that_fails_or_is_missing_lets_nobody_in(server: Server, domain: str) -> None:
    assert await server.dial(server.bind(domain), ALICE) is Refusal.WRONG_KEY


async def test_a_key_that_is_approved_later_comes_in(server: Server) -> None:
    endpoint = server.bind(ECS_DOMAIN)
    assert await server.dial(endpoint, MALLORY) is Refusal.WRONG_KEY

    server.keyring.add("mallory", Role.VIEWER, MALLORY.public, state=KeyState.APPROVED, by="", now_ms=0)

    assert isinstance(await server.dial(endpoint, MALLORY), Dialer)


async def test_when_the_responder_is_dead_nobody_comes_in(server: Server) -> None:
    endpoint = server.bind(ECS_DOMAIN)

    server.zap.close()

    assert not server.zap.alive
    assert isinstance(await server.dial(endpoint, ALICE), Refusal)
    server.zap.close()  # twice is once


async def test_a_socket_that_was_bound_before_the_responder_lets_nobody_in(
    context: zmq.Context[zmq.Socket[bytes]], server: Server
) -> None:
    server.zap.close()
    endpoint = server.bind(ECS_DOMAIN)

    assert isinstance(await server.dial(endpoint, ALICE), Refusal)
    server.zap = ZapResponder(context, {ECS_DOMAIN: known_keys(server.keyring)})
    assert isinstance(await server.dial(endpoint, ALICE), Dialer)


def test_a_handshake_that_is_wrong_is_told_with_the_address_of_its_connection() -> None:
    failed: list[tuple[str, str]] = []
    door = Door(0, lambda address, reason: failed.append((address, reason)))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        with listener.accept()[0] as accepted:
            door.take(zmq.Event.ACCEPTED, accepted.fileno(), "")
            door.take(zmq.Event.HANDSHAKE_FAILED_PROTOCOL, int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC), "")
            door.take(zmq.Event.DISCONNECTED, accepted.fileno(), "")
            door.take(zmq.Event.ACCEPTED, accepted.fileno(), "")
            door.take(zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, 0, "")
            door.take(zmq.Event.DISCONNECTED, accepted.fileno(), "")

    assert failed == [("127.0.0.1", OTHER_CORE)]
    assert (door.failed, door.connections) == (2, 0)


QUESTION = [b"", b"1.0", b"1", b"ecs", b"127.0.0.1", b"id", b"CURVE", b"k" * 32]


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (QUESTION, b"400"),
        ([*QUESTION[:6], b"NULL"], b"400"),
        ([*QUESTION[:6], b"PLAIN", b"user", b"password"], b"400"),
        ([*QUESTION[:7], b"k" * 31], b"400"),
        (QUESTION[:7], b"400"),
        (QUESTION[:3], b"400"),
        ([*QUESTION[:3], b"\xff\xfe", *QUESTION[4:]], b"400"),
        ([*QUESTION[:3], b"lobby", *QUESTION[4:]], b"200"),
        ([*QUESTION[:3], b"lobby", *QUESTION[4:6], b"NULL"], b"400"),
    ],
)
async def test_whatever_is_asked_is_answered_with_no_unless_it_is_known(
    context: zmq.Context[zmq.Socket[bytes]], server: Server, question: list[bytes], code: bytes
) -> None:
    answers: list[list[bytes]] = []
    told = asyncio.Event()

    def hear(peer: bytes, frames: list[bytes]) -> None:
        answers.append(frames)
        told.set()

    asker = Router(context, hear)
    asker.connect(ENDPOINT, b"zap", identity=b"asker")
    asker.send(b"zap", question)

    await asyncio.wait_for(told.wait(), 60)
    asker.close()

    assert answers[0][:4] == [*question[:3], code]


async def test_what_is_no_question_is_passed_over(
    context: zmq.Context[zmq.Socket[bytes]], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    asker = Router(context, lambda peer, frames: None)
    asker.connect(ENDPOINT, b"zap", identity=b"asker")
    asker.send(b"zap", [b""])
    asker.send(b"zap", [b"", b"2.0", b"1"])

    assert isinstance(await server.dial(server.bind(ECS_DOMAIN), ALICE), Dialer)
    asker.close()

    assert "a question that is none" in caplog.text
