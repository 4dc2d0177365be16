"""Talk with a core over one link: questions and their answers, operations and their ends, and waits for either.

Every operation has an id of its own and is over when the core says so: a wait that ends earlier (`WaitTimeout`, a
cancelled task) ends the wait and not the operation. What is not answered when a link breaks is sent again over the
next one, under the same id; the core does nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import attrs

from libecs.client.failure import of_finished, of_refused
from libecs.client.operation import Operation, Question, Request
from libecs.errors import Busy, Conflict, EcsError, Unreachable, WaitTimeout
from libecs.wire.client import (
    Accepted,
    CoreInfo,
    Document,
    Environments,
    EventPage,
    Finished,
    Follow,
    Locks,
    Log,
    Nodes,
    Operations,
    Pong,
    Refused,
    Runs,
    Tasks,
)
from libecs.wire.info import EnvironmentInfo

Answer = Environments | Runs | EventPage | Locks | Nodes | Tasks | Operations | Log | CoreInfo | Document | Pong


BUSY_S = (0.2, 0.6)
"""A core that says it is asked too often is asked again after so long, drawn at random: callers only see it slower."""


class Link(Protocol):
    """The way to a core. `send` never blocks; what comes back is given to the callback that made the link."""

    def send(self, message: object) -> None:
        """Send one message of `wire/client.py`."""


class Conversation:
    """One client's side of the protocol. Make it inside a running event loop."""

    def __init__(
        self, connect: Callable[[Callable[[object], None]], Link], on_message: Callable[[object], None]
    ) -> None:
        """`on_message` gets what is no answer: events, metrics, lines."""
        self.loop = asyncio.get_running_loop()
        self.closed: EcsError | None = None
        self.heard_s = self.loop.time()
        """When the core was heard last."""
        self._pid = os.getpid()
        self._name = secrets.token_hex(6)  # ids are kept by the core for long: no two sessions may make the same
        self._counter = 0
        self._on_message = on_message
        self._operations: dict[str, Operation] = {}
        self._questions: dict[str, tuple[Question, asyncio.Future[Any]]] = {}
        self._parts: dict[str, Tasks | Environments] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._link = connect(self.receive)

    # the end, and a new beginning

    def fail(self, reason: str) -> bool:
        """Nobody will answer any more: fail all that waits. Return whether that is news."""
        if self.closed is not None:
            return False
        self.closed = error = Unreachable(reason)
        for operation in self._operations.values():
            operation.close(error)
        for _, future in self._questions.values():
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._operations.clear()
        self._questions.clear()
        self.wake()
        return True

    async def close(self) -> None:
        """End what goes on in the background."""
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def resend(self) -> None:
        """Send again what is not answered."""
        for operation in tuple(self._operations.values()):
            self.send(operation.message)
        for message, future in tuple(self._questions.values()):
            if self._parts.pop(message.request, None) is None:
                self.send(message)
                continue
            # The rest of the answer may come yet, and must not be taken for the whole: so it is asked under another id.
            del self._questions[message.request]
            self._ask(attrs.evolve(message, request=self.id()), future)

    # what comes in

    def receive(self, message: object) -> None:
        """Take one message of the core."""
        self.heard_s = self.loop.time()
        if isinstance(message, Accepted):
            operation = self._operations.get(message.operation)
            if operation is not None:
                operation.accept(message.environment)
        elif isinstance(message, (Finished, Refused)) and message.code == Busy.code:
            self._again_later(message)
        elif isinstance(message, Finished):
            operation = self._operations.pop(message.operation, None)
            if operation is not None:
                operation.finish(message)
        elif isinstance(message, Refused):
            self._refused(message)
        elif isinstance(message, Answer):
            self._answered(message)
        else:
            self._on_message(message)
        self.wake()

    def _answered(self, message: Answer) -> None:
        if isinstance(message, Tasks | Environments) and message.request in self._questions:
            before = self._parts.pop(message.request, None)
            if isinstance(message, Tasks) and isinstance(before, Tasks):
                message = attrs.evolve(message, tasks=(*before.tasks, *message.tasks))
            elif isinstance(message, Environments) and isinstance(before, Environments):
                message = attrs.evolve(message, environments=_joined(before.environments, message.environments))
            if message.more:
                self._parts[message.request] = message
                return
        _, future = self._questions.pop(message.request, (None, None))
        if future is not None and not future.done():
            future.set_result(message)

    def _again_later(self, busy: Finished | Refused) -> None:
        """Ask again after a while what the core had no time for, under the same id: it may have been asked before. Of
        what was sent without waiting for an answer, who sent it is told then.
        """
        id = busy.operation if isinstance(busy, Finished) else busy.request

        def again() -> None:
            messages: list[object] = [message for request, (message, _) in self._questions.items() if request == id]
            messages += [
                operation.message
                for operation in self._operations.values()
                if id in (operation.id, getattr(operation.message, "request", ""))
            ]
            with contextlib.suppress(EcsError):
                for message in messages:
                    self.send(message)
                if not messages and self.closed is None:
                    self._on_message(busy)

        self.loop.call_later(random.uniform(*BUSY_S), again)

    def _refused(self, message: Refused) -> None:
        error = of_refused(message)
        _, future = self._questions.pop(message.request, (None, None))
        if future is not None and not future.done():
            future.set_exception(error)
        for operation in tuple(self._operations.values()):
            if isinstance(operation.message, Follow) and operation.message.request == message.request:
                del self._operations[operation.id]
                operation.close(error)

    def wake(self) -> None:
        """Let all waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # what goes out

    def id(self) -> str:
        """Return an id that nobody has used."""
        self._counter += 1
        return f"{self._name}-{self._counter}"

    def send(self, message: object) -> None:
        """Send a message; nobody waits for an answer.

        Raises:
            Unreachable: this session is over.
            Conflict: this process is a fork of the one that made it.
        """
        if self.closed is not None:
            raise self.closed
        if os.getpid() != self._pid:
            raise Conflict(
                f"this session belongs to process {self._pid}, of which this one is a fork",
                hint="make a session of its own in each process, after the fork",
            )
        self._link.send(message)

    def question(self, message: Question) -> asyncio.Future[Any]:
        """Send a question, return what will hold its answer, or the error that the core refuses it with."""
        future: asyncio.Future[Any] = self.loop.create_future()
        self._ask(message, future)
        return future

    def _ask(self, message: Question, future: asyncio.Future[Any]) -> None:
        self.send(message)
        self._questions[message.request] = (message, future)
        future.add_done_callback(lambda _: self._forget(message.request))

    async def ask(self, message: Question) -> Any:
        """Send a question, return its answer. Raises the error that the core refuses it with."""
        return await self.question(message)

    def _forget(self, request: str) -> None:
        self._questions.pop(request, None)
        self._parts.pop(request, None)

    def begin(self, message: Request) -> Operation:
        """Send a request that changes something."""
        operation = Operation(message, self.loop)
        self._operations[operation.id] = operation
        try:
            self.send(message)
        except EcsError:
            del self._operations[operation.id]
            raise
        return operation

    def follow(self, operation: str) -> Operation:
        """Listen for the end of an operation that somebody began, perhaps this session itself."""
        return self._operations.get(operation) or self.begin(Follow(request=self.id(), operation=operation))

    @property
    def pending(self) -> dict[str, str]:
        """Operations of this session that are not over: id to what they do."""
        return {operation.id: operation.title for operation in self._operations.values()}

    # waits

    async def finish(self, operation: Operation, timeout_s: float | None = None) -> Finished:
        """Wait for the end of an operation.

        Raises:
            WaitTimeout: after `timeout_s` seconds; the operation goes on.
            EcsError: the operation failed; its class says how.
        """
        try:
            async with asyncio.timeout(timeout_s):
                finished = await asyncio.shield(operation.finished)
        except TimeoutError:
            raise WaitTimeout(
                f"{operation.title} did not end within {timeout_s:g} s; it goes on as operation {operation.id}",
                hint="wait again, or destroy the environment",
            ) from None
        if finished.code:
            raise of_finished(finished)
        return finished

    async def until(
        self,
        true: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        poll_s: Callable[[], float | None] = lambda: None,
    ) -> bool:
        """Wait until `true()` is; look after each message, and after `poll_s()` seconds if any. False: timed out."""
        end = None if timeout_s is None else self.loop.time() + timeout_s
        while not true():
            if self.closed is not None:
                raise self.closed
            left = None if end is None else end - self.loop.time()
            if left is not None and left <= 0:
                return False
            waits = [wait for wait in (left, poll_s()) if wait is not None]
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout(min(waits) if waits else None):
                    await waiter
            except TimeoutError:
                pass
            finally:
                self._waiters.discard(waiter)
        return True

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Do something in the background, until it ends or the session does."""

        async def quiet() -> None:
            with contextlib.suppress(EcsError):
                await make()

        task = self.loop.create_task(quiet())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _joined(before: tuple[EnvironmentInfo, ...], after: tuple[EnvironmentInfo, ...]) -> tuple[EnvironmentInfo, ...]:
    """Return the environments of two parts of an answer; one that was cut between them is whole again."""
    if not (before and after and before[-1].environment == after[0].environment):
        return (*before, *after)
    cut, rest = before[-1], after[0]
    whole = attrs.evolve(cut, tasks=(*cut.tasks, *rest.tasks), roles=(*cut.roles, *rest.roles))
    return (*before[:-1], whole, *after[1:])
