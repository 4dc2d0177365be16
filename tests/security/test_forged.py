"""Messages that were recorded and sent again, and messages that say they are from somebody else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import pytest
import pytest_asyncio
from fieldkit.cluster import Cluster, told_on_failure

from libecs.access import Role
from libecs.fsm import TaskState
from libecs.io.keys import read_key_file
from libecs.io.link import Context, close_context, new_context
from libecs.wire import client
from libecs.wire.client import CLIENT
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.node import (
    NODE,
    Announce,
    Answer,
    Fenced,
    Held,
    NodeHello,
    NodeKeepalive,
    NodeRefused,
    OutputRead,
    Phase,
    TaskStatus,
    TaskTelemetry,
    Telemetry,
    Update,
    Welcome,
)
from libecs.wire.telemetry import LogLine, MetricSpan, Severity
from tests.security.caller import AuditReader, Caller, calm, deeds

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@attrs.frozen(kw_only=True)
class World:
    """A core with one node and an environment that takes a run."""

    cluster: Cluster
    context: Context
    environment: str
    task: str
    audit: AuditReader
    ids: Iterator[int]

    def id(self) -> str:
        return f"forged-{next(self.ids)}"

    async def caller(self, name: str, **others: Any) -> Caller:
        pair = read_key_file(self.cluster.key_file(name))
        return await Caller(self.context, self.cluster.endpoint, pair, self.cluster.core_key, **others).begin()

    async def node(self, name: str) -> Caller:
        return await self.caller(name, channel=b"node", table=NODE)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    with Cluster(["n1"]) as cluster, told_on_failure(cluster):
        for name in ("alice", "mallory"):
            cluster.add_key(name, Role.OPERATOR)
        cluster.add_key("n2", Role.NODE)
        async with cluster.connect() as ecs:
            env = await ecs.environment("single")
            await env.control("START_ACTIVITY")
            (info,) = [one for one in await ecs.tasks() if one.environment == env.id]
        context = new_context()
        try:
            yield World(
                cluster=cluster, context=context, environment=env.id, task=info.task,
                audit=AuditReader(cluster.state), ids=itertools.count(1),
            )  # fmt: skip
        finally:
            close_context(context)


async def notes(caller: Caller, world: World, run: int) -> list[tuple[str, str]]:
    (runs,) = await caller.ask([client.ShowRuns(request=world.id(), number=run)])
    return [(note.author, note.text) for note in runs.runs[0].notes]


async def the_run(caller: Caller, world: World) -> int:
    (shown,) = await caller.ask([client.Show(request=world.id(), environment=world.environment)])
    return int(shown.environments[0].run_number)


# replay


async def test_recorded_frames_sent_again_have_one_effect(world: World) -> None:
    alice = await world.caller("alice")
    run = await the_run(alice, world)
    before = await notes(alice, world, run)
    world.audit.new()
    id = world.id()
    recorded = CLIENT.encode(client.Annotate(operation=id, run=run, note="once"))
    wanted = [*before, ("alice", "once")]

    def replay(caller: Caller, times: int) -> None:
        for _ in range(times):
            assert caller.dialer.send((VERSION_FRAME, recorded))

    # In the same connection, and in others with the same key: each is another routing id.
    replay(alice, 1000)
    assert await notes(alice, world, run) == wanted
    assert {one.code for one in answers_to(alice, id)} == {""}
    again = await world.caller("alice")
    replay(again, 1000)
    assert await notes(again, world, run) == wanted
    assert {one.code for one in answers_to(again, id)} == {""}
    # With another key.
    mallory = await world.caller("mallory")
    replay(mallory, 100)
    assert await notes(mallory, world, run) == wanted
    assert {one.code for one in answers_to(mallory, id)} == {"E_CONFLICT"}
    lines = world.audit.new()
    assert [line["decision"] for line in lines if line["who"] == "alice"] == ["accepted", "done"]
    assert {(line["decision"], line["operation"]) for line in lines if line["who"] == "mallory"} == {("refused", id)}

    # In another life of the core.
    for caller in (alice, again, mallory):
        caller.close()
    await asyncio.to_thread(world.cluster.core.restart)
    alice, mallory = await world.caller("alice"), await world.caller("mallory")
    replay(alice, 100)
    replay(mallory, 10)
    assert await notes(alice, world, run) == wanted
    assert await notes(mallory, world, run) == wanted
    assert {one.code for one in answers_to(alice, id)} == {""}
    assert {one.code for one in answers_to(mallory, id)} == {"E_CONFLICT"}
    await calm(alice, world.id(), ["n1"])  # for the tests that follow
    alice.close()
    mallory.close()


def answers_to(caller: Caller, id: str) -> list[Any]:
    return [one for one in caller.heard if isinstance(one, client.Finished) and one.operation == id]


async def test_an_id_that_was_used_is_good_for_nothing_else(world: World) -> None:
    alice = await world.caller("alice")
    run = await the_run(alice, world)
    id = world.id()
    await alice.ends(await alice.ask([client.Annotate(operation=id, run=run, note="first")]))
    alice.heard.clear()

    (answer,) = await alice.ask([client.Control(operation=id, environment=world.environment, event="STOP_ACTIVITY")])

    assert answer.code == "E_CONFLICT"
    assert await the_run(alice, world) == run
    alice.close()


async def test_a_recorded_stream_of_bytes_opens_nothing(world: World) -> None:
    """CURVE's keys are of one connection: what was recorded on the wire means nothing on another."""
    recorded: list[bytes] = []
    host, port = world.cluster.endpoint.removeprefix("tcp://").split(":")

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool) -> None:
            while data := await source.read(65536):
                if keep:
                    recorded.append(data)
                sink.write(data)
            sink.close()

        await asyncio.gather(carry(reader, there_writer, True), carry(there_reader, writer, False))

    server = await asyncio.start_server(between, "127.0.0.1", 0)
    through = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pair = read_key_file(world.cluster.key_file("alice"))
    id = world.id()
    alice = await Caller(world.context, through, pair, world.cluster.core_key).begin()
    await alice.ask([client.Lock(operation=id, detectors=("mid",)), client.Unlock(operation=id + "u")])
    alice.close()
    server.close()
    witness = await world.caller("alice")
    before = await deeds(witness, world.id())
    world.audit.new()

    reader, writer = await asyncio.open_connection(host, int(port))
    for data in recorded:
        writer.write(data)
    async with asyncio.timeout(60):
        await reader.read(-1)  # until the core hangs up
    writer.close()

    assert await deeds(witness, world.id()) == before
    assert world.audit.new() == []
    assert b"mid" not in b"".join(recorded)
    witness.close()


# somebody else's name


FORGERIES: dict[str, Any] = {
    "Annotate": lambda id, world, run: client.Annotate(operation=id, run=run, note="not mine", requester="owner"),
    "Lock": lambda id, world, run: client.Lock(operation=id, detectors=("mch",), requester="owner"),
}


@pytest.mark.parametrize("kind", list(FORGERIES))
async def test_the_name_in_a_message_is_not_believed(world: World, kind: str) -> None:
    mallory = await world.caller("mallory")
    run = await the_run(mallory, world)
    id = world.id()
    world.audit.new()

    await mallory.ends(await mallory.ask([FORGERIES[kind](id, world, run)]))

    assert {(line["who"], line["requester"]) for line in world.audit.new()} == {("mallory", "mallory")}
    (told,) = await mallory.ask([client.ShowOperations(request=world.id(), limit=5)])
    assert [one.requester for one in told.operations if one.operation == id] == ["mallory"]
    if kind == "Annotate":
        assert (await notes(mallory, world, run))[-1] == ("mallory", "not mine")
    else:
        (locks,) = await mallory.ask([client.ShowLocks(request=world.id())])
        assert [lock.owner for lock in locks.locks if lock.detector == "mch"] == ["mallory"]
        await mallory.ask([client.Unlock(operation=world.id())])
    mallory.close()


def hello(node: str) -> NodeHello:
    return NodeHello(
        node=node, life="evil", host="127.0.0.1", attributes={}, cpus=8.0, memory_mb=1000.0, ports=(), epoch_seen=0
    )


async def test_a_node_does_not_say_that_it_is_another_one(world: World) -> None:
    evil = await world.node("n2")
    world.audit.new()

    evil.send(hello("n1"))
    await evil.until(lambda: bool(evil.heard))

    assert [type(one) for one in evil.heard] == [NodeRefused]
    owner = await world.caller("owner")
    await calm(owner, world.id(), ["n1"])
    (nodes,) = await owner.ask([client.ShowNodes(request=world.id())])
    assert [node.node for node in nodes.nodes] == ["n1"]
    owner.close()
    evil.close()


async def test_a_node_does_not_speak_in_the_session_of_another_one(world: World) -> None:
    owner, evil = await world.caller("owner"), await world.node("n2")
    evil.send(hello("n2"))
    await evil.until(lambda: any(type(one) is Welcome for one in evil.heard))
    own = next(one.session for one in evil.heard if type(one) is Welcome)
    await calm(owner, world.id(), ["n1"])
    (before,) = await owner.ask([client.Show(request=world.id(), environment=world.environment)])
    await owner.ask([client.Watch(request=world.id(), metrics=True, lines=True)])
    dead = TaskStatus(task=world.task, phase=Phase.EXITED, state=TaskState.ERROR, error="a lie")
    lies = TaskTelemetry(
        task=world.task,
        run=before.environments[0].run_number,
        metrics=(MetricSpan(name="evil", unit="", n=1, sum=1.0, min=1.0, max=1.0, last=1.0, unix_ms=1),),
        lines=(LogLine(severity=Severity.FATAL, text="a lie"),),
    )

    for session in {*range(own - 20, own + 20), 0, 1, 2**31, 2**63 - 1}:
        for sequence in (1, 2, 1000):
            evil.send(
                Update(session=session, sequence=sequence, tasks=(dead,)),
                NodeKeepalive(session=session, sequence=sequence),
                Telemetry(session=session, tasks=(lies,)),
                OutputRead(session=session, id="1", task=world.task, text="a lie"),
            )
        evil.send(
            Answer(session=session, sequence=2000, id="x.1", state=TaskState.DONE, done=(world.task,)),
            Announce(
                session=session,
                sequence=2001,
                tasks=(Held(status=dead, environment=world.environment, role="single.one", class_name="faulty"),),
            ),
        )
        if session != own:
            evil.send(Announce(session=session, sequence=1, tasks=()), Fenced(session=session, epoch=2**40))
    evil.send(hello("n1"))  # its answer comes after all of that
    await evil.until(lambda: any(type(one) is NodeRefused and "n1" in one.reason for one in evil.heard))
    await calm(owner, world.id(), ["n1"])
    (after,) = await owner.ask([client.Show(request=world.id(), environment=world.environment)])

    (was,), (now,) = before.environments, after.environments
    assert (now.state, now.run_number, now.cause) == (was.state, was.run_number, "")
    assert [(task.task, task.phase, task.state, task.pid, task.error) for task in now.tasks] == [
        (task.task, task.phase, task.state, task.pid, task.error) for task in was.tasks
    ]
    assert "a lie" not in repr(owner.heard)
    assert "evil" not in repr([one for one in owner.heard if isinstance(one, (client.Metrics, client.Lines))])
    denied = [line for line in world.audit.new() if line["decision"] == "denied"]
    assert {line["who"] for line in denied} == {"n2"}
    owner.close()
    evil.close()


async def test_the_key_of_a_node_is_no_client_even_in_its_own_name(world: World) -> None:
    evil = await world.node("n2")
    world.audit.new()
    before = await done(world)

    for kind in (client.Lock(operation=world.id(), detectors=("its",)), client.Info(request=world.id())):
        evil.dialer.send((VERSION_FRAME, CLIENT.encode(kind)))
    evil.send(hello("n1"))
    await evil.until(lambda: bool(evil.heard))

    assert [type(one) for one in evil.heard] == [NodeRefused]
    assert await done(world) == before
    evil.close()


async def done(world: World) -> list[tuple[int, str]]:
    owner = await world.caller("owner")
    found = await deeds(owner, world.id())
    owner.close()
    return found
