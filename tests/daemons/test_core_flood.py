"""A client that asks too often is slowed; the others do not notice."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Daemon

from libecs.access import Role
from libecs.io.corekeys import open_core_keys
from libecs.io.keys import KeyPair, Keyring, KeyState
from libecs.io.link import close_context, new_context
from libecs.wire.client import CLIENT, Ping, Pong, Refused
from libecs.wire.codec import VERSION_FRAME
from tests.daemons.cores import client_file, connect, make_core
from tests.security.caller import Caller

pytestmark = pytest.mark.timeout(240)
RATE, BURST = 100, 50


@pytest.fixture
def mallory() -> KeyPair:
    return KeyPair.new()


@pytest.fixture
def core(tmp_path: Path, mallory: KeyPair) -> Iterator[Daemon]:
    core = make_core(tmp_path, "--client-rate", str(RATE), "--client-burst", str(BURST))
    core.state.mkdir(mode=0o700)
    keyring = Keyring(open_core_keys(core.state, now_ms=0).principals)
    keyring.add("mallory", Role.VIEWER, mallory.public, state=KeyState.APPROVED, by="", now_ms=0)
    core.start()
    try:
        core.wait_ready()
        yield core
    finally:
        core.close()


async def test_a_flood_of_one_key_is_answered_busy_and_no_one_else_waits(core: Daemon, mallory: KeyPair) -> None:
    found = client_file(core)
    context = new_context()
    flooder = Caller(context, found["endpoint"], mallory, found["core_key"])
    numbers = itertools.count()
    over = asyncio.Event()

    def answers() -> Counter[str]:
        return Counter(one.code if isinstance(one, Refused) else type(one).__name__ for one in flooder.heard)

    async def flood() -> None:
        while not over.is_set():
            for _ in range(20 if flooder.up else 0):
                flooder.dialer.send((VERSION_FRAME, CLIENT.encode(Ping(request=str(next(numbers))))))
            await asyncio.sleep(0)

    try:
        await flooder.begin()
        async with connect(core) as ecs:
            begun = time.monotonic()
            flooding = asyncio.create_task(flood())
            took: list[float] = []
            async with asyncio.timeout(60):
                while len(took) < 30 or answers()["E_BUSY"] <= BURST:
                    before = time.monotonic()
                    await ecs.info()
                    took.append(time.monotonic() - before)
                    await asyncio.sleep(0.02)
            over.set()
            await flooding
            seconds = time.monotonic() - begun
    finally:
        flooder.close()
        close_context(context)
    got = answers()

    assert got["E_BUSY"] > BURST
    assert got[Pong.__name__] <= BURST + RATE * (seconds + 1)
    assert statistics.median(took) < 2.0  # once, a machine may stand still


async def test_a_script_that_asks_too_often_gets_all_its_answers_later(core: Daemon) -> None:
    async with connect(core) as ecs:
        begun = time.monotonic()
        answers = await asyncio.gather(*(ecs.info() for _ in range(BURST + RATE)))

        assert len(answers) == BURST + RATE
        assert time.monotonic() - begun > 0.5
