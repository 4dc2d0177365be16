"""Time how soon faults are seen and mended by real daemons on this machine, and how little others notice.

    python tools/bench/faults.py [--quick]      prints {"death_to_error_p99_ms": 60.1, …}

One core, two executors, tasks that write down all they do. What is measured:

    death_to_error     SIGKILL of a critical task, until a client hears that its environment is in ERROR
    hang_to_stalled    SIGSTOP of a task, until a client hears task.stalled
    node_suspect/lost  SIGSTOP of an executor, until a client hears SUSPECT and LOST
    core_back_N        SIGKILL and start of the core with N tasks RUNNING, until a STOP asked for at once is done
    executor_back      SIGKILL and start of an executor, until its node is UP again
    other_*            the time of START and STOP of environment B while A has a hung task, a CONFIGURE of 3 s, or while
                       templates of a second or so are expanded; `alone`: while nothing else goes on
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fieldkit.cluster import Cluster
from fieldkit.watch import Watch, connected

Figures = dict[str, float]

HEAVY = """
name: heavy
defaults: {roles: "9000"}
roles:
  - name: "role-{{ n }}"
    for: {begin: 1, end: "{{ roles }}", var: n}
    enabled: "{{ n > 1000000 }}"
    vars: {text: "{{ n }}-{{ n + 1 }}"}
    task: {load: recorder}
  - name: last
    task: {load: recorder}
"""


def rank(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of them is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(name: str, seconds: Sequence[float]) -> Figures:
    """Return median, p99 (the largest of less than 100) and number of some times, in ms."""
    return {
        f"{name}_ms": round(1000 * statistics.median(seconds), 1),
        f"{name}_p99_ms": round(1000 * rank(seconds, 0.99), 1),
        f"{name}_n": len(seconds),
    }


async def deaths(ecs: Any, watch: Watch, repeats: int) -> Figures:
    """Kill critical tasks."""
    env = await ecs.environment("field")
    times = []
    for n in range(repeats):
        tasks = (await env.show()).tasks
        seen = len(watch.events)
        begun = time.perf_counter()
        os.kill(tasks[n % len(tasks)].pid, signal.SIGKILL)
        await watch.state(env.id, "ERROR", after=seen)
        times.append(time.perf_counter() - begun)
        await env.recover()
        await env.control("CONFIGURE")
    await env.destroy()
    return spread("death_to_error", times)


async def hangs(ecs: Any, watch: Watch, repeats: int) -> Figures:
    """Stop tasks."""
    env = await ecs.environment("field")
    await env.control("START")
    (task, *_) = (await env.show()).tasks
    times = []
    for _ in range(repeats):
        for wanted in (False, True):
            seen = len(watch.events)
            begun = time.perf_counter()
            os.kill(task.pid, signal.SIGCONT if wanted else signal.SIGSTOP)
            await watch.until(_stalled(task.role, wanted), after=seen)
            if not wanted:
                times.append(time.perf_counter() - begun)
    await env.destroy(allow_running=True)
    return spread("hang_to_stalled", times)


def _stalled(role: str, ok: bool) -> Callable[[Any], bool]:
    return lambda event: event.kind == "task.stalled" and event.role == role and event.ok is ok


async def silences(cluster: Cluster, watch: Watch, repeats: int) -> Figures:
    """Stop executors: their core hears nothing any more."""
    suspect, lost, back = [], [], []
    for n in range(repeats):
        name = list(cluster.nodes)[n % len(cluster.nodes)]
        seen = len(watch.events)
        begun = time.perf_counter()
        cluster.nodes[name].pause()
        await watch.node(name, "SUSPECT", after=seen)
        suspect.append(time.perf_counter() - begun)
        await watch.node(name, "LOST", after=seen)
        lost.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        cluster.nodes[name].resume()
        await watch.node(name, "UP", after=seen)
        back.append(time.perf_counter() - begun)
    return spread("node_suspect", suspect) | spread("node_lost", lost) | spread("node_healed", back)


async def restarts(cluster: Cluster, ecs: Any, tasks: int, repeats: int) -> Figures:
    """Kill the core under a run of so many tasks."""
    env = await ecs.environment("field", {"each": tasks // len(cluster.nodes)})
    before = {task.pid for task in (await env.show()).tasks}
    times, ready = [], []
    for _ in range(repeats):
        await env.control("START")
        begun = time.perf_counter()
        cluster.core.kill()
        cluster.core.start()
        await env.control("STOP")
        times.append(time.perf_counter() - begun)
        await asyncio.to_thread(cluster.core.wait_ready)
        ready.append(cluster.core.ready_s)
    if {task.pid for task in (await env.show()).tasks} != before:
        raise SystemExit("a task has another pid after a restart of the core")
    await env.destroy()
    return spread(f"core_back_{tasks}", times) | {f"core_ready_{tasks}_ms": round(1000 * statistics.median(ready), 1)}


async def executors(cluster: Cluster, ecs: Any, watch: Watch, repeats: int) -> Figures:
    """Kill an executor under a run."""
    env = await ecs.environment("field", {"each": 10})
    await env.control("START")
    times = []
    node = cluster.nodes["n1"]
    for _ in range(repeats):
        node.kill()
        seen = len(watch.events)
        await watch.node("n1", "SUSPECT", after=seen)
        begun = time.perf_counter()
        node.start()
        await watch.node("n1", "UP", after=seen)
        times.append(time.perf_counter() - begun)
    await env.control("STOP")
    await env.destroy()
    return spread("executor_back", times)


async def others(cluster: Cluster, ecs: Any, other: Any, repeats: int) -> Figures:
    """Time environment B while A is in trouble."""
    env = await ecs.environment("field")

    async def measure() -> list[float]:
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            await env.control("START")
            await env.control("STOP")
            times.append(time.perf_counter() - begun)
        return times

    async def beside(action: Callable[[], Awaitable[object]]) -> list[float]:
        """Measure while the action is repeated."""
        going = asyncio.create_task(_again(action))
        try:
            await asyncio.sleep(0.05)  # it has begun
            return await measure()
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    await measure()  # warms up
    alone = await measure()
    hung = await other.environment("single")
    await hung.control("START")
    (task,) = (await hung.show()).tasks
    os.kill(task.pid, signal.SIGSTOP)
    stopping = asyncio.create_task(hung.control("STOP"))
    with_hung = await measure()
    os.kill(task.pid, signal.SIGCONT)
    await stopping
    await hung.destroy()
    variables = {"fault": "slow", "moment": "configure", "slow_ms": 3000}
    slow = await other.environment("single", variables, target="DEPLOYED")

    async def configure() -> None:
        await slow.control("CONFIGURE")
        await slow.control("RESET")

    with_slow = await beside(configure)
    await _settle(slow)
    with_expansion = await beside(lambda: other.consult("template.expand", workflow="heavy"))
    await env.destroy()
    after = await measure_again(ecs, repeats)
    base = statistics.median([*alone, *after])
    figures = {
        "other_alone_ms": base,
        "other_hung_ms": statistics.median(with_hung),
        "other_slow_configure_ms": statistics.median(with_slow),
        "other_expansion_ms": statistics.median(with_expansion),
    }
    return {name: round(1000 * value, 2) for name, value in figures.items()}


async def measure_again(ecs: Any, repeats: int) -> list[float]:
    """Time START and STOP once more, alone: the machine may have become slower."""
    env = await ecs.environment("field")
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        await env.control("START")
        await env.control("STOP")
        times.append(time.perf_counter() - begun)
    await env.destroy()
    return times


async def _again(action: Callable[[], Awaitable[object]]) -> None:
    while True:
        await action()


async def _settle(env: Any) -> None:
    """Wait for the transition that goes on, then destroy."""
    with contextlib.suppress(Exception):
        await env.wait("CONFIGURED", timeout=20)
    await env.destroy(force=True)


async def measure(quick: bool) -> Figures:
    """Return all figures."""
    share = 10 if quick else 1
    figures: Figures = {}
    cluster = Cluster(["n1", "n2"])
    try:
        (cluster.repository / "workflows" / "heavy.yaml").write_text(HEAVY.lstrip())
        await asyncio.to_thread(cluster.start)
        async with connected(cluster) as ecs, connected(cluster) as other, Watch(ecs) as watch:
            figures |= await deaths(ecs, watch, 200 // share)
            figures |= await hangs(ecs, watch, 10 // share)
            figures |= await silences(cluster, watch, 10 // share)
            figures |= await executors(cluster, ecs, watch, 5 // min(share, 5))
            figures |= await others(cluster, ecs, other, 40 // share)
            figures |= await restarts(cluster, ecs, 20, 10 // share)
            figures |= await restarts(cluster, ecs, 500, 3 if not quick else 1)
    except BaseException:
        print(cluster.story(), file=sys.stderr)
        raise
    finally:
        cluster.close()
    return figures


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    print(json.dumps(asyncio.run(measure(parser.parse_args().quick))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
