"""Things that come one after the other, read by one loop of `for`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

QUEUE_LIMIT = 65536
"""What one slow reader may be behind before the oldest are dropped."""


class Reader(Generic[T]):
    """What comes from the moment it was made: for `async for`, or one by one with `next`. Make it inside a loop."""

    def __init__(self, wanted: Callable[[T], bool] = lambda item: True, *, limit: int = QUEUE_LIMIT) -> None:
        self._wanted = wanted
        self._limit = limit
        self._queue: asyncio.Queue[T | None] = asyncio.Queue()
        self.dropped = 0
        """Lost because this reader was too slow, or on the way."""

    def put(self, item: T) -> None:
        """Take one thing, if it is wanted."""
        if not self._wanted(item):
            return
        if self._queue.qsize() >= self._limit:
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(item)

    def close(self) -> None:
        """End after what waits to be read."""
        self._queue.put_nowait(None)

    async def next(self) -> T | None:
        """Wait for the next one; None at the end."""
        item = await self._queue.get()
        if item is None:
            self._queue.put_nowait(None)  # the end stays the end
        return item

    def rest(self) -> list[T]:
        """Return what waits to be read, without waiting for more."""
        items = []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if item is not None:
                items.append(item)
        return items

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        item = await self.next()
        if item is None:
            raise StopAsyncIteration
        return item
