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
WHOLE_BYTES = 32 * 1024 * 1024
"""A database of this size is looked through whole in a fifth of a second, its indexes too."""
_FEW = 1000
"""So many of the last rows are read where not all are."""


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


def is_small(db: sqlite3.Connection) -> bool:
    """Return whether a database can be looked through whole while somebody waits. Raises sqlite3.Error."""
    pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return bool(pages * size <= WHOLE_BYTES)


def is_sound(db: sqlite3.Connection, statements: Iterable[tuple[str, int]], large: str = "") -> bool:
    """Return whether SQLite finds nothing wrong with the structure of a database whose file may be written.

    Args:
        db: the database.
        statements: each with its number of parameters; they must be possible: names of tables and columns may be
            damaged, too.
        large: a table of which only the end is looked at, if the database is large; "" = all is looked through.
    """
    try:
        if not large or is_small(db):
            checks = ["integrity_check(1)" if is_small(db) else "quick_check(1)"]
        else:
            found = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            checks = [f"integrity_check('{name}')" for (name,) in found if name != large]
            db.execute(f"SELECT * FROM {large} ORDER BY rowid DESC LIMIT {_FEW}").fetchall()
        for check in checks:
            if db.execute(f"PRAGMA {check}").fetchall() != [("ok",)]:
                return False
        for statement, parameters in statements:
            db.execute(f"EXPLAIN {statement}", parameters * ("",))
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE probe (x)")  # what says that it may not be written, though we may, is damaged too
        db.execute("ROLLBACK")
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return True


def what_is_wrong(path: Path) -> str:
    """Look through a whole database that is in use; return what SQLite finds wrong, "" if nothing.

    Blocks for as long as reading it takes; for any thread. Raises nothing: one that can't be asked is not wrong.
    """
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    except sqlite3.Error:
        return ""
    db.text_factory = lenient_text
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchall()
    except UnicodeDecodeError:
        return "what SQLite says of it can't be read"
    except sqlite3.Error as error:
        return str(error) if is_damage(error) else ""
    finally:
        db.close()
    return "" if found == [("ok",)] else str(found[0][0]) if found else "SQLite says nothing of it"


def is_damage(error: Exception) -> bool:
    """Whether the content of a database is wrong, and not the disk, the rights, or another process."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)


def rows_of(path: Path, table: str, width: int, last: int = 0) -> list[tuple[Any, ...]]:
    """Return the first `width` columns of all rows of a table that can be read, None for those that are missing.

    Columns are taken by their place: their names may be damaged too. `last`: no more than so many rows, the last ones;
    0 = all. Raises nothing.
    """
    try:
        # Not read-only: then its write-ahead log would not be looked at.
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    except sqlite3.Error:
        return []
    db.text_factory = lenient_text
    behind: dict[int, tuple[Any, ...]] = {}
    """Rows behind the damage, read from the end; all, if there is none."""
    before: dict[int, tuple[Any, ...]] = {}
    try:
        for order, found in (("DESC", behind), ("ASC", before)):
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeDecodeError):
                for rowid, *row in db.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid {order}"):
                    if rowid in behind or (last and len(behind) == last):
                        break
                    found[rowid] = tuple((*row, *(width * (None,)))[:width])
                    if last and len(behind) + len(before) > last:
                        del before[next(iter(before))]
    finally:
        db.close()
    found = {**before, **behind}
    return [found[rowid] for rowid in sorted(found)]
