"""One client's picture of a control system, kept up to date, and what environments and runs ask the core for.

The picture is a snapshot and the events after it (`mirror.py`); readers and watchers get what they want of the rest.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping

from libecs.client.conversation import Conversation, Link
from libecs.client.logs import LogReader
from libecs.client.mirror import Mirror
from libecs.client.operation import Operation, texts
from libecs.client.reader import Reader
from libecs.client.watching import Watcher, Watches
from libecs.errors import NotFound
from libecs.wire.client import (
    Annotate,
    Control,
    Destroy,
    EnvironmentInfo,
    Environments,
    Event,
    Events,
    Lines,
    Metrics,
    Modify,
    Reconfigure,
    Show,
    Subscribe,
    Watch,
)


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
        add_workflow: Callable[[str, Mapping[str, str]], str] | None = None,
    ) -> None:
        """`add_workflow` takes name and files of a script's workflow, and gives the expression that names it.

        Without it, the files travel with the request.
        """
        self.requester = requester
        self._add_workflow = add_workflow
        self._mirror = Mirror()
        self._readers: weakref.WeakSet[Reader[Event]] = weakref.WeakSet()
        self._log_readers: weakref.WeakSet[LogReader] = weakref.WeakSet()
        self._watches = Watches(self._ask_to_watch)
        self._talk = Conversation(connect, self._take)
        self.receive = self._talk.receive
        self.finish = self._talk.finish
        self.until = self._talk.until

    async def open(self) -> None:
        """Subscribe to events and learn what there is."""
        await self._talk.ask(Subscribe(request=self._id()))
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

    def resend(self) -> None:
        """Send again what is not answered, after the link was down. The core does nothing twice."""
        self._talk.send(Subscribe(request=self._id(), since=(self._mirror.last or -1) + 1))
        self._talk.resend()
        self._watches.again()

    def _take(self, message: object) -> None:
        if isinstance(message, Events):
            self._take_events(message)
        elif isinstance(message, Metrics | Lines):
            self._watches.take(message)

    def _take_events(self, message: Events) -> None:
        was_behind = self._mirror.behind
        fresh = self._mirror.take_events(message.events)
        for reader in self._readers:
            for event in fresh:
                reader.put(event)
        if self._mirror.behind and not was_behind:
            self._talk.spawn(self._snapshot())

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

    def watch(self, watcher: Watcher) -> None:
        """Give a watcher what it wants, from now on, or with what it wants now."""
        if self._talk.closed is None:
            self._watches.add(watcher)

    def _ask_to_watch(self, environment: str, metrics: bool, lines: bool) -> None:
        self._talk.send(Watch(request=self._id(), environment=environment, metrics=metrics, lines=lines))

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
