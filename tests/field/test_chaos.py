"""Fifty rounds of chaos, in which nothing may be lost; and what the tool says of rounds that break a rule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fieldkit import chaos
from fieldkit.schedule import make_round

ROUNDS = 50
TOOL = Path(__file__).resolve().parents[2] / "tools" / "chaos"


def run(*words: str | Path, timeout_s: float = 1600) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.mark.timeout(1800)
def test_fifty_rounds_of_killed_daemons_and_tasks_lose_nothing(tmp_path: Path) -> None:
    done = run("--seed", "1", "--rounds", str(ROUNDS), "--json", "--keep", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    totals = document["totals"]
    assert (document["rounds"], document["broken"], document["failures"]) == (ROUNDS, 0, [])
    # It is no success to have done nothing.
    assert totals["blows"] >= ROUNDS
    assert totals["blows after the work"] < totals["blows"] / 2
    assert totals["runs"] > ROUNDS
    assert totals["tasks"] > ROUNDS
    assert totals["requests that failed"] < totals["requests"] / 3
    assert list(tmp_path.iterdir()) == []


def test_schedule_is_shown_without_a_cluster() -> None:
    done = run("--seed", "3", "--only", "8", "--show")

    assert json.loads(done.stdout) == [json.loads(json.dumps(make_round(3, 8).document()))]


def test_report_names_what_was_broken_and_where_it_is_kept() -> None:
    report = chaos.Report(seed=4, seconds=3.0)
    report.add(chaos.Outcome(number=0, seconds=1.0, kinds=("core",), problems=()))
    report.add(chaos.Outcome(number=1, seconds=2.0, kinds=("core", "task"), problems=("run 7 has two ends",), kept="x"))

    text = "\n".join(report.table())
    document = report.document()
    assert "core                     2       1      2.00" in text
    assert "seed 4: 2 rounds in 3 s, 1 broken" in text
    assert "run 7 has two ends" in text
    assert (document["rounds"], document["broken"], document["blows"]) == (2, 1, {"core": 2, "task": 1})
    assert document["failures"][0]["kept"] == "x"


@pytest.mark.timeout(200)
def test_cluster_that_does_not_come_up_ends_the_campaign_and_keeps_its_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from fieldkit.cluster import Cluster

    class Mute(Cluster):
        def __init__(self, nodes: Sequence[str]) -> None:
            super().__init__(nodes, core_options=["--no-such-option"])

    monkeypatch.setattr(chaos, "Cluster", Mute)
    report = asyncio.run(chaos.run(5, range(9), 1, tmp_path, modify=True, quiet=True))

    (outcome,) = report.outcomes
    assert "core ended with status" in outcome.problems[0]
    assert json.loads((Path(outcome.kept) / "round.json").read_text())["plan"]["number"] == 0
