"""Who is invited, approved, listed and revoked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from libecs.access import Role
from libecs.engine.effects import Audit, DoWork
from libecs.errors import Conflict, Denied, EcsError, InvalidInput, NotFound
from libecs.io import lobby as lobbies
from libecs.io.enrolment import enrol
from libecs.io.keys import DAY_MS, KeyPair, Keyring, KeyState
from libecs.io.keywork import KeyWork
from libecs.io.link import Context
from libecs.io.token import LIFETIME_MS
from libecs.wire.client import Work
from tests.security.inviting import ALICE, BOB, Core

pytestmark = pytest.mark.timeout(300)

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
        ({"days": "0"}, "no number of days"),
        ({"days": "-1"}, "no number of days"),
        ({"days": "99999"}, "no number of days"),
        ({"days": "²"}, "no number of days"),
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
    core.now += LIFETIME_MS + 1

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
    assert set(works) == {"key.invite", "key.approve", "key.revoke", "key.rotate", "key.core"}


async def test_a_core_without_keys_invites_nobody(core: Core) -> None:
    work = KeyWork(
        core.keyring,
        None,
        core_key="",
        next_key=core.next_key,
        tell_key_news=lambda: None,
        endpoint=lambda: "",
        audit_folder=core.folder,
        now_ms=lambda: core.now,
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
         "added_ms": 1_000_000, "by": "owner", "expires_ms": 0}
    ]  # fmt: skip
    assert [one["name"] for one in document["invitations"]] == ["bob"]
    assert json.loads(core.work.consult("audit.tail", {"lines": "3"}) or "")["lines"] == []
    assert core.work.consult("template.list", {}) is None
    with pytest.raises(InvalidInput, match="no number of lines"):
        core.work.consult("audit.tail", {"lines": "-1"})


# keys that expire


async def test_a_key_expires_when_its_days_are_over(context: Context, core: Core) -> None:
    changes: list[str] = []
    await enrol(context, core.invite(auto="1", days="30"), ALICE)
    core.keyring.on_change = lambda: changes.append("changed")
    core.now += 30 * DAY_MS - 1
    assert core.keyring.principal(ALICE.public)

    core.now += 1

    assert core.keyring.principal(ALICE.public) is None
    assert changes == ["changed"]
    (key,) = json.loads(core.work.consult("key.list", {}) or "")["keys"]
    assert (key["state"], key["expires_ms"]) == ("expired", 1_000_000 + 30 * DAY_MS)
    assert core.keyring.warnings() == (f"key {ALICE.public[:8]} of alice has expired: coconut key revoke alice",)
    core.work.revoke({"name": "alice"}, "owner")
    assert core.keyring.warnings() == ()


async def test_what_expires_is_seen_by_another_life_of_the_core(core: Core) -> None:
    core.invite(auto="1", days="1")
    core.lobby.close()
    core.open()
    assert core.lobby.invitations[0].days == 1
    core.keyring.add("bob", Role.NODE, BOB.public, state=KeyState.APPROVED, by="", now_ms=core.now, lifetime_ms=DAY_MS)

    again = Keyring(core.folder / "principals", now_ms=lambda: core.now + DAY_MS)

    assert core.keyring.principal(BOB.public)
    assert again.principal(BOB.public) is None
    again.close()


def test_the_end_of_a_key_is_warned_of_thirty_days_before_unless_another_one_follows(core: Core) -> None:
    core.keyring.add("flp1", Role.NODE, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=60 * DAY_MS)
    core.now = 29 * DAY_MS
    assert core.keyring.warnings() == ()
    core.now = 30 * DAY_MS
    words = f"key {ALICE.public[:8]} of flp1 expires in 30 days: coconut node invite flp1 --rotate"
    assert core.keyring.warnings() == (words,)
    assert json.loads(core.work.consult("key.list", {}) or "")["problems"] == [words]

    core.keyring.add("flp1", Role.NODE, BOB.public, state=KeyState.APPROVED, by="", now_ms=core.now)

    assert core.keyring.warnings() == ()
    assert core.keyring.entry("flp1").keys[1].expires_ms == 90 * DAY_MS  # as long as the one that it follows


def test_a_key_for_a_short_time_is_warned_of_in_its_second_half(core: Core) -> None:
    core.keyring.add(
        "guest", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=8 * DAY_MS
    )

    core.now = 4 * DAY_MS - 1
    assert core.keyring.warnings() == ()
    core.now = 4 * DAY_MS
    assert core.keyring.warnings() == (
        f"key {ALICE.public[:8]} of guest expires in 4 days: coconut key invite guest --rotate",
    )


def test_of_two_keys_that_end_soon_the_one_that_ends_last_is_warned_of(core: Core) -> None:
    for pair, days in ((ALICE, 10), (BOB, 11)):
        end = days * DAY_MS
        core.keyring.add("alice", Role.VIEWER, pair.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=end)

    core.now = 9 * DAY_MS

    (warning,) = core.keyring.warnings()
    assert warning.startswith(f"key {BOB.public[:8]} of alice expires in 2 days")


def test_a_clock_that_was_ahead_and_is_set_back_gives_keys_back(core: Core) -> None:
    told: list[int] = []
    core.keyring.on_change = lambda: told.append(core.now)
    for name, pair, days in (("alice", ALICE, 1), ("bob", BOB, 2)):
        end = days * DAY_MS
        core.keyring.add(name, Role.VIEWER, pair.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=end)
    told.clear()

    for now, alice, bob in (
        (DAY_MS - 1, True, True),
        (3 * DAY_MS, False, False),
        (DAY_MS, False, True),
        (0, True, True),
    ):
        core.now = now
        assert (core.keyring.principal(ALICE.public) is not None) is alice
        assert (core.keyring.principal(BOB.public) is not None) is bob

    assert told == [3 * DAY_MS, DAY_MS, 0]


def test_the_end_of_a_key_costs_no_look_at_the_disk(core: Core) -> None:
    core.keyring.add("alice", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=DAY_MS)
    core.keyring.add("bob", Role.VIEWER, BOB.public, state=KeyState.APPROVED, by="", now_ms=0)
    (core.folder / "principals" / "bob.toml").unlink()

    core.now = DAY_MS

    assert core.keyring.principal(ALICE.public) is None
    assert core.keyring.principal(BOB.public)
    core.keyring.reload()
    assert core.keyring.principal(BOB.public) is None


def test_nobody_gives_himself_more_time(core: Core) -> None:
    core.keyring.add("alice", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=DAY_MS)
    core.now = DAY_MS // 2

    core.work.rotate({"add": BOB.public}, "alice")

    assert [key.expires_ms for key in core.keyring.entry("alice").keys] == [DAY_MS, DAY_MS]


def test_an_admin_whose_key_expired_is_no_admin_that_is_left(core: Core) -> None:
    core.keyring.add("root", Role.ADMIN, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0)
    core.keyring.add("old", Role.ADMIN, BOB.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=DAY_MS)
    core.now = 2 * DAY_MS

    with pytest.raises(Conflict, match="no admin would be left"):
        core.work.revoke({"name": "root"}, "owner")
