"""Files of keys and the keyring: what is private stays private, and what can't be read lets nobody in."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.access import Role
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, NotFound
from libecs.io.corekeys import open_core_keys, write_client_file
from libecs.io.keys import (
    Entry,
    KeyPair,
    Keyring,
    KeyState,
    KnownKey,
    check_key,
    check_name,
    read_key_file,
    role_of,
    toml_text,
    write_key_file,
    write_private,
    z85,
)

pytestmark = pytest.mark.timeout(300)

ALICE, BOB, CAROL = KeyPair.new(), KeyPair.new(), KeyPair.new()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "principals"


@pytest.fixture
def keyring(folder: Path) -> Iterator[Keyring]:
    keyring = Keyring(folder)
    yield keyring
    keyring.close()


def add(keyring: Keyring, name: str, pair: KeyPair, state: KeyState = KeyState.APPROVED, **others: object) -> Entry:
    return keyring.add(name, Role.OPERATOR, pair.public, state=state, by="owner", now_ms=1, **others)  # type: ignore[arg-type]


def test_a_key_file_is_private_and_comes_back(tmp_path: Path) -> None:
    write_key_file(tmp_path / "k", ALICE)

    assert read_key_file(tmp_path / "k") == ALICE
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert ALICE.secret not in repr(ALICE)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660, 0o666, 0o610])
def test_a_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    write_key_file(tmp_path / "k", ALICE)
    (tmp_path / "k").chmod(mode)

    with pytest.raises(Denied, match="others") as caught:
        read_key_file(tmp_path / "k")

    assert "chmod 600" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files of others")
def test_a_key_file_of_somebody_else_is_refused_to_all_but_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key_file(tmp_path / "k", ALICE)
    os.chown(tmp_path / "k", 12345, -1)
    assert read_key_file(tmp_path / "k") == ALICE

    monkeypatch.setattr("os.geteuid", lambda: 4242)

    with pytest.raises(Denied, match="user 12345"):
        read_key_file(tmp_path / "k")


def test_no_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no key file"):
        read_key_file(tmp_path / "k")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="cannot be read"):
        read_key_file(tmp_path)
    with pytest.raises(Denied, match="no regular file"):
        read_key_file(Path("/dev/null"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff",
        f'public = "{ALICE.public}"\nsecret = "{BOB.secret}"\n',
        f'public = "{ALICE.public}"\n',
        f'public = "{ALICE.public}"\nsecret = "{ALICE.secret[:-1]}\n',
        f'public = "{ALICE.public}"\nsecret = "{ALICE.secret[:-1]}"\n',
        f'public = "{ALICE.public}"\nsecret = 5\n',
        'secret = "' + "\\u00e9" * 40 + '"\n',
    ],
)
def test_a_damaged_key_file_is_told_without_its_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)

    with pytest.raises(InvalidInput) as caught:
        read_key_file(path)

    assert ALICE.secret[:10] not in str(caught.value)


def test_a_private_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "f", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "f", "new")

    assert (tmp_path / "f").read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_the_first_start_makes_keys_and_the_second_keeps_them(tmp_path: Path) -> None:
    first = open_core_keys(tmp_path, now_ms=5)
    second = open_core_keys(tmp_path, now_ms=6)

    assert first.made
    assert not second.made
    assert second.pair == first.pair
    owner = read_key_file(first.owner_file)
    principal = Keyring(first.principals).principal(owner.public)
    assert principal is not None
    assert (principal.name, principal.role, principal.detectors) == ("owner", Role.ADMIN, None)


def test_everything_of_the_first_start_is_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = open_core_keys(tmp_path, now_ms=5)
        write_client_file(tmp_path, endpoint="tcp://127.0.0.1:1", core_key=made.pair.public)
    finally:
        os.umask(old)

    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_the_client_file_holds_what_a_client_needs_and_no_secret(tmp_path: Path) -> None:
    made = open_core_keys(tmp_path, now_ms=5)

    path = write_client_file(tmp_path, endpoint="tcp://10.0.0.1:47102", core_key=made.pair.public)

    assert tomllib.loads(path.read_text()) == {
        "endpoint": "tcp://10.0.0.1:47102",
        "core_key": made.pair.public,
        "key_file": str(made.owner_file),
    }
    for secret in (made.pair.secret, read_key_file(made.owner_file).secret):
        assert secret not in path.read_text()
        assert all(secret not in file.read_text() for file in made.principals.iterdir())


def test_a_first_start_that_was_cut_begins_anew(tmp_path: Path) -> None:
    first = open_core_keys(tmp_path, now_ms=5)
    (tmp_path / "keys" / "core.key").unlink()

    second = open_core_keys(tmp_path, now_ms=6)

    assert second.made
    assert Keyring(second.principals).principal(read_key_file(second.owner_file).public) is not None
    assert first.pair != second.pair


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")

    with pytest.raises(EcsError, match="no keys can be made"):
        open_core_keys(tmp_path, now_ms=5)


def test_whose_a_key_is(keyring: Keyring) -> None:
    add(keyring, "alice", ALICE, detectors=["tpc", "its"])
    keyring.add("flp1", Role.NODE, BOB.public, state=KeyState.APPROVED, by="owner", now_ms=2)

    alice, node = keyring.principal(ALICE.public), keyring.principal(BOB.public)

    assert alice is not None
    assert node is not None
    assert (alice.name, alice.role, alice.detectors) == ("alice", Role.OPERATOR, frozenset({"its", "tpc"}))
    assert (alice.key, alice.via) == (ALICE.public[:8], "client")
    assert (node.name, node.role, node.detectors, node.via) == ("flp1", Role.NODE, None, "node")
    assert keyring.principal(CAROL.public) is None
    assert keyring.principal("") is None


def test_a_keyring_is_the_same_when_it_is_read_again(keyring: Keyring, folder: Path) -> None:
    add(keyring, "alice", ALICE, detectors=['we"ird\\', "té\x7f"])
    add(keyring, "alice", BOB, KeyState.PENDING)
    add(keyring, "bob", CAROL, detectors=[])
    keyring.revoke("bob", by="owner")

    again = Keyring(folder)

    assert again.entries == keyring.entries
    assert not again.problems


def test_a_pending_key_counts_for_nothing_until_it_is_approved(keyring: Keyring) -> None:
    add(keyring, "alice", ALICE, KeyState.PENDING)
    assert keyring.principal(ALICE.public) is None

    keyring.approve("alice", by="owner")

    assert keyring.principal(ALICE.public) is not None
    with pytest.raises(NotFound, match="waits for approval"):
        keyring.approve("alice", by="owner")


def test_a_refused_key_is_forgotten(keyring: Keyring, folder: Path) -> None:
    add(keyring, "alice", ALICE, KeyState.PENDING)

    keyring.refuse("alice")

    assert not list(folder.iterdir())
    with pytest.raises(NotFound, match="no key of 'alice'"):
        keyring.refuse("alice")
    add(keyring, "alice", ALICE)
    with pytest.raises(NotFound, match="waits for approval"):
        keyring.refuse("alice")


def test_a_revoked_key_counts_for_nothing_and_never_comes_back(keyring: Keyring) -> None:
    add(keyring, "alice", ALICE)

    keyring.revoke("alice", by="owner")

    assert keyring.principal(ALICE.public) is None
    with pytest.raises(Conflict, match="was revoked"):
        add(keyring, "alice", ALICE)
    with pytest.raises(NotFound, match="has no key"):
        keyring.revoke("alice", by="owner")
    with pytest.raises(NotFound, match="coconut|no key of"):
        keyring.revoke("nobody", by="owner")


def test_two_keys_of_one_principal_are_valid_at_once_and_a_third_is_not(keyring: Keyring) -> None:
    add(keyring, "alice", ALICE, detectors=["its"])
    add(keyring, "alice", BOB)

    old, new = keyring.principal(ALICE.public), keyring.principal(BOB.public)
    assert old is not None
    assert new is not None
    assert old.detectors == new.detectors == frozenset({"its"})
    with pytest.raises(Conflict, match="has 2 approved keys"):
        add(keyring, "alice", CAROL)

    add(keyring, "alice", CAROL, KeyState.PENDING)
    with pytest.raises(Conflict, match="has 2 approved keys"):
        keyring.approve("alice", by="owner")
    keyring.revoke("alice", public=ALICE.public[:6], by="owner")
    keyring.approve("alice", by="owner")

    assert keyring.principal(ALICE.public) is None
    assert keyring.principal(CAROL.public) is not None


def test_adding_a_key_again_changes_nothing(keyring: Keyring) -> None:
    first = add(keyring, "alice", ALICE)

    assert add(keyring, "alice", ALICE) == first
    assert add(keyring, "alice", ALICE, KeyState.PENDING) == first


def test_a_key_belongs_to_one_principal(keyring: Keyring) -> None:
    add(keyring, "alice", ALICE)

    with pytest.raises(Conflict, match="that of alice"):
        add(keyring, "bob", ALICE)


def test_a_key_that_two_files_name_lets_neither_in(keyring: Keyring, folder: Path) -> None:
    add(keyring, "alice", ALICE)
    text = (folder / "alice.toml").read_text().replace("alice", "mallory")
    write_private(folder / "mallory.toml", text)

    keyring.reload()

    assert keyring.principal(ALICE.public) is None
    assert "same key" in keyring.problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff",
        "name =",
        'name = "bob"\nrole = "admin"\nkey = []',
        'name = "alice"\nrole = "god"\nkey = []',
        'name = "alice"\nrole = 5\nkey = []',
        'name = "alice"\nrole = "admin"\nkey = 5',
        'name = "alice"\nrole = "admin"\ndetectors = "its"\nkey = []',
        'name = "alice"\nrole = "admin"\n[[key]]\npublic = "short"\nstate = "approved"',
        'name = "alice"\nrole = "admin"\n[[key]]\npublic = 5\nstate = "approved"',
        f'name = "alice"\nrole = "admin"\n[[key]]\npublic = "{ALICE.public}"\nstate = "good"',
        f'name = "alice"\nrole = "admin"\n[[key]]\npublic = "{ALICE.public}"\nstate = "approved"\nadded_ms = "x"',
        'name = "alice"\nrole = "admin"\n'
        + "".join(f'[[key]]\npublic = "{pair.public}"\nstate = "approved"\n' for pair in (ALICE, BOB, CAROL)),
    ],
)
def test_a_damaged_file_lets_its_principal_not_in_and_touches_no_other(folder: Path, text: str) -> None:
    keyring = Keyring(folder)
    add(keyring, "alice", ALICE)
    add(keyring, "zoe", BOB if "[[key]]" not in text else KeyPair.new())
    zoe = keyring.entries["zoe"].keys[0].public

    (folder / "alice.toml").write_bytes(text.encode("latin-1"))
    keyring.reload()

    assert keyring.principal(ALICE.public) is None
    assert keyring.principal(zoe) is not None
    assert "alice.toml" in keyring.problems[0]


def test_a_file_that_others_can_write_counts_for_nothing(keyring: Keyring, folder: Path) -> None:
    add(keyring, "alice", ALICE)
    (folder / "alice.toml").chmod(0o622)

    keyring.reload()

    assert keyring.principal(ALICE.public) is None
    assert "written by others" in keyring.problems[0]


def test_a_folder_in_place_of_a_file_is_a_problem(keyring: Keyring, folder: Path) -> None:
    (folder / "alice.toml").mkdir(mode=0o700)

    keyring.reload()

    assert "cannot be read" in keyring.problems[0]


def test_a_file_that_goes_while_the_folder_is_read_is_passed_over(keyring: Keyring, folder: Path) -> None:
    (folder / "alice.toml").symlink_to(folder / "nothing")

    keyring.reload()

    assert not keyring.problems


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", ".hidden", "x" * 64, "a b", "a\n", "é", "a\0"])
def test_names_that_could_lead_elsewhere_are_refused(keyring: Keyring, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name"):
        check_name(name)
    with pytest.raises(InvalidInput, match="no name"):
        add(keyring, name, ALICE)


@pytest.mark.parametrize("key", ["", "x", "x" * 41, "x" * 39 + '"', "x" * 39 + "\n", "é" * 40, "x" * 40 + "\n"])
def test_what_is_no_key_is_refused(keyring: Keyring, key: str) -> None:
    with pytest.raises(InvalidInput, match="public key"):
        check_key(key)
    with pytest.raises(InvalidInput, match="public key"):
        keyring.add("alice", Role.VIEWER, key, state=KeyState.APPROVED, by="", now_ms=0)


def test_a_role_has_a_name() -> None:
    assert role_of("operator") is Role.OPERATOR
    with pytest.raises(InvalidInput, match="no role 'god'; there are viewer, operator, admin, service, node"):
        role_of("god")


async def test_what_somebody_writes_counts_soon(folder: Path) -> None:
    changed = asyncio.Event()
    keyring = Keyring(folder, on_change=changed.set)
    keyring.watch()
    keyring.watch()  # once is enough
    try:
        add(Keyring(folder), "alice", ALICE)
        await asyncio.wait_for(changed.wait(), 60)
        assert keyring.principal(ALICE.public) is not None

        changed.clear()
        (folder / "alice.toml").unlink()
        await asyncio.wait_for(changed.wait(), 60)
        assert keyring.principal(ALICE.public) is None
    finally:
        keyring.close()
        keyring.close()


async def test_without_inotify_the_keyring_is_read_on_demand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, folder: Path) -> int:
        raise OSError(28, "too many watches")

    monkeypatch.setattr("libecs.io.inotify.Inotify.watch_entries", refuse)
    keyring = Keyring(folder)
    keyring.watch()
    add(Keyring(folder), "alice", ALICE)

    keyring.reload()

    assert keyring.principal(ALICE.public) is not None


def test_a_change_is_told_only_when_it_matters(folder: Path) -> None:
    told: list[bool] = []
    keyring = Keyring(folder, on_change=lambda: told.append(True))

    add(keyring, "alice", ALICE, KeyState.PENDING)
    assert not told
    keyring.approve("alice", by="owner")
    assert len(told) == 1
    keyring.reload()
    assert len(told) == 1


def test_entries_are_found_by_name(keyring: Keyring) -> None:
    entry = add(keyring, "alice", ALICE)

    assert keyring.entry("alice") == entry
    assert entry.having(KeyState.APPROVED) == (
        KnownKey(public=ALICE.public, state=KeyState.APPROVED, added_ms=1, by="owner"),
    )
    with pytest.raises(NotFound, match="no key of 'x'"):
        keyring.entry("x")


def test_z85_is_that_of_zeromq() -> None:
    import zmq.utils.z85

    for pair in (ALICE, BOB, CAROL):
        assert z85(zmq.utils.z85.decode(pair.public)) == pair.public
    assert z85(bytes([0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B])) == "HelloWorld"


@given(st.text())
def test_any_text_is_written_so_that_toml_reads_it(text: str) -> None:
    expected = text.encode("utf-8", "replace").decode()

    assert tomllib.loads(f"x = {toml_text(text)}") == {"x": expected}
