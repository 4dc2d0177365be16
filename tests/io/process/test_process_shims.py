"""What is left when a shim is killed, and when a supervisor ends."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from libecs.engine.effects import Signal
from libecs.io import procfs
from libecs.io.process import ShimSupervisor
from libecs.wire.node import ExitCause
from tests.io.process.tasks import Inputs, Make, first_line, names, shell, shim_of
from tests.processes import gone

pytestmark = pytest.mark.timeout(120)

# death of a shim


async def test_when_its_shim_is_killed_a_task_lives_on_and_its_end_is_seen(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    shim_pid = shim_of(folder, "t1")
    os.kill(shim_pid, signal.SIGKILL)
    await gone(shim_pid)
    while supervisor._children["t1"].process_fd < 0:
        await asyncio.sleep(0)
    os.kill(pid, 0)

    supervisor.signal(Signal(task="t1", number=signal.SIGTERM))

    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN
    await gone(pid)


async def test_what_a_task_without_a_shim_leaves_behind_is_ended_with_it(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "setsid sleep 1000 & echo $!; exec sleep 1000"))
    pid = await inputs.started("t1")
    child = int(await first_line(folder / "node" / "tasks" / "t1" / "stdout"))
    os.kill(shim_of(folder, "t1"), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    await inputs.ended("t1")
    await gone(child)


async def test_shim_and_task_killed_at_once_are_an_end_that_nobody_saw(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    os.kill(pid, signal.SIGSTOP)  # so that the shim can't see it die
    os.kill(shim_of(folder, "t1"), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN


async def test_a_shim_killed_before_it_started_anything_is_a_failed_launch(
    inputs: Inputs, make: Make, tmp_path: Path
) -> None:
    supervisor = make()
    fake = tmp_path / "shim"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    supervisor._shim = str(fake)
    supervisor.spawn(shell("t1", "true"))

    exit = (await inputs.ended("t1")).exit

    assert exit.cause is ExitCause.LAUNCH_FAILED
    assert "shim was killed" in exit.text
    await supervisor.close(stop=True)


async def test_a_task_whose_shim_could_not_say_its_pid_is_found_by_its_marker(
    inputs: Inputs, make: Make, folder: Path, tmp_path: Path
) -> None:
    supervisor = make()
    fake = tmp_path / "shim"
    fake.write_text(
        f"#!/bin/sh\nexport ECS_TASK_ID=test/{folder.name}/t1\n"
        "setsid sleep 1000 >/dev/null </dev/null & until grep -aq 1000 /proc/$!/cmdline; do :; done; kill -9 $$\n"
    )
    fake.chmod(0o755)
    supervisor._shim = str(fake)
    supervisor.spawn(shell("t1", "true"))

    pid = await inputs.started("t1")

    os.kill(pid, signal.SIGKILL)
    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN
    await supervisor.close(stop=True)


# the end of a supervisor


async def test_closing_leaves_no_process_and_no_file(inputs: Inputs, make: Make, folder: Path) -> None:
    supervisor = make(term_s=0.2, int_s=0.2)
    supervisor.spawn(shell("polite", "sleep 1000"))
    supervisor.spawn(shell("stubborn", "trap '' TERM INT; echo deaf; while :; do sleep 1000; done"))
    supervisor.spawn(shell("alone", "sleep 1000"))
    pids = [await inputs.started(task) for task in ("polite", "stubborn", "alone")]
    await first_line(folder / "node" / "tasks" / "stubborn" / "stdout")
    os.kill(shim_of(folder, "alone"), signal.SIGKILL)

    await supervisor.close(stop=True)

    for pid in pids:
        stat = procfs.read_stat(pid)
        assert stat is None or stat[0] == "Z"  # an orphan of ours, if there is no init that reaps
    assert names(folder) == []
    assert procfs.marked_processes(f"test/{folder.name}/") == {}
