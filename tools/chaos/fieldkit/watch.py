"""Clients that wait for events, wherever they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fieldkit.cluster import Cluster
from libecs.wire.info import Event


@contextlib.asynccontextmanager
async def connected(cluster: Cluster, who: str = "owner") -> AsyncIterator[Any]:
    """Connect as somebody, from the host `client` if the cluster has a network."""
    session = cluster.connect(who)
    with cluster.network.entered("client") if cluster.network is not None else contextlib.nullcontext():
        ecs = await session.__aenter__()
    try:
        yield ecs
    finally:
        await session.__aexit__(None, None, None)


async def known(ecs: Any, *names: str, timeout_s: float = 60) -> None:
    """Wait until the core has read the keys of these people: files that are added are noticed a little later."""
    async with asyncio.timeout(timeout_s):
        while not set(names) <= {key["name"] for key in (await ecs.consult("key.list"))["keys"]}:
            pass


async def calm(ecs: Any, cluster: Cluster, timeout_s: float = 60) -> None:
    """Wait until the core knows how everything is: all nodes are UP, and all tasks are known."""
    async with Watch(ecs) as watch, asyncio.timeout(timeout_s):
        while True:
            seen = len(watch.events)
            up = {node.node for node in await ecs.nodes() if node.reach == "UP"}
            if up >= set(cluster.nodes) and all(task.pid and not task.age_ms for task in await ecs.tasks()):
                return
            with contextlib.suppress(TimeoutError):
                await watch.until(lambda event: True, 0.2, after=seen)


class Watch:
    """All events since it was made, to be waited for."""

    def __init__(self, ecs: Any) -> None:
        self.events: list[Event] = []
        self._new = asyncio.Event()
        self._reader = ecs.events()
        self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        async for event in self._reader:
            self.events.append(event)
            self._new.set()

    async def until(self, wanted: Callable[[Event], bool], timeout_s: float = 60, *, after: int = 0) -> Event:
        """Return the first event that is wanted, of those behind the first `after`; wait for it.

        Raises:
            TimeoutError: it has not come; the text has the last events.
        """
        at = after
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    while at < len(self.events):
                        if wanted(self.events[at]):
                            return self.events[at]
                        at += 1
                    self._new.clear()
                    await self._new.wait()
        except TimeoutError:
            last = "\n".join(map(str, self.events[-10:]))
            raise TimeoutError(f"no such event within {timeout_s:g} s; the last ones are\n{last}") from None

    async def node(self, name: str, state: str, timeout_s: float = 60, *, after: int = 0) -> Event:
        """Return the event that says a node is UP, SUSPECT or LOST."""
        return await self.until(
            lambda event: event.kind == "node" and event.name == name and event.state == state, timeout_s, after=after
        )

    async def state(self, environment: str, state: str, timeout_s: float = 60, *, after: int = 0) -> Event:
        """Return the event that says an environment is in a state."""
        return await self.until(
            lambda event: (
                event.kind == "environment.state" and event.environment == environment and event.state == state
            ),
            timeout_s,
            after=after,
        )

    def of(self, kind: str, after: int = 0) -> list[Event]:
        """Return the events of a kind that have come."""
        return [event for event in self.events[after:] if event.kind == kind]

    async def close(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
