"""The executor's engine: it holds the tasks of one node, takes them through events and tells the core what is true.

It decides and nothing else (see `effects`). This file is the session with the core, the processes and what tasks say;
`commands` takes tasks through events, `endings` ends them, `adoption` takes over what an earlier life left.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from libecs.engine import adoption, commands, endings
from libecs.engine import transitioner as moves
from libecs.engine.desk import NODE_TABLE, TASK_TABLE, Desk
from libecs.engine.effects import (
    Adopt,
    Close,
    Connected,
    Disconnected,
    Effect,
    Input,
    Now,
    Open,
    Persist,
    ProcessEnded,
    ProcessStarted,
    Received,
    Resume,
    Send,
    Signal,
    Tick,
)
from libecs.engine.held import HeldRecord, HeldTask
from libecs.engine.outbox import CORE
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.codec import unpack_value
from libecs.wire.node import Exit, ExitCause, Phase


@attrs.frozen(kw_only=True)
class ExecutorSettings:
    """What an executor is told when it is made."""

    node: str
    instance: str
    host: str = "127.0.0.1"
    """Where the tasks' TCP addresses are reached."""
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    cpus: float = 0.0
    """0 = not known: no limit."""
    memory_mb: float = 0.0
    ports: tuple[tuple[int, int], ...] = ()
    socket_folder: str = "/tmp"
    """Where tasks bind their control sockets; with the task id at most 90 bytes."""
    keepalive_s: float = 0.5
    hello_s: float = 1.0
    ping_s: float = 1.0
    stalled_s: float = 3.0


class ExecutorEngine:
    """One node's executor. `records` are those of its last life: tables `node` and `task`."""

    def __init__(self, settings: ExecutorSettings, records: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self.settings = settings
        records = records or {}
        state = records.get(NODE_TABLE, {})
        self._fresh = not state
        self._epoch_seen = int(state.get("epoch", b"0"))
        self._life = int(state.get("life", b"0")) + 1
        self._desk = Desk(f"{settings.node}/{self._life}", self._life)
        self._outbox = self._desk.outbox
        self._linked = False
        self._next_keepalive = 0.0
        self._next_ping: float | None = None
        for key, value in records.get(TASK_TABLE, {}).items():
            self._desk.tasks[key] = adoption.from_record(unpack_value(HeldRecord, value))

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [self._next_keepalive] if self._linked else []
        if self._next_ping is not None:
            due.append(self._next_ping)
        if self._desk.timers.next is not None:
            due.append(self._desk.timers.next)
        return min(due) if due else None

    @property
    def tasks(self) -> Mapping[str, HeldTask]:
        """The tasks held, for those who look from inside the process."""
        return self._desk.tasks

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """Take one input, return what is to be done about it."""
        self._desk.now = now
        self._desk.out = []
        if isinstance(input, Received):
            if input.peer == CORE:
                self._from_core(input.message)
            else:
                self._from_task(input.peer, input.message)
        elif isinstance(input, Tick):
            self._tick()
        elif isinstance(input, Resume):
            self._outbox.resume()
        elif isinstance(input, ProcessStarted):
            self._started(input)
        elif isinstance(input, ProcessEnded):
            self._ended(input)
        elif isinstance(input, Connected):
            self._connected(input.peer)
        elif isinstance(input, Disconnected):
            self._disconnected(input.peer)
        elif isinstance(input, Adopt):
            self._adopt(input)
        return self._desk.out

    def _connected(self, peer: str) -> None:
        if peer == CORE:
            self._linked = True
            self._hello()
        elif (held := self._desk.tasks.get(peer)) is not None and not held.welcomed:
            self._desk.greet(held)

    def _disconnected(self, peer: str) -> None:
        if peer == CORE:
            self._linked = False
            self._outbox.session = None
        elif (held := self._desk.tasks.get(peer)) is not None:
            held.welcomed = False

    # the session with the core

    def _hello(self) -> None:
        s = self.settings
        self._outbox.session = None
        self._next_keepalive = self._desk.now.mono_s + s.hello_s
        self._outbox.send(
            node.NodeHello(
                node=s.node,
                life=self._desk.name,
                host=s.host,
                attributes=dict(s.attributes),
                cpus=s.cpus,
                memory_mb=s.memory_mb,
                ports=s.ports,
                epoch_seen=self._epoch_seen,
            )
        )

    def _from_core(self, message: object) -> None:
        if isinstance(message, node.Welcome):
            self._welcomed(message)
            return
        if isinstance(message, node.NodeRefused):
            if self._linked and self._outbox.session is not None:
                self._hello()
            return
        if not isinstance(
            message, (node.Launch, node.Transit, node.Trigger, node.Kill, node.CoreKeepalive, node.Inquire)
        ):
            return
        if message.epoch < self._epoch_seen:
            self._outbox.send(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.session != self._outbox.session:
            return
        if isinstance(message, node.Launch):
            for spec in message.tasks:
                self._launch(spec)
        elif isinstance(message, node.Transit):
            commands.transit(self._desk, message)
        elif isinstance(message, node.Trigger):
            for spec in message.tasks:
                self._trigger(message.id, spec)
        elif isinstance(message, node.Kill):
            for name in message.tasks:
                endings.kill(self._desk, message.id, name)
        elif isinstance(message, node.Inquire) or message.seen > self._outbox.sequence:
            self._outbox.announce(self._desk.tasks.values())

    def _welcomed(self, message: node.Welcome) -> None:
        if message.epoch < self._epoch_seen:
            self._outbox.send(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.epoch > self._epoch_seen:
            self._epoch_seen = message.epoch
            self._desk.emit(Persist(NODE_TABLE, "epoch", str(message.epoch).encode()))
        if self._outbox.session != message.session:
            self._next_keepalive = self._desk.now.mono_s + self.settings.keepalive_s
            self._outbox.open(message.session, self._desk.tasks)

    # time

    def _tick(self) -> None:
        now = self._desk.now.mono_s
        if (due := self.next_deadline) is not None and now > due + 1.0:
            self._forgive_pause(now - due)
        self._desk.timers.run(now)
        if self._linked and now >= self._next_keepalive:
            if self._outbox.session is None:
                self._hello()
            else:
                self._next_keepalive = now + self.settings.keepalive_s
                self._outbox.send(node.NodeKeepalive(session=self._outbox.session, sequence=self._outbox.sequence))
        if self._next_ping is not None and now >= self._next_ping:
            self._ping_all()

    def _forgive_pause(self, lost_s: float) -> None:
        """We were stopped, not the tasks: nobody is late for that."""
        for held in self._desk.tasks.values():
            held.heard += lost_s
            if held.going is not None:
                held.going.deadline += lost_s
            if held.killing is not None:
                held.killing.deadline += lost_s
        self._desk.timers.shift(lost_s)

    def _ping_all(self) -> None:
        now = self._desk.now.mono_s
        linked = False
        for name, held in self._desk.tasks.items():
            if not held.controlled or held.exit is not None or (held.pid == 0 and not held.spec.attached):
                continue
            linked = True
            if not held.welcomed:
                self._desk.greet(held)
                continue
            self._desk.emit(Send(name, task.Ping(number=int(now * 1000))))
            if now - held.heard > self.settings.stalled_s and not held.stalled:
                held.stalled = True
                held.phase = Phase.SUSPECT
                held.error = f"does not answer for {now - held.heard:.1f} s"
                self._outbox.touch(held)
        self._next_ping = now + self.settings.ping_s if linked else None

    # launching

    def _launch(self, spec: node.TaskSpec) -> None:
        known = self._desk.tasks.get(spec.task)
        if known is not None:
            self._outbox.touch(known)
            return
        if spec.task in self._desk.gone:
            return
        held = self._hold(spec)
        if spec.attached:
            self._open(held)
        elif held.controlled:
            self._desk.spawn(held)
        else:
            held.phase = Phase.ACTIVE
            self._desk.save(held)
        if held.controlled:
            self._desk.after(spec.start_s, partial(self._start_expired, held))
        self._outbox.touch(held)

    def _hold(self, spec: node.TaskSpec) -> HeldTask:
        if spec.mode in (Mode.DIRECT, Mode.FAIRMQ) and not spec.endpoint:
            spec = attrs.evolve(spec, endpoint=f"ipc://{self.settings.socket_folder}/{spec.task}")
        held = HeldTask(spec=spec, heard=self._desk.now.mono_s)
        if held.controlled:
            held.phase = Phase.STARTING
            held.state = TaskState.UNKNOWN
        self._desk.tasks[spec.task] = held
        return held

    def _open(self, held: HeldTask) -> None:
        self._desk.emit(Open(task=held.spec.task, endpoint=held.spec.endpoint))
        self._desk.greet(held)
        if self._next_ping is None:
            self._next_ping = self._desk.now.mono_s + self.settings.ping_s

    def _start_expired(self, held: HeldTask) -> None:
        if held.phase is Phase.STARTING and self._desk.holds(held):
            held.error = f"was not ready within {held.spec.start_s:g} s of its launch"
            held.state = TaskState.ERROR
            held.phase = Phase.SUSPECT
            self._outbox.touch(held)

    def _trigger(self, id: str, spec: node.TaskSpec) -> None:
        held = self._desk.tasks.get(spec.task)
        if held is not None:
            if id in held.answers:
                self._outbox.answer(id, spec.task, held.answers[id], TaskState.DONE)
            return
        if spec.task in self._desk.gone:
            return
        held = self._hold(attrs.evolve(spec, mode=Mode.HOOK))
        held.phase = Phase.ACTIVE
        held.trigger = id
        self._desk.save(held)
        self._desk.spawn(held)

    # processes

    def _started(self, input: ProcessStarted) -> None:
        held = self._desk.tasks.get(input.task)
        if held is None:
            return
        held.spawning = False
        held.pid = input.pid
        held.exit = None
        self._desk.save(held)
        if held.controlled:
            self._open(held)
        if held.killing is not None:
            endings.go_on(self._desk, held)
        going = held.going
        if held.spec.mode is Mode.BASIC and going is not None and going.event is TaskEvent.START:
            held.state = TaskState.RUNNING
            commands.finish(self._desk, held, None)
        if not held.controlled and held.spec.timeout_s > 0:
            self._desk.after(held.spec.timeout_s, partial(self._life_expired, held, input.pid))
        self._outbox.touch(held)

    def _life_expired(self, held: HeldTask, pid: int) -> None:
        if held.alive and held.pid == pid and self._desk.holds(held):
            held.error = f"timed out after {held.spec.timeout_s:g} s"
            self._desk.emit(Signal(task=held.spec.task, number=endings.SIGKILL))

    def _ended(self, input: ProcessEnded) -> None:
        held = self._desk.tasks.get(input.task)
        if held is None:
            return
        held.spawning = False
        wanted = held.killing is not None or (held.going is not None and held.going.event is TaskEvent.STOP)
        held.exit = exit = attrs.evolve(input.exit, wanted=wanted)
        held.last_log = input.last_log or held.last_log
        if held.controlled and not held.spec.attached:
            self._desk.emit(Close(task=input.task))
        held.welcomed = False
        if held.spec.mode is Mode.BASIC and held.killing is None:
            self._basic_ended(held, exit)
            return
        held.phase = Phase.EXITED
        held.state = TaskState.DONE if wanted else TaskState.ERROR
        if held.going is not None:
            held.going.then = None
            commands.finish(self._desk, held, exit.describe())
        if held.trigger:
            good = _went_well(held, exit)
            failure = None if good else held.failure(held.error or exit.describe())
            held.remember(held.trigger, failure)
            self._outbox.answer(held.trigger, held.spec.task, failure, TaskState.DONE)
        if held.killing is not None:
            endings.killed(self._desk, held)
        else:
            self._outbox.touch(held)

    def _basic_ended(self, held: HeldTask, exit: Exit) -> None:
        """The program of a basic task ended: as asked, by itself, or it never began."""
        going = held.going
        good = exit.wanted or _went_well(held, exit)
        if going is not None and going.event is TaskEvent.START:
            held.state = TaskState.CONFIGURED
            commands.finish(self._desk, held, exit.describe() if not good else None)
            if good:
                held.state = TaskState.RUNNING
                held.end_of_stream = True
        elif going is not None:
            commands.step(self._desk, held)
        else:
            held.end_of_stream = True
            if not good:
                held.state = TaskState.ERROR
                held.error = held.error or exit.describe()
        self._desk.save(held)
        self._outbox.touch(held)

    # what tasks say

    def _from_task(self, name: str, message: object) -> None:
        held = self._desk.tasks.get(name)
        if held is None:
            return
        if isinstance(message, task.Welcome):
            self._task_welcome(held, message)
        elif isinstance(message, task.StateChanged):
            self._alive(held)
            self._state(held, message.state, message.sequence)
        elif isinstance(message, task.Pong):
            self._alive(held)
            held.progress = message.progress
            self._state(held, message.state, message.sequence)
        elif isinstance(message, task.Result):
            self._alive(held)
            going = held.going
            self._state(held, message.state, message.sequence)
            if held.going is going:
                commands.result(self._desk, held, message)
        elif isinstance(message, task.Happened):
            if message.type is task.DeviceEventType.END_OF_STREAM:
                held.end_of_stream = True
            held.error = message.text or held.error
            self._outbox.touch(held)
        elif isinstance(message, task.Refused):
            self._refused(held, message)

    def _alive(self, held: HeldTask) -> None:
        held.heard = self._desk.now.mono_s
        if held.stalled:
            held.stalled = False
            held.error = ""
            held.phase = Phase.ACTIVE
            self._outbox.touch(held)

    def _task_welcome(self, held: HeldTask, message: task.Welcome) -> None:
        if message.machine is not moves.MACHINE[held.spec.mode]:
            mode = held.spec.mode.name.lower()
            held.error = f"runs the {message.machine.name} state machine, its template says mode {mode}"
            held.state = TaskState.ERROR
            held.phase = Phase.SUSPECT
            self._outbox.touch(held)
            return
        first = not held.welcomed
        held.welcomed = True
        held.pid = held.pid or message.pid
        held.run = message.run or held.run
        self._alive(held)
        self._state(held, message.state, message.sequence)
        if held.phase in (Phase.STARTING, Phase.SUSPECT):
            if held.state is TaskState.STANDBY or held.adopted or held.spec.attached:
                held.phase = Phase.ACTIVE
            elif held.state in (TaskState.ERROR, TaskState.DONE):
                held.error = held.error or f"reached {held.state.name} while it was starting"
                held.phase = Phase.SUSPECT
            self._outbox.touch(held)
        if first:
            commands.tell_again(self._desk, held)

    def _state(self, held: HeldTask, machine_state: int, sequence: int) -> None:
        """Take a state of the task as of `sequence`; older ones are old news."""
        if sequence <= held.sequence:
            return
        try:
            state = moves.task_state(held.machine, machine_state)
        except ValueError:
            held.error = f"reports a state {machine_state} that does not exist"
            self._outbox.touch(held)
            return
        held.sequence, held.machine_state = sequence, machine_state
        if state is not held.state:
            held.state = state
            if held.phase is Phase.STARTING and state is TaskState.STANDBY and held.welcomed:
                held.phase = Phase.ACTIVE
            if held.going is None or state is TaskState.ERROR:
                self._outbox.touch(held)
        commands.moved(self._desk, held)

    def _refused(self, held: HeldTask, message: task.Refused) -> None:
        if message.reason is task.Refusal.STALE and self._fresh:
            # our own records are lost, not our right: take the next epoch
            self._desk.epoch = max(self._desk.epoch, message.epoch + 1)
            self._desk.emit(Persist(NODE_TABLE, "life", str(self._desk.epoch).encode()))
            self._desk.greet(held)
            return
        held.welcomed = False
        held.error = f"is controlled by {message.holder or 'somebody else'} ({message.reason.name})"
        held.phase = Phase.SUSPECT
        self._outbox.touch(held)

    # the life before this one

    def _adopt(self, input: Adopt) -> None:
        """Take over what the last life left, and say which life this is."""
        desk = self._desk
        desk.emit(Persist(NODE_TABLE, "life", str(self._life).encode()))
        desk.emit(Persist(NODE_TABLE, "epoch", str(self._epoch_seen).encode()))
        found = {survivor.spec.task: survivor for survivor in input.survivors}
        for held in list(desk.tasks.values()):
            survivor = found.pop(held.spec.task, None)
            adoption.adopt_recorded(desk, held, survivor, self._started, self._ended)
        for survivor in found.values():
            held = self._hold(survivor.spec)
            adoption.adopt_controlled(held, survivor)
            if survivor.exit is None:
                self._open(held)
                desk.after(survivor.spec.start_s, partial(self._start_expired, held))


def _went_well(held: HeldTask, exit: Exit) -> bool:
    return exit.cause is ExitCause.EXITED and exit.code == 0 and not held.error
