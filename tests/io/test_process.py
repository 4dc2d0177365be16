"""Real processes under real shims."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import attrs
import pytest
import pytest_asyncio

from libecs.engine.effects import (
    Adopt,
    Forget,
    Input,
    MakeFolder,
    Output,
    OutputTail,
    ProcessEnded,
    ProcessStarted,
    ReadTail,
    Signal,
    Spawn,
)
from libecs.errors import NotFound
from libecs.fsm import Mode
from libecs.io import procfs
from libecs.io.cgroups import Cgroups
from libecs.io.process import ShimSupervisor, clean_environment, find_shim
from libecs.io.procfs import ProcessId
from libecs.io.taskfolder import ShimOptions, TaskFolder
from libecs.wire.codec import pack_value
from libecs.wire.node import Command, Exit, ExitCause, Limits, Phase, TaskSpec

WAIT_S = 30


class Inputs:
    def __init__(self) -> None:
        self.all: list[Input] = []
        self._changed = asyncio.Event()

    def put(self, input: Input) -> None:
        self.all.append(input)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT_S)

    async def started(self, task: str) -> int:
        found: list[ProcessStarted] = []

        def look() -> bool:
            found[:] = [i for i in self.all if isinstance(i, ProcessStarted) and i.task == task]
            return bool(found)

        await self.until(look)
        return found[-1].pid

    async def ended(self, task: str) -> ProcessEnded:
        found: list[ProcessEnded] = []

        def look() -> bool:
            found[:] = [i for i in self.all if isinstance(i, ProcessEnded) and i.task == task]
            return bool(found)

        await self.until(look)
        return found[-1]


def spec(task: str, *argv: str, mode: Mode = Mode.HOOK, environment: Mapping[str, str] | None = None) -> TaskSpec:
    return TaskSpec(
        task=task,
        environment="e",
        role="r",
        class_name="c",
        mode=mode,
        critical=True,
        command=Command(argv=argv, environment=environment or {}),
    )


def shell(task: str, script: str, **others: object) -> Spawn:
    return Spawn(spec=spec(task, "/bin/sh", "-c", script, **others), endpoint="")  # type: ignore[arg-type]


@pytest.fixture
def inputs() -> Inputs:
    return Inputs()


Make = Callable[..., ShimSupervisor]


@pytest.fixture
def make(inputs: Inputs, folder: Path, shim: Path) -> Make:
    def make(**options: float) -> ShimSupervisor:
        return ShimSupervisor(
            inputs.put,
            instance="test",
            node=folder.name,
            folder=folder / "node",
            shim=shim,
            environment={"PATH": os.environ["PATH"]},
            options=ShimOptions(**options),  # type: ignore[arg-type]
        )

    return make


@pytest_asyncio.fixture
async def supervisor(make: Make) -> AsyncIterator[ShimSupervisor]:
    supervisor = make()
    yield supervisor
    await supervisor.close(stop=True)


def shim_of(folder: Path, task: str) -> int:
    record = TaskFolder(folder / "node" / "tasks" / task).read_pid()
    assert record is not None
    return record.shim.pid


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bystander(environment: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[bytes], ProcessId]:
    process = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
    stat = procfs.read_stat(process.pid)
    assert stat is not None
    return process, ProcessId(process.pid, stat[1])


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None
    process.kill()
    process.wait()


async def gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), WAIT_S)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def lines(inputs: Inputs, task: str) -> list[tuple[str, str]]:
    outputs = [one for one in inputs.all if isinstance(one, Output) and one.task == task]
    return [(line.stream, line.text) for output in outputs for line in output.lines]


def loud(task: str, script: str, **wishes: str) -> Spawn:
    command = Command(argv=("/bin/sh", "-c", script), **wishes)  # type: ignore[arg-type]
    return Spawn(spec=attrs.evolve(spec(task), command=command), endpoint="")


# starting and ending


async def test_a_task_starts_and_ends_with_its_code_its_last_words_and_its_output(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(shell("t1", "echo head; echo trouble >&2; exit 3"))

    ended = await inputs.ended("t1")

    assert ended.exit == Exit(cause=ExitCause.EXITED, code=3)
    assert (ended.last_log, ended.output) == ("trouble", "head\n")
    assert isinstance(inputs.all[0], ProcessStarted)
    assert len(inputs.all) == 2


async def test_a_controlled_task_keeps_its_output_for_itself(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(shell("t1", "echo words", mode=Mode.DIRECT))

    ended = await inputs.ended("t1")

    assert (ended.output, ended.last_log) == ("", "words")


async def test_a_program_that_does_not_exist_is_a_failed_launch_that_says_so(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(Spawn(spec=spec("t1", "/no/such/program"), endpoint=""))

    ended = await inputs.ended("t1")

    assert ended.exit.cause is ExitCause.LAUNCH_FAILED
    assert "/no/such/program" in ended.exit.text
    assert inputs.all == [ended]


async def test_a_task_whose_id_is_no_name_of_a_folder_is_not_launched(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(Spawn(spec=spec("../../etc", "/bin/true"), endpoint=""))

    assert (await inputs.ended("../../etc")).exit.cause is ExitCause.LAUNCH_FAILED


async def test_a_nul_in_an_argument_is_a_failed_launch(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(Spawn(spec=spec("t1", "/bin/echo", "a\0user=root"), endpoint=""))

    assert "NUL" in (await inputs.ended("t1")).exit.text


async def test_without_a_shim_nothing_starts_and_everybody_is_told(
    inputs: Inputs, folder: Path, make: Make, tmp_path: Path
) -> None:
    supervisor = make()
    supervisor._shim = str(tmp_path / "missing")
    supervisor.spawn(shell("t1", "true"))

    ended = await inputs.ended("t1")

    assert ended.exit.cause is ExitCause.LAUNCH_FAILED
    assert "No such file" in ended.exit.text
    await supervisor.close(stop=True)


async def test_a_task_gets_its_own_environment_the_endpoint_and_its_marker(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    effect = Spawn(spec=spec("t1", "/usr/bin/env", environment={"A": "1 2"}), endpoint="ipc:///x")
    supervisor.spawn(effect)

    lines = (await inputs.ended("t1")).output.splitlines()

    assert sorted(lines) == [
        "A=1 2",
        f"ECS_TASK_ID=test/{folder.name}/t1",
        "OCC_CONTROL_ENDPOINT=ipc:///x",
        f"PATH={os.environ['PATH']}",
    ]


async def test_a_task_inherits_no_descriptor(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)
    supervisor.spawn(shell("t1", "exec ls /proc/self/fd"))

    output = (await inputs.ended("t1")).output

    assert output.split() == ["0", "1", "2", "3"]  # 3 is what ls reads
    os.close(secret)


async def test_what_a_task_has_when_it_ends_at_once_is_said_in_order(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    for i in range(30):
        supervisor.spawn(Spawn(spec=spec(f"t{i}", "/bin/true"), endpoint=""))
    for i in range(30):
        await inputs.ended(f"t{i}")

    for i in range(30):
        kinds = [type(input) for input in inputs.all if getattr(input, "task", "") == f"t{i}"]
        assert kinds == [ProcessStarted, ProcessEnded]


async def test_a_launch_that_is_repeated_has_no_second_effect(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    supervisor.spawn(shell("t1", "sleep 1000"))
    supervisor.spawn(shell("t2", "true"))
    await inputs.ended("t2")

    assert supervisor.running == {"t1": pid}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")
async def test_a_task_of_another_user_can_bind_its_socket_and_see_no_other(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    sockets = folder / "s"
    sockets.mkdir(mode=0o700)
    supervisor._socket_folder = sockets
    endpoint = f"ipc://{sockets}/t1"
    script = 'id -un; path=${OCC_CONTROL_ENDPOINT#ipc://}; : > "$path" && ! ls "${path%/*}" 2> /dev/null'
    base = spec("t1", "/bin/sh", "-c", script)
    base = attrs.evolve(base, command=attrs.evolve(base.command, user="nobody"), endpoint=endpoint)

    supervisor.spawn(Spawn(spec=base, endpoint=endpoint))

    ended = await inputs.ended("t1")
    assert (ended.exit.code, ended.output) == (0, "nobody\n")
    assert names(sockets) == ["t1"]
    supervisor.forget(Forget(task="t1"))
    assert names(sockets) == []


async def test_a_user_that_does_not_exist_is_a_failed_launch(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    base = spec("t1", "/bin/true")
    base = attrs.evolve(base, command=attrs.evolve(base.command, user="nobody-of-that-name"))

    supervisor.spawn(Spawn(spec=base, endpoint=""))

    ended = await inputs.ended("t1")
    assert ended.exit.cause is ExitCause.LAUNCH_FAILED
    assert "nobody-of-that-name" in ended.exit.text


# signals


async def test_a_signal_reaches_the_whole_group_and_is_the_cause(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "sleep 1000 & echo $!; wait"))
    pid = await inputs.started("t1")
    child = await first_line(folder / "node" / "tasks" / "t1" / "stdout")

    supervisor.signal(Signal(task="t1", number=signal.SIGTERM))

    assert (await inputs.ended("t1")).exit == Exit(cause=ExitCause.SIGNALED, signal=signal.SIGTERM)
    await gone(int(child))
    assert not ProcessId(pid, 0).is_alive()


async def first_line(path: Path) -> str:
    """Wait for a line in a file: the only thing here that has no descriptor to wait on."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text()  # noqa: ASYNC240 - a small file on a local disk
            if "\n" in text:
                return text.splitlines()[0]
        await asyncio.sleep(0.005)


async def test_a_signal_for_a_task_that_is_gone_goes_nowhere(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.signal(Signal(task="never", number=signal.SIGKILL))
    supervisor.spawn(shell("t1", "true"))
    await inputs.ended("t1")

    supervisor.signal(Signal(task="t1", number=signal.SIGKILL))


async def test_a_signal_that_the_kernel_refuses_is_logged_and_stops_nobody(
    supervisor: ShimSupervisor, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.spawn(shell("t1", "exec sleep 1000"))
    await inputs.started("t1")

    supervisor.signal(Signal(task="t1", number=9999))

    assert "task t1 cannot be sent signal 9999: Invalid argument" in caplog.text
    assert "t1" in supervisor.running


async def test_a_foreign_process_of_the_same_pid_is_never_signalled(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    other, identity = bystander()
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    supervisor._children["t1"].process = ProcessId(other.pid, identity.start - 1)  # as after a reuse of the pid

    supervisor.signal(Signal(task="t1", number=signal.SIGKILL))

    end(other)
    os.kill(pid, signal.SIGKILL)
    await inputs.ended("t1")


# forgetting


async def test_forget_removes_folder_and_socket_and_the_task_can_be_started_again(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    for round in range(2):
        inputs.all.clear()
        supervisor.spawn(shell("t1", f"exit {round}"))
        assert (await inputs.ended("t1")).exit.code == round
        supervisor.forget(Forget(task="t1"))
        assert names(folder / "node" / "tasks") == []
    supervisor.forget(Forget(task="t1"))


async def test_forget_and_spawn_in_one_breath_start_the_task_anew(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    old = await inputs.started("t1")
    inputs.all.clear()

    supervisor.forget(Forget(task="t1"))
    supervisor.spawn(shell("t1", "echo new"))

    assert (await inputs.ended("t1")).output == "new\n"
    assert len(inputs.all) == 2  # nothing is said of the old one
    await gone(old)


async def test_forget_before_the_launch_cancels_it(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(shell("t1", "true"))
    supervisor.forget(Forget(task="t1"))
    supervisor.spawn(shell("t2", "true"))
    await inputs.ended("t2")

    assert {getattr(input, "task", "") for input in inputs.all} == {"t2"}


# death of a shim


async def test_when_its_shim_is_killed_a_task_lives_on_and_its_end_is_seen(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    shim_pid = shim_of(folder, "t1")
    os.kill(shim_pid, signal.SIGKILL)
    await gone(shim_pid)
    while supervisor._children["t1"].process_fd < 0:
        await asyncio.sleep(0)
    os.kill(pid, 0)

    supervisor.signal(Signal(task="t1", number=signal.SIGTERM))

    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN
    await gone(pid)


async def test_what_a_task_without_a_shim_leaves_behind_is_ended_with_it(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "setsid sleep 1000 & echo $!; exec sleep 1000"))
    pid = await inputs.started("t1")
    child = int(await first_line(folder / "node" / "tasks" / "t1" / "stdout"))
    os.kill(shim_of(folder, "t1"), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    await inputs.ended("t1")
    await gone(child)


async def test_shim_and_task_killed_at_once_are_an_end_that_nobody_saw(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(shell("t1", "sleep 1000"))
    pid = await inputs.started("t1")
    os.kill(pid, signal.SIGSTOP)  # so that the shim can't see it die
    os.kill(shim_of(folder, "t1"), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN


async def test_a_shim_killed_before_it_started_anything_is_a_failed_launch(
    inputs: Inputs, make: Make, tmp_path: Path
) -> None:
    supervisor = make()
    fake = tmp_path / "shim"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    supervisor._shim = str(fake)
    supervisor.spawn(shell("t1", "true"))

    exit = (await inputs.ended("t1")).exit

    assert exit.cause is ExitCause.LAUNCH_FAILED
    assert "shim was killed" in exit.text
    await supervisor.close(stop=True)


async def test_a_task_whose_shim_could_not_say_its_pid_is_found_by_its_marker(
    inputs: Inputs, make: Make, folder: Path, tmp_path: Path
) -> None:
    supervisor = make()
    fake = tmp_path / "shim"
    fake.write_text(
        f"#!/bin/sh\nexport ECS_TASK_ID=test/{folder.name}/t1\n"
        "setsid sleep 1000 >/dev/null </dev/null & until grep -aq 1000 /proc/$!/cmdline; do :; done; kill -9 $$\n"
    )
    fake.chmod(0o755)
    supervisor._shim = str(fake)
    supervisor.spawn(shell("t1", "true"))

    pid = await inputs.started("t1")

    os.kill(pid, signal.SIGKILL)
    assert (await inputs.ended("t1")).exit.cause is ExitCause.UNKNOWN
    await supervisor.close(stop=True)


# the end of a supervisor


async def test_closing_leaves_no_process_and_no_file(inputs: Inputs, make: Make, folder: Path) -> None:
    supervisor = make(term_s=0.2, int_s=0.2)
    supervisor.spawn(shell("polite", "sleep 1000"))
    supervisor.spawn(shell("stubborn", "trap '' TERM INT; echo deaf; while :; do sleep 1000; done"))
    supervisor.spawn(shell("alone", "sleep 1000"))
    pids = [await inputs.started(task) for task in ("polite", "stubborn", "alone")]
    await first_line(folder / "node" / "tasks" / "stubborn" / "stdout")
    os.kill(shim_of(folder, "alone"), signal.SIGKILL)

    await supervisor.close(stop=True)

    for pid in pids:
        stat = procfs.read_stat(pid)
        assert stat is None or stat[0] == "Z"  # an orphan of ours, if there is no init that reaps
    assert names(folder) == []
    assert procfs.marked_processes(f"test/{folder.name}/") == {}


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
    os.kill(shim_of(folder, "alone"), signal.SIGKILL)
    both = shim_of(folder, "both")
    os.kill(both, signal.SIGKILL)
    os.killpg(pids["both"], signal.SIGKILL)  # the shell and what it runs: nobody is left to end the rest
    shim_pid = shim_of(folder, "dies")
    os.kill(pids["dies"], signal.SIGKILL)
    for pid in (shim_pid, both, pids["both"]):
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
    predecessor = Predecessor(folder, shim, 1.0, shell("t1", "sleep 1000"))
    pids = await asyncio.to_thread(predecessor.pids)
    predecessor.kill()

    supervisor = make()
    await supervisor.adopt()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inputs.ended("t1"), 1.5)

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


# small things


def test_what_changes_the_code_that_is_loaded_is_not_inherited() -> None:
    environment = {"LD_PRELOAD": "x", "PYTHONPATH": "x", "ECS_TASK_ID": "x", "NOTIFY_SOCKET": "x", "HOME": "/h"}

    assert clean_environment({**environment, "BAD": "a\nb"}) == {"HOME": "/h"}


def test_the_shim_is_looked_for_where_the_user_says_then_in_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECS_SHIM", "/somewhere/ecs-shim")
    assert find_shim() == Path("/somewhere/ecs-shim")

    monkeypatch.delenv("ECS_SHIM")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("libecs.io.process.resources.files", lambda _: tmp_path)
    with pytest.raises(NotFound, match="not installed"):
        find_shim()

    (tmp_path / "ecs-shim").write_text("#!/bin/sh\n")
    (tmp_path / "ecs-shim").chmod(0o755)
    assert find_shim() == tmp_path / "ecs-shim"


# outputs and folders


async def test_all_that_a_task_wrote_is_told_before_its_end(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    script = "for i in 1 2 3; do echo line $i; done; echo trouble >&2; printf rest; exit 3"
    supervisor.spawn(loud("t1", script, stdout="all", stderr="stdout"))

    await inputs.ended("t1")

    assert isinstance(inputs.all[-1], ProcessEnded)
    assert sorted(lines(inputs, "t1")) == [
        ("stderr", "trouble"),
        *(("stdout", f"line {i}") for i in (1, 2, 3)),
        ("stdout", "rest"),
    ]


async def test_a_task_that_goes_on_is_heard_while_it_does(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(loud("t1", "echo now; exec sleep 1000", stdout="all"))

    await inputs.until(lambda: lines(inputs, "t1") == [("stdout", "now")])

    supervisor.signal(Signal(task="t1", number=signal.SIGKILL))
    await inputs.ended("t1")


async def test_what_nobody_wants_to_see_is_kept_and_not_told(supervisor: ShimSupervisor, inputs: Inputs) -> None:
    supervisor.spawn(loud("t1", "echo quiet; echo trouble >&2", stderr="all"))

    ended = await inputs.ended("t1")

    assert lines(inputs, "t1") == [("stderr", "trouble")]
    assert ended.output == "quiet\n"


async def test_what_an_adopted_task_writes_from_now_on_is_told(make: Make, inputs: Inputs, folder: Path) -> None:
    first = make()
    go = folder / "go"
    os.mkfifo(go)
    first.spawn(loud("t1", f"echo before; read x < {go}; echo after", stdout="all"))
    await inputs.until(lambda: lines(inputs, "t1") == [("stdout", "before")])
    await first.close(stop=False)
    inputs.all.clear()

    second = make()
    await second.adopt()
    await asyncio.to_thread(go.write_text, "go\n")
    await inputs.ended("t1")

    assert lines(inputs, "t1") == [("stdout", "after")]
    await second.close(stop=True)


async def test_the_end_of_what_a_task_wrote_is_read_while_it_runs_and_after(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(shell("t1", "echo one; echo two; echo trouble >&2; read line < /dev/null; exit 0"))
    await inputs.ended("t1")
    inputs.all.clear()

    supervisor.read_tail(ReadTail(id="a", task="t1", stream="stdout", bytes=5))
    supervisor.read_tail(ReadTail(id="b", task="t1", stream="stderr", bytes=1000))
    supervisor.read_tail(ReadTail(id="c", task="t1", stream="../pid", bytes=1000))
    supervisor.read_tail(ReadTail(id="d", task="../t1", stream="stdout", bytes=1000))
    supervisor.read_tail(ReadTail(id="e", task="t2", stream="stdout", bytes=1000))

    a, b, *others = inputs.all
    assert a == OutputTail(id="a", task="t1", text="two\n", truncated=True)
    assert b == OutputTail(id="b", task="t1", text="trouble\n")
    assert [other.error for other in others if isinstance(other, OutputTail)] == [
        "nothing is kept of ../pid of task t1",
        "nothing is kept of stdout of task ../t1",
        "nothing is kept of stdout of task t2",
    ]


async def test_a_stream_that_cannot_be_read_is_told(supervisor: ShimSupervisor, inputs: Inputs, folder: Path) -> None:
    supervisor.spawn(shell("t1", "exit 0"))
    await inputs.ended("t1")
    stream = folder / "node" / "tasks" / "t1" / "stdout"
    stream.unlink(missing_ok=True)
    stream.mkdir()

    supervisor.read_tail(ReadTail(id="a", task="t1", stream="stdout", bytes=5))

    answer = inputs.all[-1]
    assert isinstance(answer, OutputTail)
    assert answer.error == "stdout of task t1 cannot be read: Is a directory"


async def test_the_folder_of_a_run_is_made_with_its_parents(
    supervisor: ShimSupervisor, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.make_folder(MakeFolder(str(folder / "runs" / "7")))
    supervisor.make_folder(MakeFolder(str(folder / "runs" / "7")))
    assert (folder / "runs" / "7").is_dir()

    (folder / "file").write_text("")
    supervisor.make_folder(MakeFolder(str(folder / "file" / "7")))
    assert "cannot be made: Not a directory" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has tasks of other users")
async def test_tasks_of_other_users_may_write_to_the_folder_of_a_run(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(loud("t1", "exec sleep 1000", user="nobody"))
    await inputs.started("t1")

    supervisor.make_folder(MakeFolder(str(folder / "runs" / "7")))

    assert (folder / "runs" / "7").stat().st_mode & 0o7777 == 0o1777


# limits


def limited(task: str, limits: Limits, *argv: str) -> Spawn:
    return Spawn(spec=attrs.evolve(spec(task, *argv), limits=limits), endpoint="")


async def test_without_control_groups_a_limit_of_memory_is_one_of_each_process(
    supervisor: ShimSupervisor, inputs: Inputs
) -> None:
    supervisor.spawn(limited("t1", Limits(memory_mb=300), "/bin/sh", "-c", "ulimit -d"))
    hungry = "x = bytearray(400_000_000)"
    supervisor.spawn(limited("t2", Limits(memory_mb=300), sys.executable, "-c", hungry))
    supervisor.spawn(limited("t3", Limits(memory_mb=600), sys.executable, "-c", hungry))

    assert (await inputs.ended("t1")).output == f"{300 * 1024}\n"
    ended = await inputs.ended("t2")
    assert ended.last_log == "MemoryError"
    assert ended.exit.code == 1
    assert ended.exit.text.startswith("its memory limit is 300 MB, it had used ")
    assert "exited with code 1 (its memory limit is 300 MB" in ended.exit.describe()
    assert (await inputs.ended("t3")).exit == Exit(cause=ExitCause.EXITED)


async def test_limits_of_cpu_that_are_not_enforced_are_told_once(
    supervisor: ShimSupervisor, inputs: Inputs, caplog: pytest.LogCaptureFixture
) -> None:
    for task in ("t1", "t2"):
        supervisor.spawn(limited(task, Limits(cpu=0.5), "true"))
        await inputs.ended(task)

    assert caplog.text.count("not enforced") == 1


async def test_with_control_groups_limits_are_theirs(
    inputs: Inputs, folder: Path, shim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel's part is played by plain files, as not every machine lets us have the controllers."""
    groups = folder / "groups"
    groups.mkdir()
    supervisor = ShimSupervisor(
        inputs.put,
        instance="test",
        node="n1",
        folder=folder / "node",
        shim=shim,
        environment={"PATH": os.environ["PATH"]},
        cgroups=Cgroups(groups, "ecs test/n1"),
    )
    group = groups / "ecs_test_n1" / "t1"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")

    supervisor.spawn(limited("t1", Limits(memory_mb=64, cpu=0.5), "/bin/sh", "-c", "kill -9 $$"))
    ended = await inputs.ended("t1")

    assert ended.exit.describe() == "killed by signal 9 (it was over its memory limit of 64 MB)"
    assert (group / "cgroup.procs").read_text() == "0"
    assert (group / "memory.max").read_text() == str(64 * 1024 * 1024)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "memory.swap.max").read_text() == "0"
    await supervisor.close(stop=True)


async def test_a_control_group_that_cannot_be_made_leaves_resource_limits(
    inputs: Inputs, folder: Path, shim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = ShimSupervisor(
        inputs.put,
        instance="test",
        node="n1",
        folder=folder / "node",
        shim=shim,
        environment={"PATH": os.environ["PATH"]},
        cgroups=Cgroups(folder / "nowhere", "n1"),
    )

    supervisor.spawn(limited("t1", Limits(memory_mb=300), "/bin/sh", "-c", "ulimit -d"))

    assert (await inputs.ended("t1")).output == f"{300 * 1024}\n"
    assert "no control group for task t1" in caplog.text
    await supervisor.close(stop=True)


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
