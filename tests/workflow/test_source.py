"""References to templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import InvalidInput
from libecs.workflow.source import Reference, parse_reference


@pytest.mark.parametrize(
    ("text", "base", "reference"),
    [
        ("x", "", Reference("x", "")),
        (" x.yaml ", "", Reference("x", "")),
        ("x", "h/u/r@v1", Reference("x", "h/u/r@v1")),
        ("x@v2", "", Reference("x", "@v2")),
        ("x@v2", "h/u/r@v1", Reference("x", "h/u/r@v2")),
        ("h/u/r/workflows/x", "h/other@v1", Reference("x", "h/u/r")),
        ("h/u/r/workflows/x@feature/a", "", Reference("x", "h/u/r@feature/a")),
    ],
)
def test_references_are_read(text: str, base: str, reference: Reference) -> None:
    assert parse_reference(text, "workflows", base) == reference


def test_the_kind_is_part_of_the_reference() -> None:
    assert parse_reference("h/u/r/tasks/x@v", "tasks", "") == Reference("x", "h/u/r@v")
    with pytest.raises(InvalidInput, match="names no template"):
        parse_reference("h/u/r/tasks/x", "workflows", "")


def test_keys_differ_where_templates_do() -> None:
    assert Reference("x", "").key == "x"
    assert Reference("x", "@v").key == "@v:x"


@given(st.text(max_size=20))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text, "workflows", "base")
    except InvalidInput:
        return
    assert reference.name
    assert "/" not in reference.name
