"""What daemons cost: a question to the core over TCP with CURVE, 60 C tasks through core and executor, 500 of them.

    python tools/bench/daemons.py      prints {"get_state_us": 200.0, "echo_blocking_us": 60.0, …}

A question takes turns with the three echoes of `echo.py`. `bare_60` is the least code that moves the same messages to
60 tasks (see transitions.py). What is called `cpu` is processor time of a daemon, all its threads: the load of the
machine strikes it less than it strikes wall time.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

from echo import Echo, quantile
from fieldkit.cluster import Cluster
from fleet import processor_s, resident_mb
from transitions import N_TASKS, PROGRAM, PROPERTIES, STEPS, Bare

QUESTIONS = 1000
TURNS = 10
ROUNDS = 10
MANY = 500
EVENTS = {"configure": "CONFIGURE", "start": "START_ACTIVITY", "stop": "STOP_ACTIVITY", "reset": "RESET"}


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
    """Return median and 99th percentile of a question and of the echoes, and the core's processor time, in µs."""
    echoes = [Echo("blocking"), Echo("frames"), Echo("asyncio")]
    times: dict[str, list[float]] = {"get_state": []}
    used_s = 0.0
    try:
        async with cluster.connect() as ecs:
            env = await ecs.environment("sixty", target="STANDBY")
            for _ in range(TURNS):
                used_s -= processor_s(cluster.core.pid)
                for _ in range(QUESTIONS // TURNS):
                    begin = time.perf_counter()
                    await ecs.show(env.id, tasks=False)
                    times["get_state"].append(time.perf_counter() - begin)
                used_s += processor_s(cluster.core.pid)
                for echo in echoes:
                    times.setdefault(f"echo_{echo.name}", []).extend(await echo.ask(QUESTIONS // TURNS))
            await env.destroy()
    finally:
        for echo in echoes:
            echo.close()
    figures: dict[str, float] = {}
    for name, found in times.items():
        figures[f"{name}_us"] = 1e6 * quantile(found, 0.5)
        figures[f"{name}_p99_us"] = 1e6 * quantile(found, 0.99)
    figures["get_state_like_us"] = figures["get_state_us"]  # set beside the echo that is built as we are
    figures["get_state_core_cpu_us"] = 1e6 * used_s / QUESTIONS
    return figures


async def sixty(cluster: Cluster, folder: Path) -> Mapping[str, float]:
    """Return the medians of the transitions of 60 C tasks, of the bare code, and of processor times, in ms."""
    times: dict[str, list[float]] = {}
    least = Bare(folder)
    daemons = {"core": cluster.core.pid, "executor": cluster.nodes["n1"].pid}
    try:
        async with cluster.connect() as ecs:
            env = await ecs.environment("sixty", target="DEPLOYED")
            for turn in range(ROUNDS + 1):
                for name, event, source, target in STEPS:
                    used = {who: processor_s(pid) for who, pid in daemons.items()}
                    begin = time.perf_counter()
                    await env.control(EVENTS[name])
                    found = {f"daemons_{name}_60_ms": time.perf_counter() - begin}
                    for who, pid in daemons.items():
                        found[f"daemons_{name}_60_{who}_cpu_ms"] = processor_s(pid) - used[who]
                    found[f"daemons_bare_{name}_60_ms"] = least.transition(event, source, target) / 1000
                    if turn:  # the first turn warms caches
                        for figure, value in found.items():
                            times.setdefault(figure, []).append(1000 * value)
            await env.destroy()
    finally:
        least.close()
    return {name: statistics.median(found) for name, found in times.items()}


async def many(cluster: Cluster) -> Mapping[str, float]:
    """Return the rate of launches, the times of transitions in ms, and the memory of the daemons with 500 C tasks."""
    figures: dict[str, float] = {}
    core, executor = cluster.core.pid, cluster.nodes["n1"].pid
    async with cluster.connect() as ecs:
        begin = time.perf_counter()
        env = await ecs.environment("many", target="DEPLOYED")
        figures["daemons_500_launched_per_s"] = MANY / (time.perf_counter() - begin)
        for name, event in EVENTS.items():
            begin, used_s = time.perf_counter(), processor_s(core) + processor_s(executor)
            await env.control(event)
            figures[f"daemons_{name}_500_ms"] = 1000 * (time.perf_counter() - begin)
            figures[f"daemons_{name}_500_cpu_ms"] = 1000 * (processor_s(core) + processor_s(executor) - used_s)
        figures["daemons_500_core_mb"] = resident_mb(core)
        figures["daemons_500_executor_mb"] = resident_mb(executor)
        await env.destroy()
    return figures


def measure() -> dict[str, float]:
    """Return all figures."""
    with tempfile.TemporaryDirectory(prefix="ecsb-") as name:
        folder = Path(name)
        (folder / "bare").mkdir()
        with Cluster(nodes=["n1"], repository=repository(folder / "repo"), fast=True) as cluster:
            figures = {
                **asyncio.run(sixty(cluster, folder / "bare")),
                **asyncio.run(questions(cluster)),  # not at once: a core that was just started still imports
                **asyncio.run(many(cluster)),
            }
    return {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    print(json.dumps(measure()))
