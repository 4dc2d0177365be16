"""The simulated core's process: what the core's engine wants goes to nodes, clients and services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from libecs.engine.effects import (
    Audit,
    Call,
    CancelCall,
    DoWork,
    Effect,
    Engine,
    Expand,
    LookUp,
    Publish,
    RecallEvents,
    Replay,
    SaveRun,
    Send,
    TakeRunNumber,
)
from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.sim.process import EngineProcess
from libecs.sim.services import Services
from libecs.wire.client import Document, EventPage, Events
from libecs.wire.info import Event, RunInfo


class Watcher(Protocol):
    """Who sees what the core commits and publishes."""

    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """Records and events are on disk."""

    def published(self, events: tuple[Event, ...]) -> None:
        """Events went out to all subscribers."""

    def saved_run(self, run: RunInfo) -> None:
        """A run is written as a file."""

    def audited(self, line: Audit) -> None:
        """A line of the audit log is written."""


class CoreProcess(EngineProcess):
    """The core. `send` takes (peer, message) to the peer's link."""

    def __init__(
        self,
        agenda: Agenda,
        history: History,
        random: Random,
        *,
        make: Callable[[Mapping[str, Mapping[str, bytes]]], tuple[Engine, list[Effect]]],
        send: Callable[[str, object], None],
        watcher: Watcher,
    ) -> None:
        super().__init__("core", agenda, history, random)
        self.services: Services | None = None
        self.on_birth: Callable[[], None] = lambda: None
        self._make = make
        self._send = send
        self._watcher = watcher

    def make_engine(self) -> tuple[Engine, list[Effect]]:
        """Make the engine out of the records."""
        return self._make(self.disk.copy())

    def go_on(self) -> None:
        """Send SIGCONT: the ages of all peers begin anew, as the engine was stopped and they were not."""
        if self.stopped:
            self.on_birth()
        super().go_on()

    def born(self) -> None:
        """Open for nodes and clients."""
        self.on_birth()

    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """Let the watcher see what is on disk now."""
        for event in events:
            self.history.add(self.name, "journal", event)
        self._watcher.committed(records, events)

    def audited(self, line: Audit) -> None:
        """Write a line of the audit log."""
        self.history.add(self.name, "audit", line)
        self._watcher.audited(line)

    def perform(self, effect: Effect) -> None:
        """Do what the core's engine wants."""
        assert self.services is not None
        if isinstance(effect, Send):
            self._send(effect.peer, effect.message)
        elif isinstance(effect, Publish):
            self._watcher.published(effect.events)
        elif isinstance(effect, SaveRun):
            self.history.add(self.name, "SaveRun", effect.run.number)
            self._watcher.saved_run(effect.run)
        elif isinstance(effect, TakeRunNumber):
            self.history.add(self.name, "TakeRunNumber", effect.key)
            self.services.take_run_number(self.life, effect)
        elif isinstance(effect, Expand):
            self.history.add(self.name, "Expand", f"{effect.environment} {effect.workflow}")
            self.services.expand(self.life, effect)
        elif isinstance(effect, Call):
            self.history.add(self.name, "Call", f"{effect.call} {effect.function} {effect.role} at {effect.moment}")
            self.services.call(self.life, effect)
        elif isinstance(effect, CancelCall):
            self.history.add(self.name, "CancelCall", effect.call)
            self.services.cancel(self.life, effect.call)
        elif isinstance(effect, Replay):
            missed = [event for event in self.disk.journal if event.sequence >= effect.since]
            if missed:
                self._send(effect.peer, Events(events=tuple(missed)))
        elif isinstance(effect, RecallEvents):
            asked = effect.question
            chosen = [
                event
                for event in self.disk.journal
                if event.sequence >= asked.since and asked.environment in ("", event.environment)
            ]
            page = chosen[-asked.limit :] if asked.last else chosen[: asked.limit]
            self._send(effect.peer, EventPage(request=asked.request, events=tuple(page), more=page != chosen))
        elif isinstance(effect, LookUp):
            self._send(effect.peer, Document(request=effect.question.request, json="{}"))
        elif isinstance(effect, DoWork):
            self.services.work(self.life, effect)
        else:
            self.history.broken("engine-effect", f"core: {type(effect).__name__} is no effect of a core")
