"""Simulated clients: they draw operations from the seed, retry when no answer comes, and repeat some on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import attrs

from libecs.fsm import EnvState
from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.sim.workflows import GAIN
from libecs.wire.client import (
    Accepted,
    Control,
    Create,
    Destroy,
    EndTasks,
    Environments,
    Finished,
    Metrics,
    Modify,
    Reconfigure,
    Show,
    Watch,
)

Request = Create | Control | Destroy | Reconfigure | Modify | EndTasks
NONSENSE = "nonsense"
"""A key that means nothing to any task."""


@attrs.define(kw_only=True)
class Operation:
    """One operation as its client sees it."""

    request: Request
    client: str
    begun_s: float
    environment: str = ""
    accepted_s: float | None = None
    finished: Finished | None = None
    finished_s: float | None = None
    abandoned: bool = False
    """Its client gave up on it: nobody asks for the answer."""


@attrs.define
class Shared:
    """What all clients know: the operations, and environments with their last known state."""

    operations: dict[str, Operation] = attrs.field(factory=dict)
    states: dict[str, EnvState] = attrs.field(factory=dict)
    lacking: set[str] = attrs.field(factory=set)
    """Environments of which something was taken out."""


_EVENTS = {
    EnvState.STANDBY: ("DEPLOY",),
    EnvState.DEPLOYED: ("CONFIGURE", "CONFIGURE", "CONFIGURE", "destroy"),
    EnvState.CONFIGURED: (*("START_ACTIVITY",) * 4, "reconfigure", "reconfigure", "RESET", "destroy"),
    EnvState.RUNNING: ("STOP_ACTIVITY", "STOP_ACTIVITY", "STOP_ACTIVITY", "STOP_ACTIVITY", "destroy"),
    EnvState.ERROR: ("RECOVER", "RECOVER", "destroy"),
}
_ANY = ("reconfigure", "DEPLOY", "CONFIGURE", "RESET", "START_ACTIVITY", "STOP_ACTIVITY", "RECOVER", "destroy")


_MODIFICATIONS = {
    False: ("out", "out", "out", "node out"),
    True: ("in", "in", "in", "both", "out", "node in", "take", "take"),
}
"""What is done to environments that lack nothing, and to those that lack something."""
_PARTS = (
    *("**.part0", "**.part1", "**.part2", "**.base0", "**.base1", "**.base2", "**.base3", "**.task0", "**.task1"),
    *("**.part?", "**.task*", "**.hall0", "no"),
)
"""Patterns of roles that are taken out and put back."""

TIMEOUTS = ("1s", "2s", "4s")
WATCH = "-watch"


class Client:
    """One client with one operation at a time."""

    def __init__(
        self,
        name: str,
        agenda: Agenda,
        history: History,
        random: Random,
        *,
        shared: Shared,
        workflows: list[str],
        operations: int,
        until_s: float,
        send: Callable[[str, object], None],
        on_answer: Callable[[Operation, Finished], None],
        on_snapshot: Callable[[Environments], None],
        on_metrics: Callable[[Metrics], None] = lambda message: None,
        may_time_out: bool = True,
        nodes: list[str] | None = None,
    ) -> None:
        """`may_time_out`: some of its environments stop their runs by themselves. `nodes`: it modifies environments;
        these are the nodes that there are.
        """
        self._nodes = nodes
        self.name = name
        self.agenda = agenda
        self.history = history
        self.random = random
        self.shared = shared
        self.workflows = workflows
        self.until_s = until_s
        self.left = operations
        self.environments: list[str] = []
        self._send = send
        self._on_answer = on_answer
        self._on_snapshot = on_snapshot
        self._on_metrics = on_metrics
        self._may_time_out = may_time_out
        self._watches = random.random() < 0.3
        self._current: Operation | None = None
        self._count = 0
        self._asked: list[Operation] = []
        self._retry_s = random.choice((0.3, 1.0, 2.5))

    @property
    def idle(self) -> bool:
        """Whether it waits for nothing and will do nothing more."""
        return self._current is None and (self.left <= 0 or self.agenda.mono_s >= self.until_s)

    def begin(self) -> None:
        """Begin the script, and to look at the environments now and then."""
        self.agenda.after(self.random.uniform(0.2, 1.5), self._next)
        self.agenda.after(self.random.uniform(0.5, 1.5), self._look)

    def receive(self, message: object) -> None:
        """Take one message of the core."""
        if isinstance(message, Accepted):
            operation = self.shared.operations.get(message.operation)
            if operation is not None and operation.accepted_s is None:
                operation.accepted_s = self.agenda.mono_s
                operation.environment = message.environment
                self._know(operation)
        elif isinstance(message, Finished):
            self._finished(message)
        elif isinstance(message, Environments):
            if message.environments or not message.request.endswith(WATCH):
                self._on_snapshot(message)
        elif isinstance(message, Metrics):
            self._on_metrics(message)

    def look(self) -> None:
        """Ask for all environments once."""
        self._count += 1
        self._send(self.name, Show(request=f"{self.name}-look{self._count}"))

    def ask_all(self, requests: Iterable[Destroy | EndTasks]) -> None:
        """Ask for all these, each until it is answered, and for nothing else."""
        for request in requests:
            operation = Operation(request=request, client=self.name, begun_s=self.agenda.mono_s)
            self.shared.operations[request.operation] = operation
            self._asked.append(operation)
            self._ask_until_answered(operation)

    @property
    def all_answered(self) -> bool:
        """Whether all that `ask_all` asked for is answered."""
        return all(operation.finished is not None for operation in self._asked)

    def _ask_until_answered(self, operation: Operation) -> None:
        if operation.finished is None:
            self._send(self.name, operation.request)
            self.agenda.after(1.0, lambda: self._ask_until_answered(operation))

    def _look(self) -> None:
        if self.agenda.mono_s < self.until_s:
            self.look()
            if self._watches and self.random.random() < 0.5:
                lines = self.random.random() < 0.5
                self._send(self.name, Watch(request=f"{self.name}-{self._count}{WATCH}", metrics=True, lines=lines))
            self.agenda.after(self.random.uniform(0.5, 2.0), self._look)

    def _know(self, operation: Operation) -> None:
        if isinstance(operation.request, Create) and operation.environment not in self.environments:
            self.environments.append(operation.environment)
            self.shared.states.setdefault(operation.environment, EnvState.STANDBY)

    def _finished(self, message: Finished) -> None:
        operation = self.shared.operations.get(message.operation)
        if operation is None:
            self.history.broken("one-answer", f"{self.name} gets an answer to {message.operation}, which nobody asked")
            return
        self._on_answer(operation, message)
        if operation.finished is None:
            operation.finished = message
            operation.finished_s = self.agenda.mono_s
        if isinstance(operation.request, Modify) and not message.code and operation.request.exclude:
            self.shared.lacking.add(message.environment)
        if message.environment:
            operation.environment = message.environment
            self.shared.states[message.environment] = message.state
            if not message.code or message.state is not EnvState.DONE:
                self._know(operation)
        if self._current is operation:
            self._current = None
            self.agenda.after(self.random.choice((0.01, 0.1, 0.5, 1.5)), self._next)
            if self.random.random() < 0.25:
                request = operation.request
                self.agenda.after(self.random.uniform(0.0, 4.0), lambda: self._send(self.name, request))

    def _next(self) -> None:
        if self._current is not None or self.left <= 0 or self.agenda.mono_s >= self.until_s:
            return
        self.left -= 1
        self._count += 1
        request = self._draw(f"{self.name}-{self._count}")
        operation = self._current = Operation(request=request, client=self.name, begun_s=self.agenda.mono_s)
        self.shared.operations[request.operation] = operation
        if not isinstance(request, (Create, EndTasks)):
            operation.environment = request.environment
        self._ask(operation)
        if self.random.random() < 0.05:
            self.agenda.after(self.random.uniform(0.0, 1.0), lambda: self._abandon(operation))

    def _abandon(self, operation: Operation) -> None:
        """Die in the middle of an operation, and come back as somebody who knows nothing of it."""
        if self._current is operation:
            self.history.add(self.name, "abandons", operation.request.operation)
            operation.abandoned = True
            self._current = None
            self.agenda.after(1.0, self._next)

    def _ask(self, operation: Operation) -> None:
        if self._current is operation:
            self._send(self.name, operation.request)
            self.agenda.after(self._retry_s * self.random.uniform(0.8, 1.2), lambda: self._ask(operation))

    def _draw(self, id: str) -> Request:
        random, states = self.random, self.shared.states
        mine = [name for name in self.environments if states.get(name) is not EnvState.DONE]
        if not mine:
            others = [name for name, state in states.items() if state is not EnvState.DONE]
            if others and random.random() < 0.3:
                mine = [random.choice(others)]
            else:
                target = random.choice((EnvState.CONFIGURED, EnvState.CONFIGURED, EnvState.DEPLOYED))
                workflow = random.choice(self.workflows)
                variables = {}
                if self._may_time_out and random.random() < 0.25:
                    variables = {"auto_stop_enabled": "true", "auto_stop_timeout": random.choice(TIMEOUTS)}
                return Create(operation=id, workflow=workflow, target=target, variables=variables, requester=self.name)
        environment = random.choice(mine)
        state = states.get(environment, EnvState.STANDBY)
        choices = _EVENTS.get(state, _ANY) if random.random() < 0.9 else _ANY
        event = random.choice(choices)
        if self._nodes and random.random() < (0.4 if state in (EnvState.CONFIGURED, EnvState.RUNNING) else 0.03):
            return self._modify(id, environment, self._nodes)
        if event == "destroy":
            return Destroy(
                operation=id,
                environment=environment,
                force=random.random() < 0.5,
                allow_running=random.random() < 0.5,
                requester=self.name,
                keep_tasks=bool(self._nodes) and random.random() < 0.6,
            )
        if event == "reconfigure":
            return self._reconfigure(id, environment)
        return Control(operation=id, environment=environment, event=event, requester=self.name)

    def _modify(self, id: str, environment: str, nodes: list[str]) -> Modify:
        random = self.random
        lacks = environment in self.shared.lacking
        what = random.choice(_MODIFICATIONS[lacks] if random.random() < 0.9 else _MODIFICATIONS[not lacks])
        others = [name for name, state in self.shared.states.items() if name != environment]
        include: tuple[str, ...] = ()
        if what in ("in", "both", "take"):
            include = ("**",) if random.random() < 0.7 else (random.choice(_PARTS),)
        return Modify(
            operation=id,
            environment=environment,
            exclude=(random.choice(_PARTS),) if what in ("out", "both") else (),
            include=include,
            exclude_nodes=(random.choice(nodes),) if what == "node out" else (),
            include_nodes=(random.choice(nodes),) if what == "node in" else (),
            take_from=random.choice(others) if what == "take" and others else "",
            requester=self.name,
        )

    def _reconfigure(self, id: str, environment: str) -> Reconfigure:
        random = self.random
        value = str(random.randint(1, 999))
        values = random.choice(({"rate": value}, {GAIN: value}, {"rate": value, GAIN: value}))
        if random.random() < 0.15:
            values = {**values, NONSENSE: value}
        return Reconfigure(
            operation=id,
            environment=environment,
            values=values,
            tasks=random.choice(("**", "**", "**", "root.base0", "nowhere")),
            requester=self.name,
        )
