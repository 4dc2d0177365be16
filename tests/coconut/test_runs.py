"""`coconut run list` and `run show`, over records in a folder of runs and in a state folder."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ecsd.coconut.runs import lasted
from libecs.engine.effects import Persist
from libecs.engine.records import RUN
from libecs.io.runrecord import run_document, save_run
from libecs.io.store_sqlite import SqliteStore
from libecs.wire.codec import pack_value
from libecs.wire.info import MetricInfo, RunCondition, RunInfo, RunSpan
from tests.coconut.conftest import Coconut

HOUR_MS = 3_600_000
METRIC = MetricInfo(role="lab.trigger", name="rate", unit="Hz", n=2, sum=3.0, min=1.0, max=2.0, last=2.0, last_ms=9)


def run(number: int, **fields: object) -> RunInfo:
    common = {
        "environment": "e1",
        "workflow": "lab",
        "revision": "local",
        "condition": RunCondition.GOOD,
        "end_reason": "USER",
        "start_ms": HOUR_MS,
        "end_ms": HOUR_MS + 2500,
        "comment": f"number {number}",
    }
    return RunInfo(number=number, **{**common, **fields})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of runs, with runs 1 to 3, a broken record and a run without one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    runs = tmp_path / "ecs" / "runs"
    for number in (1, 2):
        save_run(run(number, folder=str(runs / str(number))))
    full = run(
        3,
        folder=str(runs / "3"),
        condition=RunCondition.FAILED,
        end_reason="ERROR",
        cause="hv exited with code 3",
        degraded=(RunSpan(start_ms=HOUR_MS, end_ms=0, role="lab.monitor", reason="killed by signal 9"),),
        metrics=(METRIC,),
        variables={"volts": "1450"},
        nodes=("a", "b"),
        requester="me@here",
        dropped=4,
    )
    (runs / "3").mkdir()
    for n in range(25):
        (runs / "3" / f"raw{n:02d}.dat").write_text("x")
    save_run(full)
    (runs / "4").mkdir()
    (runs / "4" / "run.json").write_text("{}")
    (runs / "5").mkdir()
    return runs


def test_list_is_a_table_with_the_newest_below(coconut: Coconut, folder: Path) -> None:
    ran = coconut("run", "list")

    lines = ran.out.splitlines()
    assert ran.status == 0
    assert lines[0].split() == ["run", "condition", "ended", "by", "started", "lasted", "workflow", "comment"]
    assert lines[1].split()[:3] == ["1", "GOOD", "USER"]
    assert lines[1].split()[-5:] == ["2.5", "s", "lab", "number", "1"]
    assert lines[3].split()[:3] == ["3", "FAILED", "ERROR"]
    assert "is no run record" in lines[4]
    assert "run 5 has no record" in lines[5]
    assert ran.err == ""


def test_list_is_limited_and_says_so(coconut: Coconut, folder: Path) -> None:
    ran = coconut("run", "ls", "--limit", "2")

    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["4", "5"]
    assert ran.err == "3 older runs; --limit shows more\n"


def test_list_as_json_is_a_document(coconut: Coconut, folder: Path) -> None:
    document = coconut("run", "list", "--json").document

    assert document["schema"] == "ecs/runs/1"
    assert document["total"] == 5
    assert [one["number"] for one in document["runs"]] == [1, 2, 3, 4, 5]
    assert document["runs"][0]["condition"] == "GOOD"
    assert "variables" not in document["runs"][0]
    assert "no run record" in document["runs"][3]["error"]


def test_no_runs_are_no_error(coconut: Coconut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    ran = coconut("run", "list")

    assert (ran.status, ran.out.splitlines()[1:]) == (0, [])
    assert "no runs yet" in ran.err


def test_show_tells_everything(coconut: Coconut, folder: Path) -> None:
    ran = coconut("run", "show", "3")

    assert ran.status == 0
    for text in (
        "run 3",
        "condition   FAILED",
        "cause       hv exited with code 3",
        "nodes       a, b",
        "lost        4 samples and lines",
        "to the end  lab.monitor: killed by signal 9",
        "lab.trigger  rate    2        3    1.5   1    2    2     Hz",
        "raw00.dat",
        "and 5 more",
        "volts = 1450",
    ):
        assert text in ran.out


def test_tasks_of_a_node_that_did_not_answer_share_a_line(coconut: Coconut, folder: Path) -> None:
    end = HOUR_MS + 60_000
    silent = [
        RunSpan(start_ms=HOUR_MS, end_ms=end, role=f"lab.{name}", reason=f"unknown: node {node} does not answer")
        for name, node in (("a", "n2"), ("x", "n3"), ("b", "n2"), ("c", "n2"))
    ]
    dead = RunSpan(start_ms=HOUR_MS, end_ms=0, role="lab.d", reason="killed by signal 9")
    save_run(run(6, folder=str(folder / "6"), degraded=(dead, *silent)))

    text = coconut("run", "show", "6").out
    lines = text.partition("\ndegraded\n")[2].splitlines()

    assert [line.split("  ")[-1] for line in lines[:3]] == [
        "lab.d: killed by signal 9",
        "node n2 does not answer: 3 tasks",
        "lab.x: unknown: node n3 does not answer",
    ]
    assert len(coconut("run", "show", "6", "--json").document["degraded"]) == 5


def test_metrics_are_shown_in_the_order_of_nodes(coconut: Coconut, folder: Path) -> None:
    metrics = tuple(attrs.evolve(METRIC, role=f"lab.node{n}.t", name=name) for n in (10, 2, 1) for name in "ba")
    save_run(run(4, folder=str(folder / "4"), metrics=metrics))

    words = [line.split()[:2] for line in coconut("run", "show", "4").out.splitlines() if "lab.node" in line]

    assert words == [[f"lab.node{n}.t", name] for n in (1, 2, 10) for name in "ab"]


def test_show_as_json_is_the_document_that_stands_in_the_folder(coconut: Coconut, folder: Path) -> None:
    ran = coconut("run", "show", "3", "--json")

    assert ran.document == json.loads((folder / "3" / "run.json").read_text())
    assert len(ran.document["files"]) == 25


@pytest.mark.parametrize(
    ("number", "hint"),
    [("7", "did you mean 3, 4, 5?"), ("5", "it goes on, or its control system was killed")],
)
def test_run_that_is_not_there_is_exit_3_with_its_neighbours(
    coconut: Coconut, folder: Path, number: str, hint: str
) -> None:
    ran = coconut("run", "show", number)

    assert ran.status == 3
    assert hint in ran.err


def test_broken_record_is_exit_9(coconut: Coconut, folder: Path) -> None:
    ran = coconut("run", "show", "4", "--json")

    assert ran.status == 9
    assert ran.document["error"]["code"] == "E_INVALID"


def test_places_that_are_not_there_are_exit_3(coconut: Coconut, folder: Path, tmp_path: Path) -> None:
    assert coconut("run", "list", "--runs", str(tmp_path / "none")).status == 3
    assert coconut("run", "list", "--state", str(tmp_path / "none")).status == 3
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = coconut("run", "show", "1", "--runs", str(empty))
    assert ran.status == 3
    assert "there are no runs here" in ran.err


def test_state_folder_tells_of_runs_that_never_ended(coconut: Coconut, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)
    going = run(8, end_ms=0, condition=RunCondition.UNDEFINED, end_reason="")
    store.commit([Persist(RUN, "8", pack_value(going))], [])
    store.close()

    ran = coconut("run", "list", "--state", str(tmp_path))
    shown = coconut("run", "show", "8", "--state", str(tmp_path))

    assert ran.out.splitlines()[1].split()[:3] == ["8", "going", "on"]
    assert "condition   going on" in shown.out
    assert coconut("run", "show", "8", "--state", str(tmp_path), "--json").document["end_ms"] is None


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0.0 s"), (59_900, "59.9 s"), (61_000, "1:01"), (2 * HOUR_MS + 61_000, "2:01:01")]
)
def test_lengths_are_written_for_people(milliseconds: int, text: str) -> None:
    assert lasted(run(1, end_ms=HOUR_MS + milliseconds)) == text


def test_summary_and_record_agree(coconut: Coconut, folder: Path) -> None:
    one = coconut("run", "list", "--json").document["runs"][1]
    whole = run_document(attrs.evolve(run(2), folder=str(folder / "2")))

    assert one == {key: whole[key] for key in one}
