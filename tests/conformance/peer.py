"""A task under test, and somebody who speaks raw frames to it. Whatever comes is checked against the protocol."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgpack
import zmq

from tests.conformance import protocol
from tests.conformance.protocol import FIELDS, MACHINES, VERSION, pack

TIMEOUT_S = 40
LAST_WORDS_MS = 5000
"""How long what a task said before it ended may still be on its way through a busy machine."""

_numbers = itertools.count(1)


class Violation(AssertionError):
    """The task broke the protocol."""


@attrs.frozen
class Message:
    """What a task said: `message.state` is the field of that name."""

    kind: int
    fields: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


def read(parts: Sequence[bytes]) -> Message:
    """Return the message in the frames that a task sent.

    Raises:
        Violation: it is none that a task may send.
    """
    if len(parts) != 2 or parts[0] != VERSION or len(parts[1]) > protocol.MAX_FRAME_BYTES:
        raise Violation(f"{len(parts)} frames, the first is {parts[0]!r}")
    items = msgpack.unpackb(parts[1], raw=False, strict_map_key=True)
    if type(items) is not list or not items or items[0] not in FIELDS or items[0] < protocol.WELCOME:
        raise Violation(f"no message of a task: {items!r:.200}")
    described = FIELDS[items[0]]
    if len(items) - 1 < len(described):
        raise Violation(f"kind {items[0]} with {len(items) - 1} fields")
    values = dict(zip((name for name, _ in described), items[1:], strict=False))
    for name, kind in described:
        if type(values[name]) is not kind:
            raise Violation(f"kind {items[0]}: {name} is {values[name]!r:.80}")
    message = Message(items[0], values)
    check(message)
    return message


def check(message: Message) -> None:
    """Check what types do not say. Raises Violation."""
    wrong: Callable[[Message], bool] | None = {
        protocol.REFUSED: lambda m: m.reason not in range(1, 6) or len(m.holder.encode()) > 63,
        protocol.RESULT: lambda m: m.trigger not in range(3) or len(m.error.encode()) > protocol.MAX_ERROR_BYTES,
        protocol.HAPPENED: lambda m: m.type not in range(1, 4) or len(m.text.encode()) > protocol.MAX_ERROR_BYTES,
        protocol.LOG: lambda m: m.severity not in range(1, 6) or len(m.text.encode()) > 1024 or "\n" in m.text,
        protocol.METRIC: lambda m: m.n < 1 or not m.name or not m.min <= m.last <= m.max or not math.isfinite(m.sum),
    }.get(message.kind)
    if wrong is not None and wrong(message):
        raise Violation(f"{message}")


class Task:
    """A process under test."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.configuration: Mapping[str, str] = {}
        """Arguments that it needs for its first event."""
        self.epochs = itertools.count(10, 10)
        """Each higher than all before, with room for some between."""
        self.endpoint = f"ipc://{folder}/control"
        told = {
            "OCC_CONTROL_ENDPOINT": self.endpoint,
            "ECS_TASK_ID": "instance/node/task",
            "TRACE": str(folder / "trace"),
            "RELEASE": str(folder / "release"),
            "ILL": str(folder / "ill"),
        }
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                list(command),
                env={**os.environ, **told, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def release(self) -> None:
        """Let what hangs go on."""
        (self.folder / "release").touch()

    def wait(self) -> int:
        """Wait for the end of the process; return its status."""
        return self.process.wait(TIMEOUT_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def memory_kib(self) -> int:
        """Return the resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def output(self) -> str:
        """Return what it printed."""
        return (self.folder / "output").read_text(errors="replace")

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)


class Peer:
    """One connection to a task."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], task: Task) -> None:
        self.task = task
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = 10
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.connect(task.endpoint)
        self.name = f"peer-{next(_numbers)}"
        self.seen: list[Message] = []
        self._sequence: int | None = None
        self._orders = 0
        self.machine = MACHINES[protocol.OCC]

    def send(self, kind: int, *fields: Any) -> None:
        """Send one message."""
        self.socket.send_multipart([VERSION, pack([kind, *fields])])

    def send_frames(self, *parts: bytes) -> None:
        """Send frames as they are."""
        self.socket.send_multipart(parts)

    def receive(self) -> Message:
        """Return the next message."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.socket.poll(100):
            if self.task.process.poll() is not None and not self.socket.poll(LAST_WORDS_MS):
                raise AssertionError(f"the task ended with {self.task.process.poll()}: {self.task.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came within {TIMEOUT_S} s after {self.seen[-5:]}: {self.task.output()}")
        message = read(self.socket.recv_multipart())
        self.seen.append(message)
        self._check_order(message)
        return message

    def _check_order(self, message: Message) -> None:
        """Check that numbers of states grow by one and that nothing contradicts them. Raises Violation."""
        if message.kind == protocol.WELCOME:
            self._sequence = message.sequence
        elif message.kind == protocol.STATE_CHANGED and self._sequence is not None:
            if message.sequence != self._sequence + 1:
                raise Violation(f"{message} after state number {self._sequence}")
            self._sequence = message.sequence
        elif message.kind == protocol.PONG and self._sequence is not None and message.sequence < self._sequence:
            raise Violation(f"{message} after state number {self._sequence}")

    def wait_for(self, kind: int, matches: Callable[[Message], bool] = lambda _: True) -> Message:
        """Receive until a message of this kind comes that matches."""
        while True:
            message = self.receive()
            if message.kind == kind and matches(message):
                return message

    def seen_of(self, kind: int) -> list[Message]:
        """Return what came of one kind."""
        return [message for message in self.seen if message.kind == kind]

    def hello(self, role: int = protocol.CONTROLLER, epoch: int = 1, name: str | None = None, *more: object) -> Message:
        """Say Hello; return Welcome or Refused. `more` are the fields that may be left out."""
        self.send(protocol.HELLO, role, epoch, self.name if name is None else name, *more)
        while (answer := self.receive()).kind not in (protocol.WELCOME, protocol.REFUSED):
            pass
        if answer.kind == protocol.WELCOME:
            self.machine = MACHINES[answer.machine]
        return answer

    def welcome(self, role: int = protocol.CONTROLLER, epoch: int = 1, name: str | None = None) -> Message:
        """Say Hello and be welcome."""
        answer = self.hello(role, epoch, name)
        assert answer.kind == protocol.WELCOME, answer
        return answer

    def order(self, event: int, source: int, arguments: Mapping[str, str] | None = None, id: str = "") -> str:
        """Send a Transition; return its id."""
        self._orders += 1
        id = id or f"{self.name}-{self._orders}"
        needed = self.task.configuration if event == protocol.CONFIGURE else {}  # or INIT DEVICE, which is 1 too
        self.send(protocol.TRANSITION, id, event, source, {**needed, **(arguments or {})})
        return id

    def go(self, event: int, source: int, arguments: Mapping[str, str] | None = None, id: str = "") -> Message:
        """Send a Transition; return its Result."""
        told = self.order(event, source, arguments, id)
        return self.wait_for(protocol.RESULT, lambda result: result.id == told)

    def ping(self, number: int = 1) -> Message:
        """Return the Pong of a Ping."""
        self.send(protocol.PING, number)
        return self.wait_for(protocol.PONG, lambda pong: pong.number == number)

    def bring(self, target: int, arguments: Mapping[str, str] | None = None) -> None:
        """Go to a state by the shortest way; the arguments go with the first event."""
        state = self.ping().state
        way = self.machine.way(state, target)
        assert way is not None, f"no way from {state} to {target}"
        for i, (event, source) in enumerate(way):
            result = self.go(event, source, arguments if i == 0 else None)
            assert result.ok, (result, self.task.output())
        assert self.ping().state == target

    def close(self) -> None:
        """Drop the connection."""
        self.socket.close()
