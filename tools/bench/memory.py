"""Measure the memory of the core for each task: KiB of resident memory, workflow, placement and states included.

    python tools/bench/memory.py [--tasks 20000]        prints {"core_kib_per_task": 9.8, …}

The core's engine runs alone in a fresh process. Its nodes are stubs that answer at once and keep nothing; everything
between them and the core goes through the codec, the workflow too, as it does when an expansion is answered. Records
are not kept: they are on disk. Each task has 8 properties (in its class), one inbound and one outbound channel.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

from simulated import make_workflow

from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import Continue, Effect, Expand, Expanded, Input, Now, Received, Resume, Send
from libecs.fsm import EnvState, TaskState, target_of
from libecs.wire import client, node
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.node import Phase, TaskStatus
from libecs.workflow.role import Workflow

TASKS_PER_NODE = 100


class Nodes:
    """Obedient nodes that remember nothing but how far they have counted."""

    def __init__(self) -> None:
        self._sequence: dict[int, int] = {}

    def answer(self, message: object) -> object | None:
        """Return what a node says to a message of the core, None for nothing."""
        if isinstance(message, node.Welcome):
            return node.Announce(session=message.session, sequence=self._next(message.session), tasks=())
        if isinstance(message, node.Launch):
            statuses = tuple(
                TaskStatus(task=spec.task, phase=Phase.ACTIVE, state=TaskState.STANDBY, pid=4711)
                for spec in message.tasks
            )
            return node.Update(session=message.session, sequence=self._next(message.session), tasks=statuses)
        if isinstance(message, node.Transit):
            return node.Answer(
                session=message.session,
                sequence=self._next(message.session),
                id=message.id,
                state=target_of(message.event),
                done=message.tasks,
            )
        return None

    def _next(self, session: int) -> int:
        self._sequence[session] = self._sequence.get(session, 0) + 1
        return self._sequence[session]


class Core:
    """The engine, and a queue that drives it."""

    def __init__(self, workflow: Path, nodes: int) -> None:
        self.finished: client.Finished | None = None
        self._workflow = workflow
        self._nodes = Nodes()
        self._engine = CoreEngine(CoreSettings(instance="bench"))
        self._queue: deque[Input] = deque()
        self._perform(self._engine.start(Now(0.0, 0)))
        for n in range(nodes):
            hello = node.NodeHello(
                node=f"node{n}",
                life="1",
                host=f"node{n}",
                attributes={"machine_id": f"node{n}"},
                cpus=0.0,
                memory_mb=0.0,
                ports=((10_000, 65_000),),
                epoch_seen=0,
            )
            self.put(f"node{n}", hello)

    def put(self, peer: str, message: object) -> None:
        """Let a peer say something, and do all that comes of it."""
        self._queue.append(Received(peer, message))
        while self._queue:
            self._perform(self._engine.handle(self._queue.popleft(), Now(0.0, 0)))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Continue):
                self._queue.append(Resume())
            elif isinstance(effect, Expand):
                workflow = unpack_value(Workflow, self._workflow.read_bytes())
                self._queue.append(Expanded(job=effect.job, workflow=workflow))
            elif isinstance(effect, Send) and effect.peer.startswith("node"):
                answer = self._nodes.answer(node.NODE.decode(node.NODE.encode(effect.message)))
                if answer is not None:
                    self._queue.append(Received(effect.peer, node.NODE.decode(node.NODE.encode(answer))))
            elif isinstance(effect, Send) and isinstance(effect.message, client.Finished):
                self.finished = effect.message


def resident_kib() -> float:
    """Return the resident memory of this process, what nobody uses given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def measure(workflow: Path, tasks: int) -> dict[str, float]:
    """Return the figures of this process."""
    core = Core(workflow, max(1, tasks // TASKS_PER_NODE))
    before = resident_kib()
    core.put("client", client.Create(operation="create", workflow="bench", target=EnvState.CONFIGURED))
    assert core.finished is not None, "it did not end"
    assert core.finished.state is EnvState.CONFIGURED, core.finished
    return {
        "core_kib_per_task": round((resident_kib() - before) / tasks, 2),
        "core_memory_tasks": tasks,
    }


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--workflow", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workflow:
        print(json.dumps(measure(options.workflow, options.tasks)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        workflow = Path(folder) / "workflow"
        made = make_workflow(options.tasks, max(1, options.tasks // TASKS_PER_NODE))
        workflow.write_bytes(pack_value(made))
        command = [sys.executable, __file__, "--tasks", str(options.tasks), "--workflow", str(workflow)]
        print(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
