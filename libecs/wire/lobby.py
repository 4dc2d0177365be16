"""Messages of the lobby, where somebody whom nobody knows yet shows an invitation.

The key that is enrolled is in no message: it is the one that the link has proved.
"""

from __future__ import annotations

import attrs

from libecs.access import Role
from libecs.wire.codec import Table

LOBBY = Table("lobby")
MAX_LOBBY_BYTES = 4096
"""Of a whole message; what is larger is not looked at."""


@LOBBY.message(1)
@attrs.frozen(kw_only=True)
class Join:
    """Enrol the key of this link. Repeated by the same key, it gets the same answer."""

    secret: bytes = attrs.field(repr=False)
    """Of the invitation; good for one key."""
    name: str
    """Whom the invitation is for."""


@LOBBY.message(16)
@attrs.frozen(kw_only=True)
class Joined:
    """The key is known from now on."""

    name: str
    role: Role
    pending: bool = True
    """An admin has to approve it first."""


@LOBBY.message(17)
@attrs.frozen(kw_only=True)
class TurnedAway:
    """It is not. The fields are those of an error."""

    code: str
    message: str
    hint: str = ""
