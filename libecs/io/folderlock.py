"""Who owns a folder. A module of its own, so that a second owner is told at once, before anything large is loaded."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from libecs.errors import Conflict, EcsError


class FolderLock:
    """Exclusive ownership of a folder, released by `release` or by the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take it; the folder is made, with mode 0700, if it does not exist.

        Raises:
            Conflict: another process has it; the message names its pid and host.
            EcsError: the folder can't be made or written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EcsError(
                f"state folder {folder} cannot be used: {error.strerror}", hint="choose one that you may write"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, host = os.pread(self._fd, 256, 0).decode("utf-8", "replace").strip().partition(" ")
            os.close(self._fd)
            raise Conflict(
                f"state folder {folder} is in use by process {pid or '(just starting)'}{f' on {host}' if host else ''}",
                hint="end that process, or choose another state folder",
            ) from None
        with contextlib.suppress(OSError):  # a full disk: it is ours, though nobody is told whose
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give it up."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)  # the lock goes with the open file
            self._fd = -1
