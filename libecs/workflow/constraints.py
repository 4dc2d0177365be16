"""Constraints: what a node must be like to take a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libecs.workflow.role import Constraint


def merge(outer: Iterable[Constraint], inner: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """Return the constraints of a role: its own (`inner`) replace those of its parent by attribute, and add to them."""
    merged = {constraint.attribute: constraint for constraint in outer}
    merged.update((constraint.attribute, constraint) for constraint in inner)
    return tuple(merged.values())


def unsatisfied(constraint: Constraint, attributes: Mapping[str, str]) -> str:
    """Return why a node with these attributes does not meet a constraint, "" if it does.

    An attribute holds if its text is the value, or one of its comma-separated parts is. All constraints of a role must
    hold (AliECS obeys the last one only).
    """
    have = attributes.get(constraint.attribute)
    if have is None:
        return f"has no attribute {constraint.attribute} (wanted {constraint.value})"
    if have == constraint.value or ("," in have and constraint.value in have.split(",")):
        return ""
    return f"{constraint.attribute} is {have}, not {constraint.value}"
