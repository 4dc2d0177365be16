"""The executor's engine: it holds the tasks of one node, takes them through events and tells the core what is true.

It decides and nothing else (see `effects`). What a task is told comes from `transitioner`; this file keeps commands,
deadlines, kills and the session with the core.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

import attrs

from libecs.engine import transitioner as moves
from libecs.engine.effects import (
    Adopt,
    Close,
    Connected,
    Continue,
    Disconnected,
    Effect,
    Forget,
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
    Spawn,
    Survivor,
    Tick,
)
from libecs.engine.held import Going, HeldRecord, HeldTask, Killing
from libecs.fsm import Mode, TaskEvent, TaskState, next_task, target_of
from libecs.wire import node, task
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.node import Exit, ExitCause, Failure, Phase

CORE = "core"
"""The peer name of the link to the core."""

SIGTERM, SIGINT, SIGKILL = 15, 2, 9
KILL_STAGES: tuple[tuple[int, float], ...] = ((0, 5.0), (SIGTERM, 2.0), (SIGINT, 3.0), (SIGKILL, 5.0))
"""Signal and the seconds it is given. Stage 0 is the soft walk STOP, RESET, EXIT, with its time per step."""

_TABLE_TASK = "task"
_TABLE_NODE = "node"


@attrs.frozen(kw_only=True)
class ExecutorSettings:
    """What an executor is told when it is made."""

    node: str
    instance: str
    host: str = "127.0.0.1"
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    cpus: float = 1.0
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
        state = records.get(_TABLE_NODE, {})
        self._fresh = not state
        self._epoch_seen = int(state.get("epoch", b"0"))
        self._life = int(state.get("life", b"0")) + 1
        self._task_epoch = self._life
        self._name = f"{settings.node}/{self._life}"
        self._tasks: dict[str, HeldTask] = {}
        self._gone: dict[str, None] = {}
        self._session: int | None = None
        self._linked = False
        self._sequence = 0
        self._dirty: dict[str, HeldTask] = {}
        self._answers: dict[tuple[str, TaskState], tuple[list[str], list[Failure]]] = {}
        self._resume_asked = False
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._now = Now(0.0, 0)
        self._out: list[Effect] = []
        self._next_keepalive = 0.0
        self._next_ping: float | None = None
        self._last_tick: float | None = None
        for key, value in records.get(_TABLE_TASK, {}).items():
            record = unpack_value(HeldRecord, value)
            self._tasks[key] = self._from_record(record)

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due."""
        due = [self._next_keepalive] if self._linked else []
        if self._next_ping is not None:
            due.append(self._next_ping)
        if self._timers:
            due.append(self._timers[0][0])
        return min(due) if due else None

    @property
    def tasks(self) -> Mapping[str, HeldTask]:
        """The tasks held, for those who look from inside the process."""
        return self._tasks

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """Take one input, return what is to be done about it."""
        self._now = now
        self._out = []
        if isinstance(input, Received):
            if input.peer == CORE:
                self._from_core(input.message)
            else:
                self._from_task(input.peer, input.message)
        elif isinstance(input, Tick):
            self._tick()
        elif isinstance(input, Resume):
            self._resume_asked = False
            self._flush()
        elif isinstance(input, ProcessStarted):
            self._started(input)
        elif isinstance(input, ProcessEnded):
            self._ended(input)
        elif isinstance(input, Connected):
            if input.peer == CORE:
                self._linked = True
                self._hello()
            elif (held := self._tasks.get(input.peer)) is not None and not held.welcomed:
                self._out.append(Send(input.peer, self._hello_task()))
        elif isinstance(input, Disconnected):
            if input.peer == CORE:
                self._linked = False
                self._session = None
            elif (held := self._tasks.get(input.peer)) is not None:
                held.welcomed = False
        elif isinstance(input, Adopt):
            self._adopt(input)
        return self._out

    # the session with the core

    def _hello(self) -> None:
        s = self.settings
        self._session = None
        self._next_keepalive = self._now.mono_s + s.hello_s
        self._send_core(
            node.NodeHello(
                node=s.node,
                life=self._name,
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
            if self._linked and self._session is not None:
                self._hello()
            return
        if not isinstance(
            message, (node.Launch, node.Transit, node.Trigger, node.Kill, node.CoreKeepalive, node.Inquire)
        ):
            return
        if message.epoch < self._epoch_seen:
            self._send_core(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.session != self._session:
            return
        if isinstance(message, node.Launch):
            for spec in message.tasks:
                self._launch(spec)
        elif isinstance(message, node.Transit):
            self._transit(message)
        elif isinstance(message, node.Trigger):
            for spec in message.tasks:
                self._trigger(message.id, spec)
        elif isinstance(message, node.Kill):
            for name in message.tasks:
                self._kill(message.id, name)
        elif isinstance(message, node.Inquire) or message.seen > self._sequence:
            self._announce()

    def _welcomed(self, message: node.Welcome) -> None:
        if message.epoch < self._epoch_seen:
            self._send_core(node.Fenced(session=message.session, epoch=self._epoch_seen))
            return
        if message.epoch > self._epoch_seen:
            self._epoch_seen = message.epoch
            self._out.append(Persist(_TABLE_NODE, "epoch", str(message.epoch).encode()))
        if self._session == message.session:
            return
        self._session = message.session
        self._next_keepalive = self._now.mono_s + self.settings.keepalive_s
        self._answers.clear()
        self._announce()

    def _announce(self) -> None:
        """Tell the core everything. It stands for all Updates up to its sequence."""
        if self._session is None:
            return
        self._dirty.clear()
        self._sequence += 1
        held = tuple(held.held() for held in self._tasks.values())
        self._send_core(node.Announce(session=self._session, sequence=self._sequence, tasks=held))

    def _send_core(self, message: object) -> None:
        self._out.append(Send(CORE, message))

    def _touch(self, held: HeldTask) -> None:
        """Say that the core must hear of this task."""
        self._dirty[held.spec.task] = held
        self._ask_resume()

    def _ask_resume(self) -> None:
        if not self._resume_asked:
            self._resume_asked = True
            self._out.append(Continue())

    def _flush(self) -> None:
        """Send all answers and all changes that have gathered, changes last: they are the truth of now."""
        answers, self._answers = self._answers, {}
        dirty, self._dirty = self._dirty, {}
        if self._session is None:
            return
        for (id, state), (done, failed) in answers.items():
            self._sequence += 1
            self._send_core(
                node.Answer(
                    session=self._session,
                    sequence=self._sequence,
                    id=id,
                    state=state,
                    done=tuple(done),
                    failed=tuple(failed),
                )
            )
        if dirty:
            self._sequence += 1
            statuses = tuple(held.status() for held in dirty.values())
            self._send_core(node.Update(session=self._session, sequence=self._sequence, tasks=statuses))

    def _answer(self, id: str, name: str, failure: Failure | None, state: TaskState) -> None:
        done, failed = self._answers.setdefault((id, state), ([], []))
        if failure is None:
            done.append(name)
        else:
            failed.append(failure)
        self._ask_resume()

    # timers

    def _after(self, delay_s: float, action: Callable[[], None]) -> float:
        """Run `action` at a Tick, `delay_s` from now; it must check that it is still wanted. Returns the deadline."""
        due = self._now.mono_s + delay_s
        self._timer_count += 1
        heapq.heappush(self._timers, (due, self._timer_count, action))
        return due

    def _tick(self) -> None:
        now = self._now.mono_s
        if (due := self.next_deadline) is not None and now > due + 1.0:
            self._forgive_pause(now - due)
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if self._linked and now >= self._next_keepalive:
            if self._session is None:
                self._hello()
            else:
                self._next_keepalive = now + self.settings.keepalive_s
                self._send_core(node.NodeKeepalive(session=self._session, sequence=self._sequence))
        if self._next_ping is not None and now >= self._next_ping:
            self._ping_all()

    def _forgive_pause(self, lost_s: float) -> None:
        """We were stopped, not the tasks: nobody is late for that."""
        for held in self._tasks.values():
            held.heard += lost_s
            if held.going is not None:
                held.going.deadline += lost_s
        self._timers = [(due + lost_s, n, action) for due, n, action in self._timers]

    def _ping_all(self) -> None:
        now = self._now.mono_s
        linked = False
        for name, held in self._tasks.items():
            if not held.controlled or held.exit is not None or (held.pid == 0 and not held.spec.attached):
                continue
            linked = True
            if not held.welcomed:
                self._out.append(Send(name, self._hello_task()))
                continue
            self._out.append(Send(name, task.Ping(number=int(now * 1000))))
            if now - held.heard > self.settings.stalled_s and not held.stalled:
                held.stalled = True
                held.phase = Phase.SUSPECT
                held.error = f"does not answer for {now - held.heard:.1f} s"
                self._touch(held)
        self._next_ping = now + self.settings.ping_s if linked else None

    def _watch(self) -> None:
        if self._next_ping is None:
            self._next_ping = self._now.mono_s + self.settings.ping_s

    def _hello_task(self) -> task.Hello:
        return task.Hello(role=task.PeerRole.CONTROLLER, epoch=self._task_epoch, name=self._name)

    # launching

    def _launch(self, spec: node.TaskSpec) -> None:
        known = self._tasks.get(spec.task)
        if known is not None:
            self._touch(known)
            return
        if spec.task in self._gone:
            return
        held = self._hold(spec)
        if spec.attached:
            self._open(held)
        elif held.controlled:
            self._out.append(Spawn(spec=held.spec, endpoint=held.spec.endpoint))
        else:
            held.phase = Phase.ACTIVE
            self._save(held)
        if held.controlled:
            self._after(spec.start_s, lambda: self._start_expired(held))
        self._touch(held)

    def _hold(self, spec: node.TaskSpec) -> HeldTask:
        if spec.mode in (Mode.DIRECT, Mode.FAIRMQ) and not spec.endpoint:
            spec = attrs.evolve(spec, endpoint=f"ipc://{self.settings.socket_folder}/{spec.task}")
        held = HeldTask(spec=spec, heard=self._now.mono_s)
        if held.controlled:
            held.phase = Phase.STARTING
            held.state = TaskState.UNKNOWN
        self._tasks[spec.task] = held
        return held

    def _open(self, held: HeldTask) -> None:
        self._out.append(Open(task=held.spec.task, endpoint=held.spec.endpoint))
        self._out.append(Send(held.spec.task, self._hello_task()))
        self._watch()

    def _start_expired(self, held: HeldTask) -> None:
        if held.phase is Phase.STARTING and self._tasks.get(held.spec.task) is held:
            held.error = f"was not ready within {held.spec.start_s:g} s of its launch"
            held.state = TaskState.ERROR
            held.phase = Phase.SUSPECT
            self._touch(held)

    def _started(self, input: ProcessStarted) -> None:
        held = self._tasks.get(input.task)
        if held is None:
            return
        held.pid = input.pid
        held.exit = None
        if held.controlled:
            self._open(held)
        if held.killing is not None:
            self._kill_step(held)
        if held.spec.mode is Mode.BASIC and held.going is not None and held.going.event is TaskEvent.START:
            held.state = TaskState.RUNNING
            self._finish(held, None)
        if not held.controlled and held.spec.timeout_s > 0:
            pid = input.pid
            self._after(held.spec.timeout_s, lambda: self._life_expired(held, pid))
        self._touch(held)

    def _life_expired(self, held: HeldTask, pid: int) -> None:
        if held.alive and held.pid == pid and self._tasks.get(held.spec.task) is held:
            held.error = f"timed out after {held.spec.timeout_s:g} s"
            self._out.append(Signal(task=held.spec.task, number=SIGKILL))

    # the end of processes

    def _ended(self, input: ProcessEnded) -> None:
        held = self._tasks.get(input.task)
        if held is None:
            return
        wanted = held.killing is not None or (held.going is not None and held.going.event is TaskEvent.STOP)
        held.exit = attrs.evolve(input.exit, wanted=wanted)
        held.last_log = input.last_log or held.last_log
        if held.controlled and not held.spec.attached:
            self._out.append(Close(task=input.task))
        held.welcomed = False
        if held.spec.mode is Mode.BASIC and held.killing is None:
            self._basic_ended(held, held.exit)
            return
        held.phase = Phase.EXITED
        held.state = TaskState.DONE if wanted else TaskState.ERROR
        if held.going is not None:
            self._finish(held, held.exit.describe())
        if held.trigger:
            self._hook_ended(held, held.exit)
        if held.killing is not None:
            self._killed(held)
        else:
            self._touch(held)

    def _basic_ended(self, held: HeldTask, exit: Exit) -> None:
        """The program of a basic task ended: as asked, by itself, or it never began."""
        going = held.going
        good = exit.wanted or (exit.cause is ExitCause.EXITED and exit.code == 0 and not held.error)
        if going is not None and going.event is TaskEvent.START:
            held.state = TaskState.CONFIGURED
            self._finish(held, exit.describe() if not good else None)
            if good:
                held.state = TaskState.RUNNING
                held.end_of_stream = True
        elif going is not None:
            self._step(held)
        else:
            held.end_of_stream = True
            if not good:
                held.state = TaskState.ERROR
                held.error = held.error or exit.describe()
        self._save(held)
        self._touch(held)

    def _hook_ended(self, held: HeldTask, exit: Exit) -> None:
        good = exit.cause is ExitCause.EXITED and exit.code == 0 and not held.error
        failure = None if good else held.failure(held.error or exit.describe())
        held.remember(held.trigger, failure)
        self._answer(held.trigger, held.spec.task, failure, TaskState.DONE)

    # commands

    def _transit(self, message: node.Transit) -> None:
        target = target_of(message.event)
        for i, name in enumerate(message.tasks):
            held = self._tasks.get(name)
            if held is None:
                gone = "has ended" if name in self._gone else "is not known here"
                failure = Failure(task=name, state=TaskState.UNKNOWN, reason=f"task {gone}")
                self._answer(message.id, name, failure, target)
            elif message.id in held.answers:
                self._answer(message.id, name, held.answers[message.id], target)
            elif held.going is not None:
                if held.going.id != message.id:
                    self._answer(message.id, name, held.failure(f"is busy with {held.going.event.name}"), target)
            elif held.killing is not None or held.phase is Phase.EXITED:
                reason = held.exit.describe() if held.exit else "is being ended"
                self._answer(message.id, name, held.failure(reason), target)
            else:
                arguments = {**message.arguments, **(message.each[i] if message.each else {})}
                due = self._now.mono_s + message.deadline_s
                held.going = Going(id=message.id, event=message.event, arguments=arguments, deadline=due)
                self._step(held)
        names = message.tasks
        self._after(message.deadline_s, lambda: self._command_expired(message.id, names))

    def _command_expired(self, id: str, names: tuple[str, ...]) -> None:
        for name in names:
            held = self._tasks.get(name)
            if held is None or held.going is None or held.going.id != id:
                continue
            if held.going.deadline > self._now.mono_s:
                due = held.going.deadline - self._now.mono_s
                self._after(due, lambda name=name: self._command_expired(id, (name,)))  # type: ignore[misc]
                continue
            event = held.going.event.name
            waited = "" if held.welcomed or not held.controlled else ", its control link is not up"
            self._finish(held, f"did not finish {event} in time, last state {held.state.name}{waited}")

    def _step(self, held: HeldTask) -> None:
        """Do the next thing that the command of a task needs."""
        going = held.going
        assert going is not None
        if held.controlled and not held.welcomed:
            return  # Welcome brings us back
        state = held.machine_state if held.controlled else held.state
        move = moves.TRANSITIONERS[held.spec.mode](going.event, state, held.alive)
        if isinstance(move, moves.Tell):
            self._tell(held, going, move)
        elif isinstance(move, moves.Reached):
            if not held.controlled and held.spec.mode is Mode.BASIC:
                held.state = next_task(held.state, going.event)
            self._finish(held, going.failed or None)
        elif isinstance(move, moves.Impossible):
            self._finish(held, going.failed or move.reason)
        elif isinstance(move, moves.StartProcess):
            held.pid, held.exit, held.error, held.end_of_stream = 0, None, "", False
            self._save(held)
            self._out.append(Forget(task=held.spec.task))
            self._out.append(Spawn(spec=held.spec, endpoint=""))
        elif isinstance(move, moves.EndProcess):
            self._save(held)
            self._out.append(Signal(task=held.spec.task, number=held.spec.stop_signal))

    def _tell(self, held: HeldTask, going: Going, move: moves.Tell) -> None:
        arguments = going.arguments if going.step == 0 else {}
        going.told, going.source = move.event, move.source
        suffix = "" if held.spec.mode is Mode.DIRECT else f"#{move.event}"
        going.step += 1
        self._out.append(
            Send(
                held.spec.task,
                task.Transition(id=going.id + suffix, event=move.event, source=move.source, arguments=arguments),
            )
        )

    def _finish(self, held: HeldTask, reason: str | None) -> None:
        """End the command of a task, with the reason if it failed."""
        going = held.going
        assert going is not None
        held.going = None
        if going.event is TaskEvent.START and reason is None:
            held.run = int(going.arguments.get("run_number", "0") or 0)
            held.end_of_stream = False if held.controlled else held.end_of_stream
        if going.quiet:
            self._kill_step(held)
            return
        failure = None if reason is None else held.failure(reason)
        held.remember(going.id, failure)
        if held.spec.mode is Mode.BASIC:
            self._save(held)
        self._answer(going.id, held.spec.task, failure, target_of(going.event))
        if failure is not None:
            self._touch(held)

    def _trigger(self, id: str, spec: node.TaskSpec) -> None:
        held = self._tasks.get(spec.task)
        if held is not None:
            if id in held.answers:
                self._answer(id, spec.task, held.answers[id], TaskState.DONE)
            return
        if spec.task in self._gone:
            return
        held = self._hold(attrs.evolve(spec, mode=Mode.HOOK))
        held.phase = Phase.ACTIVE
        held.trigger = id
        self._save(held)
        self._out.append(Spawn(spec=held.spec, endpoint=""))

    # what tasks say

    def _from_task(self, name: str, message: object) -> None:
        held = self._tasks.get(name)
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
            self._result(held, message)
        elif isinstance(message, task.Happened):
            if message.type is task.DeviceEventType.END_OF_STREAM:
                held.end_of_stream = True
            held.error = message.text or held.error
            self._touch(held)
        elif isinstance(message, task.Refused):
            self._refused(held, message)

    def _alive(self, held: HeldTask) -> None:
        held.heard = self._now.mono_s
        if held.stalled:
            held.stalled = False
            held.error = ""
            held.phase = Phase.ACTIVE
            self._touch(held)

    def _task_welcome(self, held: HeldTask, message: task.Welcome) -> None:
        wanted = moves.MACHINE[held.spec.mode]
        if message.machine is not wanted:
            held.error = (
                f"runs the {message.machine.name} state machine, its template says mode {held.spec.mode.name.lower()}"
            )
            held.state = TaskState.ERROR
            held.phase = Phase.SUSPECT
            self._touch(held)
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
            self._touch(held)
        if first and held.going is not None:
            self._step(held)

    def _state(self, held: HeldTask, machine_state: int, sequence: int) -> None:
        """Take a state of the task as of `sequence`; older ones are old news."""
        if sequence <= held.sequence:
            return
        try:
            state = moves.task_state(held.machine, machine_state)
        except ValueError:
            held.error = f"reports a state {machine_state} that does not exist"
            self._touch(held)
            return
        held.sequence, held.machine_state = sequence, machine_state
        if state is held.state:
            self._moved(held)
            return
        held.state = state
        if held.phase is Phase.STARTING and state is TaskState.STANDBY and held.welcomed:
            held.phase = Phase.ACTIVE
        if held.going is None or state is TaskState.ERROR:
            self._touch(held)
        self._moved(held)

    def _moved(self, held: HeldTask) -> None:
        """The device may now be where a command that waited for it can go on."""
        going = held.going
        if going is not None and going.told == 0:
            self._step(held)

    def _result(self, held: HeldTask, message: task.Result) -> None:
        going = held.going
        suffix = "" if held.spec.mode is Mode.DIRECT else f"#{message.event}"
        if going is None or message.id != going.id + suffix or going.told != message.event:
            return  # too late: the states that came with it are known by their numbers
        self._state(held, message.state, message.sequence)
        if going is not held.going:
            return
        source, going.told = going.source, 0
        if message.ok:
            if held.spec.mode is Mode.DIRECT:
                self._finish(held, None)
            elif going.failed:
                self._finish(held, going.failed)
            else:
                self._step(held)
            return
        reason = message.error or f"answered {TaskEvent(going.event).name} with failure"
        back = moves.rollback(source, message.event) if held.spec.mode is Mode.FAIRMQ and not going.failed else None
        if back is not None and held.machine_state == back.source:
            going.failed = reason
            self._tell(held, going, back)
        else:
            self._finish(held, going.failed or reason)

    def _refused(self, held: HeldTask, message: task.Refused) -> None:
        if message.reason is task.Refusal.STALE and self._fresh:
            # our own records are lost, not our right: take the next epoch
            self._task_epoch = max(self._task_epoch, message.epoch + 1)
            self._out.append(Persist(_TABLE_NODE, "life", str(self._task_epoch).encode()))
            self._out.append(Send(held.spec.task, self._hello_task()))
            return
        held.welcomed = False
        held.error = f"is controlled by {message.holder or 'somebody else'} ({message.reason.name})"
        held.phase = Phase.SUSPECT
        self._touch(held)

    # ending tasks

    def _kill(self, id: str, name: str) -> None:
        held = self._tasks.get(name)
        if held is None:
            self._gone[name] = None
            self._answer(id, name, None, TaskState.DONE)
            return
        if held.killing is not None:
            held.killing.ids.add(id)
            return
        held.killing = Killing(ids={id})
        if held.exit is not None or (held.pid == 0 and not held.controlled) or held.phase is Phase.EXITED:
            self._killed(held)
            return
        if held.going is not None:
            self._finish(held, "is being ended")
        self._kill_step(held)

    def _kill_step(self, held: HeldTask) -> None:
        """Do the next thing that ends a task."""
        killing = held.killing
        if killing is None or held.exit is not None:
            return
        if held.pid == 0 and not held.spec.attached:
            return  # its process is on the way; ProcessStarted or ProcessEnded brings us back
        if killing.stage == 0:
            event = self._soft_event(held)
            if event is not None:
                due = self._now.mono_s + KILL_STAGES[0][1]
                id = f"kill{self._life}.{self._timer_count}"
                held.going = Going(id=id, event=event, arguments={}, deadline=due, quiet=True)
                self._kill_timer(held, KILL_STAGES[0][1])
                self._step(held)
                return
            if held.spec.attached:
                self._out.append(Close(task=held.spec.task))
                self._killed(held)
                return
            if held.state is TaskState.DONE and held.welcomed:
                self._kill_timer(held, 1.0)  # it said goodbye, give it a moment
                killing.stage = 1
                return
        self._kill_harder(held)

    def _soft_event(self, held: HeldTask) -> TaskEvent | None:
        """Return the next event of the walk down to DONE, or None where only signals help."""
        if not held.controlled or not held.welcomed or held.stalled:
            return None
        walk = {
            TaskState.RUNNING: TaskEvent.STOP,
            TaskState.PAUSED: TaskEvent.STOP,
            TaskState.CONFIGURED: TaskEvent.RESET,
            TaskState.STANDBY: None if held.spec.attached else TaskEvent.EXIT,
            TaskState.ERROR: TaskEvent.EXIT if held.spec.mode is Mode.DIRECT and not held.spec.attached else None,
        }
        return walk.get(held.state)

    def _kill_harder(self, held: HeldTask) -> None:
        killing = held.killing
        assert killing is not None
        held.going = None
        killing.stage = min(max(killing.stage, 0) + 1, 3) if killing.stage < 3 else 3
        signal, seconds = KILL_STAGES[killing.stage]
        self._out.append(Signal(task=held.spec.task, number=signal))
        self._kill_timer(held, seconds)

    def _kill_timer(self, held: HeldTask, seconds: float) -> None:
        killing = held.killing
        assert killing is not None
        killing.deadline = self._now.mono_s + seconds

        def expired() -> None:
            if held.killing is killing and held.exit is None and self._tasks.get(held.spec.task) is held:
                if self._now.mono_s + 1e-6 < killing.deadline:
                    self._after(killing.deadline - self._now.mono_s, expired)
                else:
                    self._kill_harder(held)

        self._after(seconds, expired)

    def _killed(self, held: HeldTask) -> None:
        """The task is gone: say so, answer whoever asked, forget it."""
        assert held.killing is not None
        name = held.spec.task
        held.phase = Phase.EXITED
        held.state = TaskState.DONE
        if held.exit is None:
            held.exit = Exit(cause=ExitCause.NEVER_STARTED, wanted=True)
        for id in sorted(held.killing.ids):
            self._answer(id, name, None, TaskState.DONE)
        del self._tasks[name]
        self._dirty.pop(name, None)
        self._gone[name] = None
        if len(self._gone) > 65536:
            del self._gone[next(iter(self._gone))]
        if not held.controlled:
            self._out.append(Persist(_TABLE_TASK, name, None))
        if not held.spec.attached:
            self._out.append(Forget(task=name))

    # the lives before this one

    def _save(self, held: HeldTask) -> None:
        going = held.going
        record = HeldRecord(
            spec=held.spec,
            state=held.state,
            trigger=held.trigger,
            answers=tuple((id, failure.reason if failure else "") for id, failure in held.answers.items()),
            going=going.id if going else "",
            going_event=going.event if going else 0,
        )
        self._out.append(Persist(_TABLE_TASK, held.spec.task, pack_value(record)))

    def _from_record(self, record: HeldRecord) -> HeldTask:
        held = HeldTask(spec=record.spec, state=record.state, trigger=record.trigger, phase=Phase.ACTIVE, adopted=True)
        for id, reason in record.answers:
            held.answers[id] = held.failure(reason) if reason else None
        if record.going:
            event = TaskEvent(record.going_event)
            held.going = Going(id=record.going, event=event, arguments={}, deadline=0.0)
        return held

    def _adopt(self, input: Adopt) -> None:
        """Take over what the last life left; then say which life this is."""
        self._out.append(Persist(_TABLE_NODE, "life", str(self._life).encode()))
        self._out.append(Persist(_TABLE_NODE, "epoch", str(self._epoch_seen).encode()))
        found = {survivor.spec.task: survivor for survivor in input.survivors}
        for held in list(self._tasks.values()):
            held.heard = self._now.mono_s
            self._adopt_recorded(held, found.pop(held.spec.task, None))
        for survivor in found.values():
            self._adopt_controlled(survivor)

    def _adopt_recorded(self, held: HeldTask, survivor: Survivor | None) -> None:
        """A basic task or a hook: the record says what it should do, the survivor what its process does."""
        going, held.going = held.going, None
        if survivor is not None:
            held.pid = survivor.pid
            held.last_log = survivor.last_log
        started = going is not None and going.event is TaskEvent.START
        if going is not None:
            held.going = going
            going.deadline = self._now.mono_s + 30.0
            names = (held.spec.task,)
            self._after(30.0, lambda: self._command_expired(going.id, names))
        if survivor is None:
            if (held.trigger and held.trigger not in held.answers) or started:
                self._out.append(Spawn(spec=held.spec, endpoint=""))
            elif going is not None:
                self._step(held)
            return
        if survivor.exit is not None:
            if held.trigger and held.trigger in held.answers:
                held.phase, held.exit = Phase.EXITED, survivor.exit
            elif held.spec.mode is Mode.BASIC and going is None and held.state is not TaskState.RUNNING:
                held.exit = survivor.exit
            else:
                self._ended(ProcessEnded(task=held.spec.task, exit=survivor.exit, last_log=survivor.last_log))
        elif survivor.pid:
            self._started(ProcessStarted(task=held.spec.task, pid=survivor.pid))
            if going is not None and not started:
                self._step(held)

    def _adopt_controlled(self, survivor: Survivor) -> None:
        held = self._hold(survivor.spec)
        held.adopted = True
        held.pid, held.exit, held.last_log = survivor.pid, survivor.exit, survivor.last_log
        if survivor.exit is not None:
            held.phase = Phase.EXITED
            held.state = TaskState.ERROR
        elif survivor.pid or survivor.spec.attached:
            self._open(held)
            self._after(survivor.spec.start_s, lambda: self._start_expired(held))
