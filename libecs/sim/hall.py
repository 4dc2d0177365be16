"""The hall: processes that somebody else starts and ends. Nodes dial them, and never launch or kill one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

import attrs

from libecs.fsm import Mode
from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour, ended
from libecs.sim.history import History
from libecs.sim.programs import Process, TaskWatcher
from libecs.sim.tasks import ControlledTask
from libecs.sim.voices import draw_voice
from libecs.wire.node import Command, Exit, TaskSpec


@attrs.define
class Place:
    """One endpoint, and the process that listens there, if one does."""

    endpoint: str
    process: ControlledTask | None = None
    restarts: int = 0


class Hall:
    """All attached tasks of one history, by endpoint."""

    def __init__(self, agenda: Agenda, history: History, random: Random, watcher: TaskWatcher) -> None:
        self.agenda = agenda
        self.history = history
        self.random = random
        self.places: dict[str, Place] = {}
        self._watcher = watcher
        self._pids = 90_000

    def furnish(self, endpoints: Iterable[str]) -> None:
        """Make a place for each endpoint, and start its process sooner or later."""
        for endpoint in endpoints:
            if endpoint in self.places:
                continue
            place = self.places[endpoint] = Place(endpoint)
            self.agenda.after(self.random.choice((0.0, 0.0, 1.0, 6.0)), partial(self.start, place))

    def start(self, place: Place) -> None:
        """Somebody starts the process of a place."""
        if place.process is not None and place.process.alive:
            return
        self._pids += 1
        place.restarts += 1
        spec = TaskSpec(
            task="",
            environment="",
            role=place.endpoint,
            class_name="",
            mode=Mode.DIRECT,
            critical=False,
            command=Command(argv=()),
            endpoint=place.endpoint,
            attached=True,
        )
        behaviour = Behaviour(boot_s=self.random.uniform(0.01, 0.2), voice=draw_voice(self.random))
        process = ControlledTask(
            spec, self._pids, behaviour, self.agenda, self.random, self._ended, watcher=self._watcher
        )
        place.process = process
        self.history.add("hall", "start", f"{place.endpoint} pid {process.pid}")
        process.boot()

    def stop(self, place: Place) -> None:
        """Somebody ends the process of a place, whatever it is doing."""
        if place.process is not None:
            place.process.end(ended(self.random.choice((0, 1))))

    def at(self, endpoint: str) -> ControlledTask | None:
        """Return the live process at an endpoint."""
        place = self.places.get(endpoint)
        if place is None or place.process is None or not place.process.alive:
            return None
        return place.process

    def living(self) -> list[ControlledTask]:
        """Return all live processes."""
        return [process for endpoint in self.places if (process := self.at(endpoint)) is not None]

    def _ended(self, process: Process, exit: Exit) -> None:
        self.history.add("hall", "ended", f"{process.spec.endpoint} {exit.describe()}")
        assert isinstance(process, ControlledTask)
        for cut in list(process.on_cut):
            cut()
