"""Progress: lines with times, a tree on a terminal, and that none of it is left behind."""

from __future__ import annotations

import asyncio
import io
import re

from rich.console import Console

from ecsd.coconut.chronicle import Chronicle
from ecsd.coconut.livetree import TreeView, head, tree_lines
from ecsd.coconut.output import Output
from ecsd.coconut.progress import LineView, follow, make_view
from libecs.client import EventReader
from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.client import EnvironmentInfo, Event, RoleInfo, TaskInfo
from libecs.wire.node import Exit, ExitCause, Phase


def role(path: str, kind: str = "aggregator", state: TaskState = TaskState.RUNNING, critical: bool = True) -> RoleInfo:
    return RoleInfo(path=path, kind=kind, state=state, status=Status.ACTIVE, critical=critical)


def task(path: str, state: TaskState = TaskState.RUNNING, **fields: object) -> TaskInfo:
    common = {"task": path, "class_name": "sink", "mode": "direct", "node": "n1", "critical": True, "pid": 7}
    return TaskInfo(role=path, phase=Phase.ACTIVE, state=state, **{**common, **fields})  # type: ignore[arg-type]


INFO = EnvironmentInfo(
    environment="2q0A",
    name="demo",
    workflow="demo",
    revision="local",
    state=EnvState.RUNNING,
    run_number=17,
    transition="STOP_ACTIVITY",
    step="tasks: STOP",
    roles=(
        role("demo", state=TaskState.ERROR),
        role("demo.n1"),
        role("demo.n1.a", "task"),
        role("demo.n1.b", "task", TaskState.ERROR, critical=False),
        role("demo.n1.hook", "task"),
        role("demo.call", "call"),
    ),
    tasks=(
        task("demo.n1.a"),
        task("demo.n1.b", TaskState.ERROR, exit=Exit(cause=ExitCause.SIGNALED, signal=9)),
        task("demo.n1.hook", hook=True),
    ),
)


class FakeEcs:
    """What `follow` asks of a session."""

    def __init__(self) -> None:
        self.reader = EventReader("")
        self.shows = 0

    def events(self) -> EventReader:
        return self.reader

    async def show(self, environment: str) -> EnvironmentInfo:
        self.shows += 1
        return INFO


def test_lines_have_a_time() -> None:
    lines: list[str] = []

    view = LineView(lines.append)
    view.line("DEPLOYED")
    view.tree(INFO)
    view.close()

    assert len(lines) == 1
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  DEPLOYED", lines[0])


def test_without_a_terminal_there_are_lines(capsys) -> None:
    view = make_view(Output(as_json=False))

    assert isinstance(view, LineView)
    view.line("x")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("x\n")


def test_json_and_quiet_say_nothing(capsys) -> None:
    for output in (Output(as_json=True), Output(as_json=False, quiet=True)):
        make_view(output).line("x")

    assert capsys.readouterr().err == ""


def test_tree_shows_every_role_with_state_in_words() -> None:
    text = [line.plain for line in tree_lines(INFO.roles, INFO.tasks, 20)]

    assert head(INFO).plain == ("demo 2q0A  ● RUNNING  run 17  STOP_ACTIVITY: tasks: STOP  2 tasks: 1 RUNNING, 1 ERROR")
    assert [line.split()[0] for line in text] == ["demo", "n1", "a", "b", "hook"]
    assert "✗ ERROR  not critical  sink on n1 pid 7  killed by signal 9" in text[3]
    assert text[4].split()[1] == "hook"


def test_deep_roles_are_folded_when_there_is_no_room() -> None:
    text = [line.plain for line in tree_lines(INFO.roles, INFO.tasks, 3)]

    assert [line.split()[0] for line in text] == ["demo", "n1"]
    assert "2 tasks: 1 RUNNING, 1 ERROR" in text[1]


def test_live_tree_draws_and_leaves_the_terminal_as_it_was() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=30, no_color=True)

    view = TreeView(console=console)
    view.line("first")
    view.tree(INFO)
    view.close()

    assert "demo 2q0A" in screen.getvalue()
    assert "first" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")


async def test_all_events_are_told_before_the_view_closes() -> None:
    ecs, told = FakeEcs(), []
    view = LineView(told.append)

    async with follow(ecs, view, Chronicle()):
        for state in ("DEPLOYED", "CONFIGURED"):
            ecs.reader.put(Event(sequence=1, unix_ms=0, kind="environment.state", environment="e", state=state))

    assert [line.split()[1] for line in told] == ["DEPLOYED", "CONFIGURED"]


async def test_tree_is_asked_for_when_something_changed() -> None:
    ecs = FakeEcs()
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    drawn = asyncio.Event()

    class Watched(TreeView):
        def tree(self, info: EnvironmentInfo) -> None:
            super().tree(info)
            drawn.set()

    async with follow(ecs, Watched(console=console), Chronicle()):
        ecs.reader.put(Event(sequence=1, unix_ms=0, kind="environment.state", environment="e", state="DEPLOYED"))
        await asyncio.wait_for(drawn.wait(), 10)

    assert ecs.shows == 1
