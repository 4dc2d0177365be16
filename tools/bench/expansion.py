"""Time the expansion of the real readout-dataflow: seconds, the median of several.

    python tools/bench/expansion.py        prints {"expansion_200_hosts_s": 0.3, …}

`bare` is the least that any expander must do: parse the same YAML files once with the same parser.
"""

from __future__ import annotations

import itertools
import json
import statistics
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


def measure() -> dict[str, float]:
    """Return the figures."""
    largest = expand_once("control-workflows-2022", 200)
    texts = read("control-workflows-2022").files
    return {
        "expansion_200_hosts_s": round(seconds(lambda: expand_once("control-workflows", 200)), 4),
        "expansion_200_hosts_with_qc_s": round(seconds(lambda: expand_once("control-workflows-2022", 200)), 4),
        "expansion_1_host_s": round(seconds(lambda: expand_once("control-workflows", 1)), 4),
        "expansion_bare_parse_s": round(seconds(lambda: [parse(text, file) for file, text in texts.items()]), 4),
        "roles": len(largest.roles),
        "command_us_per_task": round(1e6 * seconds(lambda: commands(largest), 3) / commands(largest), 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
