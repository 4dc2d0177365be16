"""Limits of memory and CPU, with control groups and without."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attrs
import pytest

from libecs.engine.effects import Spawn
from libecs.io.cgroups import Cgroups
from libecs.io.process import ShimSupervisor
from libecs.wire.node import Exit, ExitCause, Limits
from tests.io.process.tasks import Inputs, spec


def limited(task: str, limits: Limits, *argv: str) -> Spawn:
    return Spawn(spec=attrs.evolve(spec(task, *argv), limits=limits), endpoint="")


async def test_without_control_groups_a_limit_of_memory_is_one_of_each_process(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(limited("t1", Limits(memory_mb=300), "/bin/sh", "-c", "ulimit -d"))
    hungry = "x = bytearray(400_000_000)"
    supervisor.spawn(limited("t2", Limits(memory_mb=300), sys.executable, "-c", hungry))
    supervisor.spawn(limited("t3", Limits(memory_mb=600), sys.executable, "-c", hungry))

    assert (await inputs.ended("t1")).output == f"{300 * 1024}\n"
    ended = await inputs.ended("t2")
    assert ended.last_log == "MemoryError"
    assert ended.exit.code == 1
    assert ended.exit.text.startswith("its memory limit is 300 MB, it had used ")
    assert "exited with code 1 (its memory limit is 300 MB" in ended.exit.describe()
    assert (await inputs.ended("t3")).exit == Exit(cause=ExitCause.EXITED)


async def test_limits_of_cpu_that_are_not_enforced_are_told_once(
    supervisor: ShimSupervisor, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    for task in ("t1", "t2"):
        supervisor.spawn(limited(task, Limits(cpu=0.5), "true"))
        await inputs.ended(task)

    assert caplog.text.count("not enforced") == 1


async def test_with_control_groups_limits_are_theirs(
    inputs: Inputs, folder: Path, shim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel's part is played by plain files, as not every machine lets us have the controllers."""
    groups = folder / "groups"
    groups.mkdir()
    supervisor = ShimSupervisor(
        inputs.put,
        instance="test",
        node="n1",
        folder=folder / "node",
        shim=shim,
        environment={"PATH": os.environ["PATH"]},
        cgroups=Cgroups(groups, "ecs test/n1"),
    )
    group = groups / "ecs_test_n1" / "t1"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")

    supervisor.spawn(limited("t1", Limits(memory_mb=64, cpu=0.5), "/bin/sh", "-c", "kill -9 $$"))
    ended = await inputs.ended("t1")

    assert ended.exit.describe() == "killed by signal 9 (it was over its memory limit of 64 MB)"
    assert (group / "cgroup.procs").read_text() == "0"
    assert (group / "memory.max").read_text() == str(64 * 1024 * 1024)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "memory.swap.max").read_text() == "0"
    await supervisor.close(stop=True)


async def test_a_control_group_that_cannot_be_made_leaves_resource_limits(
    inputs: Inputs, folder: Path, shim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = ShimSupervisor(
        inputs.put,
        instance="test",
        node="n1",
        folder=folder / "node",
        shim=shim,
        environment={"PATH": os.environ["PATH"]},
        cgroups=Cgroups(folder / "nowhere", "n1"),
    )

    supervisor.spawn(limited("t1", Limits(memory_mb=300), "/bin/sh", "-c", "ulimit -d"))

    assert (await inputs.ended("t1")).output == f"{300 * 1024}\n"
    assert "no control group for task t1" in caplog.text
    await supervisor.close(stop=True)
