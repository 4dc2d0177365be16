"""Places on this machine where nobody else listens, now or later."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator

from libecs.errors import Conflict
from libecs.io.link import Router

IN_TIME_S = 30.0


def own_host() -> str:
    """Return a loopback address that no other test has.

    A port of 127.0.0.1 that was given up may be the next one of any connection that goes out, of any process.
    """
    return "127." + ".".join(str(random.SystemRandom().randint(2, 250)) for _ in range(3))


@contextlib.contextmanager
def refusing(host: str = "127.0.0.1") -> Iterator[str]:
    """An endpoint where connections are refused as long as this is open: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind((host, 0))
        yield f"tcp://{host}:{taken.getsockname()[1]}"


async def bind_again(router: Router, endpoint: str) -> None:
    """Listen where another socket has listened until now.

    libzmq closes what listens in a thread of its own and tells nobody: at once, one in twenty attempts is too early.
    """
    async with asyncio.timeout(IN_TIME_S):
        while True:
            try:
                router.bind(endpoint)
                return
            except Conflict:
                await asyncio.sleep(0)
