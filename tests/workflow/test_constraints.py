"""Constraints: merging from the root down, and what satisfies them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.workflow.constraints import merge, unsatisfied
from libecs.workflow.role import Constraint, Role, Workflow

_CONSTRAINTS = st.lists(
    st.builds(Constraint, attribute=st.sampled_from("abc"), value=st.sampled_from("xyz")),
    max_size=4,
    unique_by=lambda constraint: constraint.attribute,
)


def constraints(**values: str) -> tuple[Constraint, ...]:
    return tuple(Constraint(attribute=attribute, value=value) for attribute, value in values.items())


def test_a_childs_value_replaces_its_parents_in_place_and_others_are_added() -> None:
    merged = merge(constraints(a="1", b="2"), constraints(a="3", c="4"))

    assert merged == constraints(a="3", b="2", c="4")


def test_those_of_the_task_class_are_the_outermost(
    grow: Callable[..., Workflow], at: Callable[[Workflow, str], Role]
) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                vars: {host: h1}
                constraints: [{attribute: machine_id, value: "{{ host }}"}]
                roles: [{name: t, constraints: [{attribute: b, value: role}], task: {load: own}}]
                """,
            "tasks/own.yaml": """
                name: own
                command: {value: x}
                constraints: [{attribute: b, value: class}, {attribute: c, value: class}]
                """,
        }
    )

    merged = at(workflow, "w.t").constraints
    assert merged == constraints(b="role", c="class", machine_id="h1")
    assert at(workflow, "w").constraints == constraints(machine_id="h1")


@pytest.mark.parametrize(
    ("wanted", "attributes", "reason"),
    [
        ({}, {}, ""),
        ({"a": "1"}, {"a": "1"}, ""),
        ({"a": "1"}, {"a": "2,1,3"}, ""),
        ({"a": "2,1"}, {"a": "2,1"}, ""),
        ({"a": "1"}, {"a": "2, 1"}, "a is 2, 1, not 1"),
        ({"a": "1"}, {"a": "12"}, "a is 12, not 1"),
        ({"a": "1"}, {}, "has no attribute a (wanted 1)"),
        ({"a": "1", "b": "2"}, {"a": "0", "b": "2"}, "a is 0, not 1"),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "0"}, "b is 0, not 2"),
    ],
)
def test_all_constraints_must_hold(wanted: dict[str, str], attributes: dict[str, str], reason: str) -> None:
    assert next(filter(None, (unsatisfied(one, attributes) for one in constraints(**wanted))), "") == reason


@given(_CONSTRAINTS, _CONSTRAINTS, _CONSTRAINTS)
def test_merging_is_associative(a: list[Constraint], b: list[Constraint], c: list[Constraint]) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(_CONSTRAINTS, _CONSTRAINTS)
def test_what_satisfies_the_merge_satisfies_the_inner(outer: list[Constraint], inner: list[Constraint]) -> None:
    attributes = {constraint.attribute: constraint.value for constraint in merge(outer, inner)}

    assert not any(unsatisfied(constraint, attributes) for constraint in inner)
