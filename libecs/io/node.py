"""One executor inside of this process: its engine and the hands that perform what it decides."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from libecs.engine.effects import Close, Forget, MakeFolder, Open, Send, Signal, Spawn
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.engine.outbox import CORE, TELEMETRY
from libecs.io.cgroups import Cgroups
from libecs.io.link import Context
from libecs.io.loop import EngineLoop
from libecs.io.memory import MemoryLink
from libecs.io.process import Foreign, ShimSupervisor
from libecs.io.store_sqlite import SqliteStore
from libecs.io.taskfolder import ShimOptions
from libecs.io.tasklink import TaskLinks


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


class EmbeddedNode:
    """An executor. Make it inside of a running event loop, `await adopt()`, then `attach()`."""

    def __init__(
        self,
        settings: ExecutorSettings,
        options: NodeOptions,
        link: MemoryLink,
        context: Context,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """Open its folder. Raises Conflict, EcsError."""
        self.name = settings.node
        self._link = link
        self.store = SqliteStore(options.folder, durable=options.durable, reserve_bytes=0)
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
        self._link.attach(self.name, self.loop.put)

    async def close(self, *, stop: bool) -> None:
        """Stop deciding; with `stop`, end all tasks."""
        self._link.detach(self.name)
        self.loop.stop()
        self.tasks.close_all()
        await self.supervisor.close(stop=stop)
        self.store.close()

    def _send(self, effect: Send) -> None:
        if effect.peer in (CORE, TELEMETRY):
            self._link.to_hub(self.name, effect.message)
        else:
            self.tasks.send(effect.peer, effect.message)
