"""Time what starts: `coconut --help`, beside `python -c pass`, and the CPU that daemons need until they serve.

    python tools/bench/startup.py        prints {"coconut_help_s": 0.07, "python_pass_s": 0.014, "core_ready_cpu_s": …}

All run with the interpreter of this script. Help and `pass` take turns, so that what else the machine does strikes both
alike. A core is ready when it tells systemd so, on a new state; an executor when it begins to dial, a core that is not
there; a script when it has a control system of its own to enter.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 15
STARTS = 5
READY_S = 60.0

COCONUT = [sys.executable, "-c", "import sys; from ecsd.coconut.main import main; sys.exit(main())", "--help"]
"""What the installed script does."""
PASS = [sys.executable, "-c", "pass"]
SCRIPT = [sys.executable, "-c", "import libecs; libecs.local"]
CORE = ["-m", "ecsd.core", "--listen", "tcp://127.0.0.1:0", "--lobby", "tcp://127.0.0.1:0"]
EXECUTOR = ["-m", "ecsd.executor", "--node", "n1", "--core", "tcp://127.0.0.1:9", "--insecure"]


def seconds(command: list[str]) -> float:
    """Return the wall time of one process, from start to end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - begin


def cpu_of_children() -> float:
    """Return the CPU time of all processes that we have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_to_end(command: list[str]) -> float:
    """Return the CPU time of one process, from start to end."""
    before = cpu_of_children()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cpu_of_children() - before


def cpu_until(command: Sequence[str], told: bytes) -> float:
    """Return the CPU time of a daemon until it tells systemd something that begins so. Raises TimeoutError."""
    with (
        tempfile.TemporaryDirectory(prefix="ecs") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        notify.bind(f"{folder}/notify")
        notify.settimeout(READY_S)
        environment = os.environ | {"NOTIFY_SOCKET": f"{folder}/notify"}
        words = [sys.executable, *command, "--state", f"{folder}/state"]
        daemon = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
        try:
            while told not in notify.recv(4096):
                pass
            fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=READY_S)


def measure() -> dict[str, float]:
    """Return the figures."""
    for command in (COCONUT, PASS):
        seconds(command)  # compiles, and fills the caches
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        times[0].append(seconds(COCONUT))
        times[1].append(seconds(PASS))
    ours, bare = (statistics.median(one) for one in times)
    core = statistics.median(cpu_until(CORE, b"READY=1") for _ in range(STARTS))
    executor = statistics.median(cpu_until(EXECUTOR, b"STATUS=") for _ in range(STARTS))
    script = statistics.median(cpu_to_end(SCRIPT) for _ in range(STARTS))
    return {
        "coconut_help_s": round(ours, 4),
        "python_pass_s": round(bare, 4),
        "core_ready_cpu_s": round(core, 3),
        "executor_dials_cpu_s": round(executor, 3),
        "local_imported_cpu_s": round(script, 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
