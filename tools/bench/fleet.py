"""1 000 executors at one core, each with its own key, socket, handshake and keepalive, ten tasks each.

    python tools/bench/fleet.py      prints {"fleet_1000_registered_s": 4.1, "fleet_1000_idle_core_percent": 20.3, …}

The core is a real `ecsd` over TCP with CURVE. The executors are not: one process plays all of them, speaks the node
link and has tasks in its head only, so that the figures are the core's. `idle` is processor time of the core over wall
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

from fieldkit.cluster import Cluster

from libecs.access import Role
from libecs.fsm import TaskEvent, TaskState
from libecs.io.keys import KeyPair, Keyring, KeyState
from libecs.io.link import ClientCurve, Context, Dialer, close_context, new_context, raise_limits
from libecs.wire import node
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.node import NODE, Phase

TASKS_EACH = 10
IDLE_S = 10.0
KEEPALIVE_S = 0.5
STATES = {
    TaskEvent.CONFIGURE: TaskState.CONFIGURED,
    TaskEvent.START: TaskState.RUNNING,
    TaskEvent.STOP: TaskState.CONFIGURED,
    TaskEvent.RESET: TaskState.STANDBY,
}
PAGE = os.sysconf("SC_PAGE_SIZE")


class FakeExecutor:
    """Says what an executor says. Its tasks do at once what they are told."""

    def __init__(self, context: Context, endpoint: str, name: str, curve: ClientCurve) -> None:
        self._name = name
        self._session = 0
        self._sequence = 0
        self._tasks: dict[str, node.TaskSpec] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.welcomed = self._loop.create_future()
        self._dialer = Dialer(context, endpoint, self._take, channel=b"node", curve=curve, on_link=self._link)

    def _say(self, message: object) -> None:
        self._dialer.send((VERSION_FRAME, NODE.encode(message)))

    def _link(self, up: bool) -> None:
        if up:
            attributes = {"machine_id": self._name}
            self._say(
                node.NodeHello(
                    node=self._name,
                    life=f"{self._name}/1",
                    host="127.0.0.1",
                    attributes=attributes,
                    cpus=64.0,
                    memory_mb=64_000.0,
                    ports=((30_000, 30_999),),
                    epoch_seen=0,
                )
            )

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _status(self, task: str, state: TaskState, phase: Phase = Phase.ACTIVE) -> node.TaskStatus:
        return node.TaskStatus(task=task, phase=phase, state=state, pid=1)

    def _take(self, frames: list[bytes]) -> None:
        message = NODE.decode(frames[1])
        if isinstance(message, node.Welcome):
            self._session = message.session
            self._say(node.Announce(session=self._session, sequence=self._next(), tasks=()))
            self._keep_alive()
            if not self.welcomed.done():
                self.welcomed.set_result(None)
        elif isinstance(message, node.Launch):
            self._tasks |= {spec.task: spec for spec in message.tasks}
            statuses = tuple(self._status(spec.task, TaskState.STANDBY) for spec in message.tasks)
            self._say(node.Update(session=self._session, sequence=self._next(), tasks=statuses))
        elif isinstance(message, node.Transit):
            self._answer(message.id, STATES[message.event], message.tasks)
        elif isinstance(message, node.Kill):
            self._answer(message.id, TaskState.DONE, message.tasks)

    def _answer(self, id: str, state: TaskState, tasks: tuple[str, ...]) -> None:
        self._say(node.Answer(session=self._session, sequence=self._next(), id=id, state=state, done=tasks))

    def _keep_alive(self) -> None:
        self._say(node.NodeKeepalive(session=self._session, sequence=self._sequence))
        self._timer = self._loop.call_later(KEEPALIVE_S, self._keep_alive)

    def close(self) -> None:
        """Hang up."""
        if self._timer is not None:
            self._timer.cancel()
        self._dialer.close()


async def play(endpoint: str, core_key: str, keys: list[tuple[str, str, str]]) -> None:
    """Be all executors of these names and keys; say on stdout when all are welcome; end with stdin."""
    raise_limits()
    context = new_context()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    fleet = [
        FakeExecutor(context, endpoint, name, ClientCurve(public=public, secret=secret, server=core_key))
        for name, public, secret in keys
    ]
    await asyncio.gather(*(one.welcomed for one in fleet))
    print("welcome", flush=True)
    await ended.wait()
    for one in fleet:
        one.close()
    close_context(context)


def repository(folder: Path, n_nodes: int) -> Path:
    """Write a workflow of ten tasks on each node."""
    (folder / "workflows").mkdir(parents=True)
    (folder / "tasks").mkdir()
    inner = {"name": "task-{{ n }}", "for": {"begin": 1, "end": TASKS_EACH, "var": "n"}, "task": {"load": "fake"}}
    outer = {
        "name": "host-{{ host }}",
        "for": {"begin": 1, "end": n_nodes, "var": "host"},
        "constraints": [{"attribute": "machine_id", "value": "node-{{ host }}"}],
        "roles": [inner],
    }
    task = {"name": "fake", "control": {"mode": "direct"}, "properties": {"rate": "1"}, "command": {"value": "true"}}
    (folder / "workflows" / "fleet.yaml").write_text(json.dumps({"name": "fleet", "roles": [outer]}))
    (folder / "tasks" / "fake.yaml").write_text(json.dumps(task))
    return folder


def processor_s(pid: int) -> float:
    """Return the processor time that the threads of a process have used that live now, in seconds."""
    used_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            used_ns += int((thread / "schedstat").read_text().split()[0])
    return used_ns / 1e9


def resident_mb(pid: int) -> float:
    """Return the memory of a process, in MB of 2^20 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


def register(cluster: Cluster, n_nodes: int) -> Iterator[tuple[str, str, str]]:
    """Make the key of each node known, as enrolment would."""
    principals = cluster.state / "keys" / "principals"
    desk = cluster.base / "desk"  # written here: a keyring reads all its files again with each key
    keyring = Keyring(desk)
    for number in range(1, n_nodes + 1):
        pair, name = KeyPair.new(), f"node-{number}"
        keyring.add(name, Role.NODE, pair.public, state=KeyState.APPROVED, by="bench", now_ms=0)
        (desk / f"{name}.toml").rename(principals / f"{name}.toml")
        yield name, pair.public, pair.secret
    keyring.close()


async def measure(n_nodes: int) -> dict[str, float]:
    """Return the figures of one number of nodes."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ecsb-") as name:
        folder = Path(name)
        cluster = Cluster(nodes=[], repository=repository(folder / "repo", n_nodes), fast=True)
        (folder / "keys").write_text(json.dumps(list(register(cluster, n_nodes))))
        with cluster:
            core = cluster.core.pid
            empty_mb, used_s, begin = resident_mb(core), processor_s(core), time.perf_counter()
            words = [__file__, "--play", cluster.endpoint, cluster.core_key, str(folder / "keys")]
            fleet = await asyncio.create_subprocess_exec(
                sys.executable, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert fleet.stdout is not None
            if await fleet.stdout.readline() != b"welcome\n":
                raise RuntimeError(f"the fleet was not welcome\n{cluster.core.tail()}")
            figures["registered_s"] = time.perf_counter() - begin
            figures["registered_core_ms_each"] = 1000 * (processor_s(core) - used_s) / n_nodes
            used_s, begin = processor_s(core), time.perf_counter()
            await asyncio.sleep(IDLE_S)
            figures["idle_core_percent"] = 100 * (processor_s(core) - used_s) / (time.perf_counter() - begin)
            figures["nodes_mb"] = resident_mb(core) - empty_mb
            async with cluster.connect() as ecs:
                begin = time.perf_counter()
                env = await ecs.environment("fleet", target="DEPLOYED")
                figures["deploy_s"] = time.perf_counter() - begin
                for event in ("CONFIGURE", "START_ACTIVITY", "STOP_ACTIVITY", "RESET"):
                    begin = time.perf_counter()
                    await env.control(event)
                    figures[f"{event.partition('_')[0].lower()}_s"] = time.perf_counter() - begin
                figures["core_mb"] = resident_mb(core)
                await env.destroy()
            assert fleet.stdin is not None
            fleet.stdin.close()
            await fleet.wait()
    return {f"fleet_{n_nodes}_{name}": round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    if "--play" in sys.argv:
        asyncio.run(play(sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text())))
    else:
        sizes = [int(word) for word in sys.argv[1:]] or [20, 1000]
        found: dict[str, float] = {}
        for size in sizes:
            found |= asyncio.run(measure(size))
        print(json.dumps(found))
