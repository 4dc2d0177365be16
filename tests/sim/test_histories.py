"""Seeded histories of a whole installation. Run more: `ECS_SIM_SEEDS=20000 ./dev test tests/sim/test_histories.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from libecs.sim.engines import RealEngines
from libecs.sim.world import play

SEEDS = int(os.environ.get("ECS_SIM_SEEDS", "500"))
FIRST = int(os.environ.get("ECS_SIM_FIRST", "0"))
CHUNK = 25


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_histories_keep_all_rules(first):
    broken = []
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        outcome = play(seed, RealEngines())
        if not outcome.ok:
            broken.append(outcome.report())

    assert not broken, "\n\n".join(broken[:2]) + f"\n\n{len(broken)} of {CHUNK} histories are broken"


def test_histories_are_about_something():
    outcomes = [play(seed, RealEngines()) for seed in range(40)]
    lines = [line for outcome in outcomes for line in outcome.history.lines]
    whats = {line.what for line in lines}

    assert sum(outcome.runs for outcome in outcomes) > 20
    assert sum(outcome.effects for outcome in outcomes) > 500
    assert {"dies", "partition", "healed", "lost", "connected", "disconnected", "Call", "Spawn", "Signal"} <= whats
    deaths = " ".join(str(line.detail) for line in lines if line.what == "dies")
    for point in ("before the commit", "after the commit", "between two effects", "because the commit fails"):
        assert point in deaths


def test_the_same_seed_gives_the_same_history():
    for seed in (3, 8, 19):
        first, second = (play(seed, RealEngines()).history.text() for _ in range(2))

        assert first.encode() == second.encode()


def test_a_history_does_not_depend_on_the_hashes_of_a_process(project: Path):
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
            timeout=50,
        )
        digests.add(ended.stdout)

    assert len(digests) == 1
