"""A shim, its folder, and its owner's end of the FIFO."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.shim.build import shim_program

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 40


@attrs.define
class Shim:
    """One shim that was started."""

    process: subprocess.Popen[bytes]
    folder: Path
    started: Mapping[str, Any]
    """What the shim said on its stdout: pids and starts; empty if there was never a task."""
    owner: int | None
    """Write end of the FIFO."""
    max_rss_kb: int = -1
    """Of exit.json, after `end`."""

    @property
    def task_pid(self) -> int:
        return int(self.started["task_pid"])

    def abandon(self) -> None:
        """Let the owner's end go, as a death would."""
        assert self.owner is not None
        os.close(self.owner)
        self.owner = None

    def adopt(self) -> None:
        """Open the FIFO for writing again, as another owner would."""
        self.owner = os.open(self.folder / "alive", os.O_WRONLY | os.O_NONBLOCK)

    def end(self) -> dict[str, Any]:
        """Wait for the end and return exit.json without its time and memory."""
        assert self.process.wait(TIMEOUT_S) == 0
        told = json.loads((self.folder / "exit.json").read_text())
        self.max_rss_kb = told.pop("max_rss_kb")
        assert told.pop("at_ms") > 1_600_000_000_000
        return dict(told)

    def wait_for_text(self, name: str, text: str) -> str:
        """Return the content of a file once it holds this text."""
        while True:
            with contextlib.suppress(FileNotFoundError):
                content = (self.folder / name).read_text()
                if text in content:
                    return content


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int) -> None:
    """Return when a process does not exist any more; the test's timeout bounds it."""
    while is_alive(pid):
        pass


@pytest.fixture(scope="session")
def program() -> Path:
    """The installed shim; in a bare source tree it is compiled."""
    return shim_program()


def pack(entries: Sequence[str]) -> bytes:
    """Return the bytes of spec.bin."""
    return b"".join(entry.encode() + b"\0" for entry in ["ecs-shim=1", *entries])


Launch = Callable[..., Shim]


@pytest.fixture
def launch(program: Path) -> Iterator[Launch]:
    """A function that starts a shim; after the test its task's group and it are killed."""
    shims: list[Shim] = []

    def launch(
        *arguments: str | Path,
        spec: bytes | None = None,
        fifo: bool = True,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Shim:
        folder = Path(tempfile.mkdtemp(prefix="shim", dir="/tmp"))
        entries = [f"arg={argument}" for argument in arguments]
        entries += [f"env={name}={value}" for name, value in (environment or {"PATH": os.environ["PATH"]}).items()]
        entries += [f"{key}={value}" for key, value in ({"stdout": "out", "stderr": "err"} | settings).items()]
        (folder / "spec.bin").write_bytes(pack([*entries, *more]) if spec is None else spec)
        owner = None
        if fifo:
            os.mkfifo(folder / "alive")
            owner = os.open(folder / "alive", os.O_RDWR | os.O_NONBLOCK)
        process = subprocess.Popen([program, folder], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.read()
        process.stdout.close()
        shims.append(Shim(process=process, folder=folder, started=json.loads(line) if line else {}, owner=owner))
        return shims[-1]

    yield launch
    for shim in shims:
        if shim.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shim.task_pid, signal.SIGKILL)
        shim.process.kill()
        shim.process.wait(TIMEOUT_S)
        if shim.owner is not None:
            os.close(shim.owner)
        shutil.rmtree(shim.folder)
