"""A client's copy of the environments: a snapshot, and the events after it in order.

Events carry sequence numbers without gaps. Snapshots and events may come by different sockets, so an event that a
snapshot contains already may come after it, and one that is newer before it: both are told apart by their numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

from libecs.fsm import EnvState
from libecs.wire.info import EnvironmentInfo, Event

KEEP = 4096
"""How many events are kept to bring an older snapshot up to date."""


class Mirror:
    """What a client knows, and up to which event."""

    def __init__(self) -> None:
        self.environments: dict[str, EnvironmentInfo] = {}
        self.last: int | None = None
        """Sequence number of the last event; None before anything came."""
        self.behind = False
        """Events were missed and no snapshot has come since."""
        self._as_of: dict[str, int] = {}
        self._recent: deque[Event] = deque(maxlen=KEEP)

    def take_events(self, events: Iterable[Event]) -> list[Event]:
        """Take a batch of events, return those that are new, in order. A gap sets `behind`."""
        fresh = []
        for event in events:
            if self.last is not None and event.sequence <= self.last:
                continue
            if self.last is not None and event.sequence > self.last + 1:
                self.behind = True
            self.last = event.sequence
            self._recent.append(event)
            self._apply(event)
            fresh.append(event)
        return fresh

    def take_snapshot(self, sequence: int, environments: Iterable[EnvironmentInfo], *, whole: bool) -> None:
        """Take the answer to Show, which contains all events up to `sequence`. `whole`: others do not exist."""
        named = set()
        for info in environments:
            named.add(info.environment)
            if self._as_of.get(info.environment, -1) > sequence:
                continue
            self.environments[info.environment] = info
            self._as_of[info.environment] = sequence
        newer = [event for event in self._recent if event.sequence > sequence]
        if whole:
            born_later = {event.environment for event in newer}
            for gone in set(self.environments) - named - born_later:
                del self.environments[gone]
                self._as_of.pop(gone, None)
            if self.last is None or (self.behind and sequence > self.last):
                self.last = sequence
            self.behind = False
        for event in newer:
            if event.environment in named:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        if not event.environment or event.sequence <= self._as_of.get(event.environment, -1):
            return
        info = self.environments.get(event.environment)
        if info is None:
            if event.kind != "environment.state":
                return
            info = EnvironmentInfo(
                environment=event.environment,
                name=event.name or event.environment,
                workflow="",
                revision="",
                state=EnvState.STANDBY,
            )
        self.environments[event.environment] = _after(info, event)


def _after(info: EnvironmentInfo, event: Event) -> EnvironmentInfo:
    if event.kind == "environment.state":
        state = EnvState[event.state]
        cause = (event.text or info.cause) if state is EnvState.ERROR else ""
        return attrs.evolve(info, state=state, cause=cause)
    if event.kind == "transition.begin":
        return attrs.evolve(info, transition=event.transition, step="")
    if event.kind == "transition.step":
        return attrs.evolve(info, step=event.text or event.moment)
    if event.kind == "transition.end":
        return attrs.evolve(info, transition="", step="")
    if event.kind == "run.start":
        return attrs.evolve(info, run_number=event.run_number)
    if event.kind == "run.end":
        return attrs.evolve(info, run_number=0, last_run_number=event.run_number)
    return info
