"""The picture of `coconut top`, and what keys do to it. It knows no terminal and no core: facts in, lines out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
from rich.text import Text

from ecsd.coconut.chronicle import counted
from ecsd.coconut.livetree import MARKS, head, tree_lines
from ecsd.coconut.output import harmless
from ecsd.coconut.rates import Rates
from libecs.client.logs import Line
from libecs.fsm import EnvState
from libecs.wire.info import EnvironmentInfo, Event
from libecs.wire.telemetry import Severity

SUSPECT_S = 2.0
"""Facts that are older are doubtful: they are marked, and nothing can be done with them."""
NOT_HEARD = "the core is not heard: nothing can be asked of it now"
KEPT_EVENTS = 200
KEPT_LINES = 200
KEYS = "↑↓ choose  s start  t stop  e errors  l logs  / filter  ? help  q quit"
WIDE = 100
"""Columns of a screen with room for a third metric."""
HELP = (
    "coconut top: environments above, the chosen one with its rates and its tree, events or logs below",
    "",
    "  ↑ ↓, j k    choose an environment",
    "  s           START it: asks y/n",
    "  t           STOP it: asks y/n",
    "  e           only what is wrong: roles and tasks in ERROR, events that failed",
    "  l           below: what its tasks write, instead of events; again: events",
    "  /           show only environments and roles with these letters; Enter ends it",
    "  ?           this help",
    "  q, Ctrl-C   leave; nothing stops",
    "",
    "Rates: what its tasks count, a second, and their last minute; beside the roles what is below each.",
    f"Facts older than {SUSPECT_S:g} s are SUSPECT: the core is not heard, and nothing can be asked of it.",
)


@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants to be done."""

    event: str
    """START_ACTIVITY or STOP_ACTIVITY."""
    environment: str


@attrs.define(kw_only=True)
class Top:
    """What is shown."""

    title: str = ""
    """Which core."""
    environments: Sequence[EnvironmentInfo] = ()
    shown: EnvironmentInfo | None = None
    """The chosen one, with roles and tasks."""
    age_s: float = 0.0
    """Since the core was heard."""
    trouble: str = ""
    """Why it is not heard."""
    events: deque[tuple[Event, str]] = attrs.field(factory=lambda: deque(maxlen=KEPT_EVENTS))
    """With the line that tells it."""
    rates: Rates = attrs.field(factory=Rates)
    """Of the chosen one."""
    lines: deque[Line] = attrs.field(factory=lambda: deque(maxlen=KEPT_LINES))
    """What its tasks wrote since it was chosen."""
    lost_lines: int = 0
    """Of these, those that were too many at once."""
    logs: bool = False
    """Lines below, not events."""
    now_s: float = 0.0
    """The present, on a clock of the caller's."""
    message: str = ""
    """What came of the last wish."""
    chosen: str = ""
    """Id of an environment."""
    errors_only: bool = False
    pattern: str = ""
    typing: bool = False
    help: bool = False
    asked: Wish | None = None
    """Waits for y or n."""
    leaving: bool = False

    def measure(self, age_s: float, trouble: str, now_s: float = 0.0) -> None:
        """Take over how old what is shown is; what was said because of that is over when it is."""
        self.age_s, self.trouble, self.now_s = age_s, trouble, now_s
        self.rates.tick(now_s, suspect=self.suspect)
        if not self.suspect and self.message == NOT_HEARD:
            self.message = ""

    @property
    def suspect(self) -> bool:
        """Whether what is shown is old."""
        return self.age_s > SUSPECT_S

    def listed(self) -> list[EnvironmentInfo]:
        """Return the environments that are shown."""
        words = self.pattern.lower()
        known = [info for info in self.environments if info.state is not EnvState.DONE]
        return [info for info in known if words in f"{info.environment} {info.name} {info.workflow}".lower()] or known

    def settle(self) -> None:
        """Choose an environment that is there."""
        ids = [info.environment for info in self.listed()]
        if self.chosen not in ids:
            self._choose(ids[0] if ids else "")

    def _choose(self, environment: str) -> None:
        if environment != self.chosen:
            self.chosen, self.rates, self.lost_lines = environment, Rates(), 0
            self.lines.clear()

    def key(self, key: str) -> Wish | None:
        """Take a key; return what is to be done, now that it was agreed to."""
        if self.typing:
            self._type(key)
        elif self.asked is not None:
            wish, self.asked = self.asked, None
            if key in ("y", "Y"):
                return wish
            self.message = "nothing was done"
        elif self.help:
            self.help = False
        elif key in ("q", "Q", "\x03", "\x04"):
            self.leaving = True
        elif key == "?":
            self.help = True
        elif key == "e":
            self.errors_only = not self.errors_only
        elif key == "l":
            self.logs = not self.logs
        elif key == "/":
            self.typing, self.pattern = True, ""
        elif key in ("down", "j", "up", "k"):
            self._move(1 if key in ("down", "j") else -1)
        elif key in ("s", "t"):
            self._ask("START_ACTIVITY" if key == "s" else "STOP_ACTIVITY")
        return None

    def _type(self, key: str) -> None:
        if key in ("\r", "\n", "escape"):
            self.typing = False
            self.pattern = "" if key == "escape" else self.pattern
        elif key in ("\x7f", "\b"):
            self.pattern = self.pattern[:-1]
        elif len(key) == 1 and key.isprintable():
            self.pattern += key
        self.settle()

    def _move(self, by: int) -> None:
        ids = [info.environment for info in self.listed()]
        if ids:
            at = ids.index(self.chosen) if self.chosen in ids else 0
            self._choose(ids[min(max(at + by, 0), len(ids) - 1)])

    def _ask(self, event: str) -> None:
        if self.suspect:
            self.message = NOT_HEARD
        elif not self.chosen:
            self.message = "there is no environment"
        else:
            self.message = ""
            self.asked = Wish(event=event, environment=self.chosen)


def picture(top: Top, width: int, height: int) -> list[Text]:
    """Return the screen: at most `height` lines of at most `width` columns."""
    top.settle()
    lines = [_title(top)]
    if top.help:
        lines += [Text(line) for line in HELP]
    else:
        listed = top.listed()
        room = max(height - 3, 3)
        some = min(len(listed), max(room // 4, 2))
        lines += _environments(top, listed, some)
        told = _logs(top) if top.logs else _events(top)
        below = min(len(told), max(room // 4, 3))
        lines += _tree(top, max(height - len(lines) - below - 3, 2), width)
        lines = lines[: height - below - 2]
        lines += [Text(f"── {'logs' if top.logs else 'events'}", style="dim"), *told[len(told) - below :]]
    lines = lines[: height - 1]
    lines += [Text("")] * (height - 1 - len(lines))
    lines.append(_bottom(top))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _title(top: Top) -> Text:
    text = Text(f"coconut top  {top.title}  {len(top.environments)} environments  ", style="bold")
    if top.suspect:
        text.append(f"SUSPECT: {top.age_s:.0f} s old", style="bold yellow reverse")
        text.append(f"  {top.trouble}" if top.trouble else "", style="yellow")
    else:
        text.append(f"{top.age_s:.1f} s old", style="dim")
    if top.pattern or top.errors_only:
        text.append(f"  only {'errors' if top.errors_only else ''} {top.pattern}".rstrip(), style="yellow")
    return text


def _environments(top: Top, listed: Sequence[EnvironmentInfo], room: int) -> list[Text]:
    if not listed:
        return [Text("no environments", style="dim")]
    ids = [info.environment for info in listed]
    at = ids.index(top.chosen) if top.chosen in ids else 0
    first = min(max(at - room + 1, 0), max(len(listed) - room, 0))
    lines = []
    for info in listed[first : first + room]:
        sign, style = MARKS.get(info.state.name, ("?", ""))
        text = Text("> " if info.environment == top.chosen else "  ")
        text.append(f"{info.environment:<12} {harmless(info.name or info.workflow, one_line=True):<16.16} ")
        text.append(f"{sign} {info.state.name:<11}", style="dim" if top.suspect else style)
        text.append(f" run {info.run_number}" if info.run_number else "")
        text.append(f"  {info.transition} {info.step}".rstrip() if info.transition else "", style="dim")
        text.append(f"  {harmless(info.cause, one_line=True)}" if info.cause else "", style="red")
        lines.append(text)
    if len(listed) > room:
        lines[-1].append(f"   ({at + 1} of {len(listed)})", style="dim")
    return lines


def _tree(top: Top, room: int, width: int) -> list[Text]:
    info = top.shown
    if info is None or info.environment != top.chosen:
        return [Text("")]
    if top.errors_only:
        bad = [task for task in info.tasks if task.state.name == "ERROR" or task.exit is not None or task.error]
        lines = [head(info)]
        for task in bad:
            why = task.exit.describe() if task.exit is not None else task.error
            lines.append(Text(f"  {task.role} on {task.node}: {why or task.state.name}  {task.last_log}", style="red"))
        return lines if bad else [head(info), Text("  nothing is wrong with its tasks", style="dim")]
    roles = [role for role in info.roles if top.pattern.lower() in role.path.lower()] or list(info.roles)
    out = [role.path for role in info.roles if role.excluded]
    most = 3 if width >= WIDE else 2
    rates = top.rates.lines(most, width, top.now_s, top.pattern) if info.run_number == top.rates.run else []
    if room < len(rates) + 6:
        rates = []  # the tree is worth more
    figures = top.rates.figures(top.now_s, most) if rates else []
    beside = 2 + len(rates) + bool(figures)
    lines = [Text(""), head(info), *rates, *tree_lines(roles, info.tasks, max(room - beside, 1), figures)]
    if out:
        lines.append(Text(f"excluded: {', '.join(out)}", style="yellow"))
    late = [task for task in info.tasks if task.age_ms > SUSPECT_S * 1000]
    for word in ("SUSPECT", "LOST"):
        if old := [task for task in late if (task.state.name == "UNKNOWN") is (word == "LOST")]:
            nodes = ", ".join(sorted({task.node for task in old}))
            lines.insert(2, Text(f"{word}: {counted(task.state.name for task in old)} on {nodes}", style="yellow"))
    return lines


def _events(top: Top) -> list[Text]:
    told = [(event, line) for event, line in top.events if not (top.errors_only and event.ok)]
    return [Text(harmless(line, one_line=True), style="dim" if event.ok else "red") for event, line in told]


def _logs(top: Top) -> list[Text]:
    words = top.pattern.lower()
    least = Severity.WARNING if top.errors_only else Severity.DEBUG
    bad = [line for line in top.lines if line.severity >= least]
    told = [line for line in bad if words in line.role.lower()] or bad
    if not told:
        what = "no warnings or errors yet" if top.errors_only else "no lines yet"
        earlier = f"; earlier ones: coconut environment logs {top.chosen}" if top.chosen else ""
        return [Text(f"{what}{earlier}", style="dim")]
    lines = [Text(harmless(str(line), one_line=True), style=_severity_style(line.severity)) for line in told]
    if top.lost_lines:
        lines.append(Text(f"{top.lost_lines} lines are not here: too many at once", style="yellow"))
    return lines


def _severity_style(severity: Severity) -> str:
    if severity >= Severity.ERROR:
        return "red"
    return "yellow" if severity >= Severity.WARNING else ""


def _bottom(top: Top) -> Text:
    if top.asked is not None:
        word = "START" if top.asked.event == "START_ACTIVITY" else "STOP"
        return Text(f"{word} {top.asked.environment}? y/n", style="bold reverse")
    if top.typing:
        return Text(f"/{top.pattern}_", style="bold")
    text = Text(KEYS, style="reverse")
    if top.message:
        text = Text(top.message, style="bold")
    return text
