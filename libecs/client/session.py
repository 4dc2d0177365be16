"""One client's picture of a control system, kept up to date, and what environments and runs ask the core for.

The picture is a snapshot and the events after it (`mirror.py`); readers and watchers get what they want of the rest.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping

from libecs.client.conversation import Conversation, Link
from libecs.client.logs import LogReader
from libecs.client.mirror import Mirror
from libecs.client.operation import Operation, Request, texts
from libecs.client.pulse import DOWN, UP, LinkState, Pulse, Wire
from libecs.client.reader import Reader
from libecs.client.stream import EventStream
from libecs.client.watching import Watcher, Watches
from libecs.errors import EcsError, NotFound
from libecs.wire.client import (
    Annotate,
    Control,
    Destroy,
    Environments,
    EventPage,
    Events,
    Lines,
    Metrics,
    Modify,
    Pong,
    Reconfigure,
    Refused,
    Show,
    ShowEvents,
    Subscribe,
    Watch,
)
from libecs.wire.info import EnvironmentInfo, Event

logger = logging.getLogger(__name__)

PAGE = 1000
"""Events of the past that are asked for at once."""
GAP_S = 0.1
"""How long events may overtake each other before those that are missing are asked for."""
FILL_ATTEMPTS = 5


class Session:
    """What `AsyncEcs` and the objects that it gives stand on.

    `connect` is given the function that takes incoming messages and returns the link. Make it inside a running event
    loop, then `await open()`.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[object], None]], Link],
        *,
        requester: str,
    ) -> None:
        self.requester = requester
        self._stream = EventStream()
        self._filling = False
        self._mirror = Mirror()
        self._pulse: Pulse | None = None
        self._readers: weakref.WeakSet[Reader[Event]] = weakref.WeakSet()
        self._log_readers: weakref.WeakSet[LogReader] = weakref.WeakSet()
        self._watches = Watches(self._ask_to_watch)
        self._talk = Conversation(connect, self._take)
        self.receive = self._talk.receive
        self.finish = self._talk.finish
        self.until = self._talk.until

    async def open(self) -> None:
        """Subscribe to events and learn what there is."""
        answer: Environments = await self._talk.ask(Subscribe(request=self._id()))
        self._stream.begin(answer.sequence)
        await self._snapshot()

    async def close(self) -> None:
        """Let go of the link; everything that still waits fails with Unreachable."""
        self.fail("this session is closed")
        await self._talk.close()

    def fail(self, reason: str) -> None:
        """The link is gone for good: nobody will answer any more."""
        if self._talk.fail(reason):
            for reader in self._readers:
                reader.close()
            for log_reader in self._log_readers:
                log_reader.close()

    # the link

    def keep(self, wire: Wire, place: str) -> Pulse:
        """Look after a link that can break: ask for signs of life, and send again what was lost.

        Whoever made the link tells what is returned when it goes up or down.
        """
        self._pulse = Pulse(self._talk, wire, place, on_pong=self._take_pong, again=self.resend)
        return self._pulse

    @property
    def link(self) -> LinkState:
        """How the link to the core is: UP, SUSPECT or DOWN, since when, and why."""
        return self._pulse.state if self._pulse is not None else LinkState(state=UP)

    @property
    def age_s(self) -> float:
        """Seconds since the core was heard: so old is what is known."""
        return self.link.age_s

    def warn_if_away(self, consequence: str) -> None:
        """Tell people why the end of something takes so long."""
        link = self.link
        if link.state == DOWN:
            logger.warning("%s; %s", link.reason or "the core does not answer", consequence)

    def resend(self) -> None:
        """Send again what is not answered, after the link was down. The core does nothing twice."""
        if self._stream.last is not None:
            self._subscribe()
        self._talk.resend()
        self._watches.again()

    def _subscribe(self) -> None:
        last, mirror = self._stream.last or 0, self._mirror
        answer = self._talk.question(Subscribe(request=self._id(), since=last + 1))

        async def check() -> None:
            told: Environments = await answer
            lost = told.sequence < last  # it has lost its past, with numbers that we have seen
            if lost and mirror is self._mirror:  # else it was asked twice, and we have begun anew already
                self._stream.begin(told.sequence)
                self._mirror = Mirror()
                await self._snapshot()
            else:
                self._stream.tell(told.sequence)
                self._look_for_gaps()

        self._talk.spawn(check)

    def _take(self, message: object) -> None:
        if isinstance(message, Events):
            self._deliver(self._stream.take(message.events))
            self._look_for_gaps()
        elif isinstance(message, Metrics | Lines):
            self._watches.take(message)
        elif isinstance(message, Refused):
            self._watches.refused(message.request)

    def _take_pong(self, pong: Pong) -> None:
        if pong.sequence < (self._stream.last or 0):
            self._subscribe()
        elif self._stream.last is not None:
            self._stream.tell(pong.sequence)
            self._look_for_gaps()

    def _deliver(self, events: Iterable[Event]) -> None:
        was_behind = self._mirror.behind
        events = tuple(events)
        self._mirror.take_events(events)
        for reader in self._readers:
            for event in events:
                reader.put(event)
        if self._mirror.behind and not was_behind:
            self._talk.spawn(self._snapshot)

    def _look_for_gaps(self) -> None:
        if self._stream.missing and not self._filling:
            self._filling = True
            self._talk.spawn(self._fill)

    async def _fill(self) -> None:
        """Fetch the events that did not come; what is on the way comes first."""
        try:
            await asyncio.sleep(GAP_S)
            if self._stream.missing:
                await self._snapshot()  # for those who wait for a state: they need not wait for all of it
                self._talk.send(Subscribe(request=self._id()))  # it may have forgotten us
            in_vain = 0
            while self._stream.missing:
                since = (self._stream.last or 0) + 1
                page: EventPage = await self._talk.ask(ShowEvents(request=self._id(), since=since, limit=PAGE))
                if self._stream.last != since - 1:
                    continue  # they came by themselves meanwhile
                if page.events:
                    self._skip_to(page.events[0].sequence)
                    self._deliver(self._stream.take(page.events))
                elif in_vain < FILL_ATTEMPTS:
                    in_vain += 1
                    await asyncio.sleep(GAP_S)
                else:
                    self._skip_to(None)
        except EcsError:
            if self._talk.closed is None:
                self._skip_to(None)
            raise
        finally:
            self._filling = False

    def _skip_to(self, sequence: int | None) -> None:
        """Do without events that the core has no more."""
        before = self._stream.skipped
        events = self._stream.skip(sequence)
        for reader in self._readers:
            reader.dropped += self._stream.skipped - before
        self._deliver(events)

    def _id(self) -> str:
        return self._talk.id()

    async def _snapshot(self) -> None:
        answer = await self._talk.ask(Show(request=self._id(), tasks=False))
        self._mirror.take_snapshot(answer.sequence, answer.environments, whole=True)
        self._talk.wake()

    # what is known

    def known(self, environment: str) -> EnvironmentInfo:
        """Return what is known of an environment, without tasks and roles.

        Raises:
            NotFound: there is none of this id, or no longer.
        """
        try:
            return self._mirror.environments[environment]
        except KeyError:
            raise NotFound(f"no environment {environment!r}, or no longer") from None

    def forget(self, environment: str) -> None:
        """Drop what is known of an environment that is destroyed."""
        self._mirror.environments.pop(environment, None)
        self._watches.forget(environment)

    async def show(self, environment: str, *, tasks: bool = True) -> EnvironmentInfo:
        """Ask the core for one environment with its roles and tasks."""
        answer: Environments = await self._talk.ask(Show(request=self._id(), environment=environment, tasks=tasks))
        if not answer.environments:
            raise NotFound(f"no environment {environment!r}, or no longer")
        self._mirror.take_snapshot(answer.sequence, answer.environments, whole=False)
        self._talk.wake()
        return answer.environments[0]

    # requests: the caller waits with `finish`

    def new_id(self) -> str:
        """Return an id for a request that `begin` is given."""
        return self._talk.id()

    def begin(self, message: Request) -> Operation:
        """Send a request that changes something; its id is known at once."""
        return self._talk.begin(message)

    def watch(self, watcher: Watcher) -> None:
        """Give a watcher what it wants, from now on, or with what it wants now."""
        if self._talk.closed is None:
            self._watches.add(watcher)

    def _ask_to_watch(self, environment: str, metrics: bool, lines: bool) -> str:
        request = self._id()
        self._talk.send(Watch(request=request, environment=environment, metrics=metrics, lines=lines))
        return request

    def control(self, environment: str, event: str, *, comment: str = "", end_reason: str = "") -> Operation:
        """Send an event to an environment; the caller waits with `finish`."""
        return self._talk.begin(
            Control(
                operation=self._id(),
                environment=environment,
                event=event,
                comment=comment,
                requester=self.requester,
                end_reason=end_reason,
            )
        )

    def reconfiguration(self, environment: str, values: Mapping[str, object], tasks: str) -> Operation:
        """Ask for other properties of some tasks; the caller waits with `finish`."""
        return self._talk.begin(
            Reconfigure(
                operation=self._id(),
                environment=environment,
                values=texts(values),
                tasks=tasks,
                requester=self.requester,
            )
        )

    def destruction(self, environment: str, *, force: bool, allow_running: bool, keep_tasks: bool) -> Operation:
        """Ask for the end of an environment; the caller waits with `finish`."""
        return self._talk.begin(
            Destroy(
                operation=self._id(),
                environment=environment,
                force=force,
                allow_running=allow_running,
                requester=self.requester,
                keep_tasks=keep_tasks,
            )
        )

    def modification(
        self,
        environment: str,
        *,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        include_nodes: tuple[str, ...],
        exclude_nodes: tuple[str, ...],
        take_from: str,
    ) -> Operation:
        """Ask for parts to be taken out of an environment, or put back; the caller waits with `finish`."""
        return self._talk.begin(
            Modify(
                operation=self._id(),
                environment=environment,
                include=include,
                exclude=exclude,
                include_nodes=include_nodes,
                exclude_nodes=exclude_nodes,
                take_from=take_from,
                requester=self.requester,
            )
        )

    def annotation(self, run: int, note: str, tags: Mapping[str, object] | None) -> Operation:
        """Begin to write about a run; the caller waits with `finish`."""
        message = Annotate(operation=self._id(), run=run, note=note, tags=texts(tags or {}), requester=self.requester)
        return self._talk.begin(message)
