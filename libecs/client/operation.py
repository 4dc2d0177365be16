"""Requests that change something, from the moment they are sent until the core says how they ended."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Mapping

from libecs.errors import EcsError
from libecs.wire.client import Control, Create, Destroy, Finished, Reconfigure

Request = Create | Control | Destroy | Reconfigure
"""What changes something."""


def requester() -> str:
    """Return who asks: user@host, as written into the records of environments and runs."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Operation:
    """One request that changes something, from the moment it is sent until the core says how it ended."""

    def __init__(self, message: Request, loop: asyncio.AbstractEventLoop) -> None:
        self.message = message
        self.id = message.operation
        self.environment: asyncio.Future[str] = loop.create_future()
        """Done when the core has written the operation down: id of its environment, "" if it was refused."""
        self.finished: asyncio.Future[Finished] = loop.create_future()

    def close(self, error: EcsError) -> None:
        """Fail both futures: nobody will answer any more."""
        for future in (self.environment, self.finished):
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may be waiting; that is no reason for a warning


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """Return variables as the texts that workflows know: strings as they are, everything else as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in values.items()
    }
