"""Rows of the fault matrix that need a whole cluster; see docs/reliability.md for what stands elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster, Daemon, is_alive
from fieldkit.lateness import Lateness
from fieldkit.watch import Watch, calm, connected

import libecs
from libecs.client.environment import AsyncEnvironment
from libecs.wire.client import Control
from libecs.wire.info import EnvironmentInfo

pytestmark = pytest.mark.timeout(400)


def tasks_of(info: EnvironmentInfo) -> dict[str, tuple[str, int]]:
    return {task.role: (task.task, task.pid) for task in info.tasks if not task.excluded}


async def back(*daemons: Daemon) -> None:
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        await asyncio.to_thread(daemon.wait_ready)


async def ended(pid: int) -> None:
    """Wait until a process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], 60)
        assert readable, f"process {pid} does not end"
    finally:
        os.close(descriptor)


# F1, F3, F4, F5: daemons die


@pytest.mark.parametrize("state", ["DEPLOYED", "CONFIGURED", "RUNNING"])
@pytest.mark.parametrize("victims", ["core", "n1", "core n1 n2", "core by SIGTERM"])
async def test_daemons_that_die_take_nothing_with_them(cluster: Cluster, state: str, victims: str) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("field", {"each": 1}, target="DEPLOYED" if state == "DEPLOYED" else "CONFIGURED")
        if state == "RUNNING":
            await env.control("START")
        info = await env.show()
        before, number = tasks_of(info), info.run_number
        words = {name: record.words() for name, record in cluster.read().items()}

        daemons = [cluster.daemon(name) for name in victims.removesuffix(" by SIGTERM").split(" ")]
        for daemon in daemons:
            if victims.endswith("SIGTERM"):
                assert daemon.stop() == 0
            else:
                daemon.kill()
        assert set(cluster.tasks()) == {pid for _, pid in before.values()}
        await back(*daemons)
        await calm(ecs, cluster)

        again = await ecs.get(env.id)
        info = await again.show()
        assert (info.state.name, info.run_number, tasks_of(info)) == (state, number, before)
        assert {name: record.words() for name, record in cluster.read().items()} == words
        if state == "RUNNING":
            await env.control("STOP")
            run = await ecs.run_record(number)
            assert (run.end_reason, bool(run.end_ms)) == ("STOPPED", True)
        if state == "DEPLOYED":
            await env.control("CONFIGURE")
        async with env.run() as run:
            pass
        assert (run.condition, run.number > number) == ("GOOD", True)
        await env.destroy()
    await asyncio.to_thread(cluster.wait_no_tasks)


async def test_task_that_dies_while_its_executor_is_away_has_the_right_cause(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("single")
        (task,) = (await env.show()).tasks
        shim = cluster.shims()[task.task]
        cluster.nodes["n1"].kill()
        os.kill(task.pid, signal.SIGABRT)
        await ended(task.pid)
        await ended(shim)  # it has written down how
        await back(cluster.nodes["n1"])

        await watch.state(env.id, "ERROR")
        assert f"killed by signal {int(signal.SIGABRT)}" in (await env.show()).cause
        await env.destroy(force=True)


# F6, F7, F8: shims and tasks die


async def test_task_outlives_its_shim_and_its_end_is_then_of_unknown_cause(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("single")
        await env.control("START")
        (task,) = (await env.show()).tasks
        shim = cluster.shims()[task.task]
        os.kill(shim, signal.SIGKILL)
        await ended(shim)

        await env.control("STOP")
        await env.control("START")
        assert (await env.show()).tasks[0].pid == task.pid
        os.kill(task.pid, signal.SIGKILL)
        await watch.state(env.id, "ERROR")
        cause = (await env.show()).cause
        assert "single.one" in cause
        assert "signal" not in cause
        await env.destroy(force=True)


@pytest.mark.parametrize("state", ["DEPLOYED", "CONFIGURED", "RUNNING"])
async def test_death_of_a_critical_task_is_an_error_and_recover_keeps_its_siblings(
    cluster: Cluster, state: str
) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("field", {"each": 1}, target="DEPLOYED" if state == "DEPLOYED" else "CONFIGURED")
        if state == "RUNNING":
            await env.control("START")
        info = await env.show()
        before, number = tasks_of(info), info.run_number
        victim = next(task for task in info.tasks if task.node == "n1")
        os.kill(victim.pid, signal.SIGKILL)

        await watch.state(env.id, "ERROR")
        if number:
            await watch.until(lambda event: event.kind == "run.end" and event.run_number == number)
        assert await ecs.until(lambda: not env.info.transition, 60)
        assert victim.role in (await env.show()).cause
        assert await env.recover() == "DEPLOYED"
        after = tasks_of(await env.show())
        assert {role for role in before if before[role] != after[role]} == {victim.role}
        await env.control("CONFIGURE")
        async with env.run() as run:
            pass
        assert run.condition == "GOOD"
        if number:
            record = await ecs.run_record(number)
            assert record.condition.name == "FAILED"
            assert victim.role in record.cause
        await env.destroy()


async def test_death_of_a_task_that_is_not_critical_degrades_the_run(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("field", {"each": 1, "spare": "true"})
        await env.control("START")
        info = await env.show()
        number, spare = info.run_number, next(task for task in info.tasks if task.role.endswith("n1.spare"))
        os.kill(spare.pid, signal.SIGKILL)
        await watch.until(lambda event: event.kind == "task.lost" and event.role == spare.role)

        info = await env.show()
        assert (info.state.name, info.run_number) == ("RUNNING", number)
        await env.control("STOP")
        record = await ecs.run_record(number)
        assert record.condition.name == "DEGRADED"
        # On a busy machine others may be missing for a moment, and be back.
        lost = [span for span in record.degraded if not span.reason.startswith(("unknown: ", "stalled: "))]
        assert [span.role for span in lost] == [spare.role]
        await env.destroy()


# F10: what tasks leave


async def test_children_that_ignore_signals_are_gone_after_destroy(cluster: Cluster) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment("single", {"fork": "1"})
        pids = set(cluster.tasks())
        assert len(pids) == 2
        await env.destroy()

        for pid in pids:
            await ended(pid)
        await asyncio.to_thread(cluster.wait_no_tasks)


# F11, F12, F13: tasks that do not answer


async def test_hung_task_is_named_and_does_not_delay_another_environment(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, connected(cluster) as other, Watch(ecs) as watch:
        env = await ecs.environment("single")
        beside = await other.environment("field", {"each": 1})
        await env.control("START")
        (task,) = (await env.show()).tasks
        os.kill(task.pid, signal.SIGSTOP)
        # On a busy machine others may be told of, too.
        await watch.until(lambda event: (event.kind, event.role, event.ok) == ("task.stalled", task.role, False))

        stopping = asyncio.create_task(env.control("STOP"))
        async with beside.run() as run:  # all of it, while the other environment waits for its task
            assert not stopping.done()
        assert run.condition == "GOOD"
        os.kill(task.pid, signal.SIGCONT)
        await stopping
        await env.destroy()
        await beside.destroy()


@pytest.mark.parametrize("moment", ["configure", "start", "stop"])
async def test_task_that_never_answers_is_named_at_its_deadline(cluster: Cluster, moment: str) -> None:
    async with connected(cluster) as ecs:
        variables = {"class": "hasty", "fault": "hang", "moment": moment}
        env = await ecs.environment("single", variables, target="DEPLOYED")
        with pytest.raises(libecs.EcsError) as caught:
            await env.control("CONFIGURE")
            await env.control("START")
            await env.control("STOP")
        text = str(caught.value) + str(getattr(caught.value, "failures", ""))
        assert "single.one" in text
        assert env.state == "ERROR" or (await env.show()).state.name == "ERROR"
        await env.destroy(force=True)
    await asyncio.to_thread(cluster.wait_no_tasks)


async def test_answer_after_the_deadline_changes_nothing(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        variables = {"class": "hasty", "fault": "slow", "moment": "configure", "slow_ms": 5000}  # its deadline is 2 s
        env = await ecs.environment("single", variables, target="DEPLOYED")
        with pytest.raises(libecs.EcsError):
            await env.control("CONFIGURE")
        error = watch.events.index(await watch.state(env.id, "ERROR"))
        late = await watch.until(lambda event: event.kind == "tasks" and "CONFIGURED" in str(event.tasks))

        assert late.sequence > watch.events[error].sequence
        assert (await env.show()).state.name == "ERROR"
        assert not [event for event in watch.of("environment.state", error) if event.state != "ERROR"]
        await env.destroy(force=True)


# F14: tasks that lie


@pytest.fixture
def lies(cluster: Cluster) -> str:
    """Name of a workflow with a task that lies; `lie` says how. It tells its lies of RUNNING when `now` is told to."""
    program = Path(__file__).with_name("liar.py")
    (cluster.base / "lie-now").unlink(missing_ok=True)
    (cluster.repository / "workflows" / "lies.yaml").write_text(
        'name: lies\ndefaults: {lie: answer, class: liar}\nroles:\n  - name: liar\n    task: {load: "{{ class }}"}\n'
    )
    for name, timeouts in (("liar", ""), ("hasty-liar", "timeouts: {CONFIGURE: 2s}\n")):
        (cluster.repository / "tasks" / f"{name}.yaml").write_text(
            f"name: {name}\ncontrol: {{mode: direct}}\n{timeouts}command:\n"
            f'  value: {sys.executable}\n  arguments: ["{program}", "{{{{ lie }}}}", "{cluster.base}/lie-now"]\n'
        )
    return "lies"


def lie_now(cluster: Cluster) -> None:
    """Let the task tell its lie: not before the core has said that its environment is RUNNING."""
    (cluster.base / "lie-now").touch()


async def test_task_that_says_done_and_is_elsewhere_does_not_configure_its_environment(
    cluster: Cluster, lies: str
) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment(lies, {"class": "hasty-liar"}, target="DEPLOYED")
        with pytest.raises(libecs.TransitionFailed) as caught:
            await env.control("CONFIGURE")

        assert "lies.liar" in str(caught.value)
        assert (await env.show()).state.name == "ERROR"
        await env.destroy(force=True)


async def test_critical_task_that_leaves_its_state_by_itself_takes_the_environment_to_error(
    cluster: Cluster, lies: str
) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment(lies, {"lie": "jump"})
        await env.control("START")
        lie_now(cluster)
        event = await watch.until(lambda event: event.kind == "task.inconsistent")
        await watch.until(lambda event: event.kind == "environment.state" and event.state == "ERROR")

        assert (event.role, event.state, event.ok) == ("lies.liar", "STANDBY", False)
        await env.destroy(force=True, allow_running=True)


async def test_state_that_does_not_exist_is_refused_and_told(cluster: Cluster, lies: str) -> None:
    async with connected(cluster) as ecs:
        env = await ecs.environment(lies, {"lie": "strange"})
        await env.control("START")
        lie_now(cluster)
        async with asyncio.timeout(60):
            while not (liar := (await env.show()).tasks[0]).error:
                await asyncio.sleep(0.05)

        assert "99" in liar.error
        assert (await env.show()).state.name == "RUNNING"
        await env.destroy(force=True, allow_running=True)


# F22, F23, F26: orders come twice, at once, and after a pause


async def test_order_that_comes_again_has_one_effect_and_one_answer_also_after_a_restart(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, connected(cluster) as other:
        env = await ecs.environment("single")
        message = Control(operation=ecs.new_id(), environment=env.id, event="START_ACTIVITY", requester=ecs.requester)
        first = await ecs.finish(ecs.begin(message))
        answers = [await session.finish(session.begin(message)) for session in (ecs, other, ecs)]
        cluster.core.kill()
        await back(cluster.core)
        answers += [await session.finish(session.begin(message)) for session in (ecs, other)]

        assert answers == [first] * 5
        (record,) = cluster.read().values()
        assert record.words() == ["begin", "configure", f"start {first.run_number}"]
        await env.destroy(allow_running=True)


ORDERS: dict[str, Callable[[AsyncEnvironment], Awaitable[object]]] = {
    "start": lambda env: env.control("START"),
    "configure": lambda env: env.control("CONFIGURE"),
    "reset": lambda env: env.control("RESET"),
    "reconfigure": lambda env: env.reconfigure({"value": 9}),
    "destroy": lambda env: env.destroy(allow_running=True),
}


async def test_two_operators_who_order_at_once_see_one_serial_order(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, connected(cluster) as other:
        for one, two in itertools.product(ORDERS, repeat=2):
            env = await ecs.environment("single")
            theirs = await other.get(env.id)
            outcome = await asyncio.gather(ORDERS[one](env), ORDERS[two](theirs), return_exceptions=True)

            for answer in outcome:
                assert not isinstance(answer, Exception) or isinstance(
                    answer, (libecs.Conflict, libecs.IllegalTransition, libecs.NotFound)
                ), (one, two, outcome)
            left = [found for found in await ecs.environments() if found.id == env.id]
            if left:
                assert not left[0].broken
                await left[0].destroy(allow_running=True)
    await asyncio.to_thread(cluster.wait_no_tasks)


async def test_paused_core_wakes_without_calling_anybody_lost(cluster: Cluster) -> None:
    async with connected(cluster) as ecs, Watch(ecs) as watch:
        env = await ecs.environment("field", {"each": 1})
        await env.control("START")
        number, before = (await env.show()).run_number, tasks_of(await env.show())
        with Lateness() as lateness:
            cluster.core.pause()
            assert await ecs.until(lambda: ecs.age_s >= 4, 60, poll_s=lambda: 0.1)
            lateness.begin()
            cluster.core.resume()

            info = await env.show()
            assert (info.state.name, info.run_number, tasks_of(info)) == ("RUNNING", number, before)
            await env.control("STOP")
            is_lost = [event for event in watch.of("node") if event.state == "LOST"]
            assert not is_lost or lateness.worst_s > 0.5, is_lost  # executors dial as fast as they are let
        assert all(is_alive(pid) for _, pid in before.values())
        await env.destroy()
