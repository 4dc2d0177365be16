"""100 000 malformed frames at each socket of a core: it goes on as before, in the same memory.

The sockets of tasks are libocc's: a million frames for those are in tests/occ/test_fuzz.c.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_asyncio
from fieldkit.cluster import Daemon

from libecs.access import Role
from libecs.io import lobby as lobbies
from libecs.io.corekeys import open_core_keys
from libecs.io.keys import KeyPair, Keyring, KeyState
from libecs.io.link import ClientCurve, Context, Dialer, Origin, close_context, new_context
from libecs.io.lobby import Lobby
from libecs.io.zap import LOBBY_DOMAIN, ZapResponder, any_key
from libecs.wire import client
from libecs.wire.client import CLIENT
from libecs.wire.codec import VERSION_FRAME, Table
from libecs.wire.lobby import LOBBY
from libecs.wire.node import NODE, NodeHello
from tests.daemons.cores import client_file, make_core
from tests.security.caller import Caller
from tests.security.mutants import mutants, samples

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

FRAMES = int(os.environ.get("ECS_FUZZ_FRAMES", "100000"))
"""Of each socket kind."""
SEED = int(os.environ.get("ECS_FUZZ_SEED", "20261"))
BATCH = 1000
GROWTH_MB = 8.0
"""What memory may grow by: room for one message of the largest size. A leak of one frame each would be far more."""
CPU_US = 1000.0
"""Processor time that a malformed frame may cost, on any machine; it is about 30 µs here."""


@attrs.frozen(kw_only=True)
class World:
    core: Daemon
    context: Context
    endpoint: str
    core_key: str
    pairs: dict[str, KeyPair]

    def caller(self, name: str, channel: bytes, table: Table) -> Caller:
        return Caller(self.context, self.endpoint, self.pairs[name], self.core_key, channel=channel, table=table)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("core")
    core = make_core(folder, "--client-rate", "0")  # else most frames would not be looked at
    core.state.mkdir(mode=0o700)
    keyring = Keyring(open_core_keys(core.state, now_ms=0).principals)
    pairs = {}
    for name, role in (("wall", Role.VIEWER), ("alice", Role.ADMIN), ("n1", Role.NODE)):
        pairs[name] = KeyPair.new()
        keyring.add(name, role, pairs[name].public, state=KeyState.APPROVED, by="", now_ms=0)
    core.start()
    context = new_context()
    try:
        await asyncio.to_thread(core.wait_ready)
        found = client_file(core)
        yield World(core=core, context=context, endpoint=found["endpoint"], core_key=found["core_key"], pairs=pairs)
    finally:
        close_context(context)
        print(core.tail())
        core.close()


def hello(node: str) -> NodeHello:
    return NodeHello(
        node=node, life="x", host="127.0.0.1", attributes={}, cpus=1.0, memory_mb=1.0, ports=(), epoch_seen=0
    )


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def flood(caller: Caller, witness: Caller, frames: Iterator[tuple[bytes, ...]], count: int) -> None:
    """Send frames, in batches that the core has taken before the next one comes."""
    for number in range(0, count, BATCH):
        for parts in itertools.islice(frames, BATCH):
            assert caller.dialer.send(parts)
        await taken(caller)
        if number % (10 * BATCH) == 0:  # others are served meanwhile
            await witness.ask([client.Ping(request=f"{id(caller)}-{number}")])
            witness.heard.clear()


async def down(caller: Caller, downs: int) -> None:
    """Wait until the core has hung up once more."""
    await caller.until(lambda: caller.downs > downs)


async def taken(caller: Caller) -> None:
    """Wait until the core has taken all that was sent: what is answered came after it."""
    if caller.table is CLIENT:
        await caller.ask([client.Ping(request="taken")])
    else:
        caller.send(hello("another"))
        await caller.until(lambda: bool(caller.heard))
    caller.heard.clear()


@pytest.mark.parametrize(("name", "channel", "table"), [("alice", b"client", CLIENT), ("n1", b"node", NODE)])
async def test_malformed_messages_cost_nothing_but_their_time(
    world: World, name: str, channel: bytes, table: Table
) -> None:
    caller = await world.caller(name, channel, table).begin()
    witness = await world.caller("wall", b"client", CLIENT).begin()
    frames = ((VERSION_FRAME, payload) for payload in mutants(table, SEED))
    await flood(caller, witness, frames, FRAMES // 5)
    before, used = rss_mb(world.core.pid), cpu_s(world.core.pid)

    await flood(caller, witness, frames, FRAMES)

    (pong,) = await witness.ask([client.Ping(request="at the end")])
    grown, each_us = rss_mb(world.core.pid) - before, (cpu_s(world.core.pid) - used) / FRAMES * 1e6
    print(f"{FRAMES} malformed frames of {name}: memory {grown:+.1f} MiB, {each_us:.0f} µs of processor time each")
    assert type(pong) is client.Pong
    assert caller.heard == []
    assert grown < GROWTH_MB
    assert each_us < CPU_US
    caller.close()
    witness.close()


async def test_frames_that_are_no_messages_at_all(world: World) -> None:
    caller = await world.caller("alice", b"client", CLIENT).begin()
    witness = await world.caller("wall", b"client", CLIENT).begin()
    good = CLIENT.encode(client.Lock(operation="x", detectors=("its",)))
    odd: list[tuple[bytes, ...]] = [
        (b"",), (b"", b""), (good,), (good, good), (VERSION_FRAME,), (VERSION_FRAME, good, b""), (b"\x02", good),
        (b"\x00", good), (VERSION_FRAME * 2, good), (VERSION_FRAME, b""), (VERSION_FRAME, b"\0" * 65536),
        (VERSION_FRAME, *([b""] * 9)), (b"client", VERSION_FRAME, good),
    ]  # fmt: skip
    world.core.hear()

    await flood(caller, witness, itertools.cycle(odd), 5000)

    (locks,) = await witness.ask([client.ShowLocks(request="locks")])
    assert locks.locks == ()
    assert caller.heard == []
    caller.close()
    witness.close()


async def test_a_frame_larger_than_any_message_ends_the_link(world: World) -> None:
    caller = await world.caller("alice", b"client", CLIENT).begin()
    before = rss_mb(world.core.pid)

    for _ in range(5):
        await caller.until(lambda: caller.up)
        downs = caller.downs
        caller.dialer.send((VERSION_FRAME, b"\xc6" + bytes(9 * 1024 * 1024)))
        await down(caller, downs)

    (pong,) = await caller.ask([client.Ping(request="still here")])
    assert type(pong) is client.Pong
    assert rss_mb(world.core.pid) - before < 5 * GROWTH_MB
    caller.close()


async def test_a_message_of_very_many_frames_ends_the_link(world: World) -> None:
    caller = await world.caller("alice", b"client", CLIENT).begin()
    before = rss_mb(world.core.pid)

    for _ in range(5):
        await caller.until(lambda: caller.up)
        downs = caller.downs
        caller.dialer.send((VERSION_FRAME, *([b""] * 100_000)))
        await down(caller, downs)

    (pong,) = await caller.ask([client.Ping(request="still here")])
    assert type(pong) is client.Pong
    assert rss_mb(world.core.pid) - before < 5 * GROWTH_MB
    caller.close()


async def test_messages_of_the_other_direction_do_nothing(world: World) -> None:
    """What only a core says is no request, whoever says it."""
    for name, channel, table in (("alice", b"client", CLIENT), ("n1", b"node", NODE)):
        caller = await world.caller(name, channel, table).begin()
        witness = await world.caller("wall", b"client", CLIENT).begin()
        (before,) = await witness.ask([client.Show(request=f"{name} before")])
        for payload in samples(table):
            kind = type(table.decode(payload))
            if (kind.__module__ == "libecs.wire.client" and kind.__name__ in ANSWERS) or name == "n1":
                caller.dialer.send((VERSION_FRAME, payload))
        await taken(caller)

        (after,) = await witness.ask([client.Show(request=f"{name} after")])
        assert after.environments == before.environments == ()
        caller.close()
        witness.close()


ANSWERS = (
    "Accepted", "Finished", "Environments", "Runs", "Events", "Refused", "Metrics", "Lines", "EventPage", "Locks",
    "Nodes", "Tasks", "Operations", "Log", "CoreInfo", "Document", "Pong",
)  # fmt: skip


async def test_malformed_messages_in_the_lobby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with the limit of one message a second lifted and nobody hung up: else it would take a day."""
    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 0.0)
    monkeypatch.setattr(Origin, "hang_up", lambda self: None)
    context = new_context()
    pair, stranger = KeyPair.new(), KeyPair.new()
    zap = ZapResponder(context, {LOBBY_DOMAIN: any_key})
    keyring = Keyring(tmp_path / "principals")
    lobby = Lobby(
        context, keyring, pair, endpoint="tcp://127.0.0.1:*", advertise="127.0.0.1", file=tmp_path / "invitations.toml",
        audit=lambda lines, unix_ms: None,
    )  # fmt: skip
    heard: list[list[bytes]] = []
    up = asyncio.Event()
    try:
        endpoint, _ = lobby.invite("alice", Role.VIEWER, "0" * 64, by="")
        curve = ClientCurve(public=stranger.public, secret=stranger.secret, server=pair.public)

        def changed(is_up: bool) -> None:
            if is_up:
                up.set()

        dialer = Dialer(context, endpoint, heard.append, channel=b"lobby", curve=curve, on_link=changed)
        await asyncio.wait_for(up.wait(), 60)
        # Larger ones end the link before anybody looks at them.
        frames = (payload for payload in mutants(LOBBY, SEED) if len(payload) < 4000)

        async def send(count: int) -> None:
            for _ in range(0, count, 200):
                taken = lobby.dropped
                for payload in itertools.islice(frames, 200):
                    assert dialer.send((VERSION_FRAME, payload))
                async with asyncio.timeout(60):
                    while lobby.dropped < taken + 200:
                        await asyncio.sleep(0)

        await send(FRAMES // 5)
        before = rss_mb(os.getpid())
        await send(FRAMES)

        assert rss_mb(os.getpid()) - before < GROWTH_MB
        assert heard == []
        assert not keyring.entries
        dialer.close()
    finally:
        lobby.close()
        zap.close()
        keyring.close()
        close_context(context)
