"""A control system somewhere else: `with libecs.connect("p2") as ecs`, or `async with`.

The objects are those of `libecs.local()`. When the link breaks, everything that waits goes on waiting: it is asked
again when the core is back, under the same ids, and events go on where they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
from collections.abc import Callable
from pathlib import Path

import attrs

from libecs.client.ecs import AsyncEcs
from libecs.client.entered import Entered
from libecs.client.operation import requester
from libecs.client.pulse import Pulse
from libecs.errors import Denied, EcsError, Unreachable, UsageError
from libecs.io.clientlink import ClientLink
from libecs.io.contexts import Context, choose, is_loopback
from libecs.io.link import Refusal, Trouble

logger = logging.getLogger(__name__)

TIMEOUT_S = 3.0
"""How long the first connection may take, if the script says nothing."""
SLOW_S = 10.0
"""How long it may take while nothing is known to be wrong: on a machine that is busy."""
NOBODY_S = 1.0
"""How long a machine that is there may refuse it: so long a core takes to be started anew."""
INFO_S = 1.0

STARTING = (
    "If it was started just now, try again; scripts wait longer with libecs.connect(…, timeout=30), "
    "coconut with --connect-timeout 30s"
)
NOBODY = "is ecsd running there, and does the network let you through?"

Place = str | os.PathLike[str]


def connect(
    context: str = "",
    *,
    key: Place | None = None,
    core_key: str = "",
    insecure: bool = False,
    timeout: float | None = None,
) -> Connection:
    """Describe a connection to a core, to be entered by `with` or `async with`.

    Args:
        context: name of a context (`coconut context list`), address of a core (`tcp://host:47102`), or path of its
            state folder on this machine. "" = `$ECS_CONTEXT`, else `$ECS_CORE`, else the current context, else the
            core that this user runs here.
        key: file of your key pair, instead of that of the context.
        core_key: public key of the core, instead of that of the context.
        insecure: talk to a core that speaks without keys.
        timeout: seconds to try the first connection; None = about 3, and 1 if nobody listens there. After that,
            a broken link is tried again for ever.

    Raises, when it is entered:
        Denied: it is there, and does not let you in: no key, a wrong key, or it is not the core that you know.
        Unreachable: nobody answers.
        NotFound: no such context.
    """
    if (key is None) != (core_key == ""):
        raise UsageError("key and core_key go together", hint="key=FILE, core_key=PUBLIC_KEY_OF_THE_CORE")
    if insecure and core_key:
        raise UsageError("insecure=True means no keys, and some are given", hint="leave out one of them")
    return Connection(
        context,
        key=None if key is None else Path(key).expanduser(),
        core_key=core_key,
        insecure=insecure,
        timeout_s=timeout,
    )


class Connection(Entered):
    """A control system somewhere else: enter it once."""

    HOW = "libecs.connect(…)"

    def __init__(
        self, context: str, *, key: Path | None, core_key: str, insecure: bool, timeout_s: float | None
    ) -> None:
        super().__init__()
        self._context, self._key, self._core_key, self._insecure = context, key, core_key, insecure
        self._timeout_s = timeout_s
        self._link: ClientLink | None = None
        self._ecs: AsyncEcs | None = None
        self._pulse: Pulse | None = None
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<connection to {self._context or 'the current context'}>"

    def _core(self) -> Context:
        core = choose(self._context)
        if self._insecure:
            return attrs.evolve(core, core_key="", next_core_key="", key_file=None)
        if self._key is not None:
            return attrs.evolve(core, core_key=self._core_key, next_core_key="", key_file=self._key)
        if not core.core_key and not is_loopback(core.endpoint):
            raise Denied(
                f"you have no key for {core.endpoint}",
                hint="coconut login TOKEN, with a token of: coconut key invite NAME",
            )
        return core

    async def begin(self) -> AsyncEcs:
        """Connect, and learn what there is."""
        core = self._core()

        def dial(receive: Callable[[object], None]) -> ClientLink:
            self._link = link = ClientLink(core, receive, on_link=self._changed, on_trouble=self._trouble)
            return link

        self._ecs = ecs = AsyncEcs(dial, requester=requester())
        assert self._link is not None
        try:
            await self._come_up(self._link)
            await self._open(self._link, ecs)
        except BaseException:
            await self.end()
            raise
        self._pulse = ecs.keep(self._link, core.endpoint)
        return ecs

    async def end(self) -> None:
        """Let go of the link. The core, its environments and its tasks go on."""
        if self._ecs is not None:
            await self._ecs.close()
        if self._link is not None:
            self._link.close()

    async def _come_up(self, link: ClientLink) -> None:
        """Wait for the first connection."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not link.up:
            error = None if link.trouble is None else link.trouble.error()
            if isinstance(error, Denied):
                raise error
            left = begun + self._patience_s(link.trouble) - loop.time()
            if left <= 0:
                if error is not None and self._timeout_s is None and self._is_refused(link.trouble):
                    error.hint = f"{error.hint} {STARTING}"
                raise error or Unreachable(f"nobody answers at {link.core.endpoint}: timed out", hint=NOBODY)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    def _patience_s(self, trouble: Trouble | None) -> float:
        if self._timeout_s is not None:
            return self._timeout_s
        if trouble is None:
            return SLOW_S
        return NOBODY_S if self._is_refused(trouble) else TIMEOUT_S

    @staticmethod
    def _is_refused(trouble: Trouble | None) -> bool:
        return trouble is not None and trouble.refusal is Refusal.REFUSED

    async def _open(self, link: ClientLink, ecs: AsyncEcs) -> None:
        """Let the core tell what there is, and say so if it is of another version."""
        place = link.core.endpoint
        try:
            async with asyncio.timeout(self._timeout_s or SLOW_S):
                await ecs.open()
        except TimeoutError:
            raise Unreachable(
                f"the core at {place} takes the connection and does not answer", hint="look at its log"
            ) from None
        with contextlib.suppress(TimeoutError, EcsError):
            async with asyncio.timeout(INFO_S):
                info = await ecs.info()
            ours = _version()
            if ours and info.version and _line(info.version) != _line(ours):
                logger.warning("the core at %s is version %s, this client %s", place, info.version, ours)

    def _changed(self, up: bool) -> None:
        if self._pulse is not None:
            self._pulse.changed(up)
        elif up and self._ecs is not None:
            self._ecs.resend()
        self._news.set()

    def _trouble(self, trouble: Trouble) -> None:
        if self._pulse is not None:
            self._pulse.trouble(trouble.sentence)
        self._news.set()


def _version() -> str:
    """Return our version, "" in a source tree."""
    try:
        return importlib.metadata.version("libecs")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _line(version: str) -> list[str]:
    """Return major and minor of a version."""
    return version.split(".")[:2]
