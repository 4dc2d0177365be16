"""The nemesis: from the seed it schedules faults, and at the end it heals all of them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from libecs.engine.effects import Call, Effect, Expand, Forget, Open, Signal, Spawn, TakeRunNumber
from libecs.sim.behaviour import ended
from libecs.sim.intruders import Thief
from libecs.sim.node import Node
from libecs.sim.process import Crash, CrashPoint, EngineProcess
from libecs.sim.programs import Process, Program
from libecs.sim.scenario import Scenario
from libecs.sim.tasks import ControlledTask

if TYPE_CHECKING:
    from libecs.sim.world import World

CORE_ASKS: tuple[type[Effect], ...] = (Call, Call, Call, TakeRunNumber, Expand)
NODE_ASKS: tuple[type[Effect], ...] = (Spawn, Spawn, Signal, Forget, Open)
"""Effects after which a process is killed."""


PROCESS_FAULTS = (
    "kill",
    *("point",) * 6,
    *("effect",) * 3,
    "stop",
    "both",
    "reboot",
    "clock",
    "two-cores",
    "two-cores",
    "disk",
)


class Nemesis:
    """All faults of one history."""

    def __init__(self, world: World, scenario: Scenario, random: Random) -> None:
        self.world = world
        self.scenario = scenario
        self.random = random
        self.over = False
        self.thief = Thief(world, random)
        self.counts: dict[str, int] = {}
        """Kind of fault to how often it came."""

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def begin(self) -> None:
        """Set the rates of messages' faults, schedule everything else."""
        world, s, random = self.world, self.scenario, self.random
        for faults in (world.network.node_faults, world.network.client_faults):
            faults.loss, faults.duplicate, faults.reorder, faults.late = s.loss, s.duplicate, s.reorder, s.late
        task_faults = world.network.task_faults
        task_faults.duplicate = task_faults.reorder = s.task_link
        task_faults.late = s.task_link / 4
        telemetry = world.network.telemetry_faults
        telemetry.loss, telemetry.reorder, telemetry.late = s.telemetry_loss, s.reorder, max(s.late, 0.05)
        trouble = world.services.trouble
        trouble.run_error = trouble.run_lost = trouble.expand_error = s.service_trouble / 2
        trouble.slow = s.service_trouble
        for count, action in (
            (s.process_faults, self._process_fault),
            (s.network_faults, self._network_fault),
            (s.task_faults, self._task_fault),
        ):
            for _ in range(count):
                world.agenda.at(random.uniform(0.5, s.active_s * 0.9), action)

    def heal(self) -> None:
        """End all faults: what is down starts, what is stopped goes on, what hangs returns."""
        world = self.world
        self.over = True
        world.history.add("nemesis", "heals")
        world.network.heal()
        world.services.trouble.heal()
        for node in world.nodes:
            world.heal_link(node)
            for process in node.living():
                process.thaw()
        for place in world.hall.places.values():
            world.hall.start(place)
        for daemon in (world.core, *world.nodes):
            daemon.crash = None
            daemon.go_on()
            world.agenda.after(self.random.uniform(0.0, 0.5), daemon.start)

    def _restart_later(self, process: EngineProcess) -> None:
        delay = self.random.choice((0.02, 0.3, 1.5, 4.0)) * self.random.uniform(0.5, 1.5)
        self.world.agenda.after(delay, process.start)

    def _process_fault(self) -> None:
        if self.over:
            return
        random, world = self.random, self.world
        daemon: EngineProcess = random.choice((world.core, random.choice(world.nodes)))
        kind = random.choice(PROCESS_FAULTS)
        self._count(kind)
        if kind == "clock":
            jump = random.choice((-3_600_000, 3_600_000, -86_400_000, 86_400_000))
            world.agenda.wall_offset_ms += jump
            world.clock_jumped = True
            world.history.add("nemesis", "clock", f"jumps by {jump} ms")
        elif kind == "kill":
            daemon.die("killed")
        elif kind == "both":
            world.core.die("killed")
            random.choice(world.nodes).die("killed")
        elif kind == "stop":
            daemon.stop()
            world.agenda.after(random.choice((0.3, 1.2, 2.0, 4.0)) * random.uniform(0.7, 1.3), daemon.go_on)
        elif kind == "reboot":
            node = random.choice(world.nodes)
            if random.random() < 0.5:
                world.disturbed_tasks(node.living())
                node.reboot()
            else:
                node.die("killed")
        elif kind == "two-cores":
            world.two_cores()
        elif kind == "disk":
            world.lose_disk(daemon)
        elif kind == "effect":
            self._kill_at_effect(daemon)
        else:
            daemon.crash = Crash(
                random.choice(tuple(CrashPoint)),
                ticks=random.choice((1, 1, 2, 3, 5, 8)),
                effects=random.choice((0, 1, 1, 2, 3, 5)),
                only_commits=random.random() < 0.7,
            )

    def _kill_at_effect(self, daemon: EngineProcess) -> None:
        """Kill a process a moment after it has asked somebody for something: the answer finds nobody, or a new life."""
        choices = CORE_ASKS if daemon is self.world.core else NODE_ASKS
        wanted, delay = self.random.choice(choices), self.random.choice((0.0, 0.01, 0.1))

        def see(effect: Effect) -> None:
            if isinstance(effect, wanted) and not self.over:
                daemon.on_effect = lambda effect: None
                life = daemon.life
                self.world.agenda.after(
                    delay, lambda: daemon.die(f"killed after {wanted.__name__}") if daemon.life == life else None
                )

        daemon.on_effect = see

    def started_again(self, process: EngineProcess) -> None:
        """Be told of a death: the process is started again after a while, as a supervisor would."""
        if not self.over:
            self._restart_later(process)
        else:
            self.world.agenda.after(0.2, process.start)

    def _network_fault(self) -> None:
        if self.over:
            return
        random, world = self.random, self.world
        seconds = random.choice((0.2, 1.0, 2.2, 4.0, 8.0)) * random.uniform(0.8, 1.2)
        kind = random.choice(("cut", "silent", "silent", "to-core", "to-node", "client", "down"))
        self._count(f"network {kind}")
        if kind == "client":
            world.block_clients(True)
            world.agenda.after(seconds, lambda: world.block_clients(False))
            return
        node = random.choice(world.nodes)
        if kind == "cut":
            world.cut_link(node, "reset")
        elif kind == "down":
            world.partition(node, down=True)
            world.agenda.after(seconds, lambda: world.heal_link(node))
        else:
            world.partition(node, to_core=kind in ("silent", "to-core"), to_node=kind in ("silent", "to-node"))
            world.agenda.after(seconds, lambda: world.heal_link(node))

    def _hall_fault(self) -> None:
        """Somebody ends an attached task, and starts it again later."""
        world = self.world
        place = world.hall.places[self.random.choice(sorted(world.hall.places))]
        self._count("task attached")
        if place.process is not None:
            if self.scenario.only_non_critical and self._critical(place.process):
                return
            world.disturbed_tasks([place.process])
        world.hall.stop(place)
        world.agenda.after(self.random.choice((0.1, 2.0, 8.0)), lambda: world.hall.start(place))

    def _critical(self, process: Process) -> bool:
        return self.world.services.critical(process.spec.environment, process.spec.role)

    def _task_fault(self) -> None:
        if self.over:
            return
        random, world = self.random, self.world
        if random.random() < 0.3 and world.hall.places:
            self._hall_fault()
            return
        victims: list[tuple[Node, Process]] = [
            (node, process)
            for node in world.nodes
            for process in node.living()
            if not (self.scenario.only_non_critical and self._critical(process))
        ]
        if not victims:
            return
        node, process = random.choice(victims)
        kind = random.choice(("kill", "kill", "exit", "freeze", "shim", "shim-kill", "steal"))
        self._count(f"task {kind}")
        world.history.add("nemesis", f"task-{kind}", f"{process.spec.task} {process.spec.role}")
        if kind.startswith("shim") and process.spec.task in node.shims:
            node.kill_shim(process.spec.task)
            if kind == "shim":
                if isinstance(process, Program):  # how it ends is all that it says, and now nobody sees it
                    world.disturbed_tasks([process])
                return
        if kind == "steal":
            if isinstance(process, ControlledTask):
                self.thief.steal(process)
            return
        world.disturbed_tasks([process])
        if kind == "freeze":
            process.frozen = True
            world.agenda.after(random.uniform(1.0, 10.0), process.thaw)
        elif kind == "exit":
            process.last_log = "nemesis says goodbye"
            process.end(ended(random.choice((0, 1))))
        else:
            process.last_log = "nemesis kills"
            process.end(ended(signal=random.choice((9, 11))))
