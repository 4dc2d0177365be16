"""RECONFIGURE: new values without leaving CONFIGURED. Only the OCC machine has it."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, Start
from tests.conformance.peer import Peer
from tests.conformance.protocol import (
    CONFIGURE,
    CONFIGURED,
    EXECUTOR,
    OCC,
    RECONFIGURE,
    RESET,
    RUNNING,
    STANDBY,
    START,
    STATE_CHANGED,
    STOP,
)

pytestmark = [pytest.mark.usefixtures("obeys"), pytest.mark.parametrize("number", [OCC])]


def trace(peer: Peer) -> list[str]:
    return (peer.task.folder / "trace").read_text().splitlines()


def test_new_values_hold_from_then_on_and_the_others_stay(own: Peer, number: int) -> None:
    own.go(CONFIGURE, STANDBY, {"show": "x", "x": "1", "y": "2"})
    sequence = own.ping().sequence

    result = own.go(RECONFIGURE, CONFIGURED, {"x": "3"})

    assert (result.ok, result.state, result.sequence, result.error) == (True, CONFIGURED, sequence, "")
    assert len(own.seen_of(STATE_CHANGED)) == 1
    own.go(RECONFIGURE, CONFIGURED, {"y": "4"})
    own.go(START, CONFIGURED, {"x": "for this run"})
    own.go(STOP, RUNNING)
    own.go(RECONFIGURE, CONFIGURED, {"z": "5"})
    own.go(START, CONFIGURED)
    own.go(STOP, RUNNING)
    own.go(RESET, CONFIGURED)
    own.go(CONFIGURE, STANDBY, {"show": "x"})
    assert trace(own) == [
        "configure 1",
        "reconfigure 3",
        "reconfigure 3",
        "start 0 for this run",
        "stop for this run",
        "reconfigure 3",
        "start 0 3",
        "stop 3",
        "reset 3",
        "configure ?",
    ]


def test_it_may_come_again_and_again(own: Peer, number: int) -> None:
    own.go(CONFIGURE, STANDBY, {"x": "0"})

    for i in range(200):
        assert own.go(RECONFIGURE, CONFIGURED, {"x": f"{i}", f"key-{i % 7}": "v" * i}).ok

    assert own.go(START, CONFIGURED).ok


def test_who_can_not_do_it_live_refuses_and_goes_on(start: Start, connect: Connect, number: int) -> None:
    own = connect(start(RIGID="yes"))
    own.welcome()
    own.go(CONFIGURE, STANDBY, {"x": "1"})

    result = own.go(RECONFIGURE, CONFIGURED, {"x": "2"})

    assert (result.ok, result.state, result.trigger) == (False, CONFIGURED, EXECUTOR)
    assert result.error == "the task does not reconfigure live"
    assert own.go(START, CONFIGURED).ok
