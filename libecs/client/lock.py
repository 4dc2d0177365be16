"""Detectors that a script has for itself: taken when it enters, given back when it leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from libecs.client.operation import Operation
from libecs.client.pulse import UP
from libecs.errors import Conflict, Denied, EcsError, NotFound, UsageError

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs

UNDO_S = 5.0
"""How long a script that is interrupted waits for the core."""


class AsyncLock:
    """Locks on detectors. They are the core's: they outlive this script, if it is killed, and the core, too.

    What its owner had before, for another reason, is not given back at the end: a script may run inside of a longer
    work. A script that was killed and comes again with the same reason finds its own locks and gives them back.
    """

    def __init__(
        self, ecs: AsyncEcs, detectors: tuple[str, ...], *, reason: str, force: bool, timeout_s: float | None
    ) -> None:
        if not detectors:
            raise UsageError("no detector is named", hint='write ecs.lock("ITS", reason="…")')
        self._ecs = ecs
        self.detectors = detectors
        self._reason, self._force, self._timeout_s = reason, force, timeout_s
        self._ours: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<lock on {', '.join(self.detectors)}{'' if self._ours else ', not taken by this'}>"

    async def take(self) -> AsyncLock:
        """Take all of them, or none.

        Raises:
            Conflict: somebody has one of them; it says who, since when and why.
            Denied: not allowed: role, scope, or `force` without being an admin.
        """
        before = {lock.detector: lock for lock in await self._ecs.locks()}
        operation = self._ecs.locking(self.detectors, reason=self._reason, force=self._force)
        try:
            await self._ecs.finish(operation, self._timeout_s)
        except asyncio.CancelledError:
            await self._undo(operation, tuple(one for one in self.detectors if one not in before))
            raise
        after = {lock.detector: lock for lock in await self._ecs.locks()}
        self._ours = tuple(
            detector
            for detector in self.detectors
            if (old := before.get(detector)) is None
            or (new := after.get(detector)) is None
            or new.fence != old.fence
            or (self._reason and old.reason == self._reason)
        )
        return self

    async def _undo(self, operation: Operation, ours: tuple[str, ...]) -> None:
        """Give back what the core gives us though nobody waits for it any more: Ctrl-C meanwhile."""
        with contextlib.suppress(EcsError):
            if self._ecs.link.state == UP and ours:
                await self._ecs.finish(operation, UNDO_S)
                await self._ecs.unlock(*ours, timeout=UNDO_S)

    async def release(self) -> None:
        """Give back what `take` took. What somebody took away by force meanwhile is his."""
        ours, self._ours = self._ours, ()
        if not ours:
            return
        try:
            await self._ecs.unlock(*ours)
        except (Conflict, Denied, NotFound):  # the core gives back all or none: one is not ours any more
            for detector in ours if len(ours) > 1 else ():
                with contextlib.suppress(Conflict, Denied, NotFound):
                    await self._ecs.unlock(detector)

    def __await__(self) -> Generator[Any, None, AsyncLock]:
        return self.take().__await__()

    async def __aenter__(self) -> AsyncLock:
        return await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()
