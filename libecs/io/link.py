"""ZeroMQ on an asyncio event loop. The only importer of zmq.

A socket of ZeroMQ tells that *something* changed by a file descriptor, and tells it once (edge-triggered): whoever
sends or receives may eat the edge. So after each wake-up, each receive and each send somebody must look again. Here
that is one function, `_pump`: a send merely makes sure that a `_pump` comes in this turn of the event loop, which looks
once for a whole fan-out.

It looks by receiving until EAGAIN, which arms the descriptor again, and never by ZMQ_EVENTS: for that, a ROUTER reads
the first part of a message ahead, and if its peer is disconnected before the rest is read, libzmq 4.3.5 gives the
message's head with the tail of another one, or aborts the process ("Assertion failed: !_more (src/fq.cpp)").

What a peer does not take at once waits in a queue of its own; nobody is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import zmq
from zmq.utils.monitor import parse_monitor_message

from libecs.errors import InvalidInput
from libecs.wire.codec import MAX_FRAME_BYTES

logger = logging.getLogger(__name__)

MAX_PUMP_FRAMES = 256
MAX_PUMP_S = 0.005
"""One pump takes no more than this; then the event loop's other users get their turn."""
HIGH_WATER = 100_000
"""Messages per peer that ZeroMQ queues. Its own 1000 is less than one fan-out."""
MAX_QUEUED = 10_000
"""Messages per peer that wait here, beyond ZeroMQ's own queue; more are dropped and counted."""
RECONNECT_MS = 10
RECONNECT_MAX_MS = 100
"""A peer that is not there yet is tried again after 10 ms, then less often, at least ten times a second."""

_MORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)

Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
"""For those who pass one on."""
Receiver = Callable[[bytes, list[bytes]], None]
"""Takes routing id and frames of one message. Does not raise."""
Watcher = Callable[[str, bool], None]
"""Takes an endpoint, and whether its link went up (True) or down."""


def raise_limits() -> None:
    """Allow this process as many files as it may have: a node of 1000 tasks needs a few per task."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Make a context for many sockets. Whoever makes it ends it by `close_context`."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, min(65535, context.get(zmq.SOCKET_LIMIT)))
    return context


def close_context(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """End a context; what was not sent yet is dropped."""
    context.destroy(linger=0)


def version() -> str:
    """Return the version of the libzmq in use, for `doctor`."""
    return zmq.zmq_version()


def new_curve_keys() -> tuple[str, str]:
    """Return a new key pair (public, secret) for CURVE, each as 40 characters of z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def curve_public(secret: str) -> str:
    """Return the public key of a secret one. Raises ValueError if it is none."""
    try:
        return zmq.curve_public(secret.encode()).decode()
    except zmq.ZMQError as error:
        raise ValueError("no secret key of CURVE") from error


class Router:
    """One ROUTER socket: many peers, known by routing ids.

    A peer that was connected to with a routing id can be sent to at once: ZeroMQ keeps what is sent until it is there.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        on_message: Receiver,
        *,
        on_link: Watcher | None = None,
        high_water: int = HIGH_WATER,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            context: of `new_context`.
            on_message: called for each message that comes in.
            on_link: called when a link that we dialled goes up or down.
            high_water: messages per peer in ZeroMQ's queues.
            max_queued: messages per peer in the queue behind it.
        """
        self._on_message = on_message
        self._on_link = on_link
        self._max_queued = max_queued
        self._loop = asyncio.get_running_loop()
        self._queues: dict[bytes, deque[Sequence[bytes]]] = {}
        self._scheduled = False
        self._closed = False
        self.received = 0
        self.sent = 0
        self.dropped = 0
        """Messages that were not sent: no such peer, or its queue was full."""
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        socket.setsockopt(zmq.IPV6, 1)
        self._socket = socket
        self._monitor = None
        if on_link is not None:
            events = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
            self._monitor = socket.get_monitor_socket(int(events))
            self._loop.add_reader(self._monitor.fileno(), self._read_monitor)
            self._loop.call_soon(self._read_monitor)
        self._fd = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._wake)
        self._schedule()  # what came before add_reader

    def bind(self, endpoint: str) -> str:
        """Listen. Return the endpoint with the port that was chosen for `tcp://host:*`."""
        self._socket.bind(endpoint)
        self._schedule()
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def connect(self, endpoint: str, routing_id: bytes, *, identity: bytes) -> None:
        """Dial `endpoint`, for ever, call it `routing_id`, and be known to it as `identity`.

        Both may be used once in the life of the socket. libzmq aborts the process when a routing id comes twice while
        the first link is still being taken down, and the other side drops a link under an identity that it still has.
        Each is at most 255 bytes and does not begin with a NUL.

        Raises:
            InvalidInput: nothing of that name can be dialled.
        """
        self._socket.setsockopt(zmq.ROUTING_ID, identity)
        self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, routing_id)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            reason = zmq.strerror(error.errno or 0)
            raise InvalidInput(f"{endpoint} cannot be dialled: {reason}") from error
        self._schedule()

    def disconnect(self, endpoint: str, routing_id: bytes) -> None:
        """Dial `endpoint` no more; drop what waits for it."""
        self._queues.pop(routing_id, None)
        try:
            self._socket.disconnect(endpoint)
        except zmq.ZMQError as error:
            logger.debug("disconnect %s: %s", endpoint, error)
        self._schedule()

    def send(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        """Send a message, or queue it. Return False if it was dropped: peer unknown, queue full, or closed."""
        if self._closed:
            return False
        queue = self._queues.get(peer)
        if queue is not None:
            return self._enqueue(peer, queue, frames)
        try:
            self._put(peer, frames)
        except zmq.Again:
            self._schedule()
            return self._enqueue(peer, self._queues.setdefault(peer, deque()), frames)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.dropped += 1
            return False
        self.sent += 1
        self._schedule()
        return True

    @property
    def queued(self) -> int:
        """Messages that wait for their peers here, not counting those in ZeroMQ."""
        return sum(len(queue) for queue in self._queues.values())

    def close(self) -> None:
        """Close at once; what was not sent is dropped."""
        if self._closed:
            return
        self._closed = True
        # The descriptors die with the sockets: the event loop must let go of them before.
        self._loop.remove_reader(self._fd)
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._queues.clear()

    def _put(self, peer: bytes, frames: Sequence[bytes]) -> None:
        # What `send_multipart` does, without making flags of enums for each frame. Only the first can be refused.
        send = self._socket.send
        send(peer, _MORE)
        for frame in frames[:-1]:
            send(frame, _MORE)
        send(frames[-1], _LAST)

    def _enqueue(self, peer: bytes, queue: deque[Sequence[bytes]], frames: Sequence[bytes]) -> bool:
        if len(queue) >= self._max_queued:
            if self.dropped % 1000 == 0:
                logger.warning("peer %r takes nothing: %d messages wait, more are dropped", peer, len(queue))
            self.dropped += 1
            return False
        queue.append(frames)
        return True

    def _schedule(self) -> None:
        if not (self._scheduled or self._closed):
            self._scheduled = True
            self._loop.call_soon(self._pump)

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
            if self._queues:
                self._flush()
            drained = self._receive()
        finally:
            if not drained:  # by an exception too: the edge is eaten, nobody else would wake us
                self._schedule()

    def _receive(self) -> bool:
        """Receive within bounds. Return whether nothing is left, so that the descriptor will tell of what comes."""
        stop_at = time.perf_counter() + MAX_PUMP_S
        for _ in range(MAX_PUMP_FRAMES):
            try:
                peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return True
            self.received += 1
            self._on_message(peer, frames)
            if self._closed or time.perf_counter() > stop_at:
                break
        return False

    def _flush(self) -> None:
        for peer, queue in list(self._queues.items()):
            try:
                while queue:
                    self._put(peer, queue[0])
                    queue.popleft()
                    self.sent += 1
            except zmq.Again:
                continue  # the file descriptor tells when the peer has taken some
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self.dropped += len(queue)
            del self._queues[peer]

    def _read_monitor(self) -> None:
        assert self._on_link is not None
        while not self._closed and self._monitor is not None:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            self._on_link(event["endpoint"].decode(), event["event"] == zmq.Event.HANDSHAKE_SUCCEEDED)
