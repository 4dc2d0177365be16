"""What clients ask for: operations, each with one effect and one answer however often it is asked, and questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from libecs.engine import operations
from libecs.engine.context import Context
from libecs.engine.effects import Persist, Send
from libecs.engine.environment import Environment
from libecs.engine.records import OPERATION, OperationRecord
from libecs.engine.runbook import ANSWER_BYTES, RunBook, fitting, size
from libecs.engine.telemetry import Telemetry
from libecs.engine.views import environment_info
from libecs.wire import client
from libecs.wire.client import Event, Finished, RunInfo
from libecs.wire.codec import pack_value, unpack_value

KEEP_OPERATIONS = 1000
"""Answers of old operations that are kept for who asks again."""

Question = client.Show | client.ShowRuns | client.Subscribe | client.Watch


class Desk(Context, Protocol):
    """What requests need of the core."""

    environments: dict[str, Environment]
    telemetry: Telemetry
    runbook: RunBook

    def full_run(self, number: int) -> RunInfo:
        """Return a run record with its metrics and configuration."""

    @property
    def sequence(self) -> int:
        """Number of the last event."""

    def ages(self) -> Mapping[str, int]:
        """Return the milliseconds since late nodes were heard."""

    def create(self, environment: str, message: client.Create) -> None:
        """Begin a new environment."""


class Requests:
    """Operations, subscribers and answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.operations: dict[str, OperationRecord] = {}
        self._waiting: dict[str, set[str]] = {}
        self._subscribers: dict[str, None] = {}

    # operations

    def operation(self, peer: str, message: operations.Operation) -> None:
        """Take a request that changes something."""
        desk = self._desk
        known = self.operations.get(message.operation)
        if known is not None and known.answer:
            desk.emit(Send(peer, unpack_value(Finished, known.answer)))
            return
        self._waiting.setdefault(message.operation, set()).add(peer)
        if known is not None:
            accepted = client.Accepted(operation=message.operation, environment=known.environment)
            desk.emit(Send(peer, accepted))
            return
        environment = "" if isinstance(message, client.Create) else message.environment
        refused = operations.refusal(desk.environments, message)
        if refused is None and isinstance(message, client.Create):
            environment = desk.new_id()
        verb = type(message).__name__.lower()
        self._put(
            OperationRecord(
                operation=message.operation, environment=environment, verb=verb, requester=message.requester
            )
        )
        if refused is not None:
            self.finish(message.operation, refused)
            return
        desk.emit(Send(peer, client.Accepted(operation=message.operation, environment=environment)))
        if isinstance(message, client.Create):
            desk.create(environment, message)
        else:
            env = desk.environments[environment]
            operations.prepare(env, desk, message)
            env.advance(desk)

    def finish(self, name: str, answer: Finished) -> None:
        """Write down the answer of an operation, and give it to all who wait."""
        answer = attrs.evolve(answer, operation=name)
        record = self.operations.get(name)
        if record is not None:
            self._put(attrs.evolve(record, answer=pack_value(answer)))
        self._desk.event(
            "operation.end",
            answer.environment,
            name=name,
            state=answer.state.name,
            ok=not answer.code,
            text=answer.message,
        )
        for peer in sorted(self._waiting.pop(name, ())):
            self._desk.emit(Send(peer, answer))

    def _put(self, record: OperationRecord) -> None:
        self.operations[record.operation] = record
        self._desk.emit(Persist(OPERATION, record.operation, pack_value(record)))
        if len(self.operations) > KEEP_OPERATIONS:
            old = next((name for name, one in self.operations.items() if one.answer), None)
            if old is not None:
                del self.operations[old]
                self._desk.emit(Persist(OPERATION, old, None))

    # questions

    def question(self, peer: str, message: Question) -> None:
        """Take a request that changes nothing."""
        if isinstance(message, client.Show):
            self._desk.emit(Send(peer, self._show(message)))
        elif isinstance(message, client.ShowRuns):
            self._desk.emit(Send(peer, self._show_runs(message)))
        else:
            if isinstance(message, client.Watch):
                self._desk.telemetry.watch(peer, message)
            else:
                self._subscribers[peer] = None
            since = client.Environments(request=message.request, sequence=self._desk.sequence, environments=())
            self._desk.emit(Send(peer, since))

    def _show(self, message: client.Show) -> client.Environments:
        ages = self._desk.ages()
        chosen = tuple(
            environment_info(env, ages, tasks=message.tasks)
            for env in self._desk.environments.values()
            if message.environment in ("", env.id)
        )
        return client.Environments(request=message.request, sequence=self._desk.sequence, environments=chosen)

    def _show_runs(self, message: client.ShowRuns) -> client.Runs:
        known = self._desk.runbook.runs
        if message.number:
            numbers = [message.number] if message.number in known else []
            return client.Runs(
                request=message.request, runs=tuple(fitting(self._desk.full_run(number)) for number in numbers)
            )
        runs: list[RunInfo] = []
        room = ANSWER_BYTES
        for number in sorted(known, reverse=True)[: max(0, message.limit)]:
            room -= size(known[number])
            if room < 0:
                break
            runs.append(known[number])
        return client.Runs(request=message.request, runs=tuple(reversed(runs)))

    def publish(self, events: tuple[Event, ...]) -> None:
        """Tell all subscribers."""
        for peer in self._subscribers:
            self._desk.emit(Send(peer, client.Events(events=events)))

    def disconnected(self, peer: str) -> None:
        """A client is gone; its operations go on."""
        self._subscribers.pop(peer, None)
        self._desk.telemetry.disconnected(peer)
        for peers in self._waiting.values():
            peers.discard(peer)
