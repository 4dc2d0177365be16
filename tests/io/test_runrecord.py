"""Run records as files: what is written can be read again, whole or not at all; and records in a state folder."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path

import attrs
import pytest

from libecs.engine.effects import Persist
from libecs.engine.metrics import TaskMetrics
from libecs.engine.records import RUN, RUN_CONFIGURATION, RUN_METRICS, ConfigurationRecord
from libecs.errors import EcsError, InvalidInput, NotFound
from libecs.io.runrecord import (
    FILE,
    RunFolders,
    StateRuns,
    default_runs_folder,
    files_below,
    highest_number,
    read_run,
    run_document,
    save_run,
)
from libecs.io.store_sqlite import SqliteStore
from libecs.wire.codec import pack_value
from libecs.wire.info import MetricInfo, RunCondition, RunInfo, RunSpan

METRIC = MetricInfo(role="lab.trigger", name="rate", unit="Hz", n=2, sum=3.0, min=1.0, max=2.0, last=2.0, last_ms=9)
RUN_7 = RunInfo(
    number=7,
    environment="e1",
    workflow="lab",
    revision="local",
    requester="me@here",
    start_ms=1,
    start_completion_ms=2,
    end_ms=3,
    end_completion_ms=4,
    condition=RunCondition.DEGRADED,
    end_reason="USER",
    comment="night",
    variables={"b": "2", "a": "ü"},
    nodes=("node1",),
    cause="",
    degraded=(RunSpan(start_ms=1, end_ms=0, role="lab.hv", reason="link lost"),),
    configuration={"lab.hv": "ab" * 32},
    metrics=(METRIC,),
    dropped=3,
)


def in_folder(run: RunInfo, folder: Path) -> RunInfo:
    return attrs.evolve(run, folder=str(folder / str(run.number)))


# files


def test_record_is_written_with_the_files_of_its_folder_and_reads_the_same(tmp_path: Path) -> None:
    run = in_folder(RUN_7, tmp_path)
    (tmp_path / "7" / "sub").mkdir(parents=True)
    (tmp_path / "7" / "raw.dat").write_text("x")
    (tmp_path / "7" / "sub" / "b").write_text("x")

    saved = save_run(run)

    assert saved.files == ("raw.dat", "sub/b")
    assert RunFolders(tmp_path).run(7) == saved
    document = json.loads((tmp_path / "7" / FILE).read_text())
    assert document["schema"] == "ecs/run/1"
    assert document["metrics"][0]["mean"] == 1.5
    assert document["degraded"][0]["end_ms"] is None
    assert sorted(path.name for path in (tmp_path / "7").iterdir()) == ["raw.dat", "run.json", "sub"]


def test_newer_record_replaces_the_older_one_and_the_folder_is_made(tmp_path: Path) -> None:
    run = in_folder(RUN_7, tmp_path / "deep")
    save_run(run)

    saved = save_run(attrs.evolve(run, comment="day"))

    assert saved.files == ()
    assert RunFolders(tmp_path / "deep").run(7).comment == "day"


def test_what_is_no_number_is_null_in_json_and_comes_back(tmp_path: Path) -> None:
    wild = attrs.evolve(METRIC, sum=math.nan, max=math.inf, n=0)
    run = attrs.evolve(in_folder(RUN_7, tmp_path), metrics=(wild,))

    save_run(run)

    text = (tmp_path / "7" / FILE).read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    (read,) = RunFolders(tmp_path).run(7).metrics
    assert math.isnan(read.sum)
    assert math.isnan(read.max)


def test_without_a_folder_nothing_is_written() -> None:
    assert save_run(RUN_7) is RUN_7


def test_record_that_cannot_be_written_is_logged_and_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "7").write_text("a file")

    with caplog.at_level(logging.WARNING):
        save_run(in_folder(RUN_7, tmp_path))

    assert "the record of run 7 is not in" in caplog.text


def test_files_are_listed_up_to_a_limit_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    for name in ("a", "sub/b", "sub/c", FILE):
        (tmp_path / name).write_text("x")

    assert files_below(tmp_path) == ("a", "loop", "sub/b", "sub/c")
    assert len(files_below(tmp_path, limit=3)) == 3
    assert files_below(tmp_path / "none") == ()


def test_each_metric_is_one_line_of_the_record(tmp_path: Path) -> None:
    run = in_folder(attrs.evolve(RUN_7, metrics=(METRIC, METRIC)), tmp_path)

    save_run(run)

    text = (Path(run.folder) / FILE).read_text()
    assert [json.loads(line.strip().rstrip(","))["mean"] for line in text.splitlines() if '"mean"' in line] == [
        1.5,
        1.5,
    ]
    assert text.startswith('{\n "schema": "ecs/run/1",\n "number": 7,\n')


def test_whatever_tasks_leave_in_the_folder_the_record_is_written(tmp_path: Path) -> None:
    run = in_folder(RUN_7, tmp_path)
    folder = Path(run.folder)
    deep = [f"{folder}" + "/d" * depth for depth in range(1500)]
    folder.mkdir()
    for path in deep[1:]:
        os.mkdir(path)
    (folder / "bystander").write_text("mine")
    (folder / f".run.json.{os.getpid()}").symlink_to("bystander")

    assert save_run(run).files == ("bystander",)

    assert RunFolders(tmp_path).run(7).files == ("bystander",)
    assert (folder / "bystander").read_text() == "mine"
    os.mkfifo(folder / f".run.json.{os.getpid()}")
    save_run(run)
    assert names(folder) == ["bystander", "d", "run.json"]
    for path in reversed(deep[1:]):
        os.rmdir(path)  # pytest can't


def test_record_that_finds_no_room_leaves_nothing_half(tmp_path: Path) -> None:
    run = in_folder(RUN_7, tmp_path)
    (Path(run.folder) / "run.json").mkdir(parents=True)

    save_run(run)

    assert names(Path(run.folder)) == ["run.json"]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_document_of_a_newer_version_is_read(tmp_path: Path) -> None:
    document = {"schema": "ecs/run/1", **run_document(RUN_7), "moon": "full"}

    assert read_run(json.dumps(document), "x") == RUN_7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": "ecs/run/2"}',
        '{"schema": "ecs/run/1"}',
        '{"schema": "ecs/run/1", "number": 1, "environment": "e", "condition": "FINE"}',
        '{"schema": "ecs/run/1", "number": 1, "environment": "e", "condition": "GOOD", "metrics": [1]}',
        '{"schema": "ecs/run/1", "number": 1, "environment": "e", "condition": "GOOD", "degraded": ["x"]}',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_record_is_invalid_input_with_its_place(text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^/runs/1/run.json is no run record"):
        read_run(text, "/runs/1/run.json")


# folders


def test_numbers_are_those_of_folders(tmp_path: Path) -> None:
    for name in ("7", "12", "007", "x", "-1", "²"):
        (tmp_path / name).mkdir()

    assert RunFolders(tmp_path).numbers() == [7, 12]
    assert highest_number(tmp_path) == 12
    assert RunFolders(tmp_path / "none").numbers() == []
    assert highest_number(tmp_path / "none") == 0


def test_run_without_a_record_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()

    with pytest.raises(NotFound, match="run 7 has no record in"):
        RunFolders(tmp_path).run(7)


def test_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "7" / FILE).mkdir(parents=True)
    (tmp_path / "file").write_text("x")

    with pytest.raises(EcsError, match="cannot be read"):
        RunFolders(tmp_path / "file").numbers()
    with pytest.raises(EcsError, match="cannot be read"):
        RunFolders(tmp_path).run(7)


@pytest.mark.parametrize(
    ("value", "expected"), [("/data", "/data/ecs/runs"), ("relative", "/home/x/.local/share/ecs/runs")]
)
def test_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", value)
    monkeypatch.setenv("HOME", "/home/x")

    assert default_runs_folder() == Path(expected)


# state


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state with run 7, which has a record only there, and run 8 with a file too."""
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)
    told = TaskMetrics(role="lab.trigger", metrics=(METRIC,), dropped=3)
    bare = attrs.evolve(RUN_7, metrics=(), configuration={}, dropped=0)
    records = [
        Persist(RUN, "7", pack_value(bare)),
        Persist(RUN, "8", pack_value(attrs.evolve(bare, number=8, comment="old"))),
        Persist(RUN, "9", b"\xc1"),
        Persist(RUN_METRICS, "7/lab.trigger", pack_value(told)),
        Persist(RUN_METRICS, "77/lab.trigger", pack_value(told)),
        Persist(RUN_CONFIGURATION, "7", pack_value(ConfigurationRecord(digests=RUN_7.configuration))),
    ]
    store.commit(records, [])
    save_run(attrs.evolve(in_folder(RUN_7, tmp_path / "runs"), number=8, folder=str(tmp_path / "runs" / "8")))
    store.close()
    return tmp_path


def test_state_gives_the_whole_record_also_while_it_is_in_use(state: Path) -> None:
    store = SqliteStore(state)
    runs = StateRuns(state)

    assert runs.numbers() == [7, 8, 9]
    assert runs.run(7) == RUN_7
    store.close()


def test_file_of_a_run_counts_more_than_the_state(state: Path) -> None:
    assert StateRuns(state).run(8).comment == "night"


def test_state_counts_where_the_file_of_a_run_is_broken(state: Path) -> None:
    file = state / "runs" / "7" / "run.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    nobodys = state / "runs" / "11" / "run.json"
    nobodys.parent.mkdir()
    nobodys.write_text("")

    assert StateRuns(state).run(7) == RUN_7
    with pytest.raises(InvalidInput, match=r"11/run\.json is no run record"):
        StateRuns(state).run(11)


def test_state_without_the_run_or_no_state_is_not_found(state: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run 10"):
        StateRuns(state).run(10)
    with pytest.raises(NotFound, match="is no state folder"):
        StateRuns(tmp_path / "none")


def test_bad_record_or_state_is_said(state: Path) -> None:
    with pytest.raises(InvalidInput, match="the record of run 9 in .* can't be read"):
        StateRuns(state).run(9)
    for path in state.glob("state.sqlite*"):
        path.unlink()
    (state / "state.sqlite").write_text("no database " * 100)
    with pytest.raises(EcsError, match="cannot be read"):
        StateRuns(state).numbers()
