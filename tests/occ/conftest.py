"""Programs of the installed package, or of a build folder, and tasks made of them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import attrs
import pytest
import zmq

from libecs.wire.task import Welcome
from tests.occ.harness import TIMEOUT_S, C, Kind, Peer, TaskProcess, start_task

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@attrs.frozen
class Site:
    """A folder of packages that holds ours, compiled parts included."""

    path: Path

    def example(self, name: str) -> list[str | Path]:
        """Return the command of an example task: `source` in C, `source.py` in Python."""
        examples = self.path / "ecsd" / "examples"
        return [sys.executable, examples / "tasks" / name] if name.endswith(".py") else [examples / "bin" / name]

    @property
    def environment(self) -> Mapping[str, str]:
        """What tasks need to find our packages and libocc here, even if they were built to find another."""
        libraries = str(self.path / "occ" / "lib")
        return {"PYTHONPATH": str(self.path), "PYTHONSAFEPATH": "1", "LD_LIBRARY_PATH": libraries}


def find_site() -> Site:
    """Return the packages under test: of $ECS_TEST_SITE, else the installed ones, else those of build/dev.

    (build/dev: `meson setup build/dev; DESTDIR=$PWD/build/dev/root meson install -C build/dev`.)
    """
    told = os.environ.get("ECS_TEST_SITE")
    installed = Path(str(resources.files("ecsd"))).parent
    built = sorted((ROOT / "build" / "dev" / "root").rglob("site-packages"))
    for path in [Path(told)] if told else [installed, *built]:
        if (path / "ecsd" / "examples" / "bin" / "source").exists() and any((path / "occ").glob("_occ.*.so")):
            return Site(path)
    pytest.fail("libocc and the example tasks are neither installed nor in build/dev")


@pytest.fixture(scope="session")
def site() -> Site:
    """The packages under test."""
    return find_site()


def compile_obedient(site: Site, folder: Path) -> Path:
    """Return the task of obedient.c, compiled as a user would; or $OCC_TEST_OBEDIENT, made otherwise."""
    if told := os.environ.get("OCC_TEST_OBEDIENT"):
        return Path(told)
    program = folder / "obedient"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "occ"],
        env=os.environ | {"PKG_CONFIG_PATH": str(site.path / "occ" / "lib" / "pkgconfig")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.split()
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(program), str(HERE / "obedient.c"), *flags], check=True)
    return program


@pytest.fixture(scope="session")
def obedient(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The obedient task in C."""
    return compile_obedient(site, tmp_path_factory.mktemp("bin"))


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


Start = Callable[..., TaskProcess]


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """A function that starts tasks; they are killed after the test. Paths of ipc sockets must be short."""
    tasks: list[TaskProcess] = []

    def start(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> TaskProcess:
        folder = Path(tempfile.mkdtemp(prefix="occ", dir="/tmp"))
        tasks.append(start_task(command, folder, {**site.environment, **(environment or {})}))
        return tasks[-1]

    yield start
    for task in tasks:
        task.process.kill()
        task.process.wait(TIMEOUT_S)
        shutil.rmtree(task.folder)


@pytest.fixture
def connect(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Callable[..., Peer]]:
    """A function that connects somebody to a task."""
    peers: list[Peer] = []

    def connect(task: TaskProcess | None, identity: bytes = b"", endpoint: str = "") -> Peer:
        peers.append(Peer(context, endpoint or (task.endpoint if task else ""), identity, task))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.socket.close()


StartAtPort = Callable[[Sequence[str | Path], Callable[[int], Mapping[str, str]]], tuple[TaskProcess, int, Welcome]]


@pytest.fixture
def start_at_port(start: Start, connect: Callable[..., Peer]) -> StartAtPort:
    """A function that starts a task at a port of its own; gives the task, the port, and its answer to Hello.

    It takes the command, in which {port} stands for the port, and what tells it by the environment. Somebody else may
    have a port: then the task gets another one. None of them is one that Linux gives to connections that go out.
    """

    def start_at_port(
        command: Sequence[str | Path], told: Callable[[int], Mapping[str, str]]
    ) -> tuple[TaskProcess, int, Welcome]:
        while True:
            port = random.SystemRandom().randint(10_000, 30_000)
            task = start([str(part).replace("{port}", str(port)) for part in command], told(port))
            try:
                return task, port, connect(task, endpoint=f"tcp://127.0.0.1:{port}").welcome()
            except AssertionError:
                if "Address already in use" not in task.stderr() and "cannot be bound" not in task.stderr():
                    raise

    return start_at_port


@pytest.fixture
def commands(obedient: Path) -> Mapping[str, Sequence[str | Path]]:
    """The obedient task of each kind."""
    return {
        "c": [obedient],
        "python": [sys.executable, HERE / "obedient.py"],
        "device": [sys.executable, HERE / "obedient_device.py"],
    }


@pytest.fixture
def kind() -> Kind:
    """The kind of task that `task` starts; tests set others by parameter."""
    return C


@pytest.fixture
def task(kind: Kind, commands: Mapping[str, Sequence[str | Path]], start: Start) -> TaskProcess:
    """An obedient task."""
    return start(commands[kind.name])


@pytest.fixture
def peer(task: TaskProcess, connect: Callable[..., Peer]) -> Peer:
    """The controller of `task`."""
    peer = connect(task)
    peer.welcome()
    return peer
