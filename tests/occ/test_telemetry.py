"""What tasks tell about themselves besides their state: numbers and lines, of real tasks of each kind."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping

import pytest

import occ
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.task import Log, Metric, PeerRole, Pong, Result, StateChanged
from libecs.wire.telemetry import Severity
from occ import _table
from occ._telemetry import MAX_LINES, Telemetry
from occ.fairmq_device import FairMQDevice
from occ.handler import LogHandler
from tests.occ.harness import DEVICE, PYTHON, C, Kind, Peer, TaskProcess

Connect = Callable[..., Peer]
of_each_kind = pytest.mark.parametrize("kind", [C, PYTHON, DEVICE], ids=lambda kind: kind.name)

D, E = DeviceEvent, TaskEvent

CONFIGURE = {
    "device": (
        (D.INIT_DEVICE, DeviceState.IDLE),
        (D.COMPLETE_INIT, DeviceState.INITIALIZING_DEVICE),
        (D.BIND, DeviceState.INITIALIZED),
        (D.CONNECT, DeviceState.BOUND),
        (D.INIT_TASK, DeviceState.DEVICE_READY),
    )
}
START = {"device": (D.RUN, DeviceState.READY)}
STOP = {"device": (D.STOP, DeviceState.RUNNING)}


def configure(peer: Peer, kind: Kind, arguments: Mapping[str, str]) -> Result:
    for event, source in CONFIGURE.get(kind.name, ((E.CONFIGURE, TaskState.STANDBY),)):
        result = peer.go(event, source, arguments)
        assert result.ok, result
        arguments = {}
    return result


def start(peer: Peer, kind: Kind) -> None:
    event, source = START.get(kind.name, (E.START, TaskState.CONFIGURED))
    assert peer.go(event, source, {"runNumber": "5"}).ok


def stop(peer: Peer, kind: Kind) -> Result:
    event, source = STOP.get(kind.name, (E.STOP, TaskState.RUNNING))
    return peer.go(event, source)


def metrics(peer: Peer, name: str) -> list[Metric]:
    return [message for message in peer.seen if isinstance(message, Metric) and message.name == name]


def wait_until_it_tells_nobody(observer: Peer) -> None:
    """Wait until the task knows that its controller is gone: for three times as long as it gathers numbers, none came.

    It is asked all the while, so that it is silent and does not stand still.
    """
    told, quiet = -1, 0
    while quiet < 30:
        time.sleep(0.01)  # numbers are gathered for 0.1 s, by the clock
        observer.ping()
        before, told = told, len(metrics(observer, "turns"))
        quiet = quiet + 1 if told == before else 0


def lines(peer: Peer) -> list[str]:
    return [message.text for message in peer.seen if isinstance(message, Log)]


@of_each_kind
def test_the_numbers_of_a_run_lie_between_its_states(peer: Peer, kind: Kind) -> None:
    configure(peer, kind, {"tell": "yes"})
    start(peer, kind)
    peer.wait_for(Metric, lambda metric: metric.name == "turns")
    stop(peer, kind)

    begin, end = "pre_run" if kind is DEVICE else "start", "post_run" if kind is DEVICE else "stop"
    running = DeviceState.RUNNING if kind is DEVICE else TaskState.RUNNING
    changes = [i for i, message in enumerate(peer.seen) if isinstance(message, StateChanged)]
    (started,) = [i for i in changes if peer.seen[i].state == running]
    stopped = changes[-1]
    for name in (begin, "turns", end):
        places = [i for i, message in enumerate(peer.seen) if isinstance(message, Metric) and message.name == name]
        assert places, name
        assert all(started < place < stopped for place in places)
    first = "init" if kind is DEVICE else "configure"
    assert all(peer.seen.index(metric) < started for metric in metrics(peer, first))


@of_each_kind
def test_what_was_said_before_a_failure_comes_before_its_result(peer: Peer, kind: Kind) -> None:
    *before, (event, source) = kind.steps_to_moment
    arguments = {"tell": "yes", "fail": kind.first_moment}
    for step, state in before:
        peer.go(step, state, arguments)
        arguments = {}

    result = peer.go(event, source, arguments)

    assert not result.ok
    texts = [(m.severity, m.text) for m in peer.seen[: peer.seen.index(result)] if isinstance(m, Log)]
    assert (Severity.INFO, f"at {kind.first_moment}") in texts


@of_each_kind
def test_a_flood_is_gathered_and_its_oldest_lines_are_dropped_and_counted(peer: Peer, kind: Kind) -> None:
    n = 20_000
    configure(peer, kind, {"flood": str(n)})
    while sum(metric.n for metric in metrics(peer, "flood")) < n:
        peer.receive()
    while not lines(peer) or lines(peer)[-1] != f"line {n - 1}":
        peer.receive()

    told = metrics(peer, "flood")
    # At most one each 100 ms, however long the flood took.
    assert len(told) <= (told[-1].unix_ms - told[0].unix_ms) / 100 + 3
    assert sum(metric.sum for metric in told) == n * (n - 1) / 2
    assert (min(m.min for m in told), max(m.max for m in told), told[-1].last) == (0, n - 1, n - 1)
    assert {metric.unit for metric in told} == {"Hz"}
    logs = [message for message in peer.seen if isinstance(message, Log)]
    assert len(logs) + logs[-1].dropped == n
    assert {log.severity for log in logs} == {Severity.DEBUG}
    assert abs(logs[-1].unix_ms / 1000 - time.time()) < 3600


@of_each_kind
def test_a_task_tells_at_most_64_metrics(peer: Peer, kind: Kind) -> None:
    configure(peer, kind, {"names": "70"})
    while not metrics(peer, "name-63") or not lines(peer):
        peer.receive()

    assert lines(peer) == ["refused 6"]
    assert len([message for message in peer.seen if isinstance(message, Metric)]) == 64


@of_each_kind
def test_while_the_controller_is_away_numbers_wait_for_it(
    peer: Peer, kind: Kind, task: TaskProcess, connect: Connect
) -> None:
    observer = connect(task)
    observer.welcome(PeerRole.OBSERVER, name="peanut")
    configure(peer, kind, {"tell": "yes"})
    start(peer, kind)
    peer.wait_for(Metric, lambda metric: metric.name == "turns")
    peer.socket.close()
    wait_until_it_tells_nobody(observer)
    sent = sum(metric.n for metric in metrics(observer, "turns"))

    again = connect(task)
    again.welcome()
    stop(again, kind)
    final = again.ping()

    assert isinstance(final, Pong)
    told = sum(metric.n for metric in metrics(again, "turns"))
    assert told >= final.progress - sent > 0  # what was sent to the one who went may be lost with it, and nothing else
    assert told + sum(metric.n for metric in metrics(peer, "turns")) <= final.progress + 1


@of_each_kind
def test_observers_are_told_too(peer: Peer, kind: Kind, task: TaskProcess, connect: Connect) -> None:
    observer = connect(task)
    observer.welcome(PeerRole.OBSERVER, name="peanut")

    configure(peer, kind, {"tell": "yes"})

    while not (metrics(observer, kind.first_moment) and f"at {kind.first_moment}" in lines(observer)):
        observer.receive()


# --- the parts in Python


def severity_of(name: str) -> _table.Severity:
    return _table.Severity[name]


def test_samples_are_added_up_until_they_are_taken() -> None:
    telemetry = Telemetry()
    for value in (2, -1, 5.5):
        assert telemetry.sample("x", value, "V")

    (metric,) = telemetry.take_metrics()

    assert (metric.n, metric.sum, metric.min, metric.max, metric.last) == (3, 6.5, -1, 5.5, 5.5)
    assert not telemetry.waits


def test_samples_put_back_are_added_to_newer_ones() -> None:
    telemetry = Telemetry()
    telemetry.sample("x", 1, "")
    (old,) = telemetry.take_metrics()
    telemetry.sample("x", 3, "another unit")

    telemetry.put_back(old)

    (metric,) = telemetry.take_metrics()
    assert (metric.unit, metric.n, metric.sum, metric.min, metric.last) == ("", 2, 4, 1, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_not_taken(value: float) -> None:
    telemetry = Telemetry()

    assert not telemetry.sample("x", value, "")
    assert not telemetry.waits


@pytest.mark.parametrize(("name", "unit"), [("", ""), ("x" * 64, ""), ("x", "µ" * 32), ("a\0b", ""), ("x", "\0")])
def test_a_name_that_does_not_fit_is_an_error(name: str, unit: str) -> None:
    with pytest.raises(ValueError, match="at most 63 bytes"):
        Telemetry().sample(name, 1, unit)


def test_a_text_of_several_lines_is_several_lines() -> None:
    telemetry = Telemetry()
    telemetry.log("a\n\nµ" + "x" * 2000 + "\n", severity_of("ERROR"))

    taken = [telemetry.take_line() for _ in range(4)]

    assert [line.text if line else None for line in taken] == ["a", "", "µ" + "x" * 1022, None]


def test_the_newest_lines_are_kept() -> None:
    telemetry = Telemetry()
    for i in range(MAX_LINES + 7):
        telemetry.log(f"{i}", severity_of("INFO"))

    line = telemetry.take_line()

    assert line is not None
    assert (line.text, line.dropped) == ("7", 7)


class Listener:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def log(self, text: str, severity: str = "INFO") -> None:
        self.told.append((severity, text))


def test_records_of_logging_become_lines() -> None:
    listener = Listener()
    handler = LogHandler(listener)
    logger = logging.Logger("test")
    logger.addHandler(handler)

    logger.debug("d")
    logger.info("n is %d", 5)
    logger.warning("w")
    logger.error("e")
    logger.critical("c")
    logger.log(1, "low")

    assert listener.told == [
        ("DEBUG", "d"),
        ("INFO", "n is 5"),
        ("WARNING", "w"),
        ("ERROR", "e"),
        ("FATAL", "c"),
        ("DEBUG", "low"),
    ]


def test_a_record_that_cannot_be_formatted_does_not_break_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listener()
    logger = logging.Logger("test")
    logger.addHandler(LogHandler(listener))

    logger.info("n is %d", "five")

    assert listener.told == []
    assert "Logging error" in capsys.readouterr().err


def test_outside_of_run_nothing_is_told() -> None:
    device = FairMQDevice()

    assert not device.metric("x", 1)
    device.log("x")
    with pytest.raises(ValueError, match="severity 'LOUD': one of DEBUG, INFO, WARNING, ERROR, FATAL is expected"):
        device.log("x", "LOUD")


class Teller(occ.Task):
    """Tells in its first check, in two threads, then ends."""

    def __init__(self) -> None:
        self.taken: list[bool] = []
        self.errors: list[str] = []

    def tell(self) -> None:
        self.taken += [self.metric("x", 1), self.metric("x", float("nan")), self.metric("y", 2, unit="V")]

    def iterate_check(self) -> None:
        thread = threading.Thread(target=self.tell)
        thread.start()
        thread.join()
        for wrong in (("", 1, ""), ("x" * 64, 1, ""), ("x", 1, "µ" * 32), ("a\0b", 1, ""), ("x", "one", "")):
            try:
                self.metric(*wrong)
            except (ValueError, TypeError) as error:
                self.errors.append(type(error).__name__)
        try:
            self.log("x", severity="LOUD")
        except ValueError as error:
            self.errors.append(str(error))
        self.log("µ \udcff and \0")
        self.terminate()


def test_a_task_in_python_tells_from_any_thread_and_refuses_what_is_wrong() -> None:
    task = Teller()

    task.run(f"ipc://@occ-test-teller-{secrets.token_hex(8)}")

    assert task.taken == [True, False, True]
    assert task.errors == [
        *["ValueError"] * 4,
        "TypeError",
        "severity 'LOUD': one of DEBUG, INFO, WARNING, ERROR, FATAL is expected",
    ]
    assert not task.metric("x", 1)  # it does not run any more
    task.log("x")
