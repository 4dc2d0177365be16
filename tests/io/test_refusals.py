"""What the log says of handshakes that were refused."""

from __future__ import annotations

import pytest

from libecs.io.refusals import MAX_KEPT, Refusals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_told_at_once_and_others_once_a_minute_with_their_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)

    refusals.note("10.0.0.7", "key unknown", "key aaaa")
    for second in range(5, 61, 5):
        clock.now = 1000.0 + second
        refusals.note("10.0.0.7", "key unknown", "key bbbb")
    clock.now = 1000.0 + 60 + 180
    refusals.note("10.0.0.7", "key unknown")

    assert caplog.messages == [
        "a handshake was refused, from 10.0.0.7: key unknown (key aaaa)",
        "12 handshakes were refused in the last minute, from 10.0.0.7: key unknown (key bbbb)",
        "1 handshake was refused in the last 3 minutes, from 10.0.0.7: key unknown",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_address_and_each_reason_has_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(clock=Clock())

    for _ in range(10):
        refusals.note("10.0.0.7", "key unknown")
        refusals.note("10.0.0.8", "key unknown")
        refusals.note("10.0.0.8", "no key")
        refusals.note("", "no key")

    assert len(caplog.messages) == 4
    assert "an address that is gone" in caplog.messages[3]


def test_of_very_many_addresses_the_oldest_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(clock=Clock())

    for number in range(MAX_KEPT + 1):
        refusals.note(f"2001:db8::{number:x}", "no key")
    caplog.clear()
    refusals.note(f"2001:db8::{MAX_KEPT:x}", "no key")
    refusals.note("2001:db8::0", "no key")

    assert caplog.messages == ["a handshake was refused, from 2001:db8::0: no key"]
