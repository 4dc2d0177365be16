"""The link between a core and its executors inside of one process: nothing but queues."""

from __future__ import annotations

from collections.abc import Callable

from libecs.engine.effects import Connected, Disconnected, Input, Received
from libecs.wire.codec import Table

Put = Callable[[Input], None]
"""Enqueues an input of an engine and returns at once: `EngineLoop.put`."""


class MemoryLink:
    """One core, any number of executors. It loses nothing and keeps the order.

    With `encoded` every message goes through the codec, so that nothing passes here that would not pass on the wire.
    """

    def __init__(self, table: Table, hub: Put, *, hub_name: str, encoded: bool = False) -> None:
        """`hub` is the core's end; the executors know it as `hub_name`."""
        self._table = table
        self._hub = hub
        self._hub_name = hub_name
        self._encoded = encoded
        self._peers: dict[str, Put] = {}
        self.dropped = 0
        """Messages to peers that were not attached."""

    def attach(self, peer: str, put: Put) -> None:
        """Plug an executor in; it gets Connected."""
        self._peers[peer] = put
        put(Connected(self._hub_name))

    def detach(self, peer: str, reason: str = "") -> None:
        """Unplug an executor; it gets Disconnected."""
        put = self._peers.pop(peer, None)
        if put is not None:
            put(Disconnected(self._hub_name, reason))

    def uplink(self, peer: str) -> MemoryUplink:
        """Return the link of one executor, for whoever takes an `Uplink`."""
        return MemoryUplink(self, peer)

    def to_peer(self, peer: str, message: object) -> bool:
        """Send from the core. Return False if the executor is not attached."""
        put = self._peers.get(peer)
        if put is None:
            self.dropped += 1
            return False
        put(Received(self._hub_name, self._carry(message)))
        return True

    def to_hub(self, peer: str, message: object) -> bool:
        """Send from an executor. Return False if it is not attached."""
        if peer not in self._peers:
            self.dropped += 1
            return False
        self._hub(Received(peer, self._carry(message)))
        return True

    def _carry(self, message: object) -> object:
        return self._table.decode(self._table.encode(message)) if self._encoded else message


class MemoryUplink:
    """One executor's end of a `MemoryLink`."""

    def __init__(self, link: MemoryLink, name: str) -> None:
        """`name`: of the executor."""
        self._link = link
        self._name = name

    def attach(self, put: Put) -> None:
        """Come to the core."""
        self._link.attach(self._name, put)

    def send(self, peer: str, message: object) -> None:
        """Send to the core, whichever of the two links is meant."""
        self._link.to_hub(self._name, message)

    def detach(self) -> None:
        """Leave."""
        self._link.detach(self._name)
