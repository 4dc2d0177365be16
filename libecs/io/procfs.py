"""What /proc says of processes: who is the one that was meant, and who carries our marker."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

TASK_MARKER = "ECS_TASK_ID"
"""Environment variable of every task: `instance/node/task`. Its children inherit it."""
_KILL_ROUNDS = 20
"""Who forks faster than this is not caught by looking."""


@attrs.frozen
class ProcessId:
    """A process for ever: a pid comes again, a pid with its start time does not until the machine restarts."""

    pid: int
    start: int
    """Clock ticks since boot."""

    def is_alive(self) -> bool:
        """Whether this very process exists; a zombie does not count."""
        found = read_stat(self.pid)
        return found is not None and found[1] == self.start and found[0] != "Z"

    def open(self) -> int | None:
        """Return a pidfd of this very process, or None if it is gone. The caller closes it."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if not self.is_alive():  # looked at after opening: from here on the descriptor can't mean anybody else
            os.close(fd)
            return None
        return fd


def read_stat(pid: int) -> tuple[str, int] | None:
    """Return the state letter and the start time of a process, or None if there is none of this pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return fields[0].decode("ascii"), int(fields[19])


def boot_id() -> str:
    """Return what changes with each restart of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def marked_processes(prefix: str) -> Mapping[str, list[int]]:
    """Find processes whose marker begins with `prefix`: rest of the marker to pids, session leaders first.

    Processes of other users, which may not be looked at, are passed over.
    """
    start = f"{TASK_MARKER}={prefix}".encode()
    found: dict[str, list[tuple[bool, int]]] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
            if start not in environment:
                continue
            for variable in environment.split(b"\0"):
                if variable.startswith(start):
                    name = variable[len(start) :].decode("utf-8", "replace")
                    found.setdefault(name, []).append((os.getsid(pid) != pid, pid))
    return {name: [pid for _, pid in sorted(pids)] for name, pids in found.items()}


def kill_marked(marker: str) -> int:
    """Kill all processes that carry exactly this marker, and what they start meanwhile; return how many there were.

    None of them is left when this returns, or it is stuck in the kernel.
    """
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        pids = [pid for pid in marked_processes(marker).get("", ()) if pid not in killed]
        if not pids:
            break
        for pid in pids:
            killed.add(pid)
            with contextlib.suppress(OSError):
                fd = os.pidfd_open(pid)
                try:
                    if _is_marked(pid, marker):  # looked at after opening: the descriptor can't mean anybody else
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                finally:
                    os.close(fd)
    return len(killed)


def _is_marked(pid: int, marker: str) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return f"{TASK_MARKER}={marker}".encode() in file.read().split(b"\0")


def processes_with_arguments(*arguments: str) -> list[int]:
    """Return the pids of processes whose command line ends with exactly these arguments."""
    end = b"\0".join(os.fsencode(argument) for argument in arguments) + b"\0"
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read()
            if text == end or text.endswith(b"\0" + end):
                found.append(pid)
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())
