"""What the core does when its disk is full, its state is damaged, or it is killed at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster, await_end, told_on_failure
from fieldkit.watch import connected

import libecs
from libecs.client.environment import AsyncEnvironment
from libecs.wire.client import Control, Create, Destroy
from libecs.wire.info import EnvironmentInfo

pytestmark = pytest.mark.timeout(400)  # clusters are started, and their cores many times

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root"
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(["n1"]) as cluster, told_on_failure(cluster):
        yield cluster


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """Mount a small disk over a folder, with what is in it."""
    kept = place.with_name("kept")
    place.rename(kept)
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(place)], check=True)
    try:
        shutil.copytree(kept, place, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Use up all that is left of a disk."""
    filler = place / "filler"
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


# F27


@needs_root
async def test_on_a_full_disk_runs_are_stopped_and_environments_end_and_nothing_new_begins() -> None:
    cluster = Cluster(["n1"])
    try:
        with small_disk(cluster.state, 48):
            with told_on_failure(cluster):
                cluster.start()
                await full_disk(cluster)
            cluster.core.kill()
    finally:
        cluster.close()


async def full_disk(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("single")
        await env.control("START")
        filler = await asyncio.to_thread(fill, cluster.state)

        # Commits go on, by the reserve; soon the core says that there is no room.
        refused: libecs.EcsError | None = None
        async with asyncio.timeout(60):
            while refused is None:  # however fast that is
                try:
                    await ecs.drain("n1", on=False)
                except libecs.EcsError as error:
                    refused = error
        assert "the disk that holds the core's state is full" in refused.message
        assert "STOP and DESTROY still work" in refused.hint
        with pytest.raises(libecs.Conflict, match="is full"):
            await ecs.environment("single")
        assert [problem for problem in (await ecs.info()).problems if "full" in problem]

        await env.control("STOP")
        info = await env.show()
        run = await ecs.run_record(info.last_run_number)
        assert (info.state.name, bool(run.end_ms)) == ("CONFIGURED", True)
        await env.destroy()

        filler.unlink()
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(libecs.EcsError):
                    again = await ecs.environment("single")
                    break
        await again.destroy()
    assert cluster.core.alive
    assert cluster.core.lives == 1


# F31


def records_of(core_state: Path, table: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(core_state / "state.sqlite")) as db:
        return [key for (key,) in db.execute("SELECT key FROM records WHERE tbl = ? ORDER BY key", (table,))]


async def test_a_damaged_record_is_named_and_costs_its_own_environment_only(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        good, bad = await ecs.environment("single"), await ecs.environment("single")
        await good.control("START")
        (task,) = (await bad.show()).tasks
    cluster.core.kill()
    with contextlib.closing(sqlite3.connect(cluster.state / "state.sqlite")) as db:
        db.execute(
            "UPDATE records SET value = CAST(value || x'00' AS BLOB) WHERE tbl = 'environment' AND key = ?", (bad.id,)
        )
        db.commit()
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)

    async with connected(cluster) as ecs:
        info = await ecs.info()
        assert [problem for problem in info.problems if bad.id in problem]
        assert [one.id for one in await ecs.environments()] == [good.id]
        same = await ecs.get(good.id)
        assert (await heard(same)).state.name == "RUNNING"
        await same.control("STOP")
        await same.destroy()
        async with asyncio.timeout(60):
            while not (orphans := [one for one in await ecs.tasks("-") if one.orphan]):
                await ecs.info()
        assert [one.task for one in orphans] == [task.task]
        assert orphans[0].pid == task.pid
        await ecs.end_tasks(task.task)
    await no_task_left(cluster)


def spoil(place: Path, damage: str) -> None:
    for side in ("-wal", "-shm"):
        Path(f"{place}{side}").unlink(missing_ok=True)
    if damage == "nonsense":
        place.write_bytes(os.urandom(20_000))
    elif damage == "empty":
        place.write_bytes(b"")
    elif damage == "deleted":
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[:3000])


@pytest.mark.parametrize("damage", ["nonsense", "empty", "deleted", "cut"])
async def test_without_its_state_the_core_begins_anew_and_shows_what_runs(cluster: Cluster, damage: str) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("single")
        await env.control("START")
        info = await env.show()
        (task,) = info.tasks
        before = await ecs.info()
    cluster.core.kill()
    spoil(cluster.state / "state.sqlite", damage)
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)

    async with connected(cluster) as ecs:
        after = await ecs.info()
        assert [problem for problem in after.problems if "state.sqlite" in problem]
        assert after.epoch > before.epoch
        assert after.sequence > before.sequence
        assert after.instance == before.instance
        async with asyncio.timeout(60):
            while not (orphans := [one for one in await ecs.tasks("-") if one.orphan]):
                await ecs.info()
        assert [(one.task, one.pid) for one in orphans] == [(task.task, task.pid)]
        another = await ecs.environment("single")
        await another.control("START")
        assert (await another.show()).run_number > info.run_number
        await another.destroy(allow_running=True)
        await ecs.end_tasks(task.task)
    await no_task_left(cluster)


def grow(database: Path, rows: int, size: int) -> None:
    """Add rows of a size to the journal in front of what is in it, and break one page in the middle of them."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        body = bytes(size)
        db.executemany(
            "INSERT INTO events VALUES (?, 1, '', 'node', ?, NULL)", ((number, body) for number in range(-rows, 0))
        )
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(4096))


async def test_a_large_journal_that_is_damaged_holds_nobody_up_and_is_told(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("single")
        await env.control("START")
    cluster.core.kill()
    grow(cluster.state / "state.sqlite", rows=20_000, size=2_000)
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)

    async with connected(cluster) as ecs:
        assert (await heard(await ecs.get(env.id))).state.name == "RUNNING"
        async with asyncio.timeout(60):
            while not [one for one in (await ecs.info()).problems if "journal" in one and "damaged" in one]:
                await asyncio.sleep(0.2)  # it is looked through some seconds after the start
        await (await ecs.get(env.id)).control("STOP")
    cluster.core.kill()
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)

    async with connected(cluster) as ecs:
        assert [one for one in (await ecs.info()).problems if "state.sqlite" in one and "could be read" in one]
        await (await ecs.get(env.id)).destroy()
    assert list(cluster.state.glob("state.sqlite.damaged-*"))
    await no_task_left(cluster)


# F1, F2: at any moment


async def test_killed_at_any_moment_nothing_is_lost_and_nothing_happens_twice(cluster: Cluster) -> None:
    """Each round kills the core at a random moment of one environment's life; the same operations are asked again."""
    chance = random.Random(4)
    numbers: list[int] = []
    for lap in range(6):
        async with connected(cluster) as ecs:
            name = f"lap{lap}"
            killer = asyncio.create_task(blow(cluster, chance.random() * 1.2))
            made = await ecs.finish(ecs.begin(Create(operation=f"{name}.create", workflow="single", name=name)))
            env = await ecs.get(made.environment)
            await ecs.finish(ecs.begin(Control(operation=f"{name}.start", environment=env.id, event="START_ACTIVITY")))
            started = await heard(env)
            await killer
            running = await heard(env)
            assert (running.state.name, running.run_number) == ("RUNNING", started.run_number)
            assert [task.pid for task in running.tasks] == [task.pid for task in started.tasks]
            killer = asyncio.create_task(blow(cluster, chance.random() * 0.5))
            await ecs.finish(ecs.begin(Control(operation=f"{name}.stop", environment=env.id, event="STOP_ACTIVITY")))
            await ecs.finish(ecs.begin(Destroy(operation=f"{name}.destroy", environment=env.id)))
            await killer
            assert [one.id for one in await ecs.environments()] == []
            numbers.append(started.run_number)
    assert numbers == sorted(set(numbers))
    await no_task_left(cluster)
    words = [record.words() for record in cluster.read().values()]
    assert sorted(words, key=str) == sorted(
        (["begin", "configure", f"start {n}", f"stop {n}", "reset", "exit", "end"] for n in numbers), key=str
    )


async def no_task_left(cluster: Cluster) -> None:
    async with asyncio.timeout(60):
        while left := cluster.tasks():
            for pid in left:
                await asyncio.to_thread(await_end, pid, 30)


async def heard(env: AsyncEnvironment) -> EnvironmentInfo:
    """Return what is known of an environment once its nodes have told what they run."""
    async with asyncio.timeout(60):
        while True:
            info = await env.show()
            if all(task.pid for task in info.tasks):
                return info


async def blow(cluster: Cluster, after_s: float) -> None:
    """Kill the core after a while, and start it again."""
    loop = asyncio.get_running_loop()
    due = loop.create_future()
    loop.call_later(after_s, due.set_result, None)
    await due
    cluster.core.kill()
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)


async def test_a_commit_that_fails_for_good_ends_the_core_with_75_and_the_next_life_goes_on(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("single")
        with contextlib.closing(sqlite3.connect(cluster.state / "state.sqlite", timeout=20)) as db:
            db.execute("ALTER TABLE records RENAME TO elsewhere")  # no write to it can succeed
            db.commit()
            pending = ecs.begin(Control(operation="x", environment=env.id, event="RESET"))
            assert await asyncio.to_thread(cluster.core._process_status) == 75
            db.execute("ALTER TABLE elsewhere RENAME TO records")
            db.commit()
        cluster.core.start()
        await asyncio.to_thread(cluster.core.wait_ready)

        assert re.search("core stops: state in .* cannot be written", cluster.core.log.read_text())
        assert (await ecs.finish(pending)).state.name == "DEPLOYED"  # it was asked again, and had done nothing
        await env.destroy()
