"""What becomes of the tasks when the script that holds them dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fieldkit.lateness import Lateness

from ecsd.coconut.books import audit, connections, read_reports
from tests.system.place import Left, Place, Waiting

pytestmark = pytest.mark.timeout(400)

HOLD = """
import json, sys, time
import libecs
from ecsd.installation import defaults, examples
state, orphans, reports = sys.argv[1:]
with libecs.local(state or None, orphans=orphans, nodes=3, repo=examples() / "demo", defaults=defaults()) as ecs:
    env = ecs.environment("demo", {"report_dir": reports, "rate": 100})
    with env.run() as run:
        print(json.dumps({"number": run.number, "pids": env.tasks().pids}), flush=True)
        time.sleep(3600)
"""

TAKE_OVER = """
import itertools, json, sys
import libecs
from ecsd.installation import defaults, examples
with libecs.local(sys.argv[1], orphans="adopt", nodes=3, repo=examples() / "demo", defaults=defaults()) as ecs:
    (env,) = ecs.environments()
    tasks = env.tasks()
    before = {"state": env.state, "number": env.info.run_number, "pids": tasks.pids}
    with env.current_run() as run:
        for times in itertools.count(1):  # a task is UNKNOWN until it has found its new executor and told
            run.wait(until=lambda view: view.elapsed_s > 0.5 * times)
            before["states"] = sorted(set(env.tasks().states.values()))
            if "UNKNOWN" not in before["states"]:
                break
    with env.run() as second:
        pass
    env.destroy()
    print(json.dumps({**before, "condition": run.condition, "second": second.number}), flush=True)
"""


def read_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(f"the script ended: {process.communicate()[1]}")
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("state", ["", "kept"])
def test_killed_script_leaves_no_task_15_s_later(
    place: Place, examples: Path, waiting: Waiting, tmp_path: Path, state: str
) -> None:
    process = place.script(HOLD, tmp_path / state if state else "", "stop", "")
    held = read_line(process)
    assert len(place.tasks()) == len(held["pids"]) == 20

    with Lateness() as lateness:
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        process.communicate()

        assert waiting(lambda: not place.tasks(), 100), place.tasks()
        took_s = time.monotonic() - killed
    # It is due after 10 s. Each of the twenty tasks waits for this machine, if it is busy.
    assert took_s < 15 + 20 * lateness.worst_s, lateness.worst_s
    assert waiting(lambda: not place.processes(), 60), place.processes()


def test_next_script_adopts_the_tasks_of_a_killed_one(place: Place, examples: Path, left: Left, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    process = place.script(HOLD, tmp_path / "state", "adopt", reports)
    held = read_line(process)

    process.send_signal(signal.SIGKILL)
    process.communicate()
    second = place.script(TAKE_OVER, tmp_path / "state")
    out, err = second.communicate(timeout=100)

    assert second.returncode == 0, err
    taken = json.loads(out)
    assert taken["pids"] == held["pids"]
    assert (taken["state"], taken["number"]) == ("RUNNING", held["number"])
    assert taken["states"] == ["RUNNING"]
    assert (taken["condition"], taken["second"]) == ("GOOD", held["number"] + 1)
    books = audit(held["number"], read_reports(reports, held["number"]), connections(held["pids"]))
    assert books.problems == ()
    assert books.messages > 0
    assert left() == []


def test_script_that_ends_normally_keeps_what_is_to_be_adopted(
    place: Place, examples: Path, left: Left, tmp_path: Path
) -> None:
    leave = HOLD.replace(
        "    with env.run() as run:\n", "    env.control('START')\n    if run := env.current_run():\n"
    ).replace("        time.sleep(3600)\n", "")
    process = place.script(leave, tmp_path / "state", "adopt", "")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    held = json.loads(out)
    still = place.tasks()

    second = place.script(TAKE_OVER, tmp_path / "state")
    out, err = second.communicate(timeout=100)

    assert len(still) == 20
    assert second.returncode == 0, err
    assert json.loads(out)["pids"] == held["pids"]
    assert left() == []


def test_second_owner_of_a_state_is_told_who_holds_it(place: Place, examples: Path, tmp_path: Path) -> None:
    process = place.script(HOLD, tmp_path / "state", "stop", "")
    read_line(process)

    ran = place.run(*second_owner(tmp_path))

    assert "libecs.errors.Conflict" in ran.err
    assert f"in use by process {process.pid}" in ran.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert place.processes() == {}


def second_owner(folder: Path) -> tuple[str | Path, ...]:
    code = f"import libecs\nwith libecs.local({str(folder / 'state')!r}): pass"
    return sys.executable, "-c", code
