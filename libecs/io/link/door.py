"""Who comes in at a socket that is bound: how many connections each address has, and their end.

libzmq has no call that ends a connection. Its descriptor is known, though: shut down by us, it is a connection that the
peer has closed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Callable

import zmq

from libecs.io.link.monitor import HANDSHAKE_FAILED

EVENTS = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | HANDSHAKE_FAILED
NO_KEY = "it has no key, or speaks something else than ZeroMQ with CURVE"
OTHER_CORE = "it takes us for another core: the key of the core that it has is not ours"

_CRYPTOGRAPHIC = int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)

Failed = Callable[[str, str], None]
"""Takes the IP address of who spoke a handshake that is none, and what was wrong."""


class Door:
    """Counts the connections of one bound socket, and ends those that are too many."""

    def __init__(self, max_per_address: int, on_failed: Failed | None = None) -> None:
        """Nobody is in yet.

        Args:
            max_per_address: connections that one IP address may have, handshakes included; 0 = any number.
            on_failed: called for each handshake that was wrong; not for a key that is unknown, nor for silence.
        """
        self._max = max_per_address
        self._on_failed = on_failed
        self._wrong = ""
        """What was wrong with the handshake whose connection ends with the next event."""
        self._addresses: dict[int, str] = {}
        self._count: Counter[str] = Counter()
        self.refused = 0
        """Connections that were ended because their address had too many."""
        self.failed = 0
        """Handshakes that failed: unknown keys, no keys, or nothing like ZeroMQ."""

    @property
    def connections(self) -> int:
        """Connections that are there now."""
        return len(self._addresses)

    def take(self, event: zmq.Event, value: int, _endpoint: str) -> None:
        """Take one event of the socket's monitor."""
        wrong, self._wrong = self._wrong, ""
        if event is zmq.Event.ACCEPTED:
            self._leave(value)  # its end was missed
            address = _address(value)
            self._addresses[value] = address
            self._count[address] += 1
            if 0 < self._max < self._count[address]:
                self.refused += 1
                hang_up(value, address)
        elif event is zmq.Event.DISCONNECTED:
            address = self._leave(value)
            if wrong and self._on_failed is not None:
                self._on_failed(address, wrong)
        elif event & HANDSHAKE_FAILED:
            self.failed += 1
            if event is zmq.Event.HANDSHAKE_FAILED_PROTOCOL:  # told without a descriptor; its end, with one, is next
                self._wrong = OTHER_CORE if value == _CRYPTOGRAPHIC else NO_KEY

    def _leave(self, fd: int) -> str:
        address = self._addresses.pop(fd, None)
        if address is None:
            return ""
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]
        return address


def hang_up(fd: int, address: str) -> None:
    """Shut a TCP connection of libzmq down, if it is still that of a peer at `address`."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
        if _peer(connection) == address:
            connection.shutdown(socket.SHUT_RDWR)


def local_address(fd: int) -> str:
    """Return the address of this machine that a TCP connection of libzmq uses; "" if it has none."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
        name = connection.getsockname()
        return plain_address(str(name[0])) if isinstance(name, tuple) else ""
    return ""


def plain_address(address: str) -> str:
    """Return an IP address as people write it: an IPv4 one that came through an IPv6 socket as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _address(fd: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
        return _peer(connection)
    return ""


def _peer(connection: socket.socket) -> str:
    name = connection.getpeername()
    return plain_address(str(name[0])) if isinstance(name, tuple) else ""
