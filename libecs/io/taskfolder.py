"""The folder of one task on disk: what `ecs-shim` reads and writes, and what a later executor finds.

spec.bin    what the shim is to do, see shim/spec.h
task.bin    the TaskSpec, for whoever adopts the task
alive       link to the FIFO of the node, whose write end the owner holds
pid         written by the shim: its own pid, the task's, their start times, the boot id
exit.json   written by the shim at the end
stdout, stderr
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from libecs.engine import lines
from libecs.errors import DecodeError
from libecs.io.cgroups import MIB
from libecs.io.procfs import ProcessId
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.node import Exit, ExitCause, TaskSpec

OUTPUT_CAP_BYTES = 16 * 1024 * 1024
"""Each of stdout and stderr is cut when it becomes longer."""
MAX_OUTPUT_BYTES = 64 * 1024
MAX_LOG_LINE = 500
MAX_TAIL_BYTES = 1024 * 1024
"""What is read of a stream at once, for whoever asks for its end."""

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@attrs.frozen(kw_only=True)
class PidRecord:
    """What the shim says when the task runs."""

    shim: ProcessId
    task: ProcessId
    boot_id: str


@attrs.frozen(kw_only=True)
class ShimOptions:
    """What the shim is told beside the command."""

    orphan_s: float = -1.0
    """Seconds that the task outlives its owner; -1 = for ever."""
    term_s: float = 2.0
    int_s: float = 3.0
    output_cap_bytes: int = OUTPUT_CAP_BYTES
    open_files: tuple[int, int] | None = None
    """Soft and hard limit on open files, where they differ from the executor's own."""


@attrs.frozen
class TaskFolder:
    """One task's folder. Nothing here waits or keeps anything in memory."""

    path: Path

    @staticmethod
    def is_name(task: str) -> bool:
        """Whether a task id can be the name of a folder."""
        return _TASK_ID.fullmatch(task) is not None

    def create(
        self,
        spec: TaskSpec,
        environment: Iterable[tuple[str, str]],
        options: ShimOptions,
        *,
        alive: str,
        cgroup: str = "",
    ) -> None:
        """Make the folder with all that a shim needs.

        Args:
            spec: of the task.
            environment: of the task.
            options: for the shim.
            alive: the FIFO, relative to the folder.
            cgroup: folder of the control group that enforces the task's limits; "" = resource limits do.

        Raises:
            ValueError: an argument or a variable holds a NUL.
            OSError: it exists, or cannot be written.
        """
        text = shim_spec(spec, environment, options, cgroup)
        os.mkdir(self.path, 0o700)
        _write(self.path / "task.bin", pack_value(spec))
        _write(self.path / "spec.bin", text)
        os.symlink(alive, self.path / "alive")

    def remove(self) -> None:
        """Remove the folder and the task's control socket."""
        with contextlib.suppress(DecodeError, OSError):
            endpoint = self.read_spec().endpoint
            if endpoint.startswith("ipc://"):
                os.unlink(endpoint.removeprefix("ipc://"))
        shutil.rmtree(self.path, ignore_errors=True)

    def read_spec(self) -> TaskSpec:
        """Return the TaskSpec. Raises DecodeError, OSError."""
        return unpack_value(TaskSpec, (self.path / "task.bin").read_bytes())

    def read_pid(self) -> PidRecord | None:
        """Return what the shim said of the pids; None if it did not yet."""
        try:
            return parse_pid_record((self.path / "pid").read_bytes())
        except FileNotFoundError:
            return None

    def read_exit(self) -> Exit | None:
        """Return how the task ended; None if the shim left no note."""
        try:
            note = json.loads((self.path / "exit.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return Exit(cause=ExitCause.UNKNOWN, text="exit.json cannot be read")
        exit = exit_of_note(note)
        if exit.cause in (ExitCause.SIGNALED, ExitCause.EXITED) and (exit.code or exit.signal):
            with contextlib.suppress(DecodeError, OSError):
                exit = attrs.evolve(exit, text=memory_note(self.read_spec(), note))
        return exit

    def last_log(self) -> str:
        """Return the last line with text of stderr, else of stdout, else ""; fit for a terminal."""
        for name in ("stderr", "stdout"):
            texts = _tail(self.path / name, 8192).decode("utf-8", "replace").split("\n")
            for line in reversed(texts):
                if clean := clean_line(line):
                    return clean
        return ""

    def tail(self, stream: str, size: int) -> tuple[str, bool]:
        """Return the last `size` bytes of a stream, from the begin of a line, and whether something is before them.

        At most 1 MiB, fit for a terminal. A single line that is longer is cut. Raises OSError.
        """
        size = max(1, min(size, MAX_TAIL_BYTES))
        with open(self.path / stream, "rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(max(0, begin - 1))
            data = file.read(size + min(begin, 1))
        if begin:
            before, data = data[:1], data[1:]
            if before != b"\n":
                _, newline, rest = data.partition(b"\n")
                data = rest if newline and rest else data
        text = "\n".join(lines.clean(line) for line in data.decode("utf-8", "replace").split("\n"))
        return text, begin > 0

    def output(self) -> str:
        """Return the head of stdout, at most 64 KiB."""
        try:
            with open(self.path / "stdout", "rb") as file:
                return file.read(MAX_OUTPUT_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


def memory_note(spec: TaskSpec, note: Mapping[str, Any]) -> str:
    """Return what can be said of the memory of a limited task that ended badly; why it ended, it knows best."""
    limit, used = spec.limits.memory_mb, note.get("max_rss_kb")
    if limit <= 0 or not isinstance(used, int):
        return ""
    return f"its memory limit is {limit:g} MB, it had used {used / 1024:.0f} MB at most"


def shim_spec(spec: TaskSpec, environment: Iterable[tuple[str, str]], options: ShimOptions, cgroup: str = "") -> bytes:
    """Return the bytes of spec.bin. Raises ValueError for a text with a NUL in it."""
    command = spec.command
    entries = ["ecs-shim=1"]
    entries += [f"arg={argument}" for argument in command.argv]
    entries += [f"env={name}={value}" for name, value in environment]
    if command.cwd:
        entries.append(f"cwd={command.cwd}")
    if command.user:
        entries.append(f"user={command.user}")
    entries += ["stdout=stdout", "stderr=stderr"]
    entries += [f"{name}_cap={options.output_cap_bytes}" for name in ("stdout", "stderr")]
    if cgroup:
        entries.append(f"cgroup={cgroup}")
    elif spec.limits.memory_mb > 0:
        # Of a process's own writable memory. The address space (RLIMIT_AS) would count shared memory and mapped files,
        # which tasks that exchange data have many times more of than the machine has memory.
        size = int(spec.limits.memory_mb * MIB)
        entries.append(f"rlimit=data:{size}:{size}")
    if options.open_files is not None:
        entries.append("rlimit=nofile:{}:{}".format(*options.open_files))
    entries += [f"term_s={options.term_s:g}", f"int_s={options.int_s:g}", f"orphan_s={options.orphan_s:g}"]
    if any("\0" in entry for entry in entries):
        raise ValueError("an argument or a variable holds a NUL")
    return os.fsencode("\0".join(entries) + "\0")


def parse_pid_record(text: bytes) -> PidRecord | None:
    """Return what the shim wrote to `pid` and to its stdout; None if it is not whole."""
    try:
        record = json.loads(text)
        return PidRecord(
            shim=ProcessId(int(record["shim_pid"]), int(record["shim_start"])),
            task=ProcessId(int(record["task_pid"]), int(record["task_start"])),
            boot_id=str(record["boot_id"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def exit_of_note(note: Mapping[str, Any]) -> Exit:
    """Translate the content of exit.json."""
    code, signal, by, text = note.get("code"), note.get("signal"), note.get("by"), str(note.get("cause", ""))
    if by == "launch":
        return Exit(cause=ExitCause.LAUNCH_FAILED, code=code if isinstance(code, int) else 126, text=text)
    if by == "orphan":
        return Exit(cause=ExitCause.ORPHANED, code=code or 0, signal=signal or 0, text=text)
    if isinstance(signal, int):
        return Exit(cause=ExitCause.SIGNALED, signal=signal)
    if isinstance(code, int):
        return Exit(cause=ExitCause.EXITED, code=code)
    return Exit(cause=ExitCause.UNKNOWN, text=text)


def clean_line(line: str) -> str:
    """Return a line of somebody's output without escape sequences and control characters, cut to 500 characters."""
    text = lines.clean(line).strip()
    return text if len(text) <= MAX_LOG_LINE else text[: MAX_LOG_LINE - 1] + "…"


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def _tail(path: Path, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read(size)
    except FileNotFoundError:
        return b""
