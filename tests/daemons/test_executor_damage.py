"""F31 at one executor: whatever is damaged in its state, it starts, and a task that runs goes on or is named."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from libecs.fsm import TaskEvent, TaskState
from libecs.wire.node import Phase
from tests.daemons.executors import Executor, Site, occ_task

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other


def rubbish(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(max(4096, path.stat().st_size)))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), max(1, len(data) // 7)):
        data[place] ^= 0x55
    path.write_bytes(data)


def gone(path: Path) -> None:
    path.unlink()


async def killed(site: Site) -> tuple[Executor, int]:
    """Return an executor that was killed with a task in RUNNING, and its pid."""
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    executor.kill()
    return executor, site.processes(executor)["t1"][0]


@pytest.mark.parametrize("damage", [rubbish, half, gone])
async def test_a_task_goes_on_whatever_the_records_are(site: Site, damage: Callable[[Path], None]) -> None:
    executor, pid = await killed(site)
    for name in ("state.sqlite", "state.sqlite-wal"):
        if (executor.state / name).exists():
            damage(executor.state / name)

    await site.again(executor)
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE)

    t1 = site.core.tasks["t1"]
    assert (t1.state, t1.pid, t1.run) == (TaskState.RUNNING, pid, 7)
    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("t1")
    assert site.processes(executor) == {}


@pytest.mark.parametrize(
    "damages",
    [
        {"run/tasks/t1/pid": rubbish, "run/alive": gone, "reserve": empty},
        {"run/tasks/t1/pid": gone, "run/tasks/t1/stdout": rubbish, "run/tasks/t1/stderr": gone},
        {"run/tasks/t1/spec.bin": rubbish, "ports.json": half, "instance": flipped},
    ],
)
async def test_a_task_goes_on_whatever_else_is_damaged(site: Site, damages: dict[str, Callable[[Path], None]]) -> None:
    executor, pid = await killed(site)
    for name, damage in damages.items():
        damage(executor.state / name)

    await site.again(executor)
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE)

    assert (site.core.tasks["t1"].state, site.core.tasks["t1"].pid) == (TaskState.RUNNING, pid)
    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("t1")
    assert site.processes(executor) == {}


@pytest.mark.parametrize("damage", [rubbish, gone])
async def test_a_task_that_nobody_can_know_any_more_is_named_and_left_alone(
    site: Site, damage: Callable[[Path], None]
) -> None:
    executor, pid = await killed(site)
    damage(executor.state / "run" / "tasks" / "t1" / "task.bin")

    await site.again(executor)

    assert site.core.tasks == {}
    assert site.processes(executor)["t1"] == [pid]
    assert "they are task t1, of which nothing is known here" in executor.log_text()
