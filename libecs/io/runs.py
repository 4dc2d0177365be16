"""The run counter: numbers that no two runs of a user on this machine share, whatever processes ask for them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
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


def default_path() -> Path:
    """Return `$XDG_STATE_HOME/ecs/runs.sqlite`."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification wants relative paths ignored.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "ecs" / "runs.sqlite"


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class RunCounter:
    """Gives run numbers. Safe for many processes and threads; every call opens the file for itself."""

    def __init__(self, path: Path | None = None, *, instance: str = "", unix_ms: Callable[[], int] = _unix_ms) -> None:
        """`instance` is the scope of the keys: two cores may use the same keys and get different numbers."""
        self.path = path or default_path()
        self.instance = instance
        self._unix_ms = unix_ms

    def take(self, key: str) -> int:
        """Return the number of `key`: the next one, the first is 1; the same key gets the same number again.

        It is on disk when this returns. Blocks while others take numbers, at most 10 s.

        Raises:
            EcsError: the file cannot be read or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S)) as db:
                db.execute("PRAGMA synchronous=FULL")
                db.execute("BEGIN IMMEDIATE")
                db.execute(_SCHEMA)
                number = self._find(db, key)
                if number is None:
                    db.execute(
                        "INSERT INTO runs (key, unix_ms, instance) VALUES (?, ?, ?)",
                        (key, self._unix_ms(), self.instance),
                    )
                    number = self._find(db, key)
                db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise EcsError(
                f"no run number from {self.path}: {error}", hint="see that the file can be written"
            ) from error
        assert number is not None
        return number

    def _find(self, db: sqlite3.Connection, key: str) -> int | None:
        row = db.execute("SELECT number FROM runs WHERE instance = ? AND key = ?", (self.instance, key)).fetchone()
        return None if row is None else int(row[0])
