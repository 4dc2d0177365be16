"""Key pairs, and the files that hold them: TOML, 0600, refused when others can read them.

A key is one of CURVE (Curve25519), written as 40 characters of z85.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import tomllib
from pathlib import Path

import attrs

from libecs.errors import Denied, InvalidInput, NotFound
from libecs.io.link import new_keys, public_key

SHOWN = 8
"""Characters of a public key that people are shown, and the audit log tells."""
NODE_KEY = "keys/node.key"
CORE_FILE = "core.toml"
"""In the state folder of an executor: `core`, `core_key`, `key`, `node`. Of its settings only defaults are weaker."""
_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


@attrs.frozen(kw_only=True)
class KeyPair:
    """A public key, and the secret one that nobody is shown."""

    public: str
    secret: str = attrs.field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """Make one."""
        public, secret = new_keys()
        return cls(public=public, secret=secret)


def read_key_file(path: Path) -> KeyPair:
    """Return the key pair in a file.

    Raises:
        NotFound: there is no such file.
        Denied: somebody else than its owner can read it, or it is somebody else's.
        InvalidInput: it holds no key pair.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _check_private(path, status)
            document = tomllib.load(file)
    except FileNotFoundError:
        raise NotFound(f"there is no key file {path}") from None
    except OSError as error:
        raise Denied(f"key file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidInput(f"key file {path} is no TOML") from None  # nothing of its text: it holds a secret
    secret, public = document.get("secret"), document.get("public")
    try:
        matches = isinstance(secret, str) and public_key(secret) == public
    except InvalidInput:
        matches = False
    if not (matches and isinstance(secret, str) and isinstance(public, str)):
        raise InvalidInput(f"key file {path} holds no pair of keys that belong together")
    return KeyPair(public=public, secret=secret)


def write_key_file(path: Path, pair: KeyPair) -> None:
    """Write a key pair, 0600. Raises OSError."""
    write_private(path, f'public = "{pair.public}"\nsecret = "{pair.secret}"\n')


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing, durably. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until what was made, renamed or removed in a folder outlives a loss of power. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for our own eyes. Raises OSError."""
    for folder in (*reversed(path.parents), path):  # `parents=True` would make those above as the umask says
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def toml_text(text: str) -> str:
    """Return a text as TOML writes it. What JSON writes of a text is that, too, but for DEL and lone surrogates."""
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")


def z85(raw: bytes) -> str:
    """Return bytes, a multiple of 4, as z85 (ZeroMQ's RFC 32)."""
    text = []
    for at in range(0, len(raw), 4):
        value = int.from_bytes(raw[at : at + 4], "big")
        text.append("".join(_Z85[value // 85**power % 85] for power in (4, 3, 2, 1, 0)))
    return "".join(text)


def shown(public: str) -> str:
    """Return as much of a public key as people are shown."""
    return public[:SHOWN]


def check_key(public: str) -> None:
    """Raise InvalidInput if a text is no public key."""
    if not _KEY.fullmatch(public):
        raise InvalidInput("a public key is 40 characters of z85")


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Denied(f"key file {path} is no regular file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise Denied(f"key file {path} can be read by others (mode {mode:04o})", hint=f"chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:  # root uses the key of a daemon's user
        raise Denied(f"key file {path} is that of user {status.st_uid}, not ours")
