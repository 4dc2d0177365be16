"""Tasks of a killed owner: adopted with their pids, ended in time, or reported and left alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from libecs.engine.effects import Adopt, Signal, Spawn
from libecs.io import procfs
from libecs.io.process import ShimSupervisor
from libecs.io.taskfolder import ShimOptions, TaskFolder
from libecs.wire.codec import pack_value
from libecs.wire.node import Exit, ExitCause, Phase
from tests.io.process.tasks import Inputs, Make, bystander, end, lines, loud, names, shell, shim_of, spec
from tests.processes import gone

pytestmark = pytest.mark.timeout(120)  # several processes are started, one after the other

# the lives before


PREDECESSOR = """
import asyncio, json, os, pathlib, sys
from libecs.engine.effects import ProcessStarted, Spawn
from libecs.io.process import ShimSupervisor
from libecs.io.taskfolder import ShimOptions
from libecs.wire.codec import unpack_value
from libecs.wire.node import TaskSpec

async def main():
    folder, shim, node, orphan_s = sys.argv[1:5]
    started = asyncio.Queue()
    supervisor = ShimSupervisor(
        started.put_nowait, instance="test", node=node, folder=pathlib.Path(folder), shim=pathlib.Path(shim),
        environment={"PATH": os.environ["PATH"]}, options=ShimOptions(orphan_s=float(orphan_s)),
    )
    for text in sys.argv[5:]:
        supervisor.spawn(Spawn(spec=unpack_value(TaskSpec, bytes.fromhex(text)), endpoint=""))
    pids = {}
    while len(pids) < len(sys.argv) - 5:
        input = await started.get()
        if isinstance(input, ProcessStarted):
            pids[input.task] = input.pid
    print(json.dumps(pids), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Predecessor:
    """Another process that owns the same folder, until it is killed."""

    def __init__(self, folder: Path, shim: Path, orphan_s: float, *spawns: Spawn) -> None:
        specs = [pack_value(spawn.spec).hex() for spawn in spawns]
        command = [sys.executable, "-c", PREDECESSOR, str(folder / "node"), str(shim), folder.name, str(orphan_s)]
        self.process = subprocess.Popen([*command, *specs], stdout=subprocess.PIPE)

    def pids(self) -> dict[str, int]:
        assert self.process.stdout is not None
        pids: dict[str, int] = json.loads(self.process.stdout.readline())
        return pids

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def test_tasks_of_a_killed_owner_are_adopted_with_their_pids_and_their_ends(
    inputs: Inputs, make: Make, folder: Path, shim: Path
) -> None:
    spawns = [shell("lives", "sleep 1000"), shell("dies", "sleep 1000; exit 4"), shell("alone", "sleep 1000")]
    spawns.append(shell("both", "sleep 1000"))
    predecessor = Predecessor(folder, shim, -1, *spawns)
    pids = await asyncio.to_thread(predecessor.pids)
    predecessor.kill()
    # While nobody owns them: one ends, one loses its shim, one loses both.
    alone = shim_of(folder, "alone")
    os.kill(alone, signal.SIGKILL)
    both = shim_of(folder, "both")
    os.kill(both, signal.SIGKILL)
    os.killpg(pids["both"], signal.SIGKILL)  # the shell and what it runs: nobody is left to end the rest
    shim_pid = shim_of(folder, "dies")
    os.kill(pids["dies"], signal.SIGKILL)
    for pid in (alone, shim_pid, both, pids["both"]):
        await gone(pid)

    supervisor = make()
    foreign = await supervisor.adopt()

    (adopt,) = inputs.all
    assert isinstance(adopt, Adopt)
    survivors = {survivor.spec.task: survivor for survivor in adopt.survivors}
    assert [survivors[spawn.spec.task].spec for spawn in spawns] == [spawn.spec for spawn in spawns]
    assert {task: survivor.pid for task, survivor in survivors.items()} == {
        "lives": pids["lives"],
        "alone": pids["alone"],
        "dies": 0,
        "both": 0,
    }
    assert survivors["lives"].phase is Phase.ACTIVE
    assert survivors["dies"].exit == Exit(cause=ExitCause.SIGNALED, signal=9)
    assert survivors["both"].exit is not None
    assert survivors["both"].exit.cause is ExitCause.UNKNOWN
    assert foreign == ()

    supervisor.signal(Signal(task="lives", number=signal.SIGTERM))
    assert (await inputs.ended("lives")).exit == Exit(cause=ExitCause.SIGNALED, signal=15)
    supervisor.signal(Signal(task="alone", number=signal.SIGTERM))
    assert (await inputs.ended("alone")).exit.cause is ExitCause.UNKNOWN
    await supervisor.close(stop=True)


async def test_tasks_of_a_killed_owner_end_when_their_time_is_over(
    folder: Path, shim: Path, inputs: Inputs, make: Make
) -> None:
    predecessor = Predecessor(folder, shim, 0.2, shell("t1", "sleep 1000"))
    pids = await asyncio.to_thread(predecessor.pids)
    shim_pid = shim_of(folder, "t1")

    predecessor.kill()
    await gone(shim_pid)

    supervisor = make()
    await supervisor.adopt()
    (adopt,) = inputs.all
    assert isinstance(adopt, Adopt)
    assert adopt.survivors[0].exit is not None
    assert adopt.survivors[0].exit.cause is ExitCause.ORPHANED
    assert procfs.read_stat(pids["t1"]) is None
    await supervisor.close(stop=True)


async def test_a_new_owner_in_time_stops_the_clock_of_orphans(
    folder: Path, shim: Path, inputs: Inputs, make: Make
) -> None:
    while True:
        predecessor = Predecessor(folder, shim, 2.0, shell("t1", "sleep 1000"))
        pids = await asyncio.to_thread(predecessor.pids)
        before = time.monotonic()
        predecessor.kill()
        supervisor = make()
        await supervisor.adopt()
        if time.monotonic() < before + 1.0:
            break
        await supervisor.close(stop=True)  # the machine stood still: nobody came in time
        inputs.all.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inputs.ended("t1"), 2.5)

    assert supervisor.running == {"t1": pids["t1"]}
    await supervisor.close(stop=True)


async def test_after_a_restart_of_the_machine_nobody_is_signalled(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    """A record of another boot, whose pids are those of bystanders."""
    other, identity = bystander()
    task = TaskFolder(folder / "node" / "tasks" / "t1")
    task.create(spec("t1", "/bin/true"), [], ShimOptions(), alive="../../alive")
    record = {
        **{"shim_pid": identity.pid, "shim_start": identity.start},
        **{"task_pid": identity.pid, "task_start": identity.start},
    }
    (task.path / "pid").write_text(json.dumps({**record, "boot_id": "another"}))

    await supervisor.adopt()
    supervisor.signal(Signal(task="t1", number=signal.SIGKILL))

    (adopt,) = inputs.all
    assert isinstance(adopt, Adopt)
    assert adopt.survivors[0].exit == Exit(cause=ExitCause.UNKNOWN, text="the machine was restarted")
    end(other)


@pytest.mark.parametrize("with_shim", [True, False])
@pytest.mark.parametrize("text", [None, b"", b'{"shim_pid": 1'])
async def test_a_task_whose_record_is_lost_is_found_by_its_marker(
    folder: Path, shim: Path, inputs: Inputs, make: Make, text: bytes | None, with_shim: bool
) -> None:
    predecessor = Predecessor(folder, shim, -1.0, shell("t1", "sleep 1000"))
    pids = await asyncio.to_thread(predecessor.pids)
    predecessor.kill()
    if not with_shim:
        os.kill(shim_of(folder, "t1"), signal.SIGKILL)
        await gone(shim_of(folder, "t1"))
    record = folder / "node" / "tasks" / "t1" / "pid"
    record.unlink()
    if text is not None:
        record.write_bytes(text)

    supervisor = make()
    await supervisor.adopt()

    assert supervisor.running == {"t1": pids["t1"]}
    os.kill(pids["t1"], signal.SIGTERM)
    ended = await inputs.ended("t1")
    assert (ended.exit.cause, ended.exit.signal) == (
        (ExitCause.SIGNALED, signal.SIGTERM) if with_shim else (ExitCause.UNKNOWN, 0)
    )
    await supervisor.close(stop=True)


async def test_a_folder_without_a_shim_was_never_started(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    task = TaskFolder(folder / "node" / "tasks" / "t1")
    task.create(spec("t1", "/bin/true"), [], ShimOptions(), alive="../../alive")
    (folder / "node" / "tasks" / "rubbish").mkdir()

    await supervisor.adopt()

    (adopt,) = inputs.all
    assert isinstance(adopt, Adopt)
    (survivor,) = adopt.survivors
    assert survivor.exit is not None
    assert survivor.exit.cause is ExitCause.NEVER_STARTED
    assert names(folder / "node" / "tasks") == ["t1"]


async def test_a_shim_that_has_not_spoken_yet_is_waited_for(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path, shim: Path
) -> None:
    """As if the owner died between starting the shim and its first words."""
    task = TaskFolder(folder / "node" / "tasks" / "t1")
    task.create(spec("t1", "/bin/sleep", "1000"), [], ShimOptions(), alive="../../alive")
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", 'read go; exec "$0" "$1"', shim, task.path, stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"go\n")

    await supervisor.adopt()

    (adopt,) = inputs.all
    assert isinstance(adopt, Adopt)
    assert adopt.survivors[0].pid > 0
    supervisor.signal(Signal(task="t1", number=signal.SIGKILL))
    await inputs.ended("t1")
    process.stdin.close()
    await process.wait()


async def test_tasks_whose_folder_is_gone_are_reported_and_left_alone(supervisor: ShimSupervisor, folder: Path) -> None:
    marker = {"ECS_TASK_ID": f"test/{folder.name}/lost"}
    stray, _ = bystander(marker)
    while not procfs.marked_processes(f"test/{folder.name}/"):
        await asyncio.sleep(0)

    (foreign,) = await supervisor.adopt()

    assert (foreign.task, foreign.pids) == ("lost", (stray.pid,))
    end(stray)


# nothing is left


async def test_what_a_task_leaves_whose_shim_was_killed_with_it_is_ended_by_the_next_owner(
    make: Make, inputs: Inputs, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    first.spawn(loud("t1", "sleep 1000 & setsid sleep 1000 & echo $(pgrep -P $$ sleep); wait", stdout="all"))
    pid = await inputs.started("t1")
    await inputs.until(lambda: bool(lines(inputs, "t1")))
    marker = f"test/{folder.name}/t1"
    others = [other for other in procfs.marked_processes(marker)[""] if other != pid]
    assert len(others) == 2
    await first.close(stop=False)
    for victim in (shim_of(folder, "t1"), pid):
        os.kill(victim, signal.SIGKILL)
        await gone(victim)
    inputs.all.clear()

    second = make()
    assert await second.adopt() == ()

    (adopted,) = [one for one in inputs.all if isinstance(one, Adopt)]
    assert adopted.survivors[0].exit == Exit(cause=ExitCause.UNKNOWN, text="its shim was killed before")
    for other in others:
        await gone(other)
    assert procfs.marked_processes(marker) == {}
    await second.close(stop=True)
