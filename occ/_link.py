"""The task's end of the task link in Python: what libocc's link.c is in C, for devices that are not on libocc.

`Peers` decides who may command (pure); `Link` owns the socket in a thread of its own and hands commands over.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import msgpack
import zmq

from occ import _table
from occ._messages import (
    KINDS,
    Happened,
    Hello,
    Metric,
    Ping,
    Pong,
    Refused,
    Result,
    StateChanged,
    Transition,
    Welcome,
)
from occ._table import PeerRole, Refusal, Severity, Trigger
from occ._telemetry import FLUSH_PERIOD_S, Telemetry

MAX_PEERS = 16
QUEUE_MESSAGES = 4000
TELEMETRY_CREDIT = 2000
"""So many numbers and lines between two frames from a peer, who pings once a second: they must not fill the queue."""
FRAMES_A_TURN = 64
LINGER_MS = 1000

LOCAL = ("ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "tcp://lo:")
"""Endpoints that other machines can't reach begin so."""

_KIND_OF = {cls: kind for kind, cls in KINDS.items()}
_HINTS: Mapping[type, Mapping[str, Any]] = {cls: get_type_hints(cls) for cls in KINDS.values()}


class FrameError(ValueError):
    """Bytes that are no message of ours."""


def encode(message: Any) -> bytes:
    """Return the payload frame of a message."""
    fields = (getattr(message, field.name) for field in attrs.fields(type(message)))
    return bytes(msgpack.packb([_KIND_OF[type(message)], *fields]))


def decode(frame: bytes) -> Any:
    """Return the message in a payload frame.

    Raises:
        FrameError: it is too long, no msgpack, of an unknown kind, or does not fit its kind.
    """
    if len(frame) > _table.MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(frame)} bytes")
    try:
        items = msgpack.unpackb(frame, raw=False, strict_map_key=True)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not msgpack: {error}") from None
    if not isinstance(items, list) or not items or type(items[0]) is not int or items[0] not in KINDS:
        raise FrameError("not an array that begins with a known kind")
    cls = KINDS[items[0]]
    fields = attrs.fields(cls)
    required = sum(field.default is attrs.NOTHING for field in fields)
    if len(items) - 1 < required:
        raise FrameError(f"{cls.__name__}: {len(items) - 1} fields")
    pairs = zip(fields, items[1:], strict=False)  # those of a later version are ignored, the absent have defaults
    return cls(**{field.name: _checked(_HINTS[cls][field.name], value) for field, value in pairs})


def _checked(hint: Any, value: Any) -> Any:
    if hint == Mapping[str, str]:
        if type(value) is dict and all(type(key) is str and type(text) is str for key, text in value.items()):
            return value
    elif issubclass(hint, IntEnum):
        if type(value) is int and value in hint.__members__.values():
            return hint(value)
    elif hint is float and type(value) in (float, int):
        return float(value)
    elif hint is int and type(value) is int and not -(2**63) <= value < 2**63:
        raise FrameError(f"{value} is beyond 64 bits with a sign")  # as in C
    elif type(value) is hint:
        return value
    raise FrameError(f"{value!r:.40} where {hint} is expected")


@attrs.define
class Peers:
    """Who said Hello, and who of them is the controller. Peers are known by their routing ids."""

    holder: bytes | None = None
    """The controller's connection; None while it has none."""
    name: str = ""
    epoch: int = 0
    held: bool = False
    """The controller stays when its connection is gone: it may be about to come back."""
    known: OrderedDict[bytes, int] = attrs.field(factory=OrderedDict)
    """The one not heard for longest comes first; how many numbers and lines each may still be sent."""

    def heard(self, peer: bytes) -> bool:
        """Note a sign of life; return whether the peer is known."""
        if peer not in self.known:
            return False
        self._add(peer)
        return True

    def forget(self, peer: bytes) -> None:
        """Drop a peer whose connection is gone."""
        self.known.pop(peer, None)
        if self.holder == peer:
            self.holder = None

    def hello(self, peer: bytes, hello: Hello) -> tuple[Refused | None, bytes | None]:
        """Take a peer in, or not.

        Returns:
            Why it is refused (None: it is welcome), and the peer that is superseded by it, if any.
        """
        if not hello.version_low <= _table.WIRE_VERSION <= hello.version_high:
            return self.refused(Refusal.VERSION), None
        if hello.role is PeerRole.OBSERVER:
            if self.holder == peer:  # it steps back
                self.held, self.holder = False, None
            self._add(peer)
            return None, None
        same = self.held and hello.name == self.name != ""
        if self.held and hello.epoch < self.epoch:
            return self.refused(Refusal.STALE), None
        if self.held and not same and hello.epoch == self.epoch and not hello.steal:
            return self.refused(Refusal.CONFLICT), None
        former = self.holder if self.holder != peer else None
        self.held, self.holder, self.name, self.epoch = True, peer, hello.name, hello.epoch
        self._add(peer)
        if former is not None and same:
            self.forget(former)  # it came back by a new connection
            former = None
        return None, former

    def refused(self, reason: Refusal) -> Refused:
        """Return a refusal that names the holder."""
        return Refused(reason=reason, holder=self.name, epoch=self.epoch)

    @property
    def listen(self) -> bool:
        """Whether somebody is there to be told numbers. While the controller is away, they wait for it."""
        if self.held:
            return self.holder is not None and self.known[self.holder] > 0
        return any(credit > 0 for credit in self.known.values())

    def take_credit(self) -> list[bytes]:
        """Return those that may be sent a number or a line, and count it."""
        able = [peer for peer, credit in self.known.items() if credit > 0]
        for peer in able:
            self.known[peer] -= 1
        return able

    def _add(self, peer: bytes) -> None:
        self.known[peer] = TELEMETRY_CREDIT
        self.known.move_to_end(peer)
        if len(self.known) > MAX_PEERS:
            self.forget(next(known for known in self.known if known != self.holder))


class Link:
    """The socket, its thread, and what passes between it and the thread that works."""

    def __init__(
        self,
        endpoint: str,
        welcome: Callable[[int, int, int], Welcome],
        why_not: Callable[[int, int, int], str],
        event_name: Callable[[int], str],
        state: int,
    ) -> None:
        """Bind the endpoint and start the thread.

        Args:
            endpoint: as for `zmq.Socket.bind`.
            welcome: makes the Welcome from state, sequence and run.
            why_not: says why an event from a source state is impossible in a state, or "".
            event_name: names an event in errors.
            state: the first one.

        Raises:
            OSError: the endpoint can't be bound.
        """
        self._welcome, self._why_not, self._event_name = welcome, why_not, event_name
        self._lock = threading.Lock()
        self._state, self._sequence, self.run = state, 0, 0
        self.progress = 0
        self._peers = Peers()
        self._answers: OrderedDict[str, Result] = OrderedDict()
        self._command: Transition | None = None
        self._waits = False
        self._outgoing: deque[Any] = deque()
        self._telemetry = Telemetry()
        self._told = False
        """Whether the socket's thread knows that numbers or lines are there."""
        self._flushed = 0.0
        self._closing = False
        self._to_worker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._to_thread = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = LINGER_MS
        self._socket.sndhwm = QUEUE_MESSAGES
        self._socket.set(zmq.MAXMSGSIZE, _table.MAX_FRAME_BYTES)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)  # else the gone are never noticed
        self._socket.set(zmq.ROUTER_HANDOVER, 1)  # a peer that comes back keeps its id
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(error.errno, os.strerror(error.errno or 0), endpoint) from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        if not self.endpoint.startswith(LOCAL):
            print(
                f"occ: {self.endpoint} can be reached from other machines, and the control link has no keys yet: "
                "whoever reaches it can command this task",
                file=sys.stderr,
                flush=True,
            )
        self._thread = threading.Thread(target=self._work, name="occ link", daemon=True)
        self._thread.start()

    # --- the side of the thread that works

    @property
    def state(self) -> int:
        """The state, as it was told last."""
        return self._state

    def fileno(self) -> int:
        """Return a descriptor that is readable while a command waits."""
        return self._to_worker

    @property
    def pending(self) -> bool:
        """Whether a command waits."""
        return self._waits

    def take(self) -> Transition | None:
        """Return the command that waits, if there is one."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._to_worker)
        with self._lock:
            if not self._waits:
                return None
            self._waits = False
            return self._command

    def set_state(self, state: int) -> None:
        """Enter a state and tell everybody."""
        with self._lock:
            self._state = state
            self._sequence += 1
            self._tell(StateChanged(state=state, sequence=self._sequence))

    def answer(self, command: Transition, *, ok: bool, trigger: Trigger, error: str = "") -> None:
        """Say how a command ended."""
        with self._lock:
            self._command = None
            self._tell(self._keep(command, ok=ok, trigger=trigger, error=error))

    def happened(self, happened: Happened) -> None:
        """Tell what nobody ordered."""
        with self._lock:
            self._tell(happened)

    def metric(self, name: str, value: float, unit: str) -> bool:
        """Tell one sample; return whether it was taken. From any thread. Raises ValueError."""
        with self._lock:
            if self._closing:
                return False
            taken = self._telemetry.sample(name, value, unit)
            self._tell_telemetry()
        return taken

    def log(self, text: str, severity: Severity) -> None:
        """Tell a line, or several. From any thread."""
        with self._lock:
            if not self._closing:
                self._telemetry.log(text, severity)
                self._tell_telemetry()

    def cut_metrics(self) -> None:
        """Let the samples told so far come before what is told next."""
        with self._lock:
            for metric in self._telemetry.take_metrics():
                self._tell(metric)

    def close(self) -> None:
        """Tell what is still to tell (at most 1 s) and close the endpoint."""
        with self._lock:
            self._closing = True
            os.eventfd_write(self._to_thread, 1)
        self._thread.join()
        self._socket.unbind(self.endpoint)
        path = self.endpoint.removeprefix("ipc://")
        if path != self.endpoint and not path.startswith("@"):
            Path(path).unlink(missing_ok=True)  # libzmq leaves it
        self._socket.close()
        self._context.term()
        os.close(self._to_worker)
        os.close(self._to_thread)

    def _tell_telemetry(self) -> None:
        if not self._told:
            self._told = True
            os.eventfd_write(self._to_thread, 1)

    def _tell(self, message: Any) -> None:
        self._outgoing.append(message)
        os.eventfd_write(self._to_thread, 1)

    def _keep(self, command: Transition, *, ok: bool, trigger: Trigger, error: str) -> Result:
        shortened = error.encode(errors="replace")[: _table.MAX_ERROR_BYTES].decode(errors="ignore")
        result = self._answers[command.id] = Result(
            id=command.id,
            ok=ok,
            state=self._state,
            event=command.event,
            trigger=trigger,
            error=shortened,
            sequence=self._sequence,
        )
        while len(self._answers) > _table.MAX_ANSWERS:
            self._answers.popitem(last=False)
        return result

    # --- the side of the socket's thread

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._to_thread, zmq.POLLIN)
        while True:
            poller.poll(self._telemetry_due_ms())
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._to_thread)
            for _ in range(FRAMES_A_TURN):
                self._send_outgoing()
                try:
                    parts = self._socket.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                if len(parts) == 3 and parts[1] == bytes([_table.WIRE_VERSION]):
                    with contextlib.suppress(FrameError):
                        self._on_message(parts[0], decode(parts[2]))
            if self._telemetry_due_ms() == 0:
                self._send_telemetry()
            with self._lock:
                ends = self._closing and not self._outgoing
            if ends:
                self._send_telemetry()
                return

    def _telemetry_due_ms(self) -> int | None:
        """Return in how many ms numbers and lines are due; None if there are none or nobody to tell."""
        with self._lock:
            self._told = self._telemetry.waits
            if not self._told or not self._peers.listen:
                return None
        return max(0, math.ceil((self._flushed + FLUSH_PERIOD_S - time.monotonic()) * 1000))

    def _send_telemetry(self) -> None:
        if not self._peers.listen:
            return
        with self._lock:
            self._outgoing.extend(self._telemetry.take_metrics())
        self._flushed = time.monotonic()
        self._send_outgoing()
        self._send_lines()

    def _send_lines(self) -> None:
        while self._peers.listen:
            with self._lock:
                line = self._telemetry.take_line()
            if line is None:
                return
            for peer in self._peers.take_credit():
                self._send(peer, line)

    def _send_metric(self, metric: Metric) -> None:
        got = not self._peers.held
        for peer in self._peers.take_credit():
            got |= self._send(peer, metric) and peer == self._peers.holder
        if not got:  # it waits for the controller to come back
            with self._lock:
                self._telemetry.put_back(metric)

    def _send_outgoing(self) -> None:
        while True:
            with self._lock:
                if not self._outgoing:
                    return
                message = self._outgoing.popleft()
            if isinstance(message, Metric):
                self._send_metric(message)
                continue
            self._send_lines()  # a failure is better understood after what was said before it
            if isinstance(message, Result):
                self._send(self._peers.holder, message)
            else:
                for peer in list(self._peers.known):
                    self._send(peer, message)

    def _send(self, peer: bytes | None, message: Any) -> bool:
        """Send, never waiting: what a full queue drops, the next Pong or a repeated question tells again.

        Returns:
            Whether it is on its way.
        """
        if peer is None:
            return False
        try:
            self._socket.send_multipart([peer, bytes([_table.WIRE_VERSION]), encode(message)], zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._peers.forget(peer)
            return False
        return True

    def _on_message(self, peer: bytes, message: Any) -> None:
        if isinstance(message, Hello):
            self._on_hello(peer, message)
        elif not self._peers.heard(peer):
            return
        elif isinstance(message, Ping):
            with self._lock:
                pong = Pong(number=message.number, state=self._state, sequence=self._sequence, progress=self.progress)
            self._send(peer, pong)
        elif isinstance(message, Transition):
            self._on_transition(peer, message)

    def _on_hello(self, peer: bytes, hello: Hello) -> None:
        if len(hello.name.encode()) > _table.MAX_ID_BYTES:
            return
        refused, superseded = self._peers.hello(peer, hello)
        if refused is not None:
            self._send(peer, refused)
            return
        if superseded is not None:
            self._send(superseded, self._peers.refused(Refusal.SUPERSEDED))
        with self._lock:
            welcome = self._welcome(self._state, self._sequence, self.run)
        self._send(peer, welcome)

    def _on_transition(self, peer: bytes, command: Transition) -> None:
        if peer != self._peers.holder:
            self._send(peer, self._peers.refused(Refusal.NOT_CONTROLLER))
            return
        if len(command.id.encode()) > _table.MAX_ID_BYTES:
            return
        with self._lock:
            answer = self._answers.get(command.id)
            if answer is None:
                if self._command is not None and self._command.id == command.id:
                    return  # it is answered when it ends
                error = self._why_not(command.event, command.source, self._state) or self._why_not_now()
                if error:
                    answer = self._keep(command, ok=False, trigger=Trigger.EXECUTOR, error=error)
                else:
                    self._command = command
                    self._waits = True
                    os.eventfd_write(self._to_worker, 1)
        if answer is not None:
            self._send(peer, answer)

    def _why_not_now(self) -> str:
        return "" if self._command is None else f"{self._event_name(self._command.event)} is still going on"
