"""A head node and two nodes on hosts of their own, clients on a fourth, and cables that are pulled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import attrs
import pytest
from fieldkit.cluster import Cluster
from fieldkit.lateness import Lateness
from fieldkit.network import Network
from fieldkit.watch import Watch, calm, connected

from libecs.client.ecs import AsyncEcs
from libecs.client.environment import AsyncEnvironment
from libecs.wire.info import EnvironmentInfo

pytestmark = pytest.mark.timeout(400)

FAULTS = ("cable", "what it sends is lost", "what it gets is lost")
BARS = (2.0, 3.0, 3.0)
"""Seconds until SUSPECT and LOST, which are due 1.5 and 2.5 s after the last word that was heard, and from the healing
until UP. An executor that hears nothing says so as long as its link is up.
"""
TRIES = 10
"""How often figures are taken until they are within the bars. By so much as this machine was late, they may be late."""


@attrs.frozen
class Running:
    """An environment that takes a run on both nodes."""

    ecs: AsyncEcs
    watch: Watch
    env: AsyncEnvironment
    number: int
    pids: dict[str, int]


@contextlib.asynccontextmanager
async def running(field: Cluster, **variables: object) -> AsyncIterator[Running]:
    async with connected(field) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("field", variables)
        await env.control("START")
        info = await env.show()
        yield Running(ecs, watch, env, info.run_number, pids(info))
        await calm(ecs, field)
        await env.destroy(force=env.broken, allow_running=True)
        await asyncio.to_thread(field.wait_no_tasks)


def pids(info: EnvironmentInfo) -> dict[str, int]:
    return {task.role: task.pid for task in info.tasks}


def lost(watch: Watch, after: int = 0) -> set[str]:
    """Return the nodes that were LOST for a while."""
    return {event.name for event in watch.of("node", after) if event.state == "LOST"}


async def untouched(field: Cluster, one: Running) -> None:
    """The run that went on goes on, in the same processes, and no task was told anything."""
    await calm(one.ecs, field)
    info = await one.env.show()
    assert (info.state.name, info.run_number, pids(info)) == ("RUNNING", one.number, one.pids)
    for record in field.read().values():
        assert record.words() == ["begin", "configure", f"start {one.number}"]


async def test_an_environment_lives_from_creation_to_destruction_on_three_hosts(
    field: Cluster, network: Network
) -> None:
    async with connected(field) as ecs:
        env = await ecs.environment("field", {"each": 1})
        async with env.run() as run:
            assert {task.node: task.state.name for task in (await env.show()).tasks} == {
                "n1": "RUNNING",
                "n2": "RUNNING",
            }
        await env.modify(exclude_nodes="n2")
        assert [task.node for task in (await env.show()).tasks if not task.excluded] == ["n1"]
        await env.modify(include_nodes="n2")
        async with env.run() as second:
            pass
        await env.destroy()
        await ecs.end_tasks()

    assert (run.condition, second.condition) == ("GOOD", "GOOD")
    assert second.number > run.number


async def test_the_core_listens_at_one_port_and_the_executors_at_none(field: Cluster, network: Network) -> None:
    async with connected(field) as ecs:
        env = await ecs.environment("field", {"each": 1})

        assert [place.replace("[::ffff:", "").replace("]", "") for place in network.listening("head")] == [
            f"{field.address}:47102"
        ]
        assert network.listening("n1") == network.listening("n2") == network.listening("client") == []
        await env.destroy()


async def test_cable_pulled_for_a_second_is_not_noticed_by_the_run(field: Cluster, network: Network) -> None:
    async with running(field) as one:
        with Lateness() as lateness:
            for _ in range(TRIES):  # a machine that is late each time says only that the run and its tasks go on
                seen = len(one.watch.events)
                lateness.begin()
                cut = time.monotonic()
                network.cut("n1")
                await asyncio.sleep(1)  # the length of the fault
                network.heal("n1")
                away_s = time.monotonic() - cut

                await one.env.control("STOP")  # reaches both nodes
                await one.env.control("START")
                await calm(one.ecs, field)  # its request comes after all events of the fault
                assert pids(await one.env.show()) == one.pids
                print(f"away for {away_s:.2f} s, late by {lateness.worst_s:.2f} s: lost {lost(one.watch, seen)}")
                if not lost(one.watch, seen):
                    break
                if away_s < 1.2 and lateness.worst_s < 0.2:
                    pytest.fail(f"LOST after {away_s:.2f} s")


@pytest.mark.parametrize("fault", FAULTS)
async def test_node_away_for_5_s_is_suspect_then_lost_then_back_and_no_task_is_touched(
    field: Cluster, network: Network, fault: str
) -> None:
    async with running(field) as one:
        watch, told = one.watch, []
        with Lateness() as lateness:
            for _ in range(TRIES):
                seen = len(watch.events)
                lateness.begin()
                cut = time.time()
                if fault == "cable":
                    network.cut("n1")
                else:
                    network.drop("n1", "output" if "sends" in fault else "input")
                suspect = await watch.node("n1", "SUSPECT", after=seen)
                gone = await watch.node("n1", "LOST", after=seen)
                shown = await one.env.show()
                await asyncio.sleep(max(0.0, cut + 5 - time.time()))  # the length of the fault
                network.heal("n1")
                healed = time.time()
                up = await watch.node("n1", "UP", after=watch.events.index(gone))

                known = {task.node: (task.phase.name, task.state.name) for task in shown.tasks}
                assert shown.state.name == "RUNNING"
                assert known["n1"] == ("SUSPECT", "UNKNOWN")
                assert known["n2"] == ("ACTIVE", "RUNNING") or is_late(watch, "n2", seen)
                took = [suspect.unix_ms / 1000 - cut, gone.unix_ms / 1000 - cut, up.unix_ms / 1000 - healed]
                told.append(f"{[round(age, 2) for age in took]}, machine late by {lateness.worst_s:.2f}")
                await calm(one.ecs, field)
                if all(age <= bar + lateness.worst_s for age, bar in zip(took, BARS, strict=True)):
                    break
            else:
                pytest.fail(f"SUSPECT, LOST, UP after so many seconds, and never within {BARS}: {told}")
        print(fault, told)

        await untouched(field, one)
        await one.env.control("STOP")
        run = await one.ecs.run_record(one.number)
        assert run.condition.name == "DEGRADED"
        assert {"n1"} <= {span.role.split(".")[1] for span in run.degraded} <= {"n1"} | lost(watch)


def is_late(watch: Watch, node: str, after: int) -> bool:
    """Return whether a node whose link is up was not heard in time, because this machine did other things."""
    return any(event.name == node for event in watch.of("node", after))


async def test_node_away_for_a_minute_comes_back_to_the_same_run(field: Cluster, network: Network) -> None:
    async with running(field, each=1) as one:
        network.cut("n2")
        gone = await one.watch.node("n2", "LOST")
        await asyncio.sleep(57.5)  # the length of the fault
        network.heal("n2")
        healed = time.time()

        up = await one.watch.node("n2", "UP", after=one.watch.events.index(gone))
        print("healed after", up.unix_ms / 1000 - healed)
        await untouched(field, one)


async def test_client_that_is_cut_off_says_so_and_misses_nothing(field: Cluster, network: Network) -> None:
    async with running(field, each=1) as one:
        ecs, watch = one.ecs, one.watch
        with network.entered("head"):
            session = field.connect()
            other = await session.__aenter__()
        try:
            network.cut("client")
            assert await ecs.until(lambda: ecs.age_s >= 1.5 and ecs.link.state != "UP", 30, poll_s=lambda: 0.05)
            theirs = await other.get(one.env.id)
            await theirs.control("STOP")
            await theirs.control("START")
            network.heal("client")

            second = (await theirs.show()).run_number
            await watch.until(lambda event: event.kind == "run.start" and event.run_number == second, 60)
            assert await ecs.until(lambda: ecs.age_s < 2, 60, poll_s=lambda: 0.05)
        finally:
            await session.__aexit__(None, None, None)
        numbers = [event.sequence for event in watch.events if event.sequence]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert [event.run_number for event in watch.of("run.end")] == [one.number]
