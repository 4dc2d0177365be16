"""Every verb × role × state of the lock, through a CURVE socket of a real core with a real environment."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest
import pytest_asyncio
from fieldkit.cluster import Cluster, told_on_failure

from libecs.access import VERBS, Role
from libecs.io.keys import read_key_file
from libecs.io.link import Context, close_context, new_context
from libecs.wire import client
from libecs.wire.client import Document, Finished, Refused
from libecs.wire.node import NODE, NodeHello
from tests.security.caller import AuditReader, Caller, calm, id_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

MAY: Mapping[str, str] = {
    # V viewer, O operator, A admin, S service. By hand: what libecs.access says is compared with what was meant.
    "Create": "OA", "Control": "OA", "Destroy": "OA", "Reconfigure": "OA", "Modify": "OA", "Lock": "OA",
    "Unlock": "OA", "EndTasks": "OA", "Annotate": "OAS", "Drain": "A", "Lock.force": "A", "Unlock.force": "A",
    "Work.key.invite": "A", "Work.key.approve": "A", "Work.key.revoke": "A", "Work.key.rotate": "VOAS",
    "Work.key.core": "A",
    "Work.repository.add": "A", "Work.repository.remove": "A", "Work.repository.refresh": "OA",
    "Work.repository.default": "A",
    "Show": "VOAS", "ShowRuns": "VOAS", "ShowEvents": "VOAS", "ShowLocks": "VOAS", "ShowNodes": "VOAS",
    "ShowTasks": "VOAS", "ShowOperations": "VOAS", "ReadLog": "VOAS", "Subscribe": "VOAS", "Watch": "VOAS",
    "Follow": "VOAS", "Info": "VOAS", "Ping": "VOAS",
    "Consult.template.list": "VOAS", "Consult.template.show": "VOAS", "Consult.template.expand": "VOAS",
    "Consult.template.lint": "VOAS", "Consult.template.form": "VOAS", "Consult.environment.plan": "VOAS",
    "Consult.role.query": "VOAS", "Consult.repository.list": "VOAS",
    "Consult.key.list": "A", "Consult.audit.tail": "A",
}  # fmt: skip
UNLISTED = ("Work.nothing", "Work.key.", "Consult.nothing", "Consult.")
TOUCHES = ("Create", "Control", "Destroy", "Reconfigure", "Modify", "EndTasks")
"""An environment: locks and scopes count."""
CHANGES = ("Create", "Control", "Destroy", "Reconfigure", "Modify", "Lock", "Unlock", "EndTasks", "Annotate", "Drain")
ROLES = {
    "wall": (Role.VIEWER, None), "alice": (Role.OPERATOR, None), "olga": (Role.OPERATOR, ["its"]),
    "nobody": (Role.OPERATOR, []), "tim": (Role.OPERATOR, ["tpc"]), "root": (Role.ADMIN, None),
    "robot": (Role.SERVICE, None), "n1": (Role.NODE, None), "bob": (Role.OPERATOR, None),
}  # fmt: skip
OUT_OF_SCOPE = ("nobody", "tim")
HOLDER = "bob"
LOCKS = ("free", "own", "other's")


@attrs.frozen(kw_only=True)
class World:
    """A core with an environment of detector `its` that takes a run."""

    cluster: Cluster
    callers: Mapping[str, Caller]
    environment: str
    task: str
    audit: AuditReader
    ids: Iterator[int]

    def id(self) -> str:
        return f"case-{next(self.ids)}"

    async def shown(self) -> tuple[Any, ...]:
        """Return what an attack could have changed."""
        id = self.id()
        await calm(self.callers["root"], id, self.cluster.nodes)
        (answer,) = await self.callers["root"].ask([client.Show(request=id, environment=self.environment)])
        (info,) = answer.environments
        return info.state, info.run_number, [(task.role, task.pid, task.state) for task in info.tasks], info.excluded

    async def hold(self, owner: str) -> None:
        """Give detector `its` to somebody, or with "" to nobody."""
        root = self.callers["root"]
        (freed,) = await root.ask([client.Unlock(operation=self.id(), detectors=("its",), force=True, reason="a test")])
        assert freed.code in ("", "E_CONFLICT", "E_NOT_FOUND"), freed
        if owner:
            (taken,) = await self.callers[owner].ask([client.Lock(operation=self.id(), detectors=("its",))])
            assert taken.code == "", taken
        self.audit.new()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    with Cluster(["n1"]) as cluster, told_on_failure(cluster):
        for name, (role, detectors) in ROLES.items():
            if name not in cluster.nodes:
                cluster.add_key(name, role, detectors)
        async with cluster.connect() as ecs:
            env = await ecs.environment("single", {"detectors": "its"})
            await env.control("START_ACTIVITY")
            (info,) = [one for one in await ecs.tasks() if one.environment == env.id]
        cluster.coconut("key", "list")  # the core has read the keys when it answers
        context = new_context()
        callers: dict[str, Caller] = {}
        try:
            for name in ROLES:
                callers[name] = await caller_of(context, cluster, name)
            yield World(
                cluster=cluster,
                callers=callers,
                environment=env.id,
                task=info.task,
                audit=AuditReader(cluster.state),
                ids=itertools.count(1),
            )
        finally:
            for caller in callers.values():
                caller.close()
            close_context(context)


async def caller_of(context: Context, cluster: Cluster, name: str, **others: Any) -> Caller:
    pair = read_key_file(cluster.key_file(name))
    return await Caller(context, cluster.endpoint, pair, cluster.core_key, **others).begin()


def request(verb: str, world: World, id: str) -> Any:
    """Return a request that changes nothing even if it is allowed: what it asks for can't be done."""
    env, absent = world.environment, "no-such-thing"
    kind, _, name = verb.partition(".")
    makers: Mapping[str, Callable[[], Any]] = {
        "Create": lambda: client.Create(operation=id, workflow=absent, variables={"detectors": "its"}),
        "Control": lambda: client.Control(operation=id, environment=env, event="CONFIGURE"),
        "Destroy": lambda: client.Destroy(operation=id, environment=env),
        "Reconfigure": lambda: client.Reconfigure(operation=id, environment=env, values={"value": "7"}),
        "Modify": lambda: client.Modify(operation=id, environment=env, exclude=(absent,)),
        "Lock": lambda: client.Lock(operation=id, detectors=()),
        "Unlock": lambda: client.Unlock(operation=id, detectors=(absent,)),
        "Lock.force": lambda: client.Lock(operation=id, detectors=(), force=True, reason="r"),
        "Unlock.force": lambda: client.Unlock(operation=id, detectors=(absent,), force=True, reason="r"),
        "EndTasks": lambda: client.EndTasks(operation=id, tasks=(world.task, absent), force=True),
        "Annotate": lambda: client.Annotate(operation=id, run=999_999_999, note="x"),
        "Drain": lambda: client.Drain(operation=id, node=absent),
        "Show": lambda: client.Show(request=id),
        "ShowRuns": lambda: client.ShowRuns(request=id),
        "ShowEvents": lambda: client.ShowEvents(request=id, limit=1),
        "ShowLocks": lambda: client.ShowLocks(request=id),
        "ShowNodes": lambda: client.ShowNodes(request=id),
        "ShowTasks": lambda: client.ShowTasks(request=id),
        "ShowOperations": lambda: client.ShowOperations(request=id, limit=1),
        "ReadLog": lambda: client.ReadLog(request=id, task=absent),
        "Subscribe": lambda: client.Subscribe(request=id),
        "Watch": lambda: client.Watch(request=id),
        "Follow": lambda: client.Follow(request=id, operation=absent),
        "Info": lambda: client.Info(request=id),
        "Ping": lambda: client.Ping(request=id),
        "Work.key.core": lambda: client.Work(operation=id, name=name, arguments={"days": "some"}),
        "Work": lambda: client.Work(operation=id, name=name),
        "Consult": lambda: client.Consult(request=id, subject=name),
    }
    return makers[verb if verb in makers else kind]()


def is_denied(answer: Any) -> bool:
    return isinstance(answer, (Finished, Refused, Document)) and answer.code == "E_DENIED"


def expected(verb: str, who: str, lock: str) -> bool:
    """Return whether it is denied."""
    role = ROLES[who][0]
    if role.name[0] not in MAY.get(verb, ""):
        return True
    return verb in TOUCHES and (lock == "other's" or who in OUT_OF_SCOPE)


async def test_the_table_of_verbs_is_what_was_meant() -> None:
    letters = {"V": Role.VIEWER, "O": Role.OPERATOR, "A": Role.ADMIN, "S": Role.SERVICE}
    assert {name: set(verb.roles) for name, verb in VERBS.items()} == {
        name: {letters[letter] for letter in may} for name, may in MAY.items()
    }
    assert {name for name, verb in VERBS.items() if verb.locks} == set(TOUCHES)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("who", [name for name in ROLES if name not in ("n1", HOLDER)])
async def test_each_verb_is_allowed_or_denied_as_the_table_says(world: World, who: str, lock: str) -> None:
    may_lock = ROLES[who][0] in (Role.OPERATOR, Role.ADMIN) and who not in OUT_OF_SCOPE
    if lock == "own" and not may_lock:
        lock = "free"  # who can't take a lock has none
    await world.hold({"free": "", "own": who, "other's": HOLDER}[lock])
    before = await world.shown()
    world.audit.new()
    verbs = {world.id(): verb for verb in (*MAY, *UNLISTED)}

    caller = world.callers[who]
    answers = await caller.ask([request(verb, world, id) for id, verb in verbs.items()])
    await caller.ends(answers)

    got = {verbs[id_of(answer)]: is_denied(answer) for answer in answers}
    assert got == {verb: expected(verb, who, lock) for verb in verbs.values()}
    assert await world.shown() == before
    lines = world.audit.new()
    changing = [id for id, verb in verbs.items() if verb.partition(".")[0] in (*CHANGES, "Work")]
    decided = AuditReader.decisions(lines)
    assert {id: decided[id] for id in changing} == dict.fromkeys(changing, 1)
    denied = [line for line in lines if line["decision"] == "denied"]
    assert sorted(line["verb"] for line in denied) == sorted(verb for verb, no in got.items() if no)
    assert {line["who"] for line in lines} <= {who}
    assert {line["key"] for line in lines} == {read_key_file(world.cluster.key_file(who)).public[:8]}


@pytest.mark.parametrize("lock", LOCKS)
async def test_the_key_of_a_node_asks_for_nothing(world: World, lock: str) -> None:
    await world.hold(HOLDER if lock == "other's" else "")
    before = await world.shown()
    caller = await world.callers["n1"].begin()
    context = new_context()
    try:
        as_node = await caller_of(context, world.cluster, "n1", channel=b"node", table=NODE)
        caller.send(*(request(verb, world, world.id()) for verb in (*MAY, *UNLISTED)))
        # On its own channel it may speak, though not as another node; and a client's message is none there.
        as_node.table = client.CLIENT
        as_node.send(*(request(verb, world, world.id()) for verb in MAY))
        as_node.table = NODE
        as_node.send(hello("n2"))
        await as_node.until(lambda: bool(as_node.heard))
        as_node.close()
    finally:
        close_context(context)

    assert [type(answer).__name__ for answer in as_node.heard] == ["NodeRefused"]
    assert caller.heard == []
    assert await world.shown() == before


def hello(node: str) -> NodeHello:
    return NodeHello(
        node=node, life="x", host="127.0.0.1", attributes={}, cpus=1.0, memory_mb=1.0, ports=(), epoch_seen=0
    )


async def test_locks_are_taken_by_those_who_may_and_bind_all_others(world: World) -> None:
    await world.hold("")

    async def lock(who: str, *detectors: str, **others: Any) -> str:
        message = client.Lock(operation=world.id(), detectors=detectors or ("its",), **others)
        (answer,) = await world.callers[who].ask([message])
        return str(answer.code)

    async def unlock(who: str, **others: Any) -> str:
        message = client.Unlock(operation=world.id(), detectors=("its",), **others)
        (answer,) = await world.callers[who].ask([message])
        return str(answer.code)

    assert await lock("wall") == "E_DENIED"
    assert await lock("robot") == "E_DENIED"
    assert await lock("tim") == "E_DENIED"
    assert await lock("olga", "its", "tpc") == "E_DENIED"
    assert await lock("olga") == ""
    assert await lock("olga") == ""
    for who in ("alice", "root"):
        assert await lock(who) == "E_CONFLICT"
        assert await unlock(who) in ("E_CONFLICT", "E_DENIED")
    assert await lock("alice", force=True, reason="r") == "E_DENIED"
    assert await unlock("alice", force=True, reason="r") == "E_DENIED"
    assert await lock("root", force=True, reason="r") == ""
    assert await unlock("olga") in ("E_CONFLICT", "E_DENIED")
    assert await unlock("root") == ""


async def test_a_name_in_a_message_counts_for_nothing(world: World) -> None:
    await world.hold(HOLDER)
    id = world.id()
    message = client.Control(operation=id, environment=world.environment, event="STOP_ACTIVITY", requester=HOLDER)

    (answer,) = await world.callers["alice"].ask([message])

    assert answer.code == "E_DENIED"
    (line,) = world.audit.new()
    assert (line["who"], line["requester"], line["decision"]) == ("alice", "alice", "denied")


async def test_what_is_allowed_is_done_and_its_end_is_a_line_too(world: World) -> None:
    await world.hold("olga")
    id = world.id()
    olga = world.callers["olga"]

    answers = await olga.ask(
        [client.Annotate(operation=id, run=(await world.shown())[1], note="hello", requester="mallory")]
    )
    await olga.ends(answers)

    lines = world.audit.new()
    assert [(line["verb"], line["who"], line["decision"]) for line in lines] == [
        ("Annotate", "olga", "accepted"),
        ("Annotate", "olga", "done"),
    ]
    (runs,) = await olga.ask([client.ShowRuns(request=world.id(), number=(await world.shown())[1])])
    assert [(note.author, note.text) for note in runs.runs[0].notes] == [("olga", "hello")]


async def test_what_a_failed_expansion_quotes_is_told_to_who_asked_and_to_no_viewer(world: World) -> None:
    id, root, viewer = world.id(), world.callers["root"], world.callers["wall"]
    text = "name: q\nroles:\n  - name: '{{ x }}'\n    for: {range: '{{ db_password }}', var: x}\n    roles: []\n"
    create = client.Create(
        operation=id, workflow="q", variables={"db_password": "hunter2"}, files={"workflows/q.yaml": text}
    )
    watch = world.id()
    await viewer.ask([client.Subscribe(request=watch)])

    accepted = await root.ask([create])
    (ended,) = await root.ends(accepted)
    (listed,) = await viewer.ask([client.ShowOperations(request=world.id(), limit=1)])
    (recalled,) = await viewer.ask([client.ShowEvents(request=world.id(), limit=1000, last=True)])
    viewer.send(client.Follow(request=world.id(), operation=id))
    await viewer.until(lambda: any(isinstance(one, Finished) and one.operation == id for one in viewer.heard))

    assert ended.code == "E_TEMPLATE"
    assert "hunter2" in ended.message
    assert listed.operations[0].message == (
        "q could not be expanded (E_TEMPLATE); coconut operation list tells operators why"
    )
    assert any(event.name == id for event in recalled.events)
    assert not [told for told in viewer.heard if "hunter2" in str(told)]
    assert "hunter2" not in str(world.audit.new())


async def test_the_chain_of_all_that_is_in_order(world: World) -> None:
    ran = world.cluster.coconut("audit", "verify", "--state", str(world.cluster.state), "--json")

    assert ran.returncode == 0, ran.stderr
