"""The gate: who may say what to the core, and which part of the core takes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from libecs.access import Principal, Role
from libecs.engine import rules
from libecs.engine.effects import Audit, Effect, Send
from libecs.engine.questions import Question, Questions
from libecs.engine.requests import Mutation, Requests
from libecs.engine.sessions import Sessions
from libecs.engine.telemetry import Telemetry
from libecs.wire import node

_FROM_NODE = (
    node.NodeHello,
    node.Announce,
    node.Update,
    node.Answer,
    node.NodeKeepalive,
    node.Fenced,
    node.Telemetry,
    node.OutputRead,
)
_MUTATIONS = get_args(Mutation)
_QUESTIONS = get_args(Question)
QUIET = frozenset({*_QUESTIONS, node.NodeKeepalive})
"""Messages that change nothing on record, unless an event tells of it."""
MAX_STRANGERS = 1000
"""Keys that said what is not theirs to say, of which each is named once."""


class Gate:
    """Lets messages in, to the parts of one core."""

    def __init__(
        self,
        emit: Callable[[Effect], None],
        sessions: Sessions,
        telemetry: Telemetry,
        requests: Requests,
        questions: Questions,
    ) -> None:
        self.dropped: dict[tuple[str, str], int] = {}
        """(who, message) to how often he said what is not his to say."""
        self._emit = emit
        self._sessions = sessions
        self._telemetry = telemetry
        self._requests = requests
        self._questions = questions

    def received(self, peer: str, message: object, who: Principal, epoch: int) -> None:
        """Hand a message on, if it is believed. epoch: the core's, for a node that is refused."""
        if isinstance(message, _FROM_NODE):
            self._from_node(peer, message, who, epoch)
        elif who.role is Role.NODE:
            self._strange(message, who, "an executor's key asks for nothing")
        elif isinstance(message, _MUTATIONS):
            self._requests.operation(peer, message, who)
        elif isinstance(message, _QUESTIONS):
            self._questions.question(peer, message, who)

    def _from_node(self, peer: str, message: rules.FromNode, who: Principal, epoch: int) -> None:
        """A node's messages are believed under its own key alone."""
        if isinstance(message, node.NodeHello):
            if not rules.speaks_for(who, message.node):
                self._strange(message, who, f"says that it is node {message.node}")
                reason = f"this key is not that of node {message.node}"
                self._emit(Send(peer, node.NodeRefused(epoch=epoch, reason=reason)))
                return
            self._sessions.hello(peer, message)
            return
        name = self._sessions.node_of(message.session)
        if not (rules.is_owner(who) or who.role is Role.NODE) or (name and not rules.speaks_for(who, name)):
            self._strange(message, who, f"speaks in a session of node {name or '?'}")
        elif isinstance(message, node.Telemetry):
            if name is not None:
                self._telemetry.received(name, message)
        elif isinstance(message, node.OutputRead):
            if name is not None:
                self._questions.output_read(name, message)
        else:
            self._sessions.received(peer, message, partial(self._strange, message, who))

    def _strange(self, message: object, who: Principal, text: str) -> None:
        """Somebody says what is not his to say: it is dropped and counted, and the audit log names him once a life."""
        verb = type(message).__name__
        count = self.dropped.get((who.name, verb), 0)
        if count == 0 and len(self.dropped) >= MAX_STRANGERS:
            return
        self.dropped[who.name, verb] = count + 1
        if count == 0:
            self._emit(Audit(verb=verb, principal=who, requester=who.name, decision="denied", text=text))
