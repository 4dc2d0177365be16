"""A client's copy is the core's truth, whatever the order in which snapshots and events come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libecs.client.mirror import Mirror
from libecs.fsm import EnvState
from libecs.wire.info import EnvironmentInfo, Event

STATES = ["STANDBY", "DEPLOYED", "CONFIGURED", "RUNNING", "ERROR"]


def state_event(sequence: int, state: str, environment: str = "a", text: str = "") -> Event:
    return Event(
        sequence=sequence, unix_ms=0, kind="environment.state", environment=environment, state=state, text=text
    )


def info(state: str, environment: str = "a") -> EnvironmentInfo:
    return EnvironmentInfo(environment=environment, name="n", workflow="w", revision="r", state=EnvState[state])


def test_events_in_order_change_the_state() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)

    fresh = mirror.take_events([state_event(6, "CONFIGURED"), state_event(7, "ERROR", text="it died")])

    assert [event.sequence for event in fresh] == [6, 7]
    assert mirror.environments["a"].state is EnvState.ERROR
    assert mirror.environments["a"].cause == "it died"
    assert not mirror.behind


def test_repeated_events_are_dropped() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)
    mirror.take_events([state_event(6, "CONFIGURED")])

    assert mirror.take_events([state_event(6, "CONFIGURED"), state_event(5, "STANDBY")]) == []
    assert mirror.environments["a"].state is EnvState.CONFIGURED


def test_gap_asks_for_a_snapshot_and_the_snapshot_ends_it() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)

    mirror.take_events([state_event(8, "RUNNING")])
    behind = mirror.behind
    mirror.take_snapshot(8, [info("RUNNING"), info("STANDBY", "b")], whole=True)

    assert behind
    assert not mirror.behind
    assert set(mirror.environments) == {"a", "b"}


def test_snapshot_older_than_events_does_not_turn_the_clock_back() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)
    mirror.take_events([state_event(6, "CONFIGURED"), state_event(7, "RUNNING")])

    mirror.take_snapshot(6, [info("CONFIGURED")], whole=True)

    assert mirror.environments["a"].state is EnvState.RUNNING


def test_event_that_a_snapshot_contains_changes_nothing() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)
    mirror.take_snapshot(7, [info("RUNNING")], whole=False)

    fresh = mirror.take_events([state_event(6, "CONFIGURED"), state_event(7, "RUNNING")])

    assert [event.sequence for event in fresh] == [6, 7]
    assert mirror.environments["a"].state is EnvState.RUNNING


def test_whole_snapshot_removes_what_it_does_not_name_unless_it_is_newer() -> None:
    mirror = Mirror()
    mirror.take_snapshot(5, [info("DEPLOYED"), info("DEPLOYED", "old")], whole=True)
    mirror.take_events([state_event(6, "STANDBY", "new")])

    mirror.take_snapshot(5, [info("DEPLOYED")], whole=True)

    assert set(mirror.environments) == {"a", "new"}


def test_run_and_transition_events_fill_the_copy() -> None:
    mirror = Mirror()
    mirror.take_snapshot(1, [info("CONFIGURED")], whole=True)

    def event(sequence: int, kind: str, **fields: object) -> Event:
        return Event(sequence=sequence, unix_ms=0, kind=kind, environment="a", **fields)  # type: ignore[arg-type]

    mirror.take_events(
        [
            event(2, "transition.begin", transition="START_ACTIVITY"),
            event(3, "transition.step", moment="before_START_ACTIVITY"),
        ]
    )
    going = mirror.environments["a"]
    mirror.take_events([event(4, "run.start", run_number=7), event(5, "transition.end")])
    started = mirror.environments["a"]
    mirror.take_events([event(6, "run.end", run_number=7), event(7, "call.begin")])

    assert (going.transition, going.step) == ("START_ACTIVITY", "before_START_ACTIVITY")
    assert (started.transition, started.step, started.run_number) == ("", "", 7)
    assert (mirror.environments["a"].run_number, mirror.environments["a"].last_run_number) == (0, 7)


def test_events_of_an_unknown_environment_wait_for_its_state() -> None:
    mirror = Mirror()
    mirror.take_events([Event(sequence=1, unix_ms=0, kind="run.start", environment="x", run_number=3)])

    assert mirror.environments == {}


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=30), st.data())
def test_copy_equals_the_truth_for_any_snapshot_moment(states: list[str], data: st.DataObject) -> None:
    events = [state_event(n + 1, state) for n, state in enumerate(states)]
    snapshot_at = data.draw(st.integers(0, len(events)))
    arrives_after = data.draw(st.integers(0, len(events)))
    content = [info(states[snapshot_at - 1])] if snapshot_at else [info("STANDBY")]
    mirror = Mirror()

    for event in events[:arrives_after]:
        mirror.take_events([event])
    mirror.take_snapshot(snapshot_at, content, whole=True)
    for event in events[arrives_after:]:
        mirror.take_events([event])

    assert mirror.environments["a"].state.name == states[-1]
