"""The port for Prometheus, with real requests."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import urllib.error
import urllib.request

import pytest

from ecsd import prometheus
from ecsd.prometheus import MAX_CONNECTIONS, Family, MetricsServer, exposition, process_families
from libecs.errors import Conflict, EcsError, InvalidInput


def test_metrics_are_written_in_the_format_of_prometheus() -> None:
    text = exposition(
        [
            Family.one("a_total", "counter", "All\nof it.", 3.0),
            Family.by("b", "gauge", "By it.", "name", {'x"y\\z\n': 0.5, "a": math.inf, "n": math.nan, "m": -math.inf}),
        ]
    )

    assert text.splitlines() == [
        "# HELP a_total All\\nof it.",
        "# TYPE a_total counter",
        "a_total 3",
        "# HELP b By it.",
        "# TYPE b gauge",
        'b{name="a"} +Inf',
        'b{name="m"} -Inf',
        'b{name="n"} NaN',
        'b{name="x\\"y\\\\z\\n"} 0.5',
    ]


def test_a_process_knows_its_own_figures() -> None:
    values = {family.name: family.samples[()] for family in process_families(5.0)}

    assert values["process_resident_memory_bytes"] > 1_000_000
    assert values["process_open_fds"] > 0
    assert values["process_start_time_seconds"] == 5.0


def get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_one_page_is_served_on_loopback_and_no_other() -> None:
    server = MetricsServer(lambda: [Family.one("a", "gauge", "A.", 1)])
    place = await server.start("0")

    assert place.startswith("127.0.0.1:")
    assert await asyncio.to_thread(get, f"http://{place}/metrics") == (200, "# HELP a A.\n# TYPE a gauge\na 1\n")
    assert await asyncio.to_thread(get, f"http://{place}/metrics", "HEAD") == (200, "")
    assert (await asyncio.to_thread(get, f"http://{place}/"))[0] == 404
    assert (await asyncio.to_thread(get, f"http://{place}/metrics", "POST"))[0] == 405
    await server.close()


async def test_an_error_while_collecting_is_an_answer() -> None:
    def collect() -> list[Family]:
        raise EcsError("not now")

    server = MetricsServer(collect)
    place = await server.start(":0")

    assert await asyncio.to_thread(get, f"http://{place}/metrics") == (500, "not now\n")
    await server.close()


async def test_who_asks_is_answered_however_many_connections_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "LIMIT_S", 1000.0)
    server = MetricsServer(lambda: [Family.one("a", "gauge", "A.", 1)])
    place = await server.start("127.0.0.1:0")
    host, _, port = place.partition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(3 * MAX_CONNECTIONS)]

    assert (await asyncio.to_thread(get, f"http://{place}/metrics"))[0] == 200
    oldest, _ = idle[0]
    with contextlib.suppress(ConnectionResetError):
        assert await oldest.read() == b""
    assert server.refused == 2 * MAX_CONNECTIONS + 1

    await server.close()
    for _, writer in idle:
        writer.close()


async def test_what_is_no_request_and_an_answer_that_nobody_takes_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "LIMIT_S", 0.2)
    server = MetricsServer(lambda: [Family.one("a", "gauge", "A" * 20_000_000, 1)])
    host, _, port = (await server.start("127.0.0.1:0")).partition(":")
    large_reader, large_writer = await asyncio.open_connection(host, int(port))
    large_writer.write(b"x" * 100_000)
    with contextlib.suppress(ConnectionResetError):
        assert await large_reader.read() == b""

    idle_reader, idle_writer = await asyncio.open_connection(host, int(port))
    assert await idle_reader.read() == b""

    # The kernel takes a part of the page, asyncio's reader another; then nobody reads.
    deaf = socket.create_connection((host, int(port)))
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(60):
        while not server._open:
            await asyncio.sleep(0)
        await asyncio.gather(*server._open)
    deaf.setblocking(True)
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while part := await asyncio.to_thread(deaf.recv, 1 << 20):
            taken += len(part)
    assert taken < 20_000_000

    await server.close()
    deaf.close()
    for writer in (large_writer, idle_writer):
        writer.close()


async def test_while_all_are_being_answered_more_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(prometheus, "LIMIT_S", 1000.0)
    server = MetricsServer(lambda: [Family.one("a", "gauge", "A" * 20_000_000, 1)])
    host, _, port = (await server.start("127.0.0.1:0")).partition(":")
    with socket.create_connection((host, int(port))) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(60):
            while not server._open or server._idle:
                await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert server.refused == 1
        writer.close()
    await server.close()


async def test_a_port_in_use_and_a_host_that_is_none_are_told() -> None:
    first, second = MetricsServer(list), MetricsServer(list)
    place = await first.start("127.0.0.1:0")

    with pytest.raises(Conflict, match=f"metrics cannot be served at {place}"):
        await second.start(place)
    for nowhere in (
        "192.0.2.77:1",
        f"{'x' * 70}.invalid:1",
    ):  # not our address; no name, so that nobody is asked for it
        with pytest.raises(InvalidInput, match="metrics cannot be served"):
            await second.start(nowhere)
    await first.close()
