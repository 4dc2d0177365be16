"""Progress: lines with times, a tree on a terminal, and that none of it is left behind."""

from __future__ import annotations

import asyncio
import io
import re
from typing import cast

import attrs
import pytest
from rich.console import Console

from ecsd.coconut.chronicle import Chronicle
from ecsd.coconut.livetree import TreeView, figure, head, tree_lines
from ecsd.coconut.output import Output
from ecsd.coconut.progress import LineView, Telemetry, follow, make_view
from libecs.client.ecs import AsyncEcs
from libecs.client.logs import Line
from libecs.client.reader import Reader
from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.client import Lines, Metrics
from libecs.wire.info import EnvironmentInfo, Event, MetricInfo, RoleInfo, TaskInfo, TaskLine
from libecs.wire.node import Exit, ExitCause, Phase
from libecs.wire.telemetry import LogLine, Severity


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
        self.reader: Reader[Event] = Reader()
        self.watchers: list[Telemetry] = []
        self.shows = 0

    def events(self) -> Reader[Event]:
        return self.reader

    def watch(self, watcher: Telemetry) -> None:
        self.watchers.append(watcher)

    async def show(self, environment: str) -> EnvironmentInfo:
        self.shows += 1
        return INFO


def terminal(screen: io.StringIO, width: int = 100) -> Console:
    """One that moves, whatever $TERM is here."""
    return Console(
        file=screen, force_terminal=True, width=width, height=30, no_color=True, _environ={"TERM": "xterm-256color"}
    )


def session(ecs: FakeEcs) -> AsyncEcs:
    return cast(AsyncEcs, ecs)


def test_lines_have_a_time() -> None:
    lines: list[str] = []

    view = LineView(lines.append)
    view.line("DEPLOYED")
    view.tree(INFO)
    view.close()

    assert len(lines) == 1
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  DEPLOYED", lines[0])


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = make_view(Output(as_json=False))

    assert isinstance(view, LineView)
    view.line("x")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("x\n")


def test_json_and_quiet_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
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


def metric(path: str, name: str, last: float, unit: str = "") -> MetricInfo:
    return MetricInfo(role=path, name=name, unit=unit, n=1, sum=last, min=last, max=last, last=last, last_ms=1)


def test_metrics_stand_beside_the_tree_with_sums_above_them() -> None:
    told = [
        metric("demo.n1.a", "rate", 2.5, "Hz"),
        metric("demo.n1.b", "rate", 1500, "Hz"),
        metric("demo.n1.a", "events", 7e6),
        metric("demo.n1.b", "events", 3),
        metric("demo.n1.a", "bytes", 1),
        metric("demo.n1.a", "zeal", 1),
    ]

    text = [line.plain for line in tree_lines(INFO.roles, INFO.tasks, 20, told)]

    assert text[0].split() == ["events", "rate", "Hz", "bytes"]
    assert text[1].split()[:8] == ["demo", "✗", "ERROR", "7", "M", "1.5", "k", "1"]
    assert text[3].split()[:7] == ["a", "●", "RUNNING", "7", "M", "2.5", "1"]
    assert text[4].split()[:6] == ["b", "✗", "ERROR", "3", "1.5", "k"]
    assert text[1].index("1.5 k") == text[4].index("1.5 k")


def test_short_names_leave_their_room_to_the_rest() -> None:
    told = [metric(f"demo.n1.{task}", name, 7e6, "") for task in "ab" for name in ("events", "bytes", "rate")]

    text = [line.plain for line in tree_lines(INFO.roles, INFO.tasks, 20, told)]

    assert text[3].index("●") == len("    hook ")
    assert text[0].index("rate") + len("rate") == text[3].rindex("7 M") + len("7 M")
    assert len(text[1].rstrip()) < 60


def test_what_is_counted_in_portions_is_shown_as_its_sum() -> None:
    portions = MetricInfo(role="r", name="events", unit="n", n=4, sum=100, min=25, max=25, last=25, last_ms=1)
    total = attrs.evolve(portions, sum=190, min=25, max=70, last=70)
    level = attrs.evolve(portions, unit="V")

    assert [figure(info) for info in (portions, total, level)] == [100, 70, 25]
    assert tree_lines((), (), 20, [portions]) == []


def test_largest_portion_at_the_end_is_still_a_portion() -> None:
    drained = MetricInfo(role="r", name="events", unit="", n=2311, sum=3615.0, min=1.0, max=46.0, last=46.0, last_ms=1)

    assert figure(drained) == 3615.0


def test_metrics_of_a_new_run_replace_those_of_the_last() -> None:
    screen = io.StringIO()
    view = TreeView(console=terminal(screen, width=120))
    view.tree(INFO)
    view.metrics(1, [metric("demo.n1.a", "events", 111)])
    view.metrics(2, [metric("demo.n1.a", "events", 222)])
    view.log(Line(role="demo.n1.a", node="n", severity=Severity.ERROR, text="too hot"))
    view.close()

    assert "111" in screen.getvalue()
    last = screen.getvalue().rpartition("demo 2q0A")[2]
    assert "222" in last
    assert "111" not in last
    assert "n1.a  ERROR  too hot" in last


def test_live_tree_draws_and_leaves_the_terminal_as_it_was() -> None:
    screen = io.StringIO()
    console = terminal(screen)

    view = TreeView(console=console)
    view.line("first")
    view.tree(INFO)
    view.close()

    assert "demo 2q0A" in screen.getvalue()
    assert "first" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")


async def test_all_events_are_told_before_the_view_closes() -> None:
    ecs = FakeEcs()
    told: list[str] = []
    view = LineView(told.append)

    async with follow(session(ecs), view, Chronicle()):
        for state in ("DEPLOYED", "CONFIGURED"):
            ecs.reader.put(Event(sequence=1, unix_ms=0, kind="environment.state", environment="e", state=state))

    assert [line.split()[1] for line in told] == ["DEPLOYED", "CONFIGURED"]


async def test_lines_of_tasks_are_told_if_they_are_wanted() -> None:
    line = TaskLine(role="demo.a", node="n", line=LogLine(severity=Severity.INFO, text="hello", unix_ms=1500))
    message = Lines(environment="e", run=1, lines=(line,), dropped=2)
    told: dict[bool, list[str]] = {True: [], False: []}

    for logs in told:
        ecs = FakeEcs()
        async with follow(session(ecs), LineView(told[logs].append), Chronicle(), logs=logs):
            (watcher,) = ecs.watchers
            watcher.take_lines(message)
            watcher.take_metrics(Metrics(environment="e", run=1, metrics=(metric("demo.a", "x", 1),)))
            assert (watcher.watched, watcher.wants_lines, watcher.wants_metrics) == ("", logs, False)

    assert told[False] == []
    assert told[True][0].endswith("  a  hello")
    assert "2 lines of tasks were lost" in told[True][1]


async def test_metrics_are_asked_for_where_there_is_a_tree() -> None:
    ecs = FakeEcs()
    view = TreeView(console=terminal(io.StringIO()))

    async with follow(session(ecs), view, Chronicle()):
        (watcher,) = ecs.watchers
        assert watcher.wants_metrics
        watcher.take_metrics(Metrics(environment="e", run=0, metrics=(metric("demo.a", "x", 1),)))
        assert view._metrics == {}
        watcher.take_metrics(Metrics(environment="e", run=1, metrics=(metric("demo.a", "x", 1),)))
        assert len(view._metrics) == 1


async def test_tree_is_asked_for_when_something_changed() -> None:
    ecs = FakeEcs()
    console = terminal(io.StringIO())
    drawn = asyncio.Event()

    class Watched(TreeView):
        def tree(self, info: EnvironmentInfo) -> None:
            super().tree(info)
            drawn.set()

    async with follow(session(ecs), Watched(console=console), Chronicle()):
        ecs.reader.put(Event(sequence=1, unix_ms=0, kind="environment.state", environment="e", state="DEPLOYED"))
        await asyncio.wait_for(drawn.wait(), 60)

    assert ecs.shows == 2  # when it changed, and at the end
