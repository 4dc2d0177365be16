"""Hooks: moments, weights and what happens at each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import InvalidInput
from libecs.workflow.hooks import Hooks, Step, parse_moment
from libecs.workflow.role import Moment, Workflow


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [
        ("DESTROY", "DESTROY", 0),
        ("before_CONFIGURE+100", "before_CONFIGURE", 100),
        ("after_START_ACTIVITY-10", "after_START_ACTIVITY", -10),
        (" enter_RUNNING ", "enter_RUNNING", 0),
        ("a-b+5", "a-b", 5),
        ("CONFIGURE+0", "CONFIGURE", 0),
    ],
)
def test_moments_are_read(text: str, name: str, weight: int) -> None:
    assert parse_moment(text) == Moment(name=name, weight=weight)


@pytest.mark.parametrize("text", ["", "+5", "before_X+", "before_X-soon", "a-b", "before_X+1.5", "x+99999999999"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no moment"):
        parse_moment(text)


@given(st.from_regex("[a-zA-Z_]+", fullmatch=True), st.integers(-1000, 1000))
def test_a_moment_reads_its_own_text(name: str, weight: int) -> None:
    moment = Moment(name=name, weight=weight)

    assert parse_moment(str(moment)) == moment


def test_hooks_by_moment_and_ascending_weight(grow: Callable[..., Workflow]) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: late, call: {func: x.Late(), trigger: before_E+100}}
          - {name: first, call: {func: x.First(), trigger: before_E-5, await: before_E}}
          - {name: task, task: {load: b, trigger: before_E}}
          - {name: same, call: {func: x.Same(), trigger: before_E}}
          - {name: far, call: {func: x.Far(), trigger: before_E, await: after_E-1}}
          - {name: never, call: {func: x.Never()}}
          - {name: plain, task: {load: b}}
        """
    )
    index = {role.name: i for i, role in enumerate(workflow.roles)}

    hooks = Hooks.of(workflow)

    assert hooks.at("before_E") == (
        Step(weight=-5, start=(index["first"],)),
        Step(
            weight=0,
            start=(index["same"], index["far"]),
            wait=(index["first"], index["same"]),
            tasks=(index["task"],),
        ),
        Step(weight=100, start=(index["late"],), wait=(index["late"],)),
    )
    assert hooks.at("after_E") == (Step(weight=-1, wait=(index["far"],)),)
    assert hooks.at("leave_E") == ()
