"""The least code that asks and answers over TCP with CURVE: what a question to the core is compared with.

    python tools/bench/echo.py      prints {"echo_blocking_us": 70.1, …} of the echoes alone

Three echoes, each a DEALER here and a ROUTER in another process:

blocking   one frame, both ends block in ZeroMQ and do nothing else: what the network, CURVE and four threads cost
frames     the same with the frames of our protocol: channel, version and payload there, version and payload back
asyncio    the same frames, both ends on an event loop: what each program costs that does something else besides
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import zmq

ROUNDS = 2000
FRAMES = (b"client", b"\x01\x01", b"x" * 128)
_NOBLOCK = int(zmq.NOBLOCK)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Echo:
    """The client of one echo, and its server in another process."""

    def __init__(self, name: str) -> None:
        """`name`: blocking, frames or asyncio."""
        public, secret = zmq.curve_keypair()
        words = [sys.executable, __file__, "--serve", "asyncio" if name == "asyncio" else "blocking", secret.decode()]
        self.name = name
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self._message = FRAMES[-1:] if name == "blocking" else FRAMES
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.curve_serverkey = public
        self._dealer.curve_publickey, self._dealer.curve_secretkey = zmq.curve_keypair()
        self._dealer.connect(f"tcp://127.0.0.1:{port}")

    async def ask(self, times: int) -> list[float]:
        """Go there and back so often; return how long each took, in seconds."""
        return await self._by_loop(times) if self.name == "asyncio" else self._blocking(times)

    def _blocking(self, times: int) -> list[float]:
        found = []
        for _ in range(times):
            begin = time.perf_counter()
            self._dealer.send_multipart(self._message)
            self._dealer.recv_multipart()
            found.append(time.perf_counter() - begin)
        return found

    async def _by_loop(self, times: int) -> list[float]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()

        def look() -> None:
            drain(self._dealer, lambda message: answer.set_result(None))

        fd = int(self._dealer.getsockopt(zmq.FD))
        loop.add_reader(fd, look)
        found = []
        for _ in range(times):
            begin = time.perf_counter()
            answer = loop.create_future()
            self._dealer.send_multipart(self._message, _NOBLOCK)
            loop.call_soon(look)  # to send may have eaten the edge
            await answer
            found.append(time.perf_counter() - begin)
        loop.remove_reader(fd)
        return found

    def close(self) -> None:
        """End it."""
        self._context.destroy(linger=0)
        self._process.kill()
        self._process.wait()


def drain(socket: zmq.Socket[bytes], take: Callable[[list[bytes]], None]) -> None:
    """Take all messages that are there."""
    while True:
        try:
            message = socket.recv_multipart(_NOBLOCK)
        except zmq.Again:
            return
        take(message)


def serve(mode: str, secret: str) -> None:
    """Send back what comes, without its channel if it has one; say on stdout at which port."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.curve_server, router.curve_secretkey = True, secret.encode()
    print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)

    def answer(message: list[bytes]) -> None:
        router.send_multipart(message if len(message) == 2 else [message[0], *message[2:]])

    async def for_ever() -> None:
        def look() -> None:
            drain(router, answer)

        asyncio.get_running_loop().add_reader(int(router.getsockopt(zmq.FD)), look)
        look()
        await asyncio.Event().wait()

    if mode == "asyncio":
        asyncio.run(for_ever())
    while True:
        answer(router.recv_multipart())


async def measure() -> dict[str, float]:
    """Return medians and 99th percentiles of all echoes, in µs. They take turns."""
    echoes = [Echo(name) for name in ("blocking", "frames", "asyncio")]
    times: dict[str, list[float]] = {}
    for _ in range(20):
        for echo in echoes:
            times.setdefault(echo.name, []).extend(await echo.ask(ROUNDS // 20))
    for echo in echoes:
        echo.close()
    figures: dict[str, float] = {}
    for name, found in times.items():
        figures[f"echo_{name}_us"] = round(1e6 * quantile(found, 0.5), 1)
        figures[f"echo_{name}_p99_us"] = round(1e6 * quantile(found, 0.99), 1)
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:4])
    print(json.dumps(asyncio.run(measure())))
