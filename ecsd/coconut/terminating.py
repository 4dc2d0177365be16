"""What ends a verb from outside: SIGTERM and SIGHUP cancel its work, so that all that it holds is let go in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable

SIGTERM_STATUS = 128 + signal.SIGTERM


async def unless_terminated(work: Awaitable[int]) -> int:
    """Do the work in this task, and return its exit status; SIGTERM_STATUS if one of these signals ended it."""
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if not terminated:
            raise
        task.uncancel()
        return SIGTERM_STATUS
