"""A simulated node: an executor's process, its shims, and the tasks that outlive both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

import attrs

from libecs.engine.desk import TASK_TABLE
from libecs.engine.effects import (
    Adopt,
    Close,
    Connected,
    Disconnected,
    Effect,
    Engine,
    Forget,
    MakeFolder,
    Open,
    Output,
    OutputTail,
    ProcessEnded,
    ProcessStarted,
    ReadTail,
    Received,
    Send,
    Signal,
    Spawn,
    Survivor,
)
from libecs.engine.held import HeldRecord
from libecs.engine.outbox import TELEMETRY
from libecs.fsm import Mode
from libecs.sim import voices
from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour
from libecs.sim.hall import Hall
from libecs.sim.history import History
from libecs.sim.network import Network, Pair
from libecs.sim.process import EngineProcess
from libecs.sim.programs import Process, Program, TaskWatcher
from libecs.sim.tasks import ControlledTask
from libecs.wire.codec import unpack_value
from libecs.wire.info import Event
from libecs.wire.node import Exit, ExitCause, Phase, TaskSpec
from libecs.wire.task import TASK

CORE = "core"
"""The peer name of an executor's link to its core."""
RUNS_FOLDER = "/runs"

DIAL_S = (0.05, 0.2)


@attrs.define(kw_only=True)
class Shim:
    """A shim and the folder of its task: the folder stays until Forget."""

    spec: TaskSpec
    process: Process | None
    alive: bool = True
    exit: Exit | None = None
    """What is in exit.json, or what the executor found out without it."""
    last_log: str = ""


class Node(EngineProcess):
    """One node. The name of the process is the name of the node."""

    def __init__(
        self,
        name: str,
        agenda: Agenda,
        history: History,
        random: Random,
        *,
        network: Network,
        make: Callable[[Mapping[str, Mapping[str, bytes]]], Engine],
        behave: Callable[[TaskSpec], Behaviour],
        watcher: TaskWatcher,
        send_core: Callable[[Node, object], None],
        tell_core: Callable[[Node, object], None],
        hall: Hall,
        orphan_s: float | None = None,
    ) -> None:
        """`send_core` and `tell_core` are the links for messages and for telemetry. `orphan_s`: how long shims keep
        their tasks when their executor is dead, None = for ever.
        """
        super().__init__(name, agenda, history, random)
        self.network = network
        self.shims: dict[str, Shim] = {}
        self.processes: list[Process] = []
        """All that ever ran here, dead ones too, in order of their start."""
        self.spawned: dict[str, int] = {}
        """Task id to how often a process was started for it since the node booted; hooks: ever."""
        self.modes: dict[str, Mode] = {}
        """Task id to its control mode, of all that were ever started."""
        self._links: dict[str, Pair] = {}
        self._opened: set[str] = set()
        self._endpoints: dict[str, str] = {}
        self._make = make
        self._behave = behave
        self._watcher = watcher
        self._send_core = send_core
        self._tell_core = tell_core
        self.hall = hall
        self.orphan_s = orphan_s
        self.orphaned = 0
        """Tasks that shims have stopped because nobody owned them."""
        self.folders: set[str] = set()
        self._pids = 100

    # the executor's process

    def make_engine(self) -> tuple[Engine, list[Effect]]:
        """Make the engine, hand it what its predecessor left."""
        engine = self._make(self.disk.copy())
        survivors = tuple(self._survivor(shim) for shim in self.shims.values())
        return engine, engine.handle(Adopt(survivors=survivors), self.agenda.now)

    @staticmethod
    def _survivor(shim: Shim) -> Survivor:
        alive = shim.process is not None and shim.process.alive
        return Survivor(
            spec=shim.spec,
            phase=Phase.ACTIVE if alive else Phase.EXITED,
            pid=shim.process.pid if shim.process is not None else 0,
            exit=None if alive else shim.exit,
            last_log=shim.last_log,
        )

    def buried(self) -> None:
        """Drop the links that the process held."""
        for pair in self._links.values():
            pair.cut()
        for task in self._opened:
            process = self.reached(task)
            if process is not None:
                process.disconnect(f"{self.name}/{self.life}")
        self._links.clear()
        self._opened.clear()
        if self.orphan_s is not None:
            life = self.life
            self.agenda.after(self.orphan_s, lambda: self._stop_orphans(life))

    def _stop_orphans(self, life: int) -> None:
        """Nobody has come to own the tasks: their shims end them."""
        if self.alive or life != self.life:
            return
        for shim in self.shims.values():
            process = shim.process
            if shim.alive and process is not None and process.alive:
                self.orphaned += 1
                self._watcher.orphaned(process)
                process.orphaned = True
                process.signal(15)
                process.later(3.0, partial(process.signal, 9))

    def committed(self, records: Mapping[tuple[str, str], bytes | None], events: list[Event]) -> None:
        """See which tasks have got another use: it is on disk before anybody acts on it."""
        for (table, key), value in records.items():
            if table == TASK_TABLE and value is not None:
                record = unpack_value(HeldRecord, value)
                process = self.live(key)
                if record.use and process is not None and process.spec != record.spec:
                    self.history.add(self.name, "used anew", f"{key} by {record.use} as {record.spec.role}")
                    process.spec = record.spec
                    self._watcher.used(process)

    def perform(self, effect: Effect) -> None:
        """Do what the executor's engine wants."""
        if isinstance(effect, Send):
            if effect.peer == CORE:
                self._send_core(self, effect.message)
            elif effect.peer == TELEMETRY:
                self._tell_core(self, effect.message)
            elif (pair := self._links.get(effect.peer)) is not None:
                pair.to_b.send(effect.message)
            return
        self.history.add(self.name, type(effect).__name__, _brief(effect))
        if isinstance(effect, Spawn):
            self._spawn(effect)
        elif isinstance(effect, Signal):
            process = self.live(effect.task)
            if process is not None:
                self._watcher.signaled(process, effect.number)
                process.signal(effect.number)
        elif isinstance(effect, Open):
            self._opened.add(effect.task)
            self._endpoints[effect.task] = effect.endpoint
            self._dial(effect.task, self.life)
        elif isinstance(effect, Close):
            self._opened.discard(effect.task)
            self._unlink(effect.task)
        elif isinstance(effect, Forget):
            self._forget(effect.task)
        elif isinstance(effect, MakeFolder):
            self.folders.add(effect.path)
        elif isinstance(effect, ReadTail):
            self._read(effect)
        else:
            self.history.broken("engine-effect", f"{self.name}: {type(effect).__name__} is no effect of an executor")

    def _read(self, effect: ReadTail) -> None:
        life = self.life
        tail = OutputTail(id=effect.id, task=effect.task, text=f"the last words of {effect.task}\n")
        self.agenda.after(0.005, lambda: self.put(tail) if life == self.life else None)

    # processes

    def live(self, task: str) -> Process | None:
        """Return the live process of a task, if it has one."""
        shim = self.shims.get(task)
        if shim is not None and shim.process is not None and shim.process.alive:
            return shim.process
        return None

    def reached(self, task: str) -> ControlledTask | None:
        """Return the live process that a task's link leads to: its own, or that of somebody else if it is attached."""
        process = self.live(task) or self.hall.at(self._endpoints.get(task, ""))
        return process if isinstance(process, ControlledTask) else None

    def living(self) -> list[Process]:
        """Return all live processes, those of forgotten tasks too."""
        return [process for process in self.processes if process.alive]

    def _spawn(self, effect: Spawn) -> None:
        spec, task = effect.spec, effect.spec.task
        self.spawned[task] = self.spawned.get(task, 0) + 1
        self.modes[task] = spec.mode
        if self.live(task) is not None:
            self.history.broken("one-process", f"{self.name}: task {task} ({spec.role}) is started beside its process")
        if spec.attached:
            self.history.broken("attached", f"{self.name}: {task} ({spec.role}) is somebody else's, and is started")
        self._check_texts(spec)
        behaviour = self._behave(spec)
        if behaviour.launch_error:
            self._watcher.launch_failed(spec)
            exit = Exit(cause=ExitCause.LAUNCH_FAILED, text=behaviour.launch_error)
            self.shims[task] = Shim(spec=spec, process=None, exit=exit)
            self._tell(task, lambda: ProcessEnded(task=task, exit=exit))
            return
        self._pids += 1
        process: Process
        if spec.mode in (Mode.DIRECT, Mode.FAIRMQ):
            process = controlled = ControlledTask(
                spec, self._pids, behaviour, self.agenda, self.random, self._ended, watcher=self._watcher
            )
            controlled.boot()
        else:
            process = program = Program(spec, self._pids, behaviour, self.agenda, self.random, self._ended)
            program.run()
            self._write_later(program)
        self.processes.append(process)
        self._watcher.began(process)
        self.shims[task] = Shim(spec=spec, process=process)
        self._tell(task, lambda: ProcessStarted(task=task, pid=process.pid))

    def _check_texts(self, spec: TaskSpec) -> None:
        """A program is started with what it needs to know of its run, in a folder that is there."""
        for text in (*spec.command.argv, *spec.command.environment.values()):
            if "{{" in text:
                self.history.broken("run-folder", f"{self.name}: {spec.role} is started with {text!r}")
            if text.startswith(f"{RUNS_FOLDER}/") and text not in self.folders:
                self.history.broken("run-folder", f"{self.name}: {spec.role} is started before {text} is made")

    def _write_later(self, program: Program) -> None:
        """Let a program write lines, now and then too many of them."""
        voice = program.behaviour.voice
        if voice is None:
            return
        life = self.life

        def write(count: int) -> None:
            if life == self.life:
                lines = voices.output(self.random, min(count, 1000), self.agenda.now.unix_ms)
                self.put(Output(task=program.spec.task, lines=lines, dropped=count - len(lines)))

        program.later(voice.every_s, lambda: write(3 + voice.flood * 5))

    def _tell(self, task: str, input: Callable[[], ProcessStarted | ProcessEnded]) -> None:
        life = self.life

        def tell() -> None:
            if life == self.life and task in self.shims:
                self.put(input())

        self.agenda.after(self.random.uniform(0.0005, 0.005), tell)

    def _ended(self, process: Process, exit: Exit) -> None:
        """A process is gone: its shim writes how, or nobody does."""
        task = process.spec.task
        self._watcher.ended(process)
        self.history.add(f"{self.name}", "process-ended", f"{task} {process.spec.role} {exit.describe()}")
        shim = self.shims.get(task)
        if shim is None or shim.process is not process:
            return
        if process.orphaned and shim.alive:
            exit = attrs.evolve(exit, cause=ExitCause.ORPHANED)
        shim.exit = exit if shim.alive else Exit(cause=ExitCause.UNKNOWN)
        shim.last_log = process.last_log if shim.alive else ""
        told, log = shim.exit, shim.last_log
        self._unlink(task)
        if task in self._opened:
            self._dial(task, self.life)
        # The start of a process is told before its end, however short it was.
        life = self.life

        def tell() -> None:
            if life == self.life and self.shims.get(task) is shim:
                self.put(ProcessEnded(task=task, exit=told, last_log=log))

        self.agenda.after(self.random.uniform(0.006, 0.02), tell)

    def _forget(self, task: str) -> None:
        if self.live(task) is not None:
            self.history.broken("forgotten-alive", f"{self.name}: task {task} is forgotten while its process lives")
        self.shims.pop(task, None)

    # links to tasks

    def _dial(self, task: str, life: int) -> None:
        """Try to connect until it works, Close, or the end of this life."""
        if life != self.life or not self.alive or task not in self._opened or task in self._links:
            return
        process = self.reached(task)
        if process is None or not process.bound:
            self.agenda.after(self.random.uniform(*DIAL_S), lambda: self._dial(task, life))
            return
        me = f"{self.name}/{self.life}"
        pair = self._links[task] = Pair(
            self.network,
            TASK,
            self.network.task_faults,
            self.name,
            f"{process.spec.role or task}" if not process.spec.attached else f"hall:{task}",
            lambda message: self.put(Received(task, message)),
            lambda message: process.receive(me, message),
        )
        process.connect(me, pair.to_a.send)
        if process.spec.attached:
            self._adopt_spec(task, process)
            process.on_cut.append(lambda: self._cut_by_end(task, life, pair))
        self.put(Connected(task))

    def _adopt_spec(self, task: str, process: ControlledTask) -> None:
        """A task that somebody else started is now known by the id under which it is controlled."""
        tasks = getattr(self.engine, "tasks", {})
        if task in tasks:
            process.spec = tasks[task].spec
            self._watcher.attached(process)

    def _cut_by_end(self, task: str, life: int, pair: Pair) -> None:
        if life == self.life and self._links.get(task) is pair:
            self._unlink(task)
            self._dial(task, life)

    def _unlink(self, task: str) -> None:
        pair = self._links.pop(task, None)
        if pair is not None:
            pair.cut()
            process = self.reached(task)
            if process is not None:
                process.disconnect(f"{self.name}/{self.life}")
            if task in self._opened:
                self.put(Disconnected(task, "closed by peer"))

    # faults

    def kill_shim(self, task: str) -> None:
        """Kill the shim alone; the task lives on, and nobody will see how it ends."""
        shim = self.shims[task]
        shim.alive = False
        self.history.add(self.name, "shim-killed", task)

    def reboot(self) -> None:
        """Lose everything but the executor's disk: processes, shims, and the tmpfs where they write."""
        self.history.add(self.name, "reboot")
        self.die("the node reboots")
        for process in self.living():
            process.end(Exit(cause=ExitCause.UNKNOWN))
        self.shims.clear()
        self.folders.clear()
        self.spawned = {task: n for task, n in self.spawned.items() if self.modes[task] is Mode.HOOK}


def _brief(effect: Effect) -> object:
    if isinstance(effect, Spawn):
        return f"{effect.spec.task} {effect.spec.role}"
    return effect
