"""A machine with a real systemd as its first process: a container over an overlay of this machine's root.

What it writes goes to memory and is gone with it. Needs root and systemd-nspawn.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

BOOT_S = 120.0


def why_not() -> str:
    """Return why no such machine can be had here, "" if it can."""
    if os.geteuid() != 0:
        return "a container needs root"
    if Path(sys.prefix).is_relative_to("/tmp"):
        return "the package is installed below /tmp, which services with a /tmp of their own don't see"
    missing = [name for name in ("systemd-nspawn", "nsenter") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed (Debian package systemd-container)" if missing else ""


class Machine:
    """`with Machine() as machine: machine.run("systemctl", "start", "x")`."""

    def __init__(self, network: Path | None = None) -> None:
        """`network`: file of the network name space that it is in; None = one of its own, without links."""
        self._network = network
        self._folder = Path(tempfile.mkdtemp(prefix="ecs-machine-"))
        self.root = self._folder / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._mounts: list[Path] = []

    def __enter__(self) -> Machine:
        try:
            self._mount()
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _mount(self) -> None:
        self._do("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", self._folder)
        self._mounts.append(self._folder)
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._folder}/upper,workdir={self._folder}/work"
        self._do("mount", "-t", "overlay", "-o", layers, "overlay", self.root)
        self._mounts.append(self.root)

    def _boot(self) -> None:
        """Boot to the basic target, and wait until its systemd says so."""
        place = self._folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(place))
            notify.settimeout(BOOT_S)
            log = (self._folder / "log").open("wb")
            command = ["systemd-nspawn", "-D", str(self.root), "--register=no", "--keep-unit"]
            command += ["--private-network"] if self._network is None else [f"--network-namespace-path={self._network}"]
            command += ["--link-journal=no", "--console=pipe", "--notify-ready=yes", "-b", "systemd.unit=basic.target"]
            self._nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(place)},
            )
            log.close()
            while True:
                said = notify.recv(4096).decode().splitlines()
                for line in said:
                    if line.startswith("X_NSPAWN_LEADER_PID="):
                        self._leader = int(line.partition("=")[2])
                if "READY=1" in said and self._leader:
                    return

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs a command inside."""
        return ["nsenter", "-t", str(self._leader), "-a", "--", *map(str, words)]

    def run(self, *command: str | Path, check: bool = True, timeout_s: float = 120.0) -> str:
        """Run a command inside, return what it printed."""
        ran = subprocess.run(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))}: status {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat", check=False)

    def close(self) -> None:
        """Turn it off, forget what it wrote."""
        if self._nspawn is not None:
            if self._nspawn.poll() is None:
                self._nspawn.terminate()  # nspawn asks its systemd to shut down
                try:
                    self._nspawn.wait(20)
                except subprocess.TimeoutExpired:
                    self._nspawn.kill()
                    self._nspawn.wait()
            self._nspawn = None
        while self._mounts:
            subprocess.run(["umount", "-l", str(self._mounts.pop())], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _do(*command: str | Path) -> None:
        subprocess.run([str(word) for word in command], check=True, capture_output=True)


def enter(machine: Machine, *paths: Path) -> None:
    """Let everybody on a machine enter the folders above what is installed: it may lie in somebody's home."""
    for path in paths:
        for folder in [path, *path.parents]:
            inside = machine.root / str(folder).lstrip("/")
            if inside.is_dir() and not inside.stat().st_mode & 0o001:
                inside.chmod(inside.stat().st_mode | 0o011)
