"""The page docs/operations.md, command by command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fieldkit.network import Network

import ecsd
from tests.operations.document import Command, commands
from tests.operations.hosts import Shell, home_shell, known_hosts, machine_shell
from tests.operations.wheels import make_environment, repack
from tests.units.machine import Machine, enter, why_not

pytestmark = [
    pytest.mark.skipif(bool(Network.problem()), reason=Network.problem() or "-"),
    pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "ecsd").exists(), reason="the package is not installed"),
    pytest.mark.timeout(900),
]
NODES = ("node1", "node2")
WORKFLOW = {
    "name": "hall",
    "roles": [
        {
            "name": "reader-{{ node }}",
            "for": {"range": json.dumps(NODES), "var": "node"},
            "constraints": [{"attribute": "machine_id", "value": "{{ node }}"}],
            "task": {"load": "reader"},
        }
    ],
}
TASK = {
    "name": "reader",
    "control": {"mode": "direct"},
    "bind": [{"name": "out", "type": "push", "transport": "zeromq"}],
    "properties": {"rate": "1"},
    "command": {"value": str(Path(ecsd.__file__).parent / "examples" / "bin" / "source")},
}
OLD, NEW = "0.0.1", "99.0.0"
LOOK = re.compile(r"coconut (info|(node|environment|run) list)\b")
"""Commands that change nothing: what they show may come a moment later on a slow machine."""
SHOWN_S = 60.0


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("wheels")
    repack(folder, NEW)
    return folder


@pytest.fixture
def installation(tmp_path: Path, wheelhouse: Path) -> Path:
    """Programs of an older version; pip finds the newer one in the wheelhouse."""
    old = repack(tmp_path, OLD)
    programs = make_environment(tmp_path / "ecs")
    subprocess.run([programs / "pip", "install", "-q", "--no-index", "--no-deps", old], check=True)
    (tmp_path / "ecs" / "pip.conf").write_text(
        f"[global]\nno-index = true\nno-deps = true\nfind-links = {wheelhouse}\n"
    )
    return programs


def write_experiment(folder: Path) -> None:
    (folder / "workflows").mkdir(parents=True)
    (folder / "tasks").mkdir()
    (folder / "workflows" / "hall.yaml").write_text(json.dumps(WORKFLOW))
    (folder / "tasks" / "reader.yaml").write_text(json.dumps(TASK))


def follow(page: Path, heading: str, shells: Mapping[str, Shell]) -> dict[str, str]:
    """Type all commands of a section. Return the last output of each."""
    token, outputs = "", {}
    for command in commands(page, heading):
        shell = shells[command.host]
        if command.text.startswith("coconut environment create"):
            await_nodes(shell)
        output, missing = follow_one(shell, command, command.text.replace("ecs1.…", token))
        assert not missing, f"{command.host}: {command.text}\ndoes not show {missing!r}:\n{output}"
        if found := re.search(r"ecs1\.\S+", output):
            token = found[0]
        outputs[command.text] = output
    return outputs


def follow_one(shell: Shell, command: Command, text: str) -> tuple[str, str]:
    """Type a command; return what it shows, and what of the page is missing in it."""
    end = time.monotonic() + SHOWN_S
    while True:
        output = shell.run(text)
        if text.startswith("coconut run list") and "DEGRADED" in output and was_only_unheard(shell):
            output = output.replace("DEGRADED", "GOOD")
        missing = command.missing(output)
        if not missing or not LOOK.match(text) or time.monotonic() > end:
            return output, missing


def await_nodes(shell: Shell) -> None:
    """Wait until the nodes have come: an executor is ready, too, when its core is slow to answer."""
    end = time.monotonic() + SHOWN_S
    while True:
        nodes = json.loads(shell.run("coconut node list --json 2>/dev/null"))["nodes"]
        if {node["node"] for node in nodes if node["reach"] == "UP"} >= set(NODES):
            return
        assert time.monotonic() < end, nodes


def was_only_unheard(shell: Shell) -> bool:
    """Whether the first run was degraded by nothing but a daemon that a slow machine took long to start anew."""
    run = json.loads(shell.run("coconut run show 1 --json 2>/dev/null"))
    return bool(run["degraded"]) and all(span["reason"].startswith("unknown: ") for span in run["degraded"])


@contextlib.contextmanager
def machines(installation: Path, wheelhouse: Path) -> Iterator[tuple[Network, dict[str, Machine]]]:
    """Head and nodes, each with a systemd, the package in /opt/ecs, and the others' names."""
    with Network(["head", *NODES]) as network, contextlib.ExitStack() as stack:
        found = {}
        for host in network.hosts:
            found[host] = machine = stack.enter_context(Machine(network.path(host)))
            enter(machine, Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent)
            install(machine, installation.parent, wheelhouse)
            machine.write("/etc/hosts", known_hosts(network))
            machine.write("/etc/hostname", host)
            machine.run("hostname", host)
        yield network, found


def install(machine: Machine, environment: Path, wheelhouse: Path) -> None:
    """Put a virtual environment on a machine as /opt/ecs, and the newer version where pip finds it."""
    there = machine.root / "opt" / "ecs"
    shutil.copytree(environment, there, symlinks=True)
    shutil.copytree(wheelhouse, there / "wheels")
    for script in (there / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            script.write_text(script.read_text().replace(f"#!{environment}/", "#!/opt/ecs/", 1))
    settings = (there / "pip.conf").read_text()
    (there / "pip.conf").write_text(settings.replace(str(wheelhouse), "/opt/ecs/wheels"))


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_with_systemd(project: Path, installation: Path, wheelhouse: Path) -> None:
    with machines(installation, wheelhouse) as (_network, found):
        head = found["head"]
        write_experiment(head.root / "srv" / "experiment")
        page = project / "docs" / "operations.md"
        (settings,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
        head.write("/root/ecsd.toml", settings)
        with contextlib.ExitStack() as stack:
            shells = {
                host: stack.enter_context(contextlib.closing(machine_shell(machine, "/opt/ecs/bin")))
                for host, machine in found.items()
            }

            outputs = follow(page, "With systemd", shells)

            assert f"ecsd {NEW}" in head.run("/opt/ecs/bin/ecsd", "--version")
            assert NEW in shells["head"].run("coconut info")
            assert "GOOD" in outputs["coconut run list"]


def test_without_systemd(project: Path, tmp_path: Path, installation: Path) -> None:
    with Network(["head", *NODES, "laptop"]) as network, contextlib.ExitStack() as stack:
        hosts = tmp_path / "hosts"
        hosts.write_text(known_hosts(network))
        programs = {"head": str(installation)}
        shells = {
            host: stack.enter_context(
                contextlib.closing(
                    home_shell(network, host, tmp_path / host, programs.get(host, str(Path(sys.prefix) / "bin")), hosts)
                )
            )
            for host in network.hosts
        }
        write_experiment(tmp_path / "head" / "experiment")

        follow(project / "docs" / "operations.md", "Without systemd", shells)

        assert NEW in shells["head"].run("coconut info")
