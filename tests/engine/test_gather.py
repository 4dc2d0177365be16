"""Telemetry is gathered in bounds, and nothing of it is lost without being counted."""

from __future__ import annotations

import pytest

from libecs.engine import gather
from libecs.engine.gather import Gather
from libecs.wire import node
from libecs.wire.task import Log, Metric
from libecs.wire.telemetry import LogLine, MetricSpan, Severity


def metric(name: str = "events", n: int = 1, value: float = 1.0, unix_ms: int = 10, unit: str = "") -> Metric:
    return Metric(name=name, unit=unit, n=n, sum=n * value, min=value, max=value, last=value, unix_ms=unix_ms)


def line(text: str) -> LogLine:
    return LogLine(severity=Severity.INFO, text=text, unix_ms=1)


def test_spans_of_one_metric_become_one() -> None:
    one = Gather()
    one.metric("t", 4, metric(n=3, value=2.0, unix_ms=10, unit="Hz"))
    one.metric("t", 4, metric(n=1, value=5.0, unix_ms=30, unit="Hz"))
    one.metric("t", 4, metric(n=1, value=1.0, unix_ms=20, unit="Hz"))

    (told,) = one.take()

    assert (told.task, told.run, told.dropped) == ("t", 4, 0)
    assert told.metrics == (
        MetricSpan(name="events", unit="Hz", n=5, sum=12.0, min=1.0, max=5.0, last=5.0, unix_ms=30),
    )
    assert one.empty
    assert one.take() == ()


def test_what_was_told_in_two_runs_is_kept_apart() -> None:
    one = Gather()
    one.metric("t", 4, metric())
    one.metric("t", 5, metric())
    one.line("t", 0, line("between"))

    assert [(told.run, len(told.metrics), len(told.lines)) for told in one.take()] == [(4, 1, 0), (5, 1, 0), (0, 0, 1)]


def test_samples_that_make_no_sense_are_dropped_and_counted() -> None:
    one = Gather()
    for bad in (
        metric(n=0),
        metric(n=-3),
        metric(value=float("nan")),
        metric(value=float("inf")),
        metric(name=""),
        metric(name="x" * 64),
        metric(name="a\nb"),
    ):
        one.metric("t", 0, bad)

    (told,) = one.take()

    assert (told.metrics, told.dropped) == ((), 7)


def test_a_task_with_too_many_metrics_keeps_the_first() -> None:
    one = Gather()
    for number in range(gather.MAX_NAMES + 5):
        one.metric("t", 0, metric(name=f"m{number}", n=2))

    (told,) = one.take()

    assert [span.name for span in told.metrics] == [f"m{number}" for number in range(gather.MAX_NAMES)]
    assert told.dropped == 10


def test_of_too_many_lines_the_newest_are_kept() -> None:
    one = Gather()
    for number in range(gather.MAX_LINES + 3):
        one.line("t", 0, line(str(number)))
    one.drop("t", 7)
    one.log("t", 0, Log(severity=Severity.INFO, text="last", unix_ms=1, dropped=100))

    (told,) = one.take()

    assert len(told.lines) == gather.MAX_LINES
    assert (told.lines[0].text, told.lines[-1].text) == ("4", "last")
    assert told.dropped == 4 + 7 + 100
    one.line("t", 0, line("more"))
    assert one.take()[0].dropped == 111, "it counts from the task's start"


def test_all_tasks_together_are_bounded() -> None:
    one = Gather()
    n_tasks = gather.MAX_LINES_NODE // gather.MAX_LINES
    for task in range(n_tasks):
        for number in range(gather.MAX_LINES):
            one.line(str(task), 0, line(str(number)))
    one.line("late", 0, line("no room"))
    one.line("0", 0, line("instead of an older one"))

    told = {}
    while not one.empty:
        part = one.take()
        assert sum(len(entry.lines) for entry in part) <= gather.MESSAGE_ITEMS + gather.MAX_LINES
        told.update({entry.task: entry for entry in part})

    assert (told["late"].lines, told["late"].dropped) == ((), 1)
    assert told["0"].lines[-1].text == "instead of an older one"
    one.line("late", 0, line("room again"))
    assert len(one.take()[0].lines) == 1


def test_one_task_may_be_taken_before_the_others_and_forgotten() -> None:
    one = Gather()
    one.line("a", 0, line("a"))
    one.line("b", 0, line("b"))

    assert [told.task for told in one.take(["b", "nobody"])] == ["b"]
    one.forget("a")
    one.forget("nobody")

    assert one.empty


HUGE = 2**64 - 1


@pytest.mark.parametrize("bad", [metric(n=HUGE), metric(unix_ms=HUGE), metric(unix_ms=-1)])
def test_numbers_that_cannot_be_add_up_to_nothing_that_cannot_be_sent(bad: Metric) -> None:
    one = Gather()
    for _ in range(3):
        one.metric("t", 1, bad)
        one.log("t", 1, Log(severity=Severity.INFO, text="x", unix_ms=HUGE, dropped=HUGE))

    message = node.Telemetry(session=1, tasks=one.take())

    assert node.NODE.decode(node.NODE.encode(message)) == message
    assert message.tasks[0].metrics == ()
    assert message.tasks[0].dropped > 3
