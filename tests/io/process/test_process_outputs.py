"""What tasks write is told and kept; folders of runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from libecs.engine.effects import MakeFolder, OutputTail, ProcessEnded, ReadTail, Signal
from libecs.io.process import ShimSupervisor
from tests.io.process.tasks import Inputs, Make, lines, loud, shell


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
    supervisor.make_folder(MakeFolder(str(folder / "file" / "8")))  # where the last one could not be made
    (told,) = caplog.records
    assert "cannot be made: Not a directory" in told.getMessage()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has tasks of other users")
async def test_tasks_of_other_users_may_write_to_the_folder_of_a_run(
    supervisor: ShimSupervisor, inputs: Inputs, folder: Path
) -> None:
    supervisor.spawn(loud("t1", "exec sleep 1000", user="nobody"))
    await inputs.started("t1")

    supervisor.make_folder(MakeFolder(str(folder / "runs" / "7")))

    assert (folder / "runs" / "7").stat().st_mode & 0o7777 == 0o1777
