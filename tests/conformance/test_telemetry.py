"""Numbers and lines: what they mean, where they stand, and how many there may be. The task must obey."""

from __future__ import annotations

import time

import pytest

from tests.conformance.conftest import Connect
from tests.conformance.peer import Message, Peer, Task
from tests.conformance.protocol import CONTROLLER, FAIRMQ, LOG, METRIC, OBSERVER, RESULT, STATE_CHANGED

pytestmark = pytest.mark.usefixtures("obeys")


def ready(peer: Peer) -> int:
    return next(state for state, row in peer.machine.table.items() if peer.machine.start in row)


def turns_told(peer: Peer) -> int:
    return sum(metric.n for metric in peer.seen_of(METRIC) if metric.name == "turns")


def wait_until_it_tells_nobody(observer: Peer) -> None:
    """Wait until the task knows that its controller is gone: for three times as long as it gathers numbers, none came.

    It is asked all the while, so that it is silent and does not stand still.
    """
    told, quiet = -1, 0
    while quiet < 30:
        time.sleep(0.01)  # numbers are gathered for 0.1 s, by the clock
        observer.ping()
        before, told = told, turns_told(observer)
        quiet = quiet + 1 if told == before else 0


def test_numbers_of_a_run_stand_between_its_states(own: Peer) -> None:
    machine = own.machine
    own.bring(ready(own), {"tell": "yes"})
    for run in ("1", "2"):
        own.seen.clear()
        assert own.go(machine.start, ready(own), {"runNumber": run}).ok
        own.wait_for(METRIC, lambda metric: metric.name == "turns")
        result = own.go(machine.stop, machine.running)

        assert result.ok
        begin = next(i for i, m in enumerate(own.seen) if m.kind == STATE_CHANGED and m.state == machine.running)
        end = next(i for i, m in enumerate(own.seen) if i > begin and m.kind == STATE_CHANGED)
        names = ("pre_run", "turns", "post_run") if machine.number == FAIRMQ else ("start", "turns", "stop")
        for name in names:
            places = [i for i, m in enumerate(own.seen) if m.kind == METRIC and m.name == name]
            assert places, name
            assert begin < min(places) <= max(places) < end, name
        told = [m for m in own.seen_of(METRIC) if m.name in (names[0], names[2])]
        assert [(m.n, m.sum) for m in told] == [(1, 1.0), (1, 1.0)]


def test_samples_are_counted_once(own: Peer) -> None:
    own.bring(own.machine.running, {"tell": "yes"})
    for n in range(3):
        own.wait_for(METRIC, lambda metric: metric.name == "turns")
        own.ping(n)
    assert own.go(own.machine.stop, own.machine.running).ok

    turns = own.ping().progress

    told = [metric for metric in own.seen_of(METRIC) if metric.name == "turns"]
    assert sum(metric.n for metric in told) == sum(metric.sum for metric in told) == turns
    assert {(metric.min, metric.max, metric.last, metric.unit) for metric in told} == {(1.0, 1.0, 1.0, "turns")}


def test_a_metric_comes_at_most_ten_times_a_second(own: Peer) -> None:
    own.bring(own.machine.running, {"tell": "yes", "busy": "yes"})
    while len(told := [metric for metric in own.seen_of(METRIC) if metric.name == "turns"]) < 8:
        own.receive()

    # By the task's own times: the last sample of each may be some ms older than its sending.
    assert told[-1].unix_ms - told[0].unix_ms > 500


def test_times_are_of_the_wall_clock(own: Peer) -> None:
    own.bring(ready(own), {"tell": "yes"})

    while not own.seen_of(METRIC) or not own.seen_of(LOG):
        own.receive()
    for message in (*own.seen_of(METRIC), *own.seen_of(LOG)):
        assert abs(message.unix_ms / 1000 - time.time()) < 3600


def test_a_flood_is_bounded_and_what_is_dropped_is_counted(own: Peer, task: Task) -> None:
    n = 20_000
    own.bring(ready(own), {"flood": str(n)})
    logs: list[Message] = own.seen_of(LOG)
    while not logs or logs[-1].text != f"line {n - 1}":
        own.wait_for(LOG)
        logs = own.seen_of(LOG)
    while sum(m.n for m in own.seen_of(METRIC)) < n:
        own.wait_for(METRIC)

    dropped = [log.dropped for log in logs]
    assert dropped == sorted(dropped)
    assert len(logs) + dropped[-1] == n
    numbers = [int(log.text.split()[1]) for log in logs]
    assert numbers == sorted(numbers)
    metrics = own.seen_of(METRIC)
    assert sum(m.sum for m in metrics) == n * (n - 1) / 2
    assert (min(m.min for m in metrics), max(m.max for m in metrics), metrics[-1].last) == (0, n - 1, n - 1)


def test_64_names_are_told(own: Peer) -> None:
    own.bring(ready(own), {"names": "100"})

    while "name-63" not in [metric.name for metric in own.seen_of(METRIC)]:
        own.receive()
    assert len({metric.name for metric in own.seen_of(METRIC)}) == 64
    if not own.seen_of(LOG):
        own.wait_for(LOG)
    assert own.seen_of(LOG)[-1].text == "refused 36"


def test_lines_come_before_the_answer_that_they_explain(own: Peer) -> None:
    own.bring(ready(own), {"tell": "yes"})

    for i, message in enumerate(own.seen):
        if message.kind == LOG and message.text == "at configure":
            assert RESULT not in [m.kind for m in own.seen[:i]]


def test_numbers_wait_for_a_controller_that_comes_back(own: Peer, task: Task, connect: Connect) -> None:
    observer = connect(task)
    observer.welcome(OBSERVER, 0)
    own.bring(own.machine.running, {"tell": "yes"})
    own.wait_for(METRIC, lambda metric: metric.name == "turns")
    own.close()
    wait_until_it_tells_nobody(observer)
    sent = turns_told(observer)

    again = connect(task)
    again.welcome(CONTROLLER, 1, own.name)
    assert again.go(again.machine.stop, again.machine.running).ok

    turns = again.ping().progress
    assert turns_told(again) >= turns - sent > 0  # what was sent to the one who went may be lost, and nothing else
    assert turns_told(own) + turns_told(again) <= turns


def test_observers_are_told_too(own: Peer, task: Task, connect: Connect) -> None:
    observer = connect(task)
    observer.welcome(OBSERVER, 0)

    own.bring(ready(own), {"tell": "yes"})

    kinds: set[int] = set()
    while not {METRIC, LOG} <= kinds:
        kinds.add(observer.receive().kind)


def test_who_never_says_anything_is_told_a_bounded_number(own: Peer, task: Task, connect: Connect) -> None:
    """Telemetry never fills the queue to a peer: there is room for states and answers."""
    observer = connect(task)
    observer.welcome(OBSERVER, 0)
    for number in range(5):
        own.bring(ready(own), {"flood": "5000"} if number == 0 else None)
        own.bring(own.machine.initial)

    sequence = own.ping().sequence

    observer.wait_for(STATE_CHANGED, lambda change: change.sequence == sequence)
    assert len(observer.seen_of(LOG)) + len(observer.seen_of(METRIC)) <= 2000
