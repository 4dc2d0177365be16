"""Records and journal in SQLite: what an engine must find again after `kill -9`.

One folder, one owner:

    lock         flock of the owner, holds its pid and host
    state.sqlite records (table, key, value) and events (seq, unix_ms, environment, kind, body), each with a checksum
    reserve      8 MiB that are given up when the disk is full, so that a run can still be stopped
    state.sqlite.damaged-N       a database that could not be read; what could be saved of it is in the present one
    state.sqlite.mistrusted      something was found wrong with it while it was in use: the next owner looks through it

Damage costs what it hits. A record whose checksum is wrong is given out as no bytes at all, which nobody takes for a
record; a database whose structure is broken is set aside and what can be read of it is copied.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from libecs.engine.effects import Persist
from libecs.errors import DecodeError, EcsError, InvalidInput
from libecs.io.folderlock import FolderLock
from libecs.io.salvage import is_damage, is_small, is_sound, lenient_text, rows_of, set_aside, what_is_wrong
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import Event

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
RESERVE_BYTES = 8 * 1024 * 1024
SALVAGED_EVENTS = 100_000
"""No more are taken over out of a damaged journal, as the core is waited for: older ones are in what is kept of it."""
RETAIN_ROWS = 2000
"""Events that are forgotten in one go, within 10 ms."""

_SCHEMA = """
CREATE TABLE records (
    tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER, PRIMARY KEY (tbl, key)
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, unix_ms INTEGER NOT NULL, environment TEXT NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER
);
CREATE INDEX events_by_environment ON events (environment, seq);
CREATE TABLE high_water (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO high_water VALUES ('event', 0), ('schema', 2);
"""
_FROM_1 = """
ALTER TABLE records ADD COLUMN crc INTEGER;
ALTER TABLE events ADD COLUMN crc INTEGER;
INSERT INTO high_water VALUES ('schema', 2);
"""
"""What version 1 has written has no checksums: they are NULL."""
_DATABASE = "state.sqlite"
_MISTRUSTED = "state.sqlite.mistrusted"
_UPSERT = (
    "INSERT INTO records VALUES (?, ?, ?, ?) "
    "ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value, crc = excluded.crc"
)
_APPEND = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
_ALL_RECORDS = "SELECT tbl, key, value, crc FROM records ORDER BY tbl, key"
_EVENTS = "SELECT seq, unix_ms, environment, kind, body, crc FROM events"
_DELETE = "DELETE FROM records WHERE tbl = ? AND key = ?"
_OLDEST_TO_STAY = "SELECT seq FROM events WHERE unix_ms >= ? ORDER BY seq LIMIT 1"
_FORGET = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq < ? ORDER BY seq LIMIT ?)"
_MARK = "UPDATE high_water SET value = ? WHERE name = 'event'"
_STATEMENTS = ((_UPSERT, 4), (_APPEND, 6), (_ALL_RECORDS, 0), (_EVENTS, 0), (_DELETE, 2), (_MARK, 1))


@attrs.frozen
class LoadedEvent:
    """One event as it stands in the journal; `body` is read by `event()` only, so that one bad row costs one row."""

    sequence: int
    unix_ms: int
    environment: str
    kind: str
    body: bytes
    crc: int | None = None

    def event(self) -> Event:
        """Return the whole event. Raises DecodeError."""
        if type(self.body) is not bytes or self.crc not in (None, _event_crc(self.sequence, self.body)):
            raise DecodeError(f"event {self.sequence} is damaged: its checksum is wrong")
        return unpack_value(Event, self.body)


class SqliteStore:
    """The only writer of one state folder. Use from one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        reserve_bytes: int = RESERVE_BYTES,
        lock: FolderLock | None = None,
        examine_later: bool = False,
    ) -> None:
        """Open the folder, or make it.

        Args:
            folder: made with mode 0700 if it does not exist.
            durable: every commit survives a power cut (synchronous=FULL). Without, it survives the end of the
                process only, however it ends: enough for a folder that is temporary.
            reserve_bytes: size of the reserve; 0 = none.
            lock: of the folder, if it was taken already; given up by `close`.
            examine_later: of a large database, look at records and the last events only, and have the rest looked
                through by `examine`.

        Raises:
            Conflict: the folder has an owner.
            InvalidInput: it was written by a newer version.
            EcsError: it cannot be read or written.
        """
        self.folder = folder
        self.damaged: dict[str, str] = {}
        """Records that can't be read (`table/key`), and why."""
        self.set_aside: Path | None = None
        """Where the database is that was damaged; what could be read of it is in the present one."""
        self.began_anew = False
        """Whether the folder was in use before, and its database is not there any more, or nothing of it."""
        self.unexamined = False
        """Whether `examine` has something to do."""
        self.problem = ""
        """What was found wrong with the database since it was opened."""
        self._mistrusted = folder / _MISTRUSTED
        self._examine_later = examine_later
        self._reserve = folder / "reserve"
        self._reserve_bytes = reserve_bytes
        self._lock = lock or FolderLock(folder)
        try:
            self._db = self._open(folder / _DATABASE, durable)
            self.refill_reserve()
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise EcsError(
                f"state in {folder} cannot be read: {error}",
                hint="move the folder away to start without it; what runs is found again and shown as orphans",
            ) from error
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the files and give up the folder."""
        self._db.close()
        self._lock.release()

    def examine(self) -> None:
        """Look through the whole database; what is wrong is in `problem`, and mended by the next owner.

        Blocks for as long as reading it takes; for any thread.
        """
        wrong = what_is_wrong(self.folder / _DATABASE)
        self.unexamined = False
        if wrong:
            self._mistrust(wrong)

    def _mistrust(self, wrong: str) -> None:
        """Have the next owner look through the whole database."""
        if self.problem:
            return
        self.problem = f"the journal in {self.folder} is damaged; what can be read is kept at the next start: {wrong}"
        logger.error("%s", self.problem)
        try:
            self._mistrusted.write_text(f"{wrong}\n", encoding="utf-8")
        except OSError as error:
            logger.error("%s cannot be written: %s", self._mistrusted, error.strerror)

    @property
    def last_event(self) -> int:
        """Sequence number of the last event ever written, 0 = none. It survives retention."""
        return self._last_event

    def commit(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
        """Write all of it or nothing.

        Event numbers continue without a gap; events that come with number 0 get the next one.

        Raises:
            EcsError: it could not be written, not even after the reserve was given up; or an event's number is not
                the next one. Nothing is written.
        """
        try:
            self._write(records, events)
        except sqlite3.Error as error:
            if not _is_disk_full(error) or not self.free_reserve():
                if _is_found_damage(error):
                    self._mistrust(str(error))
                raise EcsError(f"state in {self.folder} cannot be written: {error}") from error
            try:
                self._write(records, events)
            except sqlite3.Error as again:
                raise EcsError(
                    f"state in {self.folder} cannot be written, the disk is full: {again}",
                    hint="make room on the disk and start again; nothing that was acknowledged is lost",
                ) from again

    def load(self) -> dict[str, dict[str, bytes]]:
        """Return all records: table to key to value. One that is damaged is named in `damaged`, and is b"" here."""
        tables: dict[str, dict[str, bytes]] = {}
        for table, key, value, crc in self._db.execute(_ALL_RECORDS):
            if type(value) is not bytes or (crc is not None and crc != _record_crc(table, key, value)):
                self.damaged[f"{table}/{key}"] = "its checksum is wrong"
                value = b""
            tables.setdefault(table, {})[key] = value
        return tables

    def events_since(self, sequence: int, *, environment: str = "", limit: int = 10_000) -> list[LoadedEvent]:
        """Return events after `sequence`, oldest first; of one environment, or of all (environment = "").

        Where the database is damaged they end: see `problem`.
        """
        where = "seq > ?"
        values: list[int | str] = [sequence]
        if environment:
            where += " AND environment = ?"
            values.append(environment)
        values.append(limit)
        return self._rows(f"{_EVENTS} WHERE {where} ORDER BY seq LIMIT ?", values)

    def last_events(self, count: int, *, environment: str = "") -> list[LoadedEvent]:
        """Return the last `count` events, oldest first; of one environment, or of all (environment = "").

        Where the database is damaged they begin: see `problem`.
        """
        where, values = ("WHERE environment = ?", [environment]) if environment else ("", [])
        return self._rows(f"{_EVENTS} {where} ORDER BY seq DESC LIMIT ?", [*values, count])[::-1]

    def _rows(self, question: str, values: Sequence[int | str]) -> list[LoadedEvent]:
        found: list[LoadedEvent] = []
        try:
            found.extend(LoadedEvent(*row) for row in self._db.execute(question, values))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not _is_found_damage(error):
                raise
            self._mistrust(str(error))
        return found

    def retain(self, *, since_ms: int, at_least: int = 0, at_most: int = RETAIN_ROWS) -> int:
        """Forget events older than `since_ms` (unix), except the last `at_least`. Return how many went.

        With `at_most` of them, there may be more that have to go. It looks from the oldest on as far as the first that
        stays: a large journal is not read for that.

        Raises:
            EcsError: it could not be written; nothing went.
        """
        try:
            row = self._db.execute(_OLDEST_TO_STAY, (since_ms,)).fetchone()
            end = self._last_event - at_least + 1
            with self._transaction():
                gone = self._db.execute(_FORGET, (end if row is None else min(end, row[0]), at_most)).rowcount
        except sqlite3.Error as error:
            raise EcsError(f"state in {self.folder} cannot be written: {error}") from error
        self.has_room()
        return gone

    def refill_reserve(self) -> bool:
        """Have the reserve on disk again, if there is room. Return whether it is there."""
        if not self._reserve_bytes or self._reserve.exists():
            return self._reserve.exists()
        status = os.statvfs(self.folder)
        if status.f_bavail * status.f_frsize < 2 * self._reserve_bytes:  # what is left is for what goes on
            return False
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._reserve_bytes)
        except OSError:
            self._reserve.unlink()
            return False
        finally:
            os.close(fd)
        return True

    def has_room(self) -> bool:
        """Whether the disk has room for new work: the reserve is there, or can be had again. Without one: True."""
        if not self._reserve_bytes:
            return True
        try:
            return self.refill_reserve()
        except OSError as error:  # no inode is left, or nothing can be written at all
            logger.warning("no reserve can be made in %s: %s", self.folder, error.strerror)
            return False

    def free_reserve(self) -> bool:
        """Give up the reserve. Return whether there was one."""
        try:
            self._reserve.unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
        rows = list(self._numbered(events))
        with self._transaction():
            self._db.executemany(
                _UPSERT,
                [
                    (record.table, record.key, record.value, _record_crc(record.table, record.key, record.value))
                    for record in records
                    if record.value is not None
                ],
            )
            self._db.executemany(
                _DELETE,
                [(record.table, record.key) for record in records if record.value is None],
            )
            if rows:
                self._db.executemany(_APPEND, rows)
                self._db.execute(_MARK, (rows[-1][0],))
        if rows:
            self._last_event = rows[-1][0]

    def _numbered(self, events: Sequence[Event]) -> Iterator[tuple[int, int, str, str, bytes, int]]:
        for number, event in enumerate(events, self._last_event + 1):
            if event.sequence == 0:
                event = attrs.evolve(event, sequence=number)
            elif event.sequence != number:
                raise EcsError(f"event {event.sequence} ({event.kind}) was to be written as number {number}")
            body = pack_value(event)
            yield number, event.unix_ms, event.environment, event.kind, body, _event_crc(number, body)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _open(self, path: Path, durable: bool) -> sqlite3.Connection:
        """Open the database; if it is damaged, save what can be saved. Raises sqlite3.Error, OSError, InvalidInput."""
        existed = path.exists() and path.stat().st_size > 0
        if existed and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        try:
            db, is_new = _open_database(path, durable)
            later = self._examine_later and not self._mistrusted.exists()
            if is_new or is_sound(db, _STATEMENTS, large="events" if later else ""):
                self.unexamined = later and not is_small(db)
                self._mistrusted.unlink(missing_ok=True)
                # A file without tables that is not new: all of it was in a write-ahead log that is gone.
                self.began_anew = is_new and self._reserve.exists()
                self._last_event = _later(0) if self.began_anew else _high_water(db)
                if self.began_anew:
                    self.damaged[path.name] = "its content is gone: the core began anew"
                    logger.error("%s: %s", path, self.damaged[path.name])
                return db
            db.close()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: the error itself quotes the damage
            if not is_damage(error):
                raise
        return self._salvaged(path, durable)

    def _salvaged(self, path: Path, durable: bool) -> sqlite3.Connection:
        self.set_aside = kept = set_aside(path)
        records = rows_of(kept, "records", 4)
        events = rows_of(kept, "events", 6, last=SALVAGED_EVENTS)
        records = [row for row in records if _is_row(row, (str, str, bytes))]
        events = [row for row in events if _is_row(row, (int, int, str, str, bytes))]
        self.began_anew = not records
        db, _ = _open_database(path, durable)
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", records)
        db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
        # Numbers that somebody has seen are never given again, and how many were lost nobody knows.
        self._last_event = _later(max((row[0] for row in events), default=0))
        db.execute(_MARK, (self._last_event,))
        db.execute("COMMIT")
        self._mistrusted.unlink(missing_ok=True)
        those = "the last " if len(events) == SALVAGED_EVENTS else ""
        text = (
            f"it was damaged; {len(records)} records and {those}{len(events)} events could be read, "
            f"it is kept as {kept.name}"
        )
        self.damaged[path.name] = text
        logger.error("%s: %s", path, text)
        return db


def _record_crc(table: str, key: str, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(f"{table}\0{key}\0".encode("utf-8", "replace")))


def _event_crc(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(number.to_bytes(8, "big", signed=True)))


def _is_row(row: tuple[Any, ...], types: tuple[type, ...]) -> bool:
    return all(type(value) is kind for value, kind in zip(row, types, strict=False)) and type(row[-1]) in (
        int,
        type(None),
    )


def _later(number: int) -> int:
    """Return a number of an event that nobody can have seen yet: they come more slowly than seconds, on the whole."""
    return max(number + 1_000_000, int(time.time()))


def _high_water(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM high_water WHERE name = 'event'").fetchone()
    if row is None or type(row[0]) is not int:
        raise sqlite3.DatabaseError("the number of the last event is missing")
    stored = row[0]
    (last,) = db.execute("SELECT MAX(seq) FROM events").fetchone()
    return max(stored, int(last or 0))


def _open_database(path: Path, durable: bool) -> tuple[sqlite3.Connection, bool]:
    """Return a database, and whether it had no tables: they are made then."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # the folder may be open to others
    db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        db.text_factory = lenient_text
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            stored = db.execute("SELECT value FROM high_water WHERE name = 'schema'").fetchone()
            if stored is not None and stored[0] != version:
                raise sqlite3.DatabaseError(f"it says that its version is {version} and {stored[0]}")
            raise InvalidInput(
                f"state in {path.parent} has schema version {version}; this program knows {SCHEMA_VERSION}",
                hint="use the newer program that wrote it, or another state folder",
            )
        if version == 0:
            db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version == 1:
            db.executescript(f"BEGIN;{_FROM_1}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
    except BaseException:
        db.close()
        raise
    return db, version == 0


def _is_found_damage(error: Exception) -> bool:
    """Whether a question or a commit has met damage: SQLite says so, or can't even say it."""
    return isinstance(error, UnicodeDecodeError) or (hasattr(error, "sqlite_errorcode") and is_damage(error))


def _is_disk_full(error: sqlite3.Error) -> bool:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return True
    # A failed write of the WAL comes as an I/O error; only the disk can tell why.
    return "disk I/O error" in str(error) or os.strerror(errno.ENOSPC) in str(error)
