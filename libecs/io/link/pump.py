"""Look at a socket of ZeroMQ when it may have changed, on an asyncio event loop.

A socket tells that *something* changed by a file descriptor, and tells it once (edge-triggered): whoever sends or
receives may eat the edge. So after each wake-up, each receive and each send somebody must look again. Here that is one
function, `_pump`: a send merely makes sure that a `_pump` comes in this turn of the event loop, which looks once for a
whole fan-out; a send from within a `_pump` makes it look once more before it ends.

A ROUTER is looked at by receiving until EAGAIN, which arms the descriptor again, and never by ZMQ_EVENTS: for that, a
ROUTER reads the first part of a message ahead, and if its peer is disconnected before the rest is read, libzmq 4.3.5
gives the message's head with the tail of another one, or aborts the process ("Assertion failed: !_more (src/fq.cpp)").
A DEALER reads nothing ahead, and to ask costs it a third of an exception.
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
MAX_PARTS = 16
"""Parts of a message that are kept, routing id included: more than any has that we know (ZAP's have 9). ZeroMQ bounds
the size of each alone.
"""
BLOCKED_S = 0.01
"""While a peer takes nothing, this often is looked whether it does again."""

# Plain numbers: pyzmq's enums cost more than what is done with them.
_NOBLOCK = int(zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

Gather = Callable[[bool], None]
"""Told True before the first of the messages that are there is taken, False after the last: who has gathered them does
now what is to be done about them. He may send."""


class Pump:
    """Receives from one socket, and says when it may take more. It does not own the socket."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[list[Any]], None],
        flush: Callable[[], bool],
        *,
        gather: Gather | None = None,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            socket: to look at.
            take: called with all parts of each message: frames, which know who sent them. Does not raise.
            flush: called at each look: send what waits, and return whether something still does.
            gather: told where messages begin and end that came together.
        """
        self._socket = socket
        self._take = take
        self._flush = flush
        self._gather = gather
        self._peeks = socket.getsockopt(zmq.TYPE) == zmq.DEALER
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._looking = False
        self._sent = False
        """Something was sent since the last look: it may have eaten an edge."""
        self._held = False
        """Something could not be sent since the last flush."""
        self._gathering = False
        self._alone = True
        """Messages do not come together now: each is answered before it is looked for the next."""
        self._again: asyncio.TimerHandle | None = None
        self._fd = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._wake)
        self.schedule()  # what came before add_reader

    def schedule(self) -> None:
        """Look in this turn of the event loop: after each send, bind and connect."""
        if self._looking:
            self._sent = True
        elif not (self._scheduled or self._closed):
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def sent(self) -> None:
        """Make sure that what came is seen, after a send that went out whole while nothing waits."""
        if self._scheduled or self._closed:
            return
        if not self._peeks or self._looking or self._has_message():
            self.schedule()

    def held(self) -> None:
        """Come again in another turn for what could not be sent, also if that was while looking: what comes meanwhile
        may eat the edge that tells of room.
        """
        self._held = True
        self.schedule()

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
        drained = self._held = False
        self._looking = True
        try:
            waits = self._flush()
            drained = self._receive()
            # To receive may have eaten the edge that tells of room, to send the one that tells of a message. So while
            # something waits, somebody must look without being told; and once more when it has left after all.
            if waits and not self._flush_again():
                drained = False
            elif waits and drained and self._again is None:
                self._again = self._loop.call_later(BLOCKED_S, self._look_again)
        finally:
            self._looking = False
            if self._held or not drained:  # by an exception too: the edge is eaten, nobody else would wake us
                self.schedule()

    def _flush_again(self) -> bool:
        return not self._closed and self._flush()

    def _look_again(self) -> None:
        self._again = None
        self._wake()

    def _receive(self) -> bool:
        """Receive within bounds. Return whether nothing is left, so that the descriptor will tell of what comes."""
        stop_at = time.perf_counter() + MAX_PUMP_S
        taken = 0
        try:
            for _ in range(MAX_PUMP_FRAMES):
                parts = self._next()
                if parts is None:
                    self._sent = False
                    self._settle()
                    if not self._sent or self._closed:
                        self._alone = taken <= 1
                        return True
                else:
                    if self._gather is not None and not self._gathering:
                        self._gathering = True
                        self._gather(True)
                    self._take(parts)
                    taken += 1
                    if taken == 1 and self._alone:
                        self._settle()
                if self._closed or time.perf_counter() > stop_at:
                    break
        finally:
            self._settle()
        self._alone = False
        return False

    def _settle(self) -> None:
        """What came together is all there."""
        if self._gathering:
            self._gathering = False
            assert self._gather is not None
            self._gather(False)

    def _next(self) -> list[zmq.Frame] | None:
        """Return the parts of the next message, None if there is none."""
        socket = self._socket
        if self._peeks and not self._has_message():
            return None
        try:
            part = socket.recv(_NOBLOCK, False)
        except zmq.Again:
            return None
        parts = [part]
        while part.more:  # to the end, however long: the rest would be taken for another message
            part = socket.recv(_NOBLOCK, False)
            if len(parts) < MAX_PARTS:
                parts.append(part)
        return parts

    def _has_message(self) -> bool:
        """Of a DEALER."""
        return int(self._socket.getsockopt(_EVENTS)) & _POLLIN != 0
