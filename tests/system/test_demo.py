"""The demo, as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.place import Left, Place

COCONUT = Path(sys.executable).with_name("coconut")

pytestmark = pytest.mark.timeout(400)


def test_demo_takes_two_runs_and_leaves_nothing(place: Place, examples: Path, left: Left) -> None:
    ran = place.coconut("demo", "--duration", "2s", "--json")

    document = ran.document
    assert ran.status == 0, ran.err
    assert document["schema"] == "ecs/demo/1"
    assert [run["number"] for run in document["runs"]] == [1, 2]
    assert {run["condition"] for run in document["runs"]} == {"GOOD"}
    assert [one["event"] for one in document["transitions"]] == [
        "DEPLOY", "CONFIGURE", "START_ACTIVITY", "STOP_ACTIVITY", "START_ACTIVITY", "STOP_ACTIVITY", "RESET", "DESTROY",
    ]  # fmt: skip
    assert all(one["ok"] for one in document["transitions"])
    classes = [task["class"] for task in document["tasks"]]
    assert len(classes) >= 12
    assert sum(name.endswith("-c") for name in classes) * 2 == len(classes)
    assert len({task["node"] for task in document["tasks"]}) == 3
    for books in document["books"]:
        assert books["ok"], books["problems"]
        assert books["messages"] > 0
        assert books["counted"] == 2 * books["messages"]
    assert left() == []
    assert place.channels(document["environment"]) == []
    assert list(place.home.rglob("*")) == []


def test_demo_says_what_to_do_next_and_moves_no_cursor(place: Place, examples: Path) -> None:
    ran = place.coconut("demo", "--duration", "100ms")

    assert ran.status == 0, ran.err
    assert "counts, gaps and hashes agree" in ran.out
    assert "coconut run take demo --repo" in ran.out
    assert "DEPLOYED" in ran.err
    assert "\x1b" not in ran.out + ran.err


def test_killed_filter_makes_the_demo_fail_with_the_cause(place: Place, examples: Path, left: Left) -> None:
    ran = place.coconut("demo", "--kill", "filter")

    assert ran.status == 7
    assert "critical task demo.node1.c.filter on node node1 killed by signal 9" in ran.err
    assert ran.err.splitlines()[-4].startswith("E_RUN")
    assert "run 1  FAILED  ERROR" in ran.out
    assert left() == []


def test_killed_filter_with_json_is_one_document(place: Place, examples: Path) -> None:
    ran = place.coconut("demo", "--kill", "filter", "--json")

    document = ran.document
    assert (ran.status, document["exit_code"], document["ok"]) == (7, 7, False)
    assert document["error"]["code"] == "E_RUN"
    assert "demo.node1.c.filter" in document["error"]["cause"]
    assert document["runs"][0]["condition"] == "FAILED"
    assert ran.err == ""


def test_unknown_victim_is_not_found(place: Place, examples: Path, left: Left) -> None:
    ran = place.coconut("demo", "--kill", "frog")

    assert ran.status == 3
    assert "the demo has no task 'frog'" in ran.err
    assert left() == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_stops_cleanly(place: Place, examples: Path, left: Left, number: int, status: int) -> None:
    process = place.start(COCONUT, "demo", "--duration", "10min")
    assert process.stderr is not None
    for line in process.stderr:
        if "RUNNING" in line:
            break

    process.send_signal(number)
    out, err = process.communicate(timeout=200)

    assert process.returncode == status
    assert "everything was stopped and cleaned up" in err
    assert "USER_EXCEPTION" in out
    assert left() == []


def test_interrupted_deployment_leaves_nothing(place: Place, examples: Path, left: Left) -> None:
    process = place.start(COCONUT, "demo", "--duration", "10min")
    assert process.stderr is not None
    for line in process.stderr:
        if "DEPLOY" in line:
            break

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)

    assert process.returncode == 130
    assert left() == []


def test_wrong_duration_is_said_before_anything_is_launched(place: Place, examples: Path) -> None:
    ran = place.coconut("demo", "--duration", "soon")

    assert ran.status == 2
    assert "no duration" in ran.err or "not a duration" in ran.err
    assert "DEPLOY" not in ran.err


def test_installed_coconut_has_a_name_and_a_version(place: Place) -> None:
    assert place.coconut("--version").out.startswith("coconut 0.")
    assert subprocess.run([COCONUT, "--help"], check=False, capture_output=True).returncode == 0
