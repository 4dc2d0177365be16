"""Look at a socket of ZeroMQ when it may have changed, on an asyncio event loop.

A socket tells that *something* changed by a file descriptor, and tells it once (edge-triggered): whoever sends or
receives may eat the edge. So after each wake-up, each receive and each send somebody must look again. Here that is one
function, `_pump`: a send merely makes sure that a `_pump` comes in this turn of the event loop, which looks once for a
whole fan-out.

It looks by receiving until EAGAIN, which arms the descriptor again, and never by ZMQ_EVENTS: for that, a ROUTER reads
the first part of a message ahead, and if its peer is disconnected before the rest is read, libzmq 4.3.5 gives the
message's head with the tail of another one, or aborts the process ("Assertion failed: !_more (src/fq.cpp)").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import zmq

MAX_PUMP_FRAMES = 256
MAX_PUMP_S = 0.005
"""One pump takes no more than this; then the event loop's other users get their turn."""


BLOCKED_S = 0.01
"""While a peer takes nothing, this often is looked whether it does again."""


class Pump:
    """Receives from one socket, and says when it may take more. It does not own the socket."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[list[Any]], None],
        flush: Callable[[], bool],
        *,
        copy: bool = True,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            socket: to look at.
            take: called with all parts of each message. Does not raise.
            flush: called at each look: send what waits, and return whether something still does.
            copy: parts are bytes; else frames, which know who sent them.
        """
        self._socket = socket
        self._take = take
        self._flush = flush
        self._copy = copy
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._again: asyncio.TimerHandle | None = None
        self._fd = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._wake)
        self.schedule()  # what came before add_reader

    def schedule(self) -> None:
        """Look in this turn of the event loop: after each send, bind and connect."""
        if not (self._scheduled or self._closed):
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def drain(self) -> None:
        """Take what is there now, within bounds: before a socket is closed."""
        if not self._closed:
            self._receive()

    def close(self) -> None:
        """Look no more. Before the socket is closed: its descriptor dies with it, the event loop must let go of it."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            if self._again is not None:
                self._again.cancel()

    def _wake(self) -> None:
        if not self._scheduled:  # else one comes in this turn already, and a second would take twice the bounds
            self._pump()

    def _pump(self) -> None:
        """Receive what is there and send what waits, within bounds; come again while there is more."""
        self._scheduled = False
        if self._closed:
            return
        drained = False
        try:
            waits = self._flush()
            drained = self._receive()
            # To receive may have eaten the edge that tells of room, to send the one that tells of a message. So while
            # something waits, somebody must look without being told.
            if waits and self._flush_again() and drained and self._again is None:
                self._again = self._loop.call_later(BLOCKED_S, self._look_again)
        finally:
            if not drained:  # by an exception too: the edge is eaten, nobody else would wake us
                self.schedule()

    def _flush_again(self) -> bool:
        return not self._closed and self._flush()

    def _look_again(self) -> None:
        self._again = None
        self._wake()

    def _receive(self) -> bool:
        """Receive within bounds. Return whether nothing is left, so that the descriptor will tell of what comes."""
        stop_at = time.perf_counter() + MAX_PUMP_S
        receive, take = self._socket.recv_multipart, self._take
        for _ in range(MAX_PUMP_FRAMES):
            try:
                parts = receive(zmq.NOBLOCK, self._copy)
            except zmq.Again:
                return True
            take(parts)
            if self._closed or time.perf_counter() > stop_at:
                break
        return False
