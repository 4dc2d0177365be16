"""One real executor, from its first hello to its last task."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from fieldkit import recorder

from libecs.fsm import TaskEvent, TaskState
from libecs.io.procfs import boot_id, read_stat
from libecs.wire.node import Command, ExitCause, Phase
from tests.daemons.executors import Executor, Site, Stopwatch, is_alive, occ_task, program, uid_of
from tests.processes import gone

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")


async def test_it_says_who_it_is_and_what_it_has(site: Site) -> None:
    executor = await site.start(
        "--attribute", "detector=ITS", "--ports", "31000-31009", "--cpus", "3", "--memory", "512"
    )

    hello = site.core.hellos[0]

    assert (hello.node, hello.host, hello.cpus, hello.memory_mb) == ("n1", "127.0.0.1", 3.0, 512.0)
    assert hello.attributes == {"machine_id": "n1", "detector": "ITS"}
    assert hello.ports == ((31000, 31009),)
    assert hello.facts["boot_id"] == boot_id()
    assert {"unix_ms", "disk_free_mb", "software", "libzmq", "python", "kernel", "started_ms"} <= hello.facts.keys()
    assert "connected, epoch 1" in await executor.says("connected")


async def test_without_being_told_it_has_what_the_machine_has_and_keeps_its_ports(site: Site) -> None:
    executor = await site.start()
    await executor_again(site, executor)

    first, second = site.core.hellos[0], site.core.hellos[-1]

    assert first.cpus == len(os.sched_getaffinity(0))
    assert first.memory_mb > 100
    assert sum(high - low + 1 for low, high in first.ports) == 200
    assert second.ports == first.ports
    assert second.life != first.life


async def executor_again(site: Site, executor: Executor) -> None:
    assert executor.stop() == 0
    await site.again(executor)


async def test_a_second_executor_of_the_same_state_ends_and_names_the_first(site: Site) -> None:
    first = await site.start()
    second = site.executor()

    second.start()
    status = await second.ended()

    assert status == 4
    assert f"in use by process {first.pid} on " in second.log_text()


async def test_the_watchdog_is_fed(site: Site) -> None:
    executor = site.executor(environment={"WATCHDOG_USEC": "300000"})
    executor.start()
    await executor.ready()
    await executor.says("connected")

    while "WATCHDOG=1" not in executor.told:
        executor._hear(executor._notify.recv(4096))  # type: ignore[union-attr] # None fails the test


async def test_told_to_end_it_ends_and_its_tasks_go_on_for_the_next_one(site: Site) -> None:
    executor = await site.start()
    await site.core.launch(occ_task("t1"), occ_task("t2"))
    await site.core.run("t1")
    pids = site.processes(executor)

    watch = Stopwatch()
    assert executor.stop() == 0
    watch.tell("SIGTERM to end")
    assert "tasks go on: 2" in executor.log_text()
    assert site.processes(executor) == pids

    await site.again(executor)
    await site.core.until(lambda: site.core.phase("t1") is Phase.ACTIVE and site.core.phase("t2") is Phase.ACTIVE)
    t1, t2 = site.core.tasks["t1"], site.core.tasks["t2"]
    assert (t1.state, t1.run, t1.pid) == (TaskState.RUNNING, 7, pids["t1"][0])
    assert (t2.state, t2.pid) == (TaskState.STANDBY, pids["t2"][0])

    await site.core.transit(TaskEvent.STOP, "t1")
    await site.core.kill("t1", "t2")
    assert site.processes(executor) == {}


async def test_the_end_of_what_a_task_wrote_can_be_read(site: Site) -> None:
    await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")

    whole = await site.core.read_output("t1", "stdout")
    end = await site.core.read_output("t1", "stdout", 10)
    nothing = await site.core.read_output("t9", "stdout")

    assert (whole.text, whole.truncated) == ("state STANDBY\nstate CONFIGURED\nstate RUNNING\n", False)
    assert end.truncated
    assert "state RUNNING\n".endswith(end.text)
    assert nothing.error


async def test_telemetry_takes_a_link_of_its_own_with_the_same_key(site: Site) -> None:
    await site.start()
    await site.core.launch(occ_task("t1"))
    await site.core.run("t1")
    await site.core.transit(TaskEvent.STOP, "t1")

    await site.core.until(lambda: any(task.metrics for told in site.core.telemetry for task in told.tasks))

    assert len(site.core.principals) == 1


# users


async def run_program(site: Site, name: str, user: str) -> None:
    site.core.send_launch(program(name, "exec sleep 1000", user=user))
    await site.core.until(lambda: site.core.phase(name) is Phase.ACTIVE)
    await site.core.run(name)


async def refused_program(site: Site, name: str, user: str) -> str:
    """Return why a program is not started."""
    site.core.send_launch(program(name, "exec sleep 1000", user=user))
    await site.core.until(lambda: site.core.phase(name) is Phase.ACTIVE)
    await site.core.transit(TaskEvent.CONFIGURE, name)
    (failure,) = await site.core.fail(TaskEvent.START, name, run_number="7")
    return failure.reason


@needs_root
async def test_nothing_runs_as_root_unless_root_was_named(site: Site) -> None:
    await site.start("--user", "nobody")

    await run_program(site, "b1", "")
    reason = await refused_program(site, "b2", "root")

    assert uid_of(await site.core.pid("b1")) == pwd.getpwnam("nobody").pw_uid
    assert "role w.b2 may not run as user root on n1" in reason
    assert "--allow-user root" in reason


@needs_root
async def test_a_user_that_was_allowed_may_be_named_and_another_one_not(site: Site) -> None:
    await site.start("--user", "nobody", "--allow-user", "daemon")

    await run_program(site, "b1", "daemon")

    assert uid_of(await site.core.pid("b1")) == pwd.getpwnam("daemon").pw_uid
    assert "user bin" in await refused_program(site, "b2", "bin")
    assert "no such user" in await refused_program(site, "b3", "nosuchuser")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder to which every user has access."""
    folder = Path(tempfile.mkdtemp(prefix="public", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@needs_root
async def test_controlled_tasks_of_another_user_go_on_over_a_kill(site: Site, public: Path) -> None:
    own = shutil.copy(recorder.build(), public / "recorder")
    command = Command(argv=(os.fspath(own),), environment={recorder.RECORD_DIR: os.fspath(public)})
    executor = await site.start("--user", "nobody")
    await site.core.launch(attrs.evolve(occ_task("t1"), command=command))
    await site.core.run("t1")
    pid = await site.core.pid("t1")
    executor.kill()

    await site.again(executor)
    await site.core.transit(TaskEvent.STOP, "t1")

    assert (site.core.tasks["t1"].pid, uid_of(pid)) == (pid, pwd.getpwnam("nobody").pw_uid)
    assert site.core.tasks["t1"].state is TaskState.CONFIGURED


@needs_root
async def test_an_executor_of_root_without_a_user_says_so(site: Site) -> None:
    executor = site.executor("--user", "root")
    executor.command = [word for word in executor.command if word not in ("--user", "root")]
    await site.again(executor)

    assert "role w.b1 names no user, and on n1 nothing runs as root" in await refused_program(site, "b1", "")


async def test_a_user_that_does_not_exist_is_an_error_at_the_start(site: Site) -> None:
    executor = site.executor("--user", "nosuchuser")
    executor.start()

    assert await executor.ended() == 9
    assert "there is no user 'nosuchuser' on n1" in executor.log_text()


# orphans, and what the last life left


async def test_tasks_end_by_themselves_when_no_executor_has_come_for_long(site: Site) -> None:
    executor = await site.start("--max-orphan-time", "250ms")
    await site.core.launch(occ_task("t1"))
    (pid,) = site.processes(executor)["t1"]

    executor.kill()
    await gone(pid)
    await site.again(executor)
    await site.core.until(lambda: site.core.phase("t1") is Phase.EXITED)

    exit = site.core.tasks["t1"].exit
    assert exit is not None
    assert exit.cause is ExitCause.ORPHANED


async def test_a_record_that_is_damaged_costs_no_task(site: Site) -> None:
    executor = await site.start()
    site.core.send_launch(program("b1", "exec sleep 1000"))
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)
    await site.core.run("b1")
    pids = site.processes(executor)
    executor.kill()
    with sqlite3.connect(executor.state / "state.sqlite") as db:
        changed = db.execute("UPDATE records SET value = ? WHERE tbl = 'task'", (b"\xc1",)).rowcount
    db.close()
    assert changed == 1

    await site.again(executor)
    await site.core.until(lambda: site.core.phase("b1") is Phase.ACTIVE)

    status = site.core.tasks["b1"]
    assert (status.state, [status.pid]) == (TaskState.RUNNING, pids["b1"])
    assert "record task/b1 cannot be read" in executor.log_text()
    await site.core.kill("b1")
    assert site.processes(executor) == {}


async def test_the_processes_of_before_a_restart_of_the_machine_are_nobodys(site: Site) -> None:
    """F33: the pid is somebody else's now. It is never signalled."""
    executor = await site.start()
    await site.core.launch(occ_task("t1"))
    executor.kill()
    folder = executor.state / "run" / "tasks" / "t1"
    shim = json.loads((folder / "pid").read_bytes())["shim_pid"]
    for pid in site.processes(executor)["t1"]:
        os.kill(pid, signal.SIGKILL)
    await gone(shim)  # it leaves a note of the end, which a machine that stops has no time for
    (folder / "exit.json").unlink()
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    stranger, start = process.pid, read_stat(process.pid)[1]  # type: ignore[index] # None fails the test
    try:
        (folder / "pid").write_text(
            f'{{"shim_pid": {stranger}, "shim_start": {start}, "task_pid": {stranger}, "task_start": {start}, '
            f'"boot_id": "00000000-0000-0000-0000-000000000000"}}\n'
        )
        await site.again(executor)
        await site.core.until(lambda: site.core.phase("t1") is Phase.EXITED)
        exit = site.core.tasks["t1"].exit
        assert exit is not None
        assert (exit.cause, exit.text) == (ExitCause.UNKNOWN, "the machine was restarted")

        await site.core.kill("t1")
        assert is_alive(stranger)
    finally:
        process.kill()
        await process.wait()
