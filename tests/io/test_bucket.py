"""How much one key may ask for, with a clock of the test."""

from __future__ import annotations

import pytest

from libecs.io import bucket
from libecs.io.bucket import BUSY_SHARE, Buckets, Rate, Turn, Turns


def took(buckets: Buckets, key: str, now: float, n: int) -> int:
    return sum(buckets.take(key, now) for _ in range(n))


def test_a_burst_is_served_and_no_more() -> None:
    assert took(Buckets(Rate(10, 5)), "a", 100.0, 20) == 5


def test_tokens_come_back_with_time_up_to_the_burst() -> None:
    buckets = Buckets(Rate(10, 5))
    took(buckets, "a", 100.0, 5)

    assert took(buckets, "a", 100.25, 20) == 2
    assert took(buckets, "a", 1000.0, 20) == 5


def test_over_time_nobody_has_more_than_his_rate() -> None:
    buckets = Buckets(Rate(10, 5))

    served = sum(took(buckets, "a", 100 + n / 100, 7) for n in range(1000))

    assert served == pytest.approx(5 + 10 * 9.99, abs=1)


def test_keys_do_not_share() -> None:
    buckets = Buckets(Rate(10, 5))
    took(buckets, "a", 100.0, 20)

    assert took(buckets, "b", 100.0, 20) == 5


def test_no_rate_is_no_limit() -> None:
    buckets = Buckets(Rate(0, 5))

    assert took(buckets, "a", 100.0, 1000) == 1000
    assert not len(buckets)


def test_buckets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "MAX_KEYS", 3)
    buckets = Buckets(Rate(1, 2))
    for key in "abc":
        took(buckets, key, 100.0, 2)

    buckets.take("d", 100.5)
    assert len(buckets) == 3  # none was full: the oldest went
    buckets.take("e", 200.0)
    assert len(buckets) == 1


def test_who_asks_too_often_is_told_so_and_who_floods_is_not() -> None:
    turns = Turns(Rate(10, 4))

    got = [turns.take("a", 100.0) for _ in range(100)]

    assert got[:4] == [Turn.SERVED] * 4
    assert got.count(Turn.BUSY) == 4 * BUSY_SHARE
    assert got[-1] is Turn.FLOOD
    assert turns.take("b", 100.0) is Turn.SERVED
    assert turns.take("a", 100.2) is Turn.SERVED
