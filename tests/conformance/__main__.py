"""Test that a task speaks the task link of docs/protocol.md: raw frames, nothing of ours.

    python -m tests.conformance --command "./my-task --option" [--machine occ|fairmq] [--obeys] [-- PYTEST ARGUMENTS]

Without --command the tasks of this project are tested: one in C, one in Python, one FairMQ device.

The command is started anew for each test that needs a fresh task, with OCC_CONTROL_ENDPOINT (ipc://) and ECS_TASK_ID
in its environment. Its callbacks should succeed at once; what it needs for CONFIGURE is told by --arguments.

`--obeys` says that the task does what the following properties of CONFIGURE (of INIT DEVICE for a device) tell it, so
that failures can be tried too; without it, those tests are skipped. A MOMENT is configure, reset, start, stop, pause,
resume, exit, recover or reconfigure (of a device: init, bind, connect, init_task, pre_run, post_run, reset_task,
reset_device). At each moment the task appends a line to the file $TRACE: the moment, START's run number, and if there
is a property `show`, the value of the property that it names.

    fail=MOMENT     the callback fails with the text "told to fail in MOMENT"
    leave=MOMENT    it calls exit(3)            die=MOMENT    it calls _exit(4)
    hang=MOMENT     it hangs until the file $RELEASE exists (`running`: the loop does)
    tell=yes        each moment tells the metric of its name, 1, and the line "at MOMENT"; each turn of the loop the
                    metric `turns` in `turns`, 1
    flood=N         CONFIGURE tells N DEBUG lines "line 0", "line 1"… and N samples 0, 1… of the metric `flood`
    names=N         CONFIGURE tells N metrics "name-0"… and the WARNING "refused M" of those that were not taken
    end_after=N     the end of the stream is told at turn N of the loop
    break_after=N   the loop fails at turn N with the text "broke at turn N"
    busy=yes        the loop does not wait

With RIGID in its environment the task does not reconfigure live.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest


def main() -> int:
    """Run the suite; return pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", help="the task to test; else those of this project")
    parser.add_argument("--machine", choices=("occ", "fairmq"), default="occ", help="the state machine it runs")
    parser.add_argument("--arguments", default="{}", help="what it needs for CONFIGURE, as a JSON object of texts")
    parser.add_argument("--obeys", action="store_true", help="it does what the properties above tell it")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    told = parser.parse_args()
    options = [f"--task-machine={told.machine}", f"--task-arguments={told.arguments}"]
    options += [f"--task-command={told.command}"] if told.command else []
    options += ["--task-obeys"] if told.obeys else []
    return int(pytest.main([str(Path(__file__).parent), *options, *told.pytest]))


if __name__ == "__main__":
    sys.exit(main())
