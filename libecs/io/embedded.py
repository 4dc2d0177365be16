"""A whole control system inside of this process: a core, nodes, and the links between them. No server, no daemon.

    client ─ CLIENT codec ─ core ─ memory ─ executor … executor ─ ROUTER ─ tasks under shims

Everything runs on one event loop. What is on disk is in `StateFolder`.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from libecs.config.tree import Tree
from libecs.engine.core import CoreEngine
from libecs.engine.effects import (
    Disconnected,
    Facts,
    Received,
)
from libecs.engine.executor import ExecutorSettings
from libecs.engine.outbox import CORE
from libecs.errors import EcsError, UsageError
from libecs.io.blocking import BlockingCalls
from libecs.io.corehost import CoreHost, HostSettings
from libecs.io.integrations import Functions
from libecs.io.link import close_context, new_context, raise_limits
from libecs.io.link import version as libzmq_version
from libecs.io.loop import EngineLoop
from libecs.io.memory import MemoryLink
from libecs.io.node import EmbeddedNode, NodeOptions
from libecs.io.ports import Ranges, free_ranges
from libecs.io.process import Foreign, clean_environment, find_shim
from libecs.io.repository import Repositories, Repository, TextRepository
from libecs.io.runrecord import default_runs_folder
from libecs.io.statefolder import StateFolder, state_path
from libecs.io.store_sqlite import RESERVE_BYTES, SqliteStore
from libecs.io.taskfolder import OUTPUT_CAP_BYTES, ShimOptions
from libecs.io.version import version
from libecs.wire.client import CLIENT
from libecs.wire.codec import MAX_RECORD_BYTES
from libecs.wire.info import Event
from libecs.wire.node import NODE

PORTS_EACH = 200
"""TCP ports of a node for which none are named."""
_READY_S = 10.0
_TEMPORARY_OUTPUT_BYTES = 2 * 1024 * 1024
"""What a temporary session keeps of each output of a task: it may lie in memory."""

Orphans: TypeAlias = Literal["stop", "adopt"]


@attrs.frozen(kw_only=True)
class NodeDescription:
    """One node that this machine plays."""

    name: str
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    """For constraints; `machine_id` is the name unless it is given."""
    cpus: float = 0.0
    """0 = no limit."""
    memory_mb: float = 0.0
    ports: Ranges = ()
    """TCP ports for its tasks; () = some that are free now, no two nodes the same."""


@attrs.frozen(kw_only=True)
class EmbeddedSettings:
    """What an embedded control system is told."""

    nodes: tuple[NodeDescription, ...] = (NodeDescription(name="node1"),)
    state: Path | None = None
    """Folder that is kept; None = a temporary one."""
    orphans: Orphans = "stop"
    """What becomes of tasks when this process is gone without `close`: they stop after `orphan_s`, or go on until the
    next one that opens `state` adopts them."""
    orphan_s: float = 10.0
    repository: Repository | None = None
    revision: str = ""
    """Of `repository`, for workflows that name none."""
    tasks: Path | None = None
    """Folder laid over task templates: see `OverlaidTasks`."""
    tree: Tree = attrs.field(factory=Tree)
    """Configuration, runtime values, inventory."""
    functions: tuple[Functions, ...] = ()
    """What call roles may call, besides `testplugin`."""
    calls: Path | None = None
    """File that gets a JSON line for each call."""
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    """The weakest variables of every workflow."""
    environment: Mapping[str, str] | None = None
    """What tasks inherit; None = this process's environment, cleaned."""
    runs: Path | None = None
    """The run counter; None = the user's."""
    runs_folder: Path | None = None
    """Gets a folder for each run, with its record and what its tasks write. None = `runs` in `state`, else beside the
    run counter if that is named, else the user's."""
    shim: Path | None = None
    keep_events_days: float = 90.0
    """Older events are removed from the journal at the start, but for the last 10 000."""
    encoded: bool = False
    """Messages between core and executors go through the codec too."""


class ClientLink:
    """One client's way to the core."""

    def __init__(self, embedded: Embedded, name: str) -> None:
        self._embedded = embedded
        self._name = name

    def send(self, message: object) -> None:
        """Send one message of `wire/client.py`. Never blocks; lost once the control system is closed."""
        self._embedded._from_client(self._name, CLIENT.encode(message))

    def close(self) -> None:
        """Nobody listens any more."""
        self._embedded._disconnect(self._name)


class Embedded:
    """A control system. Make it inside of a running event loop, `await start()`, at last `await close()`."""

    def __init__(
        self, settings: EmbeddedSettings, *, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        """Nothing is touched yet. `on_failure` is called when an engine had to stop: close then, and start anew."""
        self.settings = settings
        self.foreign: dict[str, tuple[Foreign, ...]] = {}
        """Node to processes that carry the marker of one of its tasks and of which nothing is known."""
        self.failure: BaseException | None = None
        self.repositories = Repositories(settings.repository, revision=settings.revision)
        self.nodes: dict[str, EmbeddedNode] = {}
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._clients: dict[str, Callable[[object], None]] = {}
        self._client_number = 0
        self._script_number = 0
        self._folder: StateFolder | None = None
        self._store: SqliteStore | None = None
        self._started = self._closed = False
        self._context = new_context()
        self._blocking = BlockingCalls(threads=4)
        self._host: CoreHost | None = None
        self._core: EngineLoop | None = None
        self._link: MemoryLink | None = None

    # the beginning

    async def start(self) -> None:
        """Open the state, adopt what is there, and wait until all nodes are ready.

        Raises:
            Conflict: the state belongs to another process; the message names it.
            UsageError: two nodes of one name, or one whose name can't be.
            NotFound: the shim is not installed.
            EcsError: files can't be made, ports are missing, a node does not get ready.
        """
        if self._started:
            raise UsageError("this control system was started already")
        self._started = True
        try:
            await self._start()
        except BaseException:
            await self.close(stop=False)
            raise

    async def _start(self) -> None:
        settings = self.settings
        names = [node.name for node in settings.nodes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"two nodes are named {twice[0]}")
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise_limits()
        shim = settings.shim or find_shim()
        path, temporary = state_path(settings.state), settings.state is None
        self._store = SqliteStore(path, durable=not temporary, reserve_bytes=0 if temporary else RESERVE_BYTES)
        self._folder = folder = StateFolder.open(path, temporary=temporary)
        self._host = host = self._make_core(folder, self._store)
        self._core = core = host.loop
        self._link = link = MemoryLink(NODE, core.put, hub_name=CORE, encoded=settings.encoded)
        options = ShimOptions(
            orphan_s=settings.orphan_s if settings.orphans == "stop" else -1.0,
            output_cap_bytes=_TEMPORARY_OUTPUT_BYTES if temporary else OUTPUT_CAP_BYTES,
            open_files=open_files,
        )
        inherited = clean_environment(os.environ) if settings.environment is None else settings.environment
        for node, ports in zip(settings.nodes, self._ports(), strict=True):
            self.nodes[node.name] = EmbeddedNode(
                ExecutorSettings(
                    node=node.name,
                    instance=folder.instance,
                    attributes={"machine_id": node.name, **node.attributes},
                    cpus=node.cpus,
                    memory_mb=node.memory_mb,
                    ports=ports,
                    socket_folder=str(folder.sockets),
                ),
                NodeOptions(
                    folder=folder.node(node.name),
                    durable=not folder.temporary,
                    shim=shim,
                    environment=inherited,
                    shim_options=options,
                ),
                link.uplink(node.name),
                self._context,
                self._failed,
            )
        for name, one in self.nodes.items():
            self.foreign[name] = await one.adopt()
        facts = {"libzmq": libzmq_version(), "pid": str(os.getpid()), "state": str(path)}
        core.put(Facts(facts=facts))
        host.start()
        for one in self.nodes.values():
            one.attach()
        await self._ready(host.engine)

    def _make_core(self, folder: StateFolder, store: SqliteStore) -> CoreHost:
        settings = self.settings
        host = HostSettings(
            instance=folder.instance,
            runs=settings.runs,
            runs_folder=self.runs_folder,
            tree=settings.tree,
            functions=settings.functions,
            calls=settings.calls,
            tasks=settings.tasks,
            defaults=settings.defaults,
            keep_events_days=settings.keep_events_days,
            version=version(),
        )
        return CoreHost(host, store, self.repositories, self._blocking, self, on_fatal=self._failed)

    def _ports(self) -> list[Ranges]:
        missing = sum(1 for node in self.settings.nodes if not node.ports)
        free = iter(free_ranges(missing, PORTS_EACH))
        return [node.ports or next(free) for node in self.settings.nodes]

    async def _ready(self, engine: CoreEngine) -> None:
        """Wait until the core knows what each node holds: before that, it would place nothing on it."""
        end = self._loop.time() + _READY_S
        while problems := {name: text for name in self.nodes if (text := engine.sessions.problem(name))}:
            if self.failure is not None:
                raise EcsError(f"the control system failed while it started: {self.failure}") from self.failure
            if self._loop.time() > end:
                raise EcsError(f"nodes are not ready: {problems}")
            await asyncio.sleep(0)

    # clients

    def connect(self, receive: Callable[[object], None]) -> ClientLink:
        """Return a link for a client; `receive` gets what the core sends, in later turns of the event loop."""
        self._client_number += 1
        name = f"client:{self._client_number}"  # no node has a ":" in its name
        self._clients[name] = receive
        return ClientLink(self, name)

    def add_workflow(self, name: str, files: Mapping[str, str]) -> str:
        """Take a workflow that a script made, with its task templates; return the expression that names it.

        `files`: "workflows/x.yaml" and "tasks/y.yaml" to texts.
        """
        self._script_number += 1
        repository = f"script-{self._script_number}"
        self.repositories.add(TextRepository(name=repository, files=files))
        return f"{repository}/workflows/{name}"

    def events(self, since: int = 0, environment: str = "") -> list[Event]:
        """Return the journal after event `since`; of one environment, or of all. Raises DecodeError for a bad one."""
        if self._store is None:
            raise UsageError("this control system was not started")
        return [loaded.event() for loaded in self._store.events_since(since, environment=environment)]

    @property
    def instance(self) -> str:
        """Name of this installation."""
        return self._folder.instance if self._folder else ""

    @property
    def state(self) -> Path | None:
        """Where the state is; None before the start."""
        return self._folder.path if self._folder else None

    @property
    def runs_folder(self) -> Path:
        """Where each run has a folder."""
        settings = self.settings
        if settings.runs_folder is not None:
            folder = settings.runs_folder
        elif settings.state is not None:
            folder = settings.state / "runs"
        elif settings.runs is not None:
            folder = settings.runs.parent / "runs"
        else:
            folder = default_runs_folder()
        return folder.expanduser().absolute()

    def _from_client(self, name: str, data: bytes) -> None:
        if name in self._clients and self._core is not None:
            self._core.put(Received(name, CLIENT.decode(data)))

    def _disconnect(self, name: str) -> None:
        if self._clients.pop(name, None) is not None and self._core is not None:
            self._core.put(Disconnected(name))
            if self._host is not None:
                self._host.forget(name)

    def send(self, peer: str, message: object) -> None:
        """Send from the core to a node or a client, for `CoreHost`."""
        if peer in self._clients:
            self._loop.call_soon(self._deliver, peer, CLIENT.encode(message))
        elif self._link is not None:
            self._link.to_peer(peer, message)

    def is_behind(self, peer: str) -> bool:
        """Tell `CoreHost` that nobody is slow: all are in this process."""
        return False

    def _deliver(self, name: str, data: bytes) -> None:
        receive = self._clients.get(name)
        if receive is not None:
            receive(CLIENT.decode(data, MAX_RECORD_BYTES))  # no frame: it never left this process

    def _failed(self, error: BaseException) -> None:
        first, self.failure = self.failure is None, self.failure or error
        if first and self._on_failure is not None:
            self._on_failure(error)

    # the end

    async def close(self, *, stop: bool | None = None) -> None:
        """End everything. Harmless when repeated.

        Args:
            stop: end all tasks, and remove what is temporary. None: unless orphans are to be adopted.
        """
        if self._closed:
            return
        self._closed = True
        stop = self.settings.orphans == "stop" if stop is None else stop
        self._clients.clear()
        if self._host is not None:
            self._host.stop()
        await asyncio.gather(*(node.close(stop=stop) for node in self.nodes.values()))
        if self._host is not None:
            await self._host.close()
        await self._blocking.close()
        if self._host is not None:
            self._host.close_runs()
        if self._store is not None:
            self._store.close()
        close_context(self._context)
        if self._folder is not None:
            self._folder.remove(everything=stop or not any(node.supervisor.left for node in self.nodes.values()))
