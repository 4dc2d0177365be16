"""One node's executor as a process: state, users, the link to its core, and what systemd wants to know.

start: lock the state ─ find what the last life left ─ dial the core ─ READY=1 when it says welcome, or after 3 s
SIGTERM: no more input, close; tasks go on under their shims, and the next executor takes them over.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from ecsd.executor.options import ExecutorOptions, curve_of
from ecsd.notify import Notifier, Watchdog
from libecs.engine.executor import ExecutorSettings
from libecs.errors import EcsError
from libecs.io import facts, link
from libecs.io.corefile import NodePins
from libecs.io.node import EmbeddedNode, NodeOptions
from libecs.io.ports import Ranges, free_ranges
from libecs.io.process import clean_environment, find_shim
from libecs.io.statefolder import StateFolder
from libecs.io.store_sqlite import RESERVE_BYTES
from libecs.io.taskfolder import ShimOptions
from libecs.io.uplink import TcpUplink
from libecs.io.users import UserPolicy
from libecs.wire.node import NodeRefused, Welcome

logger = logging.getLogger(__name__)

COMMIT_FAILED = 75
"""Exit code after records could not be written: start again."""
READY_ANYWAY_S = 3.0
"""A node without a core is no failed unit."""
WELCOME_S = 3.0
"""A core that has taken our link and says nothing for so long does not want us."""
PORTS = 200
_STATUS_S = 5.0


class ExecutorDaemon:
    """The process `ecs-executord`. Make it inside of nothing, `asyncio.run(daemon.run())` once."""

    def __init__(
        self, options: ExecutorOptions, environment: Mapping[str, str], *, core_key_by_hand: bool = False
    ) -> None:
        """Nothing is touched yet. `core_key_by_hand`: that key is of the settings, not of what `join` wrote."""
        self.options = options
        self._core_key_by_hand = core_key_by_hand
        self.failure: BaseException | None = None
        self._environment = environment
        self._notifier = Notifier.from_environment(environment)
        self._ready = False
        self._state = f"dialling {options.core}"
        self._status_timer: asyncio.TimerHandle | None = None
        self._welcome_timer: asyncio.TimerHandle | None = None
        self._left = 0

    async def run(self) -> int:
        """Start, serve until SIGTERM or a failure, and return the exit code.

        Raises:
            Conflict: the state is another executor's.
            EcsError: it can't start for another reason.
        """
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        async with AsyncExitStack() as stack:
            await self._start(stack)
            await self._ended.wait()
            self._notifier.stopping("ending; tasks go on")
        if self.failure is None:
            logger.info("ended; tasks go on: %d", self._left)
            return 0
        return COMMIT_FAILED if self.node.loop.commit_failed else EcsError.exit_code

    async def _start(self, stack: AsyncExitStack) -> None:
        options = self.options
        curve = curve_of(options)
        users = UserPolicy(host=options.node, default=options.user, allowed=options.allow_user)
        users.check()
        shim = options.shim or find_shim()
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        link.raise_limits()
        folder = _open_state(options.state)
        context = link.new_context()
        stack.callback(link.close_context, context)
        self.uplink = TcpUplink(
            context,
            options.core,
            curve,
            on_trouble=self._troubled,
            on_welcome=self._welcomed,
            on_refused=self._refused,
            on_link=self._linked,
            keep=NodePins(options.state, curve, by_hand=self._core_key_by_hand),
            node=options.node,
        )
        self.node = EmbeddedNode(
            ExecutorSettings(
                node=options.node,
                instance=folder.instance,
                host=options.host or "127.0.0.1",
                attributes={"machine_id": options.node, **dict(options.attribute)},
                cpus=facts.usable_cpus() if options.cpus is None else options.cpus,
                memory_mb=facts.memory_mb() if options.memory is None else options.memory,
                ports=options.ports or kept_ports(options.state / "ports.json"),
                socket_folder=str(folder.sockets),
            ),
            NodeOptions(
                folder=options.state,
                durable=True,
                shim=shim,
                environment=clean_environment(self._environment),
                shim_options=ShimOptions(orphan_s=options.max_orphan_time or -1.0, open_files=open_files),
                reserve_bytes=RESERVE_BYTES,
                users=users,
                facts=facts.Facts(options.state).read,
                host=None if options.host else self._address,
            ),
            self.uplink,
            context,
            self._failed,
        )
        stack.push_async_callback(self._close_node)
        for record, reason in self.node.engine.damaged.items():
            logger.error("record %s cannot be read and is kept aside: %s", record, reason)
        foreign = await self.node.adopt()
        running = self.node.supervisor.running
        logger.info("node %s: %d tasks of the last life run on", options.node, len(running))
        for one in foreign:
            logger.warning("processes %s say they are task %s, of which nothing is known here", one.pids, one.task)
        stack.callback(Watchdog(self._notifier, self.node.loop).close)
        loop = asyncio.get_running_loop()
        self._ready_timer = loop.call_later(READY_ANYWAY_S, self._be_ready)
        stack.callback(self._ready_timer.cancel)
        self._tell_status()
        stack.callback(self._tell_no_more)
        stack.callback(self._await_no_welcome)
        self.node.attach()

    async def _close_node(self) -> None:
        await self.node.close(stop=False)
        self._left = len(self.node.supervisor.running)

    def _address(self) -> str:
        """Return where others reach this machine: at the address from which it reaches the core."""
        return self.uplink.local_address or socket.gethostname()

    # what the link says

    def _linked(self, up: bool) -> None:
        self._await_no_welcome()
        self._say(f"core {self.options.core} answers" if up else f"no core: the link to {self.options.core} broke")
        if up:
            self._welcome_timer = asyncio.get_running_loop().call_later(WELCOME_S, self._not_welcomed)

    def _await_no_welcome(self) -> None:
        if self._welcome_timer is not None:
            self._welcome_timer.cancel()
            self._welcome_timer = None

    def _not_welcomed(self) -> None:
        self._say(
            f"no core: {self.options.core} takes the link of node {self.options.node}, and then says nothing: "
            "is its key that of a node, and is its software as new as the core's?"
        )

    def _welcomed(self, message: Welcome) -> None:
        self._await_no_welcome()
        self._say(f"core {self.options.core} connected, epoch {message.epoch}")
        self._be_ready()

    def _refused(self, message: NodeRefused) -> None:
        if message.reason:
            self._await_no_welcome()
            self._say(f"no core: {self.options.core} does not take node {self.options.node}: {message.reason}")

    def _troubled(self, trouble: link.Trouble) -> None:
        error = trouble.error(self.options.node, "node")
        self._say(f"no core: {error.message}; {error.hint}")

    def _say(self, text: str) -> None:
        """Tell people and systemd how it stands with the core."""
        if text != self._state:
            logger.log(logging.WARNING if text.startswith("no core") else logging.INFO, "%s", text)
        self._state = text
        self._tell_status()

    # what systemd is told

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._ready_timer.cancel()
            self._notifier.ready(self._status())

    def _status(self) -> str:
        return f"{self._state}; {len(self.node.supervisor.running)} tasks run"

    def _tell_status(self) -> None:
        self._tell_no_more()
        self._notifier.status(self._status())
        self._status_timer = asyncio.get_running_loop().call_later(_STATUS_S, self._tell_status)

    def _tell_no_more(self) -> None:
        if self._status_timer is not None:
            self._status_timer.cancel()
            self._status_timer = None

    def _hang_up(self) -> None:
        logger.info("SIGHUP: there is nothing to read anew; restart for other settings, tasks go on")

    def _failed(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._ended.set()


def kept_ports(file: Path) -> Ranges:
    """Return the TCP ports of a node for which none are named: free ones at its first start, the same for ever.

    Raises:
        EcsError: there are not enough, or the file can't be written.
    """
    try:
        found = json.loads(file.read_text(encoding="ascii"))
        return tuple((int(low), int(high)) for low, high in found)
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):
        logger.warning("%s is damaged: other ports are chosen", file)
    (ranges,) = free_ranges(1, PORTS)
    try:
        file.write_text(json.dumps(ranges) + "\n", encoding="ascii")
    except OSError as error:
        raise EcsError(f"{file} cannot be written: {error.strerror}") from error
    return ranges


def _open_state(path: Path) -> StateFolder:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EcsError(f"no folder for the state: {error.strerror}: {error.filename}") from error
    return StateFolder.open(path, temporary=False)
