"""The run counter: numbers that no two runs of a user on this machine share, whatever processes ask for them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from libecs.errors import EcsError

_BUSY_S = 10.0
"""How long to wait for other processes; one take lasts about a millisecond."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, unix_ms INTEGER NOT NULL, instance TEXT NOT NULL,
    UNIQUE (instance, key)
)
"""
# AUTOINCREMENT: a number is not given again, even if somebody deletes its row.

_LOCAL_FILESYSTEMS = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "tmpfs"))
"""Where a write-ahead log works: its index is memory that all processes share. It spares three of four fsyncs."""


def default_path() -> Path:
    """Return `$XDG_STATE_HOME/ecs/runs.sqlite`."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification wants relative paths ignored.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "ecs" / "runs.sqlite"


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class RunCounter:
    """Gives run numbers. Safe for many processes and threads. It keeps its file open: see `close`."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        instance: str = "",
        unix_ms: Callable[[], int] = _unix_ms,
        floor: Callable[[], int] = lambda: 0,
    ) -> None:
        """Nothing is touched yet.

        Args:
            path: of the file; None = the user's.
            instance: scope of the keys: two cores may use the same keys and get different numbers.
            unix_ms: the clock.
            floor: gives the highest number that is known to be used, for the case that the file was lost. It is asked
                when the file is opened.
        """
        self.path = path or default_path()
        self.instance = instance
        self._unix_ms = unix_ms
        self._floor_of = floor
        self._floor = 0
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._identity = (0, 0, 0)
        self._inherited: list[sqlite3.Connection] = []

    def take(self, key: str) -> int:
        """Return the number of `key`: the next one, the first is 1; the same key gets the same number again.

        It is on disk when this returns. Blocks while others take numbers, at most 10 s.

        Raises:
            EcsError: the file cannot be read or written.
        """
        with self._lock:
            try:
                return self._take(self._open(), key)
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise EcsError(
                    f"no run number from {self.path}: {error}", hint="see that the file can be written"
                ) from error

    def close(self) -> None:
        """Close the file. The next `take` opens it again."""
        with self._lock:
            self._close()

    def _take(self, db: sqlite3.Connection, key: str) -> int:
        db.execute("BEGIN IMMEDIATE")
        try:
            number = self._find(db, key)
            if number is None:
                last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
                number = max(self._floor, int(last[0]) if last else 0) + 1
                db.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (number, key, self._unix_ms(), self.instance))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return number

    def _find(self, db: sqlite3.Connection, key: str) -> int | None:
        row = db.execute("SELECT number FROM runs WHERE instance = ? AND key = ?", (self.instance, key)).fetchone()
        return None if row is None else int(row[0])

    def _open(self) -> sqlite3.Connection:
        """Return the open file: the same as before, if this is the same process and the file is still there."""
        if self._db is not None and self._identity == _identity(self.path):
            return self._db
        self._close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = db = sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
        if _filesystem(self.path) in _LOCAL_FILESYSTEMS:
            _use_write_ahead_log(db)
        db.execute("PRAGMA synchronous=FULL")
        db.execute(_SCHEMA)
        self._identity = _identity(self.path)
        self._floor = self._floor_of()
        return db

    def _close(self) -> None:
        if self._db is None:
            return
        if self._identity[0] in (0, os.getpid()):
            self._db.close()
        else:
            self._inherited.append(self._db)  # a fork: closing it here would break the locks of the process it is of
        self._db = None
        self._identity = (0, 0, 0)


def _identity(path: Path) -> tuple[int, int, int]:
    """Return what changes when a connection can't be used any more: process, device, inode."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return (os.getpid(), 0, 0)
    return (os.getpid(), status.st_dev, status.st_ino)


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    with contextlib.suppress(sqlite3.OperationalError):  # others use it at this moment: it is a gain, not a need
        db.execute("PRAGMA journal_mode=WAL")


def _filesystem(path: Path) -> str:
    """Return the type of the file system that holds a path, "" if it can't be told."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(path)
    found = ("", "")
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = fields.split()[4].replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(found[0]):
            found = (mount, rest.split()[0])
    return found[1]
