"""What becomes of a task whose callbacks fail, throw, exit or hang. The task must obey; see __main__.py."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Connect, Start
from tests.conformance.peer import Message, Peer, Task
from tests.conformance.protocol import (
    CONTROLLER,
    DEVICE_ERROR,
    END_OF_STREAM,
    FAIRMQ,
    HAPPENED,
    MACHINES,
    OCC,
    OCC_MACHINE,
    PONG,
    RECOVER,
    REFUSED,
    RESULT,
    STATE_CHANGED,
    TASK_INTERNAL_ERROR,
    Machine,
)

pytestmark = pytest.mark.usefixtures("obeys")

EVENTS = [(machine.number, event) for machine in MACHINES.values() for event in machine.moments]


def source_of(machine: Machine, event: int) -> int:
    return next(state for state, row in machine.table.items() if event in row)


def way_with(peer: Peer, event: int, arguments: dict[str, str]) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Yield events, sources and arguments by which a fresh task gets to an event; the first one takes the arguments."""
    machine = peer.machine
    # From the state nearest to the beginning in which the task has already taken arguments, if there is one.
    sources = [state for state, row in machine.table.items() if event in row]
    if machine.number == OCC and event == 5:  # EXIT: from CONFIGURED
        sources = [2]
    way = machine.way(machine.initial, sources[0])
    if machine.number == OCC and event == RECOVER:
        way = [(1, 1), (6, 2)]
    assert way is not None
    for i, (step, source) in enumerate([*way, (event, sources[0])]):
        yield step, source, arguments if i == 0 else {}


def order_last(peer: Peer, event: int, arguments: dict[str, str]) -> str:
    """Bring a fresh task to an event and order it; return the id."""
    *before, (last, source, more) = way_with(peer, event, arguments)
    for step, from_, told in before:
        result = peer.go(step, from_, told)
        assert result.ok, result
    return peer.order(last, source, more)


def wait_until_it_hangs(peer: Peer, moment: str) -> None:
    trace = peer.task.folder / "trace"
    while not trace.exists() or moment not in trace.read_text():
        peer.ping()


@pytest.mark.parametrize(("number", "event"), EVENTS)
def test_a_callback_that_fails_leads_to_error(own: Peer, number: int, event: int) -> None:
    moment = own.machine.moments[event]
    id = order_last(own, event, {"fail": moment})

    result = own.wait_for(RESULT, lambda result: result.id == id)

    assert (result.ok, result.state, result.trigger) == (False, own.machine.error, DEVICE_ERROR)
    assert f"told to fail in {moment}" in result.error
    assert result.sequence == own.seen_of(STATE_CHANGED)[-1].sequence
    assert own.seen_of(STATE_CHANGED)[-1].state == own.machine.error
    assert own.ping().state == own.machine.error


@pytest.mark.parametrize(("number", "event"), [(OCC, 1), (FAIRMQ, 2)])
def test_a_task_in_error_recovers_or_ends(own: Peer, number: int, event: int) -> None:
    id = order_last(own, event, {"fail": own.machine.moments[event]})
    own.wait_for(RESULT, lambda result: result.id == id)

    if own.machine is OCC_MACHINE:
        assert own.go(RECOVER, own.machine.error).ok
        own.bring(own.machine.running)
    else:
        own.task.signal(signal.SIGTERM)
        assert own.task.wait() == 1


@pytest.mark.parametrize(("number", "event"), EVENTS)
@pytest.mark.parametrize("how", ["leave", "die"])
def test_a_callback_that_ends_the_process_is_never_a_success(own: Peer, how: str, number: int, event: int) -> None:
    moment = own.machine.moments[event]
    id = order_last(own, event, {how: moment})

    assert own.task.wait() in (3, 4, 1)

    while own.socket.poll(50):
        own.receive()
    assert not any(result.ok for result in own.seen_of(RESULT) if result.id == id)


@pytest.mark.parametrize(("number", "event"), EVENTS)
def test_a_callback_that_hangs_stops_nothing_but_its_event(
    own: Peer, task: Task, connect: Connect, number: int, event: int
) -> None:
    moment = own.machine.moments[event]
    id = order_last(own, event, {"hang": moment})
    wait_until_it_hangs(own, moment)
    source = own.ping().state

    for n in range(20):
        assert own.ping(100 + n).kind == PONG
    own.order(event, source_of(own.machine, event), id=id)  # repeated: answered when it ends
    other = own.go(next(iter(own.machine.events)), source)
    newer = connect(task)
    newer.welcome(CONTROLLER, 2)
    assert own.wait_for(REFUSED).holder == newer.name
    task.release()
    result = newer.wait_for(RESULT)

    assert not other.ok
    assert (result.id, result.ok) == (id, True)
    if result.state != own.machine.done:
        newer.ping(5)
        assert [message.id for message in newer.seen_of(RESULT)] == [id]
    assert not any(message.id == id for message in own.seen_of(RESULT))


def test_a_loop_that_hangs_is_seen_by_its_progress(own: Peer, task: Task) -> None:
    """The state is right, the answers come, and the progress stands still: STALLED is for the controller to say."""
    own.bring(own.machine.running, {"hang": "running"})
    if own.machine.number == FAIRMQ:
        return  # the obedient device does not hang there
    wait_until_it_hangs(own, "running")

    progress = own.ping().progress

    assert all(own.ping(n).progress == progress for n in range(20))
    task.release()
    while own.ping().progress == progress:
        pass


def test_progress_grows_while_the_loop_turns(own: Peer) -> None:
    own.bring(own.machine.running)
    first = own.ping().progress

    while own.ping().progress < first + 3:
        pass


def start_with(peer: Peer, arguments: dict[str, str]) -> Message:
    """Configure with arguments and start, and receive until the task tells something by itself; return that."""
    ready = source_of(peer.machine, peer.machine.start)
    peer.bring(ready, arguments)
    assert peer.go(peer.machine.start, ready).ok
    while not peer.seen_of(HAPPENED):
        peer.receive()
    return peer.seen_of(HAPPENED)[0]


def test_an_error_in_the_loop_is_told_by_itself(own: Peer) -> None:
    happened = start_with(own, {"break_after": "3"})

    assert happened.type == TASK_INTERNAL_ERROR
    assert "broke at turn 3" in happened.text
    assert own.seen_of(STATE_CHANGED)[-1].state == own.machine.error
    late = own.go(own.machine.stop, own.machine.running)
    assert (late.ok, late.state) == (False, own.machine.error)


def test_the_end_of_the_stream_is_told_once_and_the_state_stays(own: Peer) -> None:
    assert start_with(own, {"end_after": "2"}).type == END_OF_STREAM

    assert own.ping().state == own.machine.running
    assert own.go(own.machine.stop, own.machine.running).ok
    assert len(own.seen_of(HAPPENED)) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("running", [False, True])
def test_a_signal_walks_the_task_down_and_tells_every_state(own: Peer, how: signal.Signals, running: bool) -> None:
    machine = own.machine
    own.bring(machine.running)  # what has obeyed handles signals; the link may answer before
    if not running:
        own.bring(machine.initial)

    own.task.signal(how)

    own.wait_for(STATE_CHANGED, lambda change: change.state == machine.done)
    assert own.task.wait() == 0
    told = [change.state for change in own.seen_of(STATE_CHANGED)]
    if running:  # every state on the way down, not only the last
        assert len(told) - 1 - told.index(machine.running) >= 3


def test_a_task_without_a_controller_ends_by_a_signal(start: Start, connect: Connect) -> None:
    task = start()
    last = connect(task)
    last.welcome()
    event, source = next(iter(last.machine.table[last.machine.initial])), last.machine.initial
    assert last.go(event, source).ok  # what has obeyed handles signals
    last.close()

    task.signal(signal.SIGTERM)

    assert task.wait() == 0
