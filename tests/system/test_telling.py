"""What real tasks tell a script: metrics and lines, in a run and after it; and runs that tasks or the core end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import libecs
from tests.system.place import Left, Place, Waiting

pytestmark = pytest.mark.timeout(300)

COUNTER = """
import occ, time

class Counter(occ.Task):
    def start(self, run):
        self.log(f"run {run} begins", "WARNING")
        self.metric("starts", 1)

    def iterate_running(self):
        self.metric("events", 25, "n")
        return occ.END_OF_STREAM if self.properties.get("brief") == "true" else False

    def stop(self):
        self.metric("stops", 1)

Counter().run()
"""


@pytest.fixture(autouse=True)
def elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "counter.py"
    path.write_text(COUNTER)
    return path


def lab(counter: Path, **properties: object) -> libecs.script.ScriptWorkflow:
    one = libecs.task([sys.executable, "counter.py"], properties=properties)
    return libecs.workflow("lab", tasks={"a": one, "b": one}, folder=counter.parent)


def shell(text: str, **options: object) -> libecs.script.ScriptTask:
    return libecs.task(["sh", "-c", text], mode="basic", **options)  # type: ignore[arg-type]


# metrics


def test_record_has_what_was_told_in_the_first_and_in_the_last_moment(left: Left, counter: Path) -> None:
    with libecs.local() as ecs, ecs.environment(lab(counter)) as env:
        for _ in range(3):
            with env.run() as run:
                pass
            told = run.metrics
            assert (told["*:starts"].sum, told["*:stops"].sum) == (2, 2)
            assert told["a:stops"].n == 1

        with env.run() as run:
            run.wait(until=lambda m: m["a:events"].sum >= 100 and m["b:events"].sum >= 100)
            assert run.metrics["**:events"].total == 50
            assert run.metrics["a:events"].unit == "n"

    assert run.metrics["a:events"].sum >= 100
    assert set(run.metrics) == {f"{task}:{name}" for task in "ab" for name in ("starts", "events", "stops")}
    assert left() == []


async def test_async_face_waits_for_metrics_too(counter: Path) -> None:
    async with libecs.local() as ecs, ecs.environment(lab(counter)) as env:
        async with env.run() as run:
            await run.wait(until=lambda m: m["**:events"].n > 10)
            await run.refresh()
            assert run.metrics["**:events"].n > 10

    assert run.condition == "GOOD"


def test_key_of_no_task_stops_the_run_at_once(counter: Path) -> None:
    with libecs.local() as ecs, ecs.environment(lab(counter)) as env:
        run = env.run()
        with pytest.raises(libecs.UsageError, match="no task matches 'c'"), run:
            run.wait(until=lambda m: m["c:events"].last > 0)

    assert run.end_reason == "USER_EXCEPTION"


# lines


def test_lines_of_all_kinds_come_to_the_script(left: Left, counter: Path) -> None:
    loud = shell("echo to stdout; echo ERROR: to stderr >&2; sleep 1000")
    workflow = libecs.workflow("lab", tasks={**lab(counter).tasks, "loud": loud}, folder=counter.parent)
    with libecs.local() as ecs, ecs.environment(workflow) as env:
        errors = env.logs("loud", "ERROR")
        everything = env.logs()
        with env.run() as run:
            seen = set()
            for line in everything:
                seen.add((line.role, line.text, line.severity.name, line.stream))
                if len(seen) == 4:
                    break
            assert line.run == run.number
            assert next(errors).text == "ERROR: to stderr"

    begins = f"run {run.number} begins"
    assert seen == {
        ("lab.a", begins, "WARNING", "log"),
        ("lab.b", begins, "WARNING", "log"),
        ("lab.loud", "to stdout", "INFO", "stdout"),
        ("lab.loud", "ERROR: to stderr", "ERROR", "stderr"),
    }
    assert {line.text for line in run.log} == {begins, "to stdout", "ERROR: to stderr"}
    assert left() == []


# folders of runs


def test_each_run_has_a_folder_that_its_tasks_know(left: Left, waiting: Waiting, tmp_path: Path) -> None:
    text = "cd {{run_dir}}; echo $OLDPWD > where; echo $RUN > n; mv n number; exec sleep 1000"
    writer = shell(text, stop="SIGTERM", environment={"RUN": "{{run_number}}"})
    (tmp_path / "lab").mkdir()
    workflow = libecs.workflow("lab", tasks={"w": writer}, folder=tmp_path / "lab")
    with libecs.local(runs_folder=tmp_path / "runs") as ecs, ecs.environment(workflow) as env:
        for number in (1, 2):
            with env.run() as run:
                folder = tmp_path / "runs" / str(run.number)
                assert waiting((folder / "number").exists, 60)
            assert run.record is not None
            assert run.record.folder == str(folder)
            assert (folder / "where").read_text() == f"{tmp_path}/lab\n"
            assert (folder / "number").read_text() == f"{number}\n"
            document = json.loads((folder / "run.json").read_text())
            assert document["files"] == ["number", "where"]

    assert left() == []


def test_folder_of_a_kept_state_holds_its_runs(tmp_path: Path) -> None:
    with libecs.local(state=tmp_path / "state") as ecs:
        with ecs.environment(libecs.workflow("lab", {"w": shell("sleep 1000")})) as env, env.run() as run:
            pass

    assert (tmp_path / "state" / "runs" / str(run.number) / "run.json").exists()


def test_numbers_begin_above_those_that_have_folders(tmp_path: Path) -> None:
    (tmp_path / "41").mkdir()

    with libecs.local(runs_folder=tmp_path) as ecs:
        with ecs.environment(libecs.workflow("lab", {"w": shell("sleep 1000")})) as env, env.run() as run:
            pass

    assert run.number == 42


# runs that end by themselves


def test_run_ends_when_all_tasks_have_no_more_data(left: Left, counter: Path) -> None:
    with libecs.local() as ecs, ecs.environment(lab(counter, brief=True)) as env:
        with env.run() as run:
            run.wait("60s")
        assert env.state == "CONFIGURED"

    assert (run.condition, run.end_reason) == ("GOOD", "END_OF_STREAM")
    assert run.metrics["a:events"].sum == 25


def test_basic_task_that_ends_well_ends_the_run_unless_that_is_an_error(left: Left) -> None:
    results: list[str | tuple[str, str]] = []
    for on_exit in ("", "error"):
        workflow = libecs.workflow("lab", {"w": shell("exit 0", on_exit=on_exit)})
        with libecs.local() as ecs, ecs.environment(workflow) as env:
            run = env.run()
            try:
                with run:
                    run.wait("60s")
            except libecs.RunFailed as error:
                results.append(error.cause)
            results.append((run.condition, run.end_reason))

    assert results[0] == ("GOOD", "END_OF_STREAM")
    assert "exited with code 0" in results[1]
    assert results[2] == ("FAILED", "ERROR")
    assert left() == []


def test_run_is_stopped_by_the_core_after_its_time() -> None:
    workflow = libecs.workflow("lab", {"w": shell("sleep 1000")})
    variables = {"auto_stop_enabled": "true", "auto_stop_timeout": "300ms"}
    with libecs.local() as ecs, ecs.environment(workflow, variables) as env, env.run() as run:
        run.wait("60s")

    assert (run.condition, run.end_reason) == ("GOOD", "TIMER")
