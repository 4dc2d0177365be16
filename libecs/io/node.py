"""One executor: its engine and the hands that perform what it decides, wherever its core is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from libecs.engine.effects import Close, Forget, MakeFolder, Open, ReadTail, Send, Signal, Spawn
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.engine.outbox import CORE, TELEMETRY
from libecs.io.cgroups import Cgroups
from libecs.io.link import Context
from libecs.io.loop import EngineLoop
from libecs.io.process import Foreign, ShimSupervisor
from libecs.io.store_sqlite import SqliteStore
from libecs.io.taskfolder import ShimOptions
from libecs.io.tasklink import TaskLinks
from libecs.io.uplink import Uplink
from libecs.io.users import UserPolicy
from libecs.wire.node import NodeHello


@attrs.frozen(kw_only=True)
class NodeOptions:
    """What a node is told beside its engine's settings."""

    folder: Path
    """Its own; see `StateFolder`."""
    durable: bool
    shim: Path
    environment: Mapping[str, str]
    """What its tasks inherit."""
    shim_options: ShimOptions
    reserve_bytes: int = 0
    """Kept free in `folder` for when its disk is full."""
    users: UserPolicy | None = None
    """As whom tasks may run; None = as the command says."""
    facts: Callable[[], Mapping[str, str]] | None = None
    """Read for each NodeHello."""
    host: Callable[[], str] | None = None
    """The same: where the tasks' TCP addresses are reached. None = as the engine's settings say."""


class EmbeddedNode:
    """An executor. Make it inside of a running event loop, `await adopt()`, then `attach()`."""

    def __init__(
        self,
        settings: ExecutorSettings,
        options: NodeOptions,
        uplink: Uplink,
        context: Context,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """Open its folder. Raises Conflict, EcsError."""
        self.name = settings.node
        self._options = options
        self._uplink = uplink
        self.store = SqliteStore(options.folder, durable=options.durable, reserve_bytes=options.reserve_bytes)
        self.engine = ExecutorEngine(settings, self.store.load())
        # The engine gives what it performs to the loop, the loop's input comes from those who perform.
        self.loop = EngineLoop(
            self.engine,
            {
                Send: self._send,
                Spawn: lambda effect: self.supervisor.spawn(effect),
                Signal: lambda effect: self.supervisor.signal(effect),
                Forget: lambda effect: self.supervisor.forget(effect),
                MakeFolder: lambda effect: self.supervisor.make_folder(effect),
                Open: lambda effect: self.tasks.open(effect.task, effect.endpoint),
                ReadTail: lambda effect: self.supervisor.read_tail(effect),
                Close: lambda effect: self.tasks.close(effect.task),
            },
            store=self.store,
            on_fatal=on_fatal,
            name=f"executor {self.name}",
        )
        self.supervisor = ShimSupervisor(
            self.loop.put,
            instance=settings.instance,
            node=self.name,
            folder=options.folder / "run",
            shim=options.shim,
            environment=options.environment,
            options=options.shim_options,
            socket_folder=Path(settings.socket_folder),
            users=options.users,
            cgroups=Cgroups.find(f"ecs-{settings.instance}-{self.name}"),
        )
        self.tasks = TaskLinks(context, self.loop.put, identity=f"{self.name}/{secrets.token_hex(4)}")

    async def adopt(self) -> tuple[Foreign, ...]:
        """Take over what the last life of this node left; return what nobody knows anything of."""
        foreign = await self.supervisor.adopt()
        self.loop.start()
        return foreign

    def attach(self) -> None:
        """Come to the core."""
        self._uplink.attach(self.loop.put)

    async def close(self, *, stop: bool) -> None:
        """Stop deciding; with `stop`, end all tasks."""
        self._uplink.detach()
        self.loop.stop()
        self.tasks.close_all()
        await self.supervisor.close(stop=stop)
        self.store.close()

    def _send(self, effect: Send) -> None:
        if effect.peer in (CORE, TELEMETRY):
            self._uplink.send(effect.peer, self._completed(effect.message))
        else:
            self.tasks.send(effect.peer, effect.message)

    def _completed(self, message: object) -> object:
        """Return a message with what only the machine knows."""
        if not isinstance(message, NodeHello):
            return message
        facts, host = self._options.facts, self._options.host
        if facts is not None:
            message = attrs.evolve(message, facts=facts())
        return message if host is None else attrs.evolve(message, host=host())
