"""The production workflow of 2026, run with stand-in programs: data, calls, deaths, recovery."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

import libecs
from ecsd.installation import defaults
from libecs.client.sync import Ecs
from tests.system.place import Left, Place

HERE = Path(__file__).parent
EXPECTED = HERE.parent / "real" / "expected" / "integration-calls-2026.yaml"
KV = HERE.parent / "real" / "kv.yaml"
INTEGRATIONS = HERE / "integrations.yaml"
STANDINS = HERE / "standins"
HOSTS = ["flp001", "flp002", "flp003", "flp004"]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="session")
def table() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXPECTED.read_text())
    return loaded


def expected_calls(table: Mapping[str, Any], life: str, detectors: set[str]) -> list[list[tuple[Any, ...]]]:
    """Return the steps of a life: each the sorted calls as (moment, function, role, await, has a run number)."""
    steps = []
    for part in table["lives"][life]:
        for step in part:
            moment = written(step["moment"], step["weight"])
            calls = [
                (moment, call["call"], f"readout-dataflow{call['role']}", written(*call.get("await", [])) or moment,
                 step["run_number"])
                for call in step["calls"]
                if call.get("only_with") in (None, *detectors)
            ]  # fmt: skip
            if calls:
                steps.append(sorted(calls))
    return steps


def recorded_calls(path: Path) -> list[list[tuple[Any, ...]]]:
    """Return the recorded calls in the same shape. The file has them in the order of their ends."""
    records = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda record: record["number"])
    assert all(record["ok"] for record in records)
    calls = [(r["moment"], r["function"], r["role"], r["await_moment"], r["run_number"] > 0) for r in records]
    return [sorted(group) for _, group in groupby(calls, key=lambda call: call[0])]


def written(moment: str = "", weight: int = 0) -> str:
    return f"{moment}{weight:+d}" if weight else moment


def reports(folder: Path, run: int) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in folder.glob(f"readout-dataflow.*-run{run}.json")]
    return {report["task"]: report for report in found}


def assert_data_stayed_on_their_node(folder: Path, run: int, hosts: list[str]) -> None:
    books = reports(folder, run)
    assert len(books) == 3 * len(hosts)
    for host in hosts:
        source = f"readout-dataflow.host-{host}.readout"
        sent = books[source]["sources"][source]
        assert sent["count"] > 0
        for role in ("stfb", "stfs"):
            report = books[f"readout-dataflow.host-{host}.data-distribution.{role}"]
            assert list(report["sources"]) == [source]
            got = report["sources"][source]
            assert (got["count"], got["gaps"], got["repeated"], got["hash"]) == (sent["count"], 0, 0, sent["hash"])
            assert report["foreign"] == 0


@pytest.mark.parametrize(
    ("hosts", "detectors", "variant"),
    [
        (HOSTS, {"FT0", "TPC", "ITS", "MCH"}, "with-tpc"),
        (["flp001", "flp003", "flp004", "flp005"], {"FT0", "ITS", "MCH"}, "without-tpc"),
    ],
    ids=["with-tpc", "without-tpc"],
)
def test_whole_cycle_with_all_integrations(
    place: Place,
    examples: Path,
    left: Left,
    real: Path,
    tmp_path: Path,
    table: Mapping[str, Any],
    hosts: list[str],
    detectors: set[str],
    variant: str,
) -> None:
    variables = {**table["variables"], "hosts": hosts}

    ran = place.coconut(
        "run", "take", "readout-dataflow", "--repo", real / "control-workflows", "--nodes", "4",
        "--kv", KV, "--integrations", INTEGRATIONS, "--tasks", STANDINS, "-e", json.dumps(variables),
        "--duration", "2s", "--report", tmp_path, "--json",
    )  # fmt: skip

    document = ran.document
    assert ran.status == 0, ran.out
    assert (document["nodes"], document["runs"][0]["condition"]) == (hosts, "GOOD")
    assert {task["node"] for task in document["tasks"]} == set(hosts)
    assert_data_stayed_on_their_node(tmp_path, document["runs"][0]["number"], hosts)
    expected = expected_calls(table, "run", detectors)
    assert recorded_calls(tmp_path / "calls.jsonl") == expected
    assert sum(len(step) for step in expected) == table["counts"]["run"][variant]
    assert left() == []
    assert place.channels(document["environment"]) == []


class Lab:
    """The production workflow in this process."""

    def __init__(self, ecs: Ecs, reports: Path, variables: Mapping[str, str]) -> None:
        self.ecs, self.reports = ecs, reports
        self.variables = {**variables, "hosts": json.dumps(HOSTS), "report_dir": str(reports)}


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    place: Place,
    examples: Path,
    real: Path,
    tmp_path: Path,
    table: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "reports"
    folder.mkdir()
    repository = real / "control-workflows"
    changes = getattr(request, "param", None)
    if changes:
        repository = Path(shutil.copytree(repository, tmp_path / "repository", copy_function=shutil.copyfile))
        changes(repository)
    with libecs.local(
        nodes=[libecs.NodeDescription(name=host) for host in HOSTS],
        repo=repository,
        kv=KV,
        integrations=INTEGRATIONS,
        tasks_overlay=STANDINS,
        defaults=defaults(),
        record_calls=folder / "calls.jsonl",
    ) as ecs:
        yield Lab(ecs, folder, table["variables"])


STFB = "readout-dataflow.host-flp002.data-distribution.stfb"


def test_addresses_come_with_configure_and_not_before(lab: Lab) -> None:
    with lab.ecs.environment("readout-dataflow", lab.variables) as env:
        pids = env.tasks().pids
        assert len(pids) == 12
        for pid in pids.values():
            told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert b"o2ipc" not in told


def test_killed_critical_task_is_the_cause_and_recover_makes_a_new_run_possible(
    lab: Lab, table: Mapping[str, Any]
) -> None:
    with lab.ecs.environment("readout-dataflow", lab.variables) as env:
        before = env.tasks().pids
        run = env.run()
        with pytest.raises(libecs.RunFailed) as caught, run:
            (task,) = env.tasks(STFB)
            os.kill(task.pid, signal.SIGKILL)
            run.wait(60)
        cause = caught.value.cause
        state = env.state
        calls = recorded_calls(lab.reports / "calls.jsonl")

        recovered = env.recover()
        survivors = env.tasks().pids
        with env.run() as second:
            second.wait(until=lambda view: view.elapsed_s > 0.5)

    assert STFB in cause
    assert "on node flp002" in cause
    assert "killed by signal 9" in cause
    assert cause.endswith("last log: stand-in for StfBuilder of flp002")
    assert (state, run.condition, run.end_reason) == ("ERROR", "FAILED", "ERROR")
    death = expected_calls(table, "death-in-running", {"TPC"})
    assert calls == death[: len(calls)]
    assert calls[-1][0][0] == "after_GO_ERROR+100"
    assert recovered == "DEPLOYED"
    assert {role for role in before if before[role] != survivors[role]} == {STFB}
    assert (second.condition, second.number) == ("GOOD", run.number + 1)
    assert_data_stayed_on_their_node(lab.reports, second.number, HOSTS)


def test_life_that_ends_in_error_makes_the_calls_of_the_table(lab: Lab, table: Mapping[str, Any]) -> None:
    with lab.ecs.environment("readout-dataflow", lab.variables) as env:
        with pytest.raises(libecs.RunFailed), env.run() as run:
            (task,) = env.tasks("**.host-flp001.readout")
            os.kill(task.pid, signal.SIGKILL)
            run.wait(60)

    assert recorded_calls(lab.reports / "calls.jsonl") == expected_calls(table, "death-in-running", {"TPC"})


def make_stfsender_not_critical(repository: Path) -> None:
    path = repository / "workflows" / "readout-dataflow.yaml"
    text = path.read_text()
    assert text.count("load: stfsender\n") >= 2
    path.write_text(text.replace("load: stfsender\n", "load: stfsender\n              critical: false\n"))


@pytest.mark.parametrize("lab", [make_stfsender_not_critical], indirect=True, ids=["stfs not critical"])
def test_killed_task_that_is_not_critical_only_degrades_the_run(lab: Lab) -> None:
    role = STFB.replace("stfb", "stfs")
    with lab.ecs.environment("readout-dataflow", lab.variables) as env:
        events = env.events()
        with env.run() as run:
            (task,) = env.tasks(role)
            os.kill(task.pid, signal.SIGKILL)
            lost = next(event for event in events if event.kind == "task.lost")
            assert env.state == "RUNNING"
            assert run.going

        assert env.state == "CONFIGURED"
        assert env.tasks(role)[0].exit is not None
    assert (lost.role, lost.ok) == (role, False)
    assert "killed by signal 9" in lost.text
    assert run.condition == "DEGRADED"
