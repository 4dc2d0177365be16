"""How people see what goes on: a tree that lives on a terminal, lines everywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import attrs

from ecsd.coconut.chronicle import Chronicle
from ecsd.coconut.output import Output
from libecs.client.ecs import AsyncEcs
from libecs.client.logs import Line
from libecs.client.operation import Operation
from libecs.errors import EcsError, NotFound, Unreachable
from libecs.fsm import EnvState
from libecs.wire.client import Lines, Metrics
from libecs.wire.info import EnvironmentInfo, MetricInfo

REFRESH_S = 0.2
"""The tree is drawn again at most this often."""


class View(Protocol):
    """Shows progress."""

    def line(self, text: str) -> None:
        """Tell one thing that happened."""

    def log(self, line: Line) -> None:
        """Tell a line that a task wrote."""

    def tree(self, info: EnvironmentInfo) -> None:
        """Show how everything is now."""

    def metrics(self, run: int, infos: Sequence[MetricInfo]) -> None:
        """Show newer figures of a run."""

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

    def log(self, line: Line) -> None:
        """Print it with its own time."""
        self._say(str(line))

    def tree(self, info: EnvironmentInfo) -> None:
        """Do nothing: a log has no present."""

    def metrics(self, run: int, infos: Sequence[MetricInfo]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def make_view(output: Output) -> View:
    """Return the view that fits the terminal."""
    if output.live:
        from ecsd.coconut.livetree import TreeView  # the only user of rich

        return TreeView(colour=output.colour)
    return LineView(output.say)


class Telemetry:
    """Passes on to a view what tasks tell; with `logs` their lines too."""

    def __init__(self, view: View, *, logs: bool) -> None:
        self._view = view
        self.watched = ""
        self.wants_metrics = not isinstance(view, LineView)
        self.wants_lines = logs

    def take_metrics(self, message: Metrics) -> None:
        """Take figures."""
        if message.run:
            self._view.metrics(message.run, message.metrics)

    def take_lines(self, message: Lines) -> None:
        """Take lines, which may come though they are not wanted here."""
        if not self.wants_lines:
            return
        for line in message.lines:
            self._view.log(Line.of(line, message.run))
        if message.dropped:
            self._view.line(f"  {message.dropped} lines of tasks were lost: too many at once")


@contextlib.asynccontextmanager
async def follow(
    ecs: AsyncEcs,
    view: View,
    chronicle: Chronicle,
    *,
    logs: bool = False,
    of: Operation | None = None,
    environment: str = "",
) -> AsyncIterator[asyncio.Event]:
    """Show the events of a session while the block is worked on, and metrics where the view has room for them.

    What it gives is set when the end of `of` was told: the answer to an operation may come before its last events.

    Args:
        ecs: the session.
        view: shows them.
        chronicle: gathers them.
        logs: show what the tasks write, too.
        of: only those of the environment of this operation.
        environment: its id, if it is known.
    """
    reader = ecs.events()
    ended = asyncio.Event()
    telemetry = Telemetry(view, logs=logs)  # kept here: a session holds its watchers weakly
    telemetry.watched = environment
    if of is None or environment:
        ecs.watch(telemetry)
    changed: set[str] = set()
    told: set[str] = set()
    shown: dict[str, EnvironmentInfo] = {}

    async def read() -> None:
        wanted = environment
        if of is not None and not environment:
            with contextlib.suppress(EcsError):  # whoever waits for the operation is told
                wanted = telemetry.watched = await asyncio.shield(of.environment)
            ecs.watch(telemetry)
        async for event in reader:
            if wanted not in ("", event.environment):
                continue
            line = chronicle.take(event)
            if line:
                view.line(line)
            if of is not None and event.kind == "operation.end" and event.name == of.id:
                ended.set()
            if event.environment:
                changed.add(event.environment)
                told.add(event.environment)

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
        yield ended
    finally:
        reader.close()
        if of is not None and not of.environment.done():
            reading.cancel()  # nobody will say which environment it was
            await asyncio.gather(reading, return_exceptions=True)
        else:
            await reading
        if drawing is not None:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            changed.update(told)  # it may have been about to draw one
            await draw()
        view.close()
