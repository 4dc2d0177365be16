"""Strangers at every socket that is bound: no reply, nothing done; others are served meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio
from fieldkit.cluster import LOBBY_PORT, Cluster, told_on_failure

from ecsd.core.daemon import CoreDaemon
from ecsd.core.options import CoreOptions
from libecs.access import Role
from libecs.io.folderlock import FolderLock
from libecs.io.keys import KeyPair, Keyring, KeyState, read_key_file, write_key_file
from libecs.io.link import Context, Refusal, close_context, new_context
from libecs.io.token import new_secret, proof_of
from libecs.wire import client
from libecs.wire.client import CLIENT
from libecs.wire.lobby import LOBBY, Join
from libecs.wire.node import NODE, NodeHello, NodeKeepalive
from tests.security.caller import BY_THEMSELVES, LOOK_S, AuditReader, Caller, calm, deeds

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(1) + bytes(31)
"""What ZeroMQ's peers begin with."""
SOCKETS = ("core", "lobby")


@attrs.frozen(kw_only=True)
class World:
    """A core with an open lobby, an executor, and an environment that takes a run."""

    cluster: Cluster
    context: Context
    owner: Caller
    audit: AuditReader
    ids: Any = attrs.field(factory=lambda: itertools.count(1))

    def id(self) -> str:
        return f"at-{next(self.ids)}"

    def endpoint(self, where: str) -> str:
        return self.cluster.endpoint if where == "core" else f"tcp://{self.cluster.address}:{LOBBY_PORT}"

    def address(self, where: str) -> tuple[str, int]:
        host, port = self.endpoint(where).removeprefix("tcp://").split(":")
        return host, int(port)

    def stranger(self, where: str, pair: KeyPair | None, core_key: str = "") -> Caller:
        channel, table = (b"client", CLIENT) if where == "core" else (b"lobby", LOBBY)
        core_key = core_key or self.cluster.core_key
        return Caller(self.context, self.endpoint(where), pair, core_key, channel=channel, table=table)

    async def picture(self) -> list[Any]:
        """Return what strangers could have changed. To be answered is a sign that others are served."""
        id = self.id()
        await calm(self.owner, id, self.cluster.nodes)
        answers = await self.owner.ask(
            [
                client.Show(request=id + "a"),
                client.ShowNodes(request=id + "b"),
                client.ShowOperations(request=id + "c"),
                client.ShowLocks(request=id + "d"),
                client.Consult(request=id + "e", subject="key.list"),
            ]
        )
        shown = answers[0]
        tasks = [(task.task, task.pid, task.state) for env in shown.environments for task in env.tasks]
        states = [(env.environment, env.state, env.run_number) for env in shown.environments]
        nodes = [(node.node, node.drained) for node in answers[1].nodes]
        operations = [(one.operation, one.verb) for one in answers[2].operations]
        return [await deeds(self.owner, id + "f"), states, tasks, nodes, operations, answers[3].locks, answers[4].json]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    with Cluster(["n1"]) as cluster, told_on_failure(cluster):
        for name in ("alice", "revoked"):
            cluster.add_key(name, Role.OPERATOR)
        async with cluster.connect() as ecs:
            env = await ecs.environment("single", {"detectors": "its"})
            await env.control("START_ACTIVITY")
            await ecs.work("key.revoke", name="revoked")
            # As long as nobody comes, the lobby stays open.
            await ecs.work("key.invite", name="carol", kind="user", role="viewer", proof=proof_of(new_secret()))
        context = new_context()
        pair = read_key_file(cluster.key_file("owner"))
        owner = Caller(context, cluster.endpoint, pair, cluster.core_key)
        try:
            await owner.begin()
            yield World(cluster=cluster, context=context, owner=owner, audit=AuditReader(cluster.state))
        finally:
            owner.close()
            close_context(context)


def valid(where: str, id: str) -> list[Any]:
    """Return messages that would do something if they were let in."""
    if where == "lobby":
        return [Join(secret=b"s" * 16, name="carol")]
    return [
        client.Lock(operation=id + "x", detectors=("tpc",), reason="a stranger"),
        client.Drain(operation=id + "y", node="n1"),
        client.Info(request=id + "z"),
    ]


async def assert_untouched(world: World, before: list[Any]) -> None:
    assert await world.picture() == before
    assert [line for line in world.audit.new() if line["verb"] != "Join"] == []


# whom the handshake keeps out


@pytest.mark.parametrize("where", SOCKETS)
async def test_without_a_key_there_is_no_way_in(world: World, where: str) -> None:
    world.audit.new()
    before = await world.picture()

    stranger = world.stranger(where, None)
    await stranger.until(lambda: stranger.trouble is not None)
    stranger.close()

    assert stranger.trouble is not None
    assert stranger.trouble.refusal is Refusal.NO_KEY
    assert (stranger.ups, stranger.heard) == (0, [])
    await assert_untouched(world, before)


async def test_an_unknown_key_is_refused(world: World) -> None:
    world.audit.new()
    before = await world.picture()

    stranger = world.stranger("core", KeyPair.new())
    await stranger.until(lambda: stranger.trouble is not None)
    stranger.close()

    assert stranger.trouble is not None
    assert stranger.trouble.refusal is Refusal.WRONG_KEY
    assert (stranger.ups, stranger.heard) == (0, [])
    await assert_untouched(world, before)


async def test_a_revoked_key_is_refused(world: World) -> None:
    stranger = world.stranger("core", read_key_file(world.cluster.key_file("revoked")))
    await stranger.until(lambda: stranger.trouble is not None)
    stranger.close()

    assert stranger.trouble is not None
    assert stranger.trouble.refusal is Refusal.WRONG_KEY
    assert (stranger.ups, stranger.heard) == (0, [])


@pytest.mark.parametrize("where", SOCKETS)
async def test_who_expects_another_core_says_nothing_to_this_one(world: World, where: str) -> None:
    stranger = world.stranger(where, read_key_file(world.cluster.key_file("alice")), KeyPair.new().public)
    await stranger.until(lambda: stranger.trouble is not None)
    stranger.close()

    assert stranger.trouble is not None
    assert stranger.trouble.refusal is Refusal.WRONG_CORE
    assert stranger.ups == 0


@pytest.mark.parametrize("where", ["lobby"])
async def test_a_known_key_opens_nothing_in_the_lobby(world: World, where: str) -> None:
    world.audit.new()
    before = await world.picture()
    pair = read_key_file(world.cluster.key_file("owner"))
    for channel, table, messages in (
        (b"client", CLIENT, valid("core", world.id())),
        (b"lobby", CLIENT, valid("core", world.id())),
        (b"node", NODE, [hello("n1")]),
    ):
        known = Caller(world.context, world.endpoint(where), pair, world.cluster.core_key, channel=channel, table=table)
        await known.begin()
        known.send(*messages)
        await hung_up(known)
        known.close()
        assert known.heard == []
    await assert_untouched(world, before)


async def hung_up(caller: Caller) -> None:
    await caller.until(lambda: caller.downs > 0)


@pytest.mark.parametrize("name", ["owner", "alice", "n1"])
async def test_a_known_key_of_the_wrong_kind_is_not_heard(world: World, name: str) -> None:
    world.audit.new()
    before = await world.picture()
    pair = read_key_file(world.cluster.key_file(name))
    wrong = (b"client", CLIENT) if name == "n1" else (b"node", NODE)
    caller = Caller(
        world.context, world.cluster.endpoint, pair, world.cluster.core_key, channel=wrong[0], table=wrong[1]
    )
    await caller.begin()

    messages = valid("core", world.id()) if name == "n1" else [hello("n1"), NodeKeepalive(session=1, sequence=1)]
    caller.send(*messages)
    await world.picture()
    caller.close()

    assert caller.heard == []
    await assert_untouched(world, before)


def hello(node: str) -> NodeHello:
    return NodeHello(
        node=node, life="x", host="127.0.0.1", attributes={}, cpus=1.0, memory_mb=1.0, ports=(), epoch_seen=0
    )


# what is no handshake at all


HALVES: dict[str, bytes] = {
    "nothing": b"",
    "a few bytes": b"\xff\x00",
    "half a greeting": GREETING[:20],
    "a greeting": GREETING,
    "a greeting and half a command": GREETING + b"\x04\xc8\x05HELLO" + bytes(100),
    "a command too long": GREETING + b"\x06" + b"\x7f" * 8,
    "a frame in clear": GREETING + b"\x00\x04list",
    "another version": b"\xff" + bytes(8) + b"\x7f" + b"\x09\x09" + bytes(52),
    "NULL": GREETING[:12] + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x06DEALER",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "long": random.Random(1).randbytes(65536),
}  # fmt: skip


@pytest.mark.parametrize("where", SOCKETS)
async def test_half_a_handshake_gets_no_answer_and_ends_by_itself(world: World, where: str) -> None:
    world.audit.new()
    before = await world.picture()

    async def knock(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*world.address(where))
        try:
            writer.write(data)
            async with asyncio.timeout(60):
                return await reader.read(-1)  # until the core hangs up
        except ConnectionError:
            return b""
        finally:
            writer.close()

    heard = await asyncio.gather(*(knock(data) for data in HALVES.values()))

    for name, answer in zip(HALVES, heard, strict=True):
        # No more than ZeroMQ's own greeting, and the word ERROR: nothing of ours.
        assert len(answer) <= 64 + 2 + 6 + 1 + 4, (name, answer)
    await assert_untouched(world, before)


async def test_many_half_open_connections_keep_nobody_out(world: World) -> None:
    before = await world.picture()
    opened = [socket.create_connection(world.address("core")) for _ in range(500)]
    try:
        for number, one in enumerate(opened):
            one.sendall(GREETING[: number % 65])

        async with asyncio.timeout(60):
            assert await world.picture() == before
            newcomer = await world.stranger("core", read_key_file(world.cluster.key_file("alice"))).begin()
            (answer,) = await newcomer.ask([client.Ping(request=world.id())])
            newcomer.close()
        assert type(answer) is client.Pong
    finally:
        for one in opened:
            one.close()


# what a revoked key had open


async def test_a_key_that_is_revoked_on_a_live_link_is_not_heard_any_more(world: World) -> None:
    path = world.cluster.add_key("eve", Role.OPERATOR)
    await until_known(world, "eve")
    eve = await world.stranger("core", read_key_file(path)).begin()
    await eve.ask([client.Subscribe(request=world.id())])
    heard = len(eve.heard)

    await world.owner.ends(
        await world.owner.ask([client.Work(operation=world.id(), name="key.revoke", arguments={"name": "eve"})])
    )
    before = await world.picture()
    world.audit.new()
    id = world.id()
    if eve.up:  # the core may have hung up already
        eve.send(client.Lock(operation=id, detectors=("tpc",)), client.Info(request=id + "i"))
    await world.owner.ask([client.Lock(operation=world.id(), detectors=("mch",)), client.Unlock(operation=world.id())])
    await eve.until(lambda: eve.trouble is not None)
    eve.close()

    assert eve.trouble is not None
    assert eve.trouble.refusal is Refusal.WRONG_KEY
    assert [one for one in eve.heard[heard:] if not is_end_of_revocation(one)] == []
    assert (await world.picture())[5] == before[5]
    assert all(line["who"] != "eve" for line in world.audit.new())


def is_end_of_revocation(message: Any) -> bool:
    """The event of its own end may still have been on its way."""
    told = ("operation.end", *BY_THEMSELVES)
    return isinstance(message, client.Events) and all(event.kind in told for event in message.events)


async def until_known(world: World, name: str) -> None:
    """Wait until the core has read a key."""
    async with asyncio.timeout(60):
        while True:
            (answer,) = await world.owner.ask([client.Consult(request=world.id(), subject="key.list", arguments={})])
            if f'"{name}"' in answer.json:
                return
            await asyncio.sleep(LOOK_S)


# what listens at all


async def test_nothing_else_listens(world: World) -> None:
    pids = world.cluster.processes()

    listening = {(address, port) for _pid, address, port in tcp_listeners(set(pids))}
    unix = unix_listeners(set(pids))

    host, port = world.address("core")
    assert {one for one in listening if one[1] not in (port, LOBBY_PORT)} == set()
    assert {address for address, _ in listening} == {host}
    tasks = [path for path in unix if Path(path).name.startswith("t") or "/ecs-" in path]
    assert set(unix) == set(tasks), "sockets that nobody has thought of"
    assert tasks
    for path in tasks:
        folder = Path(path).parent.stat()
        assert (folder.st_mode & 0o777, folder.st_uid) == (0o700, os.geteuid())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
async def test_another_user_cannot_reach_the_socket_of_a_task(world: World) -> None:
    (path, *_) = unix_listeners(set(world.cluster.processes()))
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1])"
    )

    ran = await asyncio.to_thread(run, "-c", code, path)

    assert "PermissionError" in ran.stderr


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, check=False)


def tcp_listeners(pids: set[int]) -> list[tuple[int, str, int]]:
    """Return pid, address and port of the TCP sockets that processes listen at."""
    found = []
    for pid in pids:
        inodes = socket_inodes(pid)
        for table, v6 in (("tcp", False), ("tcp6", True)):
            for words in table_of(pid, table):
                if words[3] == "0A" and words[9] in inodes:
                    address, port = words[1].split(":")
                    found.append((pid, read_address(address, v6=v6), int(port, 16)))
    return found


def read_address(text: str, *, v6: bool) -> str:
    raw = bytes.fromhex(text)
    if not v6:
        return socket.inet_ntoa(raw[::-1])
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, 16, 4))
    return socket.inet_ntop(socket.AF_INET6, words).removeprefix("::ffff:")


def unix_listeners(pids: set[int]) -> list[str]:
    """Return the paths of UNIX sockets that processes listen at; "@…" are abstract ones."""
    found = []
    for pid in pids:
        inodes = socket_inodes(pid)
        for words in table_of(pid, "unix"):
            is_listening = int(words[3], 16) & 0x10000
            if is_listening and words[6] in inodes:
                found.append(words[7] if len(words) > 7 else "?")
    return sorted(set(found))


def table_of(pid: int, table: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    except OSError:
        return []


def socket_inodes(pid: int) -> set[str]:
    inodes = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        pass
    return inodes


# who answers for keys is dead


@attrs.frozen(kw_only=True)
class Inside:
    """A core in the process of the test."""

    daemon: CoreDaemon
    context: Context
    alice: KeyPair

    def caller(self, pair: KeyPair) -> Caller:
        endpoint = self.daemon.endpoints[0]
        return Caller(
            self.context, endpoint, pair, read_key_file(self.daemon.options.state / "keys" / "core.key").public
        )


@pytest_asyncio.fixture(loop_scope="module")
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    state = tmp_path / "core"
    alice = KeyPair.new()
    keyring = Keyring(state / "keys" / "principals")
    keyring.add("alice", Role.OPERATOR, alice.public, state=KeyState.APPROVED, by="", now_ms=0)
    options = CoreOptions(state=state, listen=("tcp://127.0.0.1:0",), lobby="tcp://127.0.0.1:0")
    daemon = CoreDaemon(options, {}, FolderLock(state))
    running = asyncio.create_task(daemon.run())
    context = new_context()
    try:
        await until(lambda: bool(daemon.endpoints) or running.done())
        yield Inside(daemon=daemon, context=context, alice=alice)
    finally:
        daemon._ended.set()
        await running
        close_context(context)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_when_nobody_answers_for_keys_everything_is_closed(inside: Inside) -> None:
    alice = await inside.caller(inside.alice).begin()
    (answer,) = await alice.ask([client.Ping(request="1")])
    assert type(answer) is client.Pong
    zap, hub = inside.daemon._zap, inside.daemon.hub
    assert zap is not None
    events = inside.daemon.host.engine.sequence

    zap.close()
    alice.send(client.Lock(operation="2", detectors=("its",)), client.Ping(request="3"))
    await until(lambda: hub.dropped["nobody can be known"] >= 2)
    late = inside.caller(inside.alice)
    await late.until(lambda: late.trouble is not None)

    assert late.ups == 0
    assert [one for one in alice.heard if getattr(one, "request", "") == "3"] == []
    assert inside.daemon.host.engine.sequence == events
    alice.close()
    late.close()


async def test_a_keyring_that_fails_lets_nobody_in(inside: Inside) -> None:
    folder = inside.daemon.options.state / "keys" / "principals"
    alice = await inside.caller(inside.alice).begin()
    await alice.ask([client.Ping(request="1")])

    (folder / "alice.toml").write_text("nonsense")
    await until(lambda: inside.daemon._principal(inside.alice.public) is None)
    if alice.up:
        alice.send(client.Ping(request="2"))
    await alice.until(lambda: alice.trouble is not None)

    assert [one for one in alice.heard if getattr(one, "request", "") == "2"] == []
    alice.close()


async def test_a_core_with_a_key_that_others_can_read_does_not_start(tmp_path: Path) -> None:
    state = tmp_path / "core"
    (state / "keys").mkdir(parents=True)
    write_key_file(state / "keys" / "core.key", KeyPair.new())
    (state / "keys" / "core.key").chmod(0o644)

    words = ("-m", "ecsd.core", "--state", str(state), "--listen", "tcp://127.0.0.1:0")
    ran = await asyncio.to_thread(run, *words)

    assert ran.returncode == 5
    assert "can be read by others" in " ".join(ran.stderr.split())  # it is folded, with a long path in it
