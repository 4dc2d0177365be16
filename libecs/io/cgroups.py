"""Control groups (version 2) for tasks that have limits, where this process may make them.

That is so under systemd with `Delegate=yes`, and for root where the controllers are handed down; elsewhere limits of
memory are resource limits of each process, and those of CPU are not enforced.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from libecs.wire.node import Limits

_PERIOD_US = 100_000
_NEEDED = frozenset({"cpu", "memory"})
MIB = 1024 * 1024


class Cgroups:
    """The control groups of one node's tasks, all in one folder of the kernel's."""

    def __init__(self, parent: Path, name: str) -> None:
        """Nothing is touched yet. `parent` hands the controllers down, see `find`."""
        self._folder = parent / re.sub(r"[^A-Za-z0-9_.-]", "_", name)

    @classmethod
    def find(cls, name: str, process: Path = Path("/proc/self")) -> Cgroups | None:
        """Return the groups that a process may make; None if it may make none with limits of CPU and memory.

        Args:
            name: of the node's folder; unique on this machine.
            process: its folder in /proc.
        """
        try:
            own = _own_path((process / "cgroup").read_text())
            mount = _mount_point((process / "mountinfo").read_text())
        except OSError:
            return None
        if own is None or mount is None:
            return None
        parent = mount / own.lstrip("/")
        try:
            handed_down = frozenset((parent / "cgroup.subtree_control").read_text().split())
        except OSError:
            return None
        return cls(parent, name) if handed_down >= _NEEDED and _may_write(parent) else None

    def make(self, task: str, limits: Limits) -> Path:
        """Make the group of a task, to be joined by its first process. Raises OSError."""
        if not self._folder.is_dir():
            self._folder.mkdir()
            _write(self._folder / "cgroup.subtree_control", "+cpu +memory")
        group = self._folder / task
        group.mkdir(exist_ok=True)
        if limits.memory_mb > 0:
            _write(group / "memory.max", str(int(limits.memory_mb * MIB)))
            with contextlib.suppress(OSError):
                _write(group / "memory.swap.max", "0")
                _write(group / "memory.oom.group", "1")
        if limits.cpu > 0:
            _write(group / "cpu.max", f"{max(1000, int(limits.cpu * _PERIOD_US))} {_PERIOD_US}")
        return group

    def verdict(self, task: str) -> str:
        """Return what the kernel did to a task for its limits, in words; "" for nothing."""
        try:
            events = (self._folder / task / "memory.events").read_text()
            limit = int((self._folder / task / "memory.max").read_text()) // MIB
        except (OSError, ValueError):
            return ""
        counts = dict(line.split() for line in events.splitlines())
        return f"it was over its memory limit of {limit} MB" if int(counts.get("oom_kill", "0")) else ""

    def kill(self, task: str) -> None:
        """End all processes of a task's group."""
        with contextlib.suppress(OSError):
            _write(self._folder / task / "cgroup.kill", "1")

    def remove(self, task: str) -> None:
        """Remove the group of a task that has ended, and the folder of the node with the last one."""
        with contextlib.suppress(OSError):
            (self._folder / task).rmdir()
            self._folder.rmdir()


def _own_path(text: str) -> str | None:
    return next((line[3:] for line in text.splitlines() if line.startswith("0::")), None)


def _mount_point(text: str) -> Path | None:
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" in fields and fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _write(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
