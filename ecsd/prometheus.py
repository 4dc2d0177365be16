"""Metrics for Prometheus: a small HTTP server that knows one page, on this machine unless it is told otherwise."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import resource
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from libecs.errors import Conflict, EcsError, InvalidInput

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64
"""With so many, the one that has waited longest without a request gives way to the next one."""
MAX_REQUEST_BYTES: Final = 8192
LIMIT_S: Final = 5.0
"""A request that is not there by then, or an answer that nobody takes, is given up."""
LOOPBACK: Final = "127.0.0.1"
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen
class Family:
    """All samples of one metric."""

    name: str
    kind: str
    """`counter` or `gauge`."""
    help: str
    samples: Mapping[tuple[tuple[str, str], ...], float]
    """Labels (name, value) to a value."""

    @classmethod
    def one(cls, name: str, kind: str, help: str, value: float) -> Family:
        """Make a metric without labels."""
        return cls(name, kind, help, {(): value})

    @classmethod
    def by(cls, name: str, kind: str, help: str, label: str, values: Mapping[str, float]) -> Family:
        """Make a metric with one label."""
        return cls(name, kind, help, {((label, key),): value for key, value in values.items()})


Collect = Callable[[], Iterable[Family]]
"""Gives all metrics as they are now. Does not block."""


def exposition(families: Iterable[Family]) -> str:
    """Return metrics in Prometheus's text format."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in sorted(family.samples.items()):
            inside = ",".join(f'{name}="{_label(text)}"' for name, text in labels)
            lines.append(f"{family.name}{f'{{{inside}}}' if inside else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _label(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)


def process_families(started_s: float) -> list[Family]:
    """Return what is known of any process: memory, files, CPU time. `started_s`: unix time of its start."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        files = len(os.listdir("/proc/self/fd"))
    except (OSError, ValueError, IndexError):
        pages = files = 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [
        Family.one("process_resident_memory_bytes", "gauge", "Memory in use.", pages * resource.getpagesize()),
        Family.one("process_open_fds", "gauge", "Open files.", files),
        Family.one("process_cpu_seconds_total", "counter", "CPU time.", usage.ru_utime + usage.ru_stime),
        Family.one("process_start_time_seconds", "gauge", "Unix time of the start.", started_s),
    ]


class MetricsServer:
    """Serves `GET /metrics`. Make it, `await start()`, at last `await close()`."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._idle: dict[asyncio.Task[None], None] = {}
        """Those whose request is not there yet, the oldest first."""
        self.refused = 0
        """Connections that were ended because there were too many."""

    async def start(self, place: str) -> str:
        """Listen at `HOST:PORT`, `:PORT` or `PORT` (port 0 = any); return `HOST:PORT`.

        Raises:
            Conflict: the port is in use.
            InvalidInput: no such host.
        """
        host, _, port = place.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]") or LOOPBACK, int(port), limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            cls = Conflict if error.errno == 98 else InvalidInput
            raise cls(f"metrics cannot be served at {place}: {error.strerror}") from error
        except UnicodeError as error:
            raise InvalidInput(f"metrics cannot be served at {place}: that can be no name of a host") from error
        name = self._server.sockets[0].getsockname()
        return f"{name[0]}:{name[1]}"

    async def close(self) -> None:
        """Serve nothing more."""
        if self._server is not None:
            self._server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS and not self._give_way():
            writer.transport.abort()
            return
        self._open.add(task)
        self._idle[task] = None
        try:
            async with asyncio.timeout(LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.pop(task, None)
                writer.write(self._answer(head))
                writer.close()
                await writer.wait_closed()  # it has left, or was not taken in time
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.discard(task)
            self._idle.pop(task, None)
            writer.transport.abort()

    def _give_way(self) -> bool:
        """End the connection that has been idle longest; return False if none is: all are being answered."""
        self.refused += 1
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        del self._idle[oldest]
        self._open.discard(oldest)
        oldest.cancel()
        return True

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "only GET\n")
        if path != b"/metrics":
            return _response("404 Not Found", "only /metrics\n")
        try:
            page = exposition(self._collect())
        except EcsError as error:
            return _response("500 Internal Server Error", f"{error.message}\n")
        return _response("200 OK", page, is_head=method == b"HEAD")


def _response(status: str, text: str, *, is_head: bool = False) -> bytes:
    body = text.encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if is_head else head + body
