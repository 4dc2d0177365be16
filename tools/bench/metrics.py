"""Measure by how much commands are delayed while 1 000 tasks tell 10 metrics a second each.

    python tools/bench/metrics.py        prints {"metrics_delay_ratio": 1.04, …}

20 nodes with 50 tasks each, as in simulated.py. Each node sends what its executor would: one Telemetry a second with a
span for each metric of each task, and the nodes take turns, so that one comes each 50 ms. It goes through the codec
into the core's engine, is counted for the run, and is shown once a second to a client that watches, as frames. STARTs
and STOPs go on meanwhile, with pauses in which the core finishes what it does behind a run. Rounds with and without
metrics take turns; a ratio is that of the medians of CPU time, which is what one thread that does both loses, whoever
else uses the machine. The STOP of a run with metrics shows and saves the last of 10 000 of them, besides being delayed:
its ratio is a figure of its own. `metrics_core_share` is the share of one CPU that metrics take by themselves.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from simulated import Installation, Times, median

from libecs.engine.effects import Received
from libecs.fsm import EnvState
from libecs.io.store_sqlite import SqliteStore
from libecs.wire import client, node
from libecs.wire.telemetry import MetricSpan

N_TASKS = 1000
N_NODES = 20
N_METRICS = 10
ROUNDS = 12
IDLE_S = 3.0
PAUSE_S = 0.15
EVENTS = ("START_ACTIVITY", "STOP_ACTIVITY")
Found = dict[tuple[str, bool], list[Times]]
"""(event, with metrics) to the times it took."""


class Chatter:
    """Nodes that take turns in telling what their tasks told: all of them once a second."""

    def __init__(self, installation: Installation, sessions: Sequence[int], tasks: Sequence[Sequence[str]]) -> None:
        self._installation = installation
        self._sessions, self._tasks = sessions, tasks
        self._frames: list[bytes] = []
        self.told = 0
        self.begin(0)

    def begin(self, run: int) -> None:
        """Make what will be told of a run: nodes elsewhere do that."""
        both = zip(self._sessions, self._tasks, strict=True)
        self._frames = [node.NODE.encode(self._message(run, session, tasks)) for session, tasks in both]

    async def talk(self) -> None:
        """Go on until cancelled."""
        pause = 1.0 / len(self._sessions)
        due = time.monotonic()
        while True:
            for n in range(len(self._sessions)):
                self._installation.core.put(Received(f"node{n}", node.NODE.decode(self._frames[n])))
                self.told += 1
                due = max(due + pause, time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _message(self, run: int, session: int, tasks: Sequence[str]) -> node.Telemetry:
        spans = tuple(
            MetricSpan(name=f"metric-{i}", unit="Hz", n=10, sum=10.0 * i, min=0.0, max=2.0 * i, last=1.0, unix_ms=1)
            for i in range(N_METRICS)
        )
        return node.Telemetry(
            session=session, tasks=tuple(node.TaskTelemetry(task=task, run=run, metrics=spans) for task in tasks)
        )


async def rounds(installation: Installation, chatter: Chatter, environment: str) -> Found:
    """Return the times of STARTs and STOPs, without and with metrics."""
    found: Found = {(event, having): [] for event in EVENTS for having in (False, True)}
    for n in range(ROUNDS):
        with_metrics = n % 2 == 1
        talking = asyncio.ensure_future(chatter.talk()) if with_metrics else None
        for i in range(4 * len(EVENTS)):
            event = EVENTS[i % len(EVENTS)]
            request = client.Control(operation=f"{n}-{i}", environment=environment, event=event)
            answer, took = await installation.ask(request)
            chatter.begin(answer.run_number if event == "START_ACTIVITY" else 0)
            if n > 1:  # the first two warm caches
                found[event, with_metrics].append(took)
            await asyncio.sleep(PAUSE_S)
        if talking is not None:
            talking.cancel()
    return found


async def share(chatter: Chatter) -> float:
    """Return the share of one CPU that metrics take while nothing else is done."""
    begun = time.process_time()
    await asyncio.sleep(IDLE_S)
    idle = time.process_time() - begun
    talking = asyncio.ensure_future(chatter.talk())
    begun = time.process_time()
    await asyncio.sleep(IDLE_S)
    talking.cancel()
    return (time.process_time() - begun - idle) / IDLE_S


async def measure(folder: Path) -> dict[str, float]:
    """Return the figures."""
    store = SqliteStore(folder / "core")
    installation = Installation(N_TASKS, N_NODES, store)
    await installation.start()
    create = client.Create(operation="create", workflow="bench", target=EnvState.CONFIGURED)
    made, _ = await installation.ask(create)
    watch = client.Watch(request="watch", environment=made.environment, metrics=True)
    installation.core.put(Received("client", watch))
    sessions = [installation.session(one.loop.name) for one in installation.nodes]
    chatter = Chatter(installation, sessions, [sorted(one.tasks) for one in installation.nodes])
    found = await rounds(installation, chatter, made.environment)
    start = client.Control(operation="last", environment=made.environment, event="START_ACTIVITY")
    answer, _ = await installation.ask(start)
    chatter.begin(answer.run_number)
    taken = await share(chatter)
    installation.stop()
    store.close()
    figures: dict[str, float] = {}
    for event, name in (("START_ACTIVITY", "metrics_delay"), ("STOP_ACTIVITY", "metrics_stop_delay")):
        calm, busy = median(found[event, False]), median(found[event, True])
        figures[f"{name}_ratio"] = round(busy.cpu_ms / calm.cpu_ms, 3)
        figures[f"{name}_wall_ratio"] = round(busy.wall_ms / calm.wall_ms, 3)
    return figures | {"metrics_core_share": round(taken, 3), "metrics_told": chatter.told}


def main() -> int:
    """Measure, print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
