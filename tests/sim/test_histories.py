"""Seeded histories of a whole installation. Run more: `ECS_SIM_SEEDS=20000 ./dev test tests/sim/test_histories.py`."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest

from libecs.io import campaign
from libecs.sim.coverage import TITLES
from libecs.sim.engines import RealEngines
from libecs.sim.scenario import draw
from libecs.sim.world import World, play

pytestmark = pytest.mark.timeout(300)

SEEDS = int(os.environ.get("ECS_SIM_SEEDS", "2000"))
FIRST = int(os.environ.get("ECS_SIM_FIRST", "0"))
CHUNK = 500
JOBS = os.cpu_count() or 1

RARE = frozenset({"old words", "disks", "timer stops", "stream stops", "orphans", "stuck", "stolen", "reboots"})
"""What need not have happened in a few dozen histories."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_histories_keep_all_rules(first: int) -> None:
    output = io.StringIO()

    summary = campaign.run((first, min(first + CHUNK, FIRST + SEEDS)), jobs=JOBS, output=output)

    assert not summary.broken, output.getvalue()
    assert summary.histories == min(CHUNK, FIRST + SEEDS - first)
    if CHUNK <= SEEDS:
        assert {name for name in TITLES if not summary.counts[name]} == set()


def test_histories_are_about_something() -> None:
    outcomes = [play(seed, RealEngines()) for seed in range(30)]
    counts = sum((Counter(outcome.counts) for outcome in outcomes), start=Counter[str]())

    assert counts["runs"] > 15
    assert counts["commands"] > 400
    assert {name for name in TITLES if not counts[name]} <= RARE
    lines = [line for outcome in outcomes for line in outcome.history.lines]
    deaths = " ".join(str(line.detail) for line in lines if line.what == "dies")
    for point in ("before the commit", "after the commit", "between two effects", "because the commit fails"):
        assert point in deaths


def test_the_same_seed_gives_the_same_history() -> None:
    for seed in (3, 8, 19):
        first, second = (play(seed, RealEngines()).history.text() for _ in range(2))

        assert first.encode() == second.encode()


def test_a_history_is_the_same_in_bytes_and_in_messages() -> None:
    """Three of four rounds of kinds hand messages over as they are: that must hide nothing."""
    for seed in (2, 7, 11, 18):
        scenario = draw(seed)
        bytes_, messages = (
            World(attrs.evolve(scenario, codec=codec), RealEngines()).run().history.text() for codec in (True, False)
        )

        assert bytes_ == messages


def test_a_history_does_not_depend_on_the_hashes_of_a_process(project: Path) -> None:
    """Sets of str iterate in another order in each process: an engine or a simulator that lets that out is not pure."""
    program = (
        "import hashlib\n"
        "from libecs.sim.engines import RealEngines\n"
        "from libecs.sim.world import play\n"
        "text = ''.join(play(seed, RealEngines()).history.text() for seed in (8, 9, 18))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    digests = set()
    for hash_seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=project.parent,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=90,
        )
        digests.add(ended.stdout)

    assert len(digests) == 1
