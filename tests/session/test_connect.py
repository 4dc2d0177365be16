"""Scripts that talk to a real core in another process: over TCP, with keys, through its death."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldkit.cluster import Cluster, told_on_failure

import libecs
from libecs.access import Role
from libecs.client import connection
from libecs.client.ecs import AsyncEcs
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, NotFound, Unreachable, UsageError
from libecs.io.keys import KeyPair, write_key_file
from libecs.wire.client import Create

pytestmark = pytest.mark.timeout(300)

TIMEOUT_S = 60.0
LAB = libecs.workflow(
    "lab",
    tasks={
        "clock": libecs.task("sh -c 'while :; do echo tick; sleep 0.2; done'", mode="basic"),
        "spare": libecs.task("sleep 1000", mode="basic", critical=False),
    },
)


def _has_occ() -> bool:
    with contextlib.suppress(ImportError):
        return importlib.util.find_spec("occ._occ") is not None
    return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A core with two nodes, an owner, and two who may less."""
    # Tasks of scripts are called `python3`, and mean this one.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    cluster = Cluster(["n1", "n2"], fast=True, environment={"PATH": path})
    cluster.add_key("vera", Role.VIEWER)
    cluster.add_key("olaf", Role.OPERATOR)
    with cluster:
        wait_for_nodes(cluster)
        yield cluster


@pytest.fixture(autouse=True)
async def in_time(cluster: Cluster) -> AsyncIterator[None]:
    """Each test ends with a core that lives, and knows its nodes: after a pause it may have lost them for a moment."""
    with told_on_failure(cluster):
        yield
    cluster.core.resume()
    if not cluster.core.alive:
        await revive(cluster)
    await asyncio.to_thread(wait_for_nodes, cluster)


@pytest.fixture
async def ecs(cluster: Cluster) -> AsyncIterator[AsyncEcs]:
    async with cluster.connect() as ecs:
        yield ecs


async def revive(cluster: Cluster) -> None:
    """Start the core again, and wait until it knows its nodes: before that, it can place nothing."""
    cluster.core.start()
    await asyncio.to_thread(cluster.core.wait_ready)
    await asyncio.to_thread(wait_for_nodes, cluster)


def wait_for_nodes(cluster: Cluster) -> None:
    with cluster.connect() as ecs:
        while [node.reach for node in ecs.nodes()] != ["UP", "UP"]:
            time.sleep(0.01)  # the pace of the questions


async def until_none_is_idle(ecs: AsyncEcs) -> None:
    """Wait for the end of tasks that were ended: the answer comes before."""
    async with asyncio.timeout(TIMEOUT_S):
        while await ecs.tasks("-"):
            await asyncio.sleep(0.01)


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for what no message tells of."""
    async with asyncio.timeout(TIMEOUT_S):
        while not true():
            await asyncio.sleep(0.01)


# who, and whether at all


async def test_a_client_is_who_its_key_says(cluster: Cluster, ecs: AsyncEcs) -> None:
    info = await ecs.info()

    assert (info.you, info.role, info.nodes) == ("owner", "admin", 2)
    assert [node.node for node in await ecs.nodes()] == ["n1", "n2"]
    await eventually(lambda: ecs.link.state == "UP")
    assert ecs.age_s < 60


def test_a_script_without_asyncio_has_the_same_objects(cluster: Cluster) -> None:
    with cluster.connect() as ecs:
        assert ecs.info().you == "owner"
        assert ecs.environments() == []
        end = time.monotonic() + TIMEOUT_S
        while str(ecs.link) != "UP":  # it is asked again every second: a machine that stood still has to be heard
            assert time.monotonic() < end, str(ecs.link)
            time.sleep(0.01)  # the sync face waits for no link


async def test_the_state_folder_of_a_core_names_it(cluster: Cluster) -> None:
    async with libecs.connect(str(cluster.state)) as ecs:
        assert (await ecs.info()).you == "owner"


async def test_a_key_that_the_core_does_not_know_is_denied(cluster: Cluster, tmp_path: Path) -> None:
    pair = KeyPair.new()
    write_key_file(tmp_path / "me.key", pair)

    with pytest.raises(Denied, match="refused key") as caught:
        async with libecs.connect(cluster.endpoint, key=tmp_path / "me.key", core_key=cluster.core_key):
            pass

    assert pair.public[:8] in caught.value.message
    assert "coconut key approve" in caught.value.hint


async def test_a_core_that_has_another_key_is_not_talked_to(cluster: Cluster) -> None:
    with pytest.raises(Denied, match="is not the core you pinned"):
        async with libecs.connect(cluster.endpoint, key=cluster.key_file(), core_key=KeyPair.new().public):
            pass


@pytest.mark.parametrize("insecure", [True, False])
async def test_without_a_key_it_is_said_how_to_get_one(cluster: Cluster, insecure: bool) -> None:
    with pytest.raises(Denied, match="you have no key for tcp://") as caught:
        async with libecs.connect(cluster.endpoint, insecure=insecure):
            pass

    assert "coconut login TOKEN" in caught.value.hint


async def test_without_a_key_nothing_is_said_to_another_machine() -> None:
    with pytest.raises(Denied, match="you have no key for tcp://head:47102"):
        async with libecs.connect("tcp://head:47102"):
            pass


async def test_a_key_file_that_is_not_there_is_named(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no key file .*mine\.key"):
        async with libecs.connect(cluster.endpoint, key=tmp_path / "mine.key", core_key=cluster.core_key):
            pass


async def test_where_nobody_listens_it_is_unreachable_within_the_time_that_is_given() -> None:
    # So soon the reason may not be known yet.
    with pytest.raises(
        Unreachable, match="nobody answers at tcp://127.0.0.1:1: (connection refused|timed out)"
    ) as caught:
        async with libecs.connect("tcp://127.0.0.1:1", timeout=0.1):
            pass

    assert "timeout=30" not in caught.value.hint


async def test_who_gives_up_soon_because_nobody_listens_is_told_how_to_wait_longer() -> None:
    with pytest.raises(Unreachable, match="nobody answers at tcp://127.0.0.1:1: connection refused") as caught:
        async with libecs.connect("tcp://127.0.0.1:1"):
            pass

    assert "scripts wait longer with libecs.connect(…, timeout=30)" in caught.value.hint


async def test_a_core_that_is_stopped_is_unreachable(cluster: Cluster) -> None:
    cluster.core.pause()

    with pytest.raises(Unreachable, match="nobody answers|does not answer"):
        async with cluster.connect():
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "my.key"}, "key and core_key go together"),
        ({"core_key": "x"}, "key and core_key go together"),
        ({"key": "my.key", "core_key": "x", "insecure": True}, "insecure=True means no keys"),
    ],
)
def test_half_of_the_keys_is_a_mistake(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        libecs.connect("tcp://head:47102", **options)


async def test_a_connection_is_entered_once_and_before_it_is_used(cluster: Cluster) -> None:
    connection = cluster.connect()
    with pytest.raises(AttributeError, match=r"enter it first: `with libecs.connect\(…\) as ecs: ecs.nodes`"):
        connection.nodes()
    async with connection:
        pass
    with pytest.raises(UsageError, match="was entered before"):
        async with connection:
            pass


async def test_another_version_is_told_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "_version", lambda: "99.1.0")
    monkeypatch.setattr(connection, "INFO_S", TIMEOUT_S)

    with caplog.at_level(logging.WARNING, "libecs"):
        async with cluster.connect() as ecs:
            await ecs.info()

    (told,) = [record.message for record in caplog.records if "is version" in record.message]
    assert told.endswith("this client 99.1.0")


async def test_a_revoked_key_is_told_while_the_script_goes_on_waiting(cluster: Cluster, ecs: AsyncEcs) -> None:
    cluster.add_key("rita", Role.SERVICE)
    async with contextlib.AsyncExitStack() as stack:
        while True:  # until the core has read the new key
            with contextlib.suppress(Denied):
                rita = await stack.enter_async_context(cluster.connect("rita"))
                break
        assert (await rita.info()).role == "service"

        await ecs.work("key.revoke", name="rita")

        await eventually(lambda: "refused key" in rita.link.reason)
        assert rita.link.state == "DOWN"
    with pytest.raises(Denied, match="refused key"):
        async with cluster.connect("rita"):
            pass


# what one may do


async def test_a_viewer_looks_and_changes_nothing(cluster: Cluster) -> None:
    async with cluster.connect("vera") as ecs:
        assert (await ecs.info()).role == "viewer"
        with pytest.raises(Denied, match="viewer"):
            await ecs.environment("single")
        with pytest.raises(Denied):
            await ecs.consult("key.list")


async def test_a_lock_binds_whoever_has_not_got_it(cluster: Cluster, ecs: AsyncEcs) -> None:
    async with cluster.connect("olaf") as other:
        async with ecs.lock("its", "tpc", reason="threshold scan"):
            with pytest.raises(Conflict, match="owner") as caught:
                await other.lock("its")
            assert "threshold scan" in str(caught.value)
            with pytest.raises((Denied, Conflict), match="its"):
                await other.environment("detectors")
        async with other.lock("its") as lock:
            assert [one.owner for one in await ecs.locks()] == ["olaf"]
            assert repr(lock) == "<lock on its>"
        assert await ecs.locks() == ()


async def test_a_lock_that_was_there_before_stays(ecs: AsyncEcs) -> None:
    await ecs.take_locks(["its"], reason="shift")

    async with ecs.lock("its", "tpc", reason="scan"):
        pass

    assert [lock.detector for lock in await ecs.locks()] == ["its"]
    await ecs.unlock()
    assert await ecs.locks() == ()


async def test_a_script_that_was_killed_finds_its_locks_again_and_gives_them_back(
    cluster: Cluster, ecs: AsyncEcs
) -> None:
    await ecs.lock("its", reason="scan")
    cluster.core.kill()
    await revive(cluster)

    async with cluster.connect() as again, again.lock("its", reason="scan"):
        assert [lock.reason for lock in await ecs.locks()] == ["scan"]

    assert await ecs.locks() == ()


async def test_no_detector_is_a_mistake(ecs: AsyncEcs) -> None:
    with pytest.raises(UsageError, match="no detector is named"):
        ecs.lock()


# work, and the death of the core


async def test_a_workflow_of_a_script_runs_on_the_nodes_of_a_core(ecs: AsyncEcs) -> None:
    async with ecs.environment(LAB) as env:
        async with env.run(tags={"threshold": 3}) as run:
            assert [task.role for task in await ecs.tasks(env.id)] == ["lab.clock", "lab.spare"]
            await eventually(lambda: "tick" in [line.text for line in run.log])
            log = await env.task_log("clock")  # it holds what was told already
            assert log.stream == "stdout"
            assert log.text.startswith("tick\n")
            with pytest.raises(UsageError, match=r"'\*\*' chooses 2 tasks, not one"):
                await env.task_log("**")
        assert run.record is not None
        assert run.record.tags == {"threshold": "3"}
        await ecs.annotate(run, "well done", {"threshold": ""})

    record = await ecs.run_record(run.number)
    assert (record.condition.name, record.end_reason, record.tags) == ("GOOD", "USER", {})
    assert [(note.author, note.text) for note in record.notes] == [("owner", "well done")]


async def test_a_role_is_taken_out_of_a_run_and_put_back(ecs: AsyncEcs) -> None:
    async with ecs.environment(LAB) as env, env.run() as run:
        before = (await env.tasks("clock")).pids

        assert await env.modify(exclude="**.spare") == "RUNNING"
        assert [task.role for task in (await env.tasks()).items if task.excluded] == ["lab.spare"]
        assert await env.modify(include=["**.spare"]) == "RUNNING"

        assert (await env.tasks("clock")).pids == before
        assert run.going
        with pytest.raises(EcsError):
            await env.modify(exclude="**.nobody")


async def test_a_task_is_taken_from_another_environment_with_its_process(ecs: AsyncEcs) -> None:
    variables = {"hosts": ["n1"], "each": 2}
    async with ecs.environment("field", variables, name="a") as a, ecs.environment("field", variables) as b:
        ours, theirs = (await a.tasks()).pids, (await b.tasks()).pids
        await b.modify(exclude="**.r2")
        assert [task.pid for task in await ecs.tasks("-")] == [theirs["field.n1.r2"]]
        await ecs.end_tasks()
        await until_none_is_idle(ecs)

        await b.modify(include="**.r2", take_from=a)

        assert (await a.tasks()).pids == {"field.n1.r1": ours["field.n1.r1"]}
        assert (await b.tasks()).pids == {**theirs, "field.n1.r2": ours["field.n1.r2"]}
        with pytest.raises(NotFound, match="no environment 'nobody'"):
            await b.modify(include="**.r2", take_from="nobody")
        await b.modify(exclude="**.r2")
        with pytest.raises(InvalidInput, match="nothing would be left"):
            await b.modify(include="**.r2", take_from="a")


async def test_kept_tasks_are_used_again(ecs: AsyncEcs) -> None:
    first = await ecs.environment("field", {"hosts": ["n1"], "each": 2})
    pids = set((await first.tasks()).pids.values())

    await first.destroy(keep_tasks=True)

    assert {task.pid for task in await ecs.tasks("-")} == pids
    async with ecs.environment("field", {"hosts": ["n1"], "each": 2, "value": 2}) as second:
        assert set((await second.tasks()).pids.values()) == pids
    assert await ecs.tasks("-") == ()


SCRIPT = """
import sys, libecs
with libecs.connect(sys.argv[1]) as ecs, ecs.environment("single", name="orphaned") as env, env.run() as run:
    print(run.number, flush=True)
    run.wait()
"""


async def test_a_script_that_is_killed_loses_nothing(cluster: Cluster, ecs: AsyncEcs) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(cluster.state), stdout=subprocess.PIPE, env=cluster.environment
    )
    assert process.stdout is not None
    number = int(await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S))

    process.kill()
    await process.communicate()

    env = await ecs.get("orphaned")
    run = env.current_run()
    assert run is not None
    async with run:
        assert run.number == number
    assert run.condition == "GOOD"
    assert [one.verb for one in await ecs.operations() if one.environment == env.id] == ["Create", "Control", "Control"]
    await env.destroy()


async def test_a_script_goes_on_when_the_core_is_killed_in_its_run(cluster: Cluster, ecs: AsyncEcs) -> None:
    reader = ecs.events()
    async with ecs.environment("single") as env:
        async with env.run(comment="through the night") as run:
            number, pids = run.number, (await env.tasks()).pids
            waiting = asyncio.create_task(run.wait(until=lambda m: m.number != number))
            cluster.core.kill()
            await eventually(lambda: ecs.link.state == "DOWN")
            await eventually(lambda: "connection" in ecs.link.reason)  # broken, or refused by nobody who is there
            asking = asyncio.create_task(ecs.operations())
            await revive(cluster)

            assert await asking
            await eventually(lambda: ecs.link.state == "UP")
            assert run.going
            assert not waiting.done()
            turns = (await run.metrics_now())["one:turns"].sum
            await run.wait(until=lambda m: m["one:turns"].sum > turns)
            assert run.number == number
            await eventually(lambda: run.going)
            assert (await env.tasks()).pids == pids
        await waiting
        assert run.record is not None
        assert (run.record.number, run.record.condition.name, run.record.comment) == (
            number,
            "GOOD",
            "through the night",
        )

    told = [event.sequence for event in reader.rest()]
    assert told == list(range(told[0], told[0] + len(told)))
    assert reader.dropped == 0


async def test_what_is_asked_for_while_the_core_is_away_is_done_once(cluster: Cluster, ecs: AsyncEcs) -> None:
    async with ecs.environment("single") as env:
        cluster.core.kill()
        starting = asyncio.create_task(env.control("START"))
        await eventually(lambda: bool(ecs.pending))
        (operation,) = ecs.pending
        assert ecs.pending == {operation: "START_ACTIVITY"}
        await revive(cluster)

        assert await starting == "RUNNING"

        assert [one.done for one in await ecs.operations() if one.operation == operation] == [True]
        finished = await ecs.follow(operation)
        assert finished.run_number == env.info.run_number
        await env.control("STOP")
    assert ecs.pending == {}


async def test_an_operation_is_followed_by_whoever_knows_its_id(cluster: Cluster) -> None:
    async with cluster.connect() as first:
        operation = first.begin(Create(operation=first.new_id(), workflow="single", requester="me"))
        await operation.environment

    async with cluster.connect() as second:
        finished = await second.follow(operation.id)
        env = await second.get(finished.environment)
        assert env.state == "CONFIGURED"
        await env.destroy()
        with pytest.raises(NotFound):
            await second.follow("nothing-1")


async def test_a_core_that_hangs_is_suspect_then_down_and_heals(
    cluster: Cluster, ecs: AsyncEcs, caplog: pytest.LogCaptureFixture
) -> None:
    states: list[str] = []

    def look(state: str) -> bool:
        states.append(ecs.link.state)
        return states[-1] == state

    with caplog.at_level(logging.WARNING, "libecs"):
        cluster.core.pause()
        await eventually(lambda: look("DOWN"))
        cluster.core.resume()
        await eventually(lambda: look("UP"))

    assert states.index("SUSPECT") < states.index("DOWN") if "SUSPECT" in states else True
    assert (await ecs.info()).you == "owner"


async def test_events_of_the_past_come_before_those_to_come(cluster: Cluster, ecs: AsyncEcs) -> None:
    env = await ecs.environment("single", target="STANDBY")
    past = [event async for event in ecs.history()]
    assert [event.sequence for event in past] == list(range(past[0].sequence, past[-1].sequence + 1))
    latest = [event async for event in ecs.history(last=2)]
    of_this = [event async for event in ecs.history(environment=env.id)]
    later = [event async for event in ecs.history()]  # nodes may have told something meanwhile
    assert latest == [event for event in later if event.sequence in range(latest[0].sequence, latest[0].sequence + 2)]
    assert latest[-1].sequence >= past[-1].sequence
    ours = [event for event in later if event.environment == env.id]
    assert of_this == ours[: len(of_this)]
    assert len(of_this) >= len([event for event in past if event.environment == env.id]) > 0

    reader = ecs.events(since=past[3].sequence)
    await env.destroy()
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            event = await reader.next()
            assert event is not None
            if event.environment == env.id and event.state == "DONE":
                break

    sequences = [one async for one in ecs.history(since=past[3].sequence)]
    assert event in sequences


async def test_an_automatic_environment_takes_its_run_without_us(cluster: Cluster, ecs: AsyncEcs) -> None:
    lab = libecs.workflow("short", tasks={"clock": libecs.task("sleep 0.2", mode="basic")})

    env = await ecs.environment(lab, auto=True)
    record = await env.over(timeout=TIMEOUT_S)

    assert record is not None
    assert record.end_reason == "END_OF_STREAM"
    assert env.state == "DONE"
    by_hand = await ecs.environment("single", target="STANDBY")
    with pytest.raises(UsageError, match="does not end by itself"):
        await by_hand.over()
    await by_hand.destroy()
    wrong = await ecs.environment("nonsense", auto=True)
    with pytest.raises(NotFound, match="nonsense"):
        await wrong.over(timeout=TIMEOUT_S)


async def test_a_run_is_repeated_as_it_was(ecs: AsyncEcs) -> None:
    async with ecs.environment("single", {"value": 7}) as env, env.run() as run:
        pass

    async with ecs.repeat(run.number) as again:
        assert (await again.show()).variables["value"] == "7"
    with pytest.raises(NotFound):
        await ecs.repeat(999_999)


@pytest.mark.skipif(not _has_occ(), reason="this is a source tree: its tasks cannot run")
async def test_the_scan_of_the_examples_runs_on_a_core(cluster: Cluster, ecs: AsyncEcs, project: Path) -> None:
    def scan() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, str(project / "examples" / "scan.py"), "2", str(cluster.state)]
        return subprocess.run(
            words, env=cluster.environment, capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False
        )

    ran = await asyncio.to_thread(scan)

    rows = [line.split() for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, ran.stderr
    assert [row[:2] for row in rows[1:]] == [["20", "-60"], ["20", "-80"]]
    assert (await ecs.run_record(int(rows[2][2]))).tags == {"threshold": "20", "bias": "-80"}
    assert await ecs.locks() == ()
    assert await ecs.environments() == []
