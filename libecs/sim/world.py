"""The world of one history: processes, tasks, clients, services and links, made from a seed and run to the end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any, Protocol

import attrs

from libecs.access import OWNER
from libecs.engine.effects import Effect, Engine, Now, Received
from libecs.fsm import Mode
from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour, make_behaviour
from libecs.sim.checker import Checker
from libecs.sim.clients import Client, Shared
from libecs.sim.core import CoreProcess
from libecs.sim.coverage import count
from libecs.sim.crowd import FORGER, Crowd, with_detectors
from libecs.sim.hall import Hall
from libecs.sim.history import History
from libecs.sim.intruders import OldCore
from libecs.sim.nemesis import Nemesis
from libecs.sim.network import Network, Pair
from libecs.sim.node import Node
from libecs.sim.nodelink import NodeLink
from libecs.sim.outcome import Outcome
from libecs.sim.process import Disk, EngineProcess
from libecs.sim.programs import Process
from libecs.sim.scenario import Scenario, draw
from libecs.sim.services import Services
from libecs.sim.tasks import ControlledTask
from libecs.sim.workflows import IDEMPOTENT, make_workflow
from libecs.wire.client import CLIENT, Destroy, EndTasks, Environments, Finished
from libecs.wire.node import TaskSpec

Records = Mapping[str, Mapping[str, bytes]]

MAX_STEPS = 3_000_000
"""Steps of one history: more means that something feeds itself."""
JANITOR = "janitor"


class Engines(Protocol):
    """Where the engines of a history come from; tests put broken ones here."""

    def core(self, records: Records, now: Now, idempotent: frozenset[str]) -> tuple[Engine, list[Effect]]:
        """Return the core's engine for a new life, and its first effects."""

    def executor(self, node: str, records: Records, now: Now) -> Engine:
        """Return an executor's engine for a new life; Adopt comes first."""


class World:
    """Everything of one history. `run` plays it."""

    def __init__(self, scenario: Scenario, engines: Engines, *, keepalives: bool = False) -> None:
        self.scenario = scenario
        self.agenda = Agenda()
        self.history = History(self.agenda, keepalives=keepalives)
        self.checker = Checker(self, self.history)
        self.network = Network(self.agenda, self.history, self._random("network"), codec=scenario.codec)
        self.link_random = self._random("links")
        self.heard: dict[str, float] = {}
        """Node to when the core was last handed a message of it."""
        self.core_awake_s = 0.0
        """Since when the core lives and runs."""
        self.clock_jumped = False
        self.old_cores: list[OldCore] = []
        self.lost_disks = 0
        self.gated = False
        self.welcomed: set[str] = set()
        """Nodes that the present life of the core has taken in."""
        self._behaviour_random = self._random("behaviour")
        names = [f"node{n}" for n in range(1, scenario.nodes + 1)]
        workflow_random = self._random("workflows")
        workflows = {
            f"flow{n}": make_workflow(
                workflow_random,
                f"flow{n}",
                names,
                trouble=scenario.trouble,
                only_non_critical_trouble=scenario.only_non_critical,
                loose=self._random(f"loose{n}") if scenario.modifies else None,
            )
            for n in range(scenario.workflows)
        }
        self.crowd = Crowd(self)
        self.crowd.furnish(sorted(workflows))
        for name, detectors in self.crowd.detectors.items():
            workflows[name] = with_detectors(workflows[name], detectors)
        self.hall = Hall(self.agenda, self.history, self._random("hall"), self.checker.deeds)
        self.core = CoreProcess(
            self.agenda,
            self.history,
            self._random("core"),
            make=lambda records: engines.core(records, self.agenda.now, IDEMPOTENT),
            send=self._core_sends,
            watcher=self.checker,
        )
        self.services = self.core.services = Services(
            self.agenda,
            self.history,
            self._random("services"),
            workflows=workflows,
            answer=lambda life, input: self.core.put(input) if life == self.core.life else None,
            on_critical_failure=self.checker.deeds.called,
            furnish=self.hall.furnish,
        )
        self.nodes: list[Node] = []
        self.links: dict[str, NodeLink] = {}
        for name in names:
            self._add_node(name, engines)
        self.shared = Shared()
        self.clients: list[Client] = []
        self._client_links: dict[str, Pair] = {}
        client_random = self._random("clients")
        for n in range(scenario.clients):
            self._add_client(f"client{n}", client_random, sorted(workflows), scenario.operations)
        self._janitor = self._add_client(JANITOR, client_random, [], 0)
        self.clients.remove(self._janitor)
        for name in self.crowd.names:
            self._client_links[name] = Pair(
                self.network,
                CLIENT,
                self.network.client_faults,
                "core",
                name,
                partial(self._client_says, name),
                partial(self.crowd.receive, name),
            )
        self.latest: Environments | None = None
        self.nemesis = Nemesis(self, scenario, self._random("nemesis"))
        self.steps = 0
        self.core.on_birth = self._core_is_born
        for process in (self.core, *self.nodes):
            process.on_death = self._process_died

    def _random(self, purpose: str) -> Random:
        """Return a generator of its own for a purpose: more draws for one change nothing for another."""
        return Random(f"{self.scenario.seed}/{purpose}")

    def _add_node(self, name: str, engines: Engines) -> None:
        node = Node(
            name,
            self.agenda,
            self.history,
            self._random(name),
            network=self.network,
            make=lambda records: engines.executor(name, records, self.agenda.now),
            behave=self._behave,
            watcher=self.checker.deeds,
            send_core=self._node_sends,
            tell_core=lambda node, message: self.links[node.name].tell(message),
            hall=self.hall,
            orphan_s=self.scenario.orphan_s,
        )
        self.nodes.append(node)
        self.links[name] = NodeLink(self, node)

    def _add_client(self, name: str, random: Random, workflows: list[str], operations: int) -> Client:
        client = Client(
            name,
            self.agenda,
            self.history,
            Random(f"{self.scenario.seed}/{name}/{random.random()}"),
            shared=self.shared,
            workflows=workflows,
            operations=operations,
            until_s=self.scenario.active_s,
            send=lambda peer, message: self._client_links[peer].to_a.send(message),
            on_answer=self._answered,
            on_snapshot=self._snapshot,
            on_metrics=self.checker.accounts.shown,
            nodes=[node.name for node in self.nodes] if self.scenario.modifies else None,
        )
        self._client_links[name] = Pair(
            self.network,
            CLIENT,
            self.network.client_faults,
            "core",
            name,
            lambda message: self._client_says(name, message),
            client.receive,
        )
        self.clients.append(client)
        return client

    # links

    def _client_says(self, name: str, message: object) -> None:
        """Hand a client's message to the core. A core that lost its records is not opened to clients before its nodes
        have come: they know which of its ids are used.
        """
        if self.gated and len(self.welcomed) == len(self.nodes):
            self.gated = False
        if not self.gated:
            who = OWNER if name == JANITOR else self.crowd.client_principal(name)
            self.core.put(Received(name, message, who))

    def _core_sends(self, peer: str, message: object) -> None:
        link = self.links.get(peer)
        if link is not None:
            if link.pair is not None:
                link.pair.to_b.send(message)
        elif peer in self._client_links:
            self._client_links[peer].to_b.send(message)
        elif peer == FORGER:
            pass
        else:
            self.history.broken("engine-effect", f"core sends to {peer!r}, which is nobody")

    def person_says(self, name: str, message: object) -> None:
        """Send what somebody of the crowd says."""
        self._client_links[name].to_a.send(message)

    def janitor_asks(self, requests: list[Any]) -> None:
        """Let the janitor ask for something until it is answered."""
        self._janitor.ask_all(requests)

    def _node_sends(self, node: Node, message: object) -> None:
        pair = self.links[node.name].pair
        if pair is not None:
            pair.to_a.send(message)

    def cut_link(self, node: Node, reason: str) -> None:
        """Break the connection of a node; it is dialled again."""
        self.links[node.name].cut(reason)

    def partition(self, node: Node, *, down: bool = False, to_core: bool = False, to_node: bool = False) -> None:
        """Cut a node off: noticed by both (down), or silently in one or both directions."""
        link = self.links[node.name]
        self.history.add("nemesis", "partition", f"{node.name} down={down} to_core={to_core} to_node={to_node}")
        if down:
            link.down = True
            link.cut("partition")
        link.to_core_blocked |= to_core
        link.to_node_blocked |= to_node
        link.apply()

    def heal_link(self, node: Node) -> None:
        """End a node's partition."""
        link = self.links[node.name]
        if link.down or link.to_core_blocked or link.to_node_blocked:
            self.history.add("nemesis", "healed", node.name)
        link.down = link.to_core_blocked = link.to_node_blocked = False
        link.apply()

    def block_clients(self, blocked: bool) -> None:
        """Cut all clients off, or not."""
        self.history.add("nemesis", "clients", "cut off" if blocked else "back")
        for pair in self._client_links.values():
            pair.block(to_a=blocked, to_b=blocked)

    # processes

    def _core_is_born(self) -> None:
        self.core_awake_s = self.agenda.mono_s

    def two_cores(self) -> None:
        """The core is stopped, another one takes its place, and then the old one goes on."""
        engine = self.core.engine
        if engine is None or self.core.stopped:
            return
        old = OldCore(self, engine, self.nemesis.random)
        self.old_cores.append(old)
        self.core.die("it is stopped for so long that another one takes over")
        self.agenda.after(self.nemesis.random.choice((2.0, 5.0)), old.wake)
        if self.nemesis.random.random() < 0.5:
            node = self.nemesis.random.choice(self.nodes)
            self.agenda.after(self.nemesis.random.uniform(5.0, 7.0), lambda: old.refuse(node))

    def lose_disk(self, process: EngineProcess) -> None:
        """A process dies, and its records with it. A core's machine may come back later, with the old core on it."""
        engine = self.core.engine
        if process is self.core and engine is not None and not self.core.stopped and self.nemesis.random.random() < 0.5:
            old = OldCore(self, engine, self.nemesis.random)
            self.old_cores.append(old)
            self.agenda.after(self.nemesis.random.choice((3.0, 5.0)), old.wake)
        process.die("its disk is lost")
        process.disk = Disk()
        self.lost_disks += 1
        if process is self.core:
            self.gated = True
            self.checker.core_forgot()
        else:
            self.checker.executor_forgot(process.name)

    def _process_died(self, process: EngineProcess) -> None:
        if process is self.core:
            self.checker.house.core_died()
        for link in self.links.values():
            if process is self.core or process is link.node:
                link.cut("peer died")
                self.welcomed.discard(link.node.name)
        self.nemesis.started_again(process)

    def _behave(self, spec: TaskSpec) -> Behaviour:
        trouble = self.scenario.trouble
        if self.nemesis.over or (self.scenario.only_non_critical and self._critical(spec)):
            trouble = 0.0
        behaviour = make_behaviour(self._behaviour_random, spec.mode, trouble=trouble)
        if self.scenario.kind == "calm" or (self.scenario.only_non_critical and self._critical(spec)):
            behaviour = attrs.evolve(behaviour, troubles=())
        if spec.exit_is_error and not trouble:
            behaviour = attrs.evolve(behaviour, runs_s=0.0)
        if spec.mode is Mode.HOOK and spec.timeout_s:
            behaviour = attrs.evolve(behaviour, runs_s=min(behaviour.runs_s, spec.timeout_s / 2))
        return behaviour

    def _critical(self, spec: TaskSpec) -> bool:
        return self.services.critical(spec.environment, spec.role)

    def disturbed_tasks(self, processes: list[Process]) -> None:
        """The nemesis lays hands on tasks: note it as an excuse."""
        self.checker.deeds.disturbed(processes)

    def controlled(self, environment: str) -> list[ControlledTask]:
        """Return the live controlled tasks of an environment, attached ones too."""
        return [
            process
            for process in (*(one for node in self.nodes for one in node.living()), *self.hall.living())
            if isinstance(process, ControlledTask)
            and process.spec.environment == environment
            and self.checker.modifications.counts(process.spec)
        ]

    # clients

    def _answered(self, operation: object, finished: Finished) -> None:
        self.checker.answered(self.shared.operations[finished.operation], finished)

    def _snapshot(self, message: Environments) -> None:
        self.checker.promises.snapshot(message)
        if message.request.startswith(JANITOR):
            self.latest = message

    # the history

    def run(self) -> Outcome:
        """Play the whole history."""
        self.core.start()
        for node in self.nodes:
            node.start()
            self.agenda.after(self.link_random.uniform(0.0, 0.1), self.links[node.name].dial)
        for client in self.clients:
            client.begin()
        self.nemesis.begin()
        self.crowd.begin()
        self._run_until(self.scenario.active_s)
        self.nemesis.heal()
        self.crowd.heal()
        self.block_clients(False)
        settled_s = self._settle()
        self._destroy_all()
        self.checker.finish()
        return Outcome(
            scenario=self.scenario,
            violations=tuple(self.history.violations),
            history=self.history,
            steps=self.steps,
            settled_s=settled_s,
            operations=len(self.shared.operations),
            runs=len(self.checker.known.runs),
            effects=len(self.checker.deeds.effects.counts),
            counts=count(self),
        )

    def _run_until(self, mono_s: float) -> None:
        left = MAX_STEPS - self.steps
        if left > 0:
            done = self.agenda.run_until(mono_s, left)
            self.steps += done
            if done == left:
                self.history.broken("liveness", f"{MAX_STEPS} steps and no end")

    @property
    def _too_long(self) -> bool:
        return self.steps >= MAX_STEPS

    def _settle(self) -> float:
        """Run until nothing is left to be done and what is shown is true, for two looks in a row."""
        healed_s = self.agenda.mono_s
        good = 0
        reasons: list[str] = []
        while self.agenda.mono_s - healed_s < self.scenario.settle_s and not self._too_long:
            self.latest = None
            self._janitor.look()
            self._run_until(self.agenda.mono_s + 0.6)
            if self.agenda.mono_s - healed_s < 1.5:
                continue
            reasons = self.checker.unsettled(self.latest) + self.crowd.busy()
            good = good + 1 if not reasons else 0
            if good == 2:
                return self.agenda.mono_s - healed_s
        for reason in reasons[:5]:
            self.history.broken("liveness", f"{self.scenario.settle_s:g} s after all was healed: {reason}")
        return self.agenda.mono_s - healed_s

    def _destroy_all(self) -> None:
        """Destroy every environment that is left, and see that nothing of it is left."""
        if self.crowd.there:
            self.crowd.unlock()
            self._run_until(self.agenda.mono_s + 2.0)
        pending: dict[str, Destroy | EndTasks] = {}
        for info in self.latest.environments if self.latest is not None else ():
            pending[info.environment] = Destroy(
                operation=f"{JANITOR}-end-{info.environment}", environment=info.environment, force=True
            )
        idle = tuple(sorted(self.checker.modifications.idle))
        if idle:
            pending[""] = EndTasks(operation=f"{JANITOR}-end-idle", tasks=idle)
        self._janitor.ask_all(pending.values())
        begun_s = self.agenda.mono_s
        while self.agenda.mono_s - begun_s < self.scenario.settle_s and not self._too_long:
            self._run_until(self.agenda.mono_s + 0.5)
            if self._janitor.all_answered and not any(self._left(node) for node in self.nodes):
                self._run_until(self.agenda.mono_s + 1.0)
                return
        self.history.broken("liveness", "not everything is destroyed in time")

    def _left(self, node: Node) -> bool:
        return any(process.spec.environment not in self.checker.known.orphans for process in node.living())


def play(seed: int, engines: Engines, *, keepalives: bool = False) -> Outcome:
    """Play the history of a seed."""
    return World(draw(seed), engines, keepalives=keepalives).run()
