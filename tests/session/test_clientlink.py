"""A client's wire: cores that say nothing, or nonsense, and more than it can carry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

import libecs
from libecs.client import connection
from libecs.client.ecs import AsyncEcs
from libecs.errors import InvalidInput, Unreachable
from libecs.io import contexts
from libecs.io.clientlink import ClientLink
from libecs.io.link import Context, Router, close_context, new_context
from libecs.wire.client import CLIENT, CoreInfo, Environments, Info, Ping, Pong, Show, Subscribe
from libecs.wire.codec import VERSION_FRAME

TIMEOUT_S = 30


class Core:
    """Answers what a session asks at its beginning; before each answer it says `noise`."""

    def __init__(self, context: Context, noise: list[list[bytes]]) -> None:
        self.noise = noise
        self.silent = False
        self.heard: list[object] = []
        self._router = Router(context, self._take)
        self.endpoint = self._router.bind("tcp://127.0.0.1:*")

    def _take(self, peer: bytes, frames: list[bytes]) -> None:
        channel, version, payload = frames
        assert (channel, version) == (b"client", VERSION_FRAME)
        message = CLIENT.decode(payload)
        self.heard.append(message)
        if self.silent:
            return
        for frames in self.noise:
            self._router.send(peer, frames)
        if isinstance(message, Subscribe | Show):
            self._answer(peer, Environments(request=message.request, sequence=0, environments=()))
        elif isinstance(message, Ping):
            self._answer(peer, Pong(request=message.request, unix_ms=0, sequence=0, epoch=1))
        elif isinstance(message, Info):
            self._answer(peer, info(message.request))

    def _answer(self, peer: bytes, message: object) -> None:
        self._router.send(peer, [VERSION_FRAME, CLIENT.encode(message)])

    def close(self) -> None:
        self._router.close()


def info(request: str) -> CoreInfo:
    return CoreInfo(
        request=request,
        instance="fake",
        version="",
        epoch=1,
        started_ms=0,
        unix_ms=0,
        sequence=0,
        environments=0,
        tasks=0,
        nodes=0,
        you="me",
        role="admin",
    )


@pytest.fixture
def context() -> Iterator[Context]:
    context = new_context()
    yield context
    close_context(context)


async def test_a_core_that_takes_the_connection_and_says_nothing_is_unreachable(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = Core(context, [])
    core.silent = True
    open_ = connection.Connection._open

    async def impatient(self: connection.Connection, link: ClientLink, ecs: AsyncEcs) -> None:
        monkeypatch.setattr(connection, "SLOW_S", 0.05)  # the way there took the time that it took
        await open_(self, link, ecs)

    monkeypatch.setattr(connection, "SLOW_S", TIMEOUT_S)
    monkeypatch.setattr(connection.Connection, "_open", impatient)

    with pytest.raises(Unreachable, match="takes the connection and does not answer"):
        async with libecs.connect(core.endpoint, insecure=True):
            pass
    core.close()


@pytest.mark.parametrize(
    "frames", [[b"nonsense"], [VERSION_FRAME, b"\xc1"], [b"\x09", b""], [VERSION_FRAME, b"\x91\xcd\x0f\xff"]]
)
async def test_what_is_not_understood_is_told_once_and_left_out(
    context: Context, caplog: pytest.LogCaptureFixture, frames: list[bytes]
) -> None:
    core = Core(context, [frames, frames])

    with caplog.at_level(logging.WARNING, "libecs"):
        async with libecs.connect(core.endpoint, insecure=True) as ecs:
            assert (await ecs.info()).you == "me"
            assert await ecs.environments() == []

    # A process that stood still may say besides that it heard nothing.
    (told,) = [record.message for record in caplog.records if "understood" in record.message]
    assert told.startswith(f"{core.endpoint} said something that is not understood")
    core.close()


async def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"tcp://\*:47102 cannot be dialled"):
        async with libecs.connect("tcp://*:47102", insecure=True):
            pass


async def test_what_is_too_much_is_known_to_be_lost(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    core = Core(context, [])
    link = ClientLink(
        contexts.Context(name="", endpoint=core.endpoint),
        lambda message: None,
        on_link=lambda up: None,
        on_trouble=lambda trouble: None,
    )
    async with asyncio.timeout(TIMEOUT_S):
        while not link.up:
            await asyncio.sleep(0.01)
    link.send(Ping(request="1"))
    was_lost = link.lost
    monkeypatch.setattr(link._dialer, "send", lambda frames: False)  # its queues hold more than a test wants to fill

    link.send(Ping(request="2"))

    assert (was_lost, link.lost) == (False, True)
    link.close()
    core.close()


async def test_who_ends_while_the_core_is_away_is_told_what_waits(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    core = Core(context, [])
    with caplog.at_level(logging.WARNING, "libecs"):
        async with libecs.connect(core.endpoint, insecure=True) as ecs:
            core.close()
            async with asyncio.timeout(TIMEOUT_S):
                while ecs.link.state != "DOWN":
                    await asyncio.sleep(0.01)
            ecs.warn_if_away("environment e1 is destroyed when it is back")

    # The reason may be that of the next attempt already: nobody listens there.
    (told,) = [
        message for message in caplog.messages if message.endswith("; environment e1 is destroyed when it is back")
    ]
    assert core.endpoint in told
