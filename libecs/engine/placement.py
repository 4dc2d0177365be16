"""Which task runs where, and on which addresses its channels are. Pure: the same question has the same answer.

Every choice and every refusal has a reason that people can read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from operator import methodcaller

import attrs

from libecs.errors import Unplaceable
from libecs.wire.node import Limits
from libecs.workflow.constraints import unsatisfied
from libecs.workflow.role import Channel, Constraint, RoleKind, Workflow

IDLE_TASK = "idle task "
"""How the reason begins of a task that was there already."""
FIRST_PORT = 9000
"""Data channels take the lowest free ports from here on."""


@attrs.frozen(kw_only=True)
class NodeOffer:
    """A node as placement sees it."""

    name: str
    host: str
    attributes: Mapping[str, str]
    cpus: float = 0.0
    """0 = not known: no limit."""
    memory_mb: float = 0.0
    ports: tuple[tuple[int, int], ...] = ()
    used_cpus: float = 0.0
    used_memory_mb: float = 0.0
    used_ports: frozenset[int] = frozenset()


@attrs.frozen(kw_only=True)
class Placed:
    """Where one task role runs."""

    role: int
    task: str
    """Task id."""
    node: str
    host: str
    endpoints: Mapping[str, str] = attrs.field(factory=dict)
    """Inbound channel name to `tcp://host:port` or `ipc://@name`, as others connect to it."""
    ports: tuple[int, ...] = ()
    cpu: float = 0.0
    memory_mb: float = 0.0
    reason: str = ""


@attrs.define
class _Room:
    offer: NodeOffer
    cpus: float
    memory_mb: float
    taken: set[int]
    ahead: Iterator[int]
    """Ports that were not looked at yet: what is taken once stays taken."""
    found: list[int] = attrs.field(factory=list)
    """Ports that were free when they were looked at, the lowest first."""

    @classmethod
    def of(cls, offer: NodeOffer) -> _Room:
        ahead = chain.from_iterable(range(max(low, FIRST_PORT), high + 1) for low, high in sorted(offer.ports))
        return cls(offer, offer.used_cpus, offer.used_memory_mb, set(offer.used_ports), ahead)

    def free_ports(self, count: int) -> list[int]:
        self.found = [port for port in self.found if port not in self.taken]
        while len(self.found) < count:
            port = next((port for port in self.ahead if port not in self.taken), None)
            if port is None:
                break
            self.found.append(port)
        return self.found[:count]

    def refuses(self, constraints: Iterable[Constraint], wants: Limits, dynamic_ports: int) -> str:
        """Return why this node can't take such a task, "" if it can."""
        for constraint in constraints:
            if reason := unsatisfied(constraint, self.offer.attributes):
                return reason
        if self.offer.cpus and self.cpus + wants.cpu > self.offer.cpus:
            return f"wants {wants.cpu:g} CPUs, {max(self.offer.cpus - self.cpus, 0):g} of {self.offer.cpus:g} are free"
        if self.offer.memory_mb and self.memory_mb + wants.memory_mb > self.offer.memory_mb:
            free = max(self.offer.memory_mb - self.memory_mb, 0)
            return f"wants {wants.memory_mb:g} MB of memory, {free:g} of {self.offer.memory_mb:g} are free"
        for port in wants.ports:
            if port in self.taken:
                return f"port {port} is in use"
        if len(self.free_ports(dynamic_ports)) < dynamic_ports:
            return f"needs {dynamic_ports} TCP ports, too few are free in {_ranges(self.offer.ports)}"
        return ""


@attrs.define
class _Demand:
    """Nodes for tasks that ask for the same. Nodes only fill up: one that has refused such a task refuses the next."""

    names: Set[str]
    """Nodes that meet the constraints."""
    queue: list[tuple[int, str]]
    """Heap of (tasks placed there, node), as it was when it was entered."""
    reasons: dict[str, str] = attrs.field(factory=dict)
    """Node to why it refuses."""

    def choose(
        self, rooms: Mapping[str, _Room], load: Mapping[str, int], refuses: Callable[[_Room], str]
    ) -> str | None:
        """Return the least loaded node that does not refuse, the first by name of several; None if all refuse."""
        while self.queue:
            known, name = self.queue[0]
            if load[name] != known:
                heapq.heapreplace(self.queue, (load[name], name))
            elif reason := refuses(rooms[name]):
                self.reasons[name] = reason
                heapq.heappop(self.queue)
            else:
                return name
        return None


Spares = Callable[[int, Callable[[str], bool], str], "tuple[str, str] | None"]
"""From a role, which nodes will do, and where it would best be, to node and id of an idle task; None if none fits."""
_NEVER_PLACED: Mapping[int, Placed] = {}


def place(
    workflow: Workflow,
    nodes: Sequence[NodeOffer],
    task_ids: Mapping[int, str],
    keep: Mapping[int, str] | None = None,
    *,
    spare: Spares | None = None,
    former: Mapping[int, Placed] = _NEVER_PLACED,
    tolerates: Callable[[Mapping[str, str]], bool] = lambda reasons: False,
) -> tuple[Placed, ...]:
    """Place the task roles that `task_ids` names; `keep` ties roles to nodes they were on before.

    spare: gives idle tasks, each once. former: where a role was, and would
    best be again, with the same addresses. tolerates: whether these critical roles, with why, may be left out.

    Among the nodes that can take a task, the one with the fewest tasks of this placement wins, then the first by
    name. Tasks are taken in the order of the tree, those with constraints first.

    Raises:
        Unplaceable: with the reason of each node, for every *critical* task that fits nowhere. Others are left out.
    """
    rooms = {offer.name: _Room.of(offer) for offer in sorted(nodes, key=lambda offer: offer.name)}
    by_attribute = _index(nodes)
    load = dict.fromkeys(rooms, 0)
    demands: dict[tuple[tuple[Constraint, ...], Limits, int, str | None], _Demand] = {}
    placed: list[Placed] = []
    refused: dict[str, str] = {}
    for index in sorted(task_ids, key=lambda i: (not workflow.roles[i].constraints, i)):
        role = workflow.roles[index]
        assert role.task is not None
        wants = workflow.classes[role.task.class_name].wants
        inbound = role.bind
        tcp = sum(1 for channel in inbound if not channel.target and channel.addressing != "ipc")
        asked = (role.constraints, wants, tcp, (keep or {}).get(index))
        demand = demands.get(asked)
        if demand is None:
            candidates = _candidates(role.constraints, by_attribute, rooms, asked[3])
            demand = demands[asked] = _Demand(candidates, sorted((load[name], name) for name in candidates))
        before = former.get(index)
        idle = _spare(spare, index, rooms, demand, tcp, before) if spare is not None else None
        if idle is not None:
            name, task = idle
            load[name] += 1
            placed.append(_placed(index, task, rooms[name], inbound, tcp, wants, before, f"{IDLE_TASK}{task}"))
            continue
        chosen = before.node if before is not None and _is_free(rooms, asked, before) else None
        chosen = chosen or demand.choose(rooms, load, methodcaller("refuses", *asked[:3]))
        if chosen is None:
            if role.critical:
                refused[role.path] = _why_not(role.constraints, demand.reasons, rooms)
            continue
        room = rooms[chosen]
        load[chosen] += 1
        room.cpus += wants.cpu
        room.memory_mb += wants.memory_mb
        why = _why(role.constraints, len(demand.names))
        placed.append(_placed(index, task_ids[index], room, inbound, tcp, wants, before, why))
    if refused and not tolerates(refused):
        raise Unplaceable(refused, hint="coconut environment plan shows every node's reason")
    return tuple(placed)


_Asked = tuple[tuple[Constraint, ...], Limits, int, "str | None"]


def _spare(
    spare: Spares, index: int, rooms: Mapping[str, _Room], demand: _Demand, tcp: int, former: Placed | None
) -> tuple[str, str] | None:
    """Return node and id of the idle task that a role takes, None if none will do."""

    def usable(name: str) -> bool:
        return name in demand.names and name in rooms and len(rooms[name].free_ports(tcp)) >= tcp

    return spare(index, usable, former.node if former is not None else "")


def _is_free(rooms: Mapping[str, _Room], asked: _Asked, former: Placed) -> bool:
    """Return whether a role may be again where it was."""
    constraints, wants, tcp, kept = asked
    room = rooms.get(former.node)
    return room is not None and kept in (None, former.node) and not room.refuses(constraints, wants, tcp)


def _placed(
    index: int,
    task: str,
    room: _Room,
    inbound: Sequence[Channel],
    tcp: int,
    wants: Limits,
    former: Placed | None,
    reason: str,
) -> Placed:
    """Give a task of a node its addresses: those that it had, if they are there and free."""
    same = former is not None and former.node == room.offer.name and room.taken.isdisjoint(former.ports)
    if former is not None and same and len(former.ports) == tcp + len(wants.ports):
        ports, endpoints = former.ports[:tcp], former.endpoints
    else:
        room.taken.update(wants.ports)
        ports = tuple(room.free_ports(tcp))
        endpoints = _endpoints(inbound, iter(ports), room.offer.host, task)
        if former is not None and inbound:
            reason += ", new address"
    room.taken.update(ports, wants.ports)
    return Placed(
        role=index,
        task=task,
        node=room.offer.name,
        host=room.offer.host,
        endpoints=endpoints,
        ports=(*ports, *wants.ports),
        cpu=wants.cpu,
        memory_mb=wants.memory_mb,
        reason=reason,
    )


def runnable(workflow: Workflow) -> list[int]:
    """Return the indices of all task roles: tasks and hooks."""
    return [index for index, role in enumerate(workflow.roles) if role.task is not None and role.kind is RoleKind.TASK]


def _index(nodes: Sequence[NodeOffer]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for offer in nodes:
        for attribute, text in offer.attributes.items():
            for value in {text, *text.split(",")}:
                found.setdefault((attribute, value), set()).add(offer.name)
    return found


def _candidates(
    constraints: Iterable[Constraint],
    by_attribute: Mapping[tuple[str, str], set[str]],
    rooms: Mapping[str, _Room],
    kept: str | None,
) -> set[str]:
    if kept is not None and kept in rooms:
        return {kept}
    found: set[str] | None = None
    for constraint in constraints:
        these = by_attribute.get((constraint.attribute, constraint.value), set())
        found = these if found is None else found & these
    return set(rooms) if found is None else found


def _endpoints(channels: Iterable[Channel], ports: Iterable[int], host: str, task: str) -> dict[str, str]:
    remaining = iter(ports)
    endpoints = {}
    for number, channel in enumerate(channels):
        if channel.target:
            endpoints[channel.name] = f"tcp://{host}:0"  # the address is the template's; the host is ours
        elif channel.addressing == "ipc":
            endpoints[channel.name] = f"ipc://@o2ipc-{task}-{number}"
        else:
            endpoints[channel.name] = f"tcp://{host}:{next(remaining)}"
    return endpoints


def _why(constraints: Sequence[Constraint], candidates: int) -> str:
    if constraints:
        return ", ".join(f"{c.attribute} = {c.value}" for c in constraints)
    return f"least loaded of {candidates}"


def _why_not(constraints: Sequence[Constraint], reasons: Mapping[str, str], rooms: Mapping[str, _Room]) -> str:
    if not rooms:
        return "there are no nodes"
    if reasons:
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items())[:5])
    details = []
    for constraint in constraints:
        near = {name: unsatisfied(constraint, room.offer.attributes) for name, room in rooms.items()}
        wrong = {name: reason for name, reason in near.items() if reason}
        if len(wrong) == len(rooms):
            example = "; ".join(f"{name}: {reason}" for name, reason in list(wrong.items())[:3])
            details.append(f"no node with {constraint.attribute} = {constraint.value} ({example})")
    return "; ".join(details) or "no node meets " + " and ".join(f"{c.attribute} = {c.value}" for c in constraints)


def _ranges(ports: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{low}-{high}" for low, high in ports) or "no range at all"
