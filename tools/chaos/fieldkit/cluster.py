"""A cluster of real daemons: one `ecsd`, several `ecs-executord`, each with its own state, and what may befall them.

    with Cluster(nodes=["n1", "n2"]) as cluster:
        async with cluster.connect() as ecs: …
        cluster.core.kill(); cluster.core.start(); cluster.core.wait_ready()

Waits are on sd_notify and on process descriptors, never by sleeping. Each cluster has a loopback address of its own
(with a Network, a name space for each host), so that many of them do not meet. `close` ends every process that carries
the cluster's mark and removes all files, whatever a test did.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

from fieldkit import recorder
from fieldkit.network import Network
from fieldkit.repository import write_repository
from libecs.access import Role
from libecs.io.corekeys import CoreKeys, open_core_keys
from libecs.io.keys import KeyPair, Keyring, KeyState, write_key_file
from libecs.io.ports import free_ranges
from libecs.io.procfs import read_stat

MARK = "ECS_TEST_MARK"
"""Environment variable of everything that a cluster starts: so its processes are found, and no others."""
CORE_PORT, LOBBY_PORT = 47102, 47103
READY_S = 60.0
"""How long a daemon may take to be ready on a busy machine. A figure is taken elsewhere."""
END_S = 60.0
"""How long what was ended may take to be gone."""


class Failed(Exception):
    """A daemon did not do what it must; the text has the end of its log."""


@attrs.frozen(kw_only=True)
class NodePlan:
    """One node."""

    name: str
    options: tuple[str, ...] = ()
    """More words of the command line of its executor."""


class Daemon:
    """One daemon over several lives."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], state: Path, folder: Path
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.state = state
        self.log = folder / f"{name}.log"
        self.lives = 0
        self.ready_s = 0.0
        """From the start of the last life until it was ready."""
        self.statuses: list[str] = []
        """What it told systemd as STATUS in the last life."""
        self._notify_path = folder / f"{name}.notify"
        self._notify: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._ready = False

    # its life

    @property
    def pid(self) -> int:
        """Process id of the present or last life."""
        if self._process is None:
            raise Failed(f"{self.name} was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the last life; negative for a signal; None while it lives."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Begin a life; ask `wait_ready` when it is up."""
        if self.alive:
            raise Failed(f"{self.name} lives")
        if self._notify is not None:
            self._notify.close()
        self._notify_path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(os.fspath(self._notify_path))
        self.lives += 1
        self._ready, self.statuses = False, []
        self._started_s = time.monotonic()
        with self.log.open("ab") as log:
            log.write(f"--- life {self.lives}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                self.command,
                env=self.environment | {"NOTIFY_SOCKET": os.fspath(self._notify_path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = READY_S) -> float:
        """Wait until it is ready; return the seconds since its start. Raises Failed."""
        self._wait(lambda: self._ready, "ready", timeout_s)
        return self.ready_s

    def wait_connected(self, timeout_s: float = READY_S) -> None:
        """Wait until an executor is at its core: it is ready without one, too. Raises Failed."""
        self._wait(lambda: any(" connected" in status for status in self.statuses[-1:]), "connected", timeout_s)

    def _wait(self, true: Callable[[], bool], what: str, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        assert self._notify is not None
        descriptor = os.pidfd_open(self.pid)
        notify = self._notify.fileno()
        try:
            while not true():
                readable, _, _ = select.select([notify, descriptor], [], [], max(0.0, end - time.monotonic()))
                if notify in readable:
                    self._hear(self._notify.recv(4096))
                elif readable:
                    raise Failed(f"{self.name} ended with status {self._process_status()}\n{self.tail()}")
                elif time.monotonic() >= end:
                    raise Failed(f"{self.name} was not {what} within {timeout_s:g} s\n{self.tail()}")
        finally:
            os.close(descriptor)

    def _hear(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            if line == "READY=1":
                self._ready = True
                self.ready_s = time.monotonic() - self._started_s
            elif line.startswith("STATUS="):
                self.statuses.append(line.removeprefix("STATUS="))

    def hear(self) -> list[str]:
        """Return all STATUS texts that have come so far."""
        assert self._notify is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                self._hear(self._notify.recv(4096, socket.MSG_DONTWAIT))
        return self.statuses

    def _process_status(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=END_S)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is gone. Harmless when it is."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process_status()

    def stop(self, timeout_s: float = END_S) -> int:
        """End it with SIGTERM; return the exit status. Raises Failed if it does not end."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {timeout_s:g} s after SIGTERM\n{self.tail()}") from None

    def restart(self) -> float:
        """End it with SIGTERM, start it, wait until it is ready; return the seconds from the start."""
        self.stop()
        self.start()
        return self.wait_ready()

    def pause(self) -> None:
        """Stop it with SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self._signal(signal.SIGHUP)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return f"--- end of the log of {self.name}\n" + "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """End it and let go of everything."""
        self.resume()
        self.kill()
        if self._notify is not None:
            self._notify.close()
            self._notify = None


class Cluster:
    """One core and its nodes. All methods that wait are for tests; `async` code calls them in a thread."""

    def __init__(
        self,
        nodes: Sequence[str | NodePlan] = ("n1", "n2"),
        *,
        network: Network | None = None,
        repository: Path | None = None,
        core_options: Sequence[str] = (),
        node_options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        insecure: bool = False,
        fast: bool = False,
    ) -> None:
        """Make folders and keys; `start` begins.

        Args:
            nodes: names or plans.
            network: made already, with a host `head` and one for each node; None = loopback.
            repository: of workflows; None = `write_repository`.
            core_options: more words of the command line of ecsd.
            node_options: of each executor.
            environment: more variables of all processes.
            insecure: without keys; on loopback only.
            fast: state lies in memory; else on disk, as in an installation.
        """
        self.network = network
        self.insecure = insecure
        # A short path: sockets lie below it.
        self.base = Path(tempfile.mkdtemp(prefix="ef-", dir="/dev/shm" if fast else "/tmp"))
        self.mark = secrets.token_hex(8)
        self.records = self.base / "records"
        self.records.mkdir(mode=0o777)
        (self.base / "log").mkdir()
        self.home = self.base / "home"
        self.home.mkdir()
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name == "ECS_SHIM" or not name.startswith(("ECS_", "XDG_"))
            },
            MARK: self.mark,
            recorder.RECORD_DIR: str(self.records),
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "TERM": "dumb",
            **(environment or {}),
        }
        if network is None:
            # Nobody else has this one, and no connection that goes out takes its port.
            self.address = "127." + ".".join(str(random.SystemRandom().randint(2, 250)) for _ in range(3))
        else:
            self.address = network.address("head")
        self.endpoint = f"tcp://{self.address}:{CORE_PORT}"
        self.repository = repository or write_repository(
            self.base / "repository", recorder.build(), examples=_examples()
        )
        self.state = self.base / "core"
        self._keys: CoreKeys | None = None
        self._keyring: Keyring | None = None
        if not insecure:
            self.state.mkdir(mode=0o700)
            self._keys = open_core_keys(self.state, now_ms=_now_ms())
            self._keyring = Keyring(self._keys.principals)
        self.core = self._core(core_options)
        self.nodes: dict[str, Daemon] = {}
        plans = [NodePlan(name=node) if isinstance(node, str) else node for node in nodes]
        for plan, ports in zip(plans, free_ranges(len(plans), 50), strict=True):
            self.nodes[plan.name] = self._node(plan, ports, node_options)

    # what it is made of

    def _core(self, options: Sequence[str]) -> Daemon:
        words = [sys.executable, "-m", "ecsd.core", "--state", str(self.state), "--listen", self.endpoint]
        words += ["--lobby", f"tcp://{self.address}:{LOBBY_PORT}", "--advertise", self.address]
        words += ["--repository", str(self.repository), "--run-counter", str(self.base / "runs.sqlite")]
        words += ["--runs-folder", str(self.base / "runs")]
        words += ["--insecure"] if self.insecure else []
        return self._daemon("core", "head", [*words, *options], self.state)

    def _node(self, plan: NodePlan, ports: Sequence[tuple[int, int]], options: Sequence[str]) -> Daemon:
        state = self.base / plan.name
        state.mkdir(mode=0o700)
        words = [sys.executable, "-m", "ecsd.executor", "--state", str(state), "--core", self.endpoint]
        words += ["--node", plan.name]
        words += ["--user", "root"] if os.geteuid() == 0 else []
        words += ["--host", self.address if self.network is None else self.network.address(plan.name)]
        for low, high in ports:
            words += ["--ports", f"{low}-{high}"]
        if self.insecure:
            words += ["--insecure"]
        else:
            words += ["--core-key", self.core_key, "--key", str(self.add_key(plan.name, Role.NODE))]
        return self._daemon(plan.name, plan.name, [*words, *options, *plan.options], state)

    def _daemon(self, name: str, host: str, words: list[str], state: Path) -> Daemon:
        command = words if self.network is None else self.network.command(host, words)
        return Daemon(name, command, self.environment, state, self.base / "log")

    @property
    def core_key(self) -> str:
        """Public key of the core."""
        assert self._keys is not None
        return self._keys.pair.public

    def add_key(self, name: str, role: Role, detectors: Sequence[str] | None = None) -> Path:
        """Make somebody's key and have it approved; return the file of the key pair."""
        assert self._keyring is not None
        pair = KeyPair.new()
        path = self.base / f"{name}.key"
        write_key_file(path, pair)
        self._keyring.reload()
        self._keyring.add(
            name, role, pair.public, state=KeyState.APPROVED, by="test", now_ms=_now_ms(), detectors=detectors
        )
        return path

    # life

    def start(self) -> Cluster:
        """Start everything and wait until it is ready. Raises Failed."""
        self.core.start()
        for daemon in self.nodes.values():
            daemon.start()
        for daemon in self.daemons:
            daemon.wait_ready()
        for daemon in self.nodes.values():
            daemon.wait_connected()
        return self

    @property
    def daemons(self) -> list[Daemon]:
        """All of them, the core first."""
        return [self.core, *self.nodes.values()]

    def daemon(self, name: str) -> Daemon:
        """Return one by its name: `core` or that of a node."""
        return self.core if name == "core" else self.nodes[name]

    def close(self) -> None:
        """End and remove everything."""
        for daemon in self.daemons:
            daemon.close()
        looks = 0
        for _ in range(50):  # what is just being forked or executed is found in the next look
            left = self.processes()
            looks = 0 if left else looks + 1
            if looks == 2:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                await_end(pid)
        for daemon in self.daemons:
            shutil.rmtree(_socket_folder(daemon.state), ignore_errors=True)
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Cluster:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def story(self) -> str:
        """Return the ends of all logs, for whoever wonders why."""
        return "\n".join(daemon.tail() for daemon in self.daemons)

    # its clients

    def variables(self, who: str = "owner") -> dict[str, str]:
        """Return the environment in which `coconut` and `libecs.connect()` talk to this core as somebody."""
        found = self.environment | {"ECS_CORE": self.endpoint}
        if not self.insecure:
            found |= {"ECS_KEY_FILE": str(self.key_file(who)), "ECS_CORE_KEY": self.core_key}
        return found

    def key_file(self, who: str = "owner") -> Path:
        """Return the key pair of somebody."""
        assert self._keys is not None
        return self._keys.owner_file if who == "owner" else self.base / f"{who}.key"

    def connect(self, who: str = "owner") -> Any:
        """Return a connection that is not entered yet: `with` or `async with`."""
        import libecs

        if self.insecure:
            return libecs.connect(self.endpoint, insecure=True)
        return libecs.connect(self.endpoint, key=self.key_file(who), core_key=self.core_key)

    def coconut(self, *words: str, who: str = "owner", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run coconut (of this Python) to its end, on the host `client` if there is a network."""
        command = [sys.executable, "-m", "ecsd.coconut.main", *words]
        if self.network is not None:
            command = self.network.command("client", command)
        return subprocess.run(
            command, env=self.variables(who), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    # what its processes are

    def processes(self) -> dict[int, str]:
        """Return all living processes of the cluster: pid to command line."""
        return recorder.living(MARK, self.mark, self.base)

    def tasks(self) -> dict[int, str]:
        """Return the tasks and what they have started: pid to marker."""
        found = {}
        for pid, command in self.processes().items():
            marker = _variable(pid, "ECS_TASK_ID")
            if marker and "ecs-shim" not in command.split(" ")[0]:
                found[pid] = marker
        return found

    def shims(self) -> dict[str, int]:
        """Return the shims: task id to pid."""
        found = {}
        for pid, command in self.processes().items():
            words = command.split(" ")
            if words[0].endswith("ecs-shim") and len(words) > 1:
                found[Path(words[1]).name] = pid
        return found

    def wait_no_tasks(self, timeout_s: float = END_S) -> None:
        """Wait until no task and no shim is left. Raises Failed."""
        end = time.monotonic() + timeout_s
        while left := {**self.tasks(), **{pid: task for task, pid in self.shims().items()}}:
            if time.monotonic() > end:
                raise Failed(f"these are left: {left}")
            await_end(min(left), min(1.0, max(0.0, end - time.monotonic())))

    def read(self) -> dict[str, recorder.Record]:
        """Return what the recording tasks wrote: task id to record."""
        return recorder.read(self.records)


def _examples() -> Path | None:
    """Return the folder of the installed examples, if the package is installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        folder = Path(str(distribution("libecs").locate_file("ecsd/examples")))
    except PackageNotFoundError:
        return None
    return folder if (folder / "bin" / "source").exists() else None


def _socket_folder(state: Path) -> Path:
    import hashlib

    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Path("/tmp") / f"ecs-{os.geteuid()}-{name}"


def _variable(pid: int, name: str) -> str:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    for variable in variables:
        if variable.startswith(f"{name}=".encode()):
            return variable.decode(errors="replace").partition("=")[2]
    return ""


def await_end(pid: int, timeout_s: float = 5.0) -> None:
    """Wait until a process is gone, at most so long."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [], timeout_s)
    finally:
        os.close(descriptor)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def is_alive(pid: int) -> bool:
    """Whether there is a process of this pid that is no zombie."""
    found = read_stat(pid)
    return found is not None and found[0] != "Z"


@contextlib.contextmanager
def told_on_failure(cluster: Cluster) -> Iterator[Cluster]:
    """Print the ends of all logs; pytest shows them when the test fails."""
    try:
        yield cluster
    finally:
        print(cluster.story())
