"""Hear of writes to files of folders, through the kernel's inotify. Python has no binding of its own."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_IN_MODIFY = 0x002
_IN_ENTRIES = 0x008 | 0x040 | 0x080 | 0x200
"""Closed after writing, moved away, moved here, deleted."""
_IN_ONESHOT = 0x80000000
_IN_ONLYDIR = 0x01000000
_IN_Q_OVERFLOW = 0x4000
_HEAD = struct.Struct("iIII")
_BUFFER_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches on folders. Each tells of the next write into its folder, once, and is to be set again then: however
    much is written, it costs one wake-up.
    """

    def __init__(self) -> None:
        """Raises OSError where the kernel gives none."""
        self._fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `read`."""
        return self._fd

    def watch(self, folder: Path) -> int:
        """Return the number of a watch for the next write. Raises OSError: no such folder, or too many watches."""
        mask = _IN_MODIFY | _IN_ONESHOT | _IN_ONLYDIR
        return _check(_libc.inotify_add_watch(self._fd, os.fsencode(folder), ctypes.c_uint32(mask)), str(folder))

    def watch_entries(self, folder: Path) -> int:
        """Return the number of a watch for files that are written and closed, moved or removed. It stays."""
        mask = _IN_ENTRIES | _IN_ONLYDIR
        return _check(_libc.inotify_add_watch(self._fd, os.fsencode(folder), ctypes.c_uint32(mask)), str(folder))

    def unwatch(self, number: int) -> None:
        """Forget a watch. One that has told already is gone by itself."""
        _libc.inotify_rm_watch(self._fd, number)

    def read(self) -> tuple[list[int], bool]:
        """Return the watches that have told of a write, and whether some may have been lost."""
        told: list[int] = []
        lost = False
        while True:
            try:
                data = os.read(self._fd, _BUFFER_BYTES)
            except BlockingIOError:
                return told, lost
            at = 0
            while at < len(data):
                number, mask, _cookie, length = _HEAD.unpack_from(data, at)
                at += _HEAD.size + length
                if mask & _IN_Q_OVERFLOW:
                    lost = True
                elif mask & (_IN_MODIFY | _IN_ENTRIES):
                    told.append(number)

    def close(self) -> None:
        """Give it back to the kernel."""
        os.close(self._fd)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
