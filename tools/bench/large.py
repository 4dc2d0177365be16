"""Time CONFIGURE and START of 10 000 and of 100 000 simulated tasks: microseconds a task, and whether it stays so.

    python tools/bench/large.py [--sizes 10000,100000]

What is real and what is not is said in simulated.py. Each size has a process of its own, 100 tasks a node; the smaller
one is repeated. CPU time (`…_cpu_us`) is that of core, all executors and stand-ins for the tasks together; in an
installation executors and tasks have their own machines. The ratio is that of the CPU times: of the wall times, too, on
a machine that does nothing else. `…_idle_share` is the share of one CPU that keepalives of all nodes take.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from simulated import EVENTS, Installation, Times, bare, median

from libecs.fsm import EnvState
from libecs.io.store_sqlite import SqliteStore
from libecs.wire import client

SIZES = (10_000, 100_000)
TASKS_PER_NODE = 100
IDLE_S = 2.0
SEEN = ("CONFIGURE", "START_ACTIVITY")


async def measure(tasks: int, repeats: int, folder: Path) -> dict[str, float]:
    """Return the figures of one size."""
    nodes = max(1, tasks // TASKS_PER_NODE)
    bare_ms = bare(tasks, nodes)
    store = SqliteStore(folder / "core")
    installation = Installation(tasks, nodes, store)
    await installation.start()
    create = client.Create(operation="create", workflow="bench", target=EnvState.DEPLOYED)
    made, deployed = await installation.ask(create)
    begun = time.process_time()
    await asyncio.sleep(IDLE_S)
    idle = (time.process_time() - begun) / IDLE_S
    times: dict[str, list[Times]] = {event: [] for event in EVENTS}
    for n in range(repeats):
        for event in EVENTS if n + 1 < repeats else SEEN:
            gc.collect()
            request = client.Control(operation=f"{event}{n}", environment=made.environment, event=event)
            times[event].append((await installation.ask(request))[1])
    installation.stop()
    store.close()
    figures = {f"large_{tasks}_bare_us": bare_ms, f"large_{tasks}_deploy_cpu_us": deployed.cpu_ms}
    for event in SEEN:
        taken = median(times[event])
        figures[f"large_{tasks}_{EVENTS[event]}_us"] = taken.wall_ms
        figures[f"large_{tasks}_{EVENTS[event]}_cpu_us"] = taken.cpu_ms
    return {name: round(1000 * value / tasks, 1) for name, value in figures.items()} | {
        f"large_{tasks}_idle_share": round(idle, 3)
    }


def one_size(tasks: int) -> dict[str, float]:
    """Measure one size in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--only", str(tasks)], stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(str(size) for size in SIZES))
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            repeats = 3 if options.only <= SIZES[0] else 1
            print(json.dumps(asyncio.run(measure(options.only, repeats, Path(folder)))))
        return 0
    sizes = [int(size) for size in options.sizes.split(",")]
    figures: dict[str, float] = {}
    for size in sizes:
        figures |= one_size(size)
    small, large = sizes[0], sizes[-1]
    if large > small:
        for event in SEEN:
            name = EVENTS[event]
            grown = figures[f"large_{large}_{name}_cpu_us"] / figures[f"large_{small}_{name}_cpu_us"]
            figures[f"large_{name}_ratio"] = round(grown, 2)
            figures[f"large_{name}_s"] = round(figures[f"large_{large}_{name}_us"] * large / 1e6, 2)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
