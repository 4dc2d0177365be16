"""The daemons under a real systemd: a run outlives restarts of core and executor, and the watchdog's work.

The machine is a container over this one's root; what runs in it is the installed package.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ecsd
from ecsd.coconut.main import main
from tests.units.machine import Machine, enter, why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "ecsd").exists(), reason="the package is not installed"),
    pytest.mark.timeout(400),
]
BIN = Path(sys.prefix) / "bin"
WORKFLOWS = "/srv/workflows"
TASK = {
    "name": "source",
    "control": {"mode": "direct"},
    "bind": [{"name": "out", "type": "push", "transport": "zeromq"}],
    "properties": {"rate": "1"},
    "command": {"value": str(Path(ecsd.__file__).parent / "examples" / "bin" / "source")},
}
WORKFLOW = {"name": "two", "roles": [{"name": name, "task": {"load": "source"}} for name in ("a", "b")]}


class Hall:
    """Core and executor on the machine, with an environment that is RUNNING."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def ask(self, code: str) -> Any:
        """Run a script inside that has `ecs`, the connection of root on this machine; return what it prints."""
        script = f"import json, libecs\nwith libecs.connect() as ecs:\n{textwrap.indent(textwrap.dedent(code), '    ')}"
        return json.loads(self.machine.run(sys.executable, "-P", "-c", script))

    def picture(self) -> dict[str, Any]:
        """Return state, run number and pids of the environment, once its node is there."""
        picture: dict[str, Any] = self.ask(
            """
            (env,) = ecs.environments()
            seen = env.show()
            while not all(task.pid for task in seen.tasks):  # until the node has told the core what it holds
                seen = env.show()
            print(json.dumps({"state": seen.state.name, "run": seen.run_number,
                              "pids": {task.role: task.pid for task in seen.tasks}}))
            """
        )
        return picture

    def main_pid(self, unit: str) -> int:
        return int(self.machine.property(unit, "MainPID"))


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    with Machine() as machine:
        enter(machine, Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent)
        assert main(["install-units", "--root", str(machine.root)]) == 0
        machine.write("/etc/ecs/ecsd.toml", f'repository = ["{WORKFLOWS}"]\n')
        machine.write(f"{WORKFLOWS}/workflows/two.yaml", json.dumps(WORKFLOW))
        machine.write(f"{WORKFLOWS}/tasks/source.yaml", json.dumps(TASK))
        machine.run("systemd-sysusers")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "ecsd")
        token = json.loads(machine.run(BIN / "coconut", "node", "invite", "node1", "--auto", "--json"))["token"]
        join = [BIN / "ecs-executord", "join", token, "--state", "/var/lib/ecs/executor", "--node", "node1"]
        machine.run("install", "-d", "-o", "ecs", "-g", "ecs", "-m", "0700", "/var/lib/ecs/executor")
        machine.run("setpriv", "--reuid=ecs", "--regid=ecs", "--clear-groups", *join)
        machine.run("systemctl", "start", "ecs-executord")
        hall = Hall(machine)
        number = hall.ask(
            """
            env = ecs.environment("two", keep=True)
            env.control("START_ACTIVITY")
            print(env.show().run_number)
            """
        )
        assert number > 0
        yield hall


def test_the_run_goes_on_while_the_core_is_restarted(hall: Hall) -> None:
    before, pid = hall.picture(), hall.main_pid("ecsd")

    hall.machine.run("systemctl", "restart", "ecsd")

    assert hall.main_pid("ecsd") != pid
    assert hall.picture() == before
    assert before["state"] == "RUNNING"


def test_the_run_goes_on_while_the_executor_is_restarted(hall: Hall) -> None:
    before, pid = hall.picture(), hall.main_pid("ecs-executord")

    hall.machine.run("systemctl", "restart", "ecs-executord")

    assert hall.main_pid("ecs-executord") != pid
    assert hall.picture() == before
    assert before["state"] == "RUNNING"


@pytest.mark.parametrize("unit", ["ecsd", "ecs-executord"])
def test_a_daemon_that_hangs_is_restarted_by_the_watchdog_and_the_run_goes_on(hall: Hall, unit: str) -> None:
    machine = hall.machine
    machine.write(f"/etc/systemd/system/{unit}.service.d/soon.conf", "[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", unit)  # the new time counts from the next start on
    before, pid, restarts = hall.picture(), hall.main_pid(unit), int(machine.property(unit, "NRestarts"))

    machine.run("kill", "-STOP", str(pid))
    machine.run("tail", f"--pid={pid}", "-f", "/dev/null")  # until systemd has ended it
    machine.run("systemctl", "start", unit)  # waits until it is ready again

    assert int(machine.property(unit, "NRestarts")) == restarts + 1
    assert "watchdog" in machine.journal(unit).lower()
    assert hall.picture() == before


def test_the_daemons_log_to_the_journal(hall: Hall) -> None:
    assert "ready" in hall.machine.journal("ecsd")


def test_what_the_daemons_keep_is_theirs_alone(hall: Hall) -> None:
    for folder in ("/var/lib/ecs/core", "/var/lib/ecs/executor"):
        assert hall.machine.run("stat", "-c", "%a %U", folder).strip() == "700 ecs"
