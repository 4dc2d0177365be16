"""The Python device against FairMQ's state machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from libecs import fairmq
from libecs.fairmq import DEVICE as TABLE
from libecs.fairmq import ON_THE_WAY, SEQUENCE, DeviceEvent, DeviceState
from libecs.fsm import TaskEvent
from libecs.wire.task import DeviceEventType, Happened, PeerRole, Result, StateChanged, Trigger
from occ.fairmq_device import FairMQDevice
from tests.occ.conftest import Site
from tests.occ.harness import DEVICE, Kind, Peer, TaskProcess

E, S = DeviceEvent, DeviceState

CONFIGURE = [event for event, _ in SEQUENCE[TaskEvent.CONFIGURE]]
WAY: Mapping[DeviceState, Sequence[DeviceEvent]] = {
    S.IDLE: [],
    S.INITIALIZING_DEVICE: CONFIGURE[:1],
    S.INITIALIZED: CONFIGURE[:2],
    S.BOUND: CONFIGURE[:3],
    S.DEVICE_READY: CONFIGURE[:4],
    S.READY: CONFIGURE,
    S.RUNNING: [*CONFIGURE, E.RUN],
}
"""How a device gets into each state."""


@pytest.fixture
def kind() -> Kind:
    return DEVICE


def bring(peer: Peer, state: DeviceState, arguments: Mapping[str, str] | None = None) -> None:
    """Bring a fresh device into a state; the arguments go with the first event."""
    source = S.IDLE
    for event in WAY[state]:
        result = peer.go(event, source, arguments)
        assert result.ok, result
        source = DeviceState(result.state)
        arguments = {}


@pytest.mark.parametrize("event", list(E), ids=lambda event: event.label)
@pytest.mark.parametrize("state", list(WAY), ids=lambda state: state.label)
def test_each_event_in_each_state_does_what_the_table_says(peer: Peer, state: DeviceState, event: DeviceEvent) -> None:
    bring(peer, state)
    peer.seen.clear()

    result = peer.go(event, state)

    target = S.ERROR if event is E.ERROR_FOUND else TABLE[state].get(event)
    if target is None:
        allowed = ", ".join(e.label for e in TABLE[state])
        assert (result.ok, result.state) == (False, state)
        assert result.error == f"{event.label} not possible in {state.label} (allowed: {allowed})"
        assert peer.states_seen() == []
    else:
        assert (result.ok, result.state, result.trigger) == (True, target, Trigger.EXECUTOR)
        assert peer.states_seen() == [*([ON_THE_WAY[event]] if event in ON_THE_WAY else []), target]


def test_nothing_leads_out_of_error(peer: Peer) -> None:
    peer.go(E.ERROR_FOUND, S.IDLE)

    for event in E:
        assert peer.go(event, S.ERROR).error == f"{event.label} not possible in ERROR (allowed: nothing)"


def test_each_callback_runs_in_its_working_state(peer: Peer, task: TaskProcess) -> None:
    bring(peer, S.RUNNING)
    peer.go(E.STOP, S.RUNNING)
    peer.go(E.RESET_TASK, S.READY)
    peer.go(E.RESET_DEVICE, S.DEVICE_READY)

    assert task.trace() == [
        "init INITIALIZING_DEVICE",
        "bind BINDING",
        "connect CONNECTING",
        "init_task INITIALIZING_TASK",
        "pre_run RUNNING",
        "post_run RUNNING",
        "reset_task RESETTING_TASK",
        "reset_device RESETTING_DEVICE",
    ]


def test_a_working_state_lasts_while_its_callback_works(peer: Peer, task: TaskProcess) -> None:
    bring(peer, S.INITIALIZED, {"hang": "bind"})
    id = peer.order(E.BIND, S.INITIALIZED)
    peer.wait_for(StateChanged, lambda change: change.state == S.BINDING)

    refused = peer.go(E.CONNECT, S.BINDING)
    assert (refused.ok, refused.state) == (False, S.BINDING)
    task.release()

    assert peer.wait_for(Result).id == id
    assert peer.ping().state == S.BOUND


@pytest.mark.parametrize(
    ("moment", "state", "event"),
    [
        ("init", S.INITIALIZING_DEVICE, E.COMPLETE_INIT),
        ("bind", S.INITIALIZED, E.BIND),
        ("connect", S.BOUND, E.CONNECT),
        ("init_task", S.DEVICE_READY, E.INIT_TASK),
        ("pre_run", S.READY, E.RUN),
        ("post_run", S.RUNNING, E.STOP),
        ("reset_task", S.READY, E.RESET_TASK),
        ("reset_device", S.DEVICE_READY, E.RESET_DEVICE),
    ],
)
def test_a_callback_that_fails_is_error_found(
    peer: Peer, task: TaskProcess, moment: str, state: DeviceState, event: DeviceEvent
) -> None:
    bring(peer, state, {"fail": moment})

    result = peer.go(event, state)

    assert (result.ok, result.state, result.trigger) == (False, S.ERROR, Trigger.DEVICE_ERROR)
    assert result.error == f"ValueError: told to fail in {moment}"
    assert "Traceback" in task.stderr()


def test_a_loop_that_fails_is_error_found_and_is_told(peer: Peer) -> None:
    bring(peer, S.RUNNING, {"break_after": "2"})

    happened = peer.wait_for(Happened)

    assert happened == Happened(type=DeviceEventType.TASK_INTERNAL_ERROR, text="RuntimeError: broke at turn 2")
    assert peer.ping().state == S.ERROR


def test_a_device_may_leave_running_on_its_own(peer: Peer, task: TaskProcess) -> None:
    bring(peer, S.RUNNING, {"leave_after": "2"})

    peer.wait_for(StateChanged, lambda change: change.state == S.READY and change.sequence > 7)

    refused = peer.go(E.STOP, S.RUNNING)
    assert (refused.ok, refused.state) == (False, S.READY)
    assert task.trace()[-1] == "post_run RUNNING"


def test_the_end_of_the_stream_is_told(peer: Peer) -> None:
    bring(peer, S.RUNNING, {"end_after": "2"})

    assert peer.wait_for(Happened) == Happened(type=DeviceEventType.END_OF_STREAM)
    assert peer.go(E.STOP, S.RUNNING).ok


@pytest.mark.parametrize(
    ("state", "event", "key"),
    [
        (S.INITIALIZING_DEVICE, E.COMPLETE_INIT, "severity"),
        (S.INITIALIZED, E.BIND, "severity"),
        (S.DEVICE_READY, E.INIT_TASK, "severity"),
        (S.READY, E.RUN, "chans.data.0.address"),
        (S.RUNNING, E.STOP, "chans.data.0.address"),
    ],
)
def test_the_configuration_is_frozen_after_initializing_device(
    peer: Peer, state: DeviceState, event: DeviceEvent, key: str
) -> None:
    bring(peer, state)

    result = peer.go(event, state, {key: "x"})

    assert (result.ok, result.state) == (False, state)
    assert result.error == f"the configuration is frozen after INITIALIZING DEVICE: {key}"
    assert peer.go(event, state).ok


def test_run_carries_the_run_number(peer: Peer, task: TaskProcess, connect: Callable[..., Peer]) -> None:
    bring(peer, S.READY)

    assert not peer.go(E.RUN, S.READY, {"runNumber": "x"}).ok
    assert peer.go(E.RUN, S.READY, {"runNumber": "12"}).ok

    assert connect(task).welcome(PeerRole.OBSERVER).run == 12


def test_progress_counts_turns(peer: Peer) -> None:
    bring(peer, S.RUNNING, {"busy": "yes"})

    before = peer.ping().progress
    while peer.ping().progress <= before:
        pass

    assert peer.go(E.STOP, S.RUNNING).ok


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (S.IDLE, [S.EXITING]),
        (S.INITIALIZING_DEVICE, [S.EXITING]),
        (S.BOUND, [S.RESETTING_DEVICE, S.IDLE, S.EXITING]),
        (S.RUNNING, [S.READY, S.RESETTING_TASK, S.DEVICE_READY, S.RESETTING_DEVICE, S.IDLE, S.EXITING]),
    ],
    ids=lambda value: value.label if isinstance(value, DeviceState) else "",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_walks_down(
    peer: Peer, task: TaskProcess, number: signal.Signals, state: DeviceState, seen: list[DeviceState]
) -> None:
    bring(peer, state)
    task.wait_for_handlers()
    peer.ping()
    peer.seen.clear()

    task.signal(number)

    assert task.wait() == 0
    peer.wait_for(StateChanged, lambda change: change.state == S.EXITING)
    assert peer.states_seen() == seen


def test_a_device_in_error_ends_with_status_1(peer: Peer, task: TaskProcess) -> None:
    peer.go(E.ERROR_FOUND, S.IDLE)
    task.wait_for_handlers()

    task.signal(signal.SIGTERM)

    assert task.wait() == 1


def test_end_is_answered_before_the_process_ends(peer: Peer, task: TaskProcess) -> None:
    result = peer.go(E.END, S.IDLE)

    assert (result.ok, result.state) == (True, S.EXITING)
    assert task.wait() == 0
    assert not Path(task.endpoint.removeprefix("ipc://")).exists()


def test_every_sequence_of_the_executor_is_possible(peer: Peer) -> None:
    for task_event in (TaskEvent.CONFIGURE, TaskEvent.START, TaskEvent.STOP, TaskEvent.RESET, TaskEvent.EXIT):
        for event, target in fairmq.SEQUENCE[task_event]:
            result = peer.go(event, peer.ping().state)
            assert (result.ok, result.state) == (True, target)


def test_outside_run_there_is_nothing_to_wait_for() -> None:
    device = FairMQDevice()

    assert (int(device.state), device.run_number, device.pending) == (S.UNDEFINED, 0, False)
    with pytest.raises(RuntimeError, match="the device does not run"):
        device.fileno()


@pytest.mark.parametrize("environment", [{}, {"OCC_CONTROL_PORT": "x"}, {"OCC_CONTROL_ENDPOINT": "udp://x"}], ids=str)
def test_without_a_usable_endpoint_a_device_says_what_to_set(
    commands: Mapping[str, Sequence[str | Path]], site: Site, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [str(part) for part in commands["device"]],
        env={**site.environment, **environment},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "set OCC_CONTROL_ENDPOINT to ipc://PATH or tcp://HOST:PORT, or OCC_CONTROL_PORT" in done.stderr


def test_an_endpoint_that_cannot_be_bound_raises() -> None:
    with pytest.raises(OSError, match="No such file or directory: 'ipc:///nowhere/at/all'"):
        FairMQDevice().run("ipc:///nowhere/at/all")


def test_a_device_is_importable_without_libecs(site: Site) -> None:
    text = "import sys, occ, occ.fairmq_device, occ.stream; sys.exit('libecs' in sys.modules)"

    subprocess.run([sys.executable, "-c", text], env=dict(site.environment), check=True)
