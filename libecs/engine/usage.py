"""What environments and idle tasks use of the nodes, and what that leaves for new tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from libecs.engine.placement import NodeOffer, Placed
from libecs.engine.records import IdleRecord


def left(
    offers: Mapping[str, NodeOffer], placed: Iterable[Placed], away: Iterable[Placed], idle: Iterable[IdleRecord]
) -> list[NodeOffer]:
    """Return what nodes offer less what is used of them.

    away: where excluded tasks were. Their addresses are kept for them, and nothing else.
    """
    rest = dict(offers)
    for one in idle:
        _take(rest, one.node, one.cpu, one.memory_mb, one.ports)
    for gone in away:
        _take(rest, gone.node, 0.0, 0.0, gone.ports)
    for there in placed:
        _take(rest, there.node, there.cpu, there.memory_mb, there.ports)
    return list(rest.values())


def _take(rest: dict[str, NodeOffer], node: str, cpu: float, memory_mb: float, ports: tuple[int, ...]) -> None:
    offer = rest.get(node)
    if offer is not None:
        rest[node] = attrs.evolve(
            offer,
            used_cpus=offer.used_cpus + cpu,
            used_memory_mb=offer.used_memory_mb + memory_mb,
            used_ports=offer.used_ports | frozenset(ports),
        )


def used(placed: Iterable[Placed], idle: Iterable[IdleRecord]) -> dict[str, tuple[int, float, float]]:
    """Return, by node, how many tasks environments have there, and the CPUs and memory in MB that they and idle
    tasks use.
    """
    found: dict[str, tuple[int, float, float]] = {}
    for there in placed:
        tasks, cpus, memory_mb = found.get(there.node, (0, 0.0, 0.0))
        found[there.node] = (tasks + 1, cpus + there.cpu, memory_mb + there.memory_mb)
    for one in idle:
        tasks, cpus, memory_mb = found.get(one.node, (0, 0.0, 0.0))
        found[one.node] = (tasks, cpus + one.cpu, memory_mb + one.memory_mb)
    return found
