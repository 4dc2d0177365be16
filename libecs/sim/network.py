"""Simulated links: connections that delay, lose, repeat and reorder messages, and break.

What goes through a link is bytes: each message is encoded when it is sent and decoded when it arrives, so that the
codec is a part of every history.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.wire import node, task
from libecs.wire.codec import Table

QUIET = frozenset({node.NodeKeepalive, node.CoreKeepalive, task.Ping, task.Pong, task.Metric, task.Log, node.Telemetry})
"""Messages that are not worth a line of the history."""
ONCE = frozenset({task.Metric, task.Log})
"""Messages that no link repeats: they are not numbered, because no link has a reason to."""
LATE_AGAIN = 0.5
"""Probability that the second copy of a message is late."""


@attrs.define(kw_only=True)
class Faults:
    """What a kind of link does to messages. Probabilities per message; delays in seconds."""

    delay_s: tuple[float, float] = (0.0001, 0.002)
    late_s: tuple[float, float] = (0.05, 1.5)
    late: float = 0.0
    """Probability of a delay out of `late_s` instead."""
    loss: float = 0.0
    duplicate: float = 0.0
    """Probability that a message comes twice, the second time whenever it may."""
    reorder: float = 0.0
    """Probability that a message may overtake those before it."""

    def heal(self) -> None:
        """Make the link perfect, but for its delay."""
        self.late = self.loss = self.duplicate = self.reorder = 0.0


@attrs.define(kw_only=True)
class Traffic:
    """What links have done, for tests and for a summary."""

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    late: int = 0
    cut: int = 0


class Network:
    """What all links share: time, entropy, codec, counters, and who is cut off from whom."""

    def __init__(self, agenda: Agenda, history: History, random: Random, *, codec: bool = True) -> None:
        self.agenda = agenda
        self.history = history
        self.random = random
        self.codec = codec
        self.traffic = Traffic()
        self.node_faults = Faults()
        self.task_faults = Faults(delay_s=(0.00005, 0.0005))
        self.client_faults = Faults()
        self.telemetry_faults = Faults()
        """Telemetry is lost and late, and not repeated: its link has no reason to."""

    def heal(self) -> None:
        """Make all links perfect."""
        for faults in (self.node_faults, self.task_faults, self.client_faults, self.telemetry_faults):
            faults.heal()


class Connection:
    """One direction of one connection between two processes. `cut` loses what is on the way."""

    def __init__(
        self, network: Network, table: Table, faults: Faults, name: str, deliver: Callable[[object], None]
    ) -> None:
        self.blocked = False
        """A silent partition: nothing arrives, nobody is told."""
        self.open = True
        self._network = network
        self._table = table
        self._faults = faults
        self._name = name
        self._deliver = deliver
        self._last_s = 0.0

    def send(self, message: object) -> None:
        """Send one message; what becomes of it is a matter of the seed."""
        if not self.open:
            return
        network = self._network
        faults, random = self._faults, network.random
        network.traffic.sent += 1
        lost = self.blocked or (faults.loss > 0 and random.random() < faults.loss)
        if type(message) not in QUIET or network.history.keepalives:
            network.history.add(self._name, "lost" if lost else "send", message)
        frame = self._table.encode(message) if network.codec else message
        if lost:
            network.traffic.lost += 1
            return
        copies = 1
        if faults.duplicate > 0 and random.random() < faults.duplicate and type(message) not in ONCE:
            copies = 2
            network.traffic.duplicated += 1
        for copy in range(copies):
            again = copy > 0
            delay = random.uniform(*faults.delay_s)
            if (faults.late > 0 and random.random() < faults.late) or (again and random.random() < LATE_AGAIN):
                delay = random.uniform(*faults.late_s)
                network.traffic.late += 1
            arrival = network.agenda.mono_s + delay
            if faults.reorder > 0 and random.random() < faults.reorder:
                if arrival < self._last_s:
                    network.traffic.reordered += 1
            else:
                arrival = max(arrival, self._last_s)
                if not again:
                    self._last_s = arrival
            network.agenda.at(arrival, partial(self._arrive, frame))

    def cut(self) -> None:
        """End the connection for ever; what is on the way is lost."""
        self.open = False

    def _arrive(self, frame: object) -> None:
        if not self.open or self.blocked:
            self._network.traffic.cut += 1
            return
        self._deliver(self._table.decode(frame) if isinstance(frame, bytes) else frame)


class Pair:
    """A connection with two directions: `to_a` delivers to side a, `to_b` to side b."""

    def __init__(
        self,
        network: Network,
        table: Table,
        faults: Faults,
        a: str,
        b: str,
        deliver_a: Callable[[object], None],
        deliver_b: Callable[[object], None],
    ) -> None:
        self.to_a = Connection(network, table, faults, f"{b}>{a}", deliver_a)
        self.to_b = Connection(network, table, faults, f"{a}>{b}", deliver_b)

    def cut(self) -> None:
        """End both directions."""
        self.to_a.cut()
        self.to_b.cut()

    @property
    def open(self) -> bool:
        """Tell whether the connection has not been cut."""
        return self.to_a.open

    def block(self, *, to_a: bool, to_b: bool) -> None:
        """Make directions lose everything silently, or not."""
        self.to_a.blocked = to_a
        self.to_b.blocked = to_b
