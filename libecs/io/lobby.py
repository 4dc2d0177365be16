"""The lobby: a second socket of the core, for keys that nobody knows yet. It is bound only while an invitation is open.

Any key may finish the handshake here, so little is done for anybody: messages of at most 4 KiB, one a second from one
address, and one verb. Who shows the secret of an open invitation has the key of his link enrolled under the name that
the invitation says; it is pending until an admin approves it, unless the invitation says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from libecs.access import Principal, Role
from libecs.engine.effects import Audit
from libecs.errors import Conflict, DecodeError, Denied, EcsError, InvalidInput
from libecs.io.bucket import Buckets, Rate
from libecs.io.keys import DAY_MS, KeyPair, Keyring, KeyState, role_of, shown, toml_text, write_private
from libecs.io.link import Context, Origin, Router, ServerCurve
from libecs.io.token import LIFETIME_MS, proof_of
from libecs.io.zap import LOBBY_DOMAIN
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.lobby import LOBBY, MAX_LOBBY_BYTES, Join, Joined, TurnedAway

logger = logging.getLogger(__name__)

CHANNEL = b"lobby"
MAX_OPEN = 1000
"""Invitations at a time."""
PER_ADDRESS_S = 1.0
"""From one message of an address to the next one that is looked at."""
FROM_ALL = Rate(50.0, 200.0)
"""Messages of all addresses that are looked at."""
MAX_PER_ADDRESS = 16
"""Connections of one address."""
_MAX_ADDRESSES = 10_000
_LINGER_MS = 1000
_GRACE_S = 5.0
"""The socket stays so long after the last invitation was used: an answer that was lost is asked for again."""

Auditor = Callable[[Sequence[Audit], int], None]


@attrs.frozen(kw_only=True)
class Open:
    """An invitation that was given out."""

    proof: str
    """Hash of its secret."""
    name: str
    role: Role
    detectors: tuple[str, ...] | None = None
    auto: bool = False
    """Its key is approved at once."""
    rotate: bool = False
    by: str = ""
    expires_ms: int
    days: int = 0
    """That its key is good for; 0 = for ever, or as long as the key that it follows."""
    key: str = ""
    """The one that has used it."""


class Lobby:
    """Invitations, and the socket where they are shown. For the event loop's thread only."""

    def __init__(
        self,
        context: Context,
        keyring: Keyring,
        pair: KeyPair,
        *,
        endpoint: str,
        advertise: str,
        file: Path,
        audit: Auditor,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Call inside of a running event loop, after the ZAP responder was made. Find what the last life gave out.

        Args:
            context: of the core.
            keyring: gets the new keys.
            pair: of the core.
            endpoint: to bind, as `tcp://*:47103`.
            advertise: host by which others reach us.
            file: keeps the invitations.
            audit: writes lines to the audit log, durably.
            now_ms: the wall clock.
        """
        self._context = context
        self._keyring = keyring
        self._pair = pair
        self._bind_to = endpoint
        self._advertise = advertise
        self._file = file
        self._audit = audit
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._router: Router | None = None
        self._endpoint = ""
        self._timer: asyncio.TimerHandle | None = None
        self._last_heard: dict[str, float] = {}
        self._from_all = Buckets(FROM_ALL)
        self.dropped = 0
        """Messages that were not looked at: too large, too many, or none of ours."""
        self._open: dict[str, Open] = {one.proof: one for one in _read(file) if one.expires_ms > now_ms()}
        if self.invitations:
            try:
                self._listen()
            except EcsError as error:
                logger.error("the lobby stays closed: %s", error.message)
        self._set_timer()

    @property
    def invitations(self) -> tuple[Open, ...]:
        """Those that nobody has used."""
        now = self._now_ms()
        return tuple(one for one in self._open.values() if not one.key and one.expires_ms > now)

    @property
    def is_open(self) -> bool:
        """Whether the socket is bound."""
        return self._router is not None

    def invite(
        self,
        name: str,
        role: Role,
        proof: str,
        *,
        detectors: tuple[str, ...] | None = None,
        auto: bool = False,
        rotate: bool = False,
        days: int = 0,
        by: str,
    ) -> tuple[str, Open]:
        """Open an invitation. Return where to show it, and what it says.

        Raises:
            Conflict: too many are open; or we can't listen.
        """
        self._forget_old()
        if len(self._open) >= MAX_OPEN:
            raise Conflict(f"{MAX_OPEN} invitations are open already", hint="they last 10 minutes")
        self._listen()
        one = Open(
            proof=proof,
            name=name,
            role=role,
            detectors=detectors,
            auto=auto,
            rotate=rotate,
            by=by,
            expires_ms=self._now_ms() + LIFETIME_MS,
            days=days,
        )
        self._open = {key: other for key, other in self._open.items() if other.name != name or other.key}
        self._open[proof] = one
        self._save()
        self._set_timer()
        return self._endpoint, one

    def withdraw(self, name: str) -> None:
        """Close the invitations for somebody."""
        self._open = {proof: one for proof, one in self._open.items() if one.name != name}
        self._save()
        self._set_timer()

    def close(self) -> None:
        """Close the socket. Invitations stay in their file."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._router is not None:
            self._router.close()
            self._router = None

    def _listen(self) -> None:
        if self._router is not None:
            return
        router = Router(
            self._context,
            None,
            on_traced=self._heard,
            curve=ServerCurve(secret=self._pair.secret, domain=LOBBY_DOMAIN),
            heartbeats=True,
            high_water=100,
            max_queued=10,
            max_per_address=MAX_PER_ADDRESS,
            linger_ms=_LINGER_MS,
            max_bytes=MAX_LOBBY_BYTES,
        )
        try:
            bound = router.bind(self._bind_to)
        except EcsError:
            router.close()
            raise
        self._router = router
        self._endpoint = f"tcp://{self._advertise}:{urlsplit(bound).port}"
        logger.info("the lobby is open at %s", bound)

    def _set_timer(self) -> None:
        """See to it that the socket is closed soon after the last open invitation was used or is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._router is None:
            return
        left_ms = max((one.expires_ms - self._now_ms() for one in self.invitations), default=0)
        self._timer = self._loop.call_later(max(0.0, left_ms / 1000) + _GRACE_S, self._end)

    def _end(self) -> None:
        self._timer = None
        self._forget_old()
        if self.invitations:
            self._set_timer()
        else:
            self.close()
            self._last_heard.clear()
            logger.info("the lobby is closed")

    def _forget_old(self) -> None:
        now = self._now_ms()
        kept = {proof: one for proof, one in self._open.items() if one.expires_ms > now}
        if kept != self._open:
            self._open = kept
            try:
                self._save()
            except OSError as error:  # those that are over are over, in the file too
                logger.warning("%s cannot be written: %s", self._file, error.strerror)

    def _heard(self, peer: bytes, frames: list[bytes], origin: Origin) -> None:
        address, key = origin.address, origin.key
        if not self._may_speak(address) or len(frames) != 3 or sum(map(len, frames)) > MAX_LOBBY_BYTES:
            self.dropped += 1
            origin.hang_up()
            return
        channel, version, payload = frames
        if channel != CHANNEL or version != VERSION_FRAME:
            self.dropped += 1
            origin.hang_up()
            return
        try:
            message = LOBBY.decode(payload, MAX_LOBBY_BYTES)
        except DecodeError:
            self.dropped += 1
            origin.hang_up()
            return
        if not isinstance(message, Join) or not key:
            self.dropped += 1
            origin.hang_up()
            return
        answer = self._join(message, key, address)
        if self._router is not None:
            self._router.send(peer, [VERSION_FRAME, LOBBY.encode(answer)])

    def _may_speak(self, address: str) -> bool:
        now = time.monotonic()
        if now - self._last_heard.get(address, -PER_ADDRESS_S) < PER_ADDRESS_S:
            return False
        if len(self._last_heard) >= _MAX_ADDRESSES:
            self._last_heard = {one: at for one, at in self._last_heard.items() if now - at < PER_ADDRESS_S}
            if len(self._last_heard) >= _MAX_ADDRESSES:
                return False
        self._last_heard[address] = now
        return self._from_all.take("", now)

    def _join(self, message: Join, key: str, address: str) -> Joined | TurnedAway:
        one = self._open.get(proof_of(message.secret))
        now_ms = self._now_ms()
        principal = Principal(
            name=one.name if one is not None else "", role=one.role if one is not None else Role.VIEWER, key=shown(key),
            via="lobby",
        )  # fmt: skip

        def note(decision: str, text: str) -> None:
            object_name = one.name if one is not None else message.name[:64]
            line = Audit(
                verb="Join", principal=principal, requester="", object=object_name, decision=decision, text=text
            )
            self._audit([line], now_ms)

        unwritable = TurnedAway(code=EcsError.code, message="the core cannot write its keys now")

        try:
            if one is None or one.expires_ms <= now_ms or one.name != message.name or one.key not in ("", key):
                raise Denied(
                    "no invitation for this token is open: it lasts 10 minutes, and is good for one key",
                    hint="ask for another one",
                )
            if one.key:  # its answer was lost
                return self._joined(one.name, key)
            check_invited(self._keyring, one.name, one.role, rotate=one.rotate)
            self._keyring.check_add(one.name, key)
            note("accepted", f"key {shown(key)} from {address}{', approved at once' if one.auto else ''}")
            self._keyring.add(
                one.name,
                one.role,
                key,
                state=KeyState.APPROVED if one.auto else KeyState.PENDING,
                by=one.by,
                now_ms=now_ms,
                detectors=one.detectors,
                lifetime_ms=one.days * DAY_MS,
            )
            self._open[one.proof] = attrs.evolve(one, key=key)
            self._save()
            self._set_timer()
            return self._joined(one.name, key)
        except EcsError as error:
            try:
                note("denied", f"key {shown(key)} from {address}: {error.message}")
            except OSError as full:
                logger.error("the audit log cannot be written: %s", full)
                return unwritable
            return TurnedAway(code=error.code, message=error.message, hint=error.hint)
        except OSError as error:
            logger.error("nobody can join: %s", error)
            return unwritable

    def _joined(self, name: str, key: str) -> Joined | TurnedAway:
        entry = self._keyring.entries.get(name)
        states = {} if entry is None else {known.public: known.state for known in entry.keys}
        if entry is None or states.get(key) not in (KeyState.PENDING, KeyState.APPROVED):
            return TurnedAway(code=Denied.code, message=f"this key of {name} was refused or revoked")
        return Joined(name=name, role=entry.role, pending=states[key] is KeyState.PENDING)

    def _save(self) -> None:
        write_private(self._file, "".join(_text(one) for one in self._open.values()))


def check_invited(keyring: Keyring, name: str, role: Role, *, rotate: bool) -> None:
    """Raise Conflict if a name can't be invited: it is in use, or a second key is wanted of somebody who has none."""
    entry = keyring.entries.get(name)
    living = entry is not None and any(key.state is not KeyState.REVOKED for key in entry.keys)
    if living and not rotate:
        raise Conflict(
            f"{name} has a key already", hint=f"coconut key revoke {name}, or invite with --rotate for a second key"
        )
    if rotate and not living:
        raise Conflict(f"{name} has no key that a second one could follow", hint="invite without --rotate")
    if entry is not None and living and (entry.role is Role.NODE) is not (role is Role.NODE):
        raise Conflict(f"{name} is a {entry.role.name.lower()}")


def _text(one: Open) -> str:
    values: dict[str, Any] = {
        "proof": toml_text(one.proof),
        "name": toml_text(one.name),
        "role": toml_text(one.role.name.lower()),
        "auto": str(one.auto).lower(),
        "rotate": str(one.rotate).lower(),
        "by": toml_text(one.by),
        "expires_ms": one.expires_ms,
        "days": one.days,
        "key": toml_text(one.key),
    }
    if one.detectors is not None:
        values["detectors"] = f"[{', '.join(map(toml_text, one.detectors))}]"
    return "\n".join(["[[invitation]]", *(f"{name} = {value}" for name, value in values.items()), "", ""])


def _read(file: Path) -> list[Open]:
    """Return the invitations of a file. One that is damaged costs the invitations, not the core."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        return [
            Open(
                proof=str(item["proof"]),
                name=str(item["name"]),
                role=role_of(item["role"]),
                detectors=None if "detectors" not in item else tuple(map(str, item["detectors"])),
                auto=bool(item["auto"]),
                rotate=bool(item["rotate"]),
                by=str(item["by"]),
                expires_ms=int(item["expires_ms"]),
                days=int(item.get("days", 0)),
                key=str(item["key"]),
            )
            for item in document.get("invitation", [])
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInput) as error:
        logger.error("invitations in %s are lost: %s", file, error)
        return []
