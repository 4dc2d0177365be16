"""Detectors taken out and put back, idle tasks that get another use, locks, and runs that end by themselves."""

from __future__ import annotations

import asyncio

import pytest
from fieldkit.cluster import Cluster
from fieldkit.watch import Watch, calm, connected, known

import libecs
from libecs.access import Role
from libecs.client.environment import AsyncEnvironment
from libecs.wire.info import EnvironmentInfo

pytestmark = pytest.mark.timeout(400)

TIMER = {"auto_stop_enabled": "true", "auto_stop_timeout": "300ms"}
LONG_TIMER = {"auto_stop_enabled": "true", "auto_stop_timeout": "1h"}
DETECTORS = ("its", "tpc", "trd", "tof")


def shown(info: EnvironmentInfo) -> dict[str, tuple[str, int, str]]:
    """Role path to (task id, pid, state) of what takes part."""
    return {task.role: (task.task, task.pid, task.state.name) for task in info.tasks if not task.excluded}


def words(cluster: Cluster, info: EnvironmentInfo) -> dict[str, list[str]]:
    """Role path to all that ever happened to its present task."""
    records = cluster.read()
    return {task.role: records[task.task].words() for task in info.tasks if not task.excluded}


@pytest.mark.parametrize("state", ["CONFIGURED", "RUNNING"])
async def test_each_of_four_detectors_leaves_and_comes_back_and_the_others_do_not_notice(
    cluster: Cluster, state: str
) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("detectors")
        if state == "RUNNING":
            await env.control("START")
        number = (await env.show()).run_number

        for detector in DETECTORS:
            await calm(ecs, cluster)  # of a node that is not heard for a moment no states are known
            info = await env.show()
            before, done = shown(info), words(cluster, info)
            others = {role for role in before if f".{detector}." not in role}
            assert len(others) == len(before) - 2 == 7

            await env.modify(exclude=f"**.{detector}")
            await calm(ecs, cluster)
            info = await env.show()
            assert {role: shown(info)[role] for role in others} == {role: before[role] for role in others}
            assert set(shown(info)) == others
            assert {role: words(cluster, info)[role] for role in others} == {role: done[role] for role in others}
            assert detector not in info.detectors

            await env.modify(include=f"**.{detector}")
            await calm(ecs, cluster)
            info = await env.show()
            assert {role: shown(info)[role] for role in others} == {role: before[role] for role in others}
            assert {role: words(cluster, info)[role] for role in others} == {role: done[role] for role in others}
            assert set(shown(info)) == set(before)
            assert {task.state.name for task in info.tasks} == {state}
            assert detector in info.detectors
            assert (info.state.name, info.run_number) == (state, number)

        if state == "RUNNING":
            await env.control("STOP")
            run = await ecs.run_record(number)
            assert run.condition.name == "DEGRADED"
            assert {role.split(".")[1] for role in (span.role for span in run.degraded)} >= set(DETECTORS)
        await env.destroy()
        await ecs.end_tasks()
        await asyncio.to_thread(cluster.wait_no_tasks)


async def test_dead_node_is_taken_out_of_a_run_that_goes_on(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("field", {"each": 1})
        await env.control("START")
        info = await env.show()
        number, before = info.run_number, shown(info)

        cluster.nodes["n2"].kill()
        gone = watch.events.index(await watch.node("n2", "LOST"))
        await env.modify(exclude_nodes="n2")

        info = await env.show()
        assert (info.state.name, info.run_number) == ("RUNNING", number)
        assert shown(info) == {role: value for role, value in before.items() if ".n1." in role}
        await env.control("STOP")
        await env.control("START")
        await env.control("STOP")
        cluster.nodes["n2"].start()
        await watch.node("n2", "UP", after=gone)
        await env.destroy()
        await ecs.end_tasks()


async def test_kept_tasks_get_another_template_and_payload_in_the_same_processes(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("field", {"each": 2, "value": 1})
        before = {task.pid for task in (await env.show()).tasks}
        await env.destroy(keep_tasks=True)
        assert {task.pid for task in await ecs.tasks() if not task.environment} == before

        cluster.core.kill()
        cluster.core.start()
        await asyncio.to_thread(cluster.core.wait_ready)
        await calm(ecs, cluster)  # a core that was started just now waits 3 s for its nodes, and no longer
        again = await ecs.environment("detectors", {"detectors": '["its"]', "value": 2})
        info = await again.show()
        assert {task.pid for task in info.tasks} <= before
        records = cluster.read()
        for task in info.tasks:
            old, new = (dict(note.values) for note in records[task.task].notes if note.word == "configure")
            assert (old.pop("value"), new.pop("value")) == ("1", "2")
            assert [key.split(".")[1] for key in old] == ["data"]
            assert task.role.endswith(".readout") or [key.split(".")[1] for key in new] == ["out"]
        async with again.run() as run:
            pass
        assert run.condition == "GOOD"
        await again.destroy()
        await ecs.end_tasks()
        await asyncio.to_thread(cluster.wait_no_tasks)


async def test_fifty_points_of_a_scan_change_no_pid_and_an_unknown_key_changes_nothing(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("field", {"each": 1, "value": 0})
        before = shown(await env.show())
        for point in range(1, 51):
            await env.reconfigure({"value": point})
        with pytest.raises(libecs.InvalidInput):
            await env.reconfigure({"valeu": 7})

        assert shown(await env.show()) == before
        for task, _, _ in before.values():
            notes = [note for note in cluster.read()[task].notes if note.word in ("configure", "reconfigure")]
            assert [note.values["value"] for note in notes] == [str(point) for point in range(51)]
        await env.destroy()


async def test_locks_survive_a_killed_core_and_bind_every_client(cluster: Cluster) -> None:
    cluster.add_key("anna", Role.OPERATOR)
    cluster.add_key("bert", Role.OPERATOR)
    async with connected(cluster) as owner:
        await known(owner, "anna", "bert")
    async with connected(cluster, "anna") as anna, connected(cluster, "bert") as bert, connected(cluster) as owner:
        env = await anna.environment("detectors", {"detectors": '["its", "tpc"]'})
        await anna.take_locks(("its",), reason="calibration")
        (lock,) = await bert.locks()

        cluster.core.kill()
        cluster.core.start()
        await asyncio.to_thread(cluster.core.wait_ready)
        assert await bert.locks() == (lock,)
        await calm(owner, cluster)  # for the runs below: a core that was started just now waits 3 s for its nodes
        for other in (bert, owner):
            theirs: AsyncEnvironment = await other.get(env.id)
            for action in (
                theirs.control("START"),
                theirs.reconfigure({"value": 3}),
                theirs.modify(exclude="**.its"),
                theirs.destroy(force=True),
            ):
                with pytest.raises(libecs.EcsError, match="anna"):
                    await action
        with pytest.raises(libecs.EcsError, match="anna"):
            await bert.take_locks(("its",))
        words = cluster.coconut("environment", "destroy", env.id, who="bert")
        assert words.returncode == libecs.Denied.exit_code, words
        assert "anna" in words.stderr

        assert (await env.show()).state.name == "CONFIGURED"
        await env.control("START")
        await env.control("STOP")
        await anna.unlock("its")
        await (await bert.get(env.id)).destroy()


async def test_runs_that_end_by_themselves_say_why(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        automatic = await ecs.environment("single", {"count": 5}, auto=True)
        stream = await automatic.over(timeout=60)
        timed = await ecs.environment("single", TIMER, auto=True)
        timer = await timed.over(timeout=60)
        env = await ecs.environment("single", TIMER)
        async with env.run() as plain:
            await plain.wait(60)
        await env.destroy()
        env = await ecs.environment("single", LONG_TIMER)
        await env.control("START")
        number = (await env.show()).run_number
        await env.control("STOP")
        by_hand = await ecs.run_record(number)
        await env.destroy()

        assert [run.end_reason for run in (stream, timer, plain, by_hand)] == [
            "END_OF_STREAM",
            "TIMER",
            "TIMER",
            "STOPPED",
        ]
        assert await ecs.environments() == []
    await asyncio.to_thread(cluster.wait_no_tasks)


async def test_run_is_repeated_as_it_was_or_says_what_differs(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("field", {"each": 1, "value": 7})
        async with env.run() as first:
            pass
        await env.destroy()
        again = await ecs.repeat(first.number)
        async with again.run() as second:
            pass
        await again.destroy()
        old, new = await ecs.run_record(first.number), await ecs.run_record(second.number)
        assert (old.configuration, old.placement, old.user_variables) == (
            new.configuration,
            new.placement,
            new.user_variables,
        )

        other = await ecs.environment("field", {"each": 1, "value": 8})
        async with other.run() as third:
            pass
        await other.destroy()
        async with Watch(ecs) as watch:
            assert cluster.nodes["n2"].stop() == 0
            await watch.node("n2", "LOST")  # before, tasks would be sent there, and waited for
        with pytest.raises(libecs.EcsError, match="n2"):
            await ecs.repeat(first.number)
        difference = cluster.coconut("run", "diff", str(first.number), str(third.number))
        assert "value" in difference.stdout
        assert difference.returncode == 0
