"""The script of the design for a lab, with its three programs: as it stands, and when one of them dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.io.places import own_host
from tests.system.place import Left, Place, Waiting

pytestmark = pytest.mark.timeout(400)

SCRIPT = """import libecs                                        # (a) three processes in a lab, no daemon
lab = libecs.workflow("cosmics", tasks={
    "hv": libecs.task("python3 hv.py"),              # an OCC task
    "daq": libecs.task("./digitizer -o {{run_dir}}/raw.dat", mode="basic", stop="SIGINT", start_after=["hv"]),
    "trigger": libecs.task(attach="tcp://pi-trigger:47100", start_after=["daq"])})   # STOP in reverse
with libecs.local(state="~/cosmics", orphans="stop") as ecs:
    with ecs.environment(lab, vars={"hv.volts": 1450}) as env:
        for _ in range(10):
            try:
                with env.run(duration="30min", comment="night") as run:
                    run.wait(until=lambda m: m["trigger:events"].last >= 1_000_000)
            except libecs.RunFailed as e:
                print(e.cause); env.recover()
            print(run.number, run.condition, run.end_reason, run.metrics["trigger:rate"].mean)
"""

IN_A_LAB = '''
"""Give this machine the name pi-trigger, in a name space that ends with this program; then run the words given."""
import fcntl, socket, struct, subprocess, sys

hosts, *words = sys.argv[1:]
with socket.socket() as anything:
    fcntl.ioctl(anything, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP: a network of its own
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
sys.exit(subprocess.run(words).returncode)
'''

WITH_TRIGGER = """
import os, signal, subprocess, sys

folder, *options = sys.argv[1:]
trigger = subprocess.Popen([sys.executable, "-u", f"{folder}/trigger.py", *options])
try:
    status = subprocess.run([sys.executable, "-u", f"{folder}/cosmics.py"]).returncode
    print("trigger", "lives" if trigger.poll() is None else "is gone", flush=True)
finally:
    trigger.send_signal(signal.SIGINT)
    print("trigger ended with", trigger.wait(30), flush=True)
sys.exit(status)
"""


@pytest.fixture
def lab(examples: Path, place: Place) -> Path:
    """A copy of the example: tests may change it. `python3` finds the packages that this Python has."""
    folder = place.home / "lab"
    shutil.copytree(examples / "cosmics", folder)
    bin_folder = place.home / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (bin_folder / "python3").chmod(0o755)
    place.environment["PATH"] = f"{bin_folder}:{place.environment['PATH']}"
    (place.home / "with_trigger.py").write_text(WITH_TRIGGER)
    return folder


@pytest.fixture
def here(lab: Path) -> tuple[Path, str]:
    """The lab, with a trigger board on this machine at an address of its own, and three runs instead of ten."""
    endpoint = f"tcp://{own_host()}:47100"
    text = (lab / "cosmics.py").read_text()
    (lab / "cosmics.py").write_text(text.replace("tcp://pi-trigger:47100", endpoint).replace("range(10)", "range(3)"))
    return lab, endpoint


def test_script_is_the_one_of_the_design(examples: Path) -> None:
    assert (examples / "cosmics" / "cosmics.py").read_text() == SCRIPT


def may_have_a_name_space(place: Place) -> bool:
    return shutil.which("unshare") is not None and place.run("unshare", "-rmn", "true").status == 0


def test_script_runs_as_it_stands(place: Place, left: Left, lab: Path) -> None:
    if not may_have_a_name_space(place):
        pytest.skip("this machine allows no name spaces: no way to give it the name pi-trigger for a moment")
    hosts, in_a_lab = place.home / "hosts", place.home / "in_a_lab.py"
    hosts.write_text("127.0.0.1 localhost pi-trigger\n")
    in_a_lab.write_text(IN_A_LAB)

    ran = place.run(
        "unshare", "-rmn", sys.executable, in_a_lab, hosts,
        sys.executable, place.home / "with_trigger.py", lab, "tcp://127.0.0.1:47100", cwd=Path("/"),
    )  # fmt: skip

    lines = ran.out.splitlines()
    assert ran.status == 0, ran.err
    assert len(lines) == 12, ran.out
    for number, line in enumerate(lines[:10], 1):
        run, condition, reason, rate = line.split()
        assert (run, condition, reason) == (str(number), "GOOD", "USER")
        assert 0.5e6 < float(rate) < 4e6
    assert lines[10:] == ["trigger lives", "trigger ended with 0"]
    state = place.home / "cosmics"
    for number in range(1, 11):
        record = json.loads((state / "runs" / str(number) / "run.json").read_text())
        assert (record["schema"], record["number"], record["condition"]) == ("ecs/run/1", number, "GOOD")
        assert record["comment"] == "night"
        assert "raw.dat" in record["files"]
        told = {(metric["role"], metric["name"]): metric for metric in record["metrics"]}
        assert told["cosmics.trigger", "events"]["last"] >= 1_000_000
        assert abs(told["cosmics.hv", "volts"]["mean"] - 1450) < 5
        assert (state / "runs" / str(number) / "raw.dat").stat().st_size > 0
    listed = place.coconut("run", "list", "--state", state)
    assert [line.split()[:3] for line in listed.out.splitlines()[1:]] == [
        [str(number), "GOOD", "USER"] for number in range(1, 11)
    ]
    shown = place.coconut("run", "show", "3", "--state", state, "--json")
    assert shown.document == json.loads((state / "runs" / "3" / "run.json").read_text())
    assert left() == []


def test_runs_in_the_order_that_the_script_wants(place: Place, left: Left, here: tuple[Path, str]) -> None:
    lab, endpoint = here
    text = (lab / "cosmics.py").read_text()
    observed = text.replace(
        "        for _ in range(3):",
        "        events = env.events()\n        for _ in range(1):",
    ) + (
        "        for event in events:\n"
        "            for role, state in event.tasks:\n"
        "                print(event.transition or '-', role, state.name)\n"
        "            if event.kind == 'run.end':\n"
        "                break\n"
    )
    (lab / "cosmics.py").write_text(observed)

    ran = place.run(sys.executable, place.home / "with_trigger.py", lab, endpoint)

    assert ran.status == 0, ran.err
    words = [line.split() for line in ran.out.splitlines() if " cosmics." in line]
    started = [role for _, role, state in words if state == "RUNNING"]
    stopped = [role for _, role, state in words if state == "CONFIGURED"]
    assert started == ["cosmics.hv", "cosmics.daq", "cosmics.trigger"]
    assert stopped == ["cosmics.trigger", "cosmics.daq", "cosmics.hv"]
    assert left() == []


def test_run_with_a_dead_task_fails_with_its_cause_and_the_next_is_good(
    place: Place, left: Left, waiting: Waiting, here: tuple[Path, str]
) -> None:
    lab, endpoint = here
    path = lab / "cosmics.py"
    going = place.home / "going"
    wait = "run.wait(until=lambda m: "
    assert wait in path.read_text()
    # The first run says that it goes on, and ends by nothing but the death.
    path.write_text(path.read_text().replace(wait, f"open({str(going)!r}, 'w').close() or {wait}run.number > 1 and "))
    process = place.start(sys.executable, "-u", place.home / "with_trigger.py", lab, endpoint, "--rate", "2e6")
    data = place.home / "cosmics" / "runs" / "1" / "raw.dat"
    assert waiting(lambda: going.exists() and data.exists() and data.stat().st_size > 0, 100)

    tasks = place.tasks()
    (pid,) = (pid for pid, command in place.processes().items() if pid in tasks and "hv.py" in command)
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=200)

    lines = out.splitlines()
    assert process.returncode == 0, err
    assert "critical task cosmics.hv on node node1 killed by signal 9" in lines[0]
    assert re.match(r"1 FAILED ERROR (\d|nan)", lines[1])
    assert [line.split()[:3] for line in lines[2:4]] == [["2", "GOOD", "USER"], ["3", "GOOD", "USER"]]
    assert lines[4] == "trigger lives"
    record = json.loads((data.parent / "run.json").read_text())
    assert (record["condition"], record["end_reason"]) == ("FAILED", "ERROR")
    assert "cosmics.hv" in record["cause"]
    assert left() == []


def test_wrong_property_stops_the_script_with_the_task_s_own_words(
    place: Place, left: Left, here: tuple[Path, str]
) -> None:
    lab, endpoint = here
    path = lab / "cosmics.py"
    path.write_text(path.read_text().replace("1450", "14500"))

    ran = place.run(sys.executable, place.home / "with_trigger.py", lab, endpoint)
    path.write_text(path.read_text().replace('"hv.volts": 14500', '"hw.volts": 1450'))
    misspelt = place.run(sys.executable, place.home / "with_trigger.py", lab, endpoint)

    assert ran.status == misspelt.status == 1
    assert "volts is 14500: this supply gives 0 to 2000 V" in ran.err
    assert "did you mean hv?" in misspelt.err
    assert left() == []


def test_board_that_is_not_there_is_said_by_name(place: Place, left: Left, here: tuple[Path, str]) -> None:
    lab, endpoint = here
    path = lab / "cosmics.py"
    text = path.read_text().replace('start_after=["daq"])})', 'start_after=["daq"], timeouts={"DEPLOY": "500ms"})})')
    path.write_text(text)

    done = subprocess.run(
        [sys.executable, path], env=place.environment, capture_output=True, text=True, timeout=200, check=False
    )

    assert done.returncode == 1
    assert "cosmics.trigger" in done.stderr
    assert endpoint in done.stderr
    assert left() == []
