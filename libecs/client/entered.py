"""What a script enters by `with` or by `async with`, and leaves at the end of the block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import NoReturn

from libecs.client.bridge import Bridge
from libecs.client.ecs import AsyncEcs
from libecs.client.sync import Ecs
from libecs.errors import UsageError


class Entered(ABC):
    """A control system that is there while a block is worked on. It is entered once."""

    HOW = "libecs.local()"
    """How one writes it."""

    def __init__(self) -> None:
        self._bridge: Bridge | None = None
        self._was_entered = False

    @abstractmethod
    async def begin(self) -> AsyncEcs:
        """Make it."""

    @abstractmethod
    async def end(self) -> None:
        """Let go of it."""

    def __getattr__(self, name: str) -> NoReturn:
        """Tell who forgot the `with` what to write."""
        hint = f"; enter it first: `with {self.HOW} as ecs: ecs.{name}`" if hasattr(Ecs, name) else ""
        raise AttributeError(f"a session that was not entered has no {name!r}{hint}")

    async def __aenter__(self) -> AsyncEcs:
        self._enter()
        return await self.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end()

    def __enter__(self) -> Ecs:
        self._enter()
        self._bridge = bridge = Bridge()
        try:
            return Ecs(bridge, bridge.call(self.begin()))
        except BaseException:
            bridge.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._bridge is not None
        if self._bridge.foreign:
            return  # a fork leaves the `with`: the session is the parent's
        try:
            self._bridge.call(self.end())
        finally:
            self._bridge.close()

    def _enter(self) -> None:
        if self._was_entered:
            raise UsageError("this session was entered before", hint=f"call {self.HOW} again")
        self._was_entered = True
