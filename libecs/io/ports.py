"""TCP ports of this machine that simulated nodes may give to their tasks."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import islice

from libecs.errors import EcsError

_LOWEST, _HIGHEST = 10_000, 32_000
"""Below the ports that Linux gives to outgoing connections by itself."""

Ranges = tuple[tuple[int, int], ...]


def free_ranges(count: int, size: int) -> list[Ranges]:
    """Return `count` disjoint sets of `size` ports that nobody uses now, as ranges with both ends included.

    Where it begins to look depends on the process, so that two sessions that start together rarely meet.

    Raises:
        EcsError: there are not so many free ports.
    """
    wanted = count * size
    ports = list(islice(_free_ports(), wanted)) if wanted <= _HIGHEST - _LOWEST else []
    if len(ports) < wanted:
        between = f"between {_LOWEST} and {_HIGHEST}"
        raise EcsError(f"{wanted} free TCP ports {between} are needed, and there are fewer", hint="use fewer nodes")
    return [_ranges(sorted(ports[begin : begin + size])) for begin in range(0, wanted, size)]


def _free_ports() -> Iterator[int]:
    number = _HIGHEST - _LOWEST
    begin = os.getpid() * 997 % number
    for offset in range(number):
        port = _LOWEST + (begin + offset) % number
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _ranges(ports: list[int]) -> Ranges:
    """Return ascending ports as ranges."""
    ranges: list[tuple[int, int]] = []
    for port in ports:
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = (ranges[-1][0], port)
        else:
            ranges.append((port, port))
    return tuple(ranges)
