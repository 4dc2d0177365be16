"""The tree of roles with their states, drawn again and again on a terminal. Imported there and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ecsd.coconut.chronicle import counted
from libecs.wire.client import EnvironmentInfo, RoleInfo, TaskInfo

MARKS = {
    "UNKNOWN": ("?", "dim"),
    "STANDBY": ("○", "blue"),
    "DEPLOYED": ("○", "blue"),
    "CONFIGURED": ("◐", "cyan"),
    "RUNNING": ("●", "green"),
    "PAUSED": ("◍", "yellow"),
    "ERROR": ("✗", "bold red"),
    "DONE": ("■", "dim"),
    "MIXED": ("≊", "yellow"),
    "INVARIANT": ("·", "dim"),
}
"""State to a sign and a style: the sign says it without colours, and the word stands beside it."""

KEPT_LINES = 6
"""Lines of the story below the tree."""


class TreeView:
    """A `rich.live` screen on stderr: the tree above, the last lines of the story below."""

    def __init__(self, *, colour: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, no_color=not colour, highlight=False)
        self._story: list[str] = []
        self._info: EnvironmentInfo | None = None
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()

    def line(self, text: str) -> None:
        """Add a line to the story."""
        self._story = [*self._story, text][-KEPT_LINES:]
        self._draw()

    def tree(self, info: EnvironmentInfo) -> None:
        """Draw the tree."""
        self._info = info
        self._draw()

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._info is not None:
            room = max(self._console.size.height - KEPT_LINES - 4, 5)
            parts += head(self._info), *tree_lines(self._info.roles, self._info.tasks, room)
        parts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._story]
        return Group(*parts)


def head(info: EnvironmentInfo) -> Text:
    """Return the first line: the environment, its state, its run, and what goes on."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{info.name or info.workflow} {info.environment}  ")
    text.append(*_marked(info.state.name))
    if info.run_number:
        text.append(f"  run {info.run_number}")
    if info.transition:
        text.append(f"  {info.transition}: {info.step}", style="dim")
    states = counted(task.state.name for task in info.tasks if not task.hook)
    if states:
        text.append(f"  {states}", style="dim")
    return text


def tree_lines(roles: Sequence[RoleInfo], tasks: Sequence[TaskInfo], room: int) -> list[Text]:
    """Return one line a role, with the deepest roles folded into their parents until `room` lines suffice."""
    shown = [role for role in roles if role.kind != "call"]
    by_role = {task.role: task for task in tasks}
    deepest = max((role.path.count(".") for role in shown), default=0)
    while deepest > 0 and sum(role.path.count(".") <= deepest for role in shown) > room:
        deepest -= 1
    lines = []
    for role in shown:
        depth = role.path.count(".")
        if depth > deepest:
            continue
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("  " * depth + role.path.rpartition(".")[2].ljust(max(28 - 2 * depth, 1)) + " ")
        task = by_role.get(role.path)
        if task is not None and task.hook:
            text.append("hook", style="dim")
        else:
            text.append(*_marked(role.state.name))
        if not role.critical:
            text.append("  not critical", style="dim")
        if task is not None:
            text.append(_of_task(task), style="dim")
        elif depth == deepest:
            below = [task.state.name for task in tasks if task.role.startswith(role.path + ".") and not task.hook]
            text.append(f"  {counted(below)}", style="dim")
        lines.append(text)
    return lines[:room]


def _of_task(task: TaskInfo) -> str:
    pid = f" pid {task.pid}" if task.pid else ""
    wrong = task.exit.describe() if task.exit is not None else task.error
    return f"  {task.class_name} on {task.node}{pid}" + (f"  {wrong}" if wrong else "")


def _marked(state: str) -> tuple[str, str]:
    sign, style = MARKS.get(state, ("?", ""))
    return f"{sign} {state}", style
