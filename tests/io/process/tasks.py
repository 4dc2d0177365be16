"""Tasks of a few lines of shell, and what a supervisor tells of them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from libecs.engine.effects import Output, ProcessEnded, ProcessStarted, Spawn
from libecs.fsm import Mode
from libecs.io import procfs
from libecs.io.process import ShimSupervisor
from libecs.io.procfs import ProcessId
from libecs.io.taskfolder import TaskFolder
from libecs.wire.node import Command, TaskSpec
from tests.io import inputs


class Inputs(inputs.Inputs):
    """Those of a supervisor."""

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


Make = Callable[..., ShimSupervisor]


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


def lines(inputs: Inputs, task: str) -> list[tuple[str, str]]:
    outputs = [one for one in inputs.all if isinstance(one, Output) and one.task == task]
    return [(line.stream, line.text) for output in outputs for line in output.lines]


def loud(task: str, script: str, **wishes: str) -> Spawn:
    command = Command(argv=("/bin/sh", "-c", script), **wishes)  # type: ignore[arg-type]
    return Spawn(spec=attrs.evolve(spec(task), command=command), endpoint="")


async def first_line(path: Path) -> str:
    """Wait for a line in a file: the only thing here that has no descriptor to wait on."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text()  # noqa: ASYNC240 - a small file on a local disk
            if "\n" in text:
                return text.splitlines()[0]
        await asyncio.sleep(0.005)
