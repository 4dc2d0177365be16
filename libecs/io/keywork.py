"""What admins ask of the core about keys: the work `key.…`, and the documents `key.list` and `audit.tail`."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from libecs.access import Role
from libecs.engine.effects import DoWork
from libecs.errors import Conflict, InvalidInput, NotFound
from libecs.io import audit
from libecs.io.corekeys import NextKeyFile
from libecs.io.keys import DAY_MS, Keyring, KeyState, check_key, check_name, role_of, shown
from libecs.io.lobby import Lobby, check_invited

_PROOF = re.compile(r"[0-9a-f]{64}")
MAX_DAYS = 36_500
GRACE_DAYS = 14
"""From the day when a core tells its next key to the first on which it may take it, if nobody says otherwise."""
MAX_TAIL = 10_000
"""Lines of the audit log in one document."""


_WORKS = ("key.invite", "key.approve", "key.revoke", "key.rotate", "key.core")
SUBJECTS = ("key.list", "audit.tail")
"""Questions that `KeyWork.consult` answers."""


def no_keys() -> Conflict:
    """Return what a core without keys answers to all that is about keys."""
    return Conflict(
        "this core runs with --insecure: it has no keys, needs none, and writes no audit log",
        hint="its nodes: ecs-executord --insecure --core tcp://127.0.0.1:PORT; for keys, start ecsd without --insecure",
    )


def works_without_keys() -> Mapping[str, Callable[[DoWork], Awaitable[str]]]:
    """Return what a core without keys does where `KeyWork.works` would: it says so."""

    async def refuse(_effect: DoWork) -> str:
        raise no_keys()

    return dict.fromkeys(_WORKS, refuse)


class KeyWork:
    """Performs `Work.key.…`. Who may ask was decided in the engine; what is asked is checked here."""

    def __init__(
        self,
        keyring: Keyring,
        lobby: Lobby | None,
        *,
        core_key: str,
        next_key: NextKeyFile,
        tell_key_news: Callable[[], None],
        endpoint: Callable[[], str],
        audit_folder: Path,
        now_ms: Callable[[], int],
    ) -> None:
        """Make it.

        Args:
            keyring: of the core.
            lobby: of the core; None = it has none, because it runs without keys.
            core_key: public key of the core.
            next_key: the one that follows it.
            tell_key_news: tells everybody that there is another one, or none.
            endpoint: returns where others reach the core.
            audit_folder: of its audit log.
            now_ms: the wall clock.
        """
        self._keyring = keyring
        self._lobby = lobby
        self._core_key = core_key
        self._next_key = next_key
        self._tell_key_news = tell_key_news
        self._endpoint = endpoint
        self._audit_folder = audit_folder
        self._now_ms = now_ms

    def works(self) -> Mapping[str, Callable[[DoWork], Awaitable[str]]]:
        """Return name of the work to what does it and returns a JSON object. Raises EcsError there, or OSError."""

        def performer(
            method: Callable[[Mapping[str, str], str], Mapping[str, object]],
        ) -> Callable[[DoWork], Awaitable[str]]:
            async def perform(effect: DoWork) -> str:
                return json.dumps(method(effect.work.arguments, effect.requester))

            return perform

        return {
            "key.invite": performer(self.invite),
            "key.approve": performer(self.approve),
            "key.revoke": performer(self.revoke),
            "key.rotate": performer(self.rotate),
            "key.core": performer(self.core),
        }

    def invite(self, arguments: Mapping[str, str], requester: str) -> Mapping[str, object]:
        """Open an invitation: kind, name, role, detectors, auto, rotate, days, proof. Return what its token needs.

        Raises:
            InvalidInput: an argument is wrong.
            Conflict: the name has a key already, too many invitations are open, or this core needs no keys.
        """
        name, kind = arguments.get("name", ""), arguments.get("kind", "user")
        check_name(name)
        if kind not in ("user", "node"):
            raise InvalidInput(f"there is no invitation for a {kind[:40]!r}; there are user and node")
        role = Role.NODE if kind == "node" else role_of(arguments.get("role") or "viewer")
        if kind == "user" and role is Role.NODE:
            raise InvalidInput("a user is no node", hint=f"coconut node invite {name}")
        detectors = arguments.get("detectors")
        scope = None if detectors is None else tuple(sorted({one.strip() for one in detectors.split(",")} - {""}))
        if scope is not None and role is not Role.OPERATOR:
            raise InvalidInput("only an operator has a scope of detectors")
        proof = arguments.get("proof", "")
        if not _PROOF.fullmatch(proof):
            raise InvalidInput("proof is the SHA-256 of a secret, 64 hexadecimal digits")
        lobby = self._need_lobby()
        rotate = bool(arguments.get("rotate"))
        check_invited(self._keyring, name, role, rotate=rotate)
        if rotate:
            entry = self._keyring.entry(name)
            role, scope = entry.role, entry.detectors
        where, invitation = lobby.invite(
            name,
            role,
            proof,
            detectors=scope,
            auto=bool(arguments.get("auto")),
            rotate=rotate,
            days=_days(arguments.get("days", ""), 0),
            by=requester,
        )
        return {
            "name": name,
            "role": role.name.lower(),
            "detectors": None if scope is None else list(scope),
            "rotate": rotate,
            "core_key": self._core_key,
            "next_core_key": "" if self._next_key.next is None else self._next_key.next.public,
            "endpoint": self._endpoint(),
            "lobby": where,
            "expires_ms": invitation.expires_ms,
        }

    def approve(self, arguments: Mapping[str, str], requester: str) -> Mapping[str, object]:
        """Let the pending keys of `name` in, or with `refuse` forget them. Raises NotFound or Conflict."""
        name = arguments.get("name", "")
        if arguments.get("refuse"):
            self._keyring.refuse(name)
            return {"name": name, "approved": False}
        entry = self._keyring.approve(name, by=requester)
        keys = [shown(key.public) for key in entry.having(KeyState.APPROVED)]
        return {"name": name, "approved": True, "role": entry.role.name.lower(), "keys": keys}

    def revoke(self, arguments: Mapping[str, str], requester: str) -> Mapping[str, object]:
        """Let nobody in any more with the keys of `name`, or with that which begins with `key`; end its invitations.

        Raises:
            NotFound: there is no such key.
            Conflict: no admin would be left.
        """
        name, key = arguments.get("name", ""), arguments.get("key", "")
        invited = self._lobby is not None and any(one.name == name for one in self._lobby.invitations)
        known = self._keyring.entries.get(name)
        lives = known is not None and any(one.state is not KeyState.REVOKED for one in known.keys)
        if not lives and invited and self._lobby is not None:
            self._lobby.withdraw(name)
            return {"name": name, "keys": []}
        self._check_admins(name, key)
        entry = self._keyring.revoke(name, public=key, by=requester)
        if invited and self._lobby is not None:
            self._lobby.withdraw(name)
        return {"name": name, "keys": [shown(one.public) for one in entry.having(KeyState.REVOKED)]}

    def rotate(self, arguments: Mapping[str, str], requester: str) -> Mapping[str, object]:
        """Give whoever asks a second key, `add`; or revoke all keys of his but `only`.

        Raises:
            InvalidInput: neither, or no key.
            NotFound: he has no key here, or not the one to be kept.
            Conflict: he has two already.
        """
        entry = self._keyring.entry(requester)
        add, only = arguments.get("add", ""), arguments.get("only", "")
        if bool(add) is bool(only):
            raise InvalidInput("either `add` or `only` is a public key")
        check_key(add or only)
        if add:
            now_ms = self._now_ms()
            ends = [known.expires_ms for known in entry.having(KeyState.APPROVED)]
            left_ms = max(max(ends) - now_ms, 1) if ends and all(ends) else 0  # nobody gives himself more time
            self._keyring.add(
                requester,
                entry.role,
                add,
                state=KeyState.APPROVED,
                by=requester,
                now_ms=now_ms,
                lifetime_ms=left_ms,
            )
            return {"name": requester, "added": shown(add)}
        approved = [key.public for key in entry.having(KeyState.APPROVED)]
        if only not in approved:
            raise NotFound(f"{requester} has no key {shown(only)}")
        dropped = [key for key in approved if key != only]
        for key in dropped:
            self._keyring.revoke(requester, public=key, by=requester)
        return {"name": requester, "revoked": [shown(key) for key in dropped]}

    def core(self, arguments: Mapping[str, str], requester: str) -> Mapping[str, object]:
        """Give the core a next key, which it takes at its first start after `days`; or with `cancel` give it up.

        If it has one, another number of `days` counts from now; without one, nothing is changed. Return how it stands.

        Raises:
            InvalidInput: that is no number of days, or both are asked for.
            NotFound: there is none to be given up.
        """
        days, cancel = arguments.get("days", ""), bool(arguments.get("cancel"))
        if cancel and days:
            raise InvalidInput("either the next key is given up, or it is taken after so many days")
        if cancel:
            self._next_key.cancel()
        elif days or self._next_key.next is None:
            left = _days(days, GRACE_DAYS, least=0)
            self._next_key.begin(self._now_ms() + left * DAY_MS)
        self._tell_key_news()
        following = self._next_key.next
        return {
            "key": self._core_key,
            "next_key": "" if following is None else following.public,
            "from_ms": 0 if following is None else following.from_ms,
            "told": sorted(self._next_key.told),
            "untold": [] if following is None else self._next_key.untold(self._living()),
        }

    def _living(self) -> list[str]:
        """Return whose keys are good now."""
        now_ms = self._now_ms()
        return [
            entry.name
            for entry in self._keyring.entries.values()
            if any(not key.is_over(now_ms) for key in entry.having(KeyState.APPROVED))
        ]

    def list_document(self) -> dict[str, object]:
        """Return the document `key.list`: everybody, open invitations, and files that can't be read."""
        now_ms = self._now_ms()
        return {
            "schema": "ecs/key-list/1",
            "keys": [
                {
                    "name": entry.name,
                    "role": entry.role.name.lower(),
                    "detectors": None if entry.detectors is None else list(entry.detectors),
                    "key": shown(key.public),
                    "state": "expired" if key.is_over(now_ms) else str(key.state),
                    "added_ms": key.added_ms,
                    "by": key.by,
                    "expires_ms": key.expires_ms,
                }
                for entry in sorted(self._keyring.entries.values(), key=lambda entry: entry.name)
                for key in entry.keys
            ],
            "invitations": [
                {
                    "name": one.name,
                    "role": one.role.name.lower(),
                    "auto": one.auto,
                    "by": one.by,
                    "expires_ms": one.expires_ms,
                }
                for one in (() if self._lobby is None else self._lobby.invitations)
            ],
            "problems": [*self._keyring.problems, *self._keyring.warnings()],
        }

    def tail_document(self, arguments: Mapping[str, str]) -> dict[str, object]:
        """Return the document `audit.tail`: its last `lines`. Raises InvalidInput: that is no number."""
        text = arguments.get("lines") or "20"
        if not text.isdecimal() or len(text) > 6:
            raise InvalidInput(f"{text[:40]!r} is no number of lines")
        return {"schema": "ecs/audit-tail/1", "lines": audit.tail(self._audit_folder, min(int(text), MAX_TAIL))}

    def consult(self, subject: str, arguments: Mapping[str, str]) -> str | None:
        """Return a document of ours as JSON, None for a subject of somebody else. May be called in any thread."""
        if subject == "key.list":
            return json.dumps(self.list_document())
        if subject == "audit.tail":
            return json.dumps(self.tail_document(arguments))
        return None

    def _need_lobby(self) -> Lobby:
        if self._lobby is None:
            raise no_keys()
        return self._lobby

    def _check_admins(self, name: str, key: str) -> None:
        entries = self._keyring.entries.values()
        left = [
            known.public
            for entry in entries
            if entry.role is Role.ADMIN
            for known in entry.having(KeyState.APPROVED)
            if not known.is_over(self._now_ms())
            if not (entry.name == name and known.public.startswith(key))
        ]
        victim = self._keyring.entry(name)
        if victim.role is Role.ADMIN and not left:
            raise Conflict("no admin would be left", hint="invite and approve another admin first")


def _days(text: str, absent: int, least: int = 1) -> int:
    """Return a number of days, `absent` if there is none. Raises InvalidInput."""
    if not text:
        return absent
    plain = text.isascii() and text.isdigit() and len(text) < 6 and text == str(int(text))
    if not (plain and least <= int(text) <= MAX_DAYS):
        raise InvalidInput(f"{text[:40]!r} is no number of days: {least} to {MAX_DAYS}")
    return int(text)
