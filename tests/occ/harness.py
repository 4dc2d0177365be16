"""Real task processes and those who speak to them: pyzmq and the messages of libecs, nothing of the executor."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import zmq

from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.task import TASK, Hello, PeerRole, Ping, Pong, Result, StateChanged, Transition, Welcome

TIMEOUT_S = 40
LAST_WORDS_MS = 5000
"""How long what a task said before it ended may still be on its way through a busy machine."""
VERSION = b"\x01"

M = TypeVar("M")
_orders = itertools.count()
"""Of all peers: an order whose id a task has heard before is answered as it was then."""


class Peer:
    """Somebody who is connected to a task. A DEALER does as well as the executor's ROUTER: the task can't tell."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        identity: bytes = b"",
        task: TaskProcess | None = None,
    ) -> None:
        self._task = task
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = 10
        if identity:
            self.socket.identity = identity
        self.socket.connect(endpoint)
        self.seen: list[Any] = []
        """All that came, in order."""

    def send(self, message: object) -> None:
        self.socket.send_multipart([VERSION, TASK.encode(message)])

    def send_raw(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def receive(self) -> Any:
        deadline = time.monotonic() + TIMEOUT_S
        while not self.socket.poll(100):
            ended = self._task is not None and self._task.process.poll() is not None
            if self._task is not None and ended and not self.socket.poll(LAST_WORDS_MS):
                raise AssertionError(f"the task ended with {self._task.process.poll()}: {self._task.stderr()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came within {TIMEOUT_S} s after {self.seen}")
        version, payload = self.socket.recv_multipart()
        assert version == VERSION
        message = TASK.decode(payload)
        self.seen.append(message)
        return message

    def wait_for(self, kind: type[M], matches: Callable[[M], bool] = lambda _: True) -> M:
        """Receive until a message of this type comes that matches."""
        while True:
            message = self.receive()
            if isinstance(message, kind) and matches(message):
                return message

    def hello(self, role: PeerRole = PeerRole.CONTROLLER, epoch: int = 1, name: str = "tester", **more: Any) -> Any:
        """Say Hello and return the answer, a Welcome or a Refused."""
        self.send(Hello(role=role, epoch=epoch, name=name, **more))
        return self.receive()

    def welcome(self, role: PeerRole = PeerRole.CONTROLLER, epoch: int = 1, name: str = "tester") -> Welcome:
        answer = self.hello(role, epoch, name)
        assert isinstance(answer, Welcome), answer
        return answer

    def order(self, event: int, source: int, arguments: Mapping[str, str] | None = None, *, id: str = "") -> str:
        """Send a Transition and return its id."""
        id = id or f"order-{next(_orders)}"
        self.send(Transition(id=id, event=event, source=source, arguments=arguments or {}))
        return id

    def go(self, event: int, source: int, arguments: Mapping[str, str] | None = None) -> Result:
        """Send a Transition and return its Result."""
        id = self.order(event, source, arguments)
        return self.wait_for(Result, lambda result: result.id == id)

    def ping(self, number: int = 1) -> Pong:
        self.send(Ping(number=number))
        return self.wait_for(Pong, lambda pong: pong.number == number)

    def states_seen(self) -> list[int]:
        return [message.state for message in self.seen if isinstance(message, StateChanged)]


@attrs.define
class TaskProcess:
    """One task, and the files by which a test and the task speak."""

    process: subprocess.Popen[bytes]
    endpoint: str
    folder: Path

    def trace(self) -> list[str]:
        """Return what was called, in order."""
        path = self.folder / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def release(self) -> None:
        """End all hanging."""
        (self.folder / "release").touch()

    def make_ill(self) -> None:
        """Let iterate_check fail from now on."""
        (self.folder / "ill").touch()

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def wait_for_handlers(self) -> None:
        """Wait until SIGTERM and SIGINT are handled: the link answers before that."""
        both = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)
        deadline = time.monotonic() + TIMEOUT_S
        while self._caught() & both != both:
            assert time.monotonic() < deadline, "no handlers"
            time.sleep(0.001)  # /proc tells nobody when it changes

    def _caught(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("SigCgt:")[2].split()[0], 16)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def start_task(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> TaskProcess:
    """Start a task whose endpoint and files lie in `folder`."""
    endpoint = f"ipc://{folder}/control"
    told = {
        "OCC_CONTROL_ENDPOINT": endpoint,
        "ECS_TASK_ID": "instance/node/task",
        "TRACE": str(folder / "trace"),
        "RELEASE": str(folder / "release"),
        "ILL": str(folder / "ill"),
    }
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **told, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    return TaskProcess(process=process, endpoint=endpoint, folder=folder)


@attrs.frozen(kw_only=True)
class Kind:
    """One implementation of the task link, and the first steps of its state machine."""

    name: str
    first_state: int
    first_event: int
    second_state: int
    first_moment: str
    """The property `hang` or `fail` of this value acts in the first event that calls the user."""
    steps_to_moment: tuple[tuple[int, int], ...]
    """(event, source) up to and with that event."""


C = Kind(
    name="c",
    first_state=TaskState.STANDBY,
    first_event=TaskEvent.CONFIGURE,
    second_state=TaskState.CONFIGURED,
    first_moment="configure",
    steps_to_moment=((TaskEvent.CONFIGURE, TaskState.STANDBY),),
)
PYTHON = attrs.evolve(C, name="python")
DEVICE = Kind(
    name="device",
    first_state=DeviceState.IDLE,
    first_event=DeviceEvent.INIT_DEVICE,
    second_state=DeviceState.INITIALIZING_DEVICE,
    first_moment="init",
    steps_to_moment=(
        (DeviceEvent.INIT_DEVICE, DeviceState.IDLE),
        (DeviceEvent.COMPLETE_INIT, DeviceState.INITIALIZING_DEVICE),
    ),
)
