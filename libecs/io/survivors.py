"""Find out what is true of a task that an earlier owner of its folder left."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import attrs

from libecs.engine.effects import Survivor
from libecs.errors import DecodeError
from libecs.io.procfs import ProcessId, boot_id, marked_processes, processes_with_arguments, read_stat
from libecs.io.taskfolder import PidRecord, TaskFolder
from libecs.wire.node import Exit, ExitCause, Phase, TaskSpec

logger = logging.getLogger(__name__)

_FIRST_WORDS_S = 5.0
"""How long a shim that was starting when its owner died is given to say its pid."""


@attrs.frozen(kw_only=True)
class Found:
    """One task that was left."""

    folder: TaskFolder
    spec: TaskSpec
    shim: int = 0
    shim_fd: int = -1
    """pidfd of the shim if it lives; whoever gets this closes it."""
    process: ProcessId | None = None
    exit: Exit | None = None
    """How it ended, if it has."""

    def survivor(self) -> Survivor:
        """Return what the engine hears of it."""
        ended = self.exit is not None
        return Survivor(
            spec=self.spec,
            phase=Phase.EXITED if ended else Phase.ACTIVE,
            pid=0 if ended or self.process is None else self.process.pid,
            exit=self.exit,
            last_log=self.folder.last_log() if ended else "",
        )


async def look(path: Path, prefix: str) -> Found | None:
    """Return what is true of the task of a folder; None if it is no folder of a task: then it is removed.

    `prefix`: what the markers of this node's tasks begin with.
    """
    folder = TaskFolder(path)
    try:
        spec = folder.read_spec()
    except (DecodeError, OSError) as error:
        logger.warning("%s is no folder of a task and is removed: %s", path, error)
        if not processes_with_arguments(os.fspath(path)):
            folder.remove()
        return None
    record = await _first_words(folder, prefix + spec.task)
    exit = folder.read_exit()
    if exit is not None:
        return Found(folder=folder, spec=spec, exit=exit)
    if record is None:
        if (process := _marked(prefix + spec.task)) is not None:
            return _without_record(folder, spec, process)
        exit = Exit(cause=ExitCause.NEVER_STARTED, text="its executor ended while it was launched")
        return Found(folder=folder, spec=spec, exit=exit)
    if record.boot_id != boot_id():
        exit = Exit(cause=ExitCause.UNKNOWN, text="the machine was restarted")
        return Found(folder=folder, spec=spec, exit=exit)
    fd = record.shim.open()
    if fd is None:
        exit = folder.read_exit()  # it may have ended just now
        if exit is None and not record.task.is_alive():
            exit = Exit(cause=ExitCause.UNKNOWN, text="its shim was killed before")
    return Found(
        folder=folder,
        spec=spec,
        shim=record.shim.pid,
        shim_fd=-1 if fd is None else fd,
        process=record.task,
        exit=exit,
    )


def _marked(marker: str) -> ProcessId | None:
    """Return the process that carries a task's marker; of several the leader of their session."""
    for pid in marked_processes(marker).get("", ()):
        if (found := read_stat(pid)) is not None and found[0] != "Z":
            return ProcessId(pid, found[1])
    return None


def _without_record(folder: TaskFolder, spec: TaskSpec, process: ProcessId) -> Found:
    """Return a task that runs, though what its shim has written of it is lost."""
    logger.warning("what the shim of task %s wrote is lost; it is process %d by its marker", spec.task, process.pid)
    for pid in processes_with_arguments(os.fspath(folder.path)):
        if (found := read_stat(pid)) is not None:
            shim = ProcessId(pid, found[1])
            if (fd := shim.open()) is not None:
                return Found(folder=folder, spec=spec, shim=pid, shim_fd=fd, process=process)
    return Found(folder=folder, spec=spec, process=process)


async def _first_words(folder: TaskFolder, marker: str) -> PidRecord | None:
    """Return the shim's record; wait for it while a shim is there that has not written it yet."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _FIRST_WORDS_S
    while (record := folder.read_pid()) is None and folder.read_exit() is None:
        if loop.time() > give_up or _marked(marker) or not processes_with_arguments(os.fspath(folder.path)):
            return folder.read_pid()
        await asyncio.sleep(0.01)  # a start-up path: no descriptor tells of a file of a shim that is not our child
    return record
