"""The state tables, and the rules by which states and statuses are merged."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs import fsm
from libecs.errors import IllegalTransition
from libecs.fsm import EnvEvent, EnvState, Status, TaskEvent, TaskState

ALLOWED = {
    EnvState.STANDBY: {"DEPLOY", "EXIT", "GO_ERROR"},
    EnvState.DEPLOYED: {"CONFIGURE", "EXIT", "GO_ERROR"},
    EnvState.CONFIGURED: {"RESET", "START_ACTIVITY", "EXIT", "GO_ERROR"},
    EnvState.RUNNING: {"STOP_ACTIVITY", "GO_ERROR"},
    EnvState.ERROR: {"RECOVER"},
    EnvState.DONE: set(),
}


@pytest.mark.parametrize("state", EnvState)
def test_an_environment_allows_exactly_these_events(state: EnvState) -> None:
    assert {event.name for event in fsm.allowed_env(state)} == ALLOWED[state]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(EnvState, EnvEvent)))
def test_an_event_that_is_not_allowed_raises_and_names_what_is(state: EnvState, event: EnvEvent) -> None:
    if event.name in ALLOWED[state]:
        assert fsm.next_env(state, event) in EnvState
        return
    with pytest.raises(IllegalTransition) as caught:
        fsm.next_env(state, event)
    assert set(caught.value.allowed) == ALLOWED[state]
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("source", "event", "target"),
    [
        (TaskState.STANDBY, TaskEvent.CONFIGURE, TaskState.CONFIGURED),
        (TaskState.CONFIGURED, TaskEvent.START, TaskState.RUNNING),
        (TaskState.RUNNING, TaskEvent.STOP, TaskState.CONFIGURED),
        (TaskState.CONFIGURED, TaskEvent.RESET, TaskState.STANDBY),
        (TaskState.STANDBY, TaskEvent.EXIT, TaskState.DONE),
        (TaskState.CONFIGURED, TaskEvent.EXIT, TaskState.DONE),
        (TaskState.ERROR, TaskEvent.EXIT, TaskState.DONE),
        (TaskState.ERROR, TaskEvent.RECOVER, TaskState.STANDBY),
        (TaskState.RUNNING, TaskEvent.PAUSE, TaskState.PAUSED),
        (TaskState.PAUSED, TaskEvent.RESUME, TaskState.RUNNING),
        (TaskState.PAUSED, TaskEvent.STOP, TaskState.CONFIGURED),
    ],
)
def test_a_task_goes_where_its_table_says(source: TaskState, event: TaskEvent, target: TaskState) -> None:
    assert fsm.next_task(source, event) is target


def test_a_task_refuses_what_is_not_in_its_table() -> None:
    with pytest.raises(IllegalTransition, match="START is not possible in STANDBY"):
        fsm.next_task(TaskState.STANDBY, TaskEvent.START)
    with pytest.raises(IllegalTransition, match="allowed: none"):
        fsm.next_task(TaskState.DONE, TaskEvent.CONFIGURE)


def test_every_commanded_event_leads_somewhere() -> None:
    for event, source in fsm.TASK_SOURCE.items():
        assert fsm.target_of(event) is fsm.next_task(source, event)
    assert fsm.target_of(TaskEvent.EXIT) is TaskState.DONE


@pytest.mark.parametrize(
    ("a", "b", "merged"),
    [
        (TaskState.UNKNOWN, TaskState.STANDBY, TaskState.MIXED),
        (TaskState.RUNNING, TaskState.CONFIGURED, TaskState.MIXED),
        (TaskState.ERROR, TaskState.RUNNING, TaskState.ERROR),
        (TaskState.MIXED, TaskState.ERROR, TaskState.ERROR),
        (TaskState.INVARIANT, TaskState.STANDBY, TaskState.STANDBY),
        (TaskState.RUNNING, TaskState.RUNNING, TaskState.RUNNING),
    ],
)
def test_the_product_of_two_states(a: TaskState, b: TaskState, merged: TaskState) -> None:
    assert fsm.product(a, b) is merged
    assert fsm.product(b, a) is merged


def test_every_state_has_its_own_name() -> None:
    """An INVARIANT role is shown as what it is, not as UNKNOWN."""
    assert TaskState.INVARIANT.name == "INVARIANT"
    with pytest.raises(KeyError):
        TaskState["NEVADA"]


@given(st.lists(st.sampled_from(TaskState)))
def test_counting_children_merges_as_going_through_them_does(states: list[TaskState]) -> None:
    counts = {state: states.count(state) for state in set(states)}
    assert fsm.merge_counts(counts) is fsm.merge(states)


@given(st.lists(st.sampled_from(Status)))
def test_counting_statuses_merges_as_going_through_them_does(statuses: list[Status]) -> None:
    counts = {status: statuses.count(status) for status in set(statuses)}
    assert fsm.merge_status_counts(counts) is fsm.merge_status(statuses)


def test_the_status_product_is_symmetric_and_undefined_wins() -> None:
    for a, b in itertools.product(Status, Status):
        assert fsm.STATUS_PRODUCT[a][b] is fsm.STATUS_PRODUCT[b][a]
    assert fsm.merge_status([Status.ACTIVE, Status.UNDEFINED]) is Status.UNDEFINED
    assert fsm.merge_status([Status.ACTIVE, Status.INACTIVE]) is Status.PARTIAL
    assert fsm.merge_status([Status.ACTIVE, Status.UNDEPLOYABLE]) is Status.UNDEPLOYABLE
    assert fsm.merge_status([]) is Status.INVARIANT
