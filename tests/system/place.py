"""Run the installed programs for real, and find out what they leave behind: processes, sockets, files."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

MARK = "ECS_TEST_MARK"
"""Environment variable that everything started by a test inherits: so its processes are found, and no others."""


@attrs.frozen
class Ran:
    """How one program ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document


class Place:
    """Folders of its own for one test, and the eyes to see what is left in them."""

    def __init__(self, base: Path) -> None:
        # A short path: control sockets lie below it.
        self.runtime = Path(tempfile.mkdtemp(prefix="et-", dir="/tmp"))
        self.home = base / "home"
        self.home.mkdir()
        self.mark = secrets.token_hex(8)
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            MARK: self.mark,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "TMPDIR": str(self.runtime),
            "TERM": "dumb",
        }

    def run(self, *words: str | Path, timeout_s: float = 300, cwd: Path | None = None) -> Ran:
        """Run a program to its end."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=cwd,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def coconut(self, *words: str | Path, cwd: Path | None = None) -> Ran:
        """Run coconut."""
        return self.run(Path(sys.executable).with_name("coconut"), *words, cwd=cwd)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a program whose stdout is read line by line."""
        process = subprocess.Popen(
            [str(word) for word in words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._started.append(process)
        return process

    def script(self, text: str, *words: str | Path) -> subprocess.Popen[str]:
        """Start a Python script."""
        path = self.home / f"script-{secrets.token_hex(4)}.py"
        path.write_text(text)
        return self.start(sys.executable, path, *words)

    def processes(self) -> dict[int, str]:
        """Return the processes that are left: pid to command line."""
        found = {}
        wanted = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = command
            except OSError:
                continue
        return found

    def tasks(self) -> dict[int, str]:
        """Return the tasks among the processes: pid to their marker."""
        found = {}
        for pid in self.processes():
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            markers = [text.decode() for text in variables if text.startswith(b"ECS_TASK_ID=")]
            if markers and b"ecs-shim" not in command:
                found[pid] = markers[0]
        return found

    def files(self) -> list[str]:
        """Return the short-lived files that are left, and the sockets bound below them or for channels of tasks."""
        left = [str(path) for path in self.runtime.rglob("*")]
        sockets = Path("/proc/net/unix").read_text().splitlines()
        return left + [line.split()[-1] for line in sockets if str(self.runtime) in line]

    def channels(self, environment: str) -> list[str]:
        """Return the abstract sockets of an environment's data channels."""
        return [line for line in Path("/proc/net/unix").read_text().splitlines() if f"@o2ipc-{environment}t" in line]

    def clean(self) -> None:
        """End and remove everything."""
        for process in self._started:
            with process:
                process.kill()
        end = time.monotonic() + 60
        while (left := self.processes()) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.runtime, ignore_errors=True)


Left = Callable[[], Sequence[object]]
"""What is left of a test: the fixture `left`."""
Waiting = Callable[[Callable[[], bool], float], bool]
"""`wait_until`: the fixture `waiting`."""


def wait_until(true: Callable[[], bool], timeout_s: float) -> bool:
    """Look until something is true, at most for so long."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)  # what is looked at is anything: nothing tells of it
    return True


def nothing_left(place: Place) -> Sequence[object]:
    """Return everything that is left of a test, for a comparison with the empty list."""
    return [*place.processes().items(), *place.files()]
