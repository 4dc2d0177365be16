"""The executor's link to its tasks: one ROUTER that dials all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from libecs.engine.effects import Connected, Disconnected, Input, Received
from libecs.errors import DecodeError, InvalidInput
from libecs.io.link import Context, Router
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.task import TASK

logger = logging.getLogger(__name__)

RECEIVE_HIGH_WATER = 2000
"""Messages of one task that may wait for us; who sends more is held up."""


class TaskLinks:
    """Control links to tasks, by task id.

    A task may be opened before it binds: it is dialled until it is there, and what is sent meanwhile arrives then.
    """

    def __init__(self, context: Context, put: Callable[[Input], None], *, identity: str) -> None:
        """Call inside of a running event loop.

        Args:
            context: of `link.new_context`.
            put: takes Received, Connected and Disconnected, with the task id as peer.
            identity: unique to this life of this executor; our routing ids at the tasks begin with it.
        """
        self._put = put
        self._identity = identity
        self._router = Router(context, self._take, on_link=self._watch, receive_high_water=RECEIVE_HIGH_WATER)
        self._routes: dict[str, tuple[bytes, str]] = {}
        self._tasks: dict[bytes, str] = {}
        self._by_endpoint: dict[str, str] = {}
        self._opened = 0
        self.undecodable = 0
        """Messages that could not be decoded, of whatever task."""

    def open(self, task: str, endpoint: str) -> None:
        """Dial a task. A task that is open already is dialled anew. What can't be dialled is told as disconnected."""
        self.close(task)
        if (other := self._by_endpoint.get(endpoint)) is not None:
            self.close(other)  # libzmq knows links by endpoint: two of the same could not be told apart
        self._opened += 1
        route = f"{task}#{self._opened}".encode()
        self._routes[task] = route, endpoint
        self._tasks[route] = task
        self._by_endpoint[endpoint] = task
        try:
            self._router.connect(endpoint, route, identity=f"{self._identity}#{self._opened}".encode())
        except InvalidInput as error:
            logger.error("task %s: %s", task, error)
            self._put(Disconnected(task, error.message))

    def close(self, task: str) -> None:
        """Dial a task no more. A task that is not open is left alone."""
        found = self._routes.pop(task, None)
        if found is not None:
            route, endpoint = found
            del self._tasks[route]
            del self._by_endpoint[endpoint]
            self._router.disconnect(endpoint, route)

    def send(self, task: str, message: object) -> bool:
        """Send a message of the task link. Return False if the task is not open or takes nothing."""
        found = self._routes.get(task)
        return found is not None and self._router.send(found[0], (VERSION_FRAME, TASK.encode(message)))

    def close_all(self) -> None:
        """Close the socket."""
        self._router.close()
        self._routes.clear()
        self._tasks.clear()
        self._by_endpoint.clear()

    def _take(self, peer: bytes, frames: list[bytes]) -> None:
        task = self._tasks.get(peer)
        if task is None:
            return  # closed meanwhile
        try:
            if len(frames) != 2 or frames[0] != VERSION_FRAME:
                raise DecodeError(f"{len(frames)} frames, the first {frames[0][:8] if frames else b''!r}")
            message = TASK.decode(frames[1])
        except DecodeError as error:
            self.undecodable += 1
            # The 1st, 2nd, 4th, 8th …: a task that sends rubbish must not fill the disk.
            if self.undecodable & (self.undecodable - 1) == 0:
                logger.warning("task %s sent no message of ours (%d such so far): %s", task, self.undecodable, error)
            return
        self._put(Received(task, message))

    def _watch(self, endpoint: str, up: bool) -> None:
        task = self._by_endpoint.get(endpoint)
        if task is not None:
            self._put(Connected(task) if up else Disconnected(task, "link lost"))
