"""Who may command: Hello, epochs, names, stealing, observers."""

from __future__ import annotations

import itertools

import pytest

from tests.conformance.conftest import Connect
from tests.conformance.peer import Peer, Task
from tests.conformance.protocol import (
    CONFLICT,
    CONTROLLER,
    HELLO,
    NOT_CONTROLLER,
    OBSERVER,
    PING,
    PONG,
    REFUSED,
    STALE,
    STATE_CHANGED,
    SUPERSEDED,
    TRANSITION,
    WELCOME,
    WRONG_VERSION,
)

LOW, EQUAL, HIGH = -1, 0, 1


def first_step(peer: Peer) -> tuple[int, int, int]:
    """Return an event that is allowed in the first state, that state, and the next one."""
    source = peer.machine.initial
    event, target = next(iter(peer.machine.table[source].items()))
    return event, source, target


def test_welcome_tells_how_the_task_is(task: Task, connect: Connect) -> None:
    peer = connect(task)

    welcome = peer.welcome()

    assert (welcome.version, welcome.pid, welcome.task, welcome.run) == (1, task.process.pid, "instance/node/task", 0)
    assert (welcome.state, welcome.sequence) == (peer.machine.initial, 0)


def test_before_hello_nothing_is_answered(shared: Task, peer: Peer, connect: Connect) -> None:
    event, source, _ = first_step(peer)
    stranger = connect(shared)
    stranger.send(PING, 1)
    stranger.send(TRANSITION, "x", event, source, {})

    stranger.welcome(OBSERVER, 0)

    assert [message.kind for message in stranger.seen] == [WELCOME]


@pytest.mark.parametrize("versions", [(1, 1), (0, 1), (1, 9), (0, 300), (-5, 2**40)])
def test_the_common_version_is_spoken(shared: Task, connect: Connect, epoch: int, versions: tuple[int, int]) -> None:
    answer = connect(shared).hello(CONTROLLER, epoch, None, *versions)

    assert (answer.kind, answer.version) == (WELCOME, 1)


@pytest.mark.parametrize("versions", [(2, 3), (0, 0), (2, 1), (2**40, 2**40)])
def test_without_a_common_version_nobody_gets_in(
    shared: Task, peer: Peer, connect: Connect, epoch: int, versions: tuple[int, int]
) -> None:
    answer = connect(shared).hello(CONTROLLER, epoch + 1, None, *versions)

    assert (answer.kind, answer.reason) == (REFUSED, WRONG_VERSION)
    assert peer.ping().kind == PONG


@pytest.mark.parametrize(
    ("age", "same_name", "steal"),
    list(itertools.product((LOW, EQUAL, HIGH), (False, True), (False, True))),
    ids=lambda value: (
        {-1: "older", 0: "equal", 1: "newer"}.get(value, str(value)) if type(value) is int else str(value)
    ),
)
def test_the_second_controller(
    shared: Task, peer: Peer, connect: Connect, epoch: int, age: int, same_name: bool, steal: bool
) -> None:
    """Every relation of two controllers. `same_name`: it is the same one, that comes by a new connection."""
    other = connect(shared)
    name = peer.name if same_name else other.name

    answer = other.hello(CONTROLLER, epoch + age, name, 1, 1, steal)

    event, source, target = first_step(peer)
    if age == LOW or (age == EQUAL and not same_name and not steal):
        assert (answer.kind, answer.reason) == (REFUSED, STALE if age == LOW else CONFLICT)
        assert (answer.holder, answer.epoch) == (peer.name, epoch)
        assert peer.go(event, source).state == target
        return
    assert answer.kind == WELCOME
    assert other.go(event, source).state == target
    if same_name:
        return
    superseded = peer.wait_for(REFUSED)
    assert (superseded.reason, superseded.holder, superseded.epoch) == (SUPERSEDED, name, epoch + age)
    peer.order(event, source)
    assert peer.wait_for(REFUSED).reason == NOT_CONTROLLER
    while not peer.seen_of(STATE_CHANGED):  # it stays as an observer
        peer.receive()


def test_who_was_superseded_is_stale_from_then_on(shared: Task, peer: Peer, connect: Connect, epoch: int) -> None:
    connect(shared).welcome(CONTROLLER, epoch + 1)
    peer.wait_for(REFUSED)

    answer = peer.hello(CONTROLLER, epoch, None, 1, 1, True)

    assert (answer.kind, answer.reason, answer.epoch) == (REFUSED, STALE, epoch + 1)


def test_the_holder_may_say_hello_again(peer: Peer, epoch: int) -> None:
    assert peer.hello(CONTROLLER, epoch).kind == WELCOME
    assert peer.hello(CONTROLLER, epoch + 1).kind == WELCOME
    event, source, target = first_step(peer)
    assert peer.go(event, source).state == target


def test_a_nameless_controller_is_never_the_same(shared: Task, peer: Peer, connect: Connect, epoch: int) -> None:
    first = connect(shared)
    first.welcome(CONTROLLER, epoch + 1, "")

    answer = connect(shared).hello(CONTROLLER, epoch + 1, "")

    assert (answer.kind, answer.reason) == (REFUSED, CONFLICT)


def test_who_is_gone_still_holds_the_task(shared: Task, peer: Peer, connect: Connect, epoch: int) -> None:
    peer.close()

    answer = connect(shared).hello(CONTROLLER, epoch)

    assert (answer.kind, answer.reason, answer.holder) == (REFUSED, CONFLICT, peer.name)


def test_a_controller_that_becomes_an_observer_leaves_the_task_free(
    shared: Task, peer: Peer, connect: Connect, epoch: int
) -> None:
    peer.welcome(OBSERVER, epoch)

    assert connect(shared).hello(CONTROLLER, epoch - 5).kind == WELCOME


def test_an_observer_sees_and_may_not_command(shared: Task, peer: Peer, connect: Connect) -> None:
    observer = connect(shared)
    observer.welcome(OBSERVER, 0)
    event, source, target = first_step(peer)

    observer.order(event, source)
    refused = observer.wait_for(REFUSED)
    result = peer.go(event, source)

    assert (refused.reason, refused.holder) == (NOT_CONTROLLER, peer.name)
    assert result.ok
    assert observer.wait_for(STATE_CHANGED, lambda m: m.state == target).sequence == result.sequence
    assert observer.ping(9).state == target


def test_an_observer_that_is_refused_nothing_becomes_controller(
    shared: Task, peer: Peer, connect: Connect, epoch: int
) -> None:
    observer = connect(shared)
    observer.welcome(OBSERVER, 0)

    assert observer.hello(CONTROLLER, epoch).kind == REFUSED
    assert observer.hello(CONTROLLER, epoch + 1).kind == WELCOME


@pytest.mark.parametrize(("bytes_", "answered"), [(63, True), (64, False), (100_000, False)])
def test_names_have_at_most_63_bytes(
    shared: Task, peer: Peer, connect: Connect, epoch: int, bytes_: int, answered: bool
) -> None:
    other = connect(shared)
    other.send(HELLO, CONTROLLER, epoch + 1, "é" * (bytes_ // 2) + "x" * (bytes_ % 2))

    other.send(HELLO, OBSERVER, 0, "")
    kinds = [other.receive().kind]
    if answered:
        kinds.append(other.receive().kind)

    assert kinds == [WELCOME, WELCOME] if answered else [WELCOME]
    assert (connect(shared).hello(CONTROLLER, epoch).kind == REFUSED) is not answered


def test_at_least_sixteen_peers_are_known(shared: Task, peer: Peer, connect: Connect) -> None:
    observers = [connect(shared) for _ in range(15)]
    for observer in observers:
        observer.welcome(OBSERVER, 0)

    event, source, target = first_step(peer)
    peer.go(event, source)

    for observer in observers:
        assert observer.wait_for(STATE_CHANGED).state == target


def test_observers_never_push_out_the_controller(shared: Task, peer: Peer, connect: Connect) -> None:
    for _ in range(40):
        connect(shared).welcome(OBSERVER, 0)

    event, source, _ = first_step(peer)

    assert peer.go(event, source).ok
