"""The rules 1 to 5 of libecs.engine.effects, kept by EngineLoop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import pytest

from libecs.engine.effects import (
    Close,
    Continue,
    Effect,
    Forget,
    Input,
    Journal,
    Now,
    Persist,
    Received,
    Resume,
    Send,
    Tick,
)
from libecs.io.loop import MAX_INPUTS, EngineLoop
from libecs.wire.info import Event


class ScriptedEngine:
    """Answers inputs by a function and keeps what it got."""

    def __init__(self, answer: Callable[[Input], list[Effect]]) -> None:
        self.answer = answer
        self.seen: list[Input] = []
        self.times: list[Now] = []
        self.next_deadline: float | None = None

    def handle(self, input: Input, now: Now) -> list[Effect]:
        self.seen.append(input)
        self.times.append(now)
        return self.answer(input)


class ListStore:
    def __init__(self) -> None:
        self.commits: list[tuple[list[Persist], list[Event]]] = []
        self.error: Exception | None = None

    def commit(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        self.commits.append((list(records), list(events)))


def message(text: str) -> Received:
    return Received("peer", text)


async def test_inputs_of_one_moment_are_one_tick_with_one_commit_before_all_other_effects() -> None:
    log: list[str] = []

    class LoggingStore(ListStore):
        def commit(self, records: Sequence[Persist], events: Sequence[Event]) -> None:
            super().commit(records, events)
            log.append("commit")

    store = LoggingStore()
    event = Event(sequence=1, unix_ms=0, kind="node")
    engine = ScriptedEngine(lambda _: [Send("a", 1), Persist("t", "k", b"v"), Journal(event)])
    loop = EngineLoop(engine, {Send: lambda effect: log.append("send")}, store=store)

    loop.put(message("1"))
    loop.put(message("2"))
    assert engine.seen == []  # never re-entrant: nothing is handled inside of put
    await loop.idle()

    assert log == ["commit", "send", "send"]
    assert store.commits == [([Persist("t", "k", b"v")], [event, event])]
    assert engine.times[0] is engine.times[1]  # the clocks are read once per tick


async def test_what_is_gathered_is_one_tick_at_once() -> None:
    performed: list[str] = []
    engine = ScriptedEngine(lambda input: [Send("p", input.message)] if isinstance(input, Received) else [])
    loop = EngineLoop(engine, {Send: lambda effect: performed.append(effect.message)})

    loop.gather(True)
    loop.put(message("a"))
    loop.put(message("b"))
    before = list(performed)
    loop.gather(False)

    assert (before, performed, loop.ticks) == ([], ["a", "b"], 1)
    await loop.idle()
    assert loop.ticks == 1  # none was left for later


async def test_a_tick_that_is_due_already_takes_what_is_gathered() -> None:
    engine = ScriptedEngine(lambda input: [])
    loop = EngineLoop(engine, {})

    loop.put(message("a"))
    loop.gather(True)
    loop.put(message("b"))
    loop.gather(False)

    assert engine.seen == []
    await loop.idle()
    assert engine.seen == [message("a"), message("b")]
    assert loop.ticks == 1


async def test_nothing_gathered_and_a_loop_that_has_stopped_make_no_tick() -> None:
    loop = EngineLoop(ScriptedEngine(lambda input: []), {})

    loop.gather(True)
    loop.gather(False)
    loop.stop()
    loop.gather(True)
    loop.put(message("a"))
    loop.gather(False)

    assert loop.ticks == 0


async def test_the_last_record_of_a_tick_for_a_key_counts() -> None:
    values = iter([b"old", b"new"])
    store = ListStore()
    loop = EngineLoop(ScriptedEngine(lambda _: [Persist("t", "k", next(values))]), {}, store=store)

    loop.put(message("1"))
    loop.put(message("2"))
    await loop.idle()

    assert store.commits == [([Persist("t", "k", b"new")], [])]


async def test_effects_are_performed_in_order_and_what_they_bring_is_handled_in_the_next_tick() -> None:
    def answer(input: Input) -> list[Effect]:
        return [Forget(task="1"), Close(task="2")] if input == message("go") else []

    log: list[Any] = []
    engine = ScriptedEngine(answer)

    def forget(effect: Forget) -> None:
        log.append(effect)
        loop.put(message("echo"))

    loop = EngineLoop(engine, {Forget: forget, Close: lambda effect: log.append((effect, len(engine.seen)))})

    loop.put(message("go"))
    await loop.idle()

    assert log == [Forget(task="1"), (Close(task="2"), 1)]
    assert engine.seen == [message("go"), message("echo")]


async def test_continue_brings_resume_after_the_inputs_that_wait_already() -> None:
    waiting = [message(str(i)) for i in range(MAX_INPUTS + 10)]
    engine = ScriptedEngine(lambda input: [Continue()] if input == waiting[0] else [])
    loop = EngineLoop(engine, {})

    for input in waiting:
        loop.put(input)
    await loop.idle()

    assert engine.seen == [*waiting, Resume()]


async def test_a_failed_commit_drops_all_effects_of_the_tick_and_stops_the_loop() -> None:
    performed: list[object] = []
    fatal: list[BaseException] = []
    store = ListStore()
    store.error = OSError("disk full")
    engine = ScriptedEngine(lambda _: [Persist("t", "k", b"v"), Send("a", 1)])
    loop = EngineLoop(engine, {Send: performed.append}, store=store, on_fatal=fatal.append)

    loop.put(message("1"))
    await loop.idle()
    loop.put(message("2"))
    await loop.idle()

    assert performed == []
    assert fatal == [store.error]
    assert loop.failure is store.error
    assert engine.seen == [message("1")]
    assert loop.put_threadsafe(message("3")) is False


@pytest.mark.parametrize("place", ["engine", "performer"])
async def test_an_exception_of_engine_or_performer_is_fatal_and_the_rest_of_the_tick_is_dropped(place: str) -> None:
    error = RuntimeError("bug")
    performed: list[object] = []

    def fail(_: object) -> NoReturn:
        raise error

    def forward(_: object) -> list[Effect]:
        return [Close(task="x"), Send("a", 1)]

    fatal: list[BaseException] = []
    engine = ScriptedEngine(fail if place == "engine" else forward)
    loop = EngineLoop(engine, {Close: fail, Send: performed.append}, on_fatal=fatal.append)

    loop.put(message("1"))
    await loop.idle()

    assert fatal == [error]
    assert performed == []


async def test_a_deadline_brings_one_tick_after_the_inputs_that_wait() -> None:
    clock = Now(100.0, 0)

    def answer(input: Input) -> list[Effect]:
        if isinstance(input, Tick):
            engine.next_deadline = None
        return []

    engine = ScriptedEngine(answer)
    engine.next_deadline = 100.0
    loop = EngineLoop(engine, {}, clocks=lambda: clock)

    loop.put(message("1"))
    await loop.idle()

    assert engine.seen == [message("1"), Tick()]


async def test_a_deadline_in_the_future_is_met_by_a_timer() -> None:
    ticked = asyncio.Event()

    def answer(input: Input) -> list[Effect]:
        if isinstance(input, Tick):
            engine.next_deadline = None
            ticked.set()
        return []

    engine = ScriptedEngine(answer)
    loop = EngineLoop(engine, {})
    engine.next_deadline = loop._clocks().mono_s + 0.02
    loop.start()
    await ticked.wait()
    await loop.idle()

    assert engine.seen == [Tick()]


async def test_a_deadline_that_moves_forward_is_met_early_enough() -> None:
    ticked = asyncio.Event()

    def answer(input: Input) -> list[Effect]:
        if input == message("sooner"):
            engine.next_deadline = engine.times[-1].mono_s + 0.01
        else:
            engine.next_deadline = None
            ticked.set()
        return []

    engine = ScriptedEngine(answer)
    loop = EngineLoop(engine, {})
    engine.next_deadline = loop._clocks().mono_s + 3600
    loop.start()
    await loop.idle()
    loop.put(message("sooner"))
    await asyncio.wait_for(ticked.wait(), 40)

    assert engine.seen == [message("sooner"), Tick()]
    loop.stop()


async def test_a_tick_is_bounded_so_that_others_get_their_turn() -> None:
    turns: list[int] = []
    engine = ScriptedEngine(lambda _: [])
    loop = EngineLoop(engine, {})
    for i in range(3 * MAX_INPUTS):
        loop.put(message(str(i)))

    while not loop.is_idle:
        turns.append(len(engine.seen))
        await asyncio.sleep(0)

    assert len(turns) >= 3
    assert all(b - a <= MAX_INPUTS for a, b in pairwise(turns))
    assert len(engine.seen) == 3 * MAX_INPUTS


async def test_inputs_of_other_threads_arrive_in_order() -> None:
    done = asyncio.Event()

    def answer(input: Input) -> list[Effect]:
        if input == message("99"):
            done.set()
        return []

    engine = ScriptedEngine(answer)
    loop = EngineLoop(engine, {})
    thread = threading.Thread(target=lambda: [loop.put_threadsafe(message(str(i))) for i in range(100)])
    thread.start()
    await done.wait()
    thread.join()

    assert engine.seen == [message(str(i)) for i in range(100)]


async def test_a_life_begins_with_the_engines_own_effects_in_one_commit_with_the_first_inputs() -> None:
    store = ListStore()
    sent: list[object] = []
    engine = ScriptedEngine(lambda _: [Persist("t", "input", b"2")])
    loop = EngineLoop(engine, {Send: sent.append}, store=store)

    loop.put(message("1"))
    loop.start(lambda now: [Persist("t", "first", b"1"), Send("a", now.unix_ms > 0)])
    await loop.idle()

    assert store.commits == [([Persist("t", "first", b"1"), Persist("t", "input", b"2")], [])]
    assert sent == [Send("a", True)]


async def test_after_stop_nothing_is_handled_and_waiters_wake() -> None:
    engine = ScriptedEngine(lambda _: [])
    loop = EngineLoop(engine, {})
    loop.put(message("1"))
    waiter = asyncio.ensure_future(loop.idle())
    await asyncio.sleep(0)
    loop.put(message("2"))
    loop.stop()
    await waiter

    assert engine.seen in ([], [message("1")])
    assert loop.stopped


def test_put_threadsafe_says_when_the_event_loop_is_gone() -> None:
    async def make() -> EngineLoop:
        return EngineLoop(ScriptedEngine(lambda _: []), {})

    assert asyncio.run(make()).put_threadsafe(message("late")) is False
