"""Links that break, cores that forget, messages that are lost: whoever reads events gets each once, in order."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libecs.client import pulse, session
from libecs.client.ecs import AsyncEcs
from libecs.client.pulse import DOWN, SUSPECT, UP
from libecs.client.reader import Reader
from libecs.wire.client import (
    Control,
    Environments,
    EventPage,
    Events,
    Finished,
    Ping,
    Pong,
    Refused,
    Show,
    ShowEvents,
    Subscribe,
)
from libecs.wire.info import Event

PAGE = 3
TIMEOUT_S = 30


class Core:
    """A journal, one client, and a link that can be up, down, or lose what it carries."""

    def __init__(self) -> None:
        self.journal: list[Event] = []
        self.purged = 0
        """Events up to this one are gone."""
        self.up = True
        self.lost = False
        self.answers_pings = True
        self.answers_show_events = True
        self.subscribed = False
        self.done: list[str] = []
        self.received: list[object] = []
        self.restores = False
        self._receive: Callable[[object], None] = lambda message: None

    @property
    def last(self) -> int:
        return self.journal[-1].sequence if self.journal else 0

    def connect(self, receive: Callable[[object], None]) -> Core:
        self._receive = receive
        return self

    def send(self, message: object) -> None:
        if self.up:
            asyncio.get_running_loop().call_soon(self._handle, message)

    def tell(self, message: object) -> None:
        if self.up:
            asyncio.get_running_loop().call_soon(self._receive, message)

    def emit(self, *, lose: bool = False) -> None:
        event = Event(sequence=self.last + 1, unix_ms=0, kind="node")
        self.journal.append(event)
        if self.subscribed and not lose:
            self.tell(Events(events=(event,)))

    def _handle(self, message: object) -> None:
        self.received.append(message)
        if isinstance(message, Subscribe):
            self.subscribed = True
            self.tell(Environments(request=message.request, sequence=self.last, environments=()))
            if message.since:
                self.tell(Events(events=tuple(self._from(message.since))))
        elif isinstance(message, Show):
            self.tell(Environments(request=message.request, sequence=self.last, environments=()))
        elif isinstance(message, ShowEvents) and self.answers_show_events:
            later = self._from(message.since)
            self.tell(EventPage(request=message.request, events=tuple(later[:PAGE]), more=len(later) > PAGE))
        elif isinstance(message, ShowEvents):
            self.tell(Refused(request=message.request, code="E_DENIED", message="no"))
        elif isinstance(message, Ping) and self.answers_pings:
            self.tell(Pong(request=message.request, unix_ms=0, sequence=self.last, epoch=1))
        elif isinstance(message, Control):
            if message.operation not in self.done:
                self.done.append(message.operation)
            self.tell(Finished(operation=message.operation))

    def _from(self, since: int) -> list[Event]:
        return [event for event in self.journal if event.sequence >= max(since, self.purged + 1)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life a hundred times as often."""
    monkeypatch.setattr(pulse, "PING_S", 0.01)
    monkeypatch.setattr(session, "GAP_S", 0.001)


async def following(reader: Reader[Event]) -> Event:
    event = await reader.next()
    assert event is not None
    return event


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not true():
            await asyncio.sleep(0.001)


def pings(core: Core) -> int:
    return len([message for message in core.received if isinstance(message, Ping)])


ACTIONS = st.lists(st.sampled_from(["emit", "emit", "lose", "down", "up", "forget", "turn", "turns"]), max_size=40)


@given(ACTIONS)
@settings(max_examples=60)
def test_every_event_comes_once_in_order_whatever_happens_to_the_link(actions: list[str]) -> None:
    async def live() -> None:
        core = Core()
        client = AsyncEcs(core.connect, requester="me")
        await client.open()
        beat = client.keep(core, "tcp://core")
        reader = client.events()
        told: list[int] = []
        for action in actions:
            if action in ("emit", "lose"):
                core.emit(lose=action == "lose")
            elif action == "down" and core.up:
                core.up = False
                core.subscribed = False
                beat.changed(False)
            elif action == "up" and not core.up:
                core.up = True
                beat.changed(True)
            elif action == "forget":
                core.subscribed = False
            else:
                for _ in range(1 if action == "turn" else 20):
                    await asyncio.sleep(0)
        if not core.up:
            core.up = True
            beat.changed(True)
        async with asyncio.timeout(TIMEOUT_S):
            while len(told) < core.last:
                told.append((await following(reader)).sequence)
        core.emit()
        async with asyncio.timeout(TIMEOUT_S):
            told.append((await following(reader)).sequence)
        told += [event.sequence for event in reader.rest()]
        assert told == list(range(1, core.last + 1))
        assert reader.dropped == 0
        await client.close()

    with mock.patch.object(pulse, "PING_S", 0.01), mock.patch.object(session, "GAP_S", 0.001):
        asyncio.run(live())


async def test_events_that_nobody_has_any_more_are_counted(quick: None) -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    beat = client.keep(core, "tcp://core")
    reader = client.events()
    core.up = False
    beat.changed(False)
    for _ in range(5):
        core.emit()
    core.purged = 3

    core.up = True
    beat.changed(True)
    core.emit()

    assert [(await following(reader)).sequence for _ in range(3)] == [4, 5, 6]
    assert reader.dropped == 3
    await client.close()


@pytest.mark.parametrize("refused", [True, False])
async def test_a_core_that_does_not_have_what_it_told_of_is_not_asked_for_ever(quick: None, refused: bool) -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    client.keep(core, "tcp://core")
    reader = client.events()
    core.answers_show_events = not refused
    for _ in range(3):
        core.emit(lose=True)
    core.purged = 3

    await until(lambda: reader.dropped == 3)
    core.emit()

    assert (await following(reader)).sequence == 4
    await client.close()


async def test_a_core_that_lost_its_past_is_followed_from_its_present(quick: None) -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    client.keep(core, "tcp://core")
    reader = client.events()
    for _ in range(5):
        core.emit()
    assert [(await following(reader)).sequence for _ in range(5)] == [1, 2, 3, 4, 5]

    del core.journal[2:]
    shows = len([message for message in core.received if isinstance(message, Show)])
    await until(lambda: len([message for message in core.received if isinstance(message, Show)]) > shows)
    core.emit()

    assert (await following(reader)).sequence == 3
    await client.close()


async def test_a_core_that_lost_its_past_and_was_asked_twice_tells_nothing_twice() -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    reader = client.events()
    for _ in range(5):
        core.emit()
    assert [(await following(reader)).sequence for _ in range(5)] == [1, 2, 3, 4, 5]

    del core.journal[2:]
    asked: list[Subscribe] = []
    core.send = lambda message: asked.append(message) if isinstance(message, Subscribe) else None  # type: ignore[method-assign] # listens
    client.resend()
    client.resend()
    del core.send  # answers again
    first, second = (
        Environments(request=one.request, sequence=2, environments=())
        for one in {one.request: one for one in asked}.values()
    )
    client.receive(first)
    for _ in range(5):
        await asyncio.sleep(0)
    client.receive(second)
    core.emit()
    client.receive(Events(events=(core.journal[-1],)))  # read from the socket in one go
    assert (await following(reader)).sequence == 3
    core.emit()

    assert (await following(reader)).sequence == 4
    await client.close()


async def test_what_was_asked_while_the_link_was_down_is_done_once_when_it_is_up(quick: None) -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    beat = client.keep(core, "tcp://core")
    core.up = False
    beat.changed(False)
    operation = client.control("e1", "START_ACTIVITY")
    asking = asyncio.create_task(client.environments())
    await asyncio.sleep(0)
    assert client.link.state == DOWN
    assert client.link.reason == "the connection to tcp://core broke"

    core.up = True
    beat.changed(True)
    await client.finish(operation)

    assert await asking == []
    assert core.done == [operation.id]
    await until(lambda: client.link.state == UP)
    await client.close()


async def test_what_did_not_fit_into_the_link_is_sent_again(quick: None) -> None:
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    core.up = False
    operation = client.control("e1", "START_ACTIVITY")
    core.up, core.lost = True, True

    client.keep(core, "tcp://core")

    await client.finish(operation)
    assert not core.lost
    await client.close()


async def test_silence_is_suspect_then_down_and_told_once(
    quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse, "SUSPECT_S", 0.05)
    monkeypatch.setattr(pulse, "DOWN_S", 3600.0)
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    client.keep(core, "tcp://core")
    await until(lambda: str(client.link) == UP)

    with caplog.at_level(logging.WARNING, "libecs"):
        core.answers_pings = False
        await until(lambda: client.link.state == SUSPECT)
        assert re.match(r"SUSPECT: the core at tcp://core has said nothing for \d+\.\d s$", str(client.link))
        monkeypatch.setattr(pulse, "DOWN_S", 0.1)  # only now: a machine that stands still must not leap over SUSPECT
        await until(lambda: client.link.state == DOWN)
        assert client.age_s >= 0.1
        await until(lambda: bool(caplog.records))
        asked = pings(core)
        await until(lambda: pings(core) > asked + 2)
        core.answers_pings = True
        await until(lambda: client.link.state == UP and len(caplog.records) == 2)

    assert [record.message.partition(" for ")[0] for record in caplog.records] == [
        "the core at tcp://core has said nothing",
        "the core at tcp://core answers again",
    ]
    await client.close()


async def test_a_client_that_stood_still_asks_again(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PAUSE_S", -1.0)
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    before = len([message for message in core.received if isinstance(message, Subscribe)])

    client.keep(core, "tcp://core")

    await until(lambda: len([message for message in core.received if isinstance(message, Subscribe)]) > before)
    await client.close()


async def test_a_refused_sign_of_life_is_one_too(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SUSPECT_S", 0.05)
    monkeypatch.setattr(pulse, "DOWN_S", 3600.0)
    core = Core()
    client = AsyncEcs(core.connect, requester="me")
    await client.open()
    core.answers_pings = False
    client.keep(core, "tcp://core")
    await until(lambda: client.link.state == SUSPECT)

    def refuse() -> None:
        for message in core.received:
            if isinstance(message, Ping):
                core.tell(Refused(request=message.request, code="E_DENIED", message="no"))

    def is_up() -> bool:
        refuse()
        return client.link.state == UP

    await until(is_up)
    await client.close()
