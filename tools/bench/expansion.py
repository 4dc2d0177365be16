"""Time the expansion of the real readout-dataflow: seconds, the median of several.

    python tools/bench/expansion.py        prints {"expansion_200_hosts_s": 0.3, …}

Memory is that of the workflow of 1 000 hosts in a fresh process, resident KiB for each task that it holds, and at the
most while it is made (`…_peak_kib_per_task`).

`bare` is the least that any expander must do: parse the same YAML files once with the same parser.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from libecs.config.tree import Tree
from libecs.language.yaml import parse
from libecs.workflow.expand import expand
from libecs.workflow.launch import Launcher, task_specials
from libecs.workflow.role import Workflow
from libecs.workflow.source import TextSource

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
DETECTORS = ("FT0", "ITS", "TPC")
SWITCHES = {
    "control-workflows": {"dd_enabled": "true", "flp_workflows_jit_enabled": "false", "dpl_workflow": "none"},
    "control-workflows-2022": {
        "ctp_readout_enabled": "false",
        "dpl_command": "none",
        "dpl_workflow": "ft0-digits-qc",
        "odc_enabled": "false",
    },
}
"""Repository to switches: plain data distribution in 2026, the generated QC workflow on each host in 2022."""


def read(repository: str) -> TextSource:
    """Read all templates of a repository."""
    folder = REAL / repository
    files = {
        f"{kind}/{file.name}": file.read_text() for kind in ("workflows", "tasks") for file in (folder / kind).glob("*")
    }
    return TextSource(files=files, repository=repository)


def snapshot(hosts: list[str]) -> Tree:
    """Make the inventory and the readout configuration of `hosts`."""
    keys = {}
    for i, host in enumerate(hosts):
        keys[f"o2/hardware/detectors/{DETECTORS[i % len(DETECTORS)]}/flps/{host}/cards"] = "{}"
        for kind in ("standalone", "stfb"):
            keys[f"o2/components/readout/ANY/any/readout-{kind}-{host}"] = "[readout]"
    return Tree.of(keys)


def expand_once(repository: str, n_hosts: int) -> Workflow:
    """Expand readout-dataflow for `n_hosts` hosts, files read and key-value tree built anew."""
    hosts = [f"flp{i:03d}" for i in range(1, n_hosts + 1)]
    ids = itertools.count()
    return expand(
        read(repository),
        "readout-dataflow",
        {"hosts": json.dumps(hosts), "environment_id": "bench", **SWITCHES[repository]},
        snapshot(hosts),
        ids=lambda: f"id{next(ids)}",
        base_defaults={"consul_endpoint": "consul:8500", "modulepath": "", "infologger_mode": "none"},
    )


def seconds(action: Callable[[], object], repeat: int = 5) -> float:
    """Return the median time of `action`, after one that does not count."""
    action()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def commands(workflow: Workflow) -> int:
    """Evaluate the command of every task; return how many there are."""
    launcher = Launcher(workflow)
    tasks = [(i, role) for i, role in enumerate(workflow.roles) if role.task is not None]
    for i, role in tasks:
        launcher.command(i, task_specials(role, task_id=str(i), host="host", environment_id="bench"))
    return len(tasks)


def resident_kib() -> float:
    """Return the resident memory of this process, what nobody uses given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def memory(hosts: int) -> dict[str, float]:
    """Expand once in this process; return the memory that the workflow takes."""
    expand_once("control-workflows", 1)
    before = resident_kib()
    workflow = expand_once("control-workflows", hosts)
    tasks = sum(1 for role in workflow.roles if role.task is not None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        f"expansion_{hosts}_hosts_tasks": tasks,
        "expansion_kib_per_task": round((resident_kib() - before) / tasks, 2),
        "expansion_peak_kib_per_task": round((peak - before) / tasks, 2),
    }


def large(hosts: int = 1000) -> tuple[float, dict[str, float]]:
    """Return the median seconds for many hosts, and the memory in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(hosts)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(told.splitlines()[-1])
    return seconds(lambda: expand_once("control-workflows", hosts), 3), figures


def measure() -> dict[str, float]:
    """Return the figures."""
    largest = expand_once("control-workflows-2022", 200)
    texts = read("control-workflows-2022").files
    one_large, kib = large()
    return {
        "expansion_1000_hosts_s": round(one_large, 4),
        **kib,
        "expansion_200_hosts_s": round(seconds(lambda: expand_once("control-workflows", 200)), 4),
        "expansion_200_hosts_with_qc_s": round(seconds(lambda: expand_once("control-workflows-2022", 200)), 4),
        "expansion_1_host_s": round(seconds(lambda: expand_once("control-workflows", 1)), 4),
        "expansion_bare_parse_s": round(seconds(lambda: [parse(text, file) for file, text in texts.items()]), 4),
        "roles": len(largest.roles),
        "command_us_per_task": round(1e6 * seconds(lambda: commands(largest), 3) / commands(largest), 1),
    }


if __name__ == "__main__":
    print(json.dumps(memory(int(sys.argv[2])) if sys.argv[1:2] == ["--memory"] else measure()))
