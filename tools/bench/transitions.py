"""Time CONFIGURE, START and STOP of 60 real C tasks, from the request to the end of the transition: milliseconds.

    python tools/bench/transitions.py        prints {"configure_60_ms": 9.1, …, "bare_configure_60_ms": 4.0, …}

`bare` is the least code that moves the same messages to the same tasks: one ROUTER, one frame to each task, one answer
from each, no engine, no journal. Bare and ours take turns, in one run, so that what else the machine does strikes both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

import ecsd
import libecs
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.task import TASK, Hello, PeerRole, Result, Transition, Welcome

N_TASKS = 60
ROUNDS = 15
PROGRAM = Path(ecsd.__file__).parent / "examples" / "bin" / "source"
PROPERTIES = {"rate": "1", "drain_ms": "0"}
"""A source that hardly sends, and that does not wait at STOP for a peer it has not got."""
STEPS = (
    ("configure", TaskEvent.CONFIGURE, TaskState.STANDBY, TaskState.CONFIGURED),
    ("start", TaskEvent.START, TaskState.CONFIGURED, TaskState.RUNNING),
    ("stop", TaskEvent.STOP, TaskState.RUNNING, TaskState.CONFIGURED),
    ("reset", TaskEvent.RESET, TaskState.CONFIGURED, TaskState.STANDBY),
)
Times = dict[str, list[float]]


class Bare:
    """60 tasks and one ROUTER."""

    def __init__(self, folder: Path) -> None:
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.SNDHWM, 0)
        self._processes = []
        self._number = 0
        for n in range(N_TASKS):
            endpoint = f"ipc://{folder}/{n}"
            environment = dict(os.environ, OCC_CONTROL_ENDPOINT=endpoint, ECS_TASK_ID=f"bench/bare/{n}")
            self._processes.append(subprocess.Popen([PROGRAM], env=environment, stdout=subprocess.DEVNULL))
            self._router.setsockopt(zmq.CONNECT_ROUTING_ID, str(n).encode())
            self._router.connect(endpoint)
        hello = TASK.encode(Hello(role=PeerRole.CONTROLLER, epoch=1, name="bench"))
        welcomed = 0
        while welcomed < N_TASKS:
            for n in range(N_TASKS):  # said again until the task is there: it is a bench
                self._send(n, hello)
            while self._router.poll(200):
                welcomed += isinstance(TASK.decode(self._router.recv_multipart()[2]), Welcome)
                if welcomed == N_TASKS:
                    break

    def _send(self, n: int, frame: bytes) -> None:
        try:
            self._router.send_multipart([str(n).encode(), VERSION_FRAME, frame], zmq.DONTWAIT)
        except zmq.ZMQError:
            time.sleep(0.01)

    def transition(self, event: TaskEvent, source: TaskState, target: TaskState) -> float:
        """Take all tasks through one event; return the milliseconds."""
        self._number += 1
        begin = time.perf_counter()
        for n in range(N_TASKS):
            arguments = {**PROPERTIES, **channel(n)} if event is TaskEvent.CONFIGURE else {"run_number": "1"}
            message = Transition(id=f"b{self._number}", event=event, source=source, arguments=arguments)
            self._send(n, TASK.encode(message))
        waiting = N_TASKS
        while waiting:
            answer = TASK.decode(self._router.recv_multipart()[2])
            if isinstance(answer, Result):
                assert answer.ok and answer.state == target, answer
                waiting -= 1
        return 1000 * (time.perf_counter() - begin)

    def close(self) -> None:
        """End the tasks."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._context.destroy(linger=0)


def channel(n: int) -> Mapping[str, str]:
    """Return the properties of one channel, as the system makes them."""
    fields = {
        "address": f"ipc://@bench-{os.getpid()}-{n}",
        "method": "bind",
        "type": "push",
        "rateLogging": "0",
        "rcvBufSize": "1000",
        "rcvKernelSize": "0",
        "sndBufSize": "1000",
        "sndKernelSize": "0",
        "transport": "zeromq",
        "autoBind": "0",
    }
    return {"chans.out.numSockets": "1", **{f"chans.out.0.{name}": value for name, value in fields.items()}}


def repository(folder: Path) -> Path:
    """Write a workflow of 60 sources."""
    (folder / "workflows").mkdir(parents=True)
    (folder / "tasks").mkdir()
    role = {"name": "source-{{ n }}", "for": {"begin": 1, "end": N_TASKS, "var": "n"}, "task": {"load": "source"}}
    task = {
        "name": "source",
        "control": {"mode": "direct"},
        "bind": [{"name": "out", "type": "push", "addressing": "ipc", "transport": "zeromq"}],
        "properties": PROPERTIES,
        "command": {"value": str(PROGRAM)},
    }
    (folder / "workflows" / "bench.yaml").write_text(json.dumps({"name": "bench", "roles": [role]}))
    (folder / "tasks" / "source.yaml").write_text(json.dumps(task))
    return folder


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds of an action."""
    begin = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begin)


def measure() -> dict[str, float]:
    """Return the figures."""
    ours: Times = {name: [] for name, *_ in STEPS}
    bare: Times = {name: [] for name, *_ in STEPS}
    events = {"configure": "CONFIGURE", "start": "START_ACTIVITY", "stop": "STOP_ACTIVITY", "reset": "RESET"}
    with tempfile.TemporaryDirectory(prefix="ecsb-") as name:
        folder = Path(name)
        (folder / "bare").mkdir()
        least = Bare(folder / "bare")
        try:
            with libecs.local(repo=str(repository(folder / "repo")), run_counter=folder / "runs.sqlite") as ecs:
                begin = time.perf_counter()
                env = ecs.environment("bench", target="DEPLOYED")
                deploy_s = time.perf_counter() - begin
                with env:
                    for turn in range(ROUNDS + 1):
                        for step, event, source, target in STEPS:
                            here = timed(lambda event=events[step]: env.control(event))  # type: ignore[misc]
                            there = least.transition(event, source, target)
                            if turn:  # the first turn warms caches
                                ours[step].append(here)
                                bare[step].append(there)
        finally:
            least.close()
    figures = {f"{step}_{N_TASKS}_ms": round(statistics.median(times), 2) for step, times in ours.items()}
    figures |= {f"bare_{step}_{N_TASKS}_ms": round(statistics.median(times), 2) for step, times in bare.items()}
    return figures | {f"deploy_{N_TASKS}_s": round(deploy_s, 3)}


if __name__ == "__main__":
    print(json.dumps(measure()))
