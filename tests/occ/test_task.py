"""What the Python face of libocc adds to it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import occ
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.task import Happened, StateChanged
from tests.occ.conftest import Site
from tests.occ.harness import TIMEOUT_S, Peer, TaskProcess

E, S = TaskEvent, TaskState


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="occ", dir="/tmp") as folder:
        yield f"ipc://{folder}/control"


class InThread:
    """A task that runs in a thread of the test."""

    def __init__(self, task: occ.Task, endpoint: str) -> None:
        self.error: BaseException | None = None
        self._task = task
        self._thread = threading.Thread(target=self._run, args=(endpoint,))
        self._thread.start()

    def _run(self, endpoint: str) -> None:
        try:
            self._task.run(endpoint)
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    def end(self) -> None:
        self._task.terminate()
        self.join()


RunInThread = Callable[[occ.Task], InThread]


@pytest.fixture
def run_in_thread(endpoint: str) -> Iterator[RunInThread]:
    """A function that runs a task in a thread; what still runs after the test is ended."""
    running: list[InThread] = []

    def run_in_thread(task: occ.Task) -> InThread:
        running.append(InThread(task, endpoint))
        return running[-1]

    yield run_in_thread
    for each in running:
        each.end()


def test_a_task_runs_in_any_thread_and_is_ended_from_another(
    connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread
) -> None:
    task = occ.Task()
    running = run_in_thread(task)
    peer = connect(None, endpoint=endpoint)
    peer.welcome()
    assert task.endpoint == endpoint
    assert int(task.state) == S.STANDBY

    task.terminate()
    running.join()

    assert peer.wait_for(StateChanged).state == S.DONE
    assert (task.endpoint, int(task.state), running.error) == ("", S.UNKNOWN, None)


def test_a_task_can_be_run_again(connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread) -> None:
    task = occ.Task()
    for _ in range(2):
        running = run_in_thread(task)
        peer = connect(None, endpoint=endpoint)
        assert peer.welcome().sequence == 0
        assert peer.go(E.EXIT, S.STANDBY).ok
        running.join()


def test_a_task_does_not_run_twice_at_once(
    connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread
) -> None:
    task = occ.Task()
    running = run_in_thread(task)
    connect(None, endpoint=endpoint).welcome()

    with pytest.raises(RuntimeError, match="the task runs already"):
        task.run(endpoint)

    task.terminate()
    running.join()


def test_outside_run_there_is_nothing_to_wait_for() -> None:
    task = occ.Task()
    task.terminate()

    assert (int(task.state), task.run_number, task.endpoint, task.pending) == (S.UNKNOWN, 0, "", False)
    assert dict(task.properties) == {}
    with pytest.raises(RuntimeError, match="the task does not run"):
        task.wait(0)
    with pytest.raises(RuntimeError, match="the task does not run"):
        task.fileno()


def test_an_endpoint_that_cannot_be_used_raises() -> None:
    with pytest.raises(ValueError, match="no control endpoint: set OCC_CONTROL_ENDPOINT.*'http://x'"):
        occ.Task().run("http://x")
    with pytest.raises(OSError, match="the control endpoint cannot be bound: No such file.*'ipc:///nowhere/at/all'"):
        occ.Task().run("ipc:///nowhere/at/all")


def test_properties_are_read_only(connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread) -> None:
    class Writer(occ.Task):
        def configure(self, properties: Mapping[str, str]) -> None:
            properties["a"] = "b"  # type: ignore[index]

    task = Writer()
    running = run_in_thread(task)
    peer = connect(None, endpoint=endpoint)
    peer.welcome()

    assert peer.go(E.CONFIGURE, S.STANDBY).error.startswith("TypeError: 'mappingproxy'")
    task.terminate()
    running.join()


def test_an_unknown_answer_of_the_loop_is_an_error(
    connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread
) -> None:
    class Odd(occ.Task):
        def iterate_running(self) -> None:
            return 1  # type: ignore[return-value]

    task = Odd()
    running = run_in_thread(task)
    peer = connect(None, endpoint=endpoint)
    peer.welcome()
    peer.go(E.CONFIGURE, S.STANDBY)
    peer.go(E.START, S.CONFIGURED)

    assert peer.wait_for(Happened).text.startswith("TypeError: iterate_running returned 1")
    task.terminate()
    running.join()


def test_wait_ends_for_a_descriptor_and_for_a_command(
    connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread
) -> None:
    readable, writable = os.pipe()
    results: list[tuple[bool, bytes]] = []

    class Waiter(occ.Task):
        def iterate_running(self) -> None:
            pending = self.wait(None, [readable])
            results.append((pending, b"" if pending else os.read(readable, 10)))

    task = Waiter()
    running = run_in_thread(task)
    peer = connect(None, endpoint=endpoint)
    peer.welcome()
    peer.go(E.CONFIGURE, S.STANDBY)
    peer.go(E.START, S.CONFIGURED)
    os.write(writable, b"data")
    while not results:
        peer.ping()
    assert peer.go(E.STOP, S.RUNNING).ok
    task.terminate()
    running.join()
    os.close(readable)
    os.close(writable)

    assert results[0] == (False, b"data")
    # It is asked once more, and sees the command there, or comes too late, or is asked again before it sees it.
    assert set(results[1:]) <= {(True, b"")}


def test_at_most_63_descriptors_can_be_waited_for(
    connect: Callable[..., Peer], endpoint: str, run_in_thread: RunInThread
) -> None:
    class Waiter(occ.Task):
        def start(self, run: int) -> None:
            self.wait(0, [0] * 64)

    task = Waiter()
    running = run_in_thread(task)
    peer = connect(None, endpoint=endpoint)
    peer.welcome()
    peer.go(E.CONFIGURE, S.STANDBY)

    assert peer.go(E.START, S.CONFIGURED).error == "ValueError: at most 63 descriptors can be waited for"
    task.terminate()
    running.join()


def test_sys_exit_in_a_callback_walks_down_and_ends_the_program(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "leaver.py"
    script.write_text(
        "import sys, occ\n"
        "class Leaver(occ.Task):\n"
        "    def iterate_check(self): sys.exit(5)\n"
        "    def exit(self): print('exit', flush=True)\n"
        f"Leaver().run('ipc://@occ-test-leaver-{secrets.token_hex(8)}')\n"
    )

    done = subprocess.run(
        [sys.executable, script], env=dict(site.environment), check=False, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (5, "exit\n")


def test_a_python_signal_handler_works_while_the_task_waits(
    site: Site, tmp_path: Path, start: Callable[..., TaskProcess], connect: Callable[..., Peer]
) -> None:
    script = tmp_path / "handler.py"
    script.write_text(
        "import os, pathlib, signal, occ\n"
        "signal.signal(signal.SIGUSR1, lambda *_: pathlib.Path(os.environ['TRACE']).write_text('handled'))\n"
        "occ.Task().run()\n"
    )
    task = start([sys.executable, script])
    peer = connect(task)
    peer.welcome()

    task.signal(signal.SIGUSR1)

    while not task.trace():
        peer.ping()
    assert task.trace() == ["handled"]


def test_what_a_python_signal_handler_raises_ends_the_task(
    tmp_path: Path, start: Callable[..., TaskProcess], connect: Callable[..., Peer]
) -> None:
    script = tmp_path / "raiser.py"
    script.write_text(
        "import signal, occ\n"
        "def handler(*_): raise RuntimeError('by signal')\n"
        "signal.signal(signal.SIGUSR1, handler)\n"
        "occ.Task().run()\n"
    )
    task = start([sys.executable, script])
    peer = connect(task)
    peer.welcome()
    task.wait_for_handlers()  # those of libocc: it runs

    task.signal(signal.SIGUSR1)

    assert peer.wait_for(StateChanged).state == S.DONE
    assert task.wait() == 1
    assert "RuntimeError: by signal" in task.stderr()


def test_two_copies_of_libzmq_live_in_one_process(site: Site) -> None:
    text = (
        "import zmq, occ\n"
        "loaded = {line.split()[-1] for line in open('/proc/self/maps') if 'libzmq' in line}\n"
        "context = zmq.Context(); a = context.socket(zmq.PAIR); a.bind('inproc://x')\n"
        "import threading; task = occ.Task()\n"
        f"thread = threading.Thread(target=task.run, args=('ipc://@occ-test-two-{secrets.token_hex(8)}',))\n"
        "thread.start()\n"
        "b = context.socket(zmq.PAIR); b.connect('inproc://x'); b.send(b'hi'); assert a.recv() == b'hi'\n"
        "while not task.endpoint: pass\n"
        "task.terminate(); thread.join(); context.destroy(); print(len(loaded))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", text], env=dict(site.environment), check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout in ("1\n", "2\n")
