"""A core with its keys, and those who dial it, for tests of the Dialer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from libecs.io.link import (
    ClientCurve,
    Context,
    Dialer,
    Origin,
    Refusal,
    Router,
    ServerCurve,
    Trouble,
    close_context,
    new_context,
    new_keys,
)
from libecs.io.zap import ZapResponder
from tests.io.places import bind_again, own_host

T = TypeVar("T")
DOMAIN = "test"
SERVER_KEYS = new_keys()
CLIENT_KEYS = new_keys()
IN_TIME_S = 30.0
"""Nothing here takes that long; a slow machine may."""
SLOW = frozenset({Refusal.UNREACHABLE, Refusal.SILENT})
"""What a machine that stands still for a second is taken for, until the next attempt."""


class Server:
    """A core's end: echoes what comes, and remembers of whom."""

    def __init__(self, context: Context, **options: object) -> None:
        curve = ServerCurve(secret=SERVER_KEYS[1], domain=DOMAIN)
        self.seen: list[tuple[bytes, list[bytes], str, str]] = []
        self.gone: list[bytes] = []
        self.hang_up = False
        self.router = Router(
            context,
            None,
            **{  # type: ignore[arg-type] # options of a test, by name
                "on_traced": self._take,
                "on_gone": self.gone.append,
                "curve": curve,
                "heartbeats": True,
                **options,
            },
        )

    def _take(self, peer: bytes, frames: list[bytes], origin: Origin) -> None:
        self.seen.append((peer, frames, origin.key, origin.address))
        if self.hang_up:
            origin.hang_up()
        self.router.send(peer, frames[1:])


class Client:
    """A Dialer, and what it tells."""

    def __init__(self, context: Context, endpoint: str, curve: ClientCurve | None, **options: object) -> None:
        self.messages: list[list[bytes]] = []
        self.links: list[bool] = []
        self.troubles: list[Trouble] = []
        self.changed = asyncio.Event()
        self.dialer = Dialer(
            context,
            endpoint,
            self._keep(self.messages),
            channel=b"node",
            curve=curve,
            on_link=self._keep(self.links),
            on_trouble=self._keep(self.troubles),
            **options,  # type: ignore[arg-type] # the same
        )

    def _keep(self, where: list[T]) -> Callable[[T], None]:
        def take(one: T) -> None:
            where.append(one)
            self.changed.set()

        return take

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def first_trouble(self, *, of: Refusal | None = None) -> Trouble:
        """Return the first trouble; those of a slow machine are passed over, if they are not `of` that kind."""
        found: list[Trouble] = []

        def look() -> bool:
            found[:] = [one for one in self.troubles if one.refusal is of or one.refusal not in SLOW]
            return bool(found)

        await self.until(look)
        return found[0]


class Hall:
    """A server with its ZAP in a context of its own, as another process would have it."""

    def __init__(self, **options: object) -> None:
        self.context = new_context()
        self.allowed = {CLIENT_KEYS[0]}
        self.zap = ZapResponder(self.context, {DOMAIN: lambda key, address: key in self.allowed})
        self.options = options
        self.server = Server(self.context, **options)
        self.endpoint = self.server.router.bind(f"tcp://{own_host()}:*")

    def stop(self) -> None:
        self.server.router.close()

    async def start_again(self) -> None:
        self.server = Server(self.context, **self.options)
        await bind_again(self.server.router, self.endpoint)

    def close(self) -> None:
        self.server.router.close()
        self.zap.close()
        close_context(self.context)


Dial = Callable[..., Client]


def known() -> ClientCurve:
    return ClientCurve(public=CLIENT_KEYS[0], secret=CLIENT_KEYS[1], server=SERVER_KEYS[0])


def stranger() -> ClientCurve:
    public, secret = new_keys()
    return ClientCurve(public=public, secret=secret, server=SERVER_KEYS[0])


async def up(client: Client) -> None:
    await client.until(lambda: client.dialer.up)
