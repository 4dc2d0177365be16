"""Requests that change something, from the moment they are sent until the core says how they ended."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Mapping

from libecs.errors import EcsError
from libecs.wire.client import (
    Annotate,
    Consult,
    Control,
    Create,
    Destroy,
    Drain,
    EndTasks,
    Finished,
    Follow,
    Info,
    Lock,
    Modify,
    Ping,
    ReadLog,
    Reconfigure,
    Show,
    ShowEvents,
    ShowLocks,
    ShowNodes,
    ShowOperations,
    ShowRuns,
    ShowTasks,
    Subscribe,
    Unlock,
    Work,
)

Request = (
    Create
    | Control
    | Destroy
    | Reconfigure
    | Modify
    | Lock
    | Unlock
    | Drain
    | EndTasks
    | Annotate
    | Work
    | Follow  # changes nothing, but ends as what it follows does
)
"""What changes something, and ends by Finished."""
Question = (
    Show
    | ShowRuns
    | ShowEvents
    | ShowLocks
    | ShowNodes
    | ShowTasks
    | ShowOperations
    | ReadLog
    | Info
    | Consult
    | Ping
    | Subscribe
)
"""What has an answer of its own, or Refused."""


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

    @property
    def title(self) -> str:
        """What it does, in a word or two."""
        message = self.message
        if isinstance(message, Control):
            return message.event
        if isinstance(message, Work):
            return message.name
        return "operation" if isinstance(message, Follow) else type(message).__name__.upper()

    @property
    def made(self) -> str:
        """Id of its environment, "" if there is none or the core has not said yet."""
        if not self.environment.done() or self.environment.cancelled() or self.environment.exception():
            return ""
        return self.environment.result()

    def accept(self, environment: str) -> None:
        """The core has written it down."""
        if not self.environment.done():
            self.environment.set_result(environment)

    def finish(self, finished: Finished) -> None:
        """The core has said how it ended."""
        self.accept(finished.environment)
        if not self.finished.done():
            self.finished.set_result(finished)

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
