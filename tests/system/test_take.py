"""`coconut run take` with real tasks, and every example that a help text gives."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from ecsd.coconut.lazy import LazyGroup
from ecsd.coconut.main import coconut as command
from libecs.io.runrecord import save_run
from libecs.wire.info import RunInfo
from tests.system.place import Left, Place

COCONUT = Path(sys.executable).with_name("coconut")

pytestmark = pytest.mark.timeout(400)


Repository = Callable[..., Path]
"""Makes a repository of basic tasks: name=(shell text, critical)."""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository of basic tasks: name to (shell text, critical)."""

    def make(**tasks: tuple[str, bool]) -> Path:
        root = tmp_path / "repository"
        for folder in ("workflows", "tasks"):
            (root / folder).mkdir(parents=True)
        roles: list[dict[str, Any]] = []
        for name, (text, critical) in tasks.items():
            template = {
                "name": name,
                "control": {"mode": "basic"},
                "command": {"shell": True, "value": text, "stdout": "all", "stderr": "all"},
            }
            (root / "tasks" / f"{name}.yaml").write_text(json.dumps(template))
            roles.append({"name": name, "task": {"load": name, "critical": critical}})
        (root / "workflows" / "lab.yaml").write_text(json.dumps({"name": "lab", "roles": roles}))
        return root

    return make


def test_cycles_are_runs_of_one_environment_and_the_report_holds_everything(
    place: Place, left: Left, repository: Repository, tmp_path: Path
) -> None:
    report = tmp_path / "report"

    ran = place.coconut(
        "run", "take", "lab", "--repo", repository(clock=("sleep 1000", True)), "--cycles", "3", "--duration", "100ms",
        "--comment", "night", "--report", report,
    )  # fmt: skip

    assert ran.status == 0, ran.err
    assert re.sub(r"\d+\.\d s", "T", ran.out) == "".join(f"run {n}  GOOD  DURATION  T\n" for n in (1, 2, 3))
    document = json.loads((report / "report.json").read_text())
    assert (document["schema"], document["exit_code"], document["ok"]) == ("ecs/run-take/1", 0, True)
    assert {run["comment"] for run in document["runs"]} == {"night"}
    assert document["runs"][0]["variables"]["report_dir"] == str(report)
    assert (report / "calls.jsonl").read_text() == ""
    assert left() == []


def test_critical_task_that_fails_is_exit_7_with_task_node_exit_and_last_log(
    place: Place, left: Left, repository: Repository
) -> None:
    root = repository(clock=("sleep 1000", True), hv=("echo bad voltage; exit 3", True))

    ran = place.coconut("run", "take", "lab", "--repo", root)
    again = place.coconut("run", "take", "lab", "--repo", root, "--json").document

    # It may die while START_ACTIVITY goes on, or after it: the words before the task's name differ.
    cause = re.compile(r"lab\.hv:? on node node1 exited with code 3; last log: bad voltage")
    assert ran.status == 7
    assert cause.search(ran.err)
    assert "run 1  FAILED  ERROR" in ran.out
    assert again["error"]["code"] == "E_RUN"
    assert cause.search(again["error"]["cause"])
    assert again["runs"][0]["number"] == 2
    assert left() == []


def test_task_that_is_not_critical_degrades_the_run_and_exit_is_10(
    place: Place, left: Left, repository: Repository
) -> None:
    root = repository(clock=("sleep 1000", True), monitor=("echo no screen; exit 1", False))

    ran = place.coconut("run", "take", "lab", "--repo", root, "--duration", "3s")

    assert ran.status == 10, ran.err
    assert "run 1  DEGRADED  DURATION" in ran.out
    assert "lost lab.monitor (not critical)" in ran.err
    assert left() == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
def test_interrupted_run_is_stopped_and_recorded(
    place: Place, left: Left, repository: Repository, tmp_path: Path, number: int, status: int
) -> None:
    report = tmp_path / "report"
    root = repository(clock=("sleep 1000", True))
    words = ("run", "take", "lab", "--repo", root, "--duration", "1h", "--report", report)
    process = place.start(COCONUT, *words)
    assert process.stderr is not None
    for line in process.stderr:
        if "START_ACTIVITY done" in line:
            break

    process.send_signal(number)
    out, _ = process.communicate(timeout=200)

    assert process.returncode == status
    assert "run 1  GOOD  USER_EXCEPTION" in out
    assert json.loads((report / "report.json").read_text())["error"]["code"] == "E_INTERRUPTED"
    assert left() == []


def test_quiet_says_nothing_but_the_result(place: Place, repository: Repository) -> None:
    ran = place.coconut(
        "run", "take", "lab", "--repo", repository(clock=("sleep 9", True)), "--duration", "50ms", "--quiet"
    )

    assert ran.err == ""
    assert ran.out.startswith("run 1  GOOD")


def test_kept_state_is_used_again(place: Place, repository: Repository, tmp_path: Path) -> None:
    root = repository(clock=("sleep 1000", True))
    words = ("run", "take", "lab", "--repo", root, "--duration", "50ms", "--state", tmp_path / "state", "--json")

    first, second = place.coconut(*words), place.coconut(*words)

    assert [ran.status for ran in (first, second)] == [0, 0]
    assert first.document["environment"] != second.document["environment"]
    assert (tmp_path / "state" / "state.sqlite").exists()


def test_wrong_repository_leaves_nothing(place: Place, left: Left) -> None:
    assert place.coconut("run", "take", "lab", "--repo", "/nowhere").status == 3
    assert left() == []


@pytest.mark.parametrize("option", ["--runs", "--state", "--report"])
def test_folder_that_cannot_be_is_a_usage_error_before_anything_is_launched(
    place: Place, left: Left, repository: Repository, option: str
) -> None:
    ran = place.coconut("run", "take", "lab", "--repo", repository(a=("sleep 9", True)), option, "/dev/null/x")

    assert ran.status == 2
    assert (
        ran.err
        == f"E_USAGE  {option} /dev/null/x: no folder can be made there: Not a directory\n  next: name another folder\n"
    )
    assert left() == []


def keep_run(place: Place, number: int) -> None:
    """Make the record of a run of yesterday, for verbs that show one."""
    folder = place.home / "data" / "ecs" / "runs" / str(number)
    save_run(RunInfo(number=number, environment="e", start_ms=1, end_ms=2, folder=str(folder)))


def test_runs_are_listed_and_shown_afterwards(place: Place, left: Left, examples: Path, tmp_path: Path) -> None:
    words = ("run", "take", "demo", "--repo", examples / "demo", "--duration", "300ms", "--json")
    taken = place.coconut(*words)
    kept = place.coconut(*words, "--state", tmp_path / "state")
    elsewhere = place.coconut(*words, "--runs", tmp_path / "runs")
    numbers = [ran.document["runs"][0]["number"] for ran in (taken, kept, elsewhere)]

    listed = place.coconut("run", "list", "--json").document
    of_state = place.coconut("run", "list", "--state", tmp_path / "state", "--json").document
    of_folder = place.coconut("run", "list", "--runs", tmp_path / "runs", "--json").document
    shown = place.coconut("run", "show", str(numbers[0]), "--json").document

    assert numbers == [1, 2, 3]
    assert [[run["number"] for run in one["runs"]] for one in (listed, of_state, of_folder)] == [[1], [2], [3]]
    assert shown["workflow"] == "demo"
    assert {"events", "bytes"} <= {metric["name"] for metric in shown["metrics"]}
    assert len(shown["configuration"]) == 20
    assert {key: shown[key] for key in taken.document["runs"][0]} == taken.document["runs"][0]
    assert left() == []


def test_lines_of_tasks_are_shown_when_asked_for(place: Place, repository: Repository) -> None:
    root = repository(clock=("echo tick; sleep 1000", True), hv=("echo too hot >&2; sleep 1000", True))
    words = ("run", "take", "lab", "--repo", root, "--duration")

    with_logs, without = place.coconut(*words, "4s", "--logs"), place.coconut(*words, "100ms")

    assert re.search(r"\d  clock  tick$", with_logs.err, re.MULTILINE)
    assert re.search(r"\d  hv  WARNING  too hot$", with_logs.err, re.MULTILINE)
    assert "tick" not in without.err


def examples_of(group: LazyGroup, *path: str) -> list[str]:
    """Return every example line of every help text."""
    context = click.Context(group)
    found = re.findall(r"^ +(coconut .*)$", group.help or "", re.MULTILINE)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        if isinstance(child, LazyGroup):
            found += examples_of(child, *path, name)
        elif child is not None:
            found += re.findall(r"^ +(coconut .*)$", child.help or "", re.MULTILINE)
    return sorted(set(found))


ALONE = re.compile(r"coconut (demo|about|completion bash|run (list|show)\b)|.* --repo ")
"""Examples that need no core, and leave nothing: the others are tried in tests/coconut."""


@pytest.mark.parametrize(
    "example", [text for text in examples_of(command) if ALONE.match(text) and "--local" not in text]
)
def test_example_of_a_help_text_works(place: Place, examples: Path, left: Left, project: Path, example: str) -> None:
    words = shlex.split(example)[1:]
    keep_run(place, 12)

    ran = place.coconut(*words, cwd=project)

    assert ran.status == (7 if "--kill" in words else 0), ran.err
    assert left() == []
