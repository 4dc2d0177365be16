"""What can still be read of a database that is damaged.

SQLite gives up at the first bad page that it meets. A table is therefore read from both ends, by the order in which its
rows lie in the file and without any index: only what lies on bad pages is lost.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_SIDES = ("-wal", "-shm")
_THOROUGH_BYTES = 64 * 1024 * 1024
"""Up to this size the indexes are compared with their tables too; that takes a second."""


def set_aside(path: Path) -> Path:
    """Rename a database and its write-ahead log to a name that is free; return it. Raises OSError."""
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for side in _SIDES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{side}").rename(f"{kept}{side}")
    path.rename(kept)
    return kept


def lenient_text(data: bytes) -> str:
    """Return a text of a database. One that is damaged may be no UTF-8: that costs its row, no others."""
    return data.decode("utf-8", "replace")


def is_sound(db: sqlite3.Connection, statements: Iterable[tuple[str, int]]) -> bool:
    """Return whether SQLite finds nothing wrong with the structure of a database whose file may be written.

    `statements`, each with its number of parameters, must be possible: names of tables and columns may be damaged.
    """
    try:
        pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        check = "integrity_check" if pages * size <= _THOROUGH_BYTES else "quick_check"
        if db.execute(f"PRAGMA {check}(1)").fetchall() != [("ok",)]:
            return False
        for statement, parameters in statements:
            db.execute(f"EXPLAIN {statement}", parameters * ("",))
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE probe (x)")  # what says that it may not be written, though we may, is damaged too
        db.execute("ROLLBACK")
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return True


def rows_of(path: Path, table: str, width: int) -> list[tuple[Any, ...]]:
    """Return the first `width` columns of all rows of a table that can be read, None for those that are missing.

    Columns are taken by their place: their names may be damaged too. Raises nothing.
    """
    try:
        # Not read-only: then its write-ahead log would not be looked at.
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    except sqlite3.Error:
        return []
    db.text_factory = lenient_text
    found: dict[int, tuple[Any, ...]] = {}
    try:
        for order in ("ASC", "DESC"):
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeDecodeError):
                for rowid, *row in db.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid {order}"):
                    if rowid in found:
                        break
                    found[rowid] = tuple((*row, *(width * (None,)))[:width])
    finally:
        db.close()
    return [found[rowid] for rowid in sorted(found)]
