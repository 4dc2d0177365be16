"""The loop of a scan: new properties, a run, the next point; the same process from the first to the last."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

import libecs
from libecs.script import ScriptWorkflow
from tests.system.place import Left, Place

pytestmark = pytest.mark.timeout(400)

POINTS = [{"threshold": threshold, "bias": bias} for threshold in range(20, 120, 4) for bias in (-60, -80)]


@pytest.fixture(autouse=True)
def elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)


Telescope = Callable[..., ScriptWorkflow]
"""Makes the workflow; its argument is how the device is reconfigured."""


@pytest.fixture
def telescope(examples: Path) -> Telescope:
    """A device under test, and a task that has nothing to do with it."""

    def make(reconfigure: str = "live") -> ScriptWorkflow:
        dut = libecs.task(
            [sys.executable, "tasks/dut.py"],
            properties={"threshold": 20, "bias": -60, "seed": 1},
            reconfigure=reconfigure,
        )
        other = libecs.task([sys.executable, "tasks/dut.py"], properties={"threshold": 100, "bias": -60})
        return libecs.workflow("telescope", tasks={"dut": dut, "reference": other}, folder=examples)

    return make


def test_example_of_a_scan_runs(place: Place, left: Left, examples: Path) -> None:
    ran = place.run(sys.executable, examples / "scan.py", "3")

    rows = [line.split() for line in ran.out.splitlines()]
    assert ran.status == 0, ran.err
    assert [row[:3] for row in rows[1:]] == [["20", "-60", "1"], ["20", "-80", "2"], ["24", "-60", "3"]]
    assert all(int(row[3]) >= 1000 for row in rows[1:])
    assert left() == []


@pytest.mark.parametrize("how", ["live", "reset"])
def test_fifty_points_are_taken_by_the_same_processes(left: Left, telescope: Telescope, how: str) -> None:
    assert len(POINTS) == 50
    hits = []
    with libecs.local() as ecs, ecs.environment(telescope(how), name="telescope") as env:
        pids = env.tasks().pids
        for p in POINTS:
            env.tasks("**.dut").reconfigure(p)
            with env.run(duration="2min") as run:
                run.wait(until=lambda m: m["reference:events"].sum > 0)
            assert env.tasks().pids == pids
            hits.append((run.condition, run.metrics["dut:events"].sum, run.metrics["reference:events"].sum))
        assert env.state == "CONFIGURED"
        first, last = ecs.run_record(1), ecs.run_record(50)

    assert len(pids) == 2
    assert {condition for condition, _, _ in hits} == {"GOOD"}
    assert first.configuration["telescope.dut"] != last.configuration["telescope.dut"]
    assert first.configuration["telescope.reference"] == last.configuration["telescope.reference"]
    # The rate falls by a factor of four from the first ten points to the last ones. How long runs are depends on the
    # machine, and is the same for the reference.
    rates = [[n / reference for _, n, reference in part if reference] for part in (hits[:10], hits[-10:])]
    assert median(rates[0]) > 1.5 * median(rates[1])
    assert left() == []


@pytest.mark.parametrize(
    ("values", "tasks", "reason"),
    [
        ({"treshold": 30}, "**.dut", "threshold"),
        ({"threshold": 30}, "**.dud", "dud"),
        ({"threshold": 30, "moon": "full"}, "**.dut", "moon"),
    ],
)
def test_unknown_key_or_task_changes_nothing(
    telescope: Telescope, values: dict[str, object], tasks: str, reason: str
) -> None:
    with libecs.local() as ecs, ecs.environment(telescope()) as env:
        pids = env.tasks().pids
        with env.run() as before:
            pass

        with pytest.raises(libecs.InvalidInput, match=reason):
            env.reconfigure(values, tasks)

        assert env.state == "CONFIGURED"
        assert env.tasks().pids == pids
        with env.run() as after:
            pass
        assert ecs.run_record(before.number).configuration == ecs.run_record(after.number).configuration


def test_value_that_a_task_refuses_breaks_the_environment_and_recover_helps(telescope: Telescope) -> None:
    with libecs.local() as ecs, ecs.environment(telescope()) as env:
        with pytest.raises(libecs.TransitionFailed, match="must not be positive"):
            env.tasks("dut").reconfigure({"bias": 10})
        assert env.state == "ERROR"
        env.recover()
        env.control("CONFIGURE")
        with env.run() as run:
            pass

    assert run.condition == "GOOD"


def test_reconfigure_is_for_configured_environments_only(telescope: Telescope) -> None:
    with libecs.local() as ecs, ecs.environment(telescope()) as env, env.run():
        with pytest.raises(libecs.IllegalTransition):
            env.tasks("dut").reconfigure({"bias": -10})


async def test_async_face_is_the_same(telescope: Telescope) -> None:
    async with libecs.local() as ecs, ecs.environment(telescope()) as env:
        pids = (await env.tasks()).pids
        await env.tasks("dut").reconfigure({"bias": -10})
        await (await env.tasks("dut")).reconfigure({"bias": -20})
        await env.reconfigure({"threshold": 50}, "dut")
        assert (await env.tasks()).pids == pids
