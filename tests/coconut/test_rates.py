"""Rates and their pictures in `top`: computed from what tasks tell, and from nothing else."""

from __future__ import annotations

import pytest

from ecsd.coconut.rates import KEPT, Rates, bars, with_unit
from libecs.wire.info import MetricInfo


def told(
    role: str, name: str, total: float, last_ms: int, *, unit: str = "", n: int = 10, last: float = 1.0
) -> MetricInfo:
    """A metric that was told in portions of 1, but for the last."""
    return MetricInfo(role=role, name=name, unit=unit, n=n, sum=total, min=0.0, max=5.0, last=last, last_ms=last_ms)


def line(rates: Rates, now_s: float, pattern: str = "") -> str:
    (only,) = rates.lines(1, 80, now_s, pattern)
    return only.plain


def test_what_is_counted_is_shown_as_growth_by_the_clock_of_its_task() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "events", 100, 1000)], now_s=0.0)
    assert " - " in line(rates, 0.0)  # once is not enough to know

    rates.take(7, [told("w.a", "events", 700, 3000)], now_s=5.0)

    assert "300/s  sum of 1 task " in line(rates, 5.0)


def test_tasks_add_up_and_the_filter_chooses_among_them() -> None:
    rates = Rates()
    for total, at in ((0, 0), (100, 1000)):
        rates.take(7, [told(f"w.{role}", "events", total, at) for role in ("source", "sink")], now_s=at / 1000)

    assert "200/s  sum of 2 tasks" in line(rates, 1.0)
    assert "100/s  sum of 1 task " in line(rates, 1.0, "SOURCE")
    assert "200/s  sum of 2 tasks" in line(rates, 1.0, "nobody")


def test_a_task_that_counts_no_more_falls_to_zero() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "events", 0, 0)], now_s=0.0)
    rates.take(7, [told("w.a", "events", 100, 1000)], now_s=1.0)

    assert " 100/s" in line(rates, 3.9)
    assert " 0/s" in line(rates, 4.1)


def test_while_the_core_is_not_heard_nothing_is_said_of_the_tasks() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "events", 0, 0)], now_s=0.0)
    rates.take(7, [told("w.a", "events", 100, 1000)], now_s=1.0)
    rates.tick(1.0, suspect=False)
    for second in range(2, 8):
        rates.tick(float(second), suspect=True)
    rates.tick(8.0, suspect=False)

    assert line(rates, 8.0).endswith("█      █")


def test_another_run_begins_at_nothing() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "events", 1000, 1000)], now_s=1.0)
    rates.take(8, [told("w.b", "events", 10, 1500)], now_s=1.5)

    assert rates.run == 8
    assert " -  sum of 1 task " in line(rates, 1.5)


def test_a_counter_that_is_told_as_it_stands_grows_too() -> None:
    rates = Rates()
    for n, stand in ((10, 1000.0), (20, 2000.0)):
        info = MetricInfo(
            role="w.a",
            name="orbits",
            unit="",
            n=n,
            sum=n * stand * 0.6,
            min=100,
            max=stand,
            last=stand,
            last_ms=n * 100,
        )
        rates.take(7, [info], now_s=n / 10)

    assert " 1 k/s" in line(rates, 2.0)


def test_a_counter_that_was_told_late_or_anew_keeps_its_rate() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "events", 0, 0)], now_s=0.0)
    rates.take(7, [told("w.a", "events", 100, 1000)], now_s=1.0)
    rates.take(7, [told("w.a", "events", 100, 1000)], now_s=2.0)
    rates.take(7, [told("w.a", "events", 10, 2000)], now_s=2.5)

    assert " 100/s" in line(rates, 2.5)


def test_what_is_measured_is_shown_as_it_is_and_never_added_unless_it_is_a_rate() -> None:
    rates = Rates()
    rates.take(7, [told(f"w.{n}", "temperature", 0, 0, unit="C", last=20.0 + n) for n in (1, 3)], now_s=0.0)
    assert "22 C  mean of 2 tasks" in line(rates, 0.0)

    rates = Rates()
    rates.take(7, [told(f"w.{n}", "rate", 0, 0, unit="Hz", last=700.0) for n in (1, 3)], now_s=0.0)
    assert "1.4 kHz  sum of 2 tasks" in line(rates, 0.0)
    assert [(info.unit, info.last) for info in rates.figures(0.0, 3)] == [("Hz", 700.0), ("Hz", 700.0)]


def test_the_picture_has_a_point_a_second_and_the_last_minute() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "rate", 0, 0, unit="Hz", last=5.0)], now_s=0.0)
    for tenth in range(10 * 2 * KEPT):
        rates.tick(tenth / 10, suspect=False)
    (wide,) = rates.lines(1, 200, 0.0)

    assert wide.plain.count("█") == KEPT
    assert len(line(rates, 0.0)) == 80


def test_points_stay_a_second_apart_though_drawing_is_late() -> None:
    rates = Rates()
    rates.take(7, [told("w.a", "rate", 0, 0, unit="Hz", last=5.0)], now_s=0.0)
    for now_s in (0.0, 1.3, 2.1, 3.05, 9.0, 9.5, 10.0):
        rates.tick(now_s, suspect=False)

    assert line(rates, 10.0).count("█") == 6


@pytest.mark.parametrize(
    ("values", "width", "picture"),
    [
        ([], 10, ""),
        ([0, 0], 10, "▁▁"),
        ([1, None, 4, 8], 10, "▂ ▅█"),
        ([1, 2, 8], 2, "▃█"),
        ([1, 2], 0, ""),
        ([-5, 5], 9, "▁█"),
    ],
)
def test_bars(values: list[float | None], width: int, picture: str) -> None:
    assert bars(values, width) == picture


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(300, "/s", "300/s"), (1500, "/s", "1.5 k/s"), (99.81, "Hz", "99.81 Hz"), (2e6, "B/s", "2 MB/s"),
     (1500, "kHz", "1500 kHz"), (3, "", "3")],
)  # fmt: skip
def test_numbers_have_their_unit(value: float, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text
