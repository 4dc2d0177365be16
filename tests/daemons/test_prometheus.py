"""The port for Prometheus, with real requests."""

from __future__ import annotations

import asyncio
import math
import urllib.error
import urllib.request

import pytest

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


async def test_requests_that_are_none_and_too_many_are_ended() -> None:
    server = MetricsServer(lambda: [])
    host, _, port = (await server.start("127.0.0.1:0")).partition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_CONNECTIONS)]
    large_reader, large_writer = idle.pop()
    large_writer.write(b"x" * 100_000)

    assert await large_reader.read() == b""  # ended: that is no request
    replaced = await asyncio.open_connection(host, int(port))
    idle.append(replaced)
    more_reader, more_writer = await asyncio.open_connection(host, int(port))
    assert await more_reader.read() == b""
    assert server.refused == 1

    await server.close()
    for _, writer in [*idle, (large_reader, large_writer), (more_reader, more_writer)]:
        writer.close()


async def test_a_port_in_use_and_a_host_that_is_none_are_told() -> None:
    first, second = MetricsServer(list), MetricsServer(list)
    place = await first.start("127.0.0.1:0")

    with pytest.raises(Conflict, match=f"metrics cannot be served at {place}"):
        await second.start(place)
    with pytest.raises(InvalidInput, match="metrics cannot be served"):
        await second.start("no.such.host.invalid:1")
    await first.close()
