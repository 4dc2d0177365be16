"""What a Transition does: every state, every event, every source state; repeated and late ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import Connect, Start
from tests.conformance.peer import Peer, Task
from tests.conformance.protocol import (
    ANSWERS_KEPT,
    CONFIGURE,
    CONTROLLER,
    EXECUTOR,
    FAIRMQ_MACHINE,
    MACHINES,
    OCC_MACHINE,
    PING,
    PONG,
    RECONFIGURE,
    RESULT,
    STATE_CHANGED,
    TRANSITION,
)

STRANGE = (-(2**63), -1, 0, 99, 2**31, 2**63 - 1)
"""Numbers of no event and of no state that a task is in."""

# Of both machines; those that the task does not run are skipped.
CASES = [(machine.number, state) for machine in MACHINES.values() for state in machine.at_rest]
ALLOWED = [
    (machine.number, state, event)
    for machine in MACHINES.values()
    for state, row in machine.table.items()
    for event in row
]


def name_of(value: object) -> str:
    return str(value)


def fresh(start: Start, connect: Connect, machine: int, state: int) -> Peer:
    """Return the controller of a new task in a state."""
    peer = connect(start())
    peer.welcome()
    assert peer.machine.number == machine, "say --task-machine"
    peer.bring(state)
    return peer


@pytest.mark.parametrize(("number", "state"), CASES, ids=name_of)
def test_what_is_not_allowed_changes_nothing(start: Start, connect: Connect, number: int, state: int) -> None:
    """Every event from every source state, but those that the state allows."""
    peer = fresh(start, connect, number, state)
    machine = peer.machine
    before = peer.ping()
    expected: dict[str, tuple[int, int]] = {}
    for event in (*machine.events, *STRANGE):
        for source in (*machine.states, *STRANGE):
            if source == state and event in machine.table[state]:
                continue
            expected[peer.order(event, source)] = (event, source)

    while expected:
        result = peer.wait_for(RESULT)
        event, source = expected.pop(result.id)
        assert (result.ok, result.state, result.trigger) == (False, state, EXECUTOR)
        assert result.sequence == before.sequence
        assert result.error != ""
        if -(2**31) <= event < 2**31:
            assert result.event == event
        if event in machine.events and source == state:
            assert machine.events[event] in result.error
            assert machine.states[state] in result.error
    after = peer.ping(2)
    assert (after.state, after.sequence) == (before.state, before.sequence)
    assert peer.seen_of(STATE_CHANGED)[-1:] == [] or peer.seen_of(STATE_CHANGED)[-1].sequence == before.sequence


@pytest.mark.parametrize(("number", "state", "event"), ALLOWED, ids=name_of)
def test_what_is_allowed_leads_where_the_table_says(
    start: Start, connect: Connect, number: int, state: int, event: int
) -> None:
    peer = fresh(start, connect, number, state)
    target = peer.machine.table[state][event]
    before = peer.ping().sequence
    seen = len(peer.seen)

    result = peer.go(event, state)

    if result.error == "the task does not reconfigure live":  # it may refuse that
        assert (event, result.ok, result.state, result.sequence) == (RECONFIGURE, False, state, before)
        return
    changes = [(message.state, message.sequence) for message in peer.seen[seen:] if message.kind == STATE_CHANGED]
    passed = [peer.machine.by_way_of[event]] if event in peer.machine.by_way_of else []
    reached = [] if target == state else [target]
    assert changes == [(s, before + 1 + i) for i, s in enumerate([*passed, *reached])]
    assert (result.ok, result.state, result.event, result.trigger, result.error) == (True, target, event, EXECUTOR, "")
    assert result.sequence == before + len(changes)
    assert peer.seen[-1] == result  # the state is told before the answer
    if target == peer.machine.done:
        assert peer.task.wait() == 0


def step(peer: Peer) -> tuple[int, int, int]:
    """Return an event that is allowed in the present state, that state, and the next."""
    state = peer.ping().state
    event = next(iter(peer.machine.table[state]))
    return event, state, peer.machine.table[state][event]


def test_a_repeated_id_gets_the_same_answer_and_has_no_second_effect(peer: Peer) -> None:
    event, source, _ = step(peer)
    result = peer.go(event, source)
    after = peer.ping()

    for _ in range(3):
        assert peer.go(event, source, id=result.id) == result

    assert peer.ping(2).sequence == after.sequence


def test_a_repeated_id_with_other_contents_gets_the_first_answer(peer: Peer) -> None:
    event, source, _ = step(peer)
    result = peer.go(event, source)

    assert peer.go(event + 1, source + 1, {"a": "b"}, id=result.id) == result


def test_a_repeated_refusal_stays_a_refusal(peer: Peer) -> None:
    event, source, target = step(peer)
    refused = peer.go(event, target)
    assert peer.go(event, source).ok

    assert peer.go(event, target, id=refused.id) == refused


def test_a_late_command_of_a_state_that_is_gone_is_refused(peer: Peer) -> None:
    event, source, target = step(peer)
    peer.go(event, source)

    late = peer.go(event, source)

    assert (late.ok, late.state) == (False, target)


def test_sixteen_answers_are_kept(peer: Peer) -> None:
    event, source, target = step(peer)
    refusals = [peer.go(event, target, id=f"{peer.name}-{i}") for i in range(ANSWERS_KEPT)]
    assert peer.go(event, source, id="pushes-out-the-first").ok

    for refusal in refusals[1:]:
        assert peer.go(event, source, id=refusal.id) == refusal


def test_an_id_has_at_most_63_bytes(peer: Peer) -> None:
    event, source, _ = step(peer)
    peer.send(TRANSITION, "i" * 64, event, source, {})
    peer.send(TRANSITION, "é" * 32, event, source, {})
    peer.send(PING, 77)

    assert peer.receive().kind == PONG
    assert peer.go(event, source, id="é" * 31 + "i").ok


def test_answers_are_kept_for_the_next_controller(shared: Task, peer: Peer, connect: Connect, epoch: int) -> None:
    event, source, _ = step(peer)
    result = peer.go(event, source)
    newer = connect(shared)
    newer.welcome(CONTROLLER, epoch + 1)

    assert newer.go(event, source, id=result.id) == result


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {f"key-{i}": "v" * i for i in range(300)},
        {f"k{i}": "" for i in range(70_000)},
        {"long": "x" * 4_000_000},
        {"": "empty key", "µ€😀": "😀€µ", " ": "\n\t\x7f", "__ptree__:ini:x": "[a]\nb=1"},
    ],
    ids=["none", "many", "70 000", "4 MB", "strange"],
)
def test_arguments_of_all_kinds_are_taken(peer: Peer, arguments: dict[str, str]) -> None:
    event, source, _ = step(peer)

    assert peer.go(event, source, arguments).ok


def test_an_argument_with_a_nul_is_refused_in_c_and_harmless_elsewhere(peer: Peer) -> None:
    event, source, target = step(peer)

    result = peer.go(event, source, {"a": "b\0c"})

    assert (result.ok, result.state) in ((False, source), (True, target))


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        ({}, 0),
        ({"runNumber": "0"}, 0),
        ({"runNumber": "17"}, 17),
        ({"run_number": "18"}, 18),
        ({"runNumber": "19", "run_number": "20"}, 19),
        ({"runNumber": "4294967295"}, 2**32 - 1),
    ],
    ids=name_of,
)
def test_the_run_number_is_told_to_who_comes_later(
    shared: Task, peer: Peer, connect: Connect, epoch: int, arguments: dict[str, str], run: int
) -> None:
    machine = peer.machine
    ready = next(state for state, row in machine.table.items() if machine.start in row)
    peer.bring(ready)

    assert peer.go(machine.start, ready, arguments).ok

    assert connect(shared).welcome(CONTROLLER, epoch + 1).run == run


@pytest.mark.parametrize("text", ["4294967296", "-1", "+1", "x", "1x", " 1", "", "0x10", "1e3", "9" * 400])
def test_a_run_number_that_is_none_is_refused(peer: Peer, text: str) -> None:
    machine = peer.machine
    ready = next(state for state, row in machine.table.items() if machine.start in row)
    peer.bring(ready)

    result = peer.go(machine.start, ready, {"runNumber": text})

    assert (result.ok, result.state) == (False, ready)
    assert "run number" in result.error
    assert peer.ping().state == ready


def test_events_of_the_other_machine_are_not_understood(peer: Peer) -> None:
    other: Any = FAIRMQ_MACHINE if peer.machine is OCC_MACHINE else OCC_MACHINE
    beyond = max(peer.machine.events) + 1
    assert other is not peer.machine

    assert not peer.go(beyond, peer.machine.initial).ok
    assert CONFIGURE in peer.machine.events
