"""Waiting for processes that are not ours."""

from __future__ import annotations

import asyncio
import os


async def gone(pid: int, timeout_s: float = 40.0) -> None:
    """Wait for the end of a process. Raises TimeoutError."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
    finally:
        loop.remove_reader(fd)
        os.close(fd)
