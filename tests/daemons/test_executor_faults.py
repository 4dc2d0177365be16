"""Rows of the fault matrix at one executor: what dies, hangs or was cut, and what is true afterwards.

How long each takes is printed; the bars are the benches' business.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from libecs.fsm import TaskEvent, TaskState
from libecs.wire.node import ExitCause, Phase
from tests.daemons.executors import Site, Stopwatch, is_alive, occ_task, parent_of, program
from tests.processes import gone

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other


async def test_f5_tasks_outlive_a_killed_executor_and_their_ends_are_known(site: Site) -> None:
    executor = await site.start()
    tasks = [occ_task("t1"), occ_task("t2"), occ_task("t3", "crash")]
    await site.core.launch(*tasks)
    await site.core.run("t1", "t2")
    pids = site.processes(executor)

    executor.kill()
    assert site.processes(executor) == pids
    os.kill(pids["t2"][0], signal.SIGKILL)
    await gone(pids["t2"][0])
    watch = Stopwatch()
    await site.again(executor)
    await site.core.until(lambda: all(site.core.phase(name) is Phase.ACTIVE for name in ("t1", "t3")))
    watch.tell("F5: an executor that was killed has its tasks again")
    await site.core.until(lambda: site.core.has_exit("t2"))  # its shim may still be writing how it ended

    t1, t2, t3 = (site.core.tasks[name] for name in ("t1", "t2", "t3"))
    assert (t1.state, t1.pid, t1.run) == (TaskState.RUNNING, pids["t1"][0], 7)
    assert t2.exit is not None
    assert (t2.phase, t2.exit.cause, t2.exit.signal) == (Phase.EXITED, ExitCause.SIGNALED, signal.SIGKILL)
    assert t3.pid == pids["t3"][0]
    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("t1", "t2", "t3")
    assert site.processes(executor) == {}


async def test_f5_a_program_and_its_exit_code_are_found_again(site: Site) -> None:
    executor = await site.start()
    gate = site.folder / "gate"
    os.mkfifo(gate)
    site.core.send_launch(program("b1", "exec sleep 1000"), program("b2", f"read line < {gate}; exit 3"))
    await site.core.until(lambda: all(site.core.phase(name) is Phase.ACTIVE for name in ("b1", "b2")))
    await site.core.run("b1", "b2")
    pids = site.processes(executor)

    executor.kill()
    fd = os.open(gate, os.O_WRONLY)
    os.write(fd, b"go\n")
    os.close(fd)
    await gone(pids["b2"][0])
    await site.again(executor)
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE and site.core.has_exit("b2"))

    b1, b2 = site.core.tasks["b1"], site.core.tasks["b2"]
    assert (b1.state, b1.pid) == (TaskState.RUNNING, pids["b1"][0])
    assert b2.exit is not None
    assert (b2.exit.cause, b2.exit.code, b2.state) == (ExitCause.EXITED, 3, TaskState.ERROR)


async def test_f3_core_and_executor_die_together_and_the_run_is_as_it_was(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    pids = site.processes(executor)

    site.core.vanish()
    executor.kill()
    watch = Stopwatch()
    await site.core.come_back()
    await site.again(executor)
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE)
    watch.tell("F3: core and executor are back with their task")

    t1 = site.core.tasks["t1"]
    assert (t1.state, t1.run, t1.pid) == (TaskState.RUNNING, 7, pids["t1"][0])
    assert site.core.hellos[-1].epoch_seen == 1


async def test_a_core_that_died_finds_its_executor_by_itself(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    pids = site.processes(executor)

    site.core.vanish()
    watch = Stopwatch()
    await executor.says("no core")
    watch.tell("F1: an executor says that its core is gone")
    watch = Stopwatch()
    await site.core.come_back()
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE)
    watch.tell("F1: a core that is back has its executor")

    assert site.core.tasks["t1"].pid == pids["t1"][0]
    assert site.core.tasks["t1"].state is TaskState.RUNNING


async def test_f6_a_task_whose_shim_was_killed_goes_on_and_how_it_ends_is_unknown(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    (pid,) = site.processes(executor)["t1"]
    shim = parent_of(pid)

    os.kill(shim, signal.SIGKILL)
    await gone(shim)
    await site.core.transit(TaskEvent.STOP, "t1")  # it goes on, and obeys
    await site.core.transit(TaskEvent.START, "t1", run_number="8")
    executor.kill()
    await site.again(executor)  # the next executor finds it by its marker
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE)
    assert site.core.tasks["t1"].pid == pid

    watch = Stopwatch()
    os.kill(pid, signal.SIGKILL)
    await site.core.until(lambda: site.core.phase("t1") is Phase.EXITED)
    watch.tell("F6: the death of a task without a shim is told", site.core.changed_at["t1"])
    exit = site.core.tasks["t1"].exit
    assert exit is not None
    assert exit.cause is ExitCause.UNKNOWN


async def test_f7_the_death_of_a_task_is_told_with_its_cause(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"), occ_task("t2"))
    await site.core.run("t1", "t2")
    (pid,) = site.processes(executor)["t1"]

    watch = Stopwatch()
    os.kill(pid, signal.SIGKILL)
    await site.core.until(lambda: site.core.phase("t1") is Phase.EXITED)
    watch.tell("F7: the death of a task is told", site.core.changed_at["t1"])

    t1 = site.core.tasks["t1"]
    assert t1.exit is not None
    assert (t1.state, t1.exit.cause, t1.exit.signal) == (TaskState.ERROR, ExitCause.SIGNALED, signal.SIGKILL)
    assert site.core.tasks["t2"].state is not TaskState.ERROR


FORKING = """
trap '' TERM INT
setsid sh -c 'trap "" TERM INT HUP; sleep 1000 & sleep 1000' &
( ( setsid sh -c 'trap "" TERM INT HUP; while :; do sleep 1000; done' & ) & )
sleep 1000 &
while :; do sleep 1000; done
"""


async def test_f10_nothing_of_a_task_that_forks_and_daemonises_survives_its_end(site: Site) -> None:
    executor = await site.start()
    site.core.send_launch(program("b1", FORKING))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)
    await site.core.run("b1")
    async with asyncio.timeout(30):
        while len(site.processes(executor).get("b1", ())) < 6:
            await asyncio.sleep(0.01)  # nothing tells of somebody else's forks
    pids = site.processes(executor)["b1"]

    watch = Stopwatch()
    await site.core.kill("b1")
    watch.tell("F10: a task with daemons is ended")

    assert site.processes(executor) == {}
    assert not [pid for pid in pids if is_alive(pid)]


async def test_f10_nor_when_it_dies_by_itself_or_loses_its_shim(site: Site) -> None:
    executor = await site.start()
    script = f"({FORKING}) & exec sleep 1000"
    site.core.send_launch(program("b1", script), program("b2", script))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE and site.core.phase("b2") is Phase.ACTIVE)
    await site.core.run("b1", "b2")
    async with asyncio.timeout(30):
        while any(len(site.processes(executor).get(name, ())) < 6 for name in ("b1", "b2")):
            await asyncio.sleep(0.01)
    main = {name: await site.core.pid(name) for name in ("b1", "b2")}
    shim = parent_of(main["b2"])

    os.kill(shim, signal.SIGKILL)
    await gone(shim)
    for pid in main.values():
        os.kill(pid, signal.SIGKILL)
    await site.core.until(lambda: all(site.core.has_exit(name) for name in main))

    await site.nothing_left(executor)


async def test_f11_a_task_that_hangs_is_stalled_and_heals_and_others_do_not_notice(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"), occ_task("t2"))
    await site.core.run("t1")
    (pid,) = site.processes(executor)["t1"]

    watch = Stopwatch()
    os.kill(pid, signal.SIGSTOP)
    await site.core.until(lambda: site.core.stalled("t1"))
    watch.tell("F11: a task that hangs is told", site.core.changed_at["t1"])
    other = Stopwatch()
    await site.core.transit(TaskEvent.CONFIGURE, "t2")
    other.tell("F11: meanwhile another one is configured")
    # A slow machine may take it for stalled, too; but not as long as the other one is.
    await site.core.until(lambda: site.core.stalled("t2") is False)
    assert site.core.stalled("t1")

    os.kill(pid, signal.SIGCONT)
    await site.core.until(lambda: site.core.stalled("t1") is False)
    assert site.core.tasks["t1"].state is TaskState.RUNNING


async def test_f11_a_task_that_hangs_can_be_ended(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    (pid,) = site.processes(executor)["t1"]

    os.kill(pid, signal.SIGSTOP)
    await site.core.kill("t1")

    assert site.processes(executor) == {}


async def test_f19_an_executor_that_stood_still_comes_back_with_its_tasks(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    pids = site.processes(executor)
    count = len(site.core.hellos)

    executor.pause()
    await site.core.silent()
    executor.resume()
    await site.core.until(lambda: len(site.core.hellos) > count and site.core.phase("t1") is Phase.ACTIVE)

    assert site.processes(executor) == pids
    assert site.core.tasks["t1"].state is TaskState.RUNNING
