"""Invitations and the lobby, through a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio

from libecs.access import Role
from libecs.engine.effects import Audit, DoWork
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, NotFound, Unreachable
from libecs.io import enrolment
from libecs.io import lobby as lobbies
from libecs.io.enrolment import enrol, join, join_node
from libecs.io.keys import KeyPair, Keyring, KeyState, read_key_file, write_key_file
from libecs.io.keywork import KeyWork
from libecs.io.link import ClientCurve, Context, Dialer, Router, ServerCurve
from libecs.io.lobby import Lobby
from libecs.io.token import PREFIX, Invitation, new_secret, proof_of
from libecs.io.zap import LOBBY_DOMAIN, ZapResponder, any_key
from libecs.wire.client import Work
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.lobby import LOBBY, Join, Joined, TurnedAway


class Core:
    """What stands around a lobby in a core, with a clock that one turns."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        self.folder = folder
        self.pair = KeyPair.new()
        self.now = 1_000_000
        self.audit: list[Audit] = []
        self.keyring = Keyring(folder / "principals")
        self.zap = ZapResponder(context, {LOBBY_DOMAIN: any_key})
        self.lobby = self.open()

    def open(self, endpoint: str = "tcp://127.0.0.1:*") -> Lobby:
        self.lobby = Lobby(
            self.context,
            self.keyring,
            self.pair,
            endpoint=endpoint,
            advertise="127.0.0.1",
            file=self.folder / "invitations.toml",
            audit=self.note,
            now_ms=lambda: self.now,
        )
        self.work = KeyWork(
            self.keyring,
            self.lobby,
            core_key=self.pair.public,
            endpoint=lambda: "tcp://127.0.0.1:47102",
            audit_folder=self.folder / "audit",
            now_ms=lambda: self.now,
        )
        return self.lobby

    def note(self, lines: Sequence[Audit], unix_ms: int) -> None:
        self.audit += lines

    def invite(self, name: str = "alice", kind: str = "user", **arguments: str) -> Invitation:
        secret = new_secret()
        answer: Any = self.work.invite({"name": name, "kind": kind, "proof": proof_of(secret), **arguments}, "owner")
        return Invitation(
            name=answer["name"],
            role=Role[answer["role"].upper()],
            core_key=answer["core_key"],
            endpoint=answer["endpoint"],
            lobby=answer["lobby"],
            secret=secret,
            expires_ms=answer["expires_ms"],
            rotate=answer["rotate"],
        )

    def close(self) -> None:
        self.lobby.close()
        self.zap.close()
        self.keyring.close()


@pytest_asyncio.fixture
async def core(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Core]:
    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 0.0)  # all tests are at one address
    core = Core(context, tmp_path)
    yield core
    core.close()


ALICE, BOB = KeyPair.new(), KeyPair.new()


async def test_who_shows_an_invitation_is_pending_until_he_is_approved(context: Context, core: Core) -> None:
    invitation = core.invite(role="operator", detectors="tpc, its")

    joined = await enrol(context, invitation, ALICE)

    assert joined == Joined(name="alice", role=Role.OPERATOR, pending=True)
    assert core.keyring.principal(ALICE.public) is None
    core.work.approve({"name": "alice"}, "owner")
    principal = core.keyring.principal(ALICE.public)
    assert principal is not None
    assert principal.detectors == frozenset({"its", "tpc"})
    assert [(line.verb, line.object, line.decision, line.principal.via) for line in core.audit] == [
        ("Join", "alice", "accepted", "lobby")
    ]


async def test_an_automatic_invitation_needs_no_approval(context: Context, core: Core) -> None:
    joined = await enrol(context, core.invite("flp1", "node", auto="1"), BOB)

    assert not joined.pending
    principal = core.keyring.principal(BOB.public)
    assert principal is not None
    assert principal.role is Role.NODE


async def test_an_invitation_is_good_for_one_key(context: Context, core: Core) -> None:
    invitation = core.invite()
    await enrol(context, invitation, ALICE)

    with pytest.raises(Denied, match="good for one key"):
        await enrol(context, invitation, BOB)

    assert core.audit[-1].decision == "denied"
    assert [key.public for key in core.keyring.entry("alice").keys] == [ALICE.public]


async def test_an_answer_that_was_lost_is_given_again(context: Context, core: Core) -> None:
    invitation = core.invite()
    first = await enrol(context, invitation, ALICE)

    assert await enrol(context, invitation, ALICE) == first

    assert len(core.audit) == 1
    core.work.revoke({"name": "alice"}, "owner")
    with pytest.raises(Denied, match="refused or revoked"):
        await enrol(context, invitation, ALICE)


@pytest.mark.parametrize("change", [{"secret": b"x" * 16}, {"secret": b""}, {"name": "mallory"}])
async def test_another_secret_or_name_is_turned_away(context: Context, core: Core, change: dict[str, Any]) -> None:
    invitation = core.invite()

    with pytest.raises(Denied, match="no invitation"):
        await enrol(context, attrs.evolve(invitation, **change), ALICE)

    assert not core.keyring.entries
    assert core.audit[-1].decision == "denied"


async def test_an_invitation_ends(context: Context, core: Core) -> None:
    first, second = core.invite("alice"), core.invite("bob")
    core.now += 300_000
    third = core.invite("carol")
    core.now += 300_001

    for invitation in (first, second):
        with pytest.raises(Denied, match="10 minutes"):
            await enrol(context, invitation, ALICE)
    await enrol(context, third, ALICE)


async def test_a_new_invitation_takes_the_place_of_the_last_one_for_the_name(context: Context, core: Core) -> None:
    old, new = core.invite(), core.invite()

    with pytest.raises(Denied):
        await enrol(context, old, ALICE)
    await enrol(context, new, ALICE)


async def test_the_socket_is_there_only_while_an_invitation_is_open(
    context: Context, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobbies, "_GRACE_S", 0.5)
    closed = asyncio.Event()
    monkeypatch.setattr(core.lobby, "close", _then(core.lobby.close, closed))
    before = core.lobby.is_open

    invitation = core.invite()
    during = core.lobby.is_open
    await enrol(context, invitation, ALICE)
    await asyncio.wait_for(closed.wait(), 60)

    assert (before, during, core.lobby.is_open) == (False, True, False)
    with pytest.raises(Unreachable, match="nobody answers") as caught:
        await enrol(context, invitation, BOB)
    assert "ask for another one" in caught.value.hint
    again = core.invite("bob")
    assert (await enrol(context, again, BOB)).name == "bob"


def _then(function: Callable[[], None], event: asyncio.Event) -> Callable[[], None]:
    def wrapped() -> None:
        function()
        event.set()

    return wrapped


async def test_invitations_outlive_the_core_and_no_secret_is_kept(context: Context, core: Core) -> None:
    invitation = core.invite(detectors="its", role="operator")
    text = (core.folder / "invitations.toml").read_text()
    core.lobby.close()

    core.open()
    moved = attrs.evolve(invitation, lobby=core.lobby._endpoint)

    assert invitation.secret.hex() not in text
    assert (core.folder / "invitations.toml").stat().st_mode & 0o777 == 0o600
    assert (await enrol(context, moved, ALICE)).pending
    assert core.keyring.entry("alice").detectors == ("its",)


@pytest.mark.parametrize("text", ["[[invitation]]", "x", 'invitation = "a"', "\x00"])
async def test_damaged_invitations_are_lost_and_nothing_else(core: Core, text: str) -> None:
    core.lobby.close()
    (core.folder / "invitations.toml").write_text(text)

    core.open()

    assert core.lobby.invitations == ()
    assert not core.lobby.is_open


async def test_a_lobby_that_cannot_listen_keeps_its_invitations(core: Core) -> None:
    core.invite()
    core.lobby.close()

    core.open("tcp://203.0.113.1:1")

    assert not core.lobby.is_open
    assert len(core.lobby.invitations) == 1
    with pytest.raises(EcsError, match="cannot listen"):
        core.invite("bob")


async def test_too_many_invitations_are_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobbies, "MAX_OPEN", 1)
    core.invite()

    with pytest.raises(Conflict, match="open already"):
        core.invite("bob")


async def test_a_core_with_another_key_gets_no_secret(context: Context, core: Core) -> None:
    invitation = core.invite()

    with pytest.raises(Denied, match="is not the core"):
        await enrol(context, attrs.evolve(invitation, core_key=BOB.public), ALICE)

    assert not core.audit


async def test_a_core_that_says_nothing_is_told(context: Context, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    invitation = core.invite()
    core.lobby._router.close() if core.lobby._router else None
    silent = Router(context, lambda peer, frames: None, curve=ServerCurve(secret=core.pair.secret, domain=LOBBY_DOMAIN))
    try:
        there = silent.bind("tcp://127.0.0.1:*")
        with pytest.raises(Unreachable, match="gave no answer within 0.5 s"):
            await enrol(context, attrs.evolve(invitation, lobby=there), ALICE, timeout_s=0.5)
    finally:
        silent.close()


@pytest.mark.parametrize(
    ("payload", "error"), [(b"\xc1", "not a msgpack"), (LOBBY.encode(Join(secret=b"", name="")), "answered with Join")]
)
async def test_an_answer_that_is_none_is_an_error(context: Context, core: Core, payload: bytes, error: str) -> None:
    invitation = core.invite()
    odd = Router(
        context,
        lambda peer, frames: (odd.send(peer, [b"?", b"?"]), odd.send(peer, [VERSION_FRAME, payload]), None)[-1],
        curve=ServerCurve(secret=core.pair.secret, domain=LOBBY_DOMAIN),
    )
    try:
        there = odd.bind("tcp://127.0.0.1:*")
        with pytest.raises(InvalidInput, match=error):
            await enrol(context, attrs.evolve(invitation, lobby=there), ALICE)
    finally:
        odd.close()


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [VERSION_FRAME],
        [VERSION_FRAME, b""],
        [VERSION_FRAME, b"\x90"],
        [b"\x02", LOBBY.encode(Join(secret=b"x", name="a"))],
        [VERSION_FRAME, LOBBY.encode(Joined(name="a", role=Role.ADMIN))],
        [VERSION_FRAME, LOBBY.encode(Join(secret=b"x" * 5000, name="a"))],
        [VERSION_FRAME, LOBBY.encode(Join(secret=b"x", name="a")), b"x"],
        [VERSION_FRAME, LOBBY.encode(Join(secret=b"x" * 3000, name="y" * 1500))],
    ],
)
async def test_what_is_no_join_is_dropped_without_an_answer(context: Context, core: Core, frames: list[bytes]) -> None:
    invitation = core.invite()
    down = asyncio.Event()
    heard: list[list[bytes]] = []
    sent: list[bool] = []

    def changed(up: bool) -> None:
        if up and not sent:
            sent.append(dialer.send(frames or [b""]))
        elif not up:
            down.set()

    curve = ClientCurve(public=ALICE.public, secret=ALICE.secret, server=invitation.core_key)
    dialer = Dialer(context, invitation.lobby, heard.append, channel=b"lobby", curve=curve, on_link=changed)
    await asyncio.wait_for(down.wait(), 60)  # it was hung up
    dialer.close()

    assert not heard
    assert not core.audit
    assert (await enrol(context, invitation, ALICE)).pending  # others are served


async def test_one_address_is_heard_once_a_second(
    context: Context, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 1000.0)
    invitation = core.invite()
    with pytest.raises(Denied):
        await enrol(context, attrs.evolve(invitation, secret=b"guess"), BOB)

    with pytest.raises(Unreachable):
        await enrol(context, invitation, BOB, timeout_s=1.0)

    assert core.lobby.dropped >= 1
    assert len(core.audit) == 1


async def test_many_addresses_do_not_fill_the_memory(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 1000.0)
    monkeypatch.setattr(lobbies, "_MAX_ADDRESSES", 3)

    assert [core.lobby._may_speak(f"10.0.0.{n}") for n in range(5)] == [True, True, True, False, False]

    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 0.0)
    assert core.lobby._may_speak("10.0.0.9")
    assert len(core.lobby._last_heard) == 1


async def test_all_addresses_together_are_heard_so_often_and_no_more(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5000.0
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: now)
        heard = [core.lobby._may_speak(f"10.0.{n // 250}.{n % 250}") for n in range(1000)]
        now += 1.0
        again = [core.lobby._may_speak(f"10.1.{n // 250}.{n % 250}") for n in range(1000)]

    assert sum(heard) == 200
    assert sum(again) == 50


async def test_keys_that_cannot_be_written_are_an_error_for_who_joins(
    context: Context, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = core.invite()

    def full(*arguments: object, **others: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(core.keyring, "add", full)

    with pytest.raises(EcsError, match="cannot write its keys"):
        await enrol(context, invitation, ALICE)


# who is invited


async def test_a_name_that_is_in_use_is_not_invited_again(context: Context, core: Core) -> None:
    early, other = core.invite(), core.invite("flp1", "node")
    await enrol(context, early, ALICE)

    with pytest.raises(Conflict, match="alice has a key already"):
        core.invite()
    with pytest.raises(Conflict, match="alice is a viewer"):
        core.invite(kind="node", rotate="1")
    with pytest.raises(Conflict, match="that of alice"):
        await enrol(context, other, ALICE)


async def test_a_second_key_keeps_role_and_scope(context: Context, core: Core) -> None:
    with pytest.raises(Conflict, match="no key that a second one could follow"):
        core.invite(rotate="1")
    await enrol(context, core.invite(role="operator", detectors="its", auto="1"), ALICE)

    await enrol(context, core.invite(role="admin", rotate="1", auto="1"), BOB)

    old, new = core.keyring.principal(ALICE.public), core.keyring.principal(BOB.public)
    assert old is not None
    assert new is not None
    assert (new.role, new.detectors) == (old.role, old.detectors) == (Role.OPERATOR, frozenset({"its"}))


async def test_a_revoked_name_may_be_invited_with_another_role_and_never_with_the_old_key(
    context: Context, core: Core
) -> None:
    await enrol(context, core.invite(role="admin", auto="1"), ALICE)
    core.keyring.add("owner", Role.ADMIN, KeyPair.new().public, state=KeyState.APPROVED, by="", now_ms=0)
    core.work.revoke({"name": "alice"}, "owner")

    again = core.invite(role="viewer", auto="1")

    with pytest.raises(Conflict, match="was revoked"):
        await enrol(context, again, ALICE)
    await enrol(context, again, BOB)
    principal = core.keyring.principal(BOB.public)
    assert principal is not None
    assert principal.role is Role.VIEWER


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "../x"}, "no name"),
        ({"name": ""}, "no name"),
        ({"kind": "god"}, "no invitation for a 'god'"),
        ({"role": "god"}, "no role"),
        ({"role": "node"}, "a user is no node"),
        ({"role": "viewer", "detectors": "its"}, "only an operator has a scope"),
        ({"kind": "node", "detectors": "its"}, "only an operator has a scope"),
        ({"proof": ""}, "SHA-256"),
        ({"proof": "g" * 64}, "SHA-256"),
    ],
)
async def test_a_wrong_invitation_is_refused(core: Core, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        core.work.invite({"name": "alice", "kind": "user", "proof": "0" * 64, **arguments}, "owner")

    assert not core.lobby.is_open


# the other work


async def test_pending_keys_are_approved_or_refused(context: Context, core: Core) -> None:
    await enrol(context, core.invite(), ALICE)
    await enrol(context, core.invite("bob"), BOB)

    assert core.work.approve({"name": "alice"}, "owner") == {
        "name": "alice",
        "approved": True,
        "role": "viewer",
        "keys": [ALICE.public[:8]],
    }
    assert core.work.approve({"name": "bob", "refuse": "1"}, "owner") == {"name": "bob", "approved": False}

    assert set(core.keyring.entries) == {"alice"}
    with pytest.raises(NotFound):
        core.work.approve({}, "owner")


async def test_the_last_admin_stays(core: Core) -> None:
    core.keyring.add("owner", Role.ADMIN, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0)
    core.keyring.add("flp1", Role.NODE, BOB.public, state=KeyState.APPROVED, by="", now_ms=0)

    with pytest.raises(Conflict, match="no admin would be left"):
        core.work.revoke({"name": "owner"}, "owner")

    assert core.work.revoke({"name": "flp1"}, "owner") == {"name": "flp1", "keys": [BOB.public[:8]]}
    with pytest.raises(NotFound):
        core.work.revoke({"name": "nobody"}, "owner")


async def test_an_invitation_that_nobody_used_can_be_revoked(context: Context, core: Core) -> None:
    invitation = core.invite()

    assert core.work.revoke({"name": "alice"}, "owner") == {"name": "alice", "keys": []}

    with pytest.raises(Denied):
        await enrol(context, invitation, ALICE)


async def test_an_invitation_of_somebody_whose_keys_were_revoked_can_be_revoked(context: Context, core: Core) -> None:
    core.keyring.add("owner", Role.ADMIN, KeyPair.new().public, state=KeyState.APPROVED, by="", now_ms=0)
    await enrol(context, core.invite(auto="1"), ALICE)
    core.work.revoke({"name": "alice"}, "owner")
    again = core.invite(auto="1")

    assert core.work.revoke({"name": "alice"}, "owner") == {"name": "alice", "keys": []}

    with pytest.raises(Denied):
        await enrol(context, again, BOB)


async def test_an_audit_log_that_cannot_be_written_is_an_error_for_who_is_turned_away(
    context: Context, core: Core
) -> None:
    invitation = core.invite()

    def full(lines: Sequence[Audit], unix_ms: int) -> None:
        raise OSError(28, "No space left on device")

    core.lobby._audit = full

    with pytest.raises(EcsError, match="cannot write its keys"):
        await enrol(context, attrs.evolve(invitation, name="bob"), BOB)


async def test_invitations_end_though_their_file_cannot_be_written(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core.invite()
    core.now += lobbies.LIFETIME_MS + 1

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lobbies, "write_private", full)
    core.lobby._end()

    assert not core.lobby.is_open


async def test_to_revoke_a_key_ends_the_invitation_for_a_second_one(context: Context, core: Core) -> None:
    await enrol(context, core.invite(auto="1"), ALICE)
    second = core.invite(rotate="1", auto="1")

    core.work.revoke({"name": "alice"}, "owner")

    with pytest.raises(Denied):
        await enrol(context, second, BOB)


async def test_one_gives_oneself_a_second_key_and_drops_the_first(core: Core) -> None:
    core.keyring.add("alice", Role.OPERATOR, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0)

    core.work.rotate({"add": BOB.public}, "alice")
    assert core.keyring.principal(ALICE.public)
    assert core.keyring.principal(BOB.public)
    with pytest.raises(Conflict, match="2 approved keys"):
        core.work.rotate({"add": KeyPair.new().public}, "alice")
    assert core.work.rotate({"only": BOB.public}, "alice") == {"name": "alice", "revoked": [ALICE.public[:8]]}

    assert core.keyring.principal(ALICE.public) is None
    assert core.keyring.principal(BOB.public)
    with pytest.raises(NotFound, match="no key"):
        core.work.rotate({"only": ALICE.public}, "alice")
    with pytest.raises(NotFound):
        core.work.rotate({"only": BOB.public}, "mallory")
    for arguments in ({}, {"add": ALICE.public, "only": BOB.public}, {"add": "x"}):
        with pytest.raises(InvalidInput):
            core.work.rotate(arguments, "alice")


async def test_work_is_performed_by_its_name(core: Core) -> None:
    core.keyring.add("alice", Role.VIEWER, ALICE.public, state=KeyState.PENDING, by="", now_ms=0)
    works = core.work.works()

    effect = DoWork(work=Work(operation="1", name="key.approve", arguments={"name": "alice"}), requester="owner")
    answer = await works["key.approve"](effect)

    assert json.loads(answer)["approved"] is True
    assert set(works) == {"key.invite", "key.approve", "key.revoke", "key.rotate"}


async def test_a_core_without_keys_invites_nobody(core: Core) -> None:
    work = KeyWork(
        core.keyring, None, core_key="", endpoint=lambda: "", audit_folder=core.folder, now_ms=lambda: core.now
    )

    with pytest.raises(Conflict, match="--insecure"):
        work.invite({"name": "a", "proof": "0" * 64}, "")
    assert work.list_document()["invitations"] == []


async def test_keys_are_listed_without_being_told_whole(context: Context, core: Core) -> None:
    await enrol(context, core.invite(role="operator", detectors="its"), ALICE)
    core.invite("bob")

    text = core.work.consult("key.list", {})

    assert text is not None
    document = json.loads(text)
    assert ALICE.public not in text
    assert document["keys"] == [
        {"name": "alice", "role": "operator", "detectors": ["its"], "key": ALICE.public[:8], "state": "pending",
         "added_ms": 1_000_000, "by": "owner"}
    ]  # fmt: skip
    assert [one["name"] for one in document["invitations"]] == ["bob"]
    assert json.loads(core.work.consult("audit.tail", {"lines": "3"}) or "")["lines"] == []
    assert core.work.consult("template.list", {}) is None
    with pytest.raises(InvalidInput, match="no number of lines"):
        core.work.consult("audit.tail", {"lines": "-1"})


# tokens, and the side that joins


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

    monkeypatch.setattr(enrolment, "write_private", full)

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
