"""The core's own keys: made on its first start, and followed by another one when an admin says so.

STATE/keys/                0700
core.key, owner.key        key pairs (`keyfile.py`)
core.next.key              the pair that follows `core.key`, with `from_ms`: it is taken at the first start after that
core.next.told             names of those who were told of it, one a line
STATE/client.toml          by which clients on the same machine find the core

A socket has one key, so it changes when the core starts anew, by one rename: before it the core has the old one, after
it the new one, whenever it is killed. Why it is done so: docs/decisions/0008-next-key-of-the-core.md.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

import attrs

from libecs.access import Role
from libecs.errors import EcsError, InvalidInput, NotFound
from libecs.io.keyfile import (
    KeyPair,
    make_private_folder,
    read_key_file,
    shown,
    sync_folder,
    toml_text,
    write_key_file,
    write_private,
)
from libecs.io.principals import Entry, KeyState, KnownKey, entry_text

logger = logging.getLogger(__name__)

OWNER_NAME = "owner"
"""The admin that a core makes on its first start."""
_CORE, _NEXT, _TOLD = "core.key", "core.next.key", "core.next.told"


@attrs.frozen(kw_only=True)
class NextKey:
    """The key that follows the core's present one. Its secret is on disk alone until it is taken."""

    public: str
    from_ms: int
    """It is taken at the first start after this, unix milliseconds."""


class NextKeyFile:
    """The core's next key, if there is one, and who was told of it."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; remove what can't be used. `folder`: `STATE/keys`. Raises OSError."""
        self._folder = folder
        self._told: set[str] = set()
        self.next: NextKey | None = None
        self.problem = ""
        """Why what was there can't be used, and was given up; the core goes on with its present key."""
        try:
            self.next = _read_next(folder / _NEXT)
        except EcsError as error:
            self.problem = (
                f"the core's next key can't be used, and was given up: {error.message}; "
                "coconut key rotate --core makes another one"
            )
            logger.error("%s", self.problem)
            self._remove()  # everybody forgets it now: mended later, it would lock them out
        if self.next is not None:
            self._told = _read_told(folder / _TOLD)

    @property
    def told(self) -> frozenset[str]:
        """Names of those who were told of it."""
        return frozenset(self._told)

    def due(self, now_ms: int) -> str:
        """Return a sentence if its time has come, else ""."""
        if self.next is None or now_ms < self.next.from_ms:
            return ""
        return (
            f"the core's next key {shown(self.next.public)} may be taken: restart ecsd, environments and tasks go on "
            "(coconut key rotate --core shows who has not been told of it)"
        )

    def begin(self, from_ms: int) -> NextKey:
        """Make a next key, to be taken from a time on; if there is one, give it that time.

        Raises:
            EcsError: that which is there can't be read any more.
            OSError: it can't be written.
        """
        path = self._folder / _NEXT
        if self.next is None:
            self.forget_told()  # first: nobody has been told of the new one
            pair = KeyPair.new()
        else:
            pair = read_key_file(path)
        write_private(path, f'public = "{pair.public}"\nsecret = "{pair.secret}"\nfrom_ms = {from_ms}\n')
        self.next, self.problem = NextKey(public=pair.public, from_ms=from_ms), ""
        return self.next

    def cancel(self) -> None:
        """Forget the next key. Raises NotFound: there is none. Raises OSError."""
        if self.next is None:
            raise NotFound("the core has no next key that could be given up")
        self._remove()
        self.next = None
        self.forget_told()

    def _remove(self) -> None:
        (self._folder / _NEXT).unlink(missing_ok=True)
        # Everybody forgets it now: were it back after a loss of power, a start would take what nobody believes.
        sync_folder(self._folder)

    def note_told(self, name: str) -> None:
        """Somebody was told of it. A name that can't be written down is told again, no more than that."""
        if self.next is None or name in self._told:
            return
        self._told.add(name)
        try:
            descriptor = os.open(self._folder / _TOLD, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{name}\n")
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._folder / _TOLD, error.strerror)

    def untold(self, names: Iterable[str]) -> list[str]:
        """Return which of some names were not told, sorted."""
        return sorted(set(names) - self._told)

    def forget_told(self) -> None:
        """Begin a new list. Raises OSError."""
        self._told.clear()
        (self._folder / _TOLD).unlink(missing_ok=True)

    def take(self, now_ms: int) -> None:
        """Make it the present one if its time has come: one rename. Raises OSError."""
        if self.next is None or now_ms < self.next.from_ms:
            return
        (self._folder / _NEXT).rename(self._folder / _CORE)
        logger.warning("the core has its next key from now on: %s", self.next.public)
        self.next = None
        self.forget_told()


@attrs.frozen(kw_only=True)
class CoreKeys:
    """What a core needs of its folder of keys."""

    pair: KeyPair
    next: NextKeyFile
    owner_file: Path
    """Key pair of the admin of the first start; on the same machine, as the same user, it is enough to be him."""
    principals: Path
    """Folder of the keyring."""
    made: bool
    """This was the first start."""


def open_core_keys(state: Path, *, now_ms: int) -> CoreKeys:
    """Return the keys of the core with this state folder; on the first start make them, and the admin `owner`.

    A next key whose time has come is taken. Only for who holds the lock of the state folder.

    Raises:
        Denied: others can read a secret.
        InvalidInput: a file is damaged.
        EcsError: the folder cannot be written.
    """
    folder = state / "keys"
    core_file, owner_file, principals = folder / _CORE, folder / "owner.key", folder / "principals"
    made = not core_file.exists()
    try:
        make_private_folder(principals)
        if made:
            owner = KeyPair.new()
            write_key_file(owner_file, owner)
            known = KnownKey(public=owner.public, state=KeyState.APPROVED, added_ms=now_ms, by="first start")
            entry = Entry(name=OWNER_NAME, role=Role.ADMIN, keys=(known,))
            write_private(principals / f"{OWNER_NAME}.toml", entry_text(entry))
            write_key_file(core_file, KeyPair.new())  # last: without it, the next start begins anew
        following = NextKeyFile(folder)
        following.take(now_ms)
    except OSError as error:
        raise EcsError(f"no keys can be made in {folder}: {error.strerror}") from error
    pair = read_key_file(core_file)
    return CoreKeys(pair=pair, next=following, owner_file=owner_file, principals=principals, made=made)


def write_client_file(state: Path, *, endpoint: str, core_key: str) -> Path:
    """Write `STATE/client.toml`, by which clients on the same machine find the core; return its path."""
    path = state / "client.toml"
    values = {"endpoint": endpoint, "core_key": core_key, "key_file": str(state / "keys" / "owner.key")}
    write_private(path, "".join(f"{name} = {toml_text(value)}\n" for name, value in values.items()))
    return path


def _read_next(path: Path) -> NextKey | None:
    if not path.exists():
        return None
    pair = read_key_file(path)
    from_ms = tomllib.loads(path.read_text(encoding="utf-8")).get("from_ms")
    if not isinstance(from_ms, int):
        raise InvalidInput(f"{path} does not say from when on: from_ms is missing", hint=f"remove {path}")
    return NextKey(public=pair.public, from_ms=from_ms)


def _read_told(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return set()
