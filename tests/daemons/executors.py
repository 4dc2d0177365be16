"""A core of a few lines, played by the test, and real executors that dial it: over TCP, with CURVE and ZAP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
from fieldkit.cluster import Daemon

from libecs.fsm import Mode, TaskEvent
from libecs.io.keys import KeyPair, write_key_file
from libecs.io.link import Context, Origin, Router, ServerCurve, close_context, new_context
from libecs.io.procfs import marked_processes, read_stat
from libecs.io.zap import ZapResponder
from libecs.wire import node
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.node import NODE, Command, Phase, TaskSpec, TaskStatus
from tests.io.places import bind_again, own_host
from tests.processes import gone
from tests.shim.build import shim_program

IN_TIME_S = 40.0
"""Nothing here takes that long; a busy machine may."""
DOMAIN = "test"
ROOT = Path(__file__).resolve().parents[2]
OCC_TASK = ROOT / "tests" / "io" / "occ_task.py"


class PlayedCore:
    """What a core is to an executor. It takes every node, and remembers what it is told."""

    def __init__(self, pair: KeyPair | None) -> None:
        """`pair`: our keys; None = without keys."""
        self.pair = pair
        self.allowed: set[str] = set()
        self.epoch = 1
        self.hellos: list[node.NodeHello] = []
        self.tasks: dict[str, TaskStatus] = {}
        self.changed_at: dict[str, float] = {}
        """Monotonic seconds of the last news of each task."""
        self.answers: list[node.Answer] = []
        self.outputs: list[node.OutputRead] = []
        self.telemetry: list[node.Telemetry] = []
        self.principals: set[str] = set()
        self.refusal: str | None = None
        """Why every node is refused; "" = nodes are not even answered."""
        self.announced = 0
        """Hellos after which the node has told all that it holds."""
        self._session = 0
        self._commands = 0
        self._launches: dict[str, TaskSpec] = {}
        """Tasks that were launched, and of which the node has said nothing yet."""
        self._asked: dict[str, node.Transit | node.Kill | node.ReadOutput] = {}
        """Commands that were not answered yet, by id."""
        self._peer = b""
        self._changed = asyncio.Event()
        self._context: Context = new_context()
        self._zap = None if pair is None else ZapResponder(self._context, {DOMAIN: lambda key, _: key in self.allowed})
        self._router = self._open()
        self.endpoint = self._router.bind(f"tcp://{own_host()}:*")

    def _open(self) -> Router:
        curve = None if self.pair is None else ServerCurve(secret=self.pair.secret, domain=DOMAIN)
        return Router(self._context, None, on_traced=self._take, curve=curve, heartbeats=True)

    def vanish(self) -> None:
        """Be killed."""
        self._router.close()
        self._peer = b""

    async def come_back(self) -> None:
        """Begin the next life at the same place."""
        self.epoch += 1
        self.tasks.clear()
        self._router = self._open()
        await bind_again(self._router, self.endpoint)

    def close(self) -> None:
        self._router.close()
        if self._zap is not None:
            self._zap.close()
        close_context(self._context)

    # from the node

    def _take(self, peer: bytes, frames: list[bytes], origin: Origin) -> None:
        channel, version, payload = frames
        assert (channel, version) == (b"node", VERSION_FRAME)
        if self.pair is not None and origin.key not in self.allowed:
            origin.hang_up()
            return
        self.principals.add(origin.key)
        message = NODE.decode(payload)
        if isinstance(message, node.NodeHello):
            self.hellos.append(message)
            if self.refusal is not None:
                self._peer = peer
                if self.refusal:
                    self.send(node.NodeRefused(epoch=self.epoch, reason=self.refusal))
                self._changed.set()
                return
            self._session += 1
            self.tasks.clear()
            self._peer = peer
            self.send(node.Welcome(version=1, epoch=self.epoch, session=self._session, instance="test"))
        elif isinstance(message, node.Announce) and message.session == self._session:
            self.tasks = {held.status.task: held.status for held in message.tasks}
            self._date(self.tasks)
            self.announced = len(self.hellos)
            self._say_again()
        elif isinstance(message, node.Update) and message.session == self._session:
            news = {status.task: status for status in message.tasks}
            self.tasks |= news
            self._date(news)
        elif isinstance(message, node.Answer):
            self.answers.append(message)
            self._forget_if_done(message.id)
            if message.session == self._session:
                for task in message.done:
                    if task in self.tasks:
                        self.tasks[task] = attrs.evolve(self.tasks[task], state=message.state)
        elif isinstance(message, node.OutputRead):
            self.outputs.append(message)
            self._asked.pop(message.id, None)
        elif isinstance(message, node.Telemetry):
            self.telemetry.append(message)
        self._changed.set()

    def _date(self, tasks: Mapping[str, TaskStatus]) -> None:
        self.changed_at.update(dict.fromkeys(tasks, time.monotonic()))
        for task in tasks:
            self._launches.pop(task, None)

    def _say_again(self) -> None:
        """What a link has lost that broke is said again, as a core does: a machine that stood still breaks links."""
        if self._launches:
            self.send(node.Launch(session=self._session, epoch=self.epoch, tasks=tuple(self._launches.values())))
        for message in self._asked.values():
            self.send(attrs.evolve(message, session=self._session, epoch=self.epoch))

    def _forget_if_done(self, id: str) -> None:
        asked = self._asked.get(id)
        if isinstance(asked, node.Transit | node.Kill) and self._told(id) >= set(asked.tasks):
            del self._asked[id]

    async def silent(self) -> None:
        """Wait until no link is left."""
        async with asyncio.timeout(IN_TIME_S):
            while self._router.connections:
                await asyncio.sleep(0.02)  # nothing tells of it but a message that can't be sent

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the node tells."""
        async with asyncio.timeout(IN_TIME_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def phase(self, task: str) -> Phase | None:
        status = self.tasks.get(task)
        return None if status is None else status.phase

    def stalled(self, task: str) -> bool | None:
        status = self.tasks.get(task)
        return None if status is None else status.stalled

    def has_exit(self, task: str) -> bool:
        status = self.tasks.get(task)
        return status is not None and status.exit is not None

    async def pid(self, task: str) -> int:
        """Return the process of a task, once the node has told it."""
        await self.until(lambda: task in self.tasks and self.tasks[task].pid)
        return self.tasks[task].pid

    # to the node

    def send(self, message: object) -> None:
        self._router.send(self._peer, (VERSION_FRAME, NODE.encode(message)))

    def _id(self) -> str:
        self._commands += 1
        return f"c{self._commands}"

    async def answered(self, id: str, tasks: tuple[str, ...]) -> tuple[node.Failure, ...]:
        """Wait until a command is answered for all its tasks, in however many parts; return the failures."""
        await self.until(lambda: self._told(id) >= set(tasks))
        failures = (failure for answer in self.answers if answer.id == id for failure in answer.failed)
        return tuple({failure.task: failure for failure in failures}.values())

    def _told(self, id: str) -> set[str]:
        """Return the tasks for which a command is answered."""
        mine = [answer for answer in self.answers if answer.id == id]
        return {task for one in mine for task in (*one.done, *(failure.task for failure in one.failed))}

    def _ask(self, message: node.Transit | node.Kill | node.ReadOutput) -> None:
        self._asked[message.id] = message
        self.send(message)

    def send_launch(self, *specs: TaskSpec) -> None:
        """Launch tasks."""
        self._launches |= {spec.task: spec for spec in specs}
        self.send(node.Launch(session=self._session, epoch=self.epoch, tasks=specs))

    async def launch(self, *specs: TaskSpec) -> None:
        """Launch controlled tasks, and wait until they are ready."""
        self.send_launch(*specs)
        await self.until(lambda: all(self.phase(spec.task) is Phase.ACTIVE for spec in specs))

    def send_transit(self, event: TaskEvent, *tasks: str, **arguments: str) -> str:
        """Tell tasks to take an event; return the id of the command."""
        id = self._id()
        self._ask(
            node.Transit(session=self._session, epoch=self.epoch, id=id, event=event, tasks=tasks, arguments=arguments)
        )
        return id

    async def transit(self, event: TaskEvent, *tasks: str, **arguments: str) -> None:
        """Take tasks through an event, and wait until they are done."""
        assert not await self.answered(self.send_transit(event, *tasks, **arguments), tasks)

    async def fail(self, event: TaskEvent, *tasks: str, **arguments: str) -> tuple[node.Failure, ...]:
        """Take tasks through an event, which must fail, and return why it did."""
        return await self.answered(self.send_transit(event, *tasks, **arguments), tasks)

    async def run(self, *tasks: str) -> None:
        """Bring tasks to RUNNING."""
        await self.transit(TaskEvent.CONFIGURE, *tasks)
        await self.transit(TaskEvent.START, *tasks, run_number="7")

    async def kill(self, *tasks: str) -> None:
        """End tasks, and wait until they are gone."""
        id = self._id()
        self._ask(node.Kill(session=self._session, epoch=self.epoch, id=id, tasks=tasks))
        assert not await self.answered(id, tasks)

    async def read_output(self, task: str, stream: str, size: int = 1000) -> node.OutputRead:
        """Return the end of what a task wrote."""
        id = self._id()
        self._ask(node.ReadOutput(session=self._session, epoch=self.epoch, id=id, task=task, stream=stream, bytes=size))
        await self.until(lambda: any(output.id == id for output in self.outputs))
        return next(output for output in self.outputs if output.id == id)


class Executor(Daemon):
    """A real `ecs-executord`. What it tells systemd is kept."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], state: Path, folder: Path):
        super().__init__(name, command, environment, state, folder)
        self.told: list[str] = []

    def _hear(self, data: bytes) -> None:
        self.told += data.decode(errors="replace").splitlines()
        super()._hear(data)

    async def ready(self) -> float:
        """Wait until it is ready, without stopping the core that the test plays."""
        return await asyncio.to_thread(self.wait_ready, IN_TIME_S)

    async def says(self, text: str) -> str:
        """Wait for a STATUS that holds `text`, and return it."""

        def look() -> str:
            assert self._notify is not None
            self._notify.settimeout(IN_TIME_S)
            while not (found := [status for status in self.statuses if text in status]):
                self._hear(self._notify.recv(4096))
            return found[0]

        try:
            return await asyncio.to_thread(look)
        except TimeoutError:
            raise AssertionError(f"no status with {text!r} in {self.statuses}\n{self.tail()}") from None

    async def ended(self) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, IN_TIME_S)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


class Site:
    """A played core, and executors that dial it."""

    def __init__(self, *, secure: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
        self.core = PlayedCore(KeyPair.new() if secure else None)
        self.executors: list[Executor] = []
        self.mounts: list[Path] = []
        """Disks to be given back when nothing runs any more."""

    def executor(
        self,
        *options: str,
        name: str = "n1",
        core_key: str = "",
        endpoint: str = "",
        known: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Executor:
        """Return an executor that was not started."""
        state = self.folder / name
        words = [sys.executable, "-m", "ecsd.executor", "--state", str(state), "--node", name]
        words += ["--core", endpoint or self.core.endpoint, "--shim", str(shim_program())]
        if self.core.pair is None:
            words += ["--insecure"]
        else:
            (state / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
            pair = KeyPair.new()
            write_key_file(state / "keys" / "node.key", pair)
            if known:
                self.core.allowed.add(pair.public)
            words += ["--core-key", core_key or self.core.pair.public]
        if os.geteuid() == 0 and "--user" not in options:
            words += ["--user", "root"]
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ECS_") or name == "ECS_SHIM"
        }
        inherited |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **(environment or {})}
        executor = Executor(name, [*words, *options], inherited, state, self.folder)
        self.executors.append(executor)
        return executor

    async def start(self, *options: str, **kwargs: object) -> Executor:
        """Return an executor that is there, and is known to the core."""
        executor = self.executor(*options, **kwargs)  # type: ignore[arg-type] # passed on as they came
        await self.again(executor)
        return executor

    async def again(self, executor: Executor) -> None:
        """Start the next life of an executor, and wait until the core knows all that it holds."""
        count = len(self.core.hellos)
        executor.start()
        await executor.ready()
        await self.core.until(lambda: self.core.announced > count)

    async def nothing_left(self, executor: Executor) -> None:
        """Wait for the end of all processes of its tasks, those that are just being forked too. Raises TimeoutError."""
        async with asyncio.timeout(IN_TIME_S):
            while left := [pid for pids in self.processes(executor).values() for pid in pids]:
                for pid in left:
                    await gone(pid)

    def markers(self, executor: Executor) -> str:
        """Return what the markers of all its tasks begin with."""
        instance = (executor.state / "instance").read_text().strip()
        return f"{instance}/{executor.name}/"

    def processes(self, executor: Executor) -> dict[str, list[int]]:
        """Return the living processes of its tasks, by task."""
        if not (executor.state / "instance").exists():
            return {}
        found = {}
        for task, pids in marked_processes(self.markers(executor)).items():
            if alive := [pid for pid in pids if is_alive(pid)]:
                found[task] = alive
        return found

    async def close(self) -> None:
        """End everything."""
        for executor in self.executors:
            executor.close()
            for _ in range(20):
                if not (left := [pid for pids in self.processes(executor).values() for pid in pids]):
                    break
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                    await gone(pid)
            shutil.rmtree(_sockets(executor.state), ignore_errors=True)
        for path in self.mounts:
            await (await asyncio.create_subprocess_exec("umount", "-l", path)).wait()
        self.core.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _sockets(state: Path) -> Path:
    return Path("/tmp") / f"ecs-{os.geteuid()}-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}"


def uid_of(pid: int) -> int:
    """Return the user of a process."""
    return os.stat(f"/proc/{pid}").st_uid


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent: of a task, its shim."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    found = read_stat(pid)
    return found is not None and found[0] != "Z"


def occ_task(name: str = "t1", *words: str, user: str = "") -> TaskSpec:
    """Return a controlled task."""
    command = Command(
        argv=(sys.executable, str(OCC_TASK), *words),
        environment={"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        user=user,
    )
    return _spec(name, Mode.DIRECT, command)


def program(name: str, script: str, *, user: str = "") -> TaskSpec:
    """Return a basic task: a shell script that runs between START and STOP."""
    return _spec(name, Mode.BASIC, Command(argv=("/bin/sh", "-c", script), user=user))


def _spec(name: str, mode: Mode, command: Command) -> TaskSpec:
    return TaskSpec(
        task=name, environment="e1", role=f"w.{name}", class_name="c", mode=mode, critical=True, command=command
    )


@attrs.frozen
class Stopwatch:
    """Prints how long something took; it is nobody's verdict."""

    began: float = attrs.field(factory=time.monotonic)

    def tell(self, what: str, end: float | None = None) -> None:
        print(f"{what}: {(time.monotonic() if end is None else end) - self.began:.3f} s")
