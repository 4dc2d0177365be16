"""The core as a process: state, keys, door, engine, and what systemd wants to know.

start: lock the state ─ keys ─ records ─ repositories ─ engine ─ bind ─ client.toml ─ READY=1
SIGTERM: no more input, close; environments and their tasks go on.    SIGHUP: keys and repositories anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from ecsd.core import later
from ecsd.core.options import CoreOptions
from ecsd.core.repositories import KnownRepositories
from ecsd.installation import defaults
from ecsd.notify import Notifier, Watchdog
from libecs.access import Principal
from libecs.config.tree import Tree
from libecs.engine.effects import DoWork, Facts, LookUp
from libecs.errors import EcsError
from libecs.io import link
from libecs.io.audit import AuditLog
from libecs.io.blocking import BlockingCalls
from libecs.io.bucket import Rate
from libecs.io.corehost import CoreHost, HostSettings, Work
from libecs.io.corekeys import CoreKeys, NextKeyFile, open_core_keys, write_client_file
from libecs.io.folderlock import FolderLock
from libecs.io.hub import NO_NEWS, Hub
from libecs.io.integrations import Functions
from libecs.io.keys import Keyring
from libecs.io.keywork import SUBJECTS, KeyWork, no_keys, works_without_keys
from libecs.io.lobby import Lobby
from libecs.io.loop import EngineLoop, no_audit
from libecs.io.refusals import Refusals
from libecs.io.statefolder import kept_instance
from libecs.io.store_sqlite import SqliteStore
from libecs.io.version import version
from libecs.io.zap import ECS_DOMAIN, LOBBY_DOMAIN, Handshake, ZapResponder, any_key, known_keys
from libecs.wire.node import KeyNews

logger = logging.getLogger(__name__)

COMMIT_FAILED = 75
"""Exit code after records could not be written: start again."""
_FACTS_S = 5.0
_EXAMINE_S = 3.0
"""What nodes have to tell after a restart comes before a look through the journal."""
_CLOSE_S = 1.0
"""What still runs in threads gets so long at the end."""
ANY_HOST = ("*", "0.0.0.0", "[::]")
INSECURE = "INSECURE: no keys are asked for. Whoever has an account on this machine controls everything"


class CoreDaemon:
    """The process `ecsd`. Make it inside of nothing, `asyncio.run(daemon.run())` once."""

    def __init__(self, options: CoreOptions, environment: Mapping[str, str], lock: FolderLock) -> None:
        """Nothing is touched yet. `lock`: of the state folder."""
        self._lock = lock
        self.options = options
        self._environment = environment
        self.endpoints: tuple[str, ...] = ()
        self.failure: BaseException | None = None
        self._notifier = Notifier.from_environment(environment)
        self._keyring: Keyring | None = None
        self._audit: AuditLog | None = None
        self._zap: ZapResponder | None = None
        self._refusals = Refusals()
        self._key_work: KeyWork | None = None
        self._next_key: NextKeyFile | None = None
        self._warned: tuple[str, ...] = ()
        """Of keys that end soon, as the log has it."""
        self._missing: list[str] = []
        """What is wrong with the installation."""

    async def run(self) -> int:
        """Start, serve until SIGTERM or a failure, and return the exit code.

        Raises:
            Conflict: the state, or the port, is somebody else's.
            EcsError: it can't start for another reason.
        """
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        async with AsyncExitStack() as stack:
            await self._start(stack)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            self._notifier.ready(self._status())
            logger.info("ready: %s", self._status())
            later_work = loop.create_task(self._work_later())
            stack.callback(later_work.cancel)
            await self._ended.wait()
            self._notifier.stopping("ending; environments and tasks go on")
        if self.failure is None:
            logger.info("ended")
            return 0
        return COMMIT_FAILED if self.host.loop.commit_failed else EcsError.exit_code

    async def _start(self, stack: AsyncExitStack) -> None:
        options = self.options
        link.raise_limits()
        self._blocking = blocking = BlockingCalls(threads=8)
        stack.push_async_callback(self._close_blocking)
        self.store = store = SqliteStore(options.state, lock=self._lock, examine_later=True)
        stack.callback(store.close)
        instance = kept_instance(options.state / "instance", "ecs")
        self._context = context = link.new_context()
        stack.callback(link.close_context, context)
        pair = None if options.insecure else self._open_keys(stack).pair
        tree, functions = _files(options)
        self.repositories = repositories = KnownRepositories(
            options.state, options.repository, blocking, revision=options.revision
        )
        await repositories.open()
        self.hub = Hub(
            context,
            lambda input: self.host.loop.put(input),
            curve=None if pair is None else link.ServerCurve(secret=pair.secret, domain=ECS_DOMAIN),
            principal=self._principal,
            is_open=lambda: self._zap is None or self._zap.alive,
            on_forgotten=lambda peer: self.host.forget(peer),
            client_rate=Rate(options.client_rate, max(1, options.client_burst)),
            gather=lambda more: self.host.loop.gather(more),
            on_failed=self._refusals.note,
            key_news=self._key_news,
        )
        stack.callback(self.hub.close)
        if self._keyring is not None:
            self._keyring.on_change = self._keys_changed
        self.host = host = CoreHost(
            HostSettings(
                instance=instance,
                runs=options.run_counter or options.state / "runs.sqlite",
                runs_folder=options.runs_folder or options.state / "runs",
                tree=tree,
                functions=functions,
                defaults=defaults(),
                keep_events_days=options.keep_events_days,
                keep_runs=options.keep_runs,
                keep_metrics=options.keep_metrics,
                version=version(),
                allow_scripts=options.allow_scripts or options.insecure,
                guards_scripts=True,
            ),
            store,
            repositories.all,
            blocking,
            self.hub,
            on_fatal=self._failed,
            audit=no_audit if self._audit is None else self._audit.write,
            consult=self._consult,
            works=self._works(),
            places=repositories.places,
        )
        stack.push_async_callback(host.close)
        self._tell_facts()
        stack.callback(lambda: self._facts_timer.cancel())
        host.start()
        await self._begun(host.loop)
        self.endpoints = tuple(self.hub.bind(one) for one in options.listen)
        self._facts_timer.cancel()
        self._tell_facts()  # where we listen is known now
        core_key = "" if pair is None else pair.public
        write_client_file(options.state, endpoint=_near(self.endpoints[0]), core_key=core_key)
        watchdog = Watchdog(self._notifier, host.loop)
        stack.callback(watchdog.close)
        if options.metrics:
            await self._serve_metrics(stack, watchdog)
        if options.insecure:
            logger.error(INSECURE)

    async def _work_later(self) -> None:
        """Do what nobody should wait for: import what is needed next, and look through a large journal."""
        await later.load(self._blocking, self._missing)
        if self.store.unexamined:
            await asyncio.sleep(_EXAMINE_S)
            await self._blocking.start(self.store.examine)

    async def _serve_metrics(self, stack: AsyncExitStack, watchdog: Watchdog) -> None:
        from ecsd.core.metrics import families
        from ecsd.prometheus import MetricsServer

        started_s = time.time()
        server = MetricsServer(lambda: families(self.host, self.hub, watchdog, started_s))
        where = await server.start(self.options.metrics)
        stack.push_async_callback(server.close)
        logger.info("metrics at http://%s/metrics", where)

    def _open_keys(self, stack: AsyncExitStack) -> CoreKeys:
        """Open keys, keyring, audit log and lobby; let in only whose key is known."""
        options, context = self.options, self._context
        keys = open_core_keys(options.state, now_ms=_unix_ms())
        self._next_key = keys.next
        self._keyring = keyring = Keyring(keys.principals)
        stack.callback(keyring.close)
        try:
            self._audit = audit = AuditLog(options.state / "audit", keep_days=options.keep_audit_days)
        except OSError as error:
            raise EcsError(f"the audit log in {options.state} cannot be written: {error.strerror}") from error
        stack.callback(audit.close)
        policies = {ECS_DOMAIN: known_keys(keyring), LOBBY_DOMAIN: any_key}
        self._zap = zap = ZapResponder(context, policies, on_refusal=self._refused)
        stack.callback(zap.close)
        lobby = Lobby(
            context,
            keyring,
            keys.pair,
            endpoint=options.lobby,
            advertise=options.advertise or _lobby_host(options.lobby),
            file=options.state / "keys" / "invitations.toml",
            audit=audit.write,
        )
        stack.callback(lobby.close)
        self._key_work = KeyWork(
            keyring,
            lobby,
            core_key=keys.pair.public,
            next_key=keys.next,
            tell_key_news=lambda: self.hub.tell_key_news(),
            endpoint=self._advertised,
            audit_folder=options.state / "audit",
            now_ms=_unix_ms,
        )
        keyring.watch()
        return keys

    def _advertised(self) -> str:
        """Return where others reach us."""
        host, _, port = self.endpoints[0].removeprefix("tcp://").rpartition(":")
        if self.options.advertise or host in ANY_HOST:
            host = self.options.advertise or socket.gethostname()
        return f"tcp://{host}:{port}"

    async def _begun(self, loop: EngineLoop) -> None:
        """Wait until the engine has begun its life: its epoch is on disk."""
        await loop.idle()
        if self.failure is not None:
            raise EcsError(f"the core failed as it started: {self.failure}") from self.failure

    # who somebody is

    def _principal(self, key: str) -> Principal | None:
        return None if self._keyring is None else self._keyring.principal(key)

    def _key_news(self, key: str) -> KeyNews:
        """Return what there is to say to whoever has a key, and note who has been told of the core's next one."""
        principal, following = self._principal(key), self._next_key
        if self._keyring is None or following is None or principal is None:
            return NO_NEWS
        expires_ms = self._keyring.ends_soon(key)
        if following.next is None:
            return KeyNews(expires_ms=expires_ms)
        following.note_told(principal.name)
        return KeyNews(next_key=following.next.public, from_ms=following.next.from_ms, expires_ms=expires_ms)

    def _refused(self, handshake: Handshake) -> None:
        """Tell operators whom they may have forgotten to approve; his client names the key alike."""
        reason = "its key is not known: not approved, revoked, expired, or a stranger's"
        self._refusals.note(handshake.address, reason, f"key {handshake.key[:8]}" if handshake.key else "no key")

    def _keys_changed(self) -> None:
        logger.info("the keys have changed")
        self.hub.recheck()

    # what is asked of the host

    async def _consult(self, effect: LookUp) -> str:
        question = effect.question
        if self._key_work is not None:
            document = await self._blocking.start(self._key_work.consult, question.subject, question.arguments)
            if document is not None:
                return document
        elif question.subject in SUBJECTS:
            raise no_keys()
        return await self.host.answer(effect)

    def _works(self) -> dict[str, Work]:
        repositories = self.repositories
        works: dict[str, Work] = {
            "repository.add": partial(_worked, repositories.add),
            "repository.remove": partial(_worked, repositories.remove),
            "repository.refresh": partial(_worked, repositories.refresh),
            "repository.default": partial(_worked, repositories.set_default),
        }
        if self._key_work is not None:
            works.update(self._key_work.works())
        else:
            works.update(works_without_keys())
        return works

    # what people and systemd are told

    def _status(self) -> str:
        engine = self.host.engine
        return (
            f"{len(engine.environments)} environments, {len(engine.sessions.nodes)} nodes, epoch {engine.epoch}, "
            f"listening at {', '.join(self.endpoints)}"
        )

    def _tell_facts(self) -> None:
        options = self.options
        try:
            free_mb = str(shutil.disk_usage(options.state).free >> 20)
        except OSError:
            free_mb = ""
        facts = {
            "libzmq": link.version(),
            "python": platform.python_version(),
            "pid": str(os.getpid()),
            "host": socket.gethostname(),
            "state": str(options.state),
            "disk_free_mb": free_mb,
            "insecure": INSECURE if options.insecure else "",
            "repository": repository.name if (repository := self.repositories.all.default) is not None else "",
            "listen": " ".join(self.endpoints),
        }
        problems = [*self.repositories.problems.values(), *self._missing]
        if self.store.problem:
            problems.append(self.store.problem)
        if self._keyring is not None:
            self._keyring.expire()
            problems.extend((*self._keyring.problems, *self._warn_of_ends()))
        if self._next_key is not None and (problem := self._next_key.problem or self._next_key.due(_unix_ms())):
            problems.append(problem)
        if self._zap is not None and not self._zap.alive:
            problems.append("nobody can be let in: the answers to ZAP have ended")
        if options.insecure:
            problems.append(INSECURE)
        self.host.loop.put(Facts(facts=facts, problems=tuple(problems)))
        self._facts_timer = asyncio.get_running_loop().call_later(_FACTS_S, self._tell_facts)
        if self.endpoints:
            self._notifier.status(self._status())

    def _warn_of_ends(self) -> tuple[str, ...]:
        """Return what there is to say of keys that end soon, and write into the log what is new of it: a line a day."""
        assert self._keyring is not None
        warnings, known = self._keyring.warnings(), frozenset(self._warned)
        for text in warnings:
            if text not in known:
                logger.warning("%s", text)
        if warnings != self._warned:
            self._warned = warnings
            self.hub.tell_key_news()
        return warnings

    # signals and the end

    def _hang_up(self) -> None:
        """Read keys and repositories anew."""
        self._notifier.reloading()
        logger.info("SIGHUP: keys and repositories are read anew")
        if self._keyring is not None:
            self._keyring.reload()
        self._reloading = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        try:
            await self.repositories.refresh({})
        except EcsError as error:
            logger.warning("%s", error.message)
        self._notifier.ready(self._status())

    def _failed(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._ended.set()

    async def _close_blocking(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._blocking.close()
        except TimeoutError:
            logger.warning("something that was asked of this host is not done: it is left alone")


async def _worked(method: Callable[[Mapping[str, str]], Awaitable[dict[str, Any]]], effect: DoWork) -> str:
    return json.dumps(await method(effect.work.arguments), ensure_ascii=False)


def _files(options: CoreOptions) -> tuple[Tree, tuple[Functions, ...]]:
    """Return what the files of a small laboratory say: configuration, and the answers of integrations.

    Raises:
        EcsError: one is missing, or wrong.
    """
    tree = Tree()
    functions: tuple[Functions, ...] = ()
    if options.kv is not None:
        from libecs.io.kv_file import read_kv_file

        tree = read_kv_file(options.kv)
    if options.integrations is not None:
        from libecs.io.integrations_file import functions_of_file

        functions = (functions_of_file(options.integrations),)
    return tree, functions


def _near(endpoint: str) -> str:
    """Return an endpoint as clients on the same machine dial it."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return f"tcp://127.0.0.1:{port}" if host in ANY_HOST else endpoint


def _lobby_host(endpoint: str) -> str:
    host = endpoint.removeprefix("tcp://").rpartition(":")[0]
    return socket.gethostname() if host in ANY_HOST else host


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
