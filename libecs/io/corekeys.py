"""The keys that a core makes on its first start, and what it tells clients on the same machine.

STATE/keys/                0700
core.key, owner.key        key pairs (`keyfile.py`)
STATE/client.toml          by which clients on the same machine find the core
"""

from __future__ import annotations

from pathlib import Path

import attrs

from libecs.access import Role
from libecs.errors import EcsError
from libecs.io.keyfile import KeyPair, make_private_folder, read_key_file, toml_text, write_key_file, write_private
from libecs.io.principals import Entry, KeyState, KnownKey, entry_text

OWNER_NAME = "owner"
"""The admin that a core makes on its first start."""


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
            write_private(principals / f"{OWNER_NAME}.toml", entry_text(entry))
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
