"""Scan a threshold and a bias voltage: for each point the task gets new properties, and a run is taken.

python3 scan.py [POINTS] [CONTEXT]

All points are taken by the same process: it is reconfigured while it lives, not started anew. Without a context the
control system is in this process; with one (`coconut context list`) it is the core there, its nodes run the task, and
the detector is locked meanwhile. Each run is tagged with its point.
"""

import itertools
import sys

import libecs

telescope = libecs.workflow(
    "telescope",
    tasks={
        "dut": libecs.task(
            "python3 tasks/dut.py", properties={"threshold": 20, "bias": -60, "seed": 1}, reconfigure="live"
        )
    },
)
grid = itertools.product(range(20, 120, 4), [-60, -80])
points = [{"threshold": threshold, "bias": bias} for threshold, bias in grid]
if len(sys.argv) > 1:
    points = points[: int(sys.argv[1])]
system = libecs.connect(sys.argv[2]) if len(sys.argv) > 2 else libecs.local()

with system as ecs, ecs.lock("DUT", reason="threshold scan"), ecs.environment(telescope, name="telescope") as env:
    pid = env.tasks("**.dut").pids
    print("threshold  bias   run     events")
    for p in points:
        env.tasks("**.dut").reconfigure(p)
        with env.run(duration="1min", tags=p, comment=f"threshold {p['threshold']}, bias {p['bias']}") as run:
            run.wait(until=lambda m: m["**.dut:events"].sum >= 1000)
        print(f"{p['threshold']:9d}  {p['bias']:4d}  {run.number:4d}  {run.metrics['**.dut:events'].sum:9.0f}")
    assert env.tasks("**.dut").pids == pid, "the process is still the same"
