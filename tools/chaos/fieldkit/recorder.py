"""The recording task: how it is compiled, and how what it wrote is read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[3]
SOURCE = Path(__file__).with_name("recorder.c")
BUILD = ROOT / "build" / "recorder"
RECORD_DIR = "ECS_RECORD_DIR"
"""Environment variable that says where recording tasks write; they inherit it from their executor."""


def build() -> Path:
    """Return the program, compiled against the sources of libocc unless it is there. Raises RuntimeError."""
    library = ROOT / "occ"
    sources = [SOURCE, *sorted((library / "libocc").glob("*.c"))]
    headers = [*sorted((library / "libocc").glob("*.h")), *sorted((library / "include").rglob("*.h"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, *headers))).hexdigest()[:16]
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / f"recorder-{digest}"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        for old in BUILD.glob("recorder-*"):
            old.unlink()
        unfinished = BUILD / "unfinished"
        options = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror"]
        options += [f"-I{library / 'include'}", f"-I{library / 'libocc'}"]
        words = ["cc", *options, *map(str, sources), "-lzmq", "-lpthread", "-o", str(unfinished)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the recording task can't be compiled:\n{done.stderr}")
        unfinished.rename(program)
    return program


@attrs.frozen
class Note:
    """One line of a record."""

    unix_ns: int
    pid: int
    word: str
    rest: tuple[str, ...]

    @property
    def run(self) -> int:
        """Of `start` and `stop`."""
        return int(self.rest[0])

    @property
    def values(self) -> Mapping[str, str]:
        """Of `configure` and `reconfigure`."""
        return dict(text.partition("=")[::2] for text in self.rest)


@attrs.frozen
class Record:
    """What one task wrote."""

    marker: str
    """`instance/node/task`."""
    notes: tuple[Note, ...]

    @property
    def task(self) -> str:
        """Task id."""
        return self.marker.rpartition("/")[2]

    @property
    def node(self) -> str:
        """Name of its node."""
        return self.marker.split("/")[1]

    @property
    def pids(self) -> tuple[int, ...]:
        """Of its starts; more than one is one too many."""
        return tuple(note.pid for note in self.notes if note.word == "begin")

    def words(self) -> list[str]:
        """Return what happened to it, in order, as `begin`, `configure`, `start 7`."""
        return [f"{note.word} {note.rest[0]}" if note.word in ("start", "stop") else note.word for note in self.notes]


def read(folder: Path) -> dict[str, Record]:
    """Return all records of a folder: task id to record. A line that is being written is left out."""
    records = {}
    for path in sorted(folder.iterdir()):
        notes = []
        for line in path.read_bytes().decode().split("\n")[:-1]:
            unix_ns, pid, word, *rest = line.split(" ")
            notes.append(Note(int(unix_ns), int(pid), word, tuple(rest)))
        record = Record(path.name.replace("~", "/"), tuple(notes))
        records[record.task] = record
    return records


def living(mark: str, value: str, folder: Path) -> dict[int, str]:
    """Return the processes of a cluster: pid to command line.

    They have the variable `mark` = `value` in their environment; shims have none, but a folder below `folder`.
    """
    wanted = f"{mark}={value}".encode()
    below = os.fsencode(folder) + b"/"
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                words = file.read().rstrip(b"\0").split(b"\0")
            is_shim = words[0].endswith(b"ecs-shim") and len(words) > 1 and words[1].startswith(below)
            if not is_shim:
                with open(f"/proc/{entry.name}/environ", "rb") as file:
                    if wanted not in file.read().split(b"\0"):
                        continue
            if words[0]:  # a zombie has no command line
                found[int(entry.name)] = b" ".join(words).decode(errors="replace")
        except OSError:
            continue
    return found
