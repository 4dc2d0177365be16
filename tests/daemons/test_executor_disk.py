"""F27 and F28 at one executor: the disk of its state is full. It goes on, ends what it is told to, and says why."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from libecs.fsm import TaskEvent, TaskState
from libecs.wire.node import ExitCause, Phase
from tests.daemons.executors import Executor, Site, occ_task, program

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other

MIB = 1024 * 1024


@pytest.fixture
def disk(site: Site) -> Path:
    """A disk of 24 MiB, where the state of n1 is."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    path = site.folder / "n1"
    path.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "none", path], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    site.mounts.append(path)
    return path


def fill(disk: Path, name: str = "filler") -> Path:
    """Leave no byte."""
    file = disk / name
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:  # others write, too
        while (free := os.statvfs(disk)).f_bavail:
            out.write(bytes(min(MIB, free.f_bavail * free.f_bsize)))
    return file


async def start(site: Site) -> Executor:
    executor = await site.start()
    assert (executor.state / "reserve").stat().st_size == 8 * MIB
    return executor


async def test_f27_what_runs_goes_on_and_can_be_ended_and_new_tasks_come_when_there_is_room(
    site: Site, disk: Path
) -> None:
    executor = await start(site)
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    filler = fill(disk)

    site.core.send_launch(occ_task("t2"))
    await site.core.until(lambda: site.core.phase("t2") is Phase.EXITED)
    exit = site.core.tasks["t2"].exit
    assert exit is not None
    assert (exit.cause, "No space left on device" in exit.text) == (ExitCause.LAUNCH_FAILED, True)
    assert site.core.tasks["t1"].state is TaskState.RUNNING

    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("t1", "t2")
    assert site.processes(executor) == {}
    filler.unlink()
    await site.core.launch(occ_task("t3"))
    assert executor.alive
    assert len(executor.log_text().split("--- life")) == 2, "it is the same life"


async def test_f27_a_program_whose_records_find_no_room_is_ended_all_the_same(site: Site, disk: Path) -> None:
    executor = await start(site)
    site.core.send_launch(program("b1", "exec sleep 1000"))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)
    await site.core.run("b1")
    fill(disk)

    await site.core.transit(TaskEvent.STOP, "b1")  # this is written: the reserve is given up
    await site.core.kill("b1")

    assert site.processes(executor) == {}
    assert executor.alive
    assert not (executor.state / "reserve").exists()


async def test_f28_a_task_that_writes_more_than_there_is_does_not_take_the_executor_with_it(
    site: Site, disk: Path
) -> None:
    executor = await start(site)
    site.core.send_launch(program("b1", "yes 'the detector is on fire' & exec sleep 1000"))
    await site.core.launch(occ_task("t1"))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)
    await site.core.run("b1", "t1")
    filler = fill(disk)

    output = await site.core.read_output("b1", "stdout", 2000)
    assert not output.error
    assert output.text == "" or "detector is on fire" in output.text  # its shim may have just cut it
    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("b1", "t1")

    assert executor.alive
    assert site.processes(executor) == {}
    filler.unlink()
    await site.core.launch(occ_task("t2"))


async def test_f27_without_any_room_it_ends_and_the_next_one_finds_all_tasks(site: Site, disk: Path) -> None:
    executor = await start(site)
    site.core.send_launch(program("b1", "exec sleep 1000"), program("b2", "exec sleep 1000"))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE and site.core.phase("b2") is Phase.ACTIVE)
    await site.core.run("b1", "b2")
    pids = site.processes(executor)
    filler = fill(disk)
    await site.core.transit(TaskEvent.STOP, "b2")  # with the reserve
    fill(disk, "more")

    site.core.send_transit(TaskEvent.START, "b2", run_number="8")

    assert await executor.ended() == 75
    assert "disk is full" in executor.log_text()
    assert site.processes(executor)["b1"] == pids["b1"]
    filler.unlink()
    await site.again(executor)
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)
    assert (site.core.tasks["b1"].state, site.core.tasks["b1"].pid) == (TaskState.RUNNING, pids["b1"][0])
