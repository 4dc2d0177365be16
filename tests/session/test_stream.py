"""Events in their order, each once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libecs.client.stream import EventStream
from libecs.wire.info import Event


def event(sequence: int) -> Event:
    return Event(sequence=sequence, unix_ms=0, kind="node")


def numbers(events: list[Event]) -> list[int]:
    return [one.sequence for one in events]


def test_the_first_event_is_the_first() -> None:
    stream = EventStream()

    assert numbers(stream.take([event(7), event(8)])) == [7, 8]
    assert not stream.missing


def test_early_events_wait_for_those_before_them() -> None:
    stream = EventStream()
    stream.begin(10)

    assert stream.take([event(13), event(12)]) == []
    assert stream.missing
    assert numbers(stream.take([event(11)])) == [11, 12, 13]
    assert not stream.missing


def test_what_is_told_and_did_not_come_is_missing() -> None:
    stream = EventStream()
    stream.begin(10)
    stream.tell(11)

    assert stream.missing
    assert numbers(stream.take([event(11)])) == [11]
    assert not stream.missing


def test_what_cannot_be_had_is_skipped_and_counted() -> None:
    stream = EventStream()
    stream.begin(10)
    stream.take([event(15), event(17)])

    assert numbers(stream.skip(13)) == []
    assert stream.skipped == 2
    assert numbers(stream.skip()) == [15]
    assert numbers(stream.skip()) == [17]
    assert stream.skipped == 5
    assert not stream.missing

    stream.tell(20)
    assert stream.skip() == []
    assert stream.last == 20


def test_a_new_beginning_forgets_what_was() -> None:
    stream = EventStream()
    stream.begin(10)
    stream.take([event(15)])

    stream.begin(3)

    assert not stream.missing
    assert numbers(stream.take([event(4)])) == [4]


@given(st.data())
def test_whatever_order_and_however_often_events_come_each_is_told_once_in_order(data: st.DataObject) -> None:
    stream = EventStream()
    stream.begin(0)
    sent = data.draw(st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=20))
    told: list[int] = []

    for batch in sent:
        told += numbers(stream.take([event(sequence) for sequence in batch]))
    came = {sequence for batch in sent for sequence in batch}
    assert told == list(range(1, len(told) + 1))
    assert len(told) + 1 not in came
    told += numbers(stream.take([event(sequence) for sequence in range(1, 31)]))

    assert told == list(range(1, 31))
