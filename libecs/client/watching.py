"""What a client wants to hear of tasks, and who in it wants it: metrics and lines cost, so they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

from libecs.wire.client import Lines, Metrics


class Watcher(Protocol):
    """Somebody who wants to hear."""

    @property
    def watched(self) -> str:
        """Environment, "" for all."""

    @property
    def wants_metrics(self) -> bool:
        """Call `Watches.update` when this or `wants_lines` has changed."""

    @property
    def wants_lines(self) -> bool:
        """Lines too?"""

    def take_metrics(self, message: Metrics) -> None:
        """Take figures."""

    def take_lines(self, message: Lines) -> None:
        """Take lines."""


class Watches:
    """The watchers of one client. They are held weakly: who is thrown away need not say so."""

    def __init__(self, ask: Callable[[str, bool, bool], str]) -> None:
        """`ask` sends Watch (environment, metrics, lines) and returns its id."""
        self._ask = ask
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._asked: dict[str, tuple[bool, bool]] = {}
        self._last: dict[str, str] = {}
        """Environment to the id of its last Watch: that one counts."""

    def add(self, watcher: Watcher) -> None:
        """Listen for somebody from now on."""
        self._watchers.add(watcher)
        self.update()

    def remove(self, watcher: Watcher) -> None:
        """Listen no more."""
        self._watchers.discard(watcher)
        self.update()

    def update(self) -> None:
        """Tell the core what is wanted now, if it is something else than before."""
        wanted = self._wanted()
        for environment in {**self._asked, **wanted}:
            now = wanted.get(environment, (False, False))
            if now != self._asked.get(environment, (False, False)):
                self._last[environment] = self._ask(environment, *now)
        self._asked = wanted

    def refused(self, request: str) -> None:
        """The core had no time for a Watch: ask again for what is wanted by now, if no later one was sent."""
        wanted = self._wanted()
        for environment, last in self._last.items():
            if last == request:
                self._last[environment] = self._ask(environment, *wanted.get(environment, (False, False)))
                return

    def forget(self, environment: str) -> None:
        """An environment is gone, and with it what was asked."""
        self._asked.pop(environment, None)
        self._last.pop(environment, None)

    def again(self) -> None:
        """Ask again for all that is wanted: the core may have forgotten it."""
        self._asked = {}
        self.update()

    def take(self, message: Metrics | Lines) -> None:
        """Give a message to all whom it concerns."""
        for watcher in tuple(self._watchers):
            if watcher.watched not in ("", message.environment):
                continue
            if isinstance(message, Metrics):
                watcher.take_metrics(message)
            else:
                watcher.take_lines(message)

    def _wanted(self) -> dict[str, tuple[bool, bool]]:
        wanted: dict[str, tuple[bool, bool]] = {}
        for watcher in self._watchers:
            metrics, lines = wanted.get(watcher.watched, (False, False))
            wanted[watcher.watched] = (metrics or watcher.wants_metrics, lines or watcher.wants_lines)
        wanted = {environment: wants for environment, wants in wanted.items() if any(wants)}
        if "" in wanted:  # for all: then none is asked for by itself, or its lines might come twice
            wanted = {"": (any(metrics for metrics, _ in wanted.values()), any(lines for _, lines in wanted.values()))}
        return wanted
