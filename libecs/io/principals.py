"""One principal in the keyring, and the file that says who he is: name, role, detectors, public keys. No secret."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs

from libecs.access import Role
from libecs.errors import InvalidInput
from libecs.io.keyfile import check_key, toml_text

MAX_APPROVED = 2
"""Keys of one principal that are valid at once."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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


def read_entry(path: Path) -> Entry:
    """Return what a file of the keyring says.

    Raises:
        InvalidInput: damaged, others can write it, or it is not what its name says.
        FileNotFoundError: it is gone.
    """
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


def entry_text(entry: Entry) -> str:
    """Return what `read_entry` reads."""
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
