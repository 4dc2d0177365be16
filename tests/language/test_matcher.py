"""`matches`: the same answers as Python's `re`, in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libecs.errors import ExpressionError
from libecs.language.matcher import search
from libecs.language.operators import Budget


def found(pattern: str, text: str) -> bool:
    return search(pattern, text, Budget().spend)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "abc", True),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("c$", "abc", True),
        ("^$", "", True),
        ("^$", "a", False),
        ("^abc$", "abc", True),
        ("a.c", "a\nc", False),
        ("a.c", "axc", True),
        ("^(flp|epn)[0-9]{3}$", "flp001", True),
        ("^(flp|epn)[0-9]{3}$", "flp01", False),
        ("^(?:ab)+$", "ababab", True),
        ("^a{2,}$", "a", False),
        ("^a{2,3}$", "aaaa", False),
        ("^a{0}$", "", True),
        ("^a*?b+?c??$", "aab", True),
        ("^[^a-c]$", "d", True),
        ("^[]a]$", "]", True),
        ("^[a-]$", "-", True),
        (r"^[\d.]+$", "1.5", True),
        (r"^[\]\-x]+$", "]-x", True),
        (r"^[+-\x2f]$".replace("\\x2f", "/"), ",", True),
        (r"^[a-\-]$".replace("a-\\-", "+-\\-"), ",", True),
        (r"^\w+\s\W\S\D$", "ab_1 ! x?", False),
        (r"^\w+\s\W\S\D$", "ab_1 !x?", True),
        (r"\.\*\n\t", ".*\n\t", True),
        ("|a", "b", True),
        ("^(a|)b$", "b", True),
        ("(a*)*b", "a" * 1000, False),
        ("}", "}", True),
    ],
)
def test_pattern_is_found_or_not(pattern: str, text: str, expected: bool) -> None:
    assert found(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("(a", "a ( is not closed"),
        ("a)", "a ) that closes nothing"),
        ("[a", "a [ is not closed"),
        ("[b-a]", "the range b-a is empty"),
        ("*a", "* has nothing to repeat"),
        ("{2}", "{ has nothing to repeat"),
        ("a**", "two repeats behind each other"),
        ("a{2", "a repeat is written"),
        ("a{x}", "a repeat is written"),
        ("a{,3}", "a repeat is written"),
        ("a{3,2}", "less than the first"),
        ("(?i)a", "(? is known only as (?:"),
        ("(?=a)", "(? is known only as (?:"),
        (r"a\b", r"\b is not known"),
        (r"(a)\1", r"\1 is not known"),
        ("a\\", "\\ is not known"),
        (r"[\b]", r"\b is not known"),
        ("(" * 40 + ")" * 40, "more than 32 groups"),
        ("a" * 1001, "more than 1000 characters"),
        ("((a{99}){99}){99}", "more than 2000 states"),
        ("(((){9999}){9999}){9999}", "more than 2000 states"),
    ],
)
def test_wrong_pattern_is_told(pattern: str, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        found(pattern, "a")

    assert part in caught.value.reason


def test_long_search_runs_out_of_steps() -> None:
    with pytest.raises(ExpressionError, match="more than 100000 steps"):
        found("(a|b)*a(a|b){200}c", "ab" * 100_000)


_PIECES = ["a", "b", "c", ".", "[ab]", "[^a]", "(", "(?:", ")", "|", "*", "+", "?", "{2}", "{1,2}", r"\d", "^", "$"]


@given(st.lists(st.sampled_from(_PIECES), max_size=9).map("".join), st.text("abc1\n", max_size=7))
def test_answers_are_those_of_re(pattern: str, text: str) -> None:
    try:
        answer = found(pattern, text)
    except ExpressionError:
        assume(False)
    try:
        expected = re.search(pattern.replace("$", r"\Z"), text)
    except re.error:  # `re` refuses ^* and its like
        assume(False)

    assert answer == bool(expected)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_pattern_gives_an_answer_or_an_expression_error(pattern: str, text: str) -> None:
    try:
        assert found(pattern, text) in (True, False)
    except ExpressionError as error:
        assert error.reason
