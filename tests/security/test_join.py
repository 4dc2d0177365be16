"""Tokens, and the side that joins."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from libecs.access import Role
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, NotFound
from libecs.io import corefile, enrolment
from libecs.io.enrolment import join, join_node
from libecs.io.keys import read_key_file, write_key_file
from libecs.io.token import PREFIX, Invitation, proof_of
from libecs.wire.lobby import TurnedAway
from tests.security.inviting import ALICE, Core

pytestmark = pytest.mark.timeout(300)


def an_invitation(**others: Any) -> Invitation:
    fields: dict[str, Any] = {
        "name": "alice", "role": Role.VIEWER, "core_key": ALICE.public, "endpoint": "tcp://h:1", "lobby": "tcp://h:2",
        "secret": b"s" * 16, "expires_ms": 5,
    }  # fmt: skip
    return Invitation(**{**fields, **others})


def test_a_token_is_one_word_and_comes_back() -> None:
    invitation = an_invitation(detectors=("its", "tpc"))

    text = invitation.text()

    assert Invitation.read(f"  {text}\n") == invitation
    assert text.startswith(PREFIX)
    assert text.replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert "secret" not in repr(invitation)
    assert proof_of(b"a") == hashlib.sha256(b"ecs invitation\0a").hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no token"),
        ("hello", "no token"),
        (PREFIX + "x" * 3000, "no token"),
        (PREFIX, "damaged"),
        (PREFIX + "é", "damaged"),
        (PREFIX + "a", "damaged"),
        (PREFIX + "AAAA", "damaged"),
        (an_invitation().text()[:-4], "damaged"),
        (an_invitation(name="../x").text(), "damaged"),
        (an_invitation(core_key="x").text(), "damaged"),
    ],
)
def test_what_is_no_token_is_told_without_repeating_it(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        Invitation.read(text)

    assert text[8:] == "" or text[8:] not in str(caught.value)


async def join_apart(text: str, path: Path) -> enrolment.Enrolled:
    return await asyncio.to_thread(join, text, path)


async def test_who_joins_makes_his_key(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "conf" / "alice.key"
    token = core.invite(auto="1").text()

    enrolled = await join_apart(token, path)

    assert read_key_file(path).public == enrolled.public
    assert core.keyring.principal(enrolled.public)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["alice.key"]
    again = await join_apart(token, path)
    assert again.public == enrolled.public


async def test_who_joins_for_a_second_key_keeps_the_first_until_it_is_enrolled(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    first = await join_apart(core.invite(auto="1").text(), path)
    invitation = core.invite(rotate="1", auto="1")

    with pytest.raises(Denied):
        await join_apart(attrs.evolve(invitation, secret=b"wrong").text(), path)
    assert read_key_file(path).public == first.public
    kept = read_key_file(tmp_path / "alice.key.new")
    second = await join_apart(invitation.text(), path)

    assert read_key_file(path).public == second.public == kept.public != first.public
    assert core.keyring.principal(first.public)
    assert core.keyring.principal(second.public)


async def test_a_node_learns_where_its_core_is(core: Core, tmp_path: Path) -> None:
    state = tmp_path / "state"

    enrolled = await asyncio.to_thread(join_node, core.invite("flp1", "node").text(), state, node="flp1")

    import tomllib

    assert enrolled.pending
    assert tomllib.loads((state / "core.toml").read_text()) == {
        "core": "tcp://127.0.0.1:47102",
        "core_key": core.pair.public,
        "key": str(state / "keys" / "node.key"),
        "node": "flp1",
    }
    assert (state / "core.toml").stat().st_mode & 0o777 == 0o600


def test_a_token_for_somebody_else_makes_no_node(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="for a user"):
        join_node(an_invitation().text(), tmp_path)
    with pytest.raises(InvalidInput, match="not for flp2"):
        join_node(an_invitation(name="flp1", role=Role.NODE).text(), tmp_path, node="flp2")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EcsError, match="cannot be written"):
        join(an_invitation().text(), tmp_path / "file" / "k")


async def test_a_core_file_that_cannot_be_written_is_told(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corefile, "write_private", full)

    with pytest.raises(EcsError, match="core.toml cannot be written"):
        await asyncio.to_thread(join_node, core.invite("flp1", "node").text(), tmp_path)


@pytest.mark.parametrize(
    ("code", "cls"),
    [("E_CONFLICT", Conflict), ("E_DENIED", Denied), ("E_INVALID", InvalidInput), ("E_NOT_FOUND", NotFound),
     ("E_FAILED", EcsError), ("?", EcsError)],
)  # fmt: skip
def test_an_error_of_the_lobby_keeps_its_class(code: str, cls: type[EcsError]) -> None:
    error = enrolment._turned_away(TurnedAway(code=code, message="m", hint="h"))

    assert type(error) is cls
    assert (error.message, error.hint) == ("m", "h")


def test_a_key_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    write_key_file(tmp_path / "k", ALICE)
    (tmp_path / "k").chmod(0o644)

    with pytest.raises(Denied):
        join(an_invitation().text(), tmp_path / "k")
