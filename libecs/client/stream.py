"""The events of a core in their order, each once, whatever way they come.

Events carry numbers without gaps. Those that are early are held until what is missing before them has come; who makes
the stream fetches that from the core's journal.
"""

from __future__ import annotations

from collections.abc import Iterable

from libecs.wire.info import Event

HELD = 65536
"""Early events that are kept; later ones are in the journal, too."""


class EventStream:
    """Where a client is in the events of its core."""

    def __init__(self) -> None:
        self.last: int | None = None
        """Number of the last event in order; None before the first is known."""
        self.skipped = 0
        """Events that could not be had."""
        self._end = 0
        self._held: dict[int, Event] = {}

    @property
    def missing(self) -> bool:
        """Whether there are events beyond the last one that did not come."""
        return self.last is not None and (bool(self._held) or self._end > self.last)

    def begin(self, last: int) -> None:
        """Begin after an event, and forget all that was."""
        self.last, self._end = last, last
        self._held.clear()

    def tell(self, end: int) -> None:
        """Take the number of the last event that there is."""
        self._end = max(self._end, end)

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Take events; return those that are next now, in order."""
        ready: list[Event] = []
        for event in events:
            if self.last is None:
                self.last = event.sequence - 1
            if event.sequence == self.last + 1:
                self._held.pop(event.sequence, None)
                ready.append(event)
                self.last = event.sequence
                self._follow(ready)
            elif event.sequence > self.last:
                self.tell(event.sequence)
                if len(self._held) < HELD:
                    self._held[event.sequence] = event
        return ready

    def skip(self, to: int | None = None) -> list[Event]:
        """Do without what is missing before event `to`, or before the first that is here; return what is next then."""
        assert self.last is not None
        to = min(self._held, default=self._end + 1) if to is None else to
        self.skipped += max(0, to - 1 - self.last)
        self.last = max(self.last, to - 1)
        for sequence in [one for one in self._held if one <= self.last]:
            del self._held[sequence]
        ready: list[Event] = []
        self._follow(ready)
        return ready

    def _follow(self, ready: list[Event]) -> None:
        assert self.last is not None
        while (event := self._held.pop(self.last + 1, None)) is not None:
            ready.append(event)
            self.last = event.sequence
