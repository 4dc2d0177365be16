"""The loop of `coconut top`: it asks the core, hears events, takes keys, and draws."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live

from ecsd.coconut.topview import Top, Wish, picture
from libecs.client.logs import Line
from libecs.errors import EcsError
from libecs.wire.client import Lines, Metrics

if TYPE_CHECKING:
    from ecsd.coconut.output import Output
    from libecs.client.ecs import AsyncEcs

DRAW_S = 0.2
ASK_S = 0.5
ANSWER_S = 2.0
ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b": "escape"}


class Telemetry:
    """Hears what the tasks of the chosen environment tell."""

    def __init__(self, state: Top) -> None:
        self._state = state

    @property
    def watched(self) -> str:
        """The chosen environment."""
        return self._state.chosen

    @property
    def wants_metrics(self) -> bool:
        """As soon as one is chosen."""
        return bool(self._state.chosen)

    @property
    def wants_lines(self) -> bool:
        """Also while events are shown: who looks at the lines wants to know what led there."""
        return bool(self._state.chosen)

    def take_metrics(self, message: Metrics) -> None:
        """Take figures of a run."""
        if message.run:
            self._state.rates.take(message.run, message.metrics, time.monotonic())

    def take_lines(self, message: Lines) -> None:
        """Take lines."""
        self._state.lost_lines += message.dropped
        self._state.lines.extend(Line.of(line, message.run) for line in message.lines)


async def once(ecs: AsyncEcs, output: Output) -> None:
    """Print the present state."""
    from ecsd.coconut.documents import core_document, environment_document, node_document

    environments = [environment_document(one.info, whole=False) for one in await ecs.environments()]
    nodes = [node_document(node) for node in await ecs.nodes()]
    core = core_document(await ecs.info())
    output.document("top", {"core": core, "environments": environments, "nodes": nodes})


async def live(ecs: AsyncEcs) -> None:
    """Draw until somebody leaves."""
    state = Top()
    console = Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
    redraw = asyncio.Event()
    wishes: asyncio.Queue[Wish] = asyncio.Queue()

    def on_key(key: str) -> None:
        wish = state.key(key)
        if wish is not None:
            wishes.put_nowait(wish)
        redraw.set()

    with Live(console=console, screen=True, auto_refresh=False) as screen, _keys(on_key):
        work = [asyncio.create_task(one) for one in (_ask(ecs, state), _hear(ecs, state), _obey(ecs, state, wishes))]
        try:
            while not state.leaving:
                _measure(ecs, state)
                screen.update(Group(*picture(state, console.size.width, console.size.height)), refresh=True)
                redraw.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DRAW_S):
                        await redraw.wait()
                for task in work:
                    if task.done():
                        task.result()  # what went wrong there goes wrong here
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


def _measure(ecs: AsyncEcs, state: Top) -> None:
    state.measure(ecs.age_s, ecs.link.reason, time.monotonic())


async def _ask(ecs: AsyncEcs, state: Top) -> None:
    """Ask again and again how things are. While the link is down, what is known stays."""
    telemetry = Telemetry(state)  # kept here: a session holds its watchers weakly
    while True:
        ecs.watch(telemetry)  # another one may have been chosen
        with contextlib.suppress(TimeoutError, EcsError):
            async with asyncio.timeout(ANSWER_S):
                if not state.title:
                    info = await ecs.info()
                    state.title = f"{info.instance}  {info.you or 'owner'} ({info.role.lower()})"
                state.environments = [one.info for one in await ecs.environments()]
                state.settle()
                state.shown = await ecs.show(state.chosen) if state.chosen else None
        await asyncio.sleep(ASK_S)


async def _hear(ecs: AsyncEcs, state: Top) -> None:
    """Gather events, those of the last minutes first."""
    from ecsd.coconut.events import short_line

    quiet = ("transition.step", "tasks", "pool", "operation.end")
    reader = ecs.events()
    last = 0
    with contextlib.suppress(EcsError):
        async for event in ecs.history(last=50):
            last = event.sequence
            if event.kind not in quiet:
                state.events.append((event, short_line(event)))
    async for event in reader:
        if event.sequence > last and event.kind not in quiet:
            state.events.append((event, short_line(event)))


async def _obey(ecs: AsyncEcs, state: Top, wishes: asyncio.Queue[Wish]) -> None:
    """Do what somebody wants, one after the other, and say what came of it."""
    while True:
        wish = await wishes.get()
        word = wish.event.partition("_")[0]
        state.message = f"{word} of {wish.environment} goes on …"
        reason = "USER" if word == "STOP" else ""
        try:
            finished = await ecs.finish(ecs.control(wish.environment, wish.event, end_reason=reason))
        except EcsError as error:
            state.message = f"{error.code}  {error.message}".splitlines()[0]
        else:
            run = f", run {finished.run_number}" if finished.run_number else ""
            state.message = f"{word} of {wish.environment}: {finished.state.name}{run}"


@contextlib.contextmanager
def _keys(take: Callable[[str], None]) -> Iterator[None]:
    """Give each key that is pressed to `take`, while the block is worked on; then leave the terminal as it was."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(fd, 64)
        if not data:
            take("q")  # the terminal is gone
            return
        text = data.decode(errors="replace")
        while text:
            arrow = next((sequence for sequence in ARROWS if text.startswith(sequence)), "")
            take(ARROWS.get(arrow, text[0]))
            text = text[len(arrow) or 1 :]

    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
