"""The tree of roles with their states, drawn again and again on a terminal. Imported there and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ecsd.coconut.chronicle import counted
from ecsd.coconut.output import harmless
from libecs.client.logs import Line
from libecs.wire.info import EnvironmentInfo, MetricInfo, RoleInfo, TaskInfo

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

COLUMNS = 3
"""Metrics beside the tree."""
_NAME_WIDTH, _STATE_WIDTH, _FIGURE_WIDTH = 28, 12, 10
"""Characters: names get what they need and at most that."""


class TreeView:
    """A `rich.live` screen on stderr: the tree above, the last lines of the story below."""

    def __init__(self, *, colour: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, no_color=not colour, highlight=False)
        self._story: list[str] = []
        self._info: EnvironmentInfo | None = None
        self._run = 0
        self._metrics: dict[tuple[str, str], MetricInfo] = {}
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()

    def line(self, text: str) -> None:
        """Add a line to the story."""
        self._story = [*self._story, harmless(text, one_line=True)][-KEPT_LINES:]
        self._draw()

    def log(self, line: Line) -> None:
        """Add what a task wrote to the story."""
        self.line(str(line))

    def tree(self, info: EnvironmentInfo) -> None:
        """Draw the tree."""
        self._info = info
        self._draw()

    def metrics(self, run: int, infos: Sequence[MetricInfo]) -> None:
        """Draw newer figures beside the tree; those of the last run stay until a new one has some."""
        if run != self._run:
            self._run, self._metrics = run, {}
        self._metrics.update(((info.role, info.name), info) for info in infos)
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
            parts += head(self._info), *tree_lines(self._info.roles, self._info.tasks, room, self._metrics.values())
        parts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._story]
        return Group(*parts)


def head(info: EnvironmentInfo) -> Text:
    """Return the first line: the environment, its state, its run, and what goes on."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{harmless(info.name or info.workflow, one_line=True)} {info.environment}  ")
    text.append(*_marked(info.state.name))
    if info.run_number:
        text.append(f"  run {info.run_number}")
    if info.transition:
        text.append(f"  {info.transition}: {info.step}", style="dim")
    states = counted(task.state.name for task in info.tasks if not task.hook)
    if states:
        text.append(f"  {states}", style="dim")
    return text


def tree_lines(
    roles: Sequence[RoleInfo], tasks: Sequence[TaskInfo], room: int, metrics: Iterable[MetricInfo] = ()
) -> list[Text]:
    """Return one line a role, with the deepest roles folded into their parents until `room` lines suffice.

    Beside them stand the metrics that most tasks tell, and for roles above tasks their sums.
    """
    columns = Columns(metrics)
    shown = [role for role in roles if role.kind != "call"]
    by_role = {task.role: task for task in tasks}
    deepest = max((role.path.count(".") for role in shown), default=0)
    while deepest > 0 and sum(role.path.count(".") <= deepest for role in shown) > room:
        deepest -= 1
    shown = [role for role in shown if role.path.count(".") <= deepest]
    needed = (2 * role.path.count(".") + len(role.path.rpartition(".")[2]) for role in shown)
    width = min(max(needed, default=0), _NAME_WIDTH) + 1
    lines = [columns.head(width + _STATE_WIDTH)] if columns.names and shown else []
    for role in shown:
        depth = role.path.count(".")
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("  " * depth + role.path.rpartition(".")[2].ljust(max(width - 1 - 2 * depth, 1)) + " ")
        task = by_role.get(role.path)
        if task is not None and task.hook:
            text.append("hook", style="dim")
        else:
            text.append(*_marked(role.state.name))
        if columns.names:
            text.pad_right(max(width + _STATE_WIDTH - len(text.plain), 0))
            text.append(columns.of(role.path))
        if not role.critical:
            text.append("  not critical", style="dim")
        if task is not None:
            text.append(_of_task(task), style="dim")
        elif depth == deepest:
            below = [task.state.name for task in tasks if task.role.startswith(role.path + ".") and not task.hook]
            text.append(f"  {counted(below)}", style="dim")
        lines.append(text)
    return lines[: room + bool(columns.names)]


COUNTED = ("", "n", "B", "bytes")
"""Units of what is counted."""


def figure(info: MetricInfo) -> float:
    """Return the number to show: of what is counted in portions their sum, else the latest sample.

    A counter that is told as it stands grows: its latest sample is the largest, and its mean is far from the smallest.
    The last of many portions may be the largest too, as when a task empties its buffers last; their mean is low.
    """
    return info.sum if info.unit in COUNTED and not stands(info) else info.last


def stands(info: MetricInfo) -> bool:
    """Return whether a metric is told as it stands, and grows."""
    return info.last == info.max > info.min and info.sum / info.n - info.min >= (info.max - info.min) / 4


class Columns:
    """The figures beside the tree: what tasks have told, and above them the sums."""

    def __init__(self, metrics: Iterable[MetricInfo]) -> None:
        told = [info for info in metrics if info.n]
        often = Counter(info.name for info in told)
        self.names = sorted(often, key=lambda name: (-often[name], name))[:COLUMNS]
        self._units: dict[str, str] = {info.name: info.unit for info in told}
        self._values: dict[tuple[str, str], float] = {}
        for info in told:
            path = info.role
            while path:
                self._values[path, info.name] = self._values.get((path, info.name), 0.0) + figure(info)
                path = path.rpartition(".")[0]

    def head(self, width: int) -> Text:
        """Return the line above the tree: names and units, behind so many characters of roles and states."""
        names = (f"{name} {self._units[name]}".strip() for name in self.names)
        return Text(" " * width + "".join(name.rjust(_FIGURE_WIDTH) + " " for name in names), style="dim", no_wrap=True)

    def of(self, path: str) -> str:
        """Return the figures of one role."""
        values = (self._values.get((path, name)) for name in self.names)
        return "".join(("" if value is None else short(value)).rjust(_FIGURE_WIDTH) + " " for value in values)


_FACTORS: Mapping[str, float] = {"G": 1e9, "M": 1e6, "k": 1e3}


def short(value: float) -> str:
    """Return a number in a few characters: 1.25 M, 12.3."""
    for sign, factor in _FACTORS.items():
        if abs(value) >= factor:
            return f"{value / factor:.3g} {sign}"
    return f"{value:.4g}"


def _of_task(task: TaskInfo) -> str:
    pid = f" pid {task.pid}" if task.pid else ""
    wrong = task.exit.describe() if task.exit is not None else task.error
    return f"  {task.class_name} on {task.node}{pid}" + (f"  {wrong}" if wrong else "")


def _marked(state: str) -> tuple[str, str]:
    sign, style = MARKS.get(state, ("?", ""))
    return f"{sign} {state}", style
