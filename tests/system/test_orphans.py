"""What becomes of the tasks when the script that holds them dies."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from ecsd.coconut.books import audit, connections, read_reports

pytestmark = pytest.mark.timeout(180)

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


def read_line(process) -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(f"the script ended: {process.communicate()[1]}")
    return json.loads(line)


@pytest.mark.parametrize("state", ["", "kept"])
def test_killed_script_leaves_no_task_15_s_later(place, examples, waiting, tmp_path, state) -> None:
    process = place.script(HOLD, tmp_path / state if state else "", "stop", "")
    held = read_line(process)
    assert len(place.tasks()) == len(held["pids"]) == 20

    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    process.communicate()

    assert waiting(lambda: not place.tasks(), 15 - (time.monotonic() - killed)), place.tasks()
    assert waiting(lambda: not place.processes(), 5), place.processes()


def test_next_script_adopts_the_tasks_of_a_killed_one(place, examples, left, tmp_path) -> None:
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


def test_script_that_ends_normally_keeps_what_is_to_be_adopted(place, examples, left, tmp_path) -> None:
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


def test_second_owner_of_a_state_is_told_who_holds_it(place, examples, tmp_path) -> None:
    process = place.script(HOLD, tmp_path / "state", "stop", "")
    read_line(process)

    ran = place.run(*second_owner(tmp_path))

    assert "libecs.errors.Conflict" in ran.err
    assert f"in use by process {process.pid}" in ran.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert place.processes() == {}


def second_owner(folder: Path) -> tuple[str | Path, ...]:
    import sys

    code = f"import libecs\nwith libecs.local({str(folder / 'state')!r}): pass"
    return sys.executable, "-c", code
