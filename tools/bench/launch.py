"""Count how many C tasks a second come from nothing to STANDBY: through core, executor and shim, and bare.

    python tools/bench/launch.py        prints {"launch_per_s": 290.0, "spawn_per_s": 480.0, …}

`bare` is the least code: posix_spawn for each, one ROUTER that says Hello to all and waits for each Welcome; no shim,
no folder, no log, no journal. Bare and ours take turns, in one run. `…_only_per_s` is posix_spawn alone, without a wait
for anything; what a second process per task (the shim) costs at least is half of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import zmq

import ecsd
from libecs.fsm import EnvState
from libecs.io.embedded import Embedded, EmbeddedSettings, NodeDescription
from libecs.io.repository import TextRepository
from libecs.wire.client import Create, Destroy, Finished
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.task import TASK, Hello, PeerRole, Welcome

N_TASKS = 60
ROUNDS = 7
PROGRAM = Path(ecsd.__file__).parent / "examples" / "bin" / "source"
FILES = {
    "workflows/bench.yaml": f"""
name: bench
roles: [{{name: "source-{{{{ n }}}}", for: {{begin: 1, end: {N_TASKS}, var: n}}, task: {{load: source}}}}]
""",
    "tasks/source.yaml": """
name: source
control: {mode: direct}
command: {value: "{{ program }}", arguments: [--report-dir, "{{ folder }}"]}
""",
}


class Client:
    """Sends one operation after the other and waits for its end."""

    def __init__(self, embedded: Embedded) -> None:
        self._link = embedded.connect(self._receive)
        self._waiting: asyncio.Future[Finished] | None = None

    def _receive(self, message: object) -> None:
        if isinstance(message, Finished) and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(message)

    async def operate(self, message: Create | Destroy) -> Finished:
        """Return how it ended."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._link.send(message)
        finished = await self._waiting
        if finished.code:
            raise SystemExit(f"{finished.message}: {finished.cause}")
        return finished


async def launch(client: Client, number: int) -> float:
    """Launch all tasks, return the seconds until the environment is DEPLOYED, end them."""
    begin = time.perf_counter()
    finished = await client.operate(Create(operation=f"create{number}", workflow="bench", target=EnvState.DEPLOYED))
    seconds = time.perf_counter() - begin
    await client.operate(Destroy(operation=f"destroy{number}", environment=finished.environment))
    return seconds


def environment(endpoint: str) -> dict[str, str]:
    """Return what a bare task needs."""
    return {"PATH": os.environ["PATH"], "OCC_CONTROL_ENDPOINT": endpoint}


def bare(folder: Path, number: int) -> tuple[float, float]:
    """Return the seconds of posix_spawn alone, and those until the last Welcome."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.SNDHWM, 0)
    router.setsockopt(zmq.RECONNECT_IVL, 10)
    hello = TASK.encode(Hello(role=PeerRole.CONTROLLER, epoch=1, name="bench"))
    begin = time.perf_counter()
    pids = []
    for n in range(N_TASKS):
        endpoint = f"ipc://{folder}/{number}-{n}"
        pids.append(os.posix_spawn(PROGRAM, [str(PROGRAM), "--report-dir", str(folder)], environment(endpoint)))
    spawned = time.perf_counter()
    for n in range(N_TASKS):
        router.setsockopt(zmq.CONNECT_ROUTING_ID, str(n).encode())
        router.connect(f"ipc://{folder}/{number}-{n}")
        router.send_multipart([str(n).encode(), VERSION_FRAME, hello])
    waiting = N_TASKS
    while waiting:
        waiting -= isinstance(TASK.decode(router.recv_multipart()[2]), Welcome)
    end = time.perf_counter()
    for pid in pids:
        os.kill(pid, 9)
    for pid in pids:
        os.waitpid(pid, 0)
    context.destroy(linger=0)
    return spawned - begin, end - begin


async def measure() -> Mapping[str, float]:
    """Return the figures."""
    ours, spawned, welcomed = [], [], []
    with tempfile.TemporaryDirectory(prefix="ecsb-") as name:
        folder = Path(name)
        embedded = Embedded(
            EmbeddedSettings(
                nodes=(NodeDescription(name="node1"),),
                repository=TextRepository(name="bench", files=FILES),
                defaults={"program": str(PROGRAM), "folder": name},
            )
        )
        await embedded.start()
        try:
            client = Client(embedded)
            await launch(client, 0)  # fills the caches
            for number in range(1, ROUNDS + 1):
                alone, until_welcome = bare(folder, number)
                spawned.append(alone)
                welcomed.append(until_welcome)
                ours.append(await launch(client, number))
        finally:
            await embedded.close()
    return {
        "launch_per_s": round(N_TASKS / statistics.median(ours), 1),
        "spawn_per_s": round(N_TASKS / statistics.median(welcomed), 1),
        "spawn_only_per_s": round(N_TASKS / statistics.median(spawned), 1),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
