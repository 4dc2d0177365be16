"""What an executor tells its core of its machine: what it has, what it runs, and what may go wrong with it soon."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from libecs.io.link import version as libzmq_version
from libecs.io.procfs import boot_id
from libecs.io.version import version

_MIB = 1024 * 1024


class Facts:
    """What is good to know of this machine and this executor, as texts for `NodeHello.facts`."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the state, on whose disk room is needed."""
        self._folder = folder
        self._fixed = {
            "software": version(),
            "libzmq": libzmq_version(),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "boot_id": boot_id(),
            "host_name": socket.gethostname(),
            "machine_id": machine_id(),
            "pid": str(os.getpid()),
            "uid": str(os.geteuid()),
            "started_ms": str(time.time_ns() // 1_000_000),
        }

    def read(self) -> Mapping[str, str]:
        """Return all of them, with the clock and the disk as they are now."""
        facts = {**self._fixed, "unix_ms": str(time.time_ns() // 1_000_000)}
        with contextlib.suppress(OSError):
            facts["disk_free_mb"] = str(shutil.disk_usage(self._folder).free // _MIB)
        return facts


def machine_id(path: Path = Path("/etc/machine-id")) -> str:
    """Return what names this machine for ever; its host name where there is nothing better."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        text = ""
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else socket.gethostname()


def usable_cpus() -> float:
    """Return how many CPUs this process may use."""
    return float(len(os.sched_getaffinity(0)))


def memory_mb(path: Path = Path("/proc/meminfo")) -> float:
    """Return the memory of this machine in MB, 0 if it can't be known."""
    with contextlib.suppress(OSError):
        found = re.search(r"^MemTotal:\s+(\d+) kB$", path.read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return float(int(found[1]) // 1024)
    return 0.0
