"""A client as an attacker would write it: a real socket with a key, that sends whatever it likes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from libecs.io.audit import chain_files
from libecs.io.keys import KeyPair
from libecs.io.link import ClientCurve, Context, Dialer, Trouble
from libecs.wire import client
from libecs.wire.client import CLIENT, Accepted
from libecs.wire.codec import VERSION_FRAME, Table

WAIT_S = 60.0
LOOK_S = 0.05
"""Between two looks at what no event tells: who looks more often is soon told that the core is busy (client_rate)."""
BY_THEMSELVES = ("node", "tasks", "task.stalled")
"""Kinds of events that nobody has asked for: on a busy machine, or when a node goes."""


class Caller:
    """One connection."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        pair: KeyPair | None,
        core_key: str,
        *,
        channel: bytes = b"client",
        table: Table = CLIENT,
    ) -> None:
        self.table = table
        self.heard: list[Any] = []
        self.trouble: Trouble | None = None
        self.ups = self.downs = 0
        self._changed = asyncio.Event()
        curve = None if pair is None else ClientCurve(public=pair.public, secret=pair.secret, server=core_key)
        self.dialer = Dialer(
            context,
            endpoint,
            self._take,
            channel=channel,
            curve=curve,
            on_link=self._linked,
            on_trouble=self._failed,
        )

    @property
    def up(self) -> bool:
        return self.dialer.up

    def send(self, *messages: object) -> None:
        for message in messages:
            assert self.dialer.send((VERSION_FRAME, self.table.encode(message))), "the link is down"

    async def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def begin(self) -> Caller:
        """Wait until the handshake is done."""
        await self.until(lambda: self.up or self.trouble is not None)
        assert self.up, self.trouble
        return self

    async def ask(self, messages: Sequence[Any]) -> list[Any]:
        """Send, and return the first answer to each. A link that broke because this machine is busy is waited for."""
        await self.until(lambda: self.up)
        self.send(*messages)
        ids = [id_of(message) for message in messages]
        try:
            await self.until(lambda: set(ids) <= {id_of(answer) for answer in self.heard})
        except TimeoutError:
            heard = {id_of(answer) for answer in self.heard}
            silent = [message for message in messages if id_of(message) not in heard]
            raise AssertionError(f"no answer to {silent}") from None
        return [next(answer for answer in self.heard if id_of(answer) == id) for id in ids]

    async def ends(self, answers: Iterable[Any]) -> list[Any]:
        """Return how the operations ended that were accepted."""
        ids = [answer.operation for answer in answers if isinstance(answer, Accepted)]

        def ended(id: str) -> list[Any]:
            return [one for one in self.heard if id_of(one) == id and not isinstance(one, Accepted)]

        await self.until(lambda: all(ended(id) for id in ids))
        return [ended(id)[0] for id in ids]

    def close(self) -> None:
        self.dialer.close()

    def _take(self, frames: list[bytes]) -> None:
        self.heard.append(self.table.decode(frames[1]))
        self._changed.set()

    def _linked(self, up: bool) -> None:
        self.ups += up
        self.downs += not up
        self._changed.set()

    def _failed(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self._changed.set()


async def calm(caller: Caller, id: str, nodes: Collection[str]) -> None:
    """Wait until the core knows how nodes and their tasks are: on a busy machine they are SUSPECT for a moment."""
    async with asyncio.timeout(WAIT_S):
        while True:
            shown, tasks = await caller.ask([client.ShowNodes(request=f"{id}.n"), client.ShowTasks(request=f"{id}.t")])
            caller.heard = [one for one in caller.heard if id_of(one) not in (f"{id}.n", f"{id}.t")]
            up = {one.node for one in shown.nodes if one.reach == "UP"}
            if up >= set(nodes) and not any(task.age_ms for task in tasks.tasks):
                return
            await asyncio.sleep(LOOK_S)


async def deeds(caller: Caller, id: str) -> list[tuple[int, str]]:
    """Return numbers and kinds of the events so far that came because somebody wanted something."""
    (page,) = await caller.ask([client.ShowEvents(request=id, last=True)])
    return [(event.sequence, event.kind) for event in page.events if event.kind not in BY_THEMSELVES]


def id_of(message: Any) -> str:
    """Return the id of a request or of an answer; "" if it has none."""
    return str(getattr(message, "request", "") or getattr(message, "operation", ""))


class AuditReader:
    """Reads what was added to an audit log."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "audit"
        self._read = 0

    def new(self) -> list[dict[str, Any]]:
        """Return the lines since the last call."""
        lines = [json.loads(line) for path in chain_files(self._folder) for line in path.read_bytes().splitlines()]
        found = lines[self._read :]
        self._read = len(lines)
        return found

    @staticmethod
    def decisions(lines: Iterable[dict[str, Any]]) -> Counter[str]:
        """Return how many lines decide about each operation."""
        decided = ("accepted", "denied", "refused")
        return Counter(line["operation"] for line in lines if line["decision"] in decided)
