"""A device in Python that behaves as FairMQ's state machine does, without FairMQ, and speaks the task link.

    class Builder(FairMQDevice):
        def init(self): ...
        def conditional_run(self): ...

    sys.exit(Builder().run())

What a controller sees is what it sees of a FairMQ device: INITIALIZING DEVICE waits for COMPLETE INIT; BINDING and the
other working states are real and are told; the configuration is frozen when INITIALIZING DEVICE is left; a device may
leave RUNNING on its own; an error leads to ERROR, out of which no event leads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from occ._link import Link
from occ._messages import Happened, Transition, Welcome
from occ._table import (
    DEVICE,
    ON_THE_WAY,
    DeviceEvent,
    DeviceEventType,
    DeviceState,
    Machine,
    Severity,
    Trigger,
)

IDLE_S = 0.01

_TAKES_ARGUMENTS = (DeviceEvent.INIT_DEVICE, DeviceEvent.RUN, DeviceEvent.STOP)


class FairMQDevice:
    """A device: override what it does, and call `run()`. All methods run in the thread that called `run()`.

    An exception is FairMQ's ERROR FOUND: the state is ERROR, the text goes to the controller.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._configured: dict[str, str] = {}
        self._run_arguments: dict[str, str] = {}
        self._terminating = False

    # --- what a subclass overrides

    def init(self) -> None:
        """Take the configuration (COMPLETE INIT)."""

    def bind(self) -> None:
        """Bind channels (in BINDING)."""

    def connect(self) -> None:
        """Connect channels (in CONNECTING)."""

    def init_task(self) -> None:
        """Get ready to run (in INITIALIZING TASK)."""

    def pre_run(self) -> None:
        """Begin to run (in RUNNING, before the first turn)."""

    def conditional_run(self) -> bool | None:
        """Do a piece of work; called again and again in RUNNING.

        Returns:
            True to be called again at once, False to leave RUNNING, None if there was nothing to do.
        """
        return None

    def post_run(self) -> None:
        """End the run (still in RUNNING)."""

    def reset_task(self) -> None:
        """Undo `init_task` (in RESETTING TASK)."""

    def reset_device(self) -> None:
        """Undo `init`, `bind` and `connect` (in RESETTING DEVICE)."""

    # --- what it can use

    @property
    def properties(self) -> Mapping[str, str]:
        """The arguments of INIT DEVICE; on top of them those of RUN and STOP, until the next RUN."""
        return MappingProxyType(self._configured | self._run_arguments)

    @property
    def state(self) -> DeviceState:
        """The state; UNDEFINED before and after `run()`."""
        return DeviceState.UNDEFINED if self._link is None else DeviceState(self._link.state)

    @property
    def run_number(self) -> int:
        """The run that the device was last started for; 0 if none."""
        return 0 if self._link is None else self._link.run

    @property
    def pending(self) -> bool:
        """Whether a command or a signal waits: `conditional_run` should return soon."""
        return self._terminating or (self._link is not None and self._link.pending)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a command waits, for pollers.

        Raises:
            RuntimeError: outside `run()`.
        """
        return self._require().fileno()

    def metric(self, name: str, value: float, unit: str = "") -> bool:
        """Tell one sample, an increment; see `occ.Task.metric`.

        Returns:
            False if it was not taken: it is not finite, the device tells 64 metrics already, or does not run.

        Raises:
            ValueError: name or unit is too long (63 bytes), or the name is empty.
        """
        link = self._link
        return link is not None and link.metric(name, value, unit)

    def log(self, text: str, severity: str = "INFO") -> None:
        """Tell a line (each, of a text of several). Outside `run()` it goes nowhere.

        Raises:
            ValueError: severity is none of DEBUG, INFO, WARNING, ERROR, FATAL.
        """
        if severity not in Severity.__members__:
            raise ValueError(f"severity {severity!r}: one of {', '.join(Severity.__members__)} is expected")
        link = self._link
        if link is not None:
            link.log(text, Severity[severity])

    def end_of_stream(self) -> None:
        """Tell the controller that there is nothing more in this run."""
        self._require().happened(Happened(type=DeviceEventType.END_OF_STREAM))

    def run(self, endpoint: str | None = None) -> int:
        """Bind the endpoint and do what the controller orders until EXITING; SIGTERM and SIGINT lead there too.

        Without `endpoint` it is $OCC_CONTROL_ENDPOINT, else port $OCC_CONTROL_PORT of 127.0.0.1.

        Returns:
            Exit status: 0, or 1 if the device was in ERROR at the end.

        Raises:
            ValueError: no usable endpoint is given.
            OSError: it can't be bound.
        """
        link = self._link = Link(
            chosen_endpoint(endpoint),
            welcome=_welcome,
            why_not=why_not,
            event_name=_event_name,
            state=DeviceState.IDLE,
        )
        try:
            with self._signals() as wake:
                self._loop(link, wake)
        finally:
            failed = self.state is DeviceState.ERROR
            self._link = None
            link.close()
        return int(failed)

    # --- inside

    def _require(self) -> Link:
        if self._link is None:
            raise RuntimeError("the device does not run")
        return self._link

    def _loop(self, link: Link, wake: int) -> None:
        poller = select.poll()
        poller.register(link.fileno(), select.POLLIN)
        poller.register(wake, select.POLLIN)
        while self.state is not DeviceState.EXITING:
            if self._terminating:
                self._walk_down()
                return
            command = link.take()
            if command is not None:
                self._perform(link, command)
            elif self.state is DeviceState.RUNNING:
                wait_s = self._turn(link)
                if wait_s > 0:
                    poller.poll(wait_s * 1000)
            else:
                poller.poll()
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 64)

    def _perform(self, link: Link, command: Transition) -> None:
        """Go through one event and answer."""
        event = DeviceEvent(command.event)
        error = why_not(command.event, command.source, link.state) or self._take_arguments(
            link, event, command.arguments
        )
        if error:  # the device may have left the source state on its own meanwhile
            link.answer(command, ok=False, trigger=Trigger.EXECUTOR, error=error)
            return
        if event is DeviceEvent.ERROR_FOUND:
            _set_state(link, DeviceState.ERROR)
            link.answer(command, ok=True, trigger=Trigger.EXECUTOR)
            return
        error = self._go_through(link, event)
        link.answer(command, ok=not error, trigger=Trigger.DEVICE_ERROR if error else Trigger.EXECUTOR, error=error)

    def _take_arguments(self, link: Link, event: DeviceEvent, arguments: Mapping[str, str]) -> str:
        """Take what comes with an event; return why it can't be taken, or ""."""
        if event is DeviceEvent.INIT_DEVICE:
            self._configured = dict(arguments)
            self._run_arguments = {}
            return ""
        frozen = [key for key in arguments if key.startswith("chans.") or event not in _TAKES_ARGUMENTS]
        if frozen:
            return f"the configuration is frozen after INITIALIZING DEVICE: {frozen[0]}"
        if event is DeviceEvent.RUN:
            text = arguments.get("runNumber", arguments.get("run_number", "0"))
            if not (text.isascii() and text.isdigit() and int(text) < 2**32):
                return f"the run number {text!r:.40} is no number between 0 and {2**32 - 1}"
            link.run = int(text)
            self._run_arguments = dict(arguments)
        else:
            self._run_arguments |= arguments
        return ""

    def _go_through(self, link: Link, event: DeviceEvent) -> str:
        """Call what belongs to an event, by way of its working state; return the error that ended it, or ""."""
        target = DEVICE[self.state][event]
        works: Mapping[DeviceEvent, Callable[[], None]] = {
            DeviceEvent.COMPLETE_INIT: self.init,
            DeviceEvent.BIND: self.bind,
            DeviceEvent.CONNECT: self.connect,
            DeviceEvent.INIT_TASK: self.init_task,
            DeviceEvent.STOP: self.post_run,
            DeviceEvent.RESET_TASK: self.reset_task,
            DeviceEvent.RESET_DEVICE: self.reset_device,
        }
        if event in ON_THE_WAY:
            link.set_state(ON_THE_WAY[event])
        try:
            if event in works:
                works[event]()
        except Exception as error:
            return self._error_found(link, error)
        _set_state(link, target)
        if event is DeviceEvent.RUN:
            try:
                self.pre_run()
            except Exception as error:
                return self._error_found(link, error)
        return ""

    def _turn(self, link: Link) -> float:
        """Let the user's loop turn once; return how long to wait, in seconds."""
        try:
            told = self.conditional_run()
        except Exception as error:
            text = self._error_found(link, error)
            link.happened(Happened(type=DeviceEventType.TASK_INTERNAL_ERROR, text=text[:1000]))
            return 0
        link.progress += 1
        if told is False:
            self._go_through(link, DeviceEvent.STOP)
        return IDLE_S if told is None else 0

    def _error_found(self, link: Link, error: Exception) -> str:
        traceback.print_exception(error)
        sys.stderr.flush()
        _set_state(link, DeviceState.ERROR)
        return f"{type(error).__name__}: {error}"

    def _walk_down(self) -> None:
        """Go to EXITING without being ordered to."""
        link = self._require()
        down: Mapping[DeviceState, DeviceEvent] = {
            DeviceState.RUNNING: DeviceEvent.STOP,
            DeviceState.READY: DeviceEvent.RESET_TASK,
            DeviceState.DEVICE_READY: DeviceEvent.RESET_DEVICE,
            DeviceState.BOUND: DeviceEvent.RESET_DEVICE,
            DeviceState.INITIALIZED: DeviceEvent.RESET_DEVICE,
            DeviceState.IDLE: DeviceEvent.END,
        }
        while self.state in down:
            self._go_through(link, down[self.state])
        if self.state not in (DeviceState.ERROR, DeviceState.EXITING):
            link.set_state(DeviceState.EXITING)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Let SIGTERM and SIGINT end the loop; yield a descriptor that is readable when one came."""
        readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if threading.current_thread() is not threading.main_thread():
            try:
                yield readable
            finally:
                os.close(readable)
                os.close(writable)
            return

        def terminate(number: int, frame: object) -> None:
            self._terminating = True
            os.eventfd_write(self.fileno(), 1)  # the user's code may wait for that one

        before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        # SIGINT first, which Python handles already: who sees that SIGTERM is handled knows that both are.
        handlers = {number: signal.signal(number, terminate) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield readable
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(readable)
            os.close(writable)


def chosen_endpoint(told: str | None) -> str:
    """Return where to bind: what is told, else the environment says so.

    Raises:
        ValueError: nothing usable is said.
    """
    endpoint = told or os.environ.get("OCC_CONTROL_ENDPOINT", "")
    port = os.environ.get("OCC_CONTROL_PORT", "")
    if not endpoint and port.isdigit() and 0 < int(port) < 65536:
        endpoint = f"tcp://127.0.0.1:{port}"
    if not endpoint.startswith(("ipc://", "tcp://")):
        raise ValueError(
            "no control endpoint: set OCC_CONTROL_ENDPOINT to ipc://PATH or tcp://HOST:PORT, or OCC_CONTROL_PORT"
        )
    return endpoint


def why_not(event: int, source: int, state: int) -> str:
    """Say why an event that is ordered from `source` is impossible in `state`, or ""."""
    if event not in DeviceEvent.__members__.values():
        return f"there is no event {event}"
    name = _event_name(event)
    if source != state:
        told = _label(source) if source in DeviceState.__members__.values() else "?"
        return f"{name} was ordered from {told}, but the state is {_label(state)}"
    if event == DeviceEvent.ERROR_FOUND and state not in (DeviceState.ERROR, DeviceState.EXITING):
        return ""
    possible = DEVICE.get(DeviceState(state), {})
    if event not in possible:
        allowed = ", ".join(_event_name(e) for e in possible) or "nothing"
        return f"{name} not possible in {_label(state)} (allowed: {allowed})"
    return ""


def _set_state(link: Link, state: DeviceState) -> None:
    """Enter a state. Metrics are told between the states that begin and end their run."""
    if DeviceState.RUNNING in (state, link.state):
        link.cut_metrics()
    link.set_state(state)


def _label(state: int) -> str:
    return DeviceState(state).name.replace("_", " ")


def _event_name(event: int) -> str:
    return DeviceEvent(event).name.replace("_", " ")


def _welcome(state: int, sequence: int, run: int) -> Welcome:
    return Welcome(
        version=1,
        machine=Machine.FAIRMQ,
        state=state,
        sequence=sequence,
        pid=os.getpid(),
        task=os.environ.get("ECS_TASK_ID", ""),
        run=run,
    )
