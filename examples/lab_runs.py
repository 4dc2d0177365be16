"""Three processes in a lab, no daemon: take runs, and go on after one that broke.

python lab_runs.py [RUNS]
"""

import sys

import libecs

lab = libecs.workflow(
    "cosmics",
    tasks={
        "hv": libecs.task("sleep 1000", mode="basic"),
        "daq": libecs.task("sh -c 'echo taking data; sleep 1000'", mode="basic", stop="SIGINT", start_after=["hv"]),
        "monitor": libecs.task("sleep 1000", mode="basic", critical=False, start_after=["daq"]),
    },
)  # STOP goes in reverse

with libecs.local() as ecs, ecs.environment(lab) as env:
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        run = env.run(duration="500ms", comment="night")
        try:
            with run:
                run.wait()
        except libecs.RunFailed as error:
            print(error.cause)
            env.recover()
        print("run", run.number, run.condition, run.end_reason)
