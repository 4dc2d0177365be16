"""The core's next key on disk: made, told, taken by one rename, and what is left when a core is killed in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libecs.errors import InvalidInput, NotFound
from libecs.io.corekeys import CoreKeys, open_core_keys
from libecs.io.keyfile import read_key_file

BEGUN, DUE = 1000, 5000


@pytest.fixture
def first(tmp_path: Path) -> CoreKeys:
    return open_core_keys(tmp_path, now_ms=BEGUN)


def again(state: Path, now_ms: int = BEGUN) -> CoreKeys:
    """Start the core anew."""
    return open_core_keys(state, now_ms=now_ms)


def test_a_core_has_no_next_key_until_somebody_says_so(tmp_path: Path, first: CoreKeys) -> None:
    assert first.next.next is None
    assert first.next.due(DUE) == ""
    assert again(tmp_path, DUE).pair == first.pair


def test_a_next_key_outlives_the_core_and_is_taken_at_the_first_start_after_its_time(
    tmp_path: Path, first: CoreKeys
) -> None:
    following = first.next.begin(DUE)
    secret = read_key_file(tmp_path / "keys" / "core.next.key")

    early = again(tmp_path, DUE - 1)
    assert early.pair == first.pair
    assert early.next.next == following
    taken = again(tmp_path, DUE)

    assert taken.pair == secret
    assert taken.pair.public == following.public != first.pair.public
    assert taken.next.next is None
    assert again(tmp_path, 2 * DUE).pair == secret


def test_a_running_core_keeps_its_key_and_says_that_the_next_one_may_be_taken(first: CoreKeys) -> None:
    first.next.begin(DUE)

    assert first.next.due(DUE - 1) == ""
    assert "restart ecsd" in first.next.due(DUE)


def test_another_time_changes_nothing_of_the_key_and_nothing_of_who_was_told(tmp_path: Path, first: CoreKeys) -> None:
    before = first.next.begin(DUE)
    first.next.note_told("alice")

    after = first.next.begin(2 * DUE)

    assert (after.public, after.from_ms) == (before.public, 2 * DUE)
    assert again(tmp_path, DUE).next.told == {"alice"}


def test_who_was_told_is_known_after_a_restart(tmp_path: Path, first: CoreKeys) -> None:
    first.next.note_told("early")  # there is nothing to be told of
    first.next.begin(DUE)
    for name in ("alice", "n1", "alice"):
        first.next.note_told(name)

    later = again(tmp_path).next

    assert later.told == {"alice", "n1"}
    assert later.untold(["n2", "n1", "bob"]) == ["bob", "n2"]
    assert (tmp_path / "keys" / "core.next.told").read_text() == "alice\nn1\n"


def test_a_next_key_that_was_given_up_is_forgotten_with_its_secret(tmp_path: Path, first: CoreKeys) -> None:
    before = first.next.begin(DUE)
    first.next.note_told("alice")

    first.next.cancel()

    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["core.key", "owner.key", "principals"]
    assert again(tmp_path, DUE).pair == first.pair
    with pytest.raises(NotFound, match="no next key"):
        first.next.cancel()
    assert first.next.begin(DUE).public != before.public
    assert not first.next.told


def test_a_core_killed_right_after_the_rename_forgets_whom_it_told_of_the_key_that_it_has(
    tmp_path: Path, first: CoreKeys
) -> None:
    first.next.begin(DUE)
    first.next.note_told("alice")
    folder = tmp_path / "keys"
    (folder / "core.next.key").rename(folder / "core.key")

    taken = again(tmp_path, DUE)
    taken.next.begin(2 * DUE)

    assert not taken.next.told
    assert not again(tmp_path, DUE).next.told


def test_a_rename_that_was_lost_with_the_power_is_made_again(tmp_path: Path, first: CoreKeys) -> None:
    first.next.begin(DUE)
    folder = tmp_path / "keys"
    old, new = (folder / "core.key").read_bytes(), (folder / "core.next.key").read_bytes()
    taken = again(tmp_path, DUE)

    for name, content in (("core.key", old), ("core.next.key", new)):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)

    assert again(tmp_path, DUE).pair == taken.pair


@pytest.mark.parametrize("text", ["", "\xff", 'public = "x"', "from_ms = 5\n"])
def test_a_next_key_that_is_damaged_is_told_and_the_core_goes_on(tmp_path: Path, first: CoreKeys, text: str) -> None:
    path = tmp_path / "keys" / "core.next.key"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)

    later = again(tmp_path, DUE)

    assert later.pair == first.pair
    assert later.next.next is None
    assert "next key can't be used" in later.next.problem
    later.next.begin(DUE)
    assert later.next.problem == ""


def test_a_next_key_that_could_not_be_used_once_is_never_taken_for_everybody_was_told_that_there_is_none(
    tmp_path: Path, first: CoreKeys
) -> None:
    first.next.begin(DUE)
    path = tmp_path / "keys" / "core.next.key"
    path.chmod(0o644)
    again(tmp_path)

    assert not path.exists()
    assert again(tmp_path, DUE).pair == first.pair


def test_that_a_next_key_was_given_up_is_on_the_disk_before_anybody_is_told(
    tmp_path: Path, first: CoreKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.next.begin(DUE)
    path = tmp_path / "keys" / "core.next.key"
    synced: list[tuple[str, bool]] = []

    def note(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", note)
    first.next.cancel()

    assert synced == [(str(path.parent), False)]


def test_a_next_key_without_a_time_is_damaged(tmp_path: Path, first: CoreKeys) -> None:
    first.next.begin(DUE)
    path = tmp_path / "keys" / "core.next.key"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "from_ms" not in line))

    assert "from_ms is missing" in again(tmp_path, DUE).next.problem


def test_a_next_key_that_others_can_read_is_not_taken(tmp_path: Path, first: CoreKeys) -> None:
    first.next.begin(DUE)
    (tmp_path / "keys" / "core.next.key").chmod(0o644)

    later = again(tmp_path, DUE)

    assert later.pair == first.pair
    assert "read by others" in later.next.problem


def test_a_next_key_whose_file_went_wrong_meanwhile_gets_no_other_time(tmp_path: Path, first: CoreKeys) -> None:
    first.next.begin(DUE)
    (tmp_path / "keys" / "core.next.key").write_text("")

    with pytest.raises(InvalidInput, match="no pair of keys"):
        first.next.begin(2 * DUE)


def test_who_was_told_is_told_again_if_it_cannot_be_written_down(
    tmp_path: Path, first: CoreKeys, caplog: pytest.LogCaptureFixture
) -> None:
    first.next.begin(DUE)
    (tmp_path / "keys" / "core.next.told").mkdir()

    first.next.note_told("alice")

    assert first.next.told == {"alice"}
    assert "cannot be written" in caplog.text
    assert not again(tmp_path).next.told


def test_the_next_key_is_as_private_as_the_present_one(tmp_path: Path, first: CoreKeys) -> None:
    first.next.begin(DUE)
    first.next.note_told("alice")
    secret = read_key_file(tmp_path / "keys" / "core.next.key").secret

    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert secret not in repr(first.next.next)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text()] == [
        "core.next.key"
    ]
