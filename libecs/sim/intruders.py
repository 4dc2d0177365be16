"""Those who should not be there: an old core that wakes up beside its successor, and somebody with `peanut --steal`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from libecs.engine.effects import Disconnected, Effect, Engine, Input, Received, Send, Tick
from libecs.fsm import TaskEvent, TaskState
from libecs.sim.node import Node
from libecs.sim.tasks import ControlledTask
from libecs.wire import task as wire
from libecs.wire.client import Control, Destroy, Environments, Show

if TYPE_CHECKING:
    from libecs.sim.world import World


class OldCore:
    """A core that was stopped for so long that another one was started in its place, and that goes on now.

    It has its own memory and believes its own disk. What it says to nodes arrives there late, by connections of old.
    What it writes, publishes and calls reaches nobody.
    """

    def __init__(self, world: World, engine: Engine, random: Random) -> None:
        self.world = world
        self.engine = engine
        self.random = random
        self.said = 0
        """Messages that it got through to nodes."""
        self.life = world.core.life
        self._environments: tuple[str, ...] = ()

    def wake(self) -> None:
        """Go on as if nothing had been, and do what some clients of old still ask."""
        world = self.world
        world.history.add("old core", "wakes", f"of life {self.life}")
        self._handle(Received("old client", Show(request="old")))
        for environment in self._environments:
            operation = f"old-{environment}-{self.life}"
            request = self.random.choice(
                (
                    Destroy(operation=operation, environment=environment, force=True),
                    Control(operation=operation, environment=environment, event="STOP_ACTIVITY"),
                    Control(operation=operation, environment=environment, event="RESET"),
                )
            )
            self._handle(Received("old client", request))
        for n in range(4):
            world.agenda.after(0.5 * n + 0.1, lambda: self._handle(Tick()))

    def _handle(self, input: Input) -> None:
        for effect in self.engine.handle(input, self.world.agenda.now):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if not isinstance(effect, Send):
            return
        if isinstance(effect.message, Environments):
            self._environments = tuple(info.environment for info in effect.message.environments)
        for node in self.world.nodes:
            if node.name == effect.peer:
                self._reach(node, effect.message)

    def _reach(self, node: Node, message: object) -> None:
        """Deliver to a node that knows the new core. One that does not has no connection at all: both are gone."""
        world = self.world

        def arrive() -> None:
            if node.alive and world.core.alive and world.core.life > self.life and node.name in world.welcomed:
                self.said += 1
                world.history.add("old core", "says", message)
                node.put(Received("core", message))

        world.agenda.after(self.random.uniform(0.001, 0.3), arrive)

    def refuse(self, node: Node) -> None:
        """A node dials the old core by mistake: it must not be taken in."""
        world = self.world
        link = world.links[node.name]
        if link.pair is None or not node.alive:
            return
        link.cut("dials the old core")
        link.down = True
        for effect in self.engine.handle(Disconnected(node.name, "dialled anew"), world.agenda.now):
            self._perform(effect)
        world.agenda.after(self.random.uniform(0.1, 1.0), lambda: world.heal_link(node))


class Thief:
    """Somebody with peanut who takes a task from its executor, plays with it, and perhaps gives it back."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.stolen = 0

    def steal(self, task: ControlledTask) -> None:
        """Take a task."""
        if not task.bound or task.frozen:
            return
        self.stolen += 1
        peer = f"peanut{self.stolen}"
        task.stolen = True
        self.world.checker.known.robbed.add(task.spec.task)
        self.world.history.add(peer, "steals", f"{task.spec.task} {task.spec.role}")
        self.world.disturbed_tasks([task])
        task.connect(peer, lambda message: None)
        epoch = task.holder_epoch
        task.receive(peer, wire.Hello(role=wire.PeerRole.CONTROLLER, epoch=epoch, name=peer, steal=True))
        if self.random.random() < 0.5 and task.machine is wire.Machine.OCC:
            state = TaskState(int(task.state))
            event = {TaskState.RUNNING: TaskEvent.STOP, TaskState.CONFIGURED: TaskEvent.RESET}.get(state)
            if event is not None:
                task.receive(peer, wire.Transition(id=f"{peer}-1", event=event, source=state))
        self.world.agenda.after(self.random.uniform(0.5, 4.0), lambda: self._leave(peer, task))

    def _leave(self, peer: str, task: ControlledTask) -> None:
        if self.random.random() < 0.7:
            task.receive(peer, wire.Hello(role=wire.PeerRole.OBSERVER, epoch=0, name=peer))
        task.disconnect(peer)
