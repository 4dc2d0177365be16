"""Simulated controlled tasks: they speak the task link as libocc does. What they do wrong is their `Behaviour`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from random import Random

import attrs

from libecs.fairmq import DEVICE, ON_THE_WAY, DeviceEvent, DeviceState
from libecs.fsm import TASK, Mode, TaskEvent, TaskState
from libecs.sim import voices
from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour, Trouble, ended
from libecs.sim.programs import Process, TaskWatcher
from libecs.wire.node import Exit, TaskSpec
from libecs.wire.task import (
    DeviceEventType,
    Happened,
    Hello,
    Machine,
    PeerRole,
    Ping,
    Pong,
    Refusal,
    Refused,
    Result,
    StateChanged,
    Transition,
    Trigger,
    Welcome,
)

ANSWERS_KEPT = 16

START_NAMES = frozenset({"START", "RUN"})
CONFIGURE_NAMES = frozenset({"CONFIGURE", "INIT_DEVICE"})
EXIT_NAMES = frozenset({"EXIT", "END"})


@attrs.define
class _Busy:
    """A transition that goes on."""

    message: Transition
    asked_by: set[str]
    name: str
    target: int
    held: bool = False
    """Its callback hangs."""


class ControlledTask(Process):
    """A task behind the task link. `peers` are those that are connected; `name` of a controller makes it the holder."""

    def __init__(
        self,
        spec: TaskSpec,
        pid: int,
        behaviour: Behaviour,
        agenda: Agenda,
        random: Random,
        on_end: Callable[[Process, Exit], None],
        *,
        watcher: TaskWatcher,
    ) -> None:
        super().__init__(spec, pid, behaviour, agenda, random, on_end)
        self.machine = Machine.FAIRMQ if spec.mode is Mode.FAIRMQ else Machine.OCC
        self.state: int = DeviceState.IDLE if self.machine is Machine.FAIRMQ else TaskState.STANDBY
        self.sequence = 1
        self.run_number = 0
        self.peers: dict[str, Callable[[object], None]] = {}
        self._said_hello: dict[str, PeerRole] = {}
        self._holder: tuple[str, str, int] | None = None
        """(peer, name, epoch)."""
        self._answers: OrderedDict[str, Result] = OrderedDict()
        self._busy: _Busy | None = None
        self.properties: dict[str, str] = {}
        """What CONFIGURE and RECONFIGURE have told it."""
        self.stuck = False
        """The user's loop stands still."""
        self.stuck_since = 0.0
        self.on_cut: list[Callable[[], None]] = []
        """What breaks when this process ends: the links of those who dialled it."""
        self.troubled = not behaviour.healthy or bool(behaviour.troubles)
        """It may not do what it is told, for no fault of whoever tells it."""
        self.stolen = False
        """Somebody who is no executor took it, and may hold it still."""
        self._told: dict[str, int] = {}
        self._progress = 0
        self._runs = 0
        self._watcher = watcher

    @property
    def state_name(self) -> str:
        """Name of the state in its machine."""
        return DeviceState(self.state).name if self.machine is Machine.FAIRMQ else TaskState(self.state).name

    @property
    def running(self) -> bool:
        """Whether it takes data."""
        return self.state == (DeviceState.RUNNING if self.machine is Machine.FAIRMQ else TaskState.RUNNING)

    @property
    def holder_epoch(self) -> int:
        """Epoch of whoever controls it, 0 = nobody."""
        return self._holder[2] if self._holder is not None else 0

    @property
    def busy(self) -> bool:
        """Whether a transition goes on."""
        return self._busy is not None

    def boot(self) -> None:
        """Begin the life of the process."""
        behaviour = self.behaviour
        if behaviour.dies_booting:
            self.later(behaviour.boot_s / 2, lambda: self.end(behaviour.exit))
        if not behaviour.never_binds:
            self.later(behaviour.boot_s, self._bind)
        if behaviour.dies_idle_s:
            self.later(behaviour.dies_idle_s, lambda: self._log_and_end("out of luck", behaviour.exit))

    def connect(self, peer: str, send: Callable[[object], None]) -> None:
        """A peer has connected."""
        self.peers[peer] = send

    def disconnect(self, peer: str) -> None:
        """A peer has gone. It is the holder until somebody with a higher epoch comes."""
        self.peers.pop(peer, None)
        self._said_hello.pop(peer, None)

    def receive(self, peer: str, message: object) -> None:
        """Take one message of a peer; a frozen process takes it when it thaws."""
        if not self.alive:
            return
        if self.frozen:
            self.later(0.1, lambda: self.receive(peer, message))
        elif isinstance(message, Hello):
            self._hello(peer, message)
        elif peer not in self._said_hello:
            pass  # nothing is answered before Hello
        elif isinstance(message, Ping):
            self._progress += self.running and not self.stuck
            self._send(
                peer,
                Pong(number=message.number, state=int(self.state), sequence=self.sequence, progress=self._progress),
            )
        elif isinstance(message, Transition):
            if self._holder is None or self._holder[0] != peer:
                self._send(peer, Refused(reason=Refusal.NOT_CONTROLLER))
            else:
                self._transition(peer, message)

    def thaw(self) -> None:
        """Go on after a freeze; a callback that hangs returns."""
        super().thaw()
        if self._busy is not None and self._busy.held:
            self._busy.held = False
            self.later(0.01, self._callback_returns)

    def ends_by(self, number: int) -> Exit:
        """Walk down at once, as libocc does on SIGTERM and SIGINT."""
        return ended(0)

    # link

    def _bind(self) -> None:
        self.bound = True

    def _send(self, peer: str, message: object) -> None:
        send = self.peers.get(peer)
        if send is not None:
            send(message)

    def _hello(self, peer: str, hello: Hello) -> None:
        if hello.role is PeerRole.CONTROLLER:
            holder = self._holder
            if holder is not None and holder[1] != hello.name:
                if hello.epoch < holder[2]:
                    self._send(peer, Refused(reason=Refusal.STALE, holder=holder[1], epoch=holder[2]))
                    return
                if hello.epoch == holder[2] and not hello.steal:
                    self._send(peer, Refused(reason=Refusal.CONFLICT, holder=holder[1], epoch=holder[2]))
                    return
                self._send(holder[0], Refused(reason=Refusal.SUPERSEDED, holder=hello.name, epoch=hello.epoch))
            self._holder = (peer, hello.name, hello.epoch)
        elif self._holder is not None and self._holder[0] == peer:
            self._holder = None  # it lets go: whoever comes next may have the task
            self.stolen = False
        self._said_hello[peer] = hello.role
        self._send(
            peer,
            Welcome(
                version=1,
                machine=self.machine,
                state=int(self.state),
                sequence=self.sequence,
                pid=self.pid,
                task=self.spec.task,
                run=self.run_number,
            ),
        )

    def _broadcast(self, message: object) -> None:
        for peer in list(self._said_hello):
            self._send(peer, message)

    def _set_state(self, state: int) -> None:
        if state == self.state:
            return
        self.state = state
        self.sequence += 1
        self._watcher.changed(self)
        self._broadcast(StateChanged(state=int(state), sequence=self.sequence))

    # state machine

    def _target(self, event: int) -> tuple[str, int, int] | None:
        """Return (name of the event, state on the way or 0, state at the end) if the event is legal here."""
        if self.machine is Machine.FAIRMQ:
            if event not in DeviceEvent.__members__.values():
                return None
            device_event = DeviceEvent(event)
            target = DEVICE.get(DeviceState(self.state), {}).get(device_event)
            return None if target is None else (device_event.name, ON_THE_WAY.get(device_event, 0), target)
        if event not in TaskEvent.__members__.values():
            return None
        task_event = TaskEvent(event)
        end = TASK.get(TaskState(self.state), {}).get(task_event)
        return None if end is None else (task_event.name, 0, end)

    def _transition(self, peer: str, message: Transition) -> None:
        stored = self._answers.get(message.id)
        if stored is not None:
            self._send(peer, stored)
            return
        if self._busy is not None:
            if self._busy.message.id == message.id:
                self._busy.asked_by.add(peer)
            else:
                self._refuse(peer, message, f"busy with {self._busy.name}")
            return
        found = self._target(message.event)
        if message.source != self.state or found is None:
            self._answer({peer}, self._result(message, False, f"not possible in {self.state_name}"))
            return
        name, on_the_way, target = found
        trouble = self._trouble(name)
        kind = trouble.kind if trouble is not None else ""
        if trouble is not None and kind == "die_before":
            self._log_and_end(f"died when told {name}", trouble.exit)
            return
        run = message.arguments.get("runNumber", message.arguments.get("run_number", ""))
        self._watcher.effect(self, message.id, name, run, message.arguments)
        self._take_properties(name, message.arguments)
        if name in EXIT_NAMES:
            self.told_to_end = True
        if name in START_NAMES:
            self.run_number = int(run) if run.isdigit() else 0
        elif name == "STOP":
            self._tell()
        self._busy = _Busy(message, {peer}, name, target)
        if on_the_way:
            self._set_state(on_the_way)
        duration = self.random.uniform(*self.behaviour.step_s)
        if trouble is not None and kind == "slow":
            duration = trouble.seconds
        if trouble is not None and kind == "die_during":
            self.later(duration / 2, lambda: self._log_and_end(f"died in {name}", trouble.exit))
        elif kind == "freeze":
            self.frozen = True
            self.later(duration, self._callback_returns)
        elif kind == "hang":
            self._busy.held = True
        elif kind == "error":
            self.later(duration, lambda: self._callback_returns(f"{name} went wrong"))
        else:
            self.later(duration, self._callback_returns)
            if trouble is not None and kind == "die_after":
                self.later(duration + 0.0005, lambda: self._log_and_end(f"died after {name}", trouble.exit))

    def _trouble(self, name: str) -> Trouble | None:
        n = self._told[name] = self._told.get(name, 0) + 1
        for trouble in self.behaviour.troubles:
            if trouble.event == name and trouble.nth == n:
                return trouble
        return None

    def _callback_returns(self, error: str = "") -> None:
        busy = self._busy
        if busy is None:
            return
        self._busy = None
        if error:
            self.last_log = error
            self._set_state(self._error_state)
            self._answer(busy.asked_by, self._result(busy.message, False, error, trigger=Trigger.DEVICE_ERROR))
            return
        if busy.target != self.state:
            self._set_state(busy.target)
        self._answer(busy.asked_by, self._result(busy.message, True, ""))
        if busy.name in START_NAMES:
            self._started()
        elif self.state in (TaskState.DONE,) if self.machine is Machine.OCC else self.state == DeviceState.EXITING:
            self.later(0.002, lambda: self.end(ended(0)))

    def _take_properties(self, name: str, arguments: Mapping[str, str]) -> None:
        if name in CONFIGURE_NAMES:
            self.properties = dict(arguments)
        elif name == "RECONFIGURE":
            self.properties.update(arguments)

    @property
    def _error_state(self) -> int:
        return DeviceState.ERROR if self.machine is Machine.FAIRMQ else TaskState.ERROR

    def _result(self, message: Transition, ok: bool, error: str, trigger: Trigger = Trigger.EXECUTOR) -> Result:
        return Result(
            id=message.id,
            ok=ok,
            state=int(self.state),
            event=int(message.event),
            trigger=trigger,
            error=error,
            sequence=self.sequence,
        )

    def _refuse(self, peer: str, message: Transition, error: str) -> None:
        """Answer without keeping the answer: the command may be repeated and then be possible."""
        self._send(peer, self._result(message, False, error))

    def _answer(self, peers: set[str], result: Result) -> None:
        self._answers[result.id] = result
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        for peer in sorted(peers):
            self._send(peer, result)

    def _started(self) -> None:
        self._runs += 1
        run, behaviour = self._runs, self.behaviour

        def in_this_run(action: Callable[[], None]) -> Callable[[], None]:
            def act() -> None:
                if self.running and self._runs == run and self._busy is None:
                    action()

            return act

        if run == 1 and behaviour.dies_running_s:
            self.later(
                behaviour.dies_running_s,
                in_this_run(lambda: self._log_and_end("lost in the run", behaviour.exit)),
            )
        if behaviour.end_of_stream_s:
            self.later(
                behaviour.end_of_stream_s,
                in_this_run(lambda: self._broadcast(Happened(type=DeviceEventType.END_OF_STREAM))),
            )
        if self.run_number and behaviour.voice is not None:
            self.later(behaviour.voice.every_s, in_this_run(lambda: self._speak(in_this_run, first=True)))
        after_s, seconds = behaviour.stuck_s
        self.stuck = False
        if run == 1 and after_s:
            self.later(after_s, in_this_run(lambda: self._stand_still(seconds)))
        if run == 1 and behaviour.error_running_s:
            self.later(behaviour.error_running_s, in_this_run(self._fail))

    def _speak(self, in_this_run: Callable[[Callable[[], None]], Callable[[], None]], first: bool = False) -> None:
        """Tell metrics, and again after a while, until the run is over."""
        voice = self.behaviour.voice
        assert voice is not None
        self._tell()
        for n in range((voice.flood if first else 0) + (self.random.random() < 0.2)):
            self._broadcast(voices.line(self.random, n, self.agenda.now.unix_ms))
        self.later(voice.every_s, in_this_run(lambda: self._speak(in_this_run)))

    def _tell(self) -> None:
        voice = self.behaviour.voice
        if voice is None or not self.running or not self.run_number or not self._said_hello:
            return
        for metric in voices.metrics(voice, self.random, self.agenda.now.unix_ms):
            if any(peer in self.peers for peer in self._said_hello):
                self._watcher.told(self, metric)
            self._broadcast(metric)

    def _stand_still(self, seconds: float) -> None:
        self.stuck, self.stuck_since = True, self.agenda.mono_s

        def go_on() -> None:
            self.stuck = False

        if seconds:
            self.agenda.after(seconds, go_on)

    def _fail(self) -> None:
        self.last_log = "the loop failed"
        self._broadcast(Happened(type=DeviceEventType.TASK_INTERNAL_ERROR, text=self.last_log))
        self._set_state(self._error_state)

    def _log_and_end(self, text: str, exit: Exit) -> None:
        self.last_log = text
        self.end(exit)
