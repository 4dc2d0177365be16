"""The nodes as the core sees them, and the tasks that must end on them whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

import attrs

from libecs.engine.placement import NodeOffer
from libecs.wire.node import Held, NodeHello


class Reach(IntEnum):
    """Whether a node answers. It says nothing of its tasks."""

    UP = 1
    SUSPECT = 2
    LOST = 3


Process = tuple[str, ...]


def process_of(hello: NodeHello) -> Process:
    """Return what tells an executor from others. Its life alone does not: that is a number in a folder, and copied."""
    facts = (hello.facts.get(name, "") for name in ("boot_id", "started_ms", "pid"))
    return tuple(text[:100] for text in (hello.life, *facts))


@attrs.define(kw_only=True)
class Node:
    """One executor's session."""

    hello: NodeHello
    peer: str
    session: int | None
    heard: float
    """Monotonic time of the last message."""
    sequence: int = 0
    gap: bool = False
    """Numbers are missing, and no Announce has stood for them yet."""
    announced: bool = False
    reach: Reach = Reach.UP
    orphans: dict[str, Held] = attrs.field(factory=dict)
    """Tasks that it runs and that no record knows."""
    kill_again_at: float = 0.0
    came_ms: int = 0
    """Unix milliseconds of its hello, by our clock."""
    spoke: float = 0.0
    """Monotonic time at which anything came of it."""
    hears_since: float = 0.0
    """Monotonic time from which on it should hear us: of its hello, or of its first word after a silence. What it says
    then of not hearing us is as old as the silence.
    """
    replaced: tuple[Process, ...] = ()
    """The last ones whose place this one took."""
    doubled: bool = False
    """Another executor came with its key, and that was said."""
    deaf: bool = False
    """It says that it does not hear us: what it speaks counts for its tasks, and not as an answer."""

    @property
    def shown_reach(self) -> str:
        """How clients see whether it answers: one whose link is down is SUSPECT at once."""
        return "SUSPECT" if self.reach is Reach.UP and self.session is None else self.reach.name

    @property
    def facts(self) -> Mapping[str, str]:
        """What it said of itself, and how far its clock is ahead of ours."""
        said = self.hello.facts
        there = said.get("unix_ms", "")
        if not (there.isdecimal() and len(there) < 16):
            return said
        return {**said, "clock_skew_ms": str(int(there) - self.came_ms)}

    @property
    def name(self) -> str:
        """The node's name."""
        return self.hello.node

    def offer(self) -> NodeOffer:
        """Return the node as placement sees it, with nothing used."""
        hello = self.hello
        return NodeOffer(
            name=hello.node,
            host=hello.host,
            attributes=hello.attributes,
            cpus=hello.cpus,
            memory_mb=hello.memory_mb,
            ports=hello.ports,
        )


class Condemned:
    """Tasks that must end. They are on record until their node says that they are gone."""

    def __init__(self) -> None:
        self._node: dict[str, str] = {}
        self._by_node: dict[str, dict[str, str]] = {}

    def add(self, node: str, tasks: Iterable[str]) -> list[str]:
        """Condemn tasks, return those that were not yet."""
        new = [task for task in tasks if task not in self._node]
        for task in new:
            self._node[task] = node
            self._by_node.setdefault(node, {})[task] = node
        return new

    def of(self, node: str) -> dict[str, str]:
        """Return the condemned tasks of a node, task id to node."""
        return dict(self._by_node.get(node, {}))

    def node_of(self, task: str) -> str | None:
        """Return the node that holds a condemned task, None for another one."""
        return self._node.get(task)

    def remove(self, task: str) -> bool:
        """Take a task off the list, tell whether it was there."""
        node = self._node.pop(task, None)
        if node is None:
            return False
        del self._by_node[node][task]
        return True
