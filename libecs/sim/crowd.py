"""People with keys: operators who lock detectors and take runs that end by themselves, an admin, a viewer who tries
what he may not, somebody who follows events, and a forger.

They come to some histories only, and draw from streams of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from libecs.access import OWNER, Principal, Role
from libecs.engine.effects import Received
from libecs.engine.records import ENVIRONMENT, EnvironmentRecord
from libecs.fsm import EnvState, TaskState
from libecs.sim.clients import Operation
from libecs.wire import client, node
from libecs.wire.client import Accepted, Events, Finished, Pong
from libecs.wire.codec import unpack_value
from libecs.wire.node import Phase, TaskStatus

if TYPE_CHECKING:
    from libecs.sim.world import World

DETECTORS = ("its", "mft", "tpc")
OFTEN = 0.4
"""Part of the histories that have a crowd."""
PATIENCE_S = 25.0
"""After the end of all faults, environments that take one run are given so long before they are destroyed."""


class Person:
    """Somebody with a key who asks for one thing after the other, each until it is answered."""

    def __init__(self, world: World, principal: Principal, draw: Callable[[Person, str], Any], asks: int) -> None:
        self.world = world
        self.name = principal.name
        self.principal = principal
        self.random = Random(f"{world.scenario.seed}/crowd/{self.name}")
        self.left = asks
        self.known: list[str] = []
        """Environments that it has heard of."""
        self.locked: set[str] = set()
        self._draw = draw
        self._count = 0
        self._current: Operation | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for nothing and will do nothing more."""
        return self._current is None

    def begin(self) -> None:
        """Begin to ask."""
        self.world.agenda.after(self.random.uniform(0.3, 2.0), self._next)

    def _next(self) -> None:
        if self._current is not None or self.left <= 0 or self.world.nemesis.over:
            return
        self.left -= 1
        self._count += 1
        request = self._draw(self, f"{self.name}-{self._count}")
        if request is None:
            self.world.agenda.after(1.0, self._next)
        elif hasattr(request, "operation") and not isinstance(request, client.Follow):
            self.ask(request)
        else:
            self.world.person_says(self.name, request)
            self.world.agenda.after(self.random.choice((0.1, 0.5, 1.5)), self._next)

    def ask(self, request: Any) -> None:
        """Ask for an operation until it is answered."""
        operation = Operation(request=request, client=self.name, begun_s=self.world.agenda.mono_s)
        operation.environment = getattr(request, "environment", "")
        self.world.shared.operations[request.operation] = operation
        self._current = operation
        self._send(operation)

    def _send(self, operation: Operation) -> None:
        if self._current is operation and not operation.abandoned:
            self.world.person_says(self.name, operation.request)
            self.world.agenda.after(self.random.uniform(0.5, 1.5), lambda: self._send(operation))
        elif operation.abandoned and self._current is operation:  # the core has lost its records
            self._current = None
            self.world.agenda.after(1.0, self._next)

    def receive(self, message: object) -> None:
        """Take one message of the core."""
        if isinstance(message, Accepted):
            if message.environment and message.environment not in self.known:
                self.known.append(message.environment)
            return
        if not isinstance(message, Finished):
            return
        operation = self.world.shared.operations.get(message.operation)
        if operation is None:
            self.world.history.broken("one-answer", f"{self.name} gets an answer to {message.operation}")
            return
        if operation.client == self.name:  # what it only follows is its asker's
            self.world.checker.answered(operation, message)
            operation.finished = operation.finished or message
        if self._current is operation:
            self._current = None
            self.world.agenda.after(self.random.choice((0.05, 0.3, 1.0, 2.0)), self._next)
            if self.random.random() < 0.3:
                request = operation.request
                self.world.agenda.after(
                    self.random.uniform(0.0, 3.0), lambda: self.world.person_says(self.name, request)
                )


class Listener:
    """Somebody who wants each event once, and in order, whatever happens to links and cores."""

    def __init__(self, world: World, principal: Principal) -> None:
        self.world = world
        self.name = principal.name
        self.principal = principal
        self.last = 0
        self.began = False
        self._epoch = 0
        self._count = 0

    def begin(self) -> None:
        """Begin to listen."""
        self.world.agenda.after(0.2, self._beat)

    def _say(self, make: Callable[[str], object]) -> None:
        self._count += 1
        self.world.person_says(self.name, make(f"{self.name}-{self._count}"))

    def _subscribe(self) -> None:
        self._say(lambda id: client.Subscribe(request=id, since=self.last + 1))

    def _beat(self) -> None:
        if not self.began:
            self._subscribe()
        self._say(lambda id: client.Ping(request=id))
        self.world.agenda.after(1.0, self._beat)

    def receive(self, message: object) -> None:
        """Take one message of the core."""
        if isinstance(message, Events):
            self.began = True
            for event in message.events:
                if event.sequence == self.last + 1:
                    self.last = event.sequence
                elif event.sequence > self.last + 1:
                    self._subscribe()
                    return
        elif isinstance(message, Pong):
            if message.sequence < self.last:
                self.last = 0  # the core has lost its records, and counts anew, perhaps epochs too; or this came late
            if message.sequence > self.last or message.epoch != self._epoch:
                self._subscribe()
            self._epoch = message.epoch


class Crowd:
    """All people of one history."""

    def __init__(self, world: World) -> None:
        self.world = world
        seed = world.scenario.seed
        self.random = random = Random(f"{seed}/crowd")
        self.there = random.random() < OFTEN
        self.people: list[Person] = []
        self.listener = Listener(world, Principal(name="listener", role=Role.SERVICE))
        self.principals: dict[str, Principal] = {}
        self.detectors: dict[str, tuple[str, ...]] = {}
        """Workflow to the detectors that it takes."""
        self.unlocked = 0
        self.said = 0
        """Messages of the forger."""
        if not self.there:
            return
        asks = random.randint(3, 8)
        for name, role, draw in (
            ("olga", Role.OPERATOR, _operator),
            ("anna", Role.ADMIN, _admin),
            ("vera", Role.VIEWER, _viewer),
        ):
            self.people.append(Person(world, Principal(name=name, role=role, key=name), draw, asks))
        self.principals = {person.name: person.principal for person in self.people}
        self.principals[self.listener.name] = self.listener.principal

    @property
    def names(self) -> list[str]:
        """Names of all people."""
        return [person.name for person in self.people] + ([self.listener.name] if self.there else [])

    def client_principal(self, name: str) -> Principal:
        """Return under whose key a client asks."""
        if not self.there:
            return OWNER
        if name not in self.principals:
            scope = self.random.choice((None, None, None, frozenset({"its"})))
            self.principals[name] = Principal(name=name, role=Role.OPERATOR, detectors=scope)
        return self.principals[name]

    def furnish(self, names: list[str]) -> None:
        """Choose detectors for workflows."""
        for name in names if self.there else ():
            count = self.random.choice((0, 1, 1, 2))
            self.detectors[name] = tuple(sorted(self.random.sample(DETECTORS, count)))

    def begin(self) -> None:
        """Let everybody begin."""
        if not self.there:
            return
        for person in self.people:
            person.begin()
        self.listener.begin()
        self.world.agenda.after(self.random.uniform(1.0, 4.0), self._forge)

    def heal(self) -> None:
        """All faults are over: locks are given back, and what would run for ever is ended after a while."""
        if self.there:
            self.world.agenda.after(1.0, self.unlock)
            self.world.agenda.after(PATIENCE_S, self._end_autos)

    def unlock(self) -> None:
        """Give all locks back."""
        self.unlocked += 1
        request = client.Unlock(operation=f"janitor-unlock-{self.unlocked}", detectors=DETECTORS, force=True)
        self.world.janitor_asks([request])

    def _end_autos(self) -> None:
        """A clock that jumped may have moved the end of a run by a day."""
        records = self.world.core.disk.records.get(ENVIRONMENT, {})
        autos = [name for name, value in records.items() if unpack_value(EnvironmentRecord, value).auto]
        self.unlock()
        self.world.janitor_asks(
            [client.Destroy(operation=f"janitor-auto-{name}", environment=name, force=True) for name in autos]
        )

    def busy(self) -> list[str]:
        """Return why the crowd is not at rest."""
        if not self.there:
            return []
        reasons = [f"{person.name} waits for an answer" for person in self.people if not person.idle]
        journal = self.world.core.disk.journal
        last = journal[-1].sequence if journal else 0
        if self.listener.last != last:
            reasons.append(f"the listener has events up to {self.listener.last}, and there are {last}")
        return reasons

    def receive(self, name: str, message: object) -> None:
        """Hand a message of the core to somebody."""
        if name == self.listener.name:
            self.listener.receive(message)
            return
        next(person for person in self.people if person.name == name).receive(message)

    # what must not have any effect

    def _forge(self) -> None:
        """Say under a key of one's own what is another's to say."""
        world, random = self.world, self.random
        if world.nemesis.over:
            return
        evil = Principal(name="evil", role=random.choice((Role.NODE, Role.VIEWER, Role.SERVICE)), key="evil")
        victim = random.choice(world.nodes)
        engine: Any = world.core.engine
        sessions = getattr(getattr(engine, "engine", engine), "sessions", None)  # of an engine in a wrapper, too
        known = sessions.nodes.get(victim.name) if sessions is not None else None
        session, sequence = (known.session or 0, known.sequence + 1) if known is not None else (0, 1)
        lies = tuple(
            TaskStatus(task=process.spec.task, phase=Phase.EXITED, state=TaskState.ERROR) for process in victim.living()
        )
        environment = random.choice(sorted(world.checker.known.environments) or [""])
        id = f"evil-{self.said}"
        messages: list[object] = [
            node.Update(session=session, sequence=sequence, tasks=lies),
            node.Announce(session=session, sequence=sequence, tasks=()),
            node.NodeHello(
                node=victim.name, life="evil", host="evil", attributes={}, cpus=0, memory_mb=0, ports=(), epoch_seen=9
            ),
            node.Answer(session=session, sequence=sequence, id="x", state=TaskState.DONE, done=()),
            node.Fenced(session=session, epoch=10**6),
            client.Destroy(operation=id, environment=environment, force=True, requester="anna"),
            client.Lock(operation=id, detectors=DETECTORS, requester="anna"),
            client.EndTasks(operation=id, force=True, requester="anna"),
            client.Work(operation=id, name="key.invite", requester="anna"),
        ]
        for message in random.sample(messages, 4):
            self.said += 1
            world.core.put(Received(FORGER, message, evil))
        world.agenda.after(random.uniform(0.5, 3.0), self._forge)


FORGER = "forger"
WORKS = ("repository.refresh", "repository.add")


def _environment(person: Person, chance: float = 0.9) -> str:
    states = {name: env.state for name, env in person.world.checker.known.environments.items()}
    living = [name for name, state in sorted(states.items()) if state is not EnvState.DONE]
    return person.random.choice(living) if living and person.random.random() < chance else "none"


def _operator(person: Person, id: str) -> Any:
    """Draw what an operator asks for."""
    random, who = person.random, person.name
    kind = random.choice(
        ("auto", "auto", "lock", "lock", "unlock", "control", "destroy", "annotate", "repeat", "follow", "drain")
    )
    if kind == "auto":
        variables = {"auto_stop_enabled": "true", "auto_stop_timeout": random.choice(("1s", "2s"))}
        workflow = random.choice(sorted(person.world.services.workflows))
        return client.Create(operation=id, workflow=workflow, variables=variables, auto=True, requester=who)
    if kind == "lock":
        chosen = random.sample(DETECTORS, random.choice((1, 1, 2)))
        return client.Lock(operation=id, detectors=tuple(chosen), reason="test", force=random.random() < 0.1)
    if kind == "unlock":
        return client.Unlock(operation=id, detectors=random.choice(((), ("its",), ("tpc",))))
    if kind == "control":
        event = random.choice(("START_ACTIVITY", "STOP_ACTIVITY", "RESET", "CONFIGURE", "RECOVER"))
        return client.Control(operation=id, environment=_environment(person), event=event, requester="somebody else")
    if kind == "destroy":
        return client.Destroy(operation=id, environment=_environment(person), force=random.random() < 0.5)
    if kind == "annotate":
        run = person.world.services.counter.last - random.choice((0, 1, 2, 50))
        return client.Annotate(operation=id, run=run, note=random.choice(("", "good")), tags={"shift": who})
    if kind == "repeat":
        return client.Create(operation=id, workflow="", repeat=person.world.services.counter.last, requester=who)
    if kind == "follow":
        others = sorted(person.world.shared.operations)
        return client.Follow(request=id, operation=random.choice(others)) if others else None
    return client.Drain(operation=id, node="node1")


def _admin(person: Person, id: str) -> Any:
    """Draw what an admin asks for."""
    random = person.random
    calm = person.world.scenario.kind == "calm"
    kinds = ("drain", "drain", "undrain", "undrain", "force", "release", "end", "end all", "work", "ask")
    kind = random.choice(kinds[4:] if calm else kinds)
    name = random.choice(person.world.nodes).name
    if kind in ("drain", "undrain"):
        return client.Drain(operation=id, node=name, on=kind == "drain", reason="disk")
    if kind == "force":
        return client.Lock(operation=id, detectors=(random.choice(DETECTORS),), force=True)
    if kind == "release":
        return client.Unlock(operation=id, detectors=(random.choice(DETECTORS),), force=True)
    if kind == "end":
        living = [process.spec.task for node in person.world.nodes for process in node.living()]
        tasks = (random.choice(living),) if living else ("none",)
        return client.EndTasks(operation=id, tasks=tasks, force=random.random() < 0.5 and not calm)
    if kind == "end all":
        return client.EndTasks(operation=id)
    if kind == "work":
        return client.Work(operation=id, name="repository.refresh" if calm else random.choice(WORKS))
    return _question(random, id)


def _viewer(person: Person, id: str) -> Any:
    """Draw what a viewer asks for, mostly what he may not."""
    random = person.random
    environment = _environment(person)
    if random.random() < 0.4:
        return _question(random, id)
    return random.choice(
        (
            client.Create(operation=id, workflow="flow0", requester="anna"),
            client.Control(operation=id, environment=environment, event="STOP_ACTIVITY", requester="anna"),
            client.Destroy(operation=id, environment=environment, force=True, requester="anna"),
            client.Lock(operation=id, detectors=("its",), requester="anna"),
            client.Drain(operation=id, node="node1", requester="anna"),
            client.EndTasks(operation=id, requester="anna"),
            client.Annotate(operation=id, run=1, note="x", requester="anna"),
            client.Modify(operation=id, environment=environment, exclude=("root.base0",), requester="anna"),
        )
    )


def _question(random: Random, id: str) -> object:
    return random.choice(
        (
            client.ShowNodes(request=id),
            client.ShowTasks(request=id),
            client.ShowLocks(request=id),
            client.ShowOperations(request=id),
            client.ShowEvents(request=id, since=1, limit=50),
            client.Info(request=id),
            client.Consult(request=id, subject="role.query", arguments={"environment": "none"}),
            client.Consult(request=id, subject="template.list"),
            client.ReadLog(request=id, task="none"),
        )
    )


def with_detectors(workflow: Any, detectors: tuple[str, ...]) -> Any:
    """Return a workflow whose root says which detectors it takes."""
    root = workflow.roles[0]
    root = attrs.evolve(root, vars={**root.vars, "detectors": ",".join(detectors)})
    return attrs.evolve(workflow, roles=(root, *workflow.roles[1:]))
