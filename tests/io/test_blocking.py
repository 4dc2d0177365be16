"""Blocking calls in threads of their own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from libecs.errors import UsageError
from libecs.io.blocking import BlockingCalls


async def test_a_call_runs_in_a_thread_and_its_result_comes_back() -> None:
    calls = BlockingCalls("test-pool")

    name = await calls.start(lambda: threading.current_thread().name)

    assert name.startswith("test-pool")
    await calls.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-pool")]


async def test_an_error_comes_back_too() -> None:
    calls = BlockingCalls()

    with pytest.raises(ValueError, match="invalid literal"):
        await calls.start(int, "x")
    await calls.close()


async def test_closing_waits_for_the_call_that_runs_and_drops_those_that_wait() -> None:
    calls = BlockingCalls(threads=1)
    begun, go = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go.wait(60)

    first = calls.start(wait)
    second = calls.start(lambda: 2)
    while not begun.is_set():
        await asyncio.sleep(0)

    closing = asyncio.ensure_future(calls.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go.set()
    await closing

    assert first.done()
    assert second.cancelled()
    with pytest.raises(UsageError, match="is closed"):
        calls.start(int, "1")


def test_without_an_event_loop_it_refuses() -> None:
    with pytest.raises(UsageError, match="outside of an event loop"):
        BlockingCalls().start(int, "1")
