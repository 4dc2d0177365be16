"""Ask a TCP port who is there.

libzmq keeps the cause of a failed connection to itself, and calls a wrong key of the core and a missing key of ours by
the same name. A connection of our own tells: by its error, or by the greeting with which each ZMTP peer begins (RFC
23): ten bytes of signature, two of version, twenty of the name of its security mechanism.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from urllib.parse import urlsplit

from libecs.io.link.trouble import Refusal

_SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"
_GREETING_BYTES = 64


async def probe(endpoint: str, *, curve: bool, timeout_s: float = 1.0) -> tuple[Refusal, str]:
    """Return why an attempt to dial `endpoint` may have failed, and what the system says of it.

    Args:
        endpoint: tcp://host:port.
        curve: whether the attempt was made with a key.
        timeout_s: for the name of the host, for the connection, and for the greeting, each.
    """
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not endpoint.startswith("tcp://") or not host or not port:
        return Refusal.REFUSED, "nobody listens there"
    try:
        async with asyncio.timeout(timeout_s):
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Refusal.UNKNOWN_HOST, f"nobody has said yet which host {host} is (timed out)"
    except socket.gaierror as error:
        return Refusal.UNKNOWN_HOST, f"no host of name {host} ({error.strerror})"
    except UnicodeError:
        return Refusal.UNKNOWN_HOST, f"{host!r:.80} can be no name of a host"
    try:
        async with asyncio.timeout(timeout_s):
            found = await _connect([(family, str(address[0])) for family, _, _, _, address in addresses], port)
    except TimeoutError:
        return Refusal.UNREACHABLE, "no answer (timed out)"
    except ConnectionRefusedError:
        return Refusal.REFUSED, "connection refused"
    except OSError as error:
        return Refusal.UNREACHABLE, os.strerror(error.errno).lower() if error.errno else "no way there"
    reader, writer = found
    try:
        return await _greet(reader, writer, curve, timeout_s)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect(
    addresses: list[tuple[socket.AddressFamily, str]], port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address of a host that takes it. Raises OSError: if one has refused, that."""
    problem: OSError = OSError()
    for family, address in addresses:
        try:
            return await asyncio.open_connection(address, port, family=family)
        except OSError as error:
            problem = problem if isinstance(problem, ConnectionRefusedError) else error
    raise problem


async def _greet(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, curve: bool, timeout_s: float
) -> tuple[Refusal, str]:
    # No more than this: at the name of another mechanism than its own it would hang up, and its greeting would be lost.
    writer.write(_SIGNATURE + b"\x03\x01")
    heard = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(timeout_s):
            while len(heard) < 32 and (part := await reader.read(_GREETING_BYTES - len(heard))):
                heard += part
    if not heard:
        return Refusal.SILENT, "nothing is said"
    if heard[0] != 0xFF or (len(heard) > 9 and heard[9] != 0x7F):
        return Refusal.NOT_A_CORE, "it does not speak ZeroMQ"
    mechanism = heard[12:32].rstrip(b"\0")
    if len(heard) < 32:
        return Refusal.SILENT, "its greeting ends too early"
    if mechanism == b"CURVE":
        return (Refusal.WRONG_CORE, "its key is another") if curve else (Refusal.NO_KEY, "it wants a key")
    if curve:
        return Refusal.INSECURE, "it speaks without keys"
    return Refusal.NOT_A_CORE, "it ends the handshake"
