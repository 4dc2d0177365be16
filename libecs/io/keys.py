"""The keyring: it knows whose a public key is.

STATE/keys/principals/NAME.toml     somebody who may talk to the core (`principals.py`)

One principal may have two approved keys at a time: the old one goes on while the new one is brought to its place. What
cannot be read lets nobody in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import attrs

from libecs.access import Principal, Role
from libecs.errors import Conflict, EcsError, NotFound
from libecs.io.inotify import Inotify
from libecs.io.keyfile import (
    KeyPair,
    check_key,
    make_private_folder,
    read_key_file,
    shown,
    toml_text,
    write_key_file,
    write_private,
    z85,
)
from libecs.io.principals import (
    MAX_APPROVED,
    Entry,
    KeyState,
    KnownKey,
    check_name,
    entry_text,
    read_entry,
    role_of,
)

__all__ = [
    "MAX_APPROVED",
    "Entry",
    "KeyPair",
    "KeyState",
    "Keyring",
    "KnownKey",
    "check_key",
    "check_name",
    "make_private_folder",
    "read_key_file",
    "role_of",
    "shown",
    "toml_text",
    "write_key_file",
    "write_private",
    "z85",
]

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
WARN_MS = 30 * DAY_MS
"""So long before its end a key is warned of; one that was given for less than twice that, in the second half."""
_FOR_EVER_MS = 1 << 63
_WHO = "coconut key list shows whose keys wait, and who is invited and has not joined yet"
_SETTLE_S = 0.02
"""From the first sign of a changed file until all are read: several mostly change together."""


class Keyring:
    """The principals of a core. For the event loop's thread only; files are small and read at once."""

    def __init__(
        self,
        folder: Path,
        *,
        on_change: Callable[[], None] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Read the folder; make it if it is not there.

        Args:
            folder: `STATE/keys/principals`.
            on_change: called after each change of what `principal` answers, by us or by somebody who wrote a file.
            now_ms: the wall clock, by which keys expire.
        """
        self._folder = folder
        self._now_ms = now_ms
        self._expires = False
        """Some key does, at some time."""
        self._since_ms = self._until_ms = 0
        """What was judged holds while the clock says something from the first on, before the second."""
        self.on_change = on_change
        self._entries: dict[str, Entry] = {}
        self._principals: dict[str, Principal] = {}
        self._unread: tuple[str, ...] = ()
        """Why files could not be read."""
        self._problems: tuple[str, ...] = ()
        self._inotify: Inotify | None = None
        self._timer: asyncio.TimerHandle | None = None
        make_private_folder(folder)
        self.reload()

    def principal(self, key: str) -> Principal | None:
        """Return whose key this is (z85), if it is approved; one look-up in a dict, to be made for each message."""
        if self._expires:
            self.expire()
        return self._principals.get(key)

    def expire(self) -> None:
        """Let nobody in any more with keys whose time is over; what changes with that is told as any change.

        A clock that was ahead and is set back gives those keys back that it had taken.
        """
        if self._expires and not self._since_ms <= self._now_ms() < self._until_ms:
            self._judge(self._entries)  # not read anew: a thousand files take long, between two messages

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about approved keys that will expire soon, or have."""
        now_ms = self._now_ms()
        found = []
        for entry in self._entries.values():
            what = "node" if entry.role is Role.NODE else "key"
            for key in entry.having(KeyState.APPROVED):
                whose = f"key {shown(key.public)} of {entry.name}"
                if key.is_over(now_ms):
                    found.append(f"{whose} has expired: coconut key revoke {entry.name}")
                elif _ends_soon(entry, key, now_ms):
                    days = (key.expires_ms - now_ms) // DAY_MS
                    next_one = f"coconut {what} invite {entry.name} --rotate"
                    found.append(f"{whose} expires in {days} days: {next_one}")
        return tuple(found)

    def ends_soon(self, public: str) -> int:
        """Return when a key ends, unix milliseconds, if its owner should have been given another one; else 0."""
        now_ms = self._now_ms()
        principal = self._principals.get(public)
        entry = None if principal is None else self._entries.get(principal.name)
        if entry is None:
            return 0
        return sum(key.expires_ms for key in entry.keys if key.public == public and _ends_soon(entry, key, now_ms))

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Everybody, by name; also those whose keys are pending or revoked."""
        return self._entries

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with files that could not be read. Their keys let nobody in."""
        return self._problems

    def entry(self, name: str) -> Entry:
        """Return somebody. Raises NotFound."""
        try:
            return self._entries[name]
        except KeyError:
            raise NotFound(f"there is no key of {name!r}", hint=_WHO) from None

    def reload(self) -> None:
        """Read all files anew."""
        entries: dict[str, Entry] = {}
        problems: list[str] = []
        for path in sorted(self._folder.glob("*.toml")):
            try:
                entries[path.stem] = read_entry(path)
            except FileNotFoundError:
                continue  # removed since it was listed
            except EcsError as error:
                problems.append(error.message)
        self._unread = tuple(problems)
        self._judge(entries)

    def _judge(self, entries: dict[str, Entry]) -> None:
        """Let in whose keys are approved now."""
        problems = list(self._unread)
        owners: dict[str, str] = {}
        principals: dict[str, Principal] = {}
        now_ms = self._now_ms()
        ends = [key.expires_ms for entry in entries.values() for key in entry.keys if key.expires_ms]
        self._expires = bool(ends)
        self._since_ms = max((end for end in ends if end <= now_ms), default=-_FOR_EVER_MS)
        self._until_ms = min((end for end in ends if end > now_ms), default=_FOR_EVER_MS)
        for entry in entries.values():
            for key in entry.keys:
                other = owners.setdefault(key.public, entry.name)
                if other != entry.name:
                    problems.append(
                        f"{other} and {entry.name} have the same key {shown(key.public)}: it lets neither in"
                    )
                    principals.pop(key.public, None)
                elif key.state is KeyState.APPROVED and not key.is_over(now_ms):
                    principals[key.public] = _principal(entry, key)
        for problem in problems:
            if problem not in self._problems:
                logger.error("keyring: %s", problem)
        self._problems = tuple(problems)
        changed = principals != self._principals
        self._entries, self._principals = entries, principals
        if changed and self.on_change is not None:
            self.on_change()

    def add(
        self,
        name: str,
        role: Role,
        public: str,
        *,
        state: KeyState,
        by: str,
        now_ms: int,
        detectors: Iterable[str] | None = None,
        lifetime_ms: int = 0,
    ) -> Entry:
        """Add a key, of somebody new or of somebody known. Who has a key already keeps his role and scope.

        It expires after `lifetime_ms`; with 0, after the time that the other keys of its owner have, or never.

        Raises:
            InvalidInput: no name, or no key.
            Conflict: somebody else has this key, it was revoked, or the principal has two already.
            OSError: it cannot be written.
        """
        self.check_add(name, public)
        scope = None if detectors is None else tuple(sorted(set(detectors)))
        entry = self._entries.get(name) or Entry(name=name, role=role)
        if not any(key.state is not KeyState.REVOKED for key in entry.keys):
            entry = attrs.evolve(entry, role=role, detectors=scope)
        known = {key.public: key for key in entry.keys}.get(public)
        if known is not None and (known.state is state or known.state is KeyState.APPROVED):
            return entry
        others = tuple(key for key in entry.keys if key.public != public)
        _check_room(name, others, state)
        lifetime_ms = lifetime_ms or entry.lifetime_ms
        expires_ms = now_ms + lifetime_ms if lifetime_ms else 0
        key = KnownKey(public=public, state=state, added_ms=now_ms, by=by, expires_ms=expires_ms)
        return self._write(attrs.evolve(entry, keys=(*others, key)))

    def check_add(self, name: str, public: str) -> None:
        """Raise what `add` would raise because of the name or the key."""
        check_name(name)
        check_key(public)
        for entry in self._entries.values():
            for key in entry.keys:
                if key.public == public and entry.name != name:
                    raise Conflict(f"key {shown(public)} is that of {entry.name}")
                if key.public == public and key.state is KeyState.REVOKED:
                    raise Conflict(f"key {shown(public)} of {name} was revoked", hint="make a new one")

    def approve(self, name: str, *, by: str) -> Entry:
        """Let the pending keys of somebody in.

        Raises:
            NotFound: nobody of that name, or no key of his is pending.
            Conflict: he has two approved keys already.
        """
        entry = self.entry(name)
        if not entry.having(KeyState.PENDING):
            raise NotFound(f"no key of {name} waits for approval", hint=_WHO)
        kept = tuple(key for key in entry.keys if key.state is not KeyState.PENDING)
        for key in entry.having(KeyState.PENDING):
            _check_room(name, kept, KeyState.APPROVED)
            kept = (*kept, attrs.evolve(key, state=KeyState.APPROVED, by=by))
        return self._write(attrs.evolve(entry, keys=kept))

    def refuse(self, name: str) -> Entry:
        """Forget the pending keys of somebody. Raises NotFound."""
        entry = self.entry(name)
        if not entry.having(KeyState.PENDING):
            raise NotFound(f"no key of {name} waits for approval", hint=_WHO)
        return self._write(
            attrs.evolve(entry, keys=tuple(key for key in entry.keys if key.state is not KeyState.PENDING))
        )

    def revoke(self, name: str, *, public: str = "", by: str) -> Entry:
        """Let nobody in any more with one key of somebody (its first characters do), or with all of his.

        Raises:
            NotFound: nobody of that name, or no such key of his.
        """
        entry = self.entry(name)
        chosen = [
            key.public for key in entry.keys if key.public.startswith(public) and key.state is not KeyState.REVOKED
        ]
        if not chosen:
            raise NotFound(f"{name} has no key {public or 'that could be revoked'}", hint="coconut key list")
        return self._write(
            attrs.evolve(
                entry,
                keys=tuple(
                    attrs.evolve(key, state=KeyState.REVOKED, by=by) if key.public in chosen else key
                    for key in entry.keys
                ),
            )
        )

    def watch(self) -> None:
        """Hear of files that somebody writes, from now on. Call inside of a running event loop.

        Where the kernel gives no inotify there is only `reload`.
        """
        if self._inotify is not None:
            return
        try:
            self._inotify = Inotify()
            self._inotify.watch_entries(self._folder)
        except OSError as error:
            logger.warning("changes of %s are seen at SIGHUP only: %s", self._folder, error)
            self.close()
            return
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._heard)
        self.reload()  # what changed before

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inotify is not None:
            with contextlib.suppress(RuntimeError):  # no loop runs where `watch` failed outside of one
                asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def _heard(self) -> None:
        assert self._inotify is not None
        self._inotify.read()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self.reload()

    def _write(self, entry: Entry) -> Entry:
        path = self._folder / f"{entry.name}.toml"
        if entry.keys:
            write_private(path, entry_text(entry))
        else:
            path.unlink(missing_ok=True)
        self.reload()
        return entry


def _principal(entry: Entry, key: KnownKey) -> Principal:
    return Principal(
        name=entry.name,
        role=entry.role,
        detectors=None if entry.detectors is None else frozenset(entry.detectors),
        key=shown(key.public),
        via="node" if entry.role is Role.NODE else "client",
    )


def _ends_soon(entry: Entry, key: KnownKey, now_ms: int) -> bool:
    """Whether it is time for a key in the place of this one, and no approved one of its owner is good for longer."""
    if not 0 < key.expires_ms <= now_ms + min(WARN_MS, (key.expires_ms - key.added_ms) // 2):
        return False
    others = (one for one in entry.having(KeyState.APPROVED) if one is not key)
    return not any(one.expires_ms == 0 or one.expires_ms > key.expires_ms for one in others)


def _check_room(name: str, keys: Iterable[KnownKey], state: KeyState) -> None:
    of_state = [key for key in keys if key.state is state]
    if state is not KeyState.REVOKED and len(of_state) >= MAX_APPROVED:
        raise Conflict(
            f"{name} has {MAX_APPROVED} {state} keys already",
            hint=f"coconut key revoke {name} {of_state[0].public[:4]}",
        )
