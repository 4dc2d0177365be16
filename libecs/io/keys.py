"""The keyring, which knows whose a public key is, and the keys that a core makes on its first start.

STATE/keys/                0700
core.key, owner.key        key pairs (`keyfile.py`)
principals/NAME.toml       somebody who may talk to the core: role, detectors, keys; no secret

One principal may have two approved keys at a time: the old one goes on while the new one is brought to its place. What
cannot be read lets nobody in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs

from libecs.access import Principal, Role
from libecs.errors import Conflict, EcsError, InvalidInput, NotFound
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

__all__ = [
    "MAX_APPROVED",
    "OWNER_NAME",
    "CoreKeys",
    "Entry",
    "KeyPair",
    "KeyState",
    "Keyring",
    "KnownKey",
    "check_key",
    "check_name",
    "make_private_folder",
    "open_core_keys",
    "read_key_file",
    "role_of",
    "shown",
    "toml_text",
    "write_client_file",
    "write_key_file",
    "write_private",
    "z85",
]

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
WARN_MS = 14 * DAY_MS
"""So long before its end a key is warned of."""
MAX_APPROVED = 2
"""Keys of one principal that are valid at once."""
OWNER_NAME = "owner"
"""The admin that a core makes on its first start."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WHO = "coconut key list shows whose keys wait, and who is invited and has not joined yet"
_SETTLE_S = 0.02
"""From the first sign of a changed file until all are read: several mostly change together."""


class KeyState(StrEnum):
    """What a key is good for."""

    PENDING = "pending"
    APPROVED = "approved"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class KnownKey:
    """One public key of somebody."""

    public: str
    state: KeyState
    added_ms: int = 0
    by: str = ""
    """Who invited or approved it."""
    expires_ms: int = 0
    """When it is good for nothing any more, unix milliseconds; 0 = never."""

    def is_over(self, now_ms: int) -> bool:
        """Return whether its time is over."""
        return 0 < self.expires_ms <= now_ms


@attrs.frozen(kw_only=True)
class Entry:
    """One file of the keyring."""

    name: str
    role: Role
    detectors: tuple[str, ...] | None = None
    """Scope; None = all."""
    keys: tuple[KnownKey, ...] = ()

    def having(self, state: KeyState) -> tuple[KnownKey, ...]:
        """Return the keys in a state, in the order in which they were added."""
        return tuple(key for key in self.keys if key.state is state)

    @property
    def lifetime_ms(self) -> int:
        """How long keys of this principal are good for, as those say that he has; 0 = for ever."""
        living = [key for key in self.keys if key.state is not KeyState.REVOKED]
        if not living or not all(key.expires_ms for key in living):
            return 0
        return max(key.expires_ms - key.added_ms for key in living)


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
        self._next_end_ms = 0
        """When the next key expires; 0 = none does."""
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
        if self._next_end_ms:
            self.expire()
        return self._principals.get(key)

    def expire(self) -> None:
        """Let nobody in any more with keys whose time is over; what changes with that is told as any change."""
        if 0 < self._next_end_ms <= self._now_ms():
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
                elif 0 < key.expires_ms <= now_ms + WARN_MS and not _is_followed(entry, key):
                    days = (key.expires_ms - now_ms) // DAY_MS
                    next_one = f"coconut {what} invite {entry.name} --rotate"
                    found.append(f"{whose} expires in {days} days: {next_one}")
        return tuple(found)

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
                entries[path.stem] = _read_entry(path)
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
        ends = [key.expires_ms for entry in entries.values() for key in entry.keys if key.expires_ms > now_ms]
        self._next_end_ms = min(ends, default=0)
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
            write_private(path, _entry_text(entry))
        else:
            path.unlink(missing_ok=True)
        self.reload()
        return entry


@attrs.frozen(kw_only=True)
class CoreKeys:
    """What a core needs of its folder of keys."""

    pair: KeyPair
    owner_file: Path
    """Key pair of the admin of the first start; on the same machine, as the same user, it is enough to be him."""
    principals: Path
    """Folder of the keyring."""
    made: bool
    """This was the first start."""


def open_core_keys(state: Path, *, now_ms: int) -> CoreKeys:
    """Return the keys of the core with this state folder; on the first start make them, and the admin `owner`.

    Raises:
        Denied: others can read a secret.
        InvalidInput: a file is damaged.
        EcsError: the folder cannot be written.
    """
    folder = state / "keys"
    core_file, owner_file, principals = folder / "core.key", folder / "owner.key", folder / "principals"
    made = not core_file.exists()
    try:
        make_private_folder(principals)
        if made:
            owner = KeyPair.new()
            write_key_file(owner_file, owner)
            known = KnownKey(public=owner.public, state=KeyState.APPROVED, added_ms=now_ms, by="first start")
            entry = Entry(name=OWNER_NAME, role=Role.ADMIN, keys=(known,))
            write_private(principals / f"{OWNER_NAME}.toml", _entry_text(entry))
            write_key_file(core_file, KeyPair.new())  # last: without it, the next start begins anew
    except OSError as error:
        raise EcsError(f"no keys can be made in {folder}: {error.strerror}") from error
    return CoreKeys(pair=read_key_file(core_file), owner_file=owner_file, principals=principals, made=made)


def write_client_file(state: Path, *, endpoint: str, core_key: str) -> Path:
    """Write `STATE/client.toml`, by which clients on the same machine find the core; return its path."""
    path = state / "client.toml"
    values = {"endpoint": endpoint, "core_key": core_key, "key_file": str(state / "keys" / "owner.key")}
    write_private(path, "".join(f"{name} = {toml_text(value)}\n" for name, value in values.items()))
    return path


def check_name(name: str) -> None:
    """Raise InvalidInput if a text is no name of a principal."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} is no name of a user, service or node",
            hint="use at most 63 letters, digits, '.', '_' and '-'",
        )


def role_of(text: str) -> Role:
    """Return a role by its name in small letters. Raises InvalidInput."""
    try:
        return Role[text.upper()]
    except KeyError:
        names = ", ".join(role.name.lower() for role in Role)
        raise InvalidInput(f"there is no role {text[:80]!r}; there are {names}") from None


def _principal(entry: Entry, key: KnownKey) -> Principal:
    return Principal(
        name=entry.name,
        role=entry.role,
        detectors=None if entry.detectors is None else frozenset(entry.detectors),
        key=shown(key.public),
        via="node" if entry.role is Role.NODE else "client",
    )


def _is_followed(entry: Entry, key: KnownKey) -> bool:
    """Whether another approved key of the same principal is good for longer."""
    others = (one for one in entry.having(KeyState.APPROVED) if one is not key)
    return any(one.expires_ms == 0 or one.expires_ms > key.expires_ms + WARN_MS for one in others)


def _check_room(name: str, keys: Iterable[KnownKey], state: KeyState) -> None:
    of_state = [key for key in keys if key.state is state]
    if state is not KeyState.REVOKED and len(of_state) >= MAX_APPROVED:
        raise Conflict(
            f"{name} has {MAX_APPROVED} {state} keys already",
            hint=f"coconut key revoke {name} {of_state[0].public[:4]}",
        )


def _read_entry(path: Path) -> Entry:
    """Raises InvalidInput: damaged, or not what its name says. Raises FileNotFoundError."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
                raise InvalidInput(f"{path} can be written by others")
            document = tomllib.load(file)
        return _entry(path.stem, document)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{path} does not describe a principal: {type(error).__name__} {error}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}") from error


def _entry(name: str, document: Mapping[str, Any]) -> Entry:
    check_name(name)
    if document["name"] != name:
        raise ValueError("its name is not that of its file")
    keys = []
    for item in document["key"]:
        check_key(item["public"])
        keys.append(
            KnownKey(
                public=item["public"],
                state=KeyState(item["state"]),
                added_ms=int(item.get("added_ms", 0)),
                by=str(item.get("by", "")),
                expires_ms=int(item.get("expires_ms", 0)),
            )
        )
    if sum(1 for key in keys if key.state is KeyState.APPROVED) > MAX_APPROVED:
        raise ValueError(f"more than {MAX_APPROVED} approved keys")
    detectors = document.get("detectors")
    if detectors is not None and not (
        isinstance(detectors, list) and all(isinstance(detector, str) for detector in detectors)
    ):
        raise TypeError("detectors are a list of texts")
    return Entry(
        name=name,
        role=role_of(document["role"]),
        detectors=None if detectors is None else tuple(detectors),
        keys=tuple(keys),
    )


def _entry_text(entry: Entry) -> str:
    lines = [f"name = {toml_text(entry.name)}", f'role = "{entry.role.name.lower()}"']
    if entry.detectors is not None:
        lines.append(f"detectors = [{', '.join(toml_text(detector) for detector in entry.detectors)}]")
    for key in entry.keys:
        lines += [
            "",
            "[[key]]",
            f'public = "{key.public}"',
            f'state = "{key.state}"',
            f"added_ms = {key.added_ms}",
            f"by = {toml_text(key.by)}",
        ]
        if key.expires_ms:
            lines.append(f"expires_ms = {key.expires_ms}")
    return "\n".join(lines) + "\n"
