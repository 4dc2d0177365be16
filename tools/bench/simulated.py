"""Time CONFIGURE, START and STOP of many simulated tasks, from a client's request to its answer.

    python tools/bench/simulated.py [--tasks 1000] [--nodes 20] [--repeats 5] [--folder DIR]

Real: both engines, their event loops, the codec on every link (client, node, task), the core's journal on disk with an
fsync per commit. Simulated: links are memory, tasks answer at once, everything shares one process and one thread.
Each task has 8 properties, one inbound and one outbound channel.

Beyond 1 000 tasks the pings of all nodes, which share this one process, would be what is timed: they are made rarer in
proportion, so that the process sends 1 000 a second. Beyond 100 nodes it is the same with the keepalives between core
and nodes: the process sends 200 a second each way.

"bare" is the least code that moves the same messages in the same process: each is encoded and decoded once, each
task's state is set. Prints one JSON object: medians, in milliseconds, of wall time and of CPU time (`…_cpu_ms`), which
is what counts where others use the machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import (
    Adopt,
    Call,
    CancelCall,
    Close,
    Connected,
    Effect,
    Expand,
    Expanded,
    Forget,
    Input,
    MakeFolder,
    Now,
    Open,
    ProcessEnded,
    ProcessStarted,
    Publish,
    Received,
    RunNumberTaken,
    SaveRun,
    Send,
    Signal,
    Spawn,
    TakeRunNumber,
)
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.fsm import TASK, EnvState, Mode, TaskEvent, TaskState
from libecs.io.loop import EngineLoop, Store
from libecs.io.memory import MemoryLink
from libecs.io.store_sqlite import SqliteStore
from libecs.wire import client, node, task
from libecs.wire.node import Exit, ExitCause
from libecs.workflow.role import Channel, Constraint, Role, RoleKind, TaskClass, TaskTraits, Workflow

WAIT_S = 600.0
EVENTS = {"CONFIGURE": "configure", "START_ACTIVITY": "start", "STOP_ACTIVITY": "stop", "RESET": "reset"}
"""Event to the name of its figure."""


class Times(NamedTuple):
    """What something took, in milliseconds."""

    wall_ms: float
    cpu_ms: float


def make_workflow(tasks: int, nodes: int) -> Workflow:
    """Return a workflow with its tasks spread evenly: each connects to the one before it on its node."""
    roles = [Role(name="root", path="root", parent=-1, kind=RoleKind.AGGREGATOR)]
    for n in range(nodes):
        host = len(roles)
        roles.append(Role(name=f"host{n}", path=f"root.host{n}", parent=0, kind=RoleKind.AGGREGATOR))
        mine = range(n * tasks // nodes, (n + 1) * tasks // nodes)
        for i in mine:
            before = i - 1 if i > mine.start else mine.stop - 1
            roles.append(
                Role(
                    name=f"task{i}",
                    path=f"root.host{n}.task{i}",
                    parent=host,
                    kind=RoleKind.TASK,
                    task=TaskTraits(class_name="stage", mode=Mode.DIRECT),
                    constraints=(Constraint(attribute="machine_id", value=f"node{n}"),),
                    bind=(Channel(name="in", type="pull"),),
                    connect=(Channel(name="out", type="push", target=f"root.host{n}.task{before}:in"),),
                )
            )
    stage = TaskClass(
        name="stage",
        mode=Mode.DIRECT,
        command="/usr/bin/stage",
        properties={f"property-{n}": f"value {n}" for n in range(8)},
        bind=(Channel(name="in", type="pull"),),
    )
    return Workflow(name="bench", roles=tuple(roles), classes={"stage": stage}, revision="local")


class StubTask:
    """A task that does at once what it is told; its messages go through the codec."""

    __slots__ = ("_name", "_put", "sequence", "state")

    def __init__(self, name: str, put: Callable[[Input], None]) -> None:
        self._name = name
        self._put = put
        self.state = TaskState.STANDBY
        self.sequence = 1

    def take(self, message: object) -> None:
        """Take a message of the executor."""
        message = task.TASK.decode(task.TASK.encode(message))
        if isinstance(message, task.Transition):
            self.state = TASK[self.state][TaskEvent(message.event)]
            self.sequence += 1
            self._say(task.StateChanged(state=self.state, sequence=self.sequence))
            if self.state is TaskState.DONE:
                self._put(ProcessEnded(task=self._name, exit=Exit(cause=ExitCause.EXITED)))
            self._say(
                task.Result(id=message.id, ok=True, state=self.state, event=message.event, sequence=self.sequence)
            )
        elif isinstance(message, task.Ping):
            self._say(task.Pong(number=message.number, state=self.state, sequence=self.sequence))
        elif isinstance(message, task.Hello):
            self._say(
                task.Welcome(
                    version=1,
                    machine=task.Machine.OCC,
                    state=self.state,
                    sequence=self.sequence,
                    pid=1,
                    task=self._name,
                )
            )

    def _say(self, message: object) -> None:
        self._put(Received(self._name, task.TASK.decode(task.TASK.encode(message))))


class StubNode:
    """One executor's loop, and its tasks."""

    def __init__(self, name: str, hub: MemoryLink, ping_s: float, rarer: float) -> None:
        self.tasks: dict[str, StubTask] = {}
        self._hub = hub
        self._name = name
        settings = ExecutorSettings(
            node=name,
            instance="bench",
            attributes={"machine_id": name},
            cpus=100_000.0,
            memory_mb=1e9,
            ports=((10_000, 65_000),),
            ping_s=ping_s,
            stalled_s=3 * ping_s,
            keepalive_s=0.5 * rarer,
        )
        self.loop = EngineLoop(
            ExecutorEngine(settings),
            {
                Send: self._send,
                Spawn: self._spawn,
                Open: lambda effect: self.loop.put(Connected(effect.task)),
                Close: lambda effect: None,
                Signal: self._signal,
                Forget: lambda effect: None,
                MakeFolder: lambda effect: None,
            },
            name=name,
        )
        self.loop.put(Adopt())
        self.loop.start()

    def _send(self, effect: Send) -> None:
        if effect.peer == "core":
            self._hub.to_hub(self._name, effect.message)
        else:
            self.tasks[effect.peer].take(effect.message)

    def _spawn(self, effect: Spawn) -> None:
        name = effect.spec.task
        self.tasks[name] = StubTask(name, self.loop.put)
        self.loop.put(ProcessStarted(task=name, pid=len(self.tasks)))

    def _signal(self, effect: Signal) -> None:
        self.loop.put(ProcessEnded(task=effect.task, exit=Exit(cause=ExitCause.SIGNALED, signal=effect.number)))


class Core:
    """The core's engine, which begins its life with its first input."""

    def __init__(self, rarer: float) -> None:
        usual = CoreSettings(instance="bench")
        self.engine = CoreEngine(
            CoreSettings(
                instance="bench",
                keepalive_s=usual.keepalive_s * rarer,
                suspect_s=usual.suspect_s * rarer,
                lost_s=usual.lost_s * rarer,
            )
        )
        self._begun = False

    @property
    def next_deadline(self) -> float | None:
        """See Engine."""
        return self.engine.next_deadline

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """See Engine."""
        if self._begun:
            return self.engine.handle(input, now)
        self._begun = True
        return self.engine.start(now) + self.engine.handle(input, now)


class Installation:
    """Core, nodes and one client in one event loop."""

    def __init__(self, tasks: int, nodes: int, store: Store) -> None:
        self.workflow = make_workflow(tasks, nodes)
        self._answers: dict[str, asyncio.Future[client.Finished]] = {}
        self._runs = 500
        self._ready = asyncio.Event()
        rarer = max(1.0, nodes / 100)
        self._core = Core(rarer)
        self.core = EngineLoop(
            self._core,
            {
                Send: self._send,
                Publish: lambda effect: self._look(),
                Expand: lambda effect: self.core.put(Expanded(job=effect.job, workflow=self.workflow)),
                TakeRunNumber: self._take_run_number,
                Call: lambda effect: None,
                CancelCall: lambda effect: None,
                SaveRun: lambda effect: None,
            },
            store=store,
            on_fatal=self._failed,
            name="core",
        )
        self._hub = MemoryLink(node.NODE, self.core.put, hub_name="core", encoded=True)
        self.nodes = [StubNode(f"node{n}", self._hub, max(1.0, tasks / 1000), rarer) for n in range(nodes)]

    async def start(self) -> None:
        """Plug in all nodes, wait until they have said hello."""
        self.core.start()
        for one in self.nodes:
            self._hub.attach(one.loop.name, one.loop.put)
        await asyncio.wait_for(self._ready.wait(), WAIT_S)

    def _look(self) -> None:
        if not self._ready.is_set() and len(self._core.engine.offers()) == len(self.nodes):
            self._ready.set()

    async def ask(self, request: client.Create | client.Control | client.Destroy) -> tuple[client.Finished, Times]:
        """Send a request; return its answer and the time that it took."""
        answer = asyncio.get_running_loop().create_future()
        self._answers[request.operation] = answer
        begun, cpu_begun = time.perf_counter(), time.process_time()
        self.core.put(Received("client", client.CLIENT.decode(client.CLIENT.encode(request))))
        finished = await asyncio.wait_for(answer, WAIT_S)
        took = Times(1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - cpu_begun))
        if finished.code:
            raise SystemExit(f"{request} ended with {finished.code}: {finished.message} {finished.cause}")
        return finished, took

    def session(self, node_name: str) -> int:
        """Return the number of a node's session with the core."""
        return self._core.engine.sessions.nodes[node_name].session or 0

    def stop(self) -> None:
        """Stop all loops."""
        for one in self.nodes:
            one.loop.stop()
        self.core.stop()

    def _send(self, effect: Send) -> None:
        if effect.peer != "client":
            self._hub.to_peer(effect.peer, effect.message)
            return
        frame = client.CLIENT.encode(effect.message)
        if isinstance(effect.message, client.Metrics):
            return  # read by a process of its own
        message = client.CLIENT.decode(frame)
        if isinstance(message, client.Finished):
            answer = self._answers.pop(message.operation, None)
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _take_run_number(self, effect: TakeRunNumber) -> None:
        self._runs += 1
        self.core.put(RunNumberTaken(key=effect.key, number=self._runs))

    def _failed(self, error: BaseException) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)


async def measure(tasks: int, nodes: int, repeats: int, folder: Path) -> dict[str, Times]:
    """Return the median times of each transition, and those of deployment and end."""
    store = SqliteStore(folder / "core")
    installation = Installation(tasks, nodes, store)
    await installation.start()
    made, deployed = await installation.ask(
        client.Create(operation="create", workflow="bench", target=EnvState.DEPLOYED)
    )
    times: dict[str, list[Times]] = {name: [] for name in EVENTS.values()}
    for n in range(repeats):
        for event, name in EVENTS.items():
            gc.collect()  # what the transition before left is not this one's cost
            request = client.Control(operation=f"{event}{n}", environment=made.environment, event=event)
            times[name].append((await installation.ask(request))[1])
    wanted = {TaskState.STANDBY}
    assert {stub.state for one in installation.nodes for stub in one.tasks.values()} == wanted
    _, destroyed = await installation.ask(client.Destroy(operation="end", environment=made.environment))
    installation.stop()
    store.close()
    return {"deploy": deployed, "destroy": destroyed} | {name: median(taken) for name, taken in times.items()}


def median(times: Sequence[Times]) -> Times:
    """Return the median of each kind of time."""
    return Times(statistics.median(one.wall_ms for one in times), statistics.median(one.cpu_ms for one in times))


def bare(tasks: int, nodes: int) -> float:
    """Return the CPU milliseconds of the least code that moves the messages of one CONFIGURE."""
    arguments = {f"property-{n}": f"value {n}" for n in range(8)} | {
        f"chans.{name}.0.{key}": "tcp://node1:10000"
        for name in ("in", "out")
        for key in ("address", "method", "type", "transport", "sndBufSize", "rcvBufSize", "rateLogging")
    }
    states: dict[str, TaskState] = {}
    begun = time.process_time()
    for n in range(nodes):
        names = tuple(f"e1t{i}" for i in range(n * tasks // nodes, (n + 1) * tasks // nodes))
        command = node.Transit(
            session=1,
            epoch=1,
            id="e1.1.1",
            event=TaskEvent.CONFIGURE,
            tasks=names,
            each=tuple(arguments for _ in names),
        )
        told = node.NODE.decode(node.NODE.encode(command))
        for name, one in zip(told.tasks, told.each, strict=True):
            transition = task.Transition(id=told.id, event=TaskEvent.CONFIGURE, source=TaskState.STANDBY, arguments=one)
            heard = task.TASK.decode(task.TASK.encode(transition))
            changed = task.StateChanged(state=TaskState.CONFIGURED, sequence=2)
            result = task.Result(id=heard.id, ok=True, state=changed.state, event=heard.event, sequence=2)
            task.TASK.decode(task.TASK.encode(changed))
            states[name] = TaskState(task.TASK.decode(task.TASK.encode(result)).state)
        answer = node.Answer(session=1, sequence=1, id=told.id, state=TaskState.CONFIGURED, done=names)
        for name in node.NODE.decode(node.NODE.encode(answer)).done:
            states[name] = TaskState.CONFIGURED
    return (time.process_time() - begun) * 1000


def main(arguments: list[str] | None = None) -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=0, help="default: one for 50 tasks, or for 100 beyond 20 000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the journal is written (default: the temporary folder)")
    options = parser.parse_args(arguments)
    tasks = options.tasks
    nodes = options.nodes or max(tasks // (100 if tasks > 20_000 else 50), 1)
    bare_ms = statistics.median(bare(tasks, nodes) for _ in range(options.repeats))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, contextlib.suppress(KeyboardInterrupt):
        figures = asyncio.run(measure(tasks, nodes, options.repeats, Path(folder)))
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        result = {f"simulated_{tasks}_{name}_ms": round(value.wall_ms, 2) for name, value in figures.items()}
        result |= {f"simulated_{tasks}_{name}_cpu_ms": round(value.cpu_ms, 2) for name, value in figures.items()}
        result[f"bare_{tasks}_ms"] = round(bare_ms, 2)
        result[f"simulated_{tasks}_nodes"] = nodes
        result[f"simulated_{tasks}_all_kib_per_task"] = round(grown_kib / tasks, 1)
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
