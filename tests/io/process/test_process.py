"""Real processes under real shims: how they start, are signalled, end and are forgotten."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs
import pytest

from libecs.engine.effects import Forget, ProcessEnded, ProcessStarted, Signal, Spawn
from libecs.errors import NotFound
from libecs.fsm import Mode
from libecs.io.process import ShimSupervisor, clean_environment, find_shim
from libecs.io.procfs import ProcessId
from libecs.wire.node import Exit, ExitCause
from tests.io.process.tasks import Inputs, Make, bystander, end, first_line, names, shell, spec
from tests.processes import gone

pytestmark = pytest.mark.timeout(120)

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
