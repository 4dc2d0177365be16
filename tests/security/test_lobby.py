"""The socket where strangers are met: who is let in, who is turned away, and that it stays so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from libecs.access import Role
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, Unreachable
from libecs.io import lobby as lobbies
from libecs.io.enrolment import enrol
from libecs.io.link import ClientCurve, Context, Dialer, Router, ServerCurve
from libecs.io.zap import LOBBY_DOMAIN
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.lobby import LOBBY, Join, Joined
from tests.security.inviting import ALICE, BOB, Core

pytestmark = pytest.mark.timeout(300)


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

    again = asyncio.create_task(enrol(context, invitation, BOB, timeout_s=60.0))
    async with asyncio.timeout(60):
        while core.lobby.dropped < 2:  # it was hung up, and has tried again
            await asyncio.sleep(0.01)
    again.cancel()

    with pytest.raises(asyncio.CancelledError):
        await again
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
