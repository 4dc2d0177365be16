"""Records and journal on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libecs.engine.effects import Persist
from libecs.errors import Conflict, DecodeError, EcsError, InvalidInput
from libecs.fsm import TaskState
from libecs.io import salvage, store_sqlite
from libecs.io.store_sqlite import SqliteStore
from libecs.wire.codec import pack_value
from libecs.wire.info import Event


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state")
    yield store
    store.close()


def event(sequence: int = 0, environment: str = "e1", unix_ms: int = 1000) -> Event:
    return Event(
        sequence=sequence,
        unix_ms=unix_ms,
        kind="tasks",
        environment=environment,
        tasks=(("root.a", TaskState.RUNNING),),
    )


def test_records_and_events_are_found_again_by_the_next_owner(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    first.commit([Persist("env", "a", b"1"), Persist("env", "b", b"2"), Persist("run", "a", b"3")], [event(1)])
    first.commit([Persist("env", "a", b"new"), Persist("env", "b", None)], [event(2)])
    first.close()

    second = SqliteStore(tmp_path)

    assert second.load() == {"env": {"a": b"new"}, "run": {"a": b"3"}}
    assert [loaded.event() for loaded in second.events_since(0)] == [event(1), event(2)]
    assert second.last_event == 2
    second.close()


def test_the_folder_is_private_and_commits_are_synchronous(store: SqliteStore) -> None:
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.folder.iterdir()} == {0o600}
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_temporary_store_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, durable=False)

    assert store._db.execute("PRAGMA synchronous").fetchone() == (0,)
    store.close()


def test_events_without_a_number_get_the_next_one(store: SqliteStore) -> None:
    store.commit([], [event(), event()])
    store.commit([], [event(3)])

    assert [loaded.sequence for loaded in store.events_since(0)] == [1, 2, 3]
    assert store.events_since(0)[1].event().sequence == 2


@pytest.mark.parametrize("wrong", [1, 3])
def test_a_gap_or_a_repetition_in_event_numbers_is_refused_and_nothing_is_written(
    store: SqliteStore, wrong: int
) -> None:
    store.commit([], [event(1)])

    with pytest.raises(EcsError, match=f"event {wrong} .* as number 2"):
        store.commit([Persist("t", "k", b"v")], [event(wrong)])

    assert store.load() == {}
    assert store.last_event == 1
    store.commit([], [event(2)])


def test_events_are_read_by_environment_and_with_a_limit(store: SqliteStore) -> None:
    store.commit([], [event(environment=name) for name in ("a", "b", "a", "a")])

    assert [loaded.sequence for loaded in store.events_since(1, environment="a")] == [3, 4]
    assert [loaded.sequence for loaded in store.events_since(0, limit=2)] == [1, 2]


def test_retention_keeps_the_numbers_going(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.commit([], [event(unix_ms=unix_ms) for unix_ms in (10, 20, 30)])

    assert store.retain(since_ms=25, at_least=2) == 1
    assert store.retain(since_ms=100) == 2
    assert store.events_since(0) == []
    store.close()

    again = SqliteStore(tmp_path)
    again.commit([], [event()])
    assert again.events_since(0)[0].sequence == 4
    again.close()


def test_one_bad_event_costs_one_event(store: SqliteStore) -> None:
    store.commit([], [event(1), event(2)])
    store._db.execute("UPDATE events SET body = x'c1' WHERE seq = 1")

    bad, good = store.events_since(0)

    with pytest.raises(DecodeError):
        bad.event()
    assert good.event() == event(2)


def test_a_second_owner_is_told_the_pid_of_the_first(store: SqliteStore) -> None:
    program = (
        "import sys, pathlib\n"
        "from libecs.io.store_sqlite import SqliteStore\n"
        "from libecs.errors import Conflict\n"
        "try: SqliteStore(pathlib.Path(sys.argv[1]))\n"
        "except Conflict as error: print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(store.folder)], capture_output=True, text=True, check=True
    )

    assert f"in use by process {os.getpid()}" in done.stdout
    with pytest.raises(Conflict, match=str(os.getpid())):
        SqliteStore(store.folder)


def test_the_lock_goes_with_a_killed_owner(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from libecs.io.store_sqlite import SqliteStore\n"
        "from libecs.engine.effects import Persist\n"
        "SqliteStore(pathlib.Path(sys.argv[1]), durable=False).commit([Persist('t', 'k', b'v')], [])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    store = SqliteStore(tmp_path)

    assert store.load() == {"t": {"k": b"v"}}
    store.close()


def test_a_newer_schema_is_refused_in_clear_words(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        db.execute("PRAGMA user_version=99")
        db.execute("UPDATE high_water SET value = 99 WHERE name = 'schema'")
    db.close()

    with pytest.raises(InvalidInput, match="schema version 99; this program knows 2"):
        SqliteStore(tmp_path)


def test_a_file_that_is_no_database_is_set_aside_and_the_numbers_go_on_far_above(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"this is not a database" * 100)

    store = SqliteStore(tmp_path)

    assert store.set_aside == tmp_path / "state.sqlite.damaged-1"
    assert store.set_aside.read_bytes().startswith(b"this is not")
    assert store.began_anew
    assert store.load() == {}
    assert "0 records and 0 events could be read" in store.damaged["state.sqlite"]
    assert store.last_event > 1_000_000
    store.close()


NEVER_CLOSED = """
import os, pathlib, sys
from libecs.engine.effects import Persist
from libecs.io import salvage, store_sqlite
from libecs.io.store_sqlite import SqliteStore
SqliteStore(pathlib.Path(sys.argv[1])).commit([Persist('t', 'k', b'v')], [])
os._exit(0)
"""


def test_a_database_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    (tmp_path / "state.sqlite").unlink()

    store = SqliteStore(tmp_path)

    assert store.began_anew
    store.close()

    crashed = tmp_path / "crashed"
    subprocess.run([sys.executable, "-c", NEVER_CLOSED, str(crashed)], check=True)
    (crashed / "state.sqlite-wal").unlink()  # all of it was there
    (crashed / "state.sqlite-shm").unlink(missing_ok=True)

    store = SqliteStore(crashed)

    assert store.load() == {}
    assert store.began_anew
    assert store.last_event > 1_000_000
    store.close()


def test_a_record_with_a_wrong_checksum_is_named_and_comes_as_no_bytes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.commit([Persist("env", "a", b"good"), Persist("env", "b", b"good too")], [event(1), event(2)])
    store._db.execute("UPDATE records SET value = x'00' WHERE key = 'a'")
    store._db.execute("UPDATE events SET body = (SELECT body FROM events WHERE seq = 2) WHERE seq = 1")
    store.close()

    second = SqliteStore(tmp_path)

    assert second.load() == {"env": {"a": b"", "b": b"good too"}}
    assert second.damaged == {"env/a": "its checksum is wrong"}
    first, other = second.events_since(0)
    with pytest.raises(DecodeError, match="event 1 is damaged"):
        first.event()
    assert other.event() == event(2)
    second.close()


def test_a_state_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    first.commit([Persist("env", "a", b"1")], [event(1)])
    for statement in (
        "ALTER TABLE records DROP COLUMN crc",
        "ALTER TABLE events DROP COLUMN crc",
        "DELETE FROM high_water WHERE name = 'schema'",
        "PRAGMA user_version=1",
    ):
        first._db.execute(statement)
    first.close()

    second = SqliteStore(tmp_path)
    second.commit([Persist("env", "b", b"2")], [event(2)])

    assert second.load() == {"env": {"a": b"1", "b": b"2"}}
    assert [loaded.event() for loaded in second.events_since(0)] == [event(1), event(2)]
    second.close()


def test_a_broken_page_costs_what_lies_on_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)
    store.commit([Persist("env", f"{number:04}", bytes([number % 251]) * 900) for number in range(200)], [event(1)])
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = bytearray((tmp_path / "state.sqlite").read_bytes())
    at = data.index(bytes([100]) * 900) // 4096 * 4096  # a page in the middle of the records
    data[at : at + 4096] = bytes(4096)
    (tmp_path / "state.sqlite").write_bytes(data)

    second = SqliteStore(tmp_path, durable=False, reserve_bytes=0)

    records = second.load()["env"]
    assert 180 < len(records) < 200
    assert records["0000"] == bytes(900)
    assert records["0199"] == bytes([199]) * 900
    assert "could be read" in second.damaged["state.sqlite"]
    assert second.last_event > 1_000_000
    second.close()


def spoiled_journal(folder: Path, events: int = 3000) -> int:
    """Write a journal with a broken page in its older half; return the number of the last event."""
    store = SqliteStore(folder, durable=False, reserve_bytes=0)
    store.commit([Persist("env", "a", b"1")], [event(number) for number in range(1, events + 1)])
    (root,) = store._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = bytearray((folder / "state.sqlite").read_bytes())
    body = pack_value(event(events // 3))
    at = data.index(body) // 4096 * 4096
    assert at // 4096 + 1 != root
    data[at : at + 4096] = bytes(4096)
    (folder / "state.sqlite").write_bytes(data)
    return events


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever database there is, it is a large one."""
    monkeypatch.setattr(salvage, "WHOLE_BYTES", 0)


@pytest.mark.usefixtures("large")
def test_a_large_journal_is_looked_through_later_and_what_is_wrong_is_mended_by_the_next_owner(tmp_path: Path) -> None:
    last = spoiled_journal(tmp_path)

    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    assert (store.unexamined, store.problem, store.set_aside) == (True, "", None)
    assert store.load() == {"env": {"a": b"1"}}
    assert [one.sequence for one in store.last_events(2)] == [last - 1, last]
    store.commit([Persist("env", "b", b"2")], [event()])
    store.examine()
    assert not store.unexamined
    assert "is damaged" in store.problem
    store.commit([], [event()])  # goes on as far as it can
    store.close()

    second = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    assert second.set_aside is not None
    assert second.load() == {"env": {"a": b"1", "b": b"2"}}
    assert last - 100 < len(second.events_since(0, limit=2 * last)) < last + 2
    assert second.last_event > last
    second.close()

    third = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    third.examine()
    assert (third.problem, third.set_aside, third.damaged) == ("", None, {})
    third.close()


@pytest.mark.parametrize(("most", "told"), [(500, "the last 500 events"), (2500, "the last 2500 events")])
def test_of_a_damaged_journal_the_last_events_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, told: str
) -> None:
    monkeypatch.setattr(store_sqlite, "SALVAGED_EVENTS", most)  # the damage is before, or among them
    last = spoiled_journal(tmp_path)

    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)

    numbers = [one.sequence for one in store.events_since(0)]
    assert (len(numbers), numbers[-1]) == (most, last)
    assert numbers == sorted(numbers)
    assert told in store.damaged["state.sqlite"]
    store.close()


@pytest.mark.usefixtures("large")
def test_who_reads_a_damaged_journal_gets_what_is_before_the_damage_and_it_is_told(tmp_path: Path) -> None:
    last = spoiled_journal(tmp_path)
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)

    first = store.events_since(0, limit=last)
    assert 0 < len(first) < last // 2
    assert "is damaged" in store.problem
    store.close()

    second = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    assert second.set_aside is not None
    second.close()


@pytest.mark.usefixtures("large")
def test_a_commit_that_meets_damage_is_refused_and_mended_by_the_next_owner(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)
    store.commit([Persist("env", "a", b"1")], [event(number, environment=f"e{number:04}") for number in range(1, 3000)])
    (root,) = store._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_environment'").fetchone()
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = bytearray((tmp_path / "state.sqlite").read_bytes())
    data[(root - 1) * 4096 : root * 4096] = bytes(4096)
    (tmp_path / "state.sqlite").write_bytes(data)

    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    with pytest.raises(EcsError, match="cannot be written"):
        store.commit([Persist("env", "b", b"2")], [event()])
    store.close()

    second = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)
    second.commit([Persist("env", "b", b"2")], [event()])
    assert second.load() == {"env": {"a": b"1", "b": b"2"}}
    assert len(second.events_since(0)) == 3000
    second.close()


@pytest.mark.usefixtures("large")
def test_a_broken_page_of_records_is_found_at_once_however_large_the_journal_is(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, durable=False, reserve_bytes=0)
    store.commit([Persist("env", f"{number:04}", bytes([number % 251]) * 900) for number in range(200)], [event(1)])
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = bytearray((tmp_path / "state.sqlite").read_bytes())
    at = data.index(bytes([100]) * 900) // 4096 * 4096
    data[at : at + 4096] = bytes(4096)
    (tmp_path / "state.sqlite").write_bytes(data)

    second = SqliteStore(tmp_path, durable=False, reserve_bytes=0, examine_later=True)

    assert second.set_aside is not None
    assert 180 < len(second.load()["env"]) < 200
    second.close()


def test_a_database_that_cannot_be_asked_is_not_called_damaged(tmp_path: Path) -> None:
    assert salvage.what_is_wrong(tmp_path / "nothing") == ""


def test_a_mistrust_that_cannot_be_written_is_told_all_the_same(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "_mistrusted", store.folder / "no" / "folder")
    monkeypatch.setattr(store_sqlite, "what_is_wrong", lambda path: "a page is broken")

    store.examine()

    assert "a page is broken" in store.problem
    assert "cannot be written" in caplog.text


def test_many_old_events_are_forgotten_bit_by_bit(store: SqliteStore) -> None:
    store.commit([], [event(number) for number in range(1, 21)])

    assert [store.retain(since_ms=10**15, at_least=5, at_most=6) for _ in range(4)] == [6, 6, 3, 0]
    assert [one.sequence for one in store.events_since(0)] == [16, 17, 18, 19, 20]


def damaged_states(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a database cut at many lengths, and with one bit flipped at many places."""
    for size in (0, 1, 15, 16, 99, 100, 512, *range(1024, len(data), 8192)):
        yield f"cut at {size}", data[:size]
    for number, at in enumerate([*range(0, 100, 3), *range(100, len(data), 173)]):
        yield f"bit flipped at {at}", data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :]


@pytest.mark.parametrize("later", [False, True])
def test_whatever_is_damaged_it_opens_and_gives_no_record_that_was_never_written(
    tmp_path: Path, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if later:
        monkeypatch.setattr(salvage, "WHOLE_BYTES", 0)
    origin = tmp_path / "origin"
    store = SqliteStore(origin, durable=False, reserve_bytes=0)
    written = {f"{number:03}": bytes([number]) * 40 for number in range(60)}
    store.commit(
        [Persist("env", key, value) for key, value in written.items()],
        [event(number, environment=f"e{number}") for number in range(1, 40)],
    )
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = (origin / "state.sqlite").read_bytes()

    for number, (what, damaged) in enumerate(damaged_states(data)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "state.sqlite").write_bytes(damaged)

        one = SqliteStore(folder, durable=False, reserve_bytes=0, examine_later=later)

        for key, value in one.load().get("env", {}).items():
            assert value in (b"", written.get(key)), (what, key)
        for loaded in one.events_since(0):
            with contextlib.suppress(DecodeError):
                assert loaded.event() == event(loaded.sequence, environment=f"e{loaded.sequence}"), what
        try:
            one.commit([Persist("env", "new", b"new")], [event()])
        except EcsError:  # in a part that was to be looked at later
            assert one.problem, what
            one.close()
            one = SqliteStore(folder, durable=False, reserve_bytes=0, examine_later=later)
            one.commit([Persist("env", "new", b"new")], [event()])
        assert one.load()["env"]["new"] == b"new", what
        one.close()
        shutil.rmtree(folder)


def test_when_the_disk_is_full_the_reserve_is_given_up_and_the_write_repeated_once(store: SqliteStore) -> None:
    """A limit on pages stands for the disk: it says SQLITE_FULL as a full disk does."""
    assert (store.folder / "reserve").stat().st_size == 8 * 1024 * 1024
    store._db.execute("PRAGMA max_page_count=1")  # rounded up by SQLite to what is in use

    with pytest.raises(EcsError, match="the disk is full"):
        store.commit([Persist("t", "k", bytes(100_000))], [event()])

    assert not (store.folder / "reserve").exists()
    assert (store.load(), store.last_event) == ({}, 0)

    with pytest.raises(EcsError, match="cannot be written"):  # no reserve, no second attempt
        store.commit([Persist("t", "k", bytes(100_000))], [])

    store._db.execute("PRAGMA max_page_count=1000000")
    store.commit([Persist("t", "k", b"v")], [event()])
    assert store.refill_reserve()
    assert (store.folder / "reserve").exists()


FILL_THE_DISK = """
import pathlib, sys
from libecs.engine.effects import Persist
from libecs.io import salvage, store_sqlite
from libecs.io.store_sqlite import SqliteStore
folder = pathlib.Path(sys.argv[1])
store = SqliteStore(folder / 'state', reserve_bytes=1024 * 1024)
try:
    with open(folder / 'filler', 'wb', buffering=0) as filler:
        while True: filler.write(bytes(4096))
except OSError: pass
for i in range(8): store.commit([Persist('t', str(i), bytes(50_000))], [])
print(len(store.load()['t']), (folder / 'state/reserve').exists())
(folder / 'filler').unlink()
print(store.refill_reserve())
store.close()
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting a small disk needs root")
def test_on_a_really_full_disk_the_reserve_lets_the_last_commits_through(tmp_path: Path) -> None:
    program = tmp_path / "fill.py"
    program.write_text(FILL_THE_DISK)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs "$3" || exit 77; exec "$1" "$2" "$3"'

    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, str(program), str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or done.stderr.startswith("unshare:"):  # the latter in a chroot
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")

    assert done.stdout == "8 False\nTrue\n", done.stderr


def test_a_reserve_that_cannot_be_made_is_no_room_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "state", durable=False)
    assert store.free_reserve()

    def no_inode(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "open", no_inode)
        assert not store.has_room()
        assert store.retain(since_ms=0) == 0
    assert store.has_room()
    store.close()


def test_retention_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state", durable=False)
    store.commit([], [event(unix_ms=1)])
    store._db.execute("PRAGMA query_only = 1")

    with pytest.raises(EcsError, match="cannot be written"):
        store.retain(since_ms=2)

    store.close()
