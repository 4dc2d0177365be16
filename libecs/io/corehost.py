"""A core and its hands: the engine, and who performs its effects. Embedded systems and the daemon have the same.

Links are not here: what is for a peer is given to `send`, what a peer says is put into `loop`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

from libecs.config.inventory import Inventory
from libecs.config.tree import Tree
from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import (
    Audit,
    Call,
    CancelCall,
    DoWork,
    Expand,
    Expanded,
    Input,
    LookUp,
    Publish,
    RecallEvents,
    Replay,
    Room,
    RunNumberTaken,
    SaveRun,
    Send,
    TakeRunNumber,
    WorkDone,
)
from libecs.engine.records import CORE
from libecs.errors import DecodeError, EcsError, NotFound, Unreachable, quoted
from libecs.io.blocking import BlockingCalls
from libecs.io.consult.place import Place
from libecs.io.expander import TaskOverlay
from libecs.io.expansion import Expansion
from libecs.io.integrations import Functions, Integrations
from libecs.io.loop import Auditor, EngineLoop, no_audit
from libecs.io.repository import Repositories, TextRepository
from libecs.io.runrecord import highest_number, save_run
from libecs.io.runs import RunCounter
from libecs.io.store_sqlite import RETAIN_ROWS, LoadedEvent, SqliteStore
from libecs.io.testplugin import TestPlugin
from libecs.io.worker import ExpansionWorker
from libecs.wire.client import Document, EventPage, Events
from libecs.wire.info import Event
from libecs.workflow.launch import late_functions

if TYPE_CHECKING:
    from libecs.io.consult.consultant import Consultant

logger = logging.getLogger(__name__)

PAGE_BYTES = 1024 * 1024
"""An EventPage or a part of a replay holds no more, but for a single larger event."""
PAGE_EVENTS = 10_000
FIRST_EPOCH_MS = 1_577_836_800_000
"""Start of 2020. Epochs of new states count from here: see `load_records`."""
KEEP_EVENTS = 10_000
"""The last ones stay, however old."""
_FULL = "the disk that holds the core's state is full: nothing new is begun"
SCRIPT_S = 30.0
"""Seconds that the expansion of a workflow may take that a client has brought along."""
SCRIPT_BYTES = 1 << 30
"""Address space that it may take."""
LOOK_UPS = 4
"""Questions that are looked up at a time: threads are left for what goes on."""
MAX_LOOK_UPS = 200
"""Those that may wait in all; with more, who asks is told so."""
_LOOK_S = 1.0
_REPLAY_WAIT_S = 0.05
_DAY_MS = 86_400_000
_RETAIN_S = 3600.0
_RETAIN_ON_S = 0.1
"""Until the next ones are forgotten while there are many: others come between."""

Consult = Callable[[LookUp], Awaitable[str]]
"""Looks something up and returns a JSON document as text. Raises EcsError."""
Work = Callable[[DoWork], Awaitable[str]]
"""Does a piece of work and returns a JSON object as text. Raises EcsError."""


class Peers(Protocol):
    """Where messages go: what the links offer."""

    def send(self, peer: str, message: object) -> None:
        """Send, if the link is up; never blocks."""

    def is_behind(self, peer: str) -> bool:
        """Whether much waits for this peer already."""


@attrs.frozen(kw_only=True)
class HostSettings:
    """What a core and its hands are told."""

    instance: str
    runs_folder: Path
    """Gets a folder for each run."""
    runs: Path | None = None
    """The run counter; None = the user's."""
    tree: Tree = attrs.field(factory=Tree)
    """Configuration, runtime values, inventory."""
    functions: tuple[Functions, ...] = ()
    """What call roles may call, besides `testplugin`."""
    calls: Path | None = None
    """File that gets a JSON line for each call."""
    tasks: Path | None = None
    """Folder laid over task templates."""
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    """The weakest variables of every workflow."""
    keep_events_days: float = 90.0
    """Older events go, but for the last 10 000."""
    keep_runs: int = 10_000
    """Records of older runs go; at least one is kept."""
    keep_metrics: int = 1_000
    """Metrics of older runs go."""
    version: str = ""
    """Of the program, for who asks."""
    allow_scripts: bool = True
    """Whether operators, and not admins alone, may bring workflows along that are in no repository."""
    guards_scripts: bool = False
    """Whether those are expanded in a process of their own, with limits: those who bring them are other programs."""


class CoreHost:
    """A core. Make it inside of a running event loop, `start()`, at last `stop()` and `await close()`."""

    def __init__(
        self,
        settings: HostSettings,
        store: SqliteStore,
        repositories: Repositories,
        blocking: BlockingCalls,
        peers: Peers,
        *,
        on_fatal: Callable[[BaseException], None],
        audit: Auditor = no_audit,
        consult: Consult | None = None,
        works: Mapping[str, Work] | None = None,
        places: Callable[[], Sequence[Place]] | None = None,
    ) -> None:
        """Load the records.

        Args:
            settings: what it is told.
            store: its records and journal, open.
            repositories: of templates; what clients bring along is added.
            blocking: threads.
            peers: takes what is for them.
            on_fatal: called when the engine had to stop.
            audit: writes the audit log.
            consult: answers questions to the host; None = `answer` does.
            works: name of a work to what does it.
            places: what there is to tell of repositories.

        Raises:
            EcsError: the state can't be read.
        """
        self.settings = settings
        self.store = store
        self._repositories = repositories
        self._blocking = blocking
        self._peers = peers
        self._write_audit = audit
        self._consult: Consult = consult or self.answer
        self._works = dict(works or {})
        self._asyncio = asyncio.get_running_loop()
        self._working: set[asyncio.Task[None]] = set()
        self._looking = asyncio.Semaphore(LOOK_UPS)
        self._look_ups = 0
        self._replaying: dict[str, int] = {}
        self._brought: dict[str, str] = {}
        """Expansion that goes on to the repository that was made for it."""
        self.has_room = True
        """Whether the disk has room for new work."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.engine = CoreEngine(
            CoreSettings(
                instance=settings.instance,
                functions=late_functions(settings.tree),
                runs_folder=str(settings.runs_folder),
                version=settings.version,
                detectors=_detectors(settings.tree),
                keep_runs=settings.keep_runs,
                keep_metrics=settings.keep_metrics,
                allow_scripts=settings.allow_scripts,
            ),
            load_records(store),
        )
        for name, reason in store.damaged.items():
            self.engine.quarantine.setdefault(name, reason)
        known = max(self.engine.runbook.runs, default=0)
        self._runs = RunCounter(
            settings.runs,
            instance=settings.instance,
            floor=lambda: max(known, highest_number(settings.runs_folder)),
        )
        self.loop = EngineLoop(
            self.engine,
            {
                Send: self._send,
                Publish: lambda effect: None,  # clients that subscribed get it by Send
                Expand: self._expand,
                Call: lambda effect: self.integrations.call(effect),
                CancelCall: lambda effect: self.integrations.cancel(effect),
                SaveRun: self._save_run,
                TakeRunNumber: self._take_run_number,
                RecallEvents: self._recall,
                Replay: self._replay,
                LookUp: self._look_up,
                DoWork: self._do_work,
            },
            store=store,
            audit=self._audit,
            on_fatal=on_fatal,
            name="core",
        )
        functions = [*settings.functions, TestPlugin().functions()]
        self.integrations = Integrations(self.loop.put, functions, record=settings.calls)
        templates = TaskOverlay(repositories, settings.tasks) if settings.tasks else repositories
        self.expansion = Expansion(
            self._expanded,
            templates,
            blocking,
            tree=settings.tree,
            integrations={name: text for one in functions for name, text in one.texts.items()},
            defaults=settings.defaults,
            worker=ExpansionWorker(),
            guard=_guard() if settings.guards_scripts else None,
        )
        self._functions = functions
        self._places = places
        self._consultant: Consultant | None = None

    def start(self) -> None:
        """Begin to decide."""
        self.loop.start(self.engine.start)
        self._look_for_room()
        self._retain()

    def stop(self) -> None:
        """Decide nothing more; what is under way elsewhere is dropped."""
        self.loop.stop()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._working:
            task.cancel()
        self.integrations.close()

    async def close(self) -> None:
        """End what `stop` has left. The store and the threads are closed by who made them, in that order after this."""
        self.stop()
        if self._working:
            await asyncio.wait(self._working, timeout=5.0)
        self.expansion.close()

    def close_runs(self) -> None:
        """Close the run counter: after the threads that may use it."""
        self._runs.close()

    def events(self, since: int, *, environment: str = "", limit: int = PAGE_EVENTS) -> list[Event]:
        """Return events of the journal after number `since`. Raises DecodeError for one that can't be read."""
        return [one.event() for one in self.store.events_since(since, environment=environment, limit=limit)]

    def _expand(self, effect: Expand) -> None:
        """Expand a workflow; one that a client brought along is in a repository of its own."""
        if effect.files:
            name = f"script-{effect.environment}"
            self._repositories.add(TextRepository(name=name, files=effect.files))
            self._brought[effect.job] = name
            effect = attrs.evolve(effect, workflow=f"{name}/workflows/{effect.workflow}")
        self.expansion.expand(effect)

    def _expanded(self, input: Input) -> None:
        if isinstance(input, Expanded) and (name := self._brought.pop(input.job, "")):
            self._repositories.remove(name)  # whoever expands it again brings the files again
        self.loop.put(input)

    # messages

    def _send(self, effect: Send) -> None:
        if type(effect.message) is Events and effect.peer in self._replaying:
            return  # it comes out of the journal
        self._peers.send(effect.peer, effect.message)

    def _recall(self, effect: RecallEvents) -> None:
        question = effect.question
        limit = max(1, min(question.limit, PAGE_EVENTS))
        if question.last:
            rows = self.store.last_events(limit, environment=question.environment)
            events, _ = _page(rows[::-1])
            events, more = events[::-1], False
        else:
            rows = self.store.events_since(question.since - 1, environment=question.environment, limit=limit + 1)
            events, taken = _page(rows[:limit])
            more = len(rows) > taken
        self._peers.send(effect.peer, EventPage(request=question.request, events=tuple(events), more=more))

    def _replay(self, effect: Replay) -> None:
        # Never inside of a tick: what this tick has journalled is still to be sent live, and would come twice.
        if effect.peer not in self._replaying:
            self._asyncio.call_soon(self._replay_on, effect.peer)
        self._replaying[effect.peer] = effect.since - 1

    def forget(self, peer: str) -> None:
        """A peer is gone: nothing is replayed for it."""
        self._replaying.pop(peer, None)

    def _replay_on(self, peer: str) -> None:
        after = self._replaying.get(peer)
        if after is None or self.loop.stopped:
            return
        if self._peers.is_behind(peer):
            self._asyncio.call_later(_REPLAY_WAIT_S, self._replay_on, peer)
            return
        rows = self.store.events_since(after, limit=500)
        if not rows:
            del self._replaying[peer]
            return
        events, taken = _page(rows)
        self._peers.send(peer, Events(events=tuple(events)))
        self._replaying[peer] = rows[taken - 1].sequence
        self._asyncio.call_soon(self._replay_on, peer)

    # work

    def _look_up(self, effect: LookUp) -> None:
        if self._look_ups >= MAX_LOOK_UPS:
            busy = Unreachable("the core is asked to look up too much at a time", hint="try again in a few seconds")
            request = effect.question.request
            answer = Document(request=request, code=busy.code, message=busy.message, hint=busy.hint)
            self._peers.send(effect.peer, answer)
            return
        self._look_ups += 1
        self._begin(self._answer(effect), f"look up {effect.question.subject}")

    def _do_work(self, effect: DoWork) -> None:
        self._begin(self._work(effect), f"work {effect.work.name}")

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._asyncio.create_task(work, name=name)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _answer(self, effect: LookUp) -> None:
        request, subject = effect.question.request, effect.question.subject
        try:
            async with self._looking:
                answer = Document(request=request, json=await self._consult(effect))
        except Exception as error:  # at the border to what the host does
            code, message, hint = _told(error, subject)
            answer = Document(request=request, code=code, message=message, hint=hint)
        finally:
            self._look_ups -= 1
        self._peers.send(effect.peer, answer)

    async def answer(self, effect: LookUp) -> str:
        """Answer a question about templates and plans, as JSON. Raises EcsError."""
        consultant = self._consultant
        if consultant is None:
            consultant = self._consultant = await self._blocking.start(self._new_consultant)
        question = effect.question
        return await consultant.answer(question.subject, question.arguments, effect.offers, masked=effect.masked)

    def _new_consultant(self) -> Consultant:
        """Make who answers, in a thread: what he needs is imported with the first question."""
        from libecs.io.consult.consultant import Consultant

        return Consultant(
            self._repositories,
            tree=lambda: self.expansion.tree,
            functions=self._functions,
            defaults=self.settings.defaults,
            tasks=self.settings.tasks,
            places=self._places,
            blocking=self._blocking,
        )

    async def _work(self, effect: DoWork) -> None:
        operation, name = effect.work.operation, effect.work.name
        try:
            work = self._works.get(name)
            if work is None:
                raise NotFound(f"this core knows no work named {quoted(name)}")
            done = WorkDone(operation=operation, message=await work(effect))
        except Exception as error:  # at the border to what the host does
            code, message, hint = _told(error, name)
            done = WorkDone(operation=operation, code=code, message=message, hint=hint)
        self.loop.put(done)

    def _save_run(self, effect: SaveRun) -> None:
        # Not in a thread: the file is small, and it is to be there before anybody hears that the run is over.
        save_run(effect.run)

    def _take_run_number(self, effect: TakeRunNumber) -> None:
        def done(future: asyncio.Future[int]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self.loop.put(RunNumberTaken(key=effect.key, number=future.result()))
            else:
                self.loop.put(RunNumberTaken(key=effect.key, number=0, error=str(error)))

        self._blocking.start(self._runs.take, effect.key).add_done_callback(done)

    # the disk

    def _audit(self, lines: Sequence[Audit], unix_ms: int) -> None:
        try:
            self._write_audit(lines, unix_ms)
        except OSError:
            if not self.store.free_reserve():
                raise
            self._write_audit(lines, unix_ms)

    def _look_for_room(self) -> None:
        """Tell the engine when the reserve was used up, and when it is there again."""
        has_room = self.store.has_room()
        if has_room is not self.has_room:
            self.has_room = has_room
            logger.warning("there is room on the disk again") if has_room else logger.error(_FULL)
            self.loop.put(Room(ok=has_room, text="" if has_room else f"{_FULL} ({self.store.folder})"))
        self._timers["room"] = self._asyncio.call_later(_LOOK_S, self._look_for_room)

    def _retain(self) -> None:
        oldest_ms = time.time_ns() // 1_000_000 - int(self.settings.keep_events_days * _DAY_MS)
        gone = 0
        try:
            gone = self.store.retain(since_ms=oldest_ms, at_least=KEEP_EVENTS)
        except EcsError as error:
            logger.warning("old events stay: %s", error)
        again_s = _RETAIN_S if gone < RETAIN_ROWS else _RETAIN_ON_S
        self._timers["retain"] = self._asyncio.call_later(again_s, self._retain)


def _guard() -> ExpansionWorker:
    """Return who expands what clients bring along: what takes longer than this belongs into a repository."""
    return ExpansionWorker(limit_s=SCRIPT_S, memory_bytes=SCRIPT_BYTES, may_do_without=False)


def load_records(store: SqliteStore) -> dict[str, dict[str, bytes]]:
    """Return the records of the core; of a new state, an epoch that no other state of this machine has.

    Ids are made of the epoch and a counter, and they name ipc sockets that all processes of a machine share. An epoch
    that was lost is replaced by a higher one: executors obey no lower one. The journal knows its numbers best.
    """
    records = store.load()
    core = records.get(CORE, {})
    lost = bool(records) or store.began_anew or store.set_aside is not None
    if not core.get("epoch", b"").isdigit():
        epoch = time.time_ns() // 1_000_000 - FIRST_EPOCH_MS
        core = {"epoch": str(epoch).encode(), **({} if not lost else {"fresh": b"1"})}
    if store.last_event:
        core = {**core, "sequence": str(store.last_event).encode()}
    records[CORE] = core
    return records


def _detectors(tree: Tree) -> tuple[str, ...]:
    """Return the detectors of the inventory; () without one."""
    try:
        return Inventory(tree).detectors()
    except EcsError:
        return ()


def _page(rows: Sequence[LoadedEvent]) -> tuple[list[Event], int]:
    """Return the events of one page, and how many rows it took. A row that can't be read is left out: a gap."""
    events: list[Event] = []
    room = PAGE_BYTES
    for number, row in enumerate(rows):
        room -= len(row.body)
        if room < 0 and number:
            return events, number
        try:
            events.append(row.event())
        except DecodeError as error:
            logger.error("event %d of the journal cannot be read: %s", row.sequence, error.message)
    return events, len(rows)


def _told(error: BaseException, what: str) -> tuple[str, str, str]:
    """Return code, message and hint of an error for who asked; what is no error of ours is logged too."""
    if isinstance(error, EcsError):
        return error.code, error.message, error.hint
    logger.error("%s failed", what, exc_info=error)
    return EcsError.code, f"{what} failed: {type(error).__name__}: {error}", ""
