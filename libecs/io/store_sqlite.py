"""Records and journal in SQLite: what an engine must find again after `kill -9`.

One folder, one owner:

    lock         flock of the owner, holds its pid and host
    state.sqlite records (table, key, value) and events (seq, unix_ms, environment, kind, body)
    reserve      8 MiB that are given up when the disk is full, so that a run can still be stopped
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from libecs.engine.effects import Persist
from libecs.errors import Conflict, EcsError, InvalidInput
from libecs.wire.client import Event
from libecs.wire.codec import pack_value, unpack_value

SCHEMA_VERSION = 1
RESERVE_BYTES = 8 * 1024 * 1024

_SCHEMA = """
CREATE TABLE records (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key));
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, unix_ms INTEGER NOT NULL, environment TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX events_by_environment ON events (environment, seq);
CREATE TABLE high_water (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO high_water VALUES ('event', 0);
"""


class FolderLock:
    """Exclusive ownership of a folder, released by `release` or by the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            Conflict: another process has it; the message names its pid and host.
        """
        self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, host = os.pread(self._fd, 256, 0).decode("utf-8", "replace").strip().partition(" ")
            os.close(self._fd)
            raise Conflict(
                f"state folder {folder} is in use by process {pid or '(just starting)'}{f' on {host}' if host else ''}",
                hint="end that process, or choose another state folder",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give it up."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)  # the lock goes with the open file
            self._fd = -1


@attrs.frozen
class LoadedEvent:
    """One event as it stands in the journal; `body` is read by `event()` only, so that one bad row costs one row."""

    sequence: int
    unix_ms: int
    environment: str
    kind: str
    body: bytes

    def event(self) -> Event:
        """Return the whole event. Raises DecodeError."""
        return unpack_value(Event, self.body)


class SqliteStore:
    """The only writer of one state folder. Use from one thread."""

    def __init__(self, folder: Path, *, durable: bool = True, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Open the folder, or make it.

        Args:
            folder: made with mode 0700 if it does not exist.
            durable: every commit survives a power cut (synchronous=FULL). Without, it survives the end of the
                process only, however it ends: enough for a folder that is temporary.
            reserve_bytes: size of the reserve; 0 = none.

        Raises:
            Conflict: the folder has an owner.
            InvalidInput: it was written by a newer version.
            EcsError: it cannot be read or written.
        """
        self.folder = folder
        self.damaged: dict[str, str] = {}
        """Records that can't be read (`table/key`), and why."""
        self.set_aside: Path | None = None
        """Where a database is that could not be read at all."""
        self._reserve = folder / "reserve"
        self._reserve_bytes = reserve_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            self._db = _open_database(folder / "state.sqlite", durable)
            self.refill_reserve()
            self._last_event = self._high_water()
        except sqlite3.Error as error:
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
                raise EcsError(f"state in {self.folder} cannot be written: {error}") from error
            try:
                self._write(records, events)
            except sqlite3.Error as again:
                raise EcsError(
                    f"state in {self.folder} cannot be written, the disk is full: {again}",
                    hint="make room on the disk and start again; nothing that was acknowledged is lost",
                ) from again

    def load(self) -> dict[str, dict[str, bytes]]:
        """Return all records: table to key to value."""
        tables: dict[str, dict[str, bytes]] = {}
        for table, key, value in self._db.execute("SELECT tbl, key, value FROM records ORDER BY tbl, key"):
            tables.setdefault(table, {})[key] = value
        return tables

    def events_since(self, sequence: int, *, environment: str = "", limit: int = 10_000) -> list[LoadedEvent]:
        """Return events after `sequence`, oldest first; of one environment, or of all (environment = "")."""
        where = "seq > ?"
        values: list[int | str] = [sequence]
        if environment:
            where += " AND environment = ?"
            values.append(environment)
        values.append(limit)
        rows = self._db.execute(
            f"SELECT seq, unix_ms, environment, kind, body FROM events WHERE {where} ORDER BY seq LIMIT ?", values
        )
        return [LoadedEvent(*row) for row in rows]

    def last_events(self, count: int, *, environment: str = "") -> list[LoadedEvent]:
        """Return the last `count` events, oldest first; of one environment, or of all (environment = "")."""
        where, values = ("WHERE environment = ?", [environment]) if environment else ("", [])
        rows = self._db.execute(
            f"SELECT seq, unix_ms, environment, kind, body FROM events {where} ORDER BY seq DESC LIMIT ?",
            [*values, count],
        )
        return [LoadedEvent(*row) for row in rows][::-1]

    def retain(self, *, since_ms: int, at_least: int = 0) -> int:
        """Forget events older than `since_ms` (unix), except the last `at_least`. Return how many went."""
        with self._transaction():
            gone = self._db.execute(
                "DELETE FROM events WHERE unix_ms < ? AND seq <= ?", (since_ms, self._last_event - at_least)
            ).rowcount
        self.refill_reserve()
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
        return not self._reserve_bytes or self.refill_reserve()

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
                "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value",
                [(record.table, record.key, record.value) for record in records if record.value is not None],
            )
            self._db.executemany(
                "DELETE FROM records WHERE tbl = ? AND key = ?",
                [(record.table, record.key) for record in records if record.value is None],
            )
            if rows:
                self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
                self._db.execute("UPDATE high_water SET value = ? WHERE name = 'event'", (rows[-1][0],))
        if rows:
            self._last_event = rows[-1][0]

    def _numbered(self, events: Sequence[Event]) -> Iterator[tuple[int, int, str, str, bytes]]:
        for number, event in enumerate(events, self._last_event + 1):
            if event.sequence == 0:
                event = attrs.evolve(event, sequence=number)
            elif event.sequence != number:
                raise EcsError(f"event {event.sequence} ({event.kind}) was to be written as number {number}")
            yield number, event.unix_ms, event.environment, event.kind, pack_value(event)

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

    def _high_water(self) -> int:
        return int(self._db.execute("SELECT value FROM high_water WHERE name = 'event'").fetchone()[0])


def _open_database(path: Path, durable: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise InvalidInput(
                f"state in {path.parent} has schema version {version}; this program knows {SCHEMA_VERSION}",
                hint="use the newer program that wrote it, or another state folder",
            )
        if version == 0:
            db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _is_disk_full(error: sqlite3.Error) -> bool:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return True
    # A failed write of the WAL comes as an I/O error; only the disk can tell why.
    return "disk I/O error" in str(error) or os.strerror(errno.ENOSPC) in str(error)
