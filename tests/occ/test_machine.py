"""The OCC state machine of real tasks in C and in Python."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from libecs import fsm
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.task import DeviceEventType, Happened, Metric, PeerRole, Result, StateChanged, Trigger
from tests.occ.conftest import Site, StartAtPort
from tests.occ.harness import PYTHON, C, Kind, Peer, TaskProcess

pytestmark = pytest.mark.parametrize("kind", [C, PYTHON], ids=lambda kind: kind.name)

E, S = TaskEvent, TaskState

WAY: Mapping[TaskState, Sequence[tuple[TaskEvent, TaskState]]] = {
    S.STANDBY: (),
    S.CONFIGURED: ((E.CONFIGURE, S.STANDBY),),
    S.RUNNING: ((E.CONFIGURE, S.STANDBY), (E.START, S.CONFIGURED)),
    S.PAUSED: ((E.CONFIGURE, S.STANDBY), (E.START, S.CONFIGURED), (E.PAUSE, S.RUNNING)),
    S.ERROR: ((E.GO_ERROR, S.STANDBY),),
}
"""How a task gets into each state."""

MOMENT = {
    E.CONFIGURE: "configure",
    E.RESET: "reset",
    E.START: "start",
    E.STOP: "stop",
    E.EXIT: "exit",
    E.RECOVER: "recover",
    E.PAUSE: "pause",
    E.RESUME: "resume",
    E.RECONFIGURE: "reconfigure",
}


def bring(peer: Peer, state: TaskState, arguments: Mapping[str, str] | None = None) -> None:
    """Bring a fresh task into a state; the arguments go with the first event."""
    for event, source in WAY[state]:
        result = peer.go(event, source, arguments)
        assert result.ok, result
        arguments = {}


def run(peer: Peer, arguments: Mapping[str, str] | None = None, number: str = "5") -> None:
    """Bring a fresh task into RUNNING."""
    bring(peer, S.CONFIGURED, arguments)
    assert peer.go(E.START, S.CONFIGURED, {"runNumber": number}).ok


def last_moment(task: TaskProcess) -> str:
    return task.trace()[-1].split()[0] if task.trace() else ""


@pytest.mark.parametrize("event", list(E), ids=lambda event: event.name)
@pytest.mark.parametrize("state", list(WAY), ids=lambda state: state.name)
def test_each_event_in_each_state_does_what_the_table_says(
    peer: Peer, task: TaskProcess, state: TaskState, event: TaskEvent
) -> None:
    bring(peer, state)
    calls = len(task.trace())

    result = peer.go(event, state)

    target = fsm.TASK[state].get(event)
    if target is not None:
        assert (result.ok, result.state, result.error) == (True, target, "")
        assert task.trace()[calls:] == ([] if event is E.GO_ERROR else [task.trace()[-1]])
        assert last_moment(task) == MOMENT.get(event, last_moment(task))
    else:
        allowed = ", ".join(e.name for e in sorted(fsm.TASK[state]))
        assert (result.ok, result.state) == (False, state)
        assert result.error == f"{event.name} not possible in {state.name} (allowed: {allowed})"
        assert len(task.trace()) == calls


@pytest.mark.parametrize("event", [e for e in E if e is not E.GO_ERROR], ids=lambda event: event.name)
def test_a_callback_that_fails_leads_to_error_and_says_why(
    peer: Peer, kind: Kind, task: TaskProcess, event: TaskEvent
) -> None:
    source = fsm.TASK_SOURCE.get(event, S.STANDBY)
    if source is S.STANDBY:
        arguments = {"fail": MOMENT[event]}
        result = (
            peer.go(event, source, arguments)
            if event is E.CONFIGURE
            else (peer.go(E.CONFIGURE, S.STANDBY, arguments), peer.go(event, S.CONFIGURED))[1]
        )
    elif event is E.RECOVER:
        bring(peer, S.CONFIGURED, {"fail": "recover"})
        peer.go(E.GO_ERROR, S.CONFIGURED)
        result = peer.go(event, S.ERROR)
    else:
        bring(peer, source, {"fail": MOMENT[event]})
        result = peer.go(event, source)

    text = f"told to fail in {MOMENT[event]}"
    assert (result.ok, result.state) == (False, S.ERROR)
    assert result.trigger is Trigger.DEVICE_ERROR
    assert result.error == (text if kind is C else f"ValueError: {text}")


def test_a_failure_without_a_text_says_which_callback(peer: Peer, kind: Kind) -> None:
    result = peer.go(E.CONFIGURE, S.STANDBY, {"fail_silently": "configure"})

    assert result.error == ("CONFIGURE failed with status 7" if kind is C else "ValueError")


def test_the_traceback_of_a_failure_goes_to_stderr(peer: Peer, kind: Kind, task: TaskProcess) -> None:
    peer.go(E.CONFIGURE, S.STANDBY, {"fail": "configure"})

    if kind is PYTHON:
        assert "Traceback" in task.stderr()
        assert "ValueError: told to fail in configure" in task.stderr()


def test_a_task_recovers_and_takes_a_run(peer: Peer, task: TaskProcess) -> None:
    peer.go(E.CONFIGURE, S.STANDBY, {"fail": "configure"})

    assert peer.go(E.RECOVER, S.ERROR).ok
    run(peer)

    assert task.trace() == ["configure", "recover", "configure", "start 5"]


# --- properties and run numbers


def test_reconfigure_changes_some_properties_for_good(peer: Peer, task: TaskProcess) -> None:
    peer.go(E.CONFIGURE, S.STANDBY, {"show": "x", "x": "1", "y": "2"})
    peer.go(E.START, S.CONFIGURED, {"x": "started"})
    peer.go(E.STOP, S.RUNNING)

    result = peer.go(E.RECONFIGURE, S.CONFIGURED, {"x": "new", "z": "3"})

    assert (result.ok, result.state, result.error, result.sequence) == (True, S.CONFIGURED, "", 3)
    assert peer.ping().sequence == 3
    assert peer.go(E.RECONFIGURE, S.CONFIGURED, {"show": "y", "a": ""}).ok
    assert peer.go(E.RECONFIGURE, S.CONFIGURED, {"show": "z"}).ok
    peer.go(E.START, S.CONFIGURED)
    peer.go(E.STOP, S.RUNNING)
    peer.go(E.RESET, S.CONFIGURED)
    peer.go(E.CONFIGURE, S.STANDBY, {"show": "z"})
    assert task.trace() == [
        "configure 1",
        "start 0 started",
        "stop started",
        "reconfigure new",
        "reconfigure show 2",
        "reconfigure show 3",
        "start 0 3",
        "stop 3",
        "reset 3",
        "configure ?",
    ]


def test_a_task_without_a_way_to_reconfigure_refuses(
    commands: Mapping[str, Sequence[str | Path]],
    start: Callable[..., TaskProcess],
    connect: Callable[..., Peer],
    kind: Kind,
) -> None:
    peer = connect(start(commands[kind.name], {"RIGID": "yes"}))
    peer.welcome()
    peer.go(E.CONFIGURE, S.STANDBY, {"x": "1"})

    result = peer.go(E.RECONFIGURE, S.CONFIGURED, {"x": "2"})

    assert (result.ok, result.state, result.trigger) == (False, S.CONFIGURED, Trigger.EXECUTOR)
    assert result.error == "the task does not reconfigure live"
    assert "RECONFIGURE" not in peer.go(E.RESUME, S.CONFIGURED).error
    assert peer.go(E.START, S.CONFIGURED).ok


def test_properties_lie_in_layers_until_the_next_start(peer: Peer, task: TaskProcess) -> None:
    peer.go(E.CONFIGURE, S.STANDBY, {"show": "x", "x": "configured"})
    for _ in range(2):
        peer.go(E.START, S.CONFIGURED, {"x": "started", "runNumber": "1"})
        peer.go(E.STOP, S.RUNNING, {"x": "stopped"})
    peer.go(E.START, S.CONFIGURED, {"runNumber": "2"})
    peer.go(E.STOP, S.RUNNING)
    peer.go(E.RESET, S.CONFIGURED)
    peer.go(E.CONFIGURE, S.STANDBY)

    assert task.trace() == [
        "configure configured",
        "start 1 started",
        "stop stopped",
        "start 1 started",
        "stop stopped",
        "start 2 configured",
        "stop configured",
        "reset configured",
        "configure",
    ]


def test_the_run_number_is_known_to_who_connects_later(
    peer: Peer, task: TaskProcess, connect: Callable[..., Peer]
) -> None:
    run(peer, number="4294967295")
    peer.go(E.STOP, S.RUNNING)

    assert connect(task).welcome(PeerRole.OBSERVER).run == 4294967295


def test_a_run_number_may_be_spelt_in_snake_case_or_be_absent(peer: Peer, task: TaskProcess) -> None:
    bring(peer, S.CONFIGURED)
    peer.go(E.START, S.CONFIGURED, {"run_number": "7"})
    peer.go(E.STOP, S.RUNNING)
    peer.go(E.START, S.CONFIGURED)

    assert task.trace() == ["configure", "start 7", "stop", "start 0"]


@pytest.mark.parametrize("text", ["", "-1", "4294967296", "5x", " 5", "+5", "99999999999999999999999"])
def test_a_run_number_that_is_none_is_refused_without_effect(peer: Peer, task: TaskProcess, text: str) -> None:
    bring(peer, S.CONFIGURED)

    result = peer.go(E.START, S.CONFIGURED, {"runNumber": text})

    assert (result.ok, result.state) == (False, S.CONFIGURED)
    assert result.error == "the run number is not a number between 0 and 4294967295"
    assert task.trace() == ["configure"]


def test_an_argument_with_a_nul_is_refused_without_effect(peer: Peer, task: TaskProcess) -> None:
    result = peer.go(E.CONFIGURE, S.STANDBY, {"a": "b\0c"})

    assert (result.ok, result.state) == (False, S.STANDBY)
    assert result.error == "an argument holds a NUL character"
    assert task.trace() == []


# --- the loop


def test_progress_counts_turns_in_running_only(peer: Peer) -> None:
    bring(peer, S.CONFIGURED, {"busy": "yes"})
    assert peer.ping().progress == 0

    peer.go(E.START, S.CONFIGURED)
    before = peer.ping().progress
    while peer.ping().progress <= before:
        pass
    peer.go(E.STOP, S.RUNNING)

    assert peer.ping().progress == peer.ping().progress


def test_progress_stands_still_while_the_loop_hangs(peer: Peer, task: TaskProcess) -> None:
    run(peer, {"hang": "running"})
    while last_moment(task) != "running":
        peer.ping()

    assert {peer.ping(number).progress for number in range(5)} == {0}


def test_the_end_of_the_stream_is_told_once_a_run(peer: Peer) -> None:
    run(peer, {"end_after": "3"})
    assert peer.wait_for(Happened) == Happened(type=DeviceEventType.END_OF_STREAM)
    assert peer.ping().progress == 3
    assert peer.go(E.STOP, S.RUNNING).ok

    peer.go(E.START, S.CONFIGURED)
    peer.wait_for(Happened)
    assert peer.go(E.STOP, S.RUNNING).ok

    assert sum(isinstance(message, Happened) for message in peer.seen) == 2


def test_a_loop_that_fails_leads_to_error_and_is_told(peer: Peer, kind: Kind) -> None:
    run(peer, {"break_after": "2"})

    happened = peer.wait_for(Happened)

    assert happened.type is DeviceEventType.TASK_INTERNAL_ERROR
    assert happened.text == ("broke at turn 2 ?" if kind is C else "RuntimeError: broke at turn 2 ?")
    assert peer.ping().state == S.ERROR
    refused = peer.go(E.STOP, S.RUNNING)
    assert (refused.ok, refused.state) == (False, S.ERROR)


def test_an_observer_is_told_too(peer: Peer, task: TaskProcess, connect: Callable[..., Peer]) -> None:
    observer = connect(task)
    observer.welcome(PeerRole.OBSERVER)

    run(peer, {"end_after": "1"})

    assert observer.wait_for(Happened).type is DeviceEventType.END_OF_STREAM


@pytest.mark.parametrize("state", [S.STANDBY, S.CONFIGURED, S.RUNNING], ids=lambda state: state.name)
def test_a_check_that_fails_leads_to_error_in_every_state(peer: Peer, task: TaskProcess, state: TaskState) -> None:
    bring(peer, state)

    task.make_ill()

    assert peer.wait_for(Happened).text.endswith("ill")
    assert peer.ping().state == S.ERROR


def test_a_task_that_waits_uses_no_processor(peer: Peer, task: TaskProcess) -> None:
    def used() -> int:
        fields = Path(f"/proc/{task.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    # It is told of its turns, and asked nothing meanwhile: to answer takes time too.
    run(peer, {"tell": "yes"})
    peer.wait_for(Metric, lambda metric: metric.name == "turns")
    before, turns = used(), 0
    while turns < 200:
        turns += peer.wait_for(Metric, lambda metric: metric.name == "turns").n

    # Each turn waits 5 ms and works for much less, here and on a machine that is five times slower.
    assert (used() - before) / os.sysconf("SC_CLK_TCK") / turns < 0.0025


# --- the end


def test_exit_is_answered_before_the_process_ends(peer: Peer, task: TaskProcess) -> None:
    result = peer.go(E.EXIT, S.STANDBY)

    assert (result.ok, result.state) == (True, S.DONE)
    assert task.wait() == 0
    assert not Path(task.endpoint.removeprefix("ipc://")).exists()


@pytest.mark.parametrize(
    ("state", "calls", "states"),
    [
        (S.STANDBY, ["exit"], [S.DONE]),
        (S.CONFIGURED, ["reset", "exit"], [S.STANDBY, S.DONE]),
        (S.RUNNING, ["stop", "reset", "exit"], [S.CONFIGURED, S.STANDBY, S.DONE]),
        (S.PAUSED, ["stop", "reset", "exit"], [S.CONFIGURED, S.STANDBY, S.DONE]),
        (S.ERROR, ["exit"], [S.DONE]),
    ],
    ids=lambda value: value.name if isinstance(value, TaskState) else "",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_walks_down_and_tells_each_state(
    peer: Peer,
    task: TaskProcess,
    number: signal.Signals,
    state: TaskState,
    calls: list[str],
    states: list[TaskState],
) -> None:
    bring(peer, state)
    task.wait_for_handlers()
    peer.ping()
    before = len(task.trace())
    peer.seen.clear()

    task.signal(number)

    assert task.wait() == 0
    peer.wait_for(StateChanged, lambda change: change.state == S.DONE)
    assert task.trace()[before:] == calls
    assert peer.states_seen() == states


def test_a_signal_ends_a_task_that_nobody_controls(task: TaskProcess, connect: Callable[..., Peer]) -> None:
    connect(task).welcome(PeerRole.OBSERVER)
    task.wait_for_handlers()

    task.signal(signal.SIGTERM)

    assert task.wait() == 0
    assert task.trace() == ["exit"]


def test_what_fails_on_the_way_down_does_not_stop_it(peer: Peer, task: TaskProcess) -> None:
    run(peer, {"fail": "stop"})

    task.signal(signal.SIGTERM)

    assert task.wait() == 0
    assert task.trace()[-2:] == ["stop", "exit"]


def test_even_an_exit_that_fails_ends(peer: Peer, task: TaskProcess) -> None:
    bring(peer, S.CONFIGURED, {"fail": "exit"})
    assert peer.go(E.EXIT, S.CONFIGURED).state == S.ERROR

    task.signal(signal.SIGTERM)

    assert task.wait() == 0


def test_a_second_ctrl_c_ends_a_task_that_hangs(peer: Peer, task: TaskProcess) -> None:
    id = peer.order(E.CONFIGURE, S.STANDBY, {"hang": "configure"})
    while last_moment(task) != "configure":
        peer.ping()

    task.signal(signal.SIGINT)
    while "ShdPnd:\t0000000000000000" not in Path(f"/proc/{task.process.pid}/status").read_text():
        peer.ping()  # until it is delivered: two that wait are one
    assert peer.ping().state == S.STANDBY
    task.signal(signal.SIGINT)

    assert task.wait() == -signal.SIGINT
    assert id not in [message.id for message in peer.seen if isinstance(message, Result)]


# --- endpoints


def start_bare(command: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a task that can't start, with nothing in its environment but this."""
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OCC_CONTROL_ENDPOINT": "/a/path"},
        {"OCC_CONTROL_ENDPOINT": "udp://localhost:5"},
        {"OCC_CONTROL_ENDPOINT": "ipc://" + "x" * 300},
        {"OCC_CONTROL_PORT": "0"},
        {"OCC_CONTROL_PORT": "65536"},
        {"OCC_CONTROL_PORT": "47100x"},
    ],
    ids=str,
)
def test_without_a_usable_endpoint_a_task_says_what_to_set(
    kind: Kind,
    commands: Mapping[str, Sequence[str | Path]],
    site: Site,
    environment: dict[str, str],
) -> None:
    done = start_bare(commands[kind.name], **site.environment, **environment)

    assert done.returncode == 1
    assert "set OCC_CONTROL_ENDPOINT to ipc://PATH or tcp://HOST:PORT, or OCC_CONTROL_PORT to a port" in done.stderr


def test_an_endpoint_that_cannot_be_bound_is_told(
    kind: Kind, commands: Mapping[str, Sequence[str | Path]], site: Site
) -> None:
    done = start_bare(commands[kind.name], OCC_CONTROL_ENDPOINT="ipc:///nowhere/at/all", **site.environment)

    assert done.returncode == 1
    assert "the control endpoint cannot be bound" in done.stderr


def test_a_port_is_bound_on_the_loopback_alone(
    kind: Kind,
    commands: Mapping[str, Sequence[str | Path]],
    start_at_port: StartAtPort,
) -> None:
    def told(port: int) -> dict[str, str]:
        return {"OCC_CONTROL_PORT": str(port), "OCC_CONTROL_ENDPOINT": ""}

    task, port, _ = start_at_port(commands[kind.name], told)

    listening = Path(f"/proc/{task.process.pid}/net/tcp").read_text()
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening
    assert task.stderr() == ""


def test_an_address_that_others_can_reach_is_bound_with_a_warning(
    kind: Kind,
    commands: Mapping[str, Sequence[str | Path]],
    start_at_port: StartAtPort,
) -> None:
    task, port, _ = start_at_port(commands[kind.name], lambda port: {"OCC_CONTROL_ENDPOINT": f"tcp://0.0.0.0:{port}"})

    assert f"00000000:{port:04X}" in Path(f"/proc/{task.process.pid}/net/tcp").read_text()
    assert f"occ: tcp://0.0.0.0:{port} can be reached from other machines, and the control link has no keys yet" in (
        task.stderr()
    )
