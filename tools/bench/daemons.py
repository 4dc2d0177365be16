"""What daemons cost: a question to the core over TCP with CURVE, 60 C tasks through core and executor, 500 of them.

    python tools/bench/daemons.py      prints {"get_state_us": 520.0, "bare_echo_us": 410.0, …}

`bare_echo` is a ROUTER in another process that sends back what a DEALER sends, over TCP with CURVE, both blocking; it
takes turns with ours. `bare_60` is the least code that moves the same messages to 60 tasks (see transitions.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

import zmq
from fieldkit.cluster import Cluster
from fleet import resident_mb
from transitions import N_TASKS, PROGRAM, PROPERTIES, STEPS, Bare

QUESTIONS = 1000
TURNS = 10
ROUNDS = 10
MANY = 500
EVENTS = {"configure": "CONFIGURE", "start": "START_ACTIVITY", "stop": "STOP_ACTIVITY", "reset": "RESET"}

ECHO = """
import sys, zmq
context = zmq.Context()
router = context.socket(zmq.ROUTER)
router.curve_server, router.curve_secretkey = True, sys.argv[1].encode()
print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while True:
    router.send_multipart(router.recv_multipart())
"""


class Echo:
    """The bare echo."""

    def __init__(self) -> None:
        public, secret = zmq.curve_keypair()
        self._process = subprocess.Popen([sys.executable, "-c", ECHO, secret.decode()], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.curve_serverkey = public
        self._dealer.curve_publickey, self._dealer.curve_secretkey = zmq.curve_keypair()
        self._dealer.connect(f"tcp://127.0.0.1:{port}")

    def ask(self) -> None:
        """Go there and back."""
        self._dealer.send(b"x" * 64)
        self._dealer.recv()

    def close(self) -> None:
        """End it."""
        self._context.destroy(linger=0)
        self._process.kill()
        self._process.wait()


def repository(folder: Path) -> Path:
    """Write workflows of 60 and of 500 sources."""
    (folder / "workflows").mkdir(parents=True)
    (folder / "tasks").mkdir()
    for name, number in (("sixty", N_TASKS), ("many", MANY)):
        role = {"name": "source-{{ n }}", "for": {"begin": 1, "end": number, "var": "n"}, "task": {"load": "source"}}
        (folder / "workflows" / f"{name}.yaml").write_text(json.dumps({"name": name, "roles": [role]}))
    task = {
        "name": "source",
        "control": {"mode": "direct"},
        "bind": [{"name": "out", "type": "push", "addressing": "ipc", "transport": "zeromq"}],
        "properties": PROPERTIES,
        "command": {"value": str(PROGRAM)},
    }
    (folder / "tasks" / "source.yaml").write_text(json.dumps(task))
    return folder


async def questions(cluster: Cluster) -> Mapping[str, float]:
    """Return the medians of a question and of the echo, in µs."""
    echo = Echo()
    ours: list[float] = []
    bare: list[float] = []
    try:
        async with cluster.connect() as ecs:
            env = await ecs.environment("sixty", target="STANDBY")
            for _ in range(TURNS):
                for _ in range(QUESTIONS // TURNS):
                    begin = time.perf_counter()
                    await ecs.show(env.id, tasks=False)
                    ours.append(time.perf_counter() - begin)
                for _ in range(QUESTIONS // TURNS):
                    begin = time.perf_counter()
                    echo.ask()
                    bare.append(time.perf_counter() - begin)
            await env.destroy()
    finally:
        echo.close()
    return {"get_state_us": 1e6 * statistics.median(ours), "bare_echo_us": 1e6 * statistics.median(bare)}


async def sixty(cluster: Cluster, folder: Path) -> Mapping[str, float]:
    """Return the medians of the transitions of 60 C tasks, and of the bare code, in ms."""
    times: dict[str, list[float]] = {}
    least = Bare(folder)
    try:
        async with cluster.connect() as ecs:
            env = await ecs.environment("sixty", target="DEPLOYED")
            for turn in range(ROUNDS + 1):
                for name, event, source, target in STEPS:
                    begin = time.perf_counter()
                    await env.control(EVENTS[name])
                    ours = 1000 * (time.perf_counter() - begin)
                    bare = least.transition(event, source, target)
                    if turn:  # the first turn warms caches
                        times.setdefault(f"daemons_{name}_60_ms", []).append(ours)
                        times.setdefault(f"daemons_bare_{name}_60_ms", []).append(bare)
            await env.destroy()
    finally:
        least.close()
    return {name: statistics.median(found) for name, found in times.items()}


async def many(cluster: Cluster) -> Mapping[str, float]:
    """Return the rate of launches, the times of transitions in ms, and the memory of the daemons with 500 C tasks."""
    figures: dict[str, float] = {}
    async with cluster.connect() as ecs:
        begin = time.perf_counter()
        env = await ecs.environment("many", target="DEPLOYED")
        figures["daemons_500_launched_per_s"] = MANY / (time.perf_counter() - begin)
        for name, event in EVENTS.items():
            begin = time.perf_counter()
            await env.control(event)
            figures[f"daemons_{name}_500_ms"] = 1000 * (time.perf_counter() - begin)
        figures["daemons_500_core_mb"] = resident_mb(cluster.core.pid)
        figures["daemons_500_executor_mb"] = resident_mb(cluster.nodes["n1"].pid)
        await env.destroy()
    return figures


def measure() -> dict[str, float]:
    """Return all figures."""
    with tempfile.TemporaryDirectory(prefix="ecsb-") as name:
        folder = Path(name)
        (folder / "bare").mkdir()
        with Cluster(nodes=["n1"], repository=repository(folder / "repo"), fast=True) as cluster:
            figures = {
                **asyncio.run(questions(cluster)),
                **asyncio.run(sixty(cluster, folder / "bare")),
                **asyncio.run(many(cluster)),
            }
    return {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    print(json.dumps(measure()))
