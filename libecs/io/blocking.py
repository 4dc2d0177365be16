"""Calls of libraries that block, in threads of their own: pygit2, Consul, SQLite files that others write too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from libecs.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


class BlockingCalls:
    """A few threads, started when they are needed and gone after `close`."""

    def __init__(self, name: str = "ecs-blocking", *, threads: int = 2) -> None:
        """No thread runs yet."""
        self._name = name
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._closed = False
        self._running: set[asyncio.Future[Any]] = set()

    def start(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin a call in a thread; return the future of its result, to be awaited or given a callback.

        Raises:
            UsageError: no event loop runs here, so that nobody could wait for it; or it is closed.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                f"{self._name}: {function.__qualname__} was called outside of an event loop",
                hint="call it from a coroutine; in a script without one call the blocking function itself",
            ) from None
        if self._closed:
            raise UsageError(f"{self._name} is closed")
        future = asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    async def close(self) -> None:
        """Drop calls that wait, let those that run end, end the threads."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*self._running, return_exceptions=True)
        self._pool.shutdown()  # the threads have nothing to do any more: this does not take long
