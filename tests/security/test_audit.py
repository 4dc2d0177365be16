"""The audit log: what was done to it afterwards is found, and where."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.access import Principal, Role
from libecs.engine.effects import Audit
from libecs.errors import InvalidInput, NotFound
from libecs.io import audit
from libecs.io.audit import GENESIS, AuditLog, Head, chain_files, tail, verify, verify_files

pytestmark = pytest.mark.timeout(300)

ALICE = Principal(name="alice", role=Role.OPERATOR, key="abcdefgh", via="client")


def line(text: str = "", verb: str = "Create") -> Audit:
    return Audit(verb=verb, principal=ALICE, requester="alice", object="2abc", operation="op-1", text=text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def log(folder: Path) -> Iterator[AuditLog]:
    log = AuditLog(folder)
    yield log
    log.close()


def ten(folder: Path) -> Path:
    log = AuditLog(folder)
    for number in range(1, 11):
        log.write([line(f"number {number}")], number)
    log.close()
    (path,) = chain_files(folder)
    return path


def test_a_line_tells_who_asked_for_what_and_what_was_decided(folder: Path, log: AuditLog) -> None:
    log.write([line("because")], 1234)

    (found,) = tail(folder, 10)
    assert found["n"] == 1
    assert found["unix_ms"] == 1234
    assert found["mono_s"] > 0
    assert found["prev"] == GENESIS
    assert len(found["hash"]) == 64
    kept = ("who", "key", "role", "via", "requester", "verb", "object", "operation", "decision", "text")
    assert [found[name] for name in kept] == [
        "alice", "abcdefgh", "operator", "client", "alice", "Create", "2abc", "op-1", "accepted", "because",
    ]  # fmt: skip


def test_the_owner_of_an_embedded_system_is_named_by_his_messages(folder: Path, log: AuditLog) -> None:
    owner = Principal(name="", role=Role.ADMIN)
    log.write([Audit(verb="Create", principal=owner, requester="bob")], 1)

    assert tail(folder, 1)[0]["who"] == "bob"


def test_a_chain_is_in_order_over_lives_of_its_writer(folder: Path) -> None:
    for _ in range(3):
        log = AuditLog(folder)
        log.write([line(), line("two in a tick")], 5)
        log.close()

    verdict = verify(folder)

    assert (verdict.problem, verdict.lines, verdict.head.number) == ("", 6, 6)


def test_an_empty_chain_is_in_order(folder: Path, log: AuditLog) -> None:
    assert verify(folder).problem == ""
    assert tail(folder, 5) == []


def test_rotation_does_not_break_the_chain(folder: Path) -> None:
    for life in range(4):
        log = AuditLog(folder, rotate_bytes=2000)
        for number in range(10):
            log.write([line(f"{life} {number}")], number)
        log.close()

    assert len(chain_files(folder)) > 3
    assert (verify(folder).problem, verify(folder).lines) == ("", 40)
    assert [found["text"] for found in tail(folder, 12)] == [f"{n // 10} {n % 10}" for n in range(28, 40)]


def test_a_chain_goes_on_when_the_writer_was_killed_right_after_rotation(folder: Path) -> None:
    ten(folder)
    (folder / "audit-000000000011.jsonl").touch(mode=0o600)

    log = AuditLog(folder)
    log.write([line()], 1)
    log.close()

    assert (verify(folder).problem, verify(folder).lines) == ("", 11)


def test_files_and_folder_are_private(folder: Path) -> None:
    old = os.umask(0)
    try:
        ten(folder)
    finally:
        os.umask(old)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def edit(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b"alice", b"mallo"), *lines[5:]]


def edit_number(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b'"n":5', b'"n":6'), *lines[5:]]


def edit_and_rehash(lines: list[bytes]) -> list[bytes]:
    document = json.loads(lines[4])
    document["who"] = "mallory"
    del document["hash"]
    body = json.dumps(document, separators=(",", ":")).encode()[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return [*lines[:4], body + b',"hash":"' + digest.encode() + b'"}\n', *lines[5:]]


def delete(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], *lines[5:]]


def delete_two(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], *lines[6:]]


def reorder(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


def copy(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[4], *lines[5:]]


def truncate(lines: list[bytes]) -> list[bytes]:
    return lines[:7]


def cut(lines: list[bytes]) -> list[bytes]:
    return [*lines[:9], lines[9][:-10]]


def cut_newline(lines: list[bytes]) -> list[bytes]:
    return [*lines[:9], lines[9][:-1]]


def delete_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def empty(lines: list[bytes]) -> list[bytes]:
    return []


def rubbish(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"hello\n", *lines[5:]]


def deep(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"[" * 100_000 + b"\n", *lines[5:]]


def no_object(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"[]\n", *lines[5:]]


def no_number(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b'{"n":true,"hash":"x"}\n', *lines[5:]]


def last_edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:9], lines[9].replace(b"alice", b"mallo")]


@pytest.mark.parametrize(
    ("change", "at", "words"),
    [
        (edit, 5, "line 5 was edited"),
        (edit_number, 5, "line 6 was edited"),
        (edit_and_rehash, 6, "behind another line 5"),
        (delete, 5, "line 5 is missing"),
        (delete_two, 5, "lines 5 to 6 are missing"),
        (delete_first, 1, "line 1 is missing"),
        (reorder, 5, "line 5 is missing"),
        (copy, 6, "moved or copied"),
        (truncate, 1, "lines 8 to 10 are missing at the end"),
        (empty, 1, "lines 1 to 10 are missing at the end"),
        (cut, 10, "cut off"),
        (cut_newline, 10, "cut off"),
        (rubbish, 5, "none of the audit log"),
        (deep, 5, "none of the audit log"),
        (no_object, 5, "none of the audit log"),
        (no_number, 5, "none of the audit log"),
        (last_edited, 10, "line 10 was edited"),
    ],
)
def test_the_first_line_that_breaks_is_named(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], at: int, words: str
) -> None:
    path = ten(folder)
    path.write_bytes(b"".join(change(lines_of(path))))

    verdict = verify(folder)

    assert words in verdict.problem
    assert verdict.line == at
    assert verdict.file == ("head" if "at the end" in words else path.name)


def test_the_last_line_changed_with_its_hash_is_missed_by_the_head(folder: Path) -> None:
    path = ten(folder)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:9], *edit_and_rehash([*lines[:4], lines[9]])[4:]]))

    assert "line 10 is not the one that was written" in verify(folder).problem


def test_a_damaged_head_is_told(folder: Path) -> None:
    ten(folder)
    (folder / "head").write_bytes(b"hello")

    assert "nobody knows" in verify(folder).problem


def test_a_file_of_a_rotated_chain_that_is_gone_is_told(folder: Path) -> None:
    log = AuditLog(folder, rotate_bytes=1000)
    for number in range(10):
        log.write([line()], number)
    log.close()
    files = chain_files(folder)

    files[1].unlink()

    verdict = verify(folder)
    assert "missing" in verdict.problem
    assert verdict.file == files[2].name


DAY_MS = 86_400_000


def years(folder: Path, keep_days: float = 400.0, days: int = 1000, step: int = 10) -> None:
    """Write a line every so many days."""
    log = AuditLog(folder, keep_days=keep_days)
    for day in range(1, days, step):
        log.write([line(f"day {day}")], day * DAY_MS)
    log.close()


def first_number(folder: Path) -> int:
    return int(chain_files(folder)[0].stem.removeprefix("audit-"))


def test_old_files_are_removed_and_the_chain_begins_behind_them(folder: Path) -> None:
    years(folder)

    verdict = verify(folder)
    shown = tail(folder, 1000)
    assert verdict.problem == ""
    assert verdict.base.number == first_number(folder) - 1 > 20
    assert verdict.lines == verdict.head.number - verdict.base.number == len(shown)
    days = [int(one["text"].removeprefix("day ")) for one in shown if one["verb"] == "Create"]
    assert 991 - 480 < days[0] < 991 - 400 + 31
    assert len([one for one in shown if one["verb"] == "audit.remove"]) > 5
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_no_file_is_removed_if_all_are_to_be_kept(folder: Path) -> None:
    years(folder, keep_days=0.0)

    assert first_number(folder) == 1
    assert verify(folder).base.number == 0
    assert not (folder / "base").exists()


def test_the_last_two_files_stay_however_old(folder: Path) -> None:
    years(folder, days=65)
    count = len(chain_files(folder))
    assert count == 2

    for _ in range(5):
        AuditLog(folder, keep_days=1.0).close()

    assert len(chain_files(folder)) == 2
    assert verify(folder).problem == ""


def test_a_clock_that_is_wrong_costs_one_file_at_a_start(folder: Path) -> None:
    years(folder, keep_days=10_000.0)
    before = len(chain_files(folder))
    assert before > 10

    AuditLog(folder, keep_days=400.0).close()  # by the clock of this machine all of them are old

    assert len(chain_files(folder)) == before  # one has come, as the last one was old, and one has gone
    assert verify(folder).base.number > 0
    assert verify(folder).problem == ""


def test_a_removal_that_was_cut_short_is_no_break(folder: Path) -> None:
    years(folder, keep_days=10_000.0, days=200)
    first = chain_files(folder)[0]
    kept = first.read_bytes()
    AuditLog(folder, keep_days=1.0).close()
    assert not first.exists()
    first.write_bytes(kept)

    assert verify(folder).problem == ""
    assert verify(folder).base.number == 0


def test_a_beginning_that_was_taken_away_and_covered_up_is_told(folder: Path) -> None:
    years(folder, keep_days=0.0, days=20)
    log = AuditLog(folder, rotate_bytes=1)
    log.write([line("other file")], 1)
    log.close()
    first, _ = chain_files(folder)
    last = json.loads(first.read_text().splitlines()[-1])
    first.unlink()
    (folder / "base").write_text(f"{last['n']:020d} {last['hash']}\n")

    verdict = verify(folder)

    assert (verdict.file, verdict.line) == ("base", 1)
    assert "no line tells that they were removed" in verdict.problem


def test_a_base_that_does_not_fit_or_is_damaged_covers_nothing(folder: Path) -> None:
    years(folder)
    (folder / "base").write_text("nonsense")

    assert "are missing" in verify(folder).problem


def test_a_file_that_cannot_be_removed_costs_no_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(audit, "write_private", refuse)

    years(folder, days=600)

    assert first_number(folder) == 1
    assert "the oldest file stays" in caplog.text
    assert verify(folder).problem == ""


def test_a_single_file_is_checked_in_itself(folder: Path) -> None:
    log = AuditLog(folder, rotate_bytes=1000)
    for number in range(10):
        log.write([line()], number)
    log.close()
    files = chain_files(folder)

    assert verify_files(files[1:2]).problem == ""
    assert verify_files(files[1:]).head == log.head
    assert "missing" in verify_files([files[0], files[2]]).problem


def test_no_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no audit log"):
        verify(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        verify_files([tmp_path / "x"])
    (tmp_path / "head").mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        verify(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 50, -1])
def test_a_line_that_a_crash_cut_is_removed_and_that_is_told(folder: Path, keep: int) -> None:
    path = ten(folder)
    whole = lines_of(path)
    remembered = (folder / "head").read_bytes()
    log = AuditLog(folder)
    log.write([line("the last one")], 11)
    log.close()
    path.write_bytes(b"".join(whole) + lines_of(path)[-1][:keep])
    (folder / "head").write_bytes(remembered)  # it is written after the line

    log = AuditLog(folder)
    log.write([line("afterwards")], 12)
    log.close()

    assert verify(folder).problem == ""
    told = [found for found in tail(folder, 5) if found["verb"] == "audit.open"]
    assert len(told) == (0 if keep == 0 else 1)


@pytest.mark.parametrize("change", [truncate, last_edited, empty])
def test_what_was_done_to_the_end_is_told_at_the_next_start_and_stays_found(
    folder: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = ten(folder)
    path.write_bytes(b"".join(change(lines_of(path))))

    log = AuditLog(folder)
    log.write([line("afterwards")], 12)
    log.close()

    assert verify(folder).problem
    assert tail(folder, 1)[0]["text"] == "afterwards"
    assert change is last_edited or tail(folder, 2)[0]["verb"] == "audit.open"


def test_a_line_that_was_not_written_whole_leaves_nothing(
    folder: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write([line("first")], 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", full)
        with pytest.raises(OSError, match="No space"):
            log.write([line("second")], 2)
    log.write([line("third")], 3)

    assert [found["text"] for found in tail(folder, 5)] == ["first", "third"]
    assert verify(folder).problem == ""


def test_no_text_ends_a_line_or_moves_a_cursor(folder: Path, log: AuditLog) -> None:
    log.write([line('\n{"n":2}\r\x1b[2J\u2028é"')], 1)

    (path,) = chain_files(folder)
    (raw,) = lines_of(path)
    assert raw.isascii()
    assert all(32 <= byte < 127 for byte in raw[:-1])
    assert verify(folder).problem == ""


def test_long_texts_are_cut(folder: Path, log: AuditLog) -> None:
    log.write([line("x" * 100_000)], 1)

    assert tail(folder, 1)[0]["text"].endswith("… (100000 characters)")
    assert verify(folder).problem == ""


def test_the_tail_shows_damaged_lines_too(folder: Path) -> None:
    path = ten(folder)
    path.write_bytes(b"".join(rubbish(lines_of(path))))

    assert tail(folder, 6)[0] == {"decision": "damaged", "text": "hello"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A chain whose file is written again and again, and what was in it: to make it takes the disk some time."""
    path = ten(tmp_path_factory.mktemp("audit"))
    return path, lines_of(path)


@given(st.integers(0, 9), st.integers(0, 400), st.integers(1, 255))
def test_any_changed_byte_is_found(chain: tuple[Path, list[bytes]], at: int, column: int, mask: int) -> None:
    path, lines = chain
    changed = bytearray(lines[at])
    changed[column % len(changed)] ^= mask
    path.write_bytes(b"".join([*lines[:at], bytes(changed), *lines[at + 1 :]]))

    verdict = verify(path.parent)

    assert verdict.problem
    assert verdict.lines == at


def test_the_head_is_that_of_the_last_line(folder: Path, log: AuditLog) -> None:
    assert log.head == Head()
    log.write([line()], 1)
    assert log.head == verify(folder).head
