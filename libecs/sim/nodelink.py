"""The links of one executor to the core: control and telemetry, cut, blocked and dialled again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libecs.access import Principal, Role
from libecs.engine.effects import Connected, Disconnected, Received
from libecs.sim.network import Connection, Pair
from libecs.sim.node import Node
from libecs.wire.node import NODE, Welcome

if TYPE_CHECKING:
    from libecs.sim.world import World


class NodeLink:
    """The connection between one executor and the core, dialled again whenever it is down."""

    def __init__(self, world: World, node: Node) -> None:
        self.world = world
        self.node = node
        self.principal = Principal(name=node.name, role=Role.NODE)
        self.pair: Pair | None = None
        self.telemetry: Connection | None = None
        self.down = False
        """No connection is possible."""
        self.to_core_blocked = False
        self.to_node_blocked = False

    def dial(self) -> None:
        """Try to connect now, and go on trying until it works."""
        world, node = self.world, self.node
        possible = not (self.down or self.to_core_blocked or self.to_node_blocked)
        if self.pair is not None:
            return
        if possible and node.alive and world.core.alive:
            self._connect()
        else:
            world.agenda.after(world.link_random.uniform(0.1, 0.3), self.dial)

    def _connect(self) -> None:
        world, node = self.world, self.node
        self.pair = Pair(
            world.network, NODE, world.network.node_faults, "core", node.name, self._to_core, self._to_node
        )
        world.history.add(node.name, "connected")
        node.put(Connected("core"))
        world.core.put(Connected(node.name))

        self.telemetry = Connection(
            world.network, NODE, world.network.telemetry_faults, f"{node.name}>core", self._to_core
        )

    def tell(self, message: object) -> None:
        """Send telemetry, on a link of its own: it overtakes nothing and is overtaken."""
        if self.telemetry is not None and self.pair is not None:
            self.telemetry.send(message)

    def _to_core(self, message: object) -> None:
        self.world.heard[self.node.name] = self.world.agenda.mono_s
        self.world.core.put(Received(self.node.name, message, self.principal))

    def _to_node(self, message: object) -> None:
        self.world.checker.deeds.commanded(message)
        if isinstance(message, Welcome):
            self.world.welcomed.add(self.node.name)
        self.node.put(Received("core", message))

    def apply(self) -> None:
        """Make an open connection as silent as the partition wants."""
        if self.pair is not None:
            self.pair.block(to_a=self.to_core_blocked, to_b=self.to_node_blocked)
        if self.telemetry is not None:
            self.telemetry.blocked = self.to_core_blocked

    def cut(self, reason: str) -> None:
        """Break the connection: both ends learn of it soon, those that live."""
        pair, world, node = self.pair, self.world, self.node
        if pair is None:
            return
        pair.cut()
        if self.telemetry is not None:
            self.telemetry.cut()
        self.pair = None
        world.agenda.after(world.link_random.uniform(0.1, 0.3), self.dial)
        world.history.add(node.name, "disconnected", reason)
        lives = node.life, world.core.life

        def tell() -> None:
            if node.life == lives[0]:
                node.put(Disconnected("core", reason))
            if world.core.life == lives[1]:
                world.core.put(Disconnected(node.name, reason))

        tell()
