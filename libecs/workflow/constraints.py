"""Constraints: what a node must be like to take a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libecs.workflow.role import Constraint


def merge(outer: Iterable[Constraint], inner: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """Return the constraints of a role: its own (`inner`) replace those of its parent by attribute, and add to them."""
    merged = {constraint.attribute: constraint for constraint in outer}
    merged.update((constraint.attribute, constraint) for constraint in inner)
    return tuple(merged.values())


def satisfied(constraints: Iterable[Constraint], attributes: Mapping[str, str]) -> str | None:
    """Return None if a node with `attributes` satisfies all `constraints`, else why the first one fails.

    All must hold (AliECS obeys the last one only). An attribute holds if its text is the value, or one of its
    comma-separated parts is.
    """
    for constraint in constraints:
        text = attributes.get(constraint.attribute)
        if text is None:
            return f"has no attribute {constraint.attribute!r}, {constraint.value!r} is wanted"
        if text != constraint.value and not ("," in text and constraint.value in text.split(",")):
            return f"{constraint.attribute} is {text!r}, {constraint.value!r} is wanted"
    return None
