"""One ROUTER socket on an event loop: many peers, that we dial or that dial us.

What a peer does not take at once waits in a queue of its own; nobody is waited for.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from libecs.errors import Conflict, InvalidInput
from libecs.io.link.context import Context, ServerCurve, set_heartbeats
from libecs.io.link.door import EVENTS, Door, Failed, hang_up, plain_address
from libecs.io.link.monitor import Monitor
from libecs.io.link.pump import Gather, Pump
from libecs.wire.codec import MAX_FRAME_BYTES

logger = logging.getLogger(__name__)

HIGH_WATER = 100_000
"""Messages per peer that ZeroMQ queues. Its own 1000 is less than one fan-out."""
MAX_QUEUED = 10_000
"""Messages per peer that wait here, beyond ZeroMQ's own queue; more are dropped and counted."""
RECONNECT_MS = 10
RECONNECT_MAX_MS = 100
"""A peer that is not there yet is tried again after 10 ms, then less often, at least ten times a second."""

_MAPPED = re.compile(r"\[::ffff:([0-9.]+)\]")
"""How an IPv4 address looks that a socket for both kinds is bound to."""
_MORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)

Receiver = Callable[[bytes, list[bytes]], None]
"""Takes routing id and frames of one message. Does not raise."""
Watcher = Callable[[str, bool], None]
"""Takes an endpoint, and whether its link went up (True) or down."""


class Origin:
    """Where a message came from. The peer can't choose what it says. Look at it at once, not later."""

    __slots__ = ("_frame",)

    def __init__(self, frame: zmq.Frame) -> None:
        self._frame = frame

    @property
    def key(self) -> str:
        """The public key (z85) that the peer proved to have; "" without CURVE."""
        return self._read("User-Id")

    @property
    def address(self) -> str:
        """The IP address of the peer; "" where there is none."""
        return plain_address(self._read("Peer-Address"))

    def hang_up(self) -> None:
        """End the connection that the message came by. The peer may dial again."""
        try:
            fd = int(self._frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return
        hang_up(fd, self.address)

    def _read(self, name: str) -> str:
        try:
            return str(self._frame.get(name))
        except zmq.ZMQError:
            return ""


TracedReceiver = Callable[[bytes, list[bytes], Origin], None]
"""Takes routing id, frames and origin of one message. Does not raise."""


class Router:
    """One ROUTER socket: many peers, known by routing ids.

    A peer that was connected to with a routing id can be sent to at once: ZeroMQ keeps what is sent until it is there.
    """

    def __init__(
        self,
        context: Context,
        on_message: Receiver | None,
        *,
        on_link: Watcher | None = None,
        high_water: int = HIGH_WATER,
        receive_high_water: int = 0,
        max_queued: int = MAX_QUEUED,
        curve: ServerCurve | None = None,
        heartbeats: bool = False,
        on_traced: TracedReceiver | None = None,
        on_gone: Callable[[bytes], None] | None = None,
        gather: Gather | None = None,
        max_per_address: int = 0,
        on_failed: Failed | None = None,
        linger_ms: int = 0,
        max_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            context: of `new_context`.
            on_message: called for each message that comes in.
            on_link: called when a link that we dialled goes up or down.
            high_water: messages per peer in ZeroMQ's queues.
            receive_high_water: the same for what comes in, where it differs: a peer that sends more is held up.
            max_queued: messages per peer in the queue behind it.
            curve: our key, for a socket that binds.
            heartbeats: notice by itself that a peer is gone, within 3.5 s.
            on_traced: called in place of `on_message`, for those who must know where a message came from.
            on_gone: called with the routing id of a peer that a message could not be sent to, in a later turn.
            gather: told where messages begin and end that came together.
            max_per_address: connections that one IP address may have to a socket that binds; 0 = any number.
            on_failed: called for each handshake with a socket that binds that was wrong, if it has a key or a limit.
            linger_ms: how long what was sent may take to leave after `close`.
            max_bytes: of one frame; who sends a larger one loses his connection.
        """
        assert (on_message is None) is not (on_traced is None), "a message goes to one receiver"
        self._on_message = on_message
        self._on_traced = on_traced
        self._on_link = on_link
        self._on_gone = on_gone
        self._max_queued = max_queued
        self._linger_ms = linger_ms
        self._loop = asyncio.get_running_loop()
        self._queues: dict[bytes, deque[Sequence[bytes]]] = {}
        self._gone: set[bytes] = set()
        self._door = Door(max_per_address, on_failed)
        self._closed = False
        self.received = 0
        self.sent = 0
        self.dropped = 0
        """Messages that were not sent: no such peer, or its queue was full."""
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, linger_ms)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, receive_high_water or high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        socket.setsockopt(zmq.IPV6, 1)
        if heartbeats:
            set_heartbeats(socket, binds=True)
        if curve is not None:
            curve.apply(socket)
        self._socket = socket
        self._monitor: Monitor | None = None
        if on_link is not None:
            events = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
            self._monitor = Monitor(socket, events, self._watch)
        elif curve is not None or max_per_address:
            self._monitor = Monitor(socket, EVENTS, self._door.take)
        self._pump = Pump(socket, self._take, self._flush, gather=gather)

    @property
    def connections(self) -> int:
        """Connections that a bound socket has, if it has a key or a limit."""
        return self._door.connections

    @property
    def refused(self) -> int:
        """Connections that were ended because their address had too many."""
        return self._door.refused

    @property
    def failed_handshakes(self) -> int:
        """Connections that came to nothing: unknown keys, no keys, nothing like ZeroMQ."""
        return self._door.failed

    def bind(self, endpoint: str) -> str:
        """Listen. Return the endpoint with the port that was chosen for `tcp://host:*`.

        Raises:
            Conflict: somebody else listens there.
            InvalidInput: one can't listen there.
        """
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            cls = Conflict if error.errno == errno.EADDRINUSE else InvalidInput
            raise cls(f"cannot listen at {endpoint}: {zmq.strerror(error.errno or 0)}") from error
        self._pump.schedule()
        name = bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
        return _MAPPED.sub(r"\1", name)

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
        self._pump.schedule()

    def disconnect(self, endpoint: str, routing_id: bytes) -> None:
        """Dial `endpoint` no more; drop what waits for it."""
        self._queues.pop(routing_id, None)
        try:
            self._socket.disconnect(endpoint)
        except zmq.ZMQError as error:
            logger.debug("disconnect %s: %s", endpoint, error)
        self._pump.schedule()

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
            self._pump.held()
            return self._enqueue(peer, self._queues.setdefault(peer, deque()), frames)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.dropped += 1
            self._unreachable(peer)
            self._pump.schedule()  # it has eaten the edge all the same
            return False
        self.sent += 1
        self._pump.schedule()
        return True

    @property
    def queued(self) -> int:
        """Messages that wait for their peers here, not counting those in ZeroMQ."""
        return sum(len(queue) for queue in self._queues.values())

    def waiting(self, peer: bytes) -> int:
        """Return how many messages wait here for one peer."""
        queue = self._queues.get(peer)
        return 0 if queue is None else len(queue)

    def close(self) -> None:
        """Close at once. What was not sent is dropped, but for what ZeroMQ sends within `linger_ms`."""
        if self._closed:
            return
        self._closed = True
        self._pump.close()
        if self._monitor is not None:
            self._monitor.close()
        self._socket.close(linger=self._linger_ms)
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

    def _unreachable(self, peer: bytes) -> None:
        """Tell once that a peer is gone; not from within a send."""
        if self._on_gone is not None and peer not in self._gone:
            self._gone.add(peer)
            self._loop.call_soon(self._tell_gone, peer)

    def _tell_gone(self, peer: bytes) -> None:
        self._gone.discard(peer)
        if self._on_gone is not None and not self._closed:
            self._on_gone(peer)

    def _take(self, parts: list[Any]) -> None:
        self.received += 1
        peer, *frames = [part.bytes for part in parts]
        if self._on_traced is not None:
            self._on_traced(peer, frames, Origin(parts[-1]))
        else:
            assert self._on_message is not None
            self._on_message(peer, frames)

    def _flush(self) -> bool:
        if not self._queues:
            return False
        for peer, queue in list(self._queues.items()):
            try:
                while queue:
                    self._put(peer, queue[0])
                    queue.popleft()
                    self.sent += 1
            except zmq.Again:
                continue
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self.dropped += len(queue)
                self._unreachable(peer)
            del self._queues[peer]
        return bool(self._queues)

    def _watch(self, event: zmq.Event, _value: int, endpoint: str) -> None:
        if self._on_link is not None:
            self._on_link(endpoint, event is zmq.Event.HANDSHAKE_SUCCEEDED)
