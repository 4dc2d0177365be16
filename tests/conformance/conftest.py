"""Which task is tested: the one that the command line names, else each of ours."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import zmq

from tests.conformance.peer import Peer, Task
from tests.conformance.protocol import CONTROLLER, FAIRMQ, OCC, Machine

HERE = Path(__file__).parent
OURS = ("c", "python", "device")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--task-command", help="the task to test, as one shell word list; else those of this project")
    group.addoption("--task-machine", choices=("occ", "fairmq"), default="occ", help="the state machine it runs")
    group.addoption("--task-arguments", default="{}", help="what it needs for CONFIGURE, as a JSON object of texts")
    group.addoption("--task-obeys", action="store_true", help="it does what the properties of tests/conformance say")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "implementation" in metafunc.fixturenames:
        told = metafunc.config.getoption("--task-command", default=None)
        metafunc.parametrize("implementation", ["told"] if told else OURS, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the cases of the machine that a task does not run."""
    told = {"occ": OCC, "fairmq": FAIRMQ}[config.getoption("--task-machine", default="occ")]
    numbers = {"c": OCC, "python": OCC, "device": FAIRMQ, "told": told}

    def fits(item: pytest.Item) -> bool:
        parameters = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        if not parameters or "implementation" not in parameters or "number" not in parameters:
            return True
        return bool(numbers[parameters["implementation"]] == parameters["number"])

    out = [item for item in items if not fits(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if fits(item)]


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What tasks of ours need to find their libraries; nothing for a task that the command line names."""
    if request.config.getoption("--task-command", default=None):
        return {}
    from tests.occ.conftest import find_site

    return find_site().environment


@pytest.fixture(scope="session")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A function that returns the obedient task in C."""
    from tests.occ.conftest import compile_obedient, find_site

    programs: list[Path] = []

    def compiled() -> Path:
        if not programs:
            programs.append(compile_obedient(find_site(), tmp_path_factory.mktemp("bin")))
        return programs[0]

    return compiled


@pytest.fixture(scope="module")
def command(implementation: str, request: pytest.FixtureRequest, compiled: Callable[[], Path]) -> Sequence[str]:
    """The command of the task under test."""
    tasks = HERE.parent / "occ"
    if implementation == "told":
        return shlex.split(request.config.getoption("--task-command"))
    if implementation == "c":
        return [str(compiled())]
    return [sys.executable, str(tasks / ("obedient.py" if implementation == "python" else "obedient_device.py"))]


@pytest.fixture(scope="module")
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.max_sockets = 4000
    yield context
    context.destroy(linger=0)


Start = Callable[..., Task]
Connect = Callable[..., Peer]


@pytest.fixture(scope="session")
def configuration(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What the task that the command line names needs to be configured."""
    told = json.loads(request.config.getoption("--task-arguments", default="{}"))
    return {str(key): str(value) for key, value in told.items()}


def starter(
    command: Sequence[str], environment: Mapping[str, str], configuration: Mapping[str, str]
) -> Iterator[Start]:
    """Yield a function that starts tasks, and end them."""
    tasks: list[Task] = []

    def start(**more: str) -> Task:
        folder = Path(tempfile.mkdtemp(prefix="occ", dir="/tmp"))  # paths of ipc sockets must be short
        tasks.append(Task(command, folder, {**environment, **more}))
        tasks[-1].configuration = configuration
        return tasks[-1]

    yield start
    for task in tasks:
        task.end()
        shutil.rmtree(task.folder)


@pytest.fixture
def start(command: Sequence[str], environment: Mapping[str, str], configuration: Mapping[str, str]) -> Iterator[Start]:
    """A function that starts a task for one test; keywords are its environment."""
    yield from starter(command, environment, configuration)


@pytest.fixture(scope="module")
def shared(command: Sequence[str], environment: Mapping[str, str], configuration: Mapping[str, str]) -> Iterator[Task]:
    """A task that the tests of a module share: they leave it in the state in which it began, with higher epochs."""
    for start in starter(command, environment, configuration):
        yield start()


@pytest.fixture
def connect(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Connect]:
    """A function that connects somebody to a task."""
    peers: list[Peer] = []

    def connect(task: Task) -> Peer:
        peers.append(Peer(context, task))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def epoch(shared: Task) -> int:
    """An epoch that is higher than all before it, with room for some above."""
    return next(shared.epochs)


@pytest.fixture
def peer(shared: Task, connect: Connect, epoch: int) -> Iterator[Peer]:
    """The controller of the shared task, which is in its first state, and is brought back to it."""
    peer = connect(shared)
    peer.welcome(CONTROLLER, epoch)
    peer.bring(peer.machine.initial)
    yield peer
    if shared.process.poll() is None:
        last = connect(shared)
        last.welcome(CONTROLLER, epoch + 5)
        last.bring(last.machine.initial)


@pytest.fixture
def task(start: Start) -> Task:
    """A task for one test."""
    return start()


@pytest.fixture
def own(task: Task, connect: Connect) -> Peer:
    """The controller of `task`."""
    peer = connect(task)
    peer.welcome()
    return peer


@pytest.fixture
def obeys(request: pytest.FixtureRequest) -> None:
    """Skip what needs a task that fails and hangs when it is told to."""
    options = request.config
    if options.getoption("--task-command", default=None) and not options.getoption("--task-obeys"):
        pytest.skip("the task is not told to obey (--task-obeys)")


@pytest.fixture
def machine(own: Peer) -> Machine:
    """The state machine of `task`."""
    return own.machine
