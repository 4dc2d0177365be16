"""Ids without entropy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.ids import IdSource, base58


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_ids_of_two_lives_never_meet(epoch_a: int, count_a: int, epoch_b: int, count_b: int) -> None:
    a = IdSource("i", epoch_a, count_a - 1).next()
    b = IdSource("i", epoch_b, count_b - 1).next()

    assert (a == b) == ((epoch_a, count_a) == (epoch_b, count_b))


@given(st.lists(st.integers(0, 2**63), min_size=2, max_size=2, unique=True))
def test_different_numbers_have_different_texts(numbers: list[int]) -> None:
    a, b = numbers
    assert base58(a) != base58(b)


def test_a_negative_number_has_none() -> None:
    with pytest.raises(ValueError, match="-1"):
        base58(-1)
