"""What clients ask for that changes something: operations, each with one effect and one answer however often asked.

Who asks is checked for every message, on the object that is executed. Who may not leaves a line in the audit log and
no record; what can't be done now is refused, on record; all else is accepted, and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import attrs

from libecs.access import Principal
from libecs.engine import operations, rules, works
from libecs.engine.effects import Persist, Send, WorkDone
from libecs.engine.environment import Environment
from libecs.engine.locks import Locks
from libecs.engine.records import OPERATION, OperationRecord
from libecs.errors import Conflict, Denied, EcsError, NotFound, quoted
from libecs.fsm import EnvState
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.wire.codec import pack_value, unpack_value

KEEP_OPERATIONS = 1000
"""Answers of old operations that are kept for who asks again."""
KEEP_DENIED = 1000
"""Denied requests that are remembered in this life: they are on no record."""
MAX_ID = 200
"""Characters of an operation's id, and of an environment's."""
MAX_EVENT = 40
"""Characters of what a Control asks for, on record: no transition has a longer name."""
MAX_MESSAGE = 10_000
"""Characters of a refusal: it may repeat what was asked for, and is kept."""

AtOnce = client.Lock | client.Unlock | client.Drain | client.EndTasks | client.Annotate
"""Requests that are done as soon as they are accepted."""
Mutation = operations.Operation | AtOnce | client.Work


class Desk(works.Desk, operations.Desk, Protocol):
    """What requests need of the core."""

    locks: Locks
    no_room: str
    """Why nothing new is begun, "" if it is."""

    @property
    def known_detectors(self) -> Iterable[str]:
        """Detectors of the inventory."""

    @property
    def owners(self) -> Mapping[str, Environment]:
        """The environment of each task."""

    def create(self, environment: str, message: client.Create, who: Principal) -> None:
        """Begin a new environment."""


class Requests:
    """Operations and their answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.operations: dict[str, OperationRecord] = {}
        self._waiting: dict[str, dict[str, Principal]] = {}
        """Operation to the peers that are told how it ends, and who they were when they asked."""
        self._denied: dict[tuple[str, str], Finished] = {}
        """Who and operation to the answer: who asks again, perhaps unknowingly, is not judged anew."""
        self._at_once: Mapping[type, Callable[..., str]] = {
            client.Lock: lambda message, who: desk.locks.lock(message, who),
            client.Unlock: lambda message, who: desk.locks.unlock(message),
            client.Drain: lambda message, who: works.drain(desk, message),
            client.EndTasks: lambda message, who: works.end_tasks(desk, message),
            client.Annotate: lambda message, who: works.annotate(desk, message),
        }

    def operation(self, peer: str, message: Mutation, who: Principal) -> None:
        """Take a request that changes something."""
        desk = self._desk
        message = rules.asked_by(message, who)
        if (error := _misnamed(message)) is not None:  # first of all: what is remembered has a size
            self._turn_away(peer, message, who, error, "refused")
            return
        if (before := self._denied.get((who.name, message.operation))) is not None:
            desk.emit(Send(peer, before))
            return
        if (denied := rules.denial(who, rules.verb_of(message))) is not None:
            self._turn_away(peer, message, who, denied, "denied")
            return
        known = self.operations.get(message.operation)
        if known is not None:
            self._again(peer, message, who, known)
            return
        denied = rules.trespass(desk.locks, desk.environments, desk.owners, message, who)
        if denied is not None:
            self._turn_away(peer, message, who, denied, "denied")
            return
        if desk.no_room and not _ends_something(message):
            full = Conflict(desk.no_room, hint="free space on the core's disk; STOP and DESTROY still work")
            self._turn_away(peer, message, who, full, "refused")
            return
        self._waiting.setdefault(message.operation, {})[peer] = who
        self._begin(peer, message, who)

    def _turn_away(self, peer: str, message: Mutation, who: Principal, error: EcsError, decision: str) -> None:
        """Refuse, and keep no record of it."""
        desk = self._desk
        answer = self._error(message, error)
        if decision == "denied":
            self._denied[who.name, message.operation] = answer
            if len(self._denied) > KEEP_DENIED:
                del self._denied[next(iter(self._denied))]
        desk.emit(rules.asked(message, who, decision, rules.error_text(error)))
        desk.emit(Send(peer, answer))

    def _error(self, message: Mutation, error: EcsError) -> Finished:
        environment = getattr(message, "environment", "")
        env = self._desk.environments.get(environment)
        text = error.message
        return Finished(
            operation=message.operation[:MAX_ID],
            environment=environment[:MAX_ID],
            state=env.state if env is not None else EnvState.DONE,
            code=error.code,
            message=text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…",
            hint=error.hint,
        )

    def _again(self, peer: str, message: Mutation, who: Principal, known: OperationRecord) -> None:
        """Somebody asks again, or asks for something else under an id that was used."""
        desk = self._desk
        if (who.name and who.name != known.owner) or known.verb != rules.verb_of(message):
            error = Conflict(
                f"operation {quoted(message.operation)} is {known.verb} of {known.requester or 'the owner'} already",
                hint="choose another id",
            )
            self._turn_away(peer, message, who, error, "refused")
        elif known.answer:
            desk.emit(Send(peer, rules.answer_for(who, known, unpack_value(Finished, known.answer))))
        else:
            self._waiting.setdefault(message.operation, {})[peer] = who
            desk.emit(Send(peer, client.Accepted(operation=message.operation, environment=known.environment)))

    def _begin(self, peer: str, message: Mutation, who: Principal) -> None:
        desk = self._desk
        environment = getattr(message, "environment", "")
        refused: EcsError | None = None
        done: str | None = None
        try:
            if isinstance(message, AtOnce):
                done = self._at_once[type(message)](message, who)
            elif not isinstance(message, client.Work):
                operations.check(desk, message, who, self.operations)
        except Denied as error:  # the scope of what only now is known
            self._waiting.pop(message.operation, None)
            self._turn_away(peer, message, who, error, "denied")
            return
        except EcsError as error:
            refused = error
        if refused is None and isinstance(message, client.Create):
            environment = desk.new_id()
        desk.emit(rules.asked(message, who, "refused" if refused else "accepted", _why(refused), environment))
        self._put(
            OperationRecord(
                operation=message.operation,
                environment=environment,
                verb=rules.verb_of(message),
                requester=message.requester,
                begun_ms=desk.now.unix_ms,
                key=who.key,
                role=int(who.role),
                via=who.via,
                object=rules.object_of(message, environment),
                owner=who.name,
                event=message.event[:MAX_EVENT] if isinstance(message, client.Control) else "",
            )
        )
        if refused is not None:
            self._finish(message.operation, self._error(message, refused), told=True)
            return
        if done is not None:
            warning = ""
            if isinstance(message, client.Lock):
                warning = desk.locks.strangers(message.detectors, desk.known_detectors)
            self.finish(message.operation, Finished(operation="", message=done, hint=warning))
            return
        desk.emit(Send(peer, client.Accepted(operation=message.operation, environment=environment)))
        if isinstance(message, client.Create):
            desk.create(environment, message, who)
        elif isinstance(message, client.Work):
            works.do_work(desk, message)
        elif not isinstance(message, AtOnce):
            env = desk.environments[environment]
            operations.prepare(env, desk, message, who)
            env.advance(desk)

    def follow(self, peer: str, name: str, who: Principal) -> bool:
        """Tell a client how an operation ends, now or later; False if it is not known.

        Raises:
            Denied: it was work, and he may not ask for such work himself: what it made is not for everybody.
        """
        known = self.operations.get(name)
        if known is None:
            return False
        if known.verb.startswith(works.WORK) and (denied := rules.denial(who, known.verb)) is not None:
            raise denied
        if known.answer:
            self._desk.emit(Send(peer, rules.answer_for(who, known, unpack_value(Finished, known.answer))))
        else:
            self._waiting.setdefault(name, {})[peer] = who
            self._desk.emit(Send(peer, client.Accepted(operation=name, environment=known.environment)))
        return True

    def finish(self, name: str, answer: Finished, shown: str = "") -> None:
        """Write down the answer of an operation, and give it to all who wait. `shown` as in OperationRecord."""
        self._finish(name, answer, shown)

    def _finish(self, name: str, answer: Finished, shown: str = "", *, told: bool = False) -> None:
        """`told`: the audit log has the end of it already."""
        desk = self._desk
        answer = attrs.evolve(answer, operation=name)
        record = self.operations.get(name)
        if record is not None:
            if record.answer:
                return
            record = attrs.evolve(record, answer=pack_value(answer), shown=shown)
            self._put(record)
            if not told:
                desk.emit(rules.ended(record, answer.code, shown or answer.message))
        desk.event(
            "operation.end",
            answer.environment,
            name=name,
            state=answer.state.name,
            ok=not answer.code,
            text=(shown or answer.message) if answer.code else "",
        )
        for peer, who in sorted(self._waiting.pop(name, {}).items(), key=lambda item: item[0]):
            desk.emit(Send(peer, answer if record is None else rules.answer_for(who, record, answer)))

    def work_done(self, done: WorkDone) -> None:
        """Take the end of what the host was asked for."""
        record = self.operations.get(done.operation)
        if record is None or record.answer or not record.verb.startswith(works.WORK):
            return
        self.finish(
            done.operation,
            Finished(operation="", code=done.code, message=done.message, hint=done.hint),
        )

    def in_order(self) -> None:
        """Have the oldest operation first: records come in the order of their ids, and the oldest are forgotten."""
        self.operations = dict(sorted(self.operations.items(), key=lambda item: item[1].begun_ms))

    def recover(self) -> None:
        """After a restart: nobody does the work any more that was going on, and what no environment goes on with is
        over.
        """
        going = {env.record.operation for env in self._desk.environments.values()}
        going |= {env.record.auto_operation for env in self._desk.environments.values()}
        for name, record in list(self.operations.items()):
            if not record.answer and name not in going:
                text = f"the core was restarted while {record.verb} was going on: nobody knows how far it came"
                self.finish(
                    name,
                    Finished(
                        operation="",
                        environment=record.environment,
                        state=EnvState.DONE,
                        code="E_FAILED",
                        message=text,
                        hint="look, and ask for it again",
                    ),
                )

    def _put(self, record: OperationRecord) -> None:
        self.operations[record.operation] = record
        self._desk.emit(Persist(OPERATION, record.operation, pack_value(record)))
        if len(self.operations) > KEEP_OPERATIONS:
            old = next((name for name, one in self.operations.items() if one.answer), None)
            if old is not None:
                del self.operations[old]
                self._desk.emit(Persist(OPERATION, old, None))

    def disconnected(self, peer: str) -> None:
        """A client is gone; its operations go on."""
        for peers in self._waiting.values():
            peers.pop(peer, None)


def _misnamed(message: Mutation) -> EcsError | None:
    """Return what is wrong with the ids in a request, None if nothing is."""
    if not 0 < len(message.operation) <= MAX_ID:
        return Conflict("an operation has an id of 1 to 200 characters")
    for name in ("environment", "take_from"):
        if len(value := getattr(message, name, "")) > MAX_ID:
            return NotFound(f"no environment {quoted(value)}: an id has at most {MAX_ID} characters")
    return None


def _ends_something(message: Mutation) -> bool:
    """Whether a request frees what it is about: it is taken even where nothing new is begun."""
    if isinstance(message, client.Control):
        return message.event == "STOP_ACTIVITY"
    return isinstance(message, (client.Destroy, client.Unlock))


def _why(refused: EcsError | None) -> str:
    return rules.error_text(refused) if refused is not None else ""
