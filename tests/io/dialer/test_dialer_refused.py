"""Each way of not coming up, told apart."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from libecs.errors import Denied, InvalidInput, Unreachable
from libecs.io.link import (
    ClientCurve,
    Context,
    Refusal,
    Router,
    ServerCurve,
    new_keys,
    public_key,
)
from libecs.io.link.probe import probe
from tests.io.dialer.hall import (
    CLIENT_KEYS,
    DOMAIN,
    IN_TIME_S,
    Dial,
    Hall,
    Server,
    known,
    stranger,
    up,
)
from tests.io.places import refusing

pytestmark = pytest.mark.timeout(150)


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
