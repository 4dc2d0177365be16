"""Time how long `coconut --help` takes, beside `python -c pass`: seconds, medians.

    python tools/bench/startup.py        prints {"coconut_help_s": 0.07, "python_pass_s": 0.014}

Both run with the interpreter of this script, turn by turn, so that what else the machine does strikes both alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15

COCONUT = [sys.executable, "-c", "import sys; from ecsd.coconut.main import main; sys.exit(main())", "--help"]
"""What the installed script does."""
PASS = [sys.executable, "-c", "pass"]


def seconds(command: list[str]) -> float:
    """Return the wall time of one process, from start to end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - begin


def measure() -> dict[str, float]:
    """Return the figures."""
    for command in (COCONUT, PASS):
        seconds(command)  # compiles, and fills the caches
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        times[0].append(seconds(COCONUT))
        times[1].append(seconds(PASS))
    ours, bare = (statistics.median(one) for one in times)
    return {"coconut_help_s": round(ours, 4), "python_pass_s": round(bare, 4)}


if __name__ == "__main__":
    print(json.dumps(measure()))
