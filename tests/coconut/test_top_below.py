"""`top`: rates above the tree, logs below it, and what belongs to the chosen environment alone."""

from __future__ import annotations

import attrs
import pytest
from fieldkit.cluster import Cluster

from ecsd.coconut.toplive import Telemetry
from ecsd.coconut.topview import Top
from libecs.wire.client import Lines, Metrics
from libecs.wire.info import Event, MetricInfo, TaskLine
from libecs.wire.telemetry import LogLine, Severity
from tests.coconut.conftest import Coconut
from tests.coconut.terminal import Terminal
from tests.coconut.test_topview import environment, plain


def metrics(run: int, total: float, last_ms: int) -> Metrics:
    told = [
        MetricInfo(role=f"w.a{n}", name="events", unit="", n=9, sum=total, min=0, max=9, last=1, last_ms=last_ms)
        for n in range(3)
    ]
    return Metrics(environment="e1", run=run, metrics=tuple(told))


def lines(*told: tuple[str, str, Severity], dropped: int = 0) -> Lines:
    written = tuple(
        TaskLine(role=role, node="n1", line=LogLine(unix_ms=0, severity=severity, text=text))
        for role, text, severity in told
    )
    return Lines(environment="e1", run=7, lines=written, dropped=dropped)


def looking() -> tuple[Top, Telemetry]:
    info = environment("e1", tasks=3)
    top = Top(environments=[info, environment("e2")], shown=info)
    plain(top)
    return top, Telemetry(top)


def test_rates_stand_above_the_tree_and_beside_its_roles() -> None:
    top, telemetry = looking()
    for total, second in ((0, 0), (500, 1)):
        telemetry.take_metrics(metrics(7, total, 1000 * second))
    top.measure(0.1, "", top.rates._told["w.a0", "events"].heard_s)

    text = "\n".join(plain(top))
    assert "events           1.5 k/s  sum of 3 tasks" in text
    assert "events /s" in text
    assert any("a0" in line and "500" in line for line in plain(top))


def test_figures_outside_of_a_run_and_of_an_earlier_one_are_not_shown() -> None:
    top, telemetry = looking()
    telemetry.take_metrics(metrics(0, 1, 1))
    assert top.rates.names() == []

    telemetry.take_metrics(metrics(6, 1, 1))
    assert "events  " not in "\n".join(plain(top))


def test_on_a_small_screen_the_tree_is_worth_more_than_rates() -> None:
    top, telemetry = looking()
    telemetry.take_metrics(metrics(7, 1, 1))

    assert "sum of" not in "\n".join(plain(top, 60, 12))
    assert any("a0" in line for line in plain(top, 60, 12))


def test_l_shows_what_tasks_write_in_the_place_of_events() -> None:
    top, telemetry = looking()
    top.events.append((Event(sequence=1, unix_ms=0, kind="k"), "an event"))
    telemetry.take_lines(lines(("w.a0", "beam is on", Severity.INFO), ("w.a1", "no\x1b[2J light", Severity.ERROR)))
    assert "an event" in "\n".join(plain(top))

    top.key("l")
    text = "\n".join(plain(top))
    assert "── logs" in text
    assert "a0  beam is on" in text
    assert "a1  ERROR  no light" in text
    assert "\x1b" not in text
    assert "an event" not in text

    top.key("l")
    assert "an event" in "\n".join(plain(top))


def test_logs_obey_the_filter_and_errors_only() -> None:
    top, telemetry = looking()
    telemetry.take_lines(lines(("w.a0", "calm", Severity.INFO), ("w.a1", "trouble", Severity.WARNING)))
    top.key("l")
    for key in "/a0\r":
        top.key(key)
    assert "trouble" not in "\n".join(plain(top))

    top.pattern = ""
    top.key("e")
    assert "calm" not in "\n".join(plain(top))
    assert "trouble" in "\n".join(plain(top))


def test_without_lines_it_says_where_earlier_ones_are() -> None:
    top, telemetry = looking()
    top.key("l")
    assert any("earlier ones: coconut environment logs e1" in line for line in plain(top))

    telemetry.take_lines(attrs.evolve(lines(("w.a0", "one", Severity.INFO)), dropped=12))
    assert any("12 lines are not here: too many at once" in line for line in plain(top))


def test_another_environment_begins_with_nothing_of_the_one_before() -> None:
    top, telemetry = looking()
    telemetry.take_metrics(metrics(7, 1, 1))
    telemetry.take_lines(lines(("w.a0", "one", Severity.INFO), dropped=1))
    assert (telemetry.watched, telemetry.wants_metrics, telemetry.wants_lines) == ("e1", True, True)

    top.key("down")

    assert telemetry.watched == "e2"
    assert (top.rates.names(), list(top.lines), top.lost_lines) == ([], [], 0)


def test_without_an_environment_nothing_is_asked_for() -> None:
    telemetry = Telemetry(Top())
    assert (telemetry.watched, telemetry.wants_metrics, telemetry.wants_lines) == ("", False, False)


@pytest.mark.timeout(240)
def test_top_shows_the_rates_of_a_real_run(at_core: Coconut, cluster: Cluster) -> None:
    at_core("environment", "create", "single", "--name", "shift", "-q")
    assert at_core("environment", "control", "shift", "START", "-q").status == 0
    with Terminal(["top"], cluster.variables()) as terminal:
        terminal.wait_for("/s  sum of 1 task ")
        terminal.type("l")
        terminal.wait_for("── logs")
        terminal.type("q")
        assert terminal.end() == 0
