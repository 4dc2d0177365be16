"""How people see what goes on: a tree that lives on a terminal, lines everywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import attrs

from ecsd.coconut.chronicle import Chronicle
from ecsd.coconut.output import Output
from libecs.client import AsyncEcs
from libecs.errors import NotFound, Unreachable
from libecs.fsm import EnvState
from libecs.wire.client import EnvironmentInfo

REFRESH_S = 0.2
"""The tree is drawn again at most this often."""


class View(Protocol):
    """Shows progress."""

    def line(self, text: str) -> None:
        """Tell one thing that happened."""

    def tree(self, info: EnvironmentInfo) -> None:
        """Show how everything is now."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class LineView:
    """Lines with their time, on stderr."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def line(self, text: str) -> None:
        """Print it."""
        now = time.time()
        self._say(f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}  {text}")

    def tree(self, info: EnvironmentInfo) -> None:
        """Do nothing: a log has no present."""

    def close(self) -> None:
        """Do nothing."""


def make_view(output: Output) -> View:
    """Return the view that fits the terminal."""
    if output.live:
        from ecsd.coconut.livetree import TreeView  # the only user of rich

        return TreeView(colour=output.colour)
    return LineView(output.say)


@contextlib.asynccontextmanager
async def follow(ecs: AsyncEcs, view: View, chronicle: Chronicle) -> AsyncIterator[None]:
    """Show all events of a session while the block is worked on."""
    reader = ecs.events()
    changed: set[str] = set()
    shown: dict[str, EnvironmentInfo] = {}

    async def read() -> None:
        async for event in reader:
            line = chronicle.take(event)
            if line:
                view.line(line)
            if event.environment:
                changed.add(event.environment)

    async def draw() -> None:
        for environment in tuple(changed):
            changed.discard(environment)
            with contextlib.suppress(Unreachable):
                try:
                    shown[environment] = await ecs.show(environment)
                except NotFound:
                    if environment in shown:
                        shown[environment] = attrs.evolve(
                            shown[environment], state=EnvState.DONE, transition="", step="", roles=(), tasks=()
                        )
                if environment in shown:
                    view.tree(shown[environment])

    async def draw_again() -> None:
        while True:
            await draw()
            await asyncio.sleep(REFRESH_S)

    reading = asyncio.create_task(read())
    drawing = None if isinstance(view, LineView) else asyncio.create_task(draw_again())
    try:
        yield
    finally:
        reader.close()
        await reading
        if drawing is not None:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            await draw()
        view.close()
