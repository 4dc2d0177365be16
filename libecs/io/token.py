"""Invitations, as one line that a person carries from the core to where a key is to be made.

A token holds the core's public key, so that whoever joins knows whom he talks to, and a secret that is good for one
key, for ten minutes. The secret is made where the token is printed; the core is told its hash only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

import attrs

from libecs.access import Role
from libecs.errors import DecodeError, InvalidInput
from libecs.io.keys import check_key, check_name
from libecs.wire.codec import pack_value, unpack_value

PREFIX = "ecs1."
LIFETIME_MS = 600_000
SECRET_BYTES = 16
MAX_TOKEN = 2000
"""Characters; a longer text is none."""


@attrs.frozen(kw_only=True)
class Invitation:
    """What a token holds."""

    name: str
    role: Role
    detectors: tuple[str, ...] | None = None
    core_key: str
    endpoint: str
    """Where the core listens."""
    lobby: str
    """Where it enrols."""
    secret: bytes = attrs.field(repr=False)
    expires_ms: int
    """By the clock of the core."""
    rotate: bool = False
    """It is for a new key of somebody who has one."""
    next_core_key: str = ""
    """The one that the core will have after `core_key`; "" = none."""

    def text(self) -> str:
        """Return the token."""
        return PREFIX + base64.urlsafe_b64encode(pack_value(self)).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> Invitation:
        """Return what a token holds.

        Raises:
            InvalidInput: it is none, or was cut when it was copied. The message does not repeat it.
        """
        text = text.strip()
        if not text.startswith(PREFIX) or len(text) > MAX_TOKEN:
            raise InvalidInput(f"this is no token: one begins with {PREFIX!r}", hint="copy the whole line")
        body = text.removeprefix(PREFIX)
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            invitation = unpack_value(cls, raw)
            check_name(invitation.name)
            check_key(invitation.core_key)
            if invitation.next_core_key:
                check_key(invitation.next_core_key)
        except (binascii.Error, ValueError, DecodeError, InvalidInput):
            raise InvalidInput("the token is damaged", hint="copy the whole line, or ask for another one") from None
        return invitation


def new_secret() -> bytes:
    """Make the secret of an invitation."""
    return secrets.token_bytes(SECRET_BYTES)


def proof_of(secret: bytes) -> str:
    """Return what the core is told of a secret, and keeps."""
    return hashlib.sha256(b"ecs invitation\0" + secret).hexdigest()
