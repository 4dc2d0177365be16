"""What happens to the connections of one socket, as libzmq tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

HANDSHAKE_FAILED = (
    zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)


class Monitor:
    """Tells of the events of one socket, in their order. Make it before the socket binds or dials."""

    def __init__(
        self, socket: zmq.Socket[bytes], events: zmq.Event, take: Callable[[zmq.Event, int, str], None]
    ) -> None:
        """Call inside of a running event loop. `take` gets the event, its value (mostly a descriptor), the endpoint."""
        self._take = take
        self._watched = socket
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._socket = socket.get_monitor_socket(int(events))
        self._fd = int(self._socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._read)
        self._loop.call_soon(self._read)

    def close(self) -> None:
        """Tell no more. Before the socket is closed."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            self._watched.disable_monitor()
            self._socket.close(linger=0)

    def _read(self) -> None:
        while not self._closed:
            try:
                event = parse_monitor_message(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            self._take(zmq.Event(event["event"]), event["value"], event["endpoint"].decode())
