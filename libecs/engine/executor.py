"""The executor's engine: it holds the tasks of one node, takes them through events and tells the core what is true.

It decides and nothing else (see `effects`). This file is the session with the core and the processes; `reports` hears
what tasks say, `commands` takes them through events, `endings` ends them, `adoption` takes over what an earlier life
left.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from libecs.engine import adoption, attached, commands, endings, liveness, reports
from libecs.engine.desk import NODE_TABLE, PING_S, STALLED_S, TASK_TABLE, Desk
from libecs.engine.effects import (
    Adopt,
    Close,
    Connected,
    Disconnected,
    Effect,
    Input,
    Now,
    Open,
    Output,
    OutputTail,
    Persist,
    ProcessEnded,
    ProcessStarted,
    ReadTail,
    Received,
    Resume,
    Signal,
    Tick,
)
from libecs.engine.held import HeldRecord, HeldTask
from libecs.engine.outbox import CORE
from libecs.errors import DecodeError
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node
from libecs.wire.codec import unpack_value
from libecs.wire.node import Exit, ExitCause, Phase

ASIDE_TABLE = "aside"
"""Records that could not be read."""
_COMMANDS = (
    node.Launch,
    node.Transit,
    node.Trigger,
    node.Kill,
    node.CoreKeepalive,
    node.Inquire,
    node.ReadOutput,
)
MAX_TAIL = 1024 * 1024
"""Bytes of a task's output that are read at once."""
LATE_S = 0.2
"""A tick that is later than this shows that we stood still."""
COMPLAINT_S = 5.0
"""A line of ERROR this short before a task's end tells more of it than the last line."""


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
    ping_s: float = PING_S
    stalled_s: float = STALLED_S


class ExecutorEngine:
    """One node's executor. `records` are those of its last life: tables `node` and `task`."""

    def __init__(self, settings: ExecutorSettings, records: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self.settings = settings
        records = records or {}
        state = records.get(NODE_TABLE, {})
        self.damaged: dict[str, str] = {}
        """Records of the last life that can't be read (`table/key`), and why. They are kept aside."""
        self._aside: list[tuple[str, str, bytes]] = []
        self._epoch_seen = self._number(state, "epoch")
        self._life = self._number(state, "life") + 1
        self._desk = Desk(f"{settings.node}/{self._life}", self._life, fresh=not state)
        self._desk.ping_s, self._desk.stalled_s = settings.ping_s, settings.stalled_s
        self._outbox = self._desk.outbox
        self._linked = False
        self._next_keepalive = 0.0
        self._core_heard = 0.0
        """When anything of the core's session with us came."""
        self._beat = 0
        """The last one of the core's keepalives in this session."""
        self._helloed = float("-inf")
        self._next_ping: float | None = None
        self._uses: dict[str, HeldRecord] = {}
        """Controlled tasks that have another use than the one that their shims' records tell of."""
        for key, value in records.get(TASK_TABLE, {}).items():
            try:
                record = unpack_value(HeldRecord, value)
                if record.spec.task != key:
                    raise DecodeError(f"it is that of task {record.spec.task[:80]}")
                if record.use:
                    self._uses[key] = record
                else:
                    self._desk.tasks[key] = adoption.from_record(record)
            except (DecodeError, ValueError) as error:  # the task is found again by what its shim has left
                self._set_aside(TASK_TABLE, key, value, str(error))

    def _number(self, state: Mapping[str, bytes], key: str) -> int:
        value = state.get(key, b"0")
        if value.isdigit() and len(value) < 20:
            return int(value)
        self._set_aside(NODE_TABLE, key, value, "it is no number")
        return 0

    def _set_aside(self, table: str, key: str, value: bytes, reason: str) -> None:
        self.damaged[f"{table}/{key}"] = reason
        self._aside.append((table, key, value))

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [self._next_keepalive] if self._linked else []
        if self._next_ping is not None:
            due.append(self._next_ping)
        if self._desk.timers.next is not None:
            due.append(self._desk.timers.next)
        if (bulletin := self._desk.bulletins.due) is not None:
            due.append(bulletin)
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
                held = self._desk.tasks.get(input.peer)
                if held is not None:
                    reports.take(self._desk, held, input.message)
        elif isinstance(input, Tick):
            self._tick()
        elif isinstance(input, Resume):
            self._desk.bulletins.flush()
            self._outbox.resume()
        elif isinstance(input, ProcessStarted):
            self._started(input)
        elif isinstance(input, ProcessEnded):
            self._ended(input)
        elif isinstance(input, Connected):
            self._connected(input.peer)
        elif isinstance(input, Disconnected):
            self._disconnected(input.peer)
        elif isinstance(input, Output):
            if (held := self._desk.tasks.get(input.task)) is not None:
                self._desk.bulletins.output(held, input, now.mono_s)
        elif isinstance(input, OutputTail):
            self._read_back(input)
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
            if held.spec.attached:
                attached.disconnected(self._desk, held)

    # the session with the core

    def _hello(self) -> None:
        s = self.settings
        self._outbox.session = None
        self._helloed = self._desk.now.mono_s
        self._next_keepalive = self._helloed + s.hello_s
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
            # One refusal may be of an older session than ours: greeting at each would go round and round for ever.
            may_be_ours = self._desk.now.mono_s >= self._helloed + self.settings.keepalive_s
            if self._linked and self._outbox.session is not None and may_be_ours:
                self._hello()
            return
        if not isinstance(message, _COMMANDS):
            return
        if message.epoch < self._epoch_seen:
            self._outbox.send(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.session != self._outbox.session:
            return
        self._core_heard = self._desk.now.mono_s
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
        elif isinstance(message, node.ReadOutput):
            self._read(message)
        elif isinstance(message, node.Inquire):
            self._outbox.announce(self._desk.tasks.values())
        else:
            self._beat = message.beat
            if message.seen > self._outbox.sequence:
                self._outbox.announce(self._desk.tasks.values())

    def _read(self, message: node.ReadOutput) -> None:
        """Somebody wants to see the end of what a task wrote."""
        if message.task in self._desk.tasks and message.stream in ("stdout", "stderr"):
            wanted = min(max(message.bytes, 0), MAX_TAIL)
            self._desk.emit(ReadTail(id=message.id, task=message.task, stream=message.stream, bytes=wanted))
            return
        error = f"there is no task {message.task} here any more"
        if message.stream not in ("stdout", "stderr"):
            error = f"{message.stream!r} is no stream of a task: ask for stdout or stderr"
        self._read_back(OutputTail(id=message.id, task=message.task, error=error))

    def _read_back(self, tail: OutputTail) -> None:
        session = self._outbox.session
        if session is not None:
            self._outbox.send(
                node.OutputRead(
                    session=session,
                    id=tail.id,
                    task=tail.task,
                    text=tail.text,
                    truncated=tail.truncated,
                    error=tail.error,
                )
            )

    def _welcomed(self, message: node.Welcome) -> None:
        if message.epoch < self._epoch_seen:
            self._outbox.send(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.epoch > self._epoch_seen:
            self._epoch_seen = message.epoch
            self._desk.emit(Persist(NODE_TABLE, "epoch", str(message.epoch).encode()))
        if self._outbox.session != message.session:
            self._core_heard, self._beat = self._desk.now.mono_s, 0
            self._next_keepalive = self._desk.now.mono_s + self.settings.keepalive_s
            self._outbox.open(message.session, self._desk.tasks)
            self._desk.bulletins.opened(self._desk.now.mono_s)

    # time

    def _tick(self) -> None:
        now = self._desk.now.mono_s
        if (due := self.next_deadline) is not None and now > due + LATE_S:
            self._core_heard = min(now, self._core_heard + now - due)  # what came meanwhile may wait behind this
            if now > due + 1.0:
                self._forgive_pause(now - due)
        self._desk.timers.run(now)
        if self._linked and now >= self._next_keepalive:
            if self._outbox.session is None:
                self._hello()
            else:
                self._keep_alive()
        if self._next_ping is not None and now >= self._next_ping:
            self._next_ping = now + self.settings.ping_s if liveness.ping_all(self._desk) else None
        self._desk.bulletins.run(now)

    def _keep_alive(self) -> None:
        """Tell the core that we are there, and whether we hear it: it can't know when its words are lost on the way."""
        outbox, keepalive_s = self._outbox, self.settings.keepalive_s
        if outbox.session is None:
            return
        now = self._desk.now.mono_s
        unheard_s = now - self._core_heard
        self._next_keepalive = now + (keepalive_s if unheard_s < 2 * keepalive_s else keepalive_s / 5)
        outbox.send(
            node.NodeKeepalive(
                session=outbox.session, sequence=outbox.sequence, beat=self._beat, unheard_ms=int(unheard_s * 1000)
            )
        )

    def _forgive_pause(self, lost_s: float) -> None:
        """We were stopped, not the tasks: nobody is late for that."""
        for held in self._desk.tasks.values():
            held.heard += lost_s
            held.moved += lost_s
            if held.going is not None:
                held.going.deadline += lost_s
            if held.killing is not None:
                held.killing.deadline += lost_s
        self._desk.timers.shift(lost_s)

    # launching

    def _launch(self, spec: node.TaskSpec) -> None:
        known = self._desk.tasks.get(spec.task)
        if known is not None:
            if known.controlled and not known.spec.attached and known.spec.environment != spec.environment:
                self._use_anew(known, spec)
            self._outbox.touch(known)
            return
        if spec.task in self._desk.gone:
            return
        held = self._hold(spec)
        if spec.attached:
            if problem := attached.take(self._desk, held):
                held.phase, held.state, held.error = Phase.SUSPECT, TaskState.ERROR, problem
            else:
                self._open(held)
        elif held.controlled:
            self._desk.spawn(held)
        else:
            held.phase = Phase.ACTIVE
            self._desk.save(held)
        if held.controlled:
            self._desk.after(spec.start_s, partial(self._start_expired, held))
        self._outbox.touch(held)

    def _use_anew(self, held: HeldTask, spec: node.TaskSpec) -> None:
        """Let another environment have a task that is in nobody's hands: its process stays, its duties are others."""
        if held.going is not None or held.killing is not None or held.state is not TaskState.STANDBY:
            return
        held.spec = adoption.with_use(held.spec, spec)
        held.use = spec.environment
        held.run, held.end_of_stream = 0, False
        self._desk.save(held)

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
        held.dialled = True
        self._desk.emit(Open(task=held.spec.task, endpoint=held.spec.endpoint))
        self._desk.greet(held)
        if self._next_ping is None:
            self._next_ping = self._desk.now.mono_s + self.settings.ping_s

    def _start_expired(self, held: HeldTask) -> None:
        if held.phase is Phase.STARTING and self._desk.holds(held):
            where = f": nobody answers at {held.spec.endpoint}" if held.spec.attached and not held.welcomed else ""
            if not held.welcomed and not held.spec.attached:
                where = "; it never spoke to us: a program that is not made with our library needs mode: basic"
            held.error = f"was not ready within {held.spec.start_s:g} s of its launch{where}"
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
        desk = self._desk
        held = desk.tasks.get(input.task)
        if held is None:
            return
        held.spawning = False
        wanted = held.killing is not None or (held.going is not None and held.going.event is TaskEvent.STOP)
        held.exit = exit = attrs.evolve(input.exit, wanted=wanted)
        if desk.now.mono_s - held.complained > COMPLAINT_S:  # else the last words are no news
            held.last_log = input.last_log or held.last_log
        desk.bulletins.hurry(input.task)
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
        by_itself = exit.cause is ExitCause.EXITED and held.spec.exit_is_error
        good = exit.wanted or (_went_well(held, exit) and not by_itself)
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
                note = " by itself, and its template calls that an error" if by_itself else ""
                held.error = held.error or exit.describe() + note
        self._desk.save(held)
        self._outbox.touch(held)

    # the life before this one

    def _adopt(self, input: Adopt) -> None:
        """Take over what the last life left, and say which life this is."""
        desk = self._desk
        for table, key, value in self._aside:
            desk.emit(Persist(ASIDE_TABLE, f"{table}/{key}", value))
            desk.emit(Persist(table, key, None))
        desk.emit(Persist(NODE_TABLE, "life", str(self._life).encode()))
        desk.emit(Persist(NODE_TABLE, "epoch", str(self._epoch_seen).encode()))
        found = {survivor.spec.task: survivor for survivor in input.survivors}
        for held in list(desk.tasks.values()):
            if held.spec.attached:
                attached.watch(desk, held)
                self._open(held)
                continue
            survivor = found.pop(held.spec.task, None)
            adoption.adopt_recorded(desk, held, survivor, self._started, self._ended)
        for name in self._uses:
            if name not in found:
                desk.emit(Persist(TASK_TABLE, name, None))
        for survivor in found.values():
            used = self._uses.get(survivor.spec.task)
            held = self._hold(survivor.spec if used is None else adoption.with_use(survivor.spec, used.spec))
            held.use = used.use if used is not None else ""
            if not held.controlled:
                adoption.adopt_unrecorded(desk, held, survivor)
                continue
            adoption.adopt_controlled(held, survivor)
            if survivor.exit is None:
                self._open(held)
                desk.after(survivor.spec.start_s, partial(self._start_expired, held))


def _went_well(held: HeldTask, exit: Exit) -> bool:
    return exit.cause is ExitCause.EXITED and exit.code == 0 and not held.error
