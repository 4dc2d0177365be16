"""One event loop in a thread of its own, and calls into it from threads without one.

That thread is the only one that Python owns. A script may block, sleep or live inside a running event loop (a
notebook): the engines go on meanwhile. Ctrl-C interrupts the wait in the script, not the engines.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from libecs.client.reader import Reader
from libecs.errors import Conflict

T = TypeVar("T")


class Bridge:
    """One event loop in a thread of its own, and calls into it."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="libecs-loop", daemon=True)
        self._thread.start()

    @property
    def foreign(self) -> bool:
        """Whether this process is a fork of the one that owns the loop."""
        return os.getpid() != self._pid

    @property
    def closed(self) -> bool:
        """Whether no call can be made any more."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, return its result. An interrupt cancels it and waits until it has cleaned up.

        Raises:
            Conflict: this process is a fork of the one that owns the loop, or the session is closed.
        """
        if self.foreign:
            coroutine.close()
            raise Conflict(
                f"this session belongs to process {self._pid}, of which this one is a fork",
                hint="make a session of its own in each process, after the fork",
            )
        if self.closed:
            coroutine.close()
            raise Conflict("this session is closed", hint="use it inside its `with`")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise Conflict("a call from inside the session's own loop would wait for itself", hint="use `await` there")
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda task: _hand_over(task, outcome))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:  # the interrupt came before `begin` was in the queue
                coroutine.close()
                outcome.set_exception(_Cancelled())

        try:
            self._loop.call_soon_threadsafe(begin)
            return outcome.result()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(cancel)
            outcome.exception()  # waits until the coroutine has cleaned up; a second Ctrl-C ends this wait too
            raise
        except _Cancelled:
            raise Conflict("the session was closed while this call waited") from None

    def close(self) -> None:
        """Stop the loop and its thread."""
        if self.foreign or self.closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Cancelled(Exception):
    """A call was cancelled. Not CancelledError: a Future that is given one forgets who cancelled it."""


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    """Give the end of a task to the thread that waits for it."""
    if task.cancelled():
        outcome.set_exception(_Cancelled())
        return
    error = task.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def iterate(bridge: Bridge, reader: Reader[T]) -> Iterator[T]:
    """Yield what comes to a reader, waiting for each, until the session ends."""
    while not bridge.closed:
        item = bridge.call(reader.next())
        if item is None:
            return
        yield item
    yield from reader.rest()
