"""The rules of the task link, the same for libocc, its Python face and the Python device: who commands, and once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import zmq

from libecs.wire.task import (
    TASK,
    Hello,
    Machine,
    PeerRole,
    Ping,
    Pong,
    Refusal,
    Refused,
    Result,
    StateChanged,
    Transition,
    Trigger,
    Welcome,
)
from tests.occ.harness import DEVICE, PYTHON, VERSION, C, Kind, Peer, TaskProcess

pytestmark = pytest.mark.parametrize("kind", [C, PYTHON, DEVICE], ids=lambda kind: kind.name)

Connect = Callable[..., Peer]


def first(peer: Peer, kind: Kind) -> Result:
    """Go through the first event."""
    return peer.go(kind.first_event, kind.first_state)


# --- Hello


def test_hello_is_answered_by_how_the_task_is(task: TaskProcess, connect: Connect, kind: Kind) -> None:
    welcome = connect(task).welcome()

    assert welcome == Welcome(
        version=1,
        machine=Machine.FAIRMQ if kind is DEVICE else Machine.OCC,
        state=kind.first_state,
        sequence=0,
        pid=task.process.pid,
        task="instance/node/task",
        run=0,
    )


def test_who_said_no_hello_gets_no_answer(task: TaskProcess, connect: Connect, kind: Kind) -> None:
    stranger = connect(task)
    stranger.send(Ping(number=1))
    stranger.send(Transition(id="x", event=kind.first_event, source=kind.first_state))

    answer = stranger.hello()

    assert isinstance(answer, Welcome)
    assert answer.sequence == 0


def test_an_equal_epoch_of_another_name_is_refused(peer: Peer, task: TaskProcess, connect: Connect) -> None:
    answer = connect(task).hello(name="other")

    assert answer == Refused(reason=Refusal.CONFLICT, holder="tester", epoch=1)


def test_an_older_epoch_is_refused_even_if_it_steals(peer: Peer, task: TaskProcess, connect: Connect) -> None:
    answer = connect(task).hello(name="other", epoch=0, steal=True)

    assert answer == Refused(reason=Refusal.STALE, holder="tester", epoch=1)


def test_a_higher_epoch_supersedes(peer: Peer, task: TaskProcess, connect: Connect, kind: Kind) -> None:
    newer = connect(task)
    newer.welcome(name="newer", epoch=2)

    assert peer.receive() == Refused(reason=Refusal.SUPERSEDED, holder="newer", epoch=2)
    peer.order(kind.first_event, kind.first_state)
    assert peer.receive() == Refused(reason=Refusal.NOT_CONTROLLER, holder="newer", epoch=2)
    assert first(newer, kind).ok


def test_an_equal_epoch_may_steal(peer: Peer, task: TaskProcess, connect: Connect, kind: Kind) -> None:
    thief = connect(task)

    assert isinstance(thief.hello(name="thief", steal=True), Welcome)
    assert peer.receive() == Refused(reason=Refusal.SUPERSEDED, holder="thief", epoch=1)
    assert first(thief, kind).ok


def test_an_old_controller_that_comes_late_stays_out(peer: Peer, task: TaskProcess, connect: Connect) -> None:
    connect(task).welcome(name="newer", epoch=2)
    peer.receive()

    answer = peer.hello()

    assert answer == Refused(reason=Refusal.STALE, holder="newer", epoch=2)


def test_the_same_controller_comes_back_by_a_new_connection(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    peer.socket.close()
    again = connect(task)

    again.welcome()

    assert first(again, kind).ok


def test_a_controller_with_a_fixed_identity_comes_back(task: TaskProcess, connect: Connect, kind: Kind) -> None:
    before = connect(task, b"executor")
    before.welcome()
    before.socket.close()

    again = connect(task, b"executor")
    again.welcome()

    assert first(again, kind).ok


def test_a_controller_that_is_gone_still_holds_the_task(peer: Peer, task: TaskProcess, connect: Connect) -> None:
    peer.socket.close()

    answer = connect(task).hello(name="other")

    assert answer == Refused(reason=Refusal.CONFLICT, holder="tester", epoch=1)


def test_a_controller_steps_back_by_becoming_an_observer(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    peer.welcome(PeerRole.OBSERVER)

    other = connect(task)

    other.welcome(name="other")
    assert first(other, kind).ok


def test_an_observer_sees_states_and_may_not_command(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    observer = connect(task)
    observer.welcome(PeerRole.OBSERVER, epoch=0, name="peanut")

    observer.order(kind.first_event, kind.first_state)
    assert observer.receive() == Refused(reason=Refusal.NOT_CONTROLLER, holder="tester", epoch=1)

    first(peer, kind)
    assert observer.receive() == StateChanged(state=kind.second_state, sequence=1)
    assert observer.ping(5) == Pong(number=5, state=kind.second_state, sequence=1, progress=0)


@pytest.mark.parametrize("versions", [(2, 3), (0, 0)])
def test_without_a_common_version_nobody_gets_in(
    task: TaskProcess, connect: Connect, kind: Kind, versions: tuple[int, int]
) -> None:
    answer = connect(task).hello(version_low=versions[0], version_high=versions[1])

    assert answer == Refused(reason=Refusal.VERSION)


def test_observers_beyond_the_limit_push_out_the_quietest(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    observers = [connect(task) for _ in range(20)]
    for observer in observers:
        observer.welcome(PeerRole.OBSERVER)

    first(peer, kind)

    assert observers[-1].wait_for(StateChanged).state == kind.second_state
    observers[0].send(Ping(number=1))
    observers[0].send(Hello(role=PeerRole.OBSERVER, epoch=0, name=""))
    assert isinstance(observers[0].receive(), Welcome)  # the ping of one who is not known any more got no answer


# --- Transition


def test_a_transition_changes_the_state_and_says_so_first(peer: Peer, kind: Kind) -> None:
    result = first(peer, kind)

    assert result == Result(
        id=result.id, ok=True, state=kind.second_state, event=kind.first_event, trigger=Trigger.EXECUTOR, sequence=1
    )
    assert peer.seen[-2:] == [StateChanged(state=kind.second_state, sequence=1), result]


def test_an_event_from_another_source_state_changes_nothing(peer: Peer, kind: Kind) -> None:
    result = peer.go(kind.first_event, kind.second_state)

    assert not result.ok
    assert result.state == kind.first_state
    assert "was ordered from" in result.error
    assert peer.ping().sequence == 0


@pytest.mark.parametrize("event", [0, 77, -1, 2**40, -(2**40)])
def test_an_unknown_event_changes_nothing(peer: Peer, kind: Kind, event: int) -> None:
    result = peer.go(event, kind.first_state)

    assert not result.ok
    assert result.error == f"there is no event {event}"
    assert peer.ping().sequence == 0


@pytest.mark.parametrize("source", [77, -1, 2**40])
def test_an_unknown_source_state_is_not_the_present_one(peer: Peer, kind: Kind, source: int) -> None:
    result = peer.go(kind.first_event, source)

    assert not result.ok
    assert "was ordered from ?" in result.error


def test_a_repeated_id_gets_the_same_answer_and_has_no_second_effect(peer: Peer, kind: Kind) -> None:
    result = first(peer, kind)

    peer.order(kind.first_event, kind.first_state, id=result.id)

    assert peer.receive() == result
    assert peer.ping().sequence == 1


def test_a_repeated_id_of_a_refusal_gets_the_same_answer(peer: Peer, kind: Kind) -> None:
    refused = peer.go(kind.first_event, kind.second_state)
    first(peer, kind)

    peer.order(kind.first_event, kind.second_state, id=refused.id)

    assert peer.receive() == refused


def test_the_answer_is_kept_for_a_controller_that_supersedes(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    result = first(peer, kind)
    newer = connect(task)
    newer.welcome(name="newer", epoch=2)

    newer.order(kind.first_event, kind.first_state, id=result.id)

    assert newer.receive() == result


def test_sixteen_answers_are_kept(peer: Peer, kind: Kind) -> None:
    refusals = [peer.go(kind.first_event, kind.second_state) for _ in range(17)]
    first_id, second_id = refusals[0].id, refusals[1].id

    peer.order(kind.first_event, kind.first_state, id=first_id)  # forgotten, so it is a new order, and a good one
    assert peer.wait_for(Result).ok

    peer.order(kind.first_event, kind.first_state, id=refusals[-1].id)
    assert peer.receive() == refusals[-1]
    peer.order(kind.first_event, kind.second_state, id=second_id)
    assert peer.receive().state == kind.second_state  # this one was pushed out just now


def hang(peer: Peer, kind: Kind, task: TaskProcess) -> str:
    """Let the task hang in its first callback; return the id of the order that does."""
    arguments = {"hang": kind.first_moment}
    *before, (event, source) = kind.steps_to_moment
    for step, state in before:
        assert peer.go(step, state, arguments).ok
        arguments = {}
    id = peer.order(event, source, arguments)
    while not task.trace():
        peer.ping()
    return id


def test_a_ping_is_answered_while_a_callback_hangs(peer: Peer, kind: Kind, task: TaskProcess) -> None:
    id = hang(peer, kind, task)

    for number in range(10):
        assert peer.ping(number).number == number

    task.release()
    assert peer.wait_for(Result).id == id


def test_an_id_repeated_while_it_goes_on_is_answered_once_when_it_ends(
    peer: Peer, kind: Kind, task: TaskProcess
) -> None:
    id = hang(peer, kind, task)
    event, source = kind.steps_to_moment[-1]

    peer.order(event, source, id=id)
    peer.ping(7)
    task.release()

    result = peer.wait_for(Result)
    assert (result.id, result.ok) == (id, True)
    assert peer.ping(8) is peer.seen[-1]
    assert [message.id for message in peer.seen if isinstance(message, Result)].count(id) == 1


def test_another_order_meanwhile_is_refused(peer: Peer, kind: Kind, task: TaskProcess) -> None:
    hang(peer, kind, task)
    event, source = kind.steps_to_moment[-1]

    refused = peer.go(event, source)

    assert not refused.ok
    assert refused.error.endswith("is still going on")
    task.release()
    assert peer.wait_for(Result).ok


def test_who_supersedes_during_a_transition_gets_its_result(
    peer: Peer, kind: Kind, task: TaskProcess, connect: Connect
) -> None:
    id = hang(peer, kind, task)
    newer = connect(task)
    newer.welcome(name="newer", epoch=2)

    task.release()

    assert newer.wait_for(Result).id == id


def test_the_state_number_grows_by_one(peer: Peer, kind: Kind) -> None:
    for event, source in kind.steps_to_moment:
        peer.go(event, source)

    changes = [message.sequence for message in peer.seen if isinstance(message, StateChanged)]

    assert changes == list(range(1, len(changes) + 1))


# --- bytes that are no message


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [VERSION],
        [b"\x02", TASK.encode(Ping(number=1))],
        [VERSION, b""],
        [VERSION, b"\xc1"],
        [VERSION, b"\xdd\xff\xff\xff\xff"],
        [VERSION, TASK.encode(Ping(number=1)), b"more"],
        [VERSION, TASK.encode(Pong(number=1, state=1, sequence=1))],
        [VERSION, msgpack.packb([2, "i" * 64, 1, 1])],
        [VERSION, msgpack.packb([2, b"\xff", 1, 1])],
        [VERSION, msgpack.packb([1, 1, 9, "n" * 64])],
        [VERSION, b"\x91" * 100_000],
        [b"x"] * 1000,
    ],
    ids=lambda parts: f"{len(parts)} parts of {[len(part) for part in parts[:3]]}",
)
def test_a_malformed_message_is_passed_over(peer: Peer, kind: Kind, parts: list[bytes]) -> None:
    if parts:
        peer.send_raw(*parts)

    assert peer.ping(3).number == 3
    assert first(peer, kind).ok


def test_a_frame_over_the_limit_costs_only_its_sender_the_connection(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    flooder = connect(task)
    flooder.welcome(PeerRole.OBSERVER, name="flooder")

    flooder.send_raw(VERSION, bytes(9 * 1024 * 1024))

    assert first(peer, kind).ok
    other = connect(task)
    assert isinstance(other.hello(PeerRole.OBSERVER, name="other"), Welcome)


def test_a_peer_that_never_reads_does_not_hold_up_the_task(
    peer: Peer, task: TaskProcess, connect: Connect, kind: Kind
) -> None:
    deaf = connect(task)
    deaf.socket.rcvhwm = 1
    for number in range(20_000):
        deaf.socket.send_multipart([VERSION, TASK.encode(Ping(number=number))], zmq.DONTWAIT if number > 900 else 0)
        if number > 900:
            break

    assert first(peer, kind).ok


def test_arguments_of_many_kinds_arrive_unchanged(peer: Peer, kind: Kind, task: TaskProcess) -> None:
    arguments: dict[str, Any] = {f"key-{i}": "v" * i for i in range(300)}
    arguments |= {"long": "x" * 300_000, "µ": "€😀", "": "empty key", "empty value": ""}

    assert peer.go(kind.first_event, kind.first_state, arguments).ok
