"""Lines that tasks write, made fit for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.engine.lines import clean, output_line, severity_of
from libecs.wire.telemetry import MAX_LINE_BYTES, Severity


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m alarm\x07", "red alarm"),
        ("\x1b]0;title\x07text", "text"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("ends with a return\r", "ends with a return"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x00\x9b", ""),
        ("lone \ud800 surrogate", "lone ? surrogate"),
    ],
)
def test_a_line_holds_nothing_that_a_terminal_obeys(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_a_line_is_one_and_not_too_long(text: str) -> None:
    cleaned = clean(text)

    assert len(cleaned.encode()) <= MAX_LINE_BYTES
    assert not set(cleaned) & set("\n\r\x1b\x00\x9b")


def test_a_long_line_is_cut_between_characters() -> None:
    cleaned = clean("ä" * 2000)

    assert cleaned.endswith("ä…")
    assert len(cleaned.encode()) <= MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("text", "stream", "severity"),
    [
        ("all is well", "stdout", Severity.INFO),
        ("all is well", "stderr", Severity.WARNING),
        ("[12:00:01][ERROR] no card", "stdout", Severity.ERROR),
        ("INFO:root:started", "stderr", Severity.INFO),
        ("2026-11-23 WARN low voltage", "stdout", Severity.WARNING),
        ("FATAL: out of gas", "stdout", Severity.FATAL),
        ("DEBUG x=1", "stderr", Severity.DEBUG),
        ("ValueError: not a number", "stderr", Severity.ERROR),
        ("lab.errors.HvError: trip", "stderr", Severity.ERROR),
        ("./digitizer: error: no such option", "stderr", Severity.ERROR),
        ("NO_ERRORS found", "stdout", Severity.INFO),
        ("x" * 200 + " ERROR", "stdout", Severity.INFO),
    ],
)
def test_how_bad_a_line_is_stands_near_its_beginning(text: str, stream: str, severity: Severity) -> None:
    assert severity_of(text, stream) is severity


def test_a_line_without_text_is_none() -> None:
    assert output_line("\x1b[2J \t", "stdout", 1) is None
