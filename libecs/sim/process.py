"""A simulated process that drives one engine, and the disk that outlives it."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from random import Random

import attrs

from libecs.engine.effects import Audit, Continue, Effect, Engine, Input, Journal, Persist, Resume, Tick
from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.wire.info import Event

MAX_OVERDUE_TICKS = 1000
"""Ticks in a row at one deadline that does not move: the engine spins."""


@attrs.define
class Disk:
    """What an engine has committed. It survives every life of the process."""

    records: dict[str, dict[str, bytes]] = attrs.field(factory=dict)
    journal: list[Event] = attrs.field(factory=list)
    commits: int = 0

    def commit(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """Write records and events, all at once."""
        self.commits += 1
        for (table, key), value in records.items():
            if value is None:
                self.records.get(table, {}).pop(key, None)
            else:
                self.records.setdefault(table, {})[key] = value
        self.journal.extend(events)

    def copy(self) -> dict[str, dict[str, bytes]]:
        """Return the records as a new life reads them."""
        return {table: dict(rows) for table, rows in self.records.items()}


class CrashPoint(Enum):
    """Where in a tick a process dies."""

    BEFORE_COMMIT = "before the commit"
    COMMIT_FAILS = "because the commit fails"
    AFTER_COMMIT = "after the commit"
    BETWEEN_EFFECTS = "between two effects"


@attrs.define
class Crash:
    """A planned death: at the `ticks`-th tick from now that has something to do, at `point`."""

    point: CrashPoint
    ticks: int
    effects: int = 0
    """For BETWEEN_EFFECTS: how many effects are still performed."""
    only_commits: bool = False
    """Count only the ticks that write."""


class EngineProcess(ABC):
    """One process around one engine. Subclasses perform the effects; they call `put` for what comes back.

    `start` begins a life, `die` ends it. A process that is stopped (SIGSTOP) lives but takes no time.
    """

    def __init__(self, name: str, agenda: Agenda, history: History, random: Random) -> None:
        self.name = name
        self.agenda = agenda
        self.history = history
        self.random = random
        self.disk = Disk()
        self.engine: Engine | None = None
        self.life = 0
        self.crash: Crash | None = None
        self.stopped = False
        self.on_effect: Callable[[Effect], None] = lambda effect: None
        """Sees each effect just before it is performed."""
        self.on_death: Callable[[EngineProcess], None] = lambda process: None
        self._inputs: list[Input] = []
        self._scheduled = False
        self._wake_s: float | None = None
        self._overdue = 0

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.engine is not None

    @abstractmethod
    def make_engine(self) -> tuple[Engine, list[Effect]]:
        """Make an engine out of what the disk holds, and its first effects."""

    @abstractmethod
    def perform(self, effect: Effect) -> None:
        """Perform one effect that is neither Persist, Journal, Audit nor Continue."""

    def audited(self, line: Audit) -> None:  # noqa: B027 - only the core has an audit log
        """Write a line of the audit log, before the commit of its tick."""

    def born(self) -> None:  # noqa: B027 - not every process has something to do
        """Do what a new life begins with: dial, adopt."""

    def buried(self) -> None:  # noqa: B027 - not every process has something to do
        """Undo what only a living process holds."""

    # Like `born` and `buried`: not every process has something to do.
    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:  # noqa: B027
        """See what was committed, just after it was."""

    def start(self) -> None:
        """Begin a new life."""
        if self.engine is not None:
            return
        self.life += 1
        self.stopped = False
        self._inputs.clear()
        self._scheduled = False
        self._wake_s = None
        self.history.add(self.name, "start", f"life {self.life}")
        try:
            self.engine, effects = self.make_engine()
        except Exception as error:
            self.history.broken("engine-raises", f"{self.name} cannot start: {_short(error)}")
            return
        self._finish_tick(effects)
        if self.engine is not None:
            self.born()
            self._arm(self.engine.next_deadline)

    def die(self, why: str) -> None:
        """End this life: what is not on disk is gone."""
        if self.engine is None:
            return
        self.history.add(self.name, "dies", why)
        self.engine = None
        self.crash = None
        self._inputs.clear()
        self.buried()
        self.on_death(self)

    def stop(self) -> None:
        """Send SIGSTOP."""
        if self.alive:
            self.history.add(self.name, "stopped")
            self.stopped = True

    def go_on(self) -> None:
        """Send SIGCONT."""
        if self.stopped:
            self.history.add(self.name, "continued")
            self.stopped = False
            self._schedule()

    def put(self, input: Input) -> None:
        """Queue one input for the engine; ignored by the dead."""
        if self.engine is not None:
            self._inputs.append(input)
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self.stopped:
            self._scheduled = True
            self.agenda.after(0.0001 + 0.0004 * self.random.random(), partial(self._tick, self.life))

    def _tick(self, life: int) -> None:
        if life != self.life or self.engine is None:
            return
        self._scheduled = False
        if self.stopped:
            return
        engine, now = self.engine, self.agenda.now
        effects: list[Effect] = []
        inputs, self._inputs = self._inputs, []
        try:
            for input in inputs:
                effects += engine.handle(input, now)
            deadline = engine.next_deadline
            if deadline is not None and deadline <= now.mono_s:
                effects += engine.handle(Tick(), now)
                deadline = engine.next_deadline
                self._overdue = self._overdue + 1 if deadline is not None and deadline <= now.mono_s else 0
                if self._overdue == MAX_OVERDUE_TICKS:
                    self.history.broken("engine-spins", f"{self.name}: next_deadline stays at {deadline}")
        except Exception as error:
            self.history.broken("engine-raises", f"{self.name}: {_short(error)}")
            self.die("its engine raised")
            return
        if effects:
            self._finish_tick(effects)
        if self.engine is not None:
            self._arm(deadline)

    def _finish_tick(self, effects: list[Effect]) -> None:
        """Commit once, then perform everything else in order; die on the way if that is planned."""
        records: dict[tuple[str, str], bytes | None] = {}
        events: list[Event] = []
        lines: list[Audit] = []
        others: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Persist):
                records[effect.table, effect.key] = effect.value
            elif isinstance(effect, Journal):
                events.append(effect.event)
            elif isinstance(effect, Audit):
                lines.append(effect)
            else:
                others.append(effect)
        writes = bool(records or events)
        crash = self._due_crash(writes, bool(others))
        if crash is None or crash.point is not CrashPoint.BEFORE_COMMIT:
            for line in lines:
                self.audited(line)
        if crash is not None and crash.point in (CrashPoint.BEFORE_COMMIT, CrashPoint.COMMIT_FAILS):
            self.die(crash.point.value)
            return
        if writes:
            self.disk.commit(records, events)
            self.committed(records, events)
        if crash is not None and crash.point is CrashPoint.AFTER_COMMIT:
            self.die(crash.point.value)
            return
        for n, effect in enumerate(others):
            if crash is not None and n >= crash.effects:
                self.die(f"{crash.point.value}, {n} of {len(others)} performed")
                return
            if isinstance(effect, Continue):
                self.put(Resume())
            else:
                self.on_effect(effect)
                self.perform(effect)
            if self.engine is None:
                return
        if crash is not None:
            self.die(f"{crash.point.value}, all performed")

    def _due_crash(self, writes: bool, acts: bool) -> Crash | None:
        crash = self.crash
        if crash is None or not (writes or (acts and not crash.only_commits)):
            return None
        crash.ticks -= 1
        if crash.ticks > 0:
            return None
        self.crash = None
        return crash

    def _arm(self, deadline: float | None) -> None:
        """Make sure that a tick comes at the engine's deadline."""
        if deadline is None or (self._wake_s is not None and self._wake_s <= deadline):
            return
        self._wake_s = deadline
        self.agenda.at(max(deadline, self.agenda.mono_s + 0.0001), partial(self._wake, self.life, deadline))

    def _wake(self, life: int, deadline: float) -> None:
        if life == self.life and self._wake_s == deadline:
            self._wake_s = None
            self._schedule()


def _short(error: BaseException) -> str:
    """Return an exception and the innermost places it came through."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({places})"
