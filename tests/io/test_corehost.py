"""A core and its hands: what it performs for clients, and what it does when the disk is full or the state damaged."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from libecs.access import OWNER
from libecs.engine.effects import Audit, DoWork, LookUp, Received, Room
from libecs.errors import Conflict
from libecs.io import corehost
from libecs.io.blocking import BlockingCalls
from libecs.io.corehost import CoreHost, HostSettings
from libecs.io.repository import Repositories
from libecs.io.store_sqlite import SqliteStore
from libecs.wire.client import (
    Consult,
    CoreInfo,
    Create,
    Document,
    Environments,
    EventPage,
    Events,
    Finished,
    Info,
    Lock,
    ShowEvents,
    Subscribe,
    Unlock,
    Work,
)

LIMIT_S = 40
pytestmark = pytest.mark.timeout(150)


class Peers:
    """What would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []
        self.behind: set[str] = set()
        self.changed = asyncio.Event()

    def send(self, peer: str, message: object) -> None:
        self.sent.append((peer, message))
        self.changed.set()

    def is_behind(self, peer: str) -> bool:
        return peer in self.behind

    async def answer(self, cls: type, wanted: Callable[[object], bool] = lambda _: True) -> object:
        """Wait for the first message of a class, and take it."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                for index, (_, message) in enumerate(self.sent):
                    if type(message) is cls and wanted(message):
                        del self.sent[index]
                        return message
                self.changed.clear()
                await self.changed.wait()


class Bench:
    """A host that is started, and its life after."""

    def __init__(self, folder: Path, *, guards_scripts: bool = False) -> None:
        self.folder = folder
        self.guards_scripts = guards_scripts
        self.peers = Peers()
        self.lines: list[Audit] = []
        self.audit_error: OSError | None = None
        self.failures: list[BaseException] = []
        self.host = self._open()

    def _open(self) -> CoreHost:
        self.blocking = BlockingCalls()
        self.store = SqliteStore(self.folder / "state", durable=False)
        return CoreHost(
            HostSettings(
                instance="t",
                runs_folder=self.folder / "runs",
                runs=self.folder / "runs.sqlite",
                guards_scripts=self.guards_scripts,
            ),
            self.store,
            Repositories(),
            self.blocking,
            self.peers,
            on_fatal=self.failures.append,
            audit=self._audit,
            works={"key.approve": self._approve, "key.revoke": self._revoke, "repository.add": self._break},
        )

    def _audit(self, lines: Sequence[Audit], unix_ms: int) -> None:
        if self.audit_error is not None:
            raise self.audit_error
        self.lines.extend(lines)

    async def _approve(self, effect: DoWork) -> str:
        return json.dumps({"by": effect.requester, **effect.work.arguments})

    async def _revoke(self, effect: DoWork) -> str:
        raise Conflict("he is needed", hint="ask him")

    async def _break(self, effect: DoWork) -> str:
        raise ZeroDivisionError

    def ask(self, message: object, peer: str = "client:1") -> None:
        self.host.loop.put(Received(peer, message, OWNER))

    async def lock(self, *detectors: str) -> None:
        """Make a few events."""
        for detector in detectors:
            self.ask(Lock(operation=f"lock {detector}", detectors=(detector,), requester="me"), "client:maker")
            await self.peers.answer(Finished)
        await self.host.loop.idle()

    async def close(self) -> None:
        self.host.stop()
        await self.host.close()
        await self.blocking.close()
        self.host.close_runs()
        self.store.close()

    async def restart(self) -> None:
        await self.close()
        self.peers.sent.clear()
        self.host = self._open()
        self.host.start()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.host.start()
    yield bench
    await bench.close()


def numbers(message: object) -> list[int]:
    assert isinstance(message, (Events, EventPage))
    return [event.sequence for event in message.events]


# the past


async def test_events_of_the_past_come_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.lock("its", "tpc", "trd")
    last = bench.store.last_event

    bench.ask(ShowEvents(request="all", since=1))
    whole = await bench.peers.answer(EventPage)
    bench.ask(ShowEvents(request="two", since=2, limit=2))
    two = await bench.peers.answer(EventPage)
    bench.ask(ShowEvents(request="last", limit=2, last=True))
    tail = await bench.peers.answer(EventPage)
    monkeypatch.setattr(corehost, "PAGE_BYTES", 1)
    bench.ask(ShowEvents(request="small", since=1))
    small = await bench.peers.answer(EventPage)

    assert isinstance(whole, EventPage)
    assert isinstance(two, EventPage)
    assert isinstance(tail, EventPage)
    assert isinstance(small, EventPage)
    assert (numbers(whole), whole.more) == (list(range(1, last + 1)), False)
    assert (numbers(two), two.more) == ([2, 3], True)
    assert (numbers(tail), tail.more) == ([last - 1, last], False)
    assert (numbers(small), small.more) == ([1], True)


async def test_what_a_tick_journals_is_in_the_page_that_it_asks_for(bench: Bench) -> None:
    await bench.host.loop.idle()
    bench.ask(Lock(operation="1", detectors=("its",), requester="me"))
    bench.ask(ShowEvents(request="same tick", since=1))

    page = await bench.peers.answer(EventPage)

    assert "its" in [event.name for event in page.events]  # type: ignore[attr-defined]


async def test_a_row_that_cannot_be_read_is_a_gap(bench: Bench) -> None:
    await bench.lock("its", "tpc")
    bench.store._db.execute("UPDATE events SET body = x'00' WHERE seq = 2")

    bench.ask(ShowEvents(request="all", since=1))

    page = numbers(await bench.peers.answer(EventPage))
    assert page == [1, *range(3, bench.store.last_event + 1)]


async def test_a_subscriber_gets_old_events_and_then_new_ones_each_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corehost, "PAGE_BYTES", 1)  # one event a page: the replay takes many turns
    await bench.lock(*(f"d{number}" for number in range(6)))
    bench.peers.sent.clear()

    # in the tick of the subscription, and while the replay goes on, more happens
    bench.ask(Lock(operation="before", detectors=("before",), requester="me"), "client:maker")
    bench.ask(Subscribe(request="s", since=3))
    bench.ask(Lock(operation="after", detectors=("after",), requester="me"), "client:maker")
    await bench.peers.answer(Environments)
    await bench.lock("later", "latest")
    await bench.peers.answer(Events, lambda message: numbers(message)[-1] == bench.store.last_event)
    await bench.lock("live")

    seen = [n for peer, message in bench.peers.sent if type(message) is Events for n in numbers(message)]
    assert seen == [n for n in range(3, bench.store.last_event + 1) if n in seen]
    assert len(seen) == len(set(seen))
    missing = set(range(3, bench.store.last_event + 1)) - set(seen)
    assert len(missing) == 1  # the one that was waited for


async def test_a_replay_waits_for_a_slow_client_and_ends_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corehost, "_REPLAY_WAIT_S", 0.0)
    await bench.lock("its")
    bench.peers.behind.add("client:1")
    bench.ask(Subscribe(request="s", since=1))
    await bench.peers.answer(Environments)
    await bench.lock("tpc")
    assert not [message for _, message in bench.peers.sent if type(message) is Events]

    bench.peers.behind.clear()
    first = numbers(await bench.peers.answer(Events))
    assert first == list(range(1, bench.store.last_event + 1))

    bench.peers.behind.add("client:2")
    bench.ask(Subscribe(request="s", since=1), "client:2")
    await bench.peers.answer(Environments)
    bench.host.forget("client:2")
    bench.peers.behind.clear()
    await bench.lock("trd")
    assert not [peer for peer, message in bench.peers.sent if type(message) is Events and numbers(message)[0] == 1]


# questions and work


async def test_a_question_to_the_host_gets_a_document_or_an_error(bench: Bench) -> None:
    bench.ask(Consult(request="1", subject="repository.list"))
    good = await bench.peers.answer(Document)
    bench.ask(Consult(request="2", subject="template.show", arguments={"workflow": "none"}))
    bad = await bench.peers.answer(Document)

    assert isinstance(good, Document)
    assert json.loads(good.json)["repositories"] == []
    assert isinstance(bad, Document)
    assert (bad.request, bad.json, bad.code) == ("2", "", "E_USAGE")
    assert "names no repository" in bad.message


async def test_work_ends_with_what_it_made_or_with_its_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    answers = {}
    for name in ("key.approve", "key.revoke", "repository.add", "repository.remove"):
        bench.ask(Work(operation=name, name=name, arguments={"name": "bob"}, requester="me"))
        answers[name] = await bench.peers.answer(Finished)

    made, refused, broken, unknown = answers.values()
    assert isinstance(made, Finished)
    assert isinstance(refused, Finished)
    assert isinstance(broken, Finished)
    assert isinstance(unknown, Finished)
    assert json.loads(made.message) == {"by": "me", "name": "bob"}
    assert (refused.code, refused.message, refused.hint) == ("E_CONFLICT", "he is needed", "ask him")
    assert (broken.code, "ZeroDivisionError" in broken.message) == ("E_FAILED", True)
    assert (unknown.code, unknown.message) == ("E_NOT_FOUND", "this core knows no work named 'repository.remove'")
    assert [record for record in caplog.records if record.exc_info]


async def test_a_question_that_breaks_the_host_is_an_error_of_its_own(bench: Bench) -> None:
    async def broken(effect: LookUp) -> str:
        raise ZeroDivisionError

    bench.host._consult = broken
    bench.ask(Consult(request="1", subject="repository.list"))

    answer = await bench.peers.answer(Document)

    assert isinstance(answer, Document)
    assert answer.code == "E_FAILED"


async def test_a_workflow_that_a_client_brought_is_expanded(bench: Bench) -> None:
    bench.ask(Create(operation="c", workflow="lab", files={"workflows/lab.yaml": "name: lab\nroles: 7\n"}))

    answer = await bench.peers.answer(Finished)

    assert isinstance(answer, Finished)
    assert answer.code == "E_TEMPLATE"
    assert "workflows/lab.yaml:2" in answer.message


ENDLESS = """
name: lab
roles:
  - name: "a{{ i }}"
    for: {begin: 0, end: 400, var: i}
    roles:
      - name: "b{{ j }}"
        for: {begin: 0, end: 400, var: j}
        vars: {x: "{{ i + j }}"}
        call: {func: "testplugin.Noop()", trigger: before_DEPLOY}
"""


@pytest.fixture
async def guarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(corehost, "SCRIPT_S", 1.0)
    bench = Bench(tmp_path, guards_scripts=True)
    bench.host.start()
    yield bench
    await bench.close()


async def test_brought_workflows_that_expand_for_ever_are_ended_and_the_core_goes_on(guarding: Bench) -> None:
    ticks = guarding.host.loop.ticks
    kinds: list[type] = []
    send = guarding.peers.send

    def keep(peer: str, message: object) -> None:
        kinds.append(type(message))
        send(peer, message)

    guarding.peers.send = keep  # type: ignore[method-assign] # to see the order
    for number in range(3):
        guarding.ask(Create(operation=f"c{number}", workflow="lab", files={"workflows/lab.yaml": ENDLESS}))
    guarding.ask(Info(request="i"))
    await guarding.peers.answer(CoreInfo)
    before = kinds[: kinds.index(CoreInfo)]
    assert Finished not in before  # at once: nothing of it is done in this thread

    for number in range(3):
        answer = await guarding.peers.answer(Finished)
        assert isinstance(answer, Finished)
        assert (answer.operation, answer.code) == (f"c{number}", "E_FAILED")
        assert "took more than 1 s and was ended" in answer.message

    guard = guarding.host.expansion._guard
    assert guard is not None
    guard._limit_s = 60.0  # a small one takes as long as a busy machine needs
    good = {"workflows/lab.yaml": "name: lab\nroles: 7\n"}
    guarding.ask(Create(operation="good", workflow="lab", files=good))
    answer = await guarding.peers.answer(Finished)
    assert isinstance(answer, Finished)
    assert answer.code == "E_TEMPLATE"
    assert guarding.host.loop.ticks > ticks


async def test_where_no_process_can_be_started_a_brought_workflow_is_not_expanded_at_all(
    guarding: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    guarding.ask(Create(operation="c", workflow="lab", files={"workflows/lab.yaml": "name: lab\nroles: 7\n"}))

    answer = await guarding.peers.answer(Finished)

    assert isinstance(answer, Finished)
    assert answer.code == "E_FAILED"
    assert "no process for expansion can be started" in answer.message


# the audit log and the disk


async def test_a_request_has_its_line_before_its_effect(bench: Bench) -> None:
    await bench.lock("its")

    assert ("Lock", "accepted") in [(line.verb, line.decision) for line in bench.lines]


async def test_an_audit_line_that_cannot_be_written_is_a_failed_commit(bench: Bench) -> None:
    await bench.host.loop.idle()
    bench.audit_error = OSError(errno.EIO, "broken")
    last = bench.store.last_event

    bench.ask(Lock(operation="1", detectors=("its",), requester="me"))
    await bench.host.loop.idle()

    assert bench.failures == [bench.audit_error]
    assert bench.host.loop.commit_failed
    assert bench.store.last_event == last
    assert not bench.peers.sent


async def test_for_an_audit_line_the_reserve_is_given_up_too(bench: Bench) -> None:
    calls = []

    def full_once(lines: Sequence[Audit], unix_ms: int) -> None:
        calls.append(lines)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "full")

    await bench.host.loop.idle()
    bench.host._write_audit = full_once

    await bench.lock("its")

    assert len(calls) >= 2
    assert not bench.failures
    assert not (bench.store.folder / "reserve").exists()


async def test_without_room_only_what_ends_something_is_accepted_until_there_is_room(bench: Bench) -> None:
    await bench.lock("its")
    bench.host.loop.put(Room(ok=False, text="the disk is full"))

    bench.ask(Lock(operation="2", detectors=("tpc",), requester="me"))
    refused = await bench.peers.answer(Finished)
    bench.ask(Unlock(operation="3", detectors=("its",), requester="me"))
    ended = await bench.peers.answer(Finished)
    bench.ask(Info(request="i"))
    bench.host.loop.put(Room(ok=True))
    bench.ask(Lock(operation="2", detectors=("tpc",), requester="me"))
    accepted = await bench.peers.answer(Finished)

    assert isinstance(refused, Finished)
    assert (refused.code, refused.message) == ("E_CONFLICT", "the disk is full")
    assert isinstance(ended, Finished)
    assert ended.code == ""
    assert isinstance(accepted, Finished)
    assert accepted.code == ""


async def test_the_core_is_told_when_the_reserve_was_used_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.store, "refill_reserve", lambda: False)
    bench.store.free_reserve()

    bench.host._look_for_room()
    bench.ask(Lock(operation="2", detectors=("tpc",), requester="me"))

    refused = await bench.peers.answer(Finished)
    assert isinstance(refused, Finished)
    assert "the disk that holds the core's state is full" in refused.message
    assert not bench.host.has_room


# damage


async def test_events_go_on_with_numbers_that_nobody_has_seen_when_the_state_is_lost(bench: Bench) -> None:
    await bench.lock("its")
    epoch = bench.host.engine.epoch
    await bench.close()
    (bench.folder / "state" / "state.sqlite").write_bytes(b"nothing of a database" * 300)
    bench.host = bench._open()

    bench.host.start()
    await bench.host.loop.idle()

    assert bench.host.engine.epoch > epoch
    assert bench.host.engine.is_fresh
    assert "state.sqlite" in bench.host.engine.quarantine
    rows = bench.store.events_since(0)
    assert rows[0].kind == "quarantine"
    assert rows[0].sequence > 1_000_000
    await bench.lock("tpc")
    assert not bench.failures


async def test_a_lost_epoch_is_replaced_by_a_higher_one_and_the_journal_knows_its_numbers(bench: Bench) -> None:
    await bench.lock("its")
    epoch, last = bench.host.engine.epoch, bench.store.last_event
    bench.store._db.execute("DELETE FROM records WHERE tbl = 'core'")

    await bench.restart()
    await bench.host.loop.idle()

    assert bench.host.engine.epoch > epoch
    assert bench.host.engine.is_fresh
    assert bench.host.engine.sequence >= last
    await bench.lock("tpc")
    assert not bench.failures


async def test_questions_to_the_host_are_bounded_and_leave_threads_free(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corehost, "MAX_LOOK_UPS", corehost.LOOK_UPS + 1)
    going, most = 0, 0
    go_on = asyncio.Event()

    async def slow(effect: LookUp) -> str:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await go_on.wait()
        going -= 1
        return "{}"

    bench.host._consult = slow
    for number in range(corehost.MAX_LOOK_UPS + 1):
        bench.ask(Consult(request=f"q{number}", subject="template.list"))

    busy = await bench.peers.answer(Document)
    assert isinstance(busy, Document)
    assert (busy.request, busy.code) == (f"q{corehost.MAX_LOOK_UPS}", "E_UNREACHABLE")
    go_on.set()
    for _ in range(corehost.MAX_LOOK_UPS):
        answered = await bench.peers.answer(Document)
        assert isinstance(answered, Document)
        assert answered.json == "{}"
    assert most == corehost.LOOK_UPS
