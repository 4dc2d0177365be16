"""The example tasks on real channels: nothing is lost at STOP, nothing of another run is taken, whoever sends."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
import zmq

from libecs.fairmq import SEQUENCE, DeviceState
from libecs.fsm import TASK_SOURCE, TaskEvent, TaskState
from libecs.wire.task import Happened, Machine, Metric, Result
from occ.stream import HEADER, Account, Options, Sink, Source, StreamError, read_options, source_name
from tests.io.places import own_host
from tests.occ.conftest import Site, Start, StartAtPort
from tests.occ.harness import TIMEOUT_S, Peer, TaskProcess

E, S = TaskEvent, TaskState

C = "{}"
PYTHON = "{}.py"
DEVICE = "fairmq_device.py --role {}"
DIRECT = "fairmq_device.py --machine direct --role {}"

NAMES = {C: "c", PYTHON: "python", DEVICE: "device", DIRECT: "direct python"}
"""Tests that run a task in Python or a device say so in their names: others run with a sanitized libocc too."""


@attrs.define
class Node:
    """One task of a topology and its controller."""

    name: str
    task: TaskProcess
    peer: Peer
    properties: dict[str, str]
    device: bool
    report_dir: Path

    def order(self, event: TaskEvent, arguments: Mapping[str, str]) -> str:
        """Send an event, of a device its last step; return the id."""
        if not self.device:
            return self.peer.order(event, TASK_SOURCE.get(event, S.STANDBY), arguments)
        *steps, (last, _) = SEQUENCE[event]
        for step, _ in steps:
            result = self.peer.go(step, self.peer.ping().state, arguments)
            assert result.ok, result
            arguments = {}
        return self.peer.order(last, self.peer.ping().state, arguments)

    def result(self, id: str) -> Result:
        return self.peer.wait_for(Result, lambda result: result.id == id)

    def report(self, run: int) -> dict[str, Any]:
        text = (self.report_dir / f"{self.name}-run{run}.json").read_text(encoding="utf-8")
        report: dict[str, Any] = json.loads(text)
        assert report["task"] == self.name
        assert report["run"] == run
        return report


class Topology:
    """Tasks that are told the same at the same time, as an environment's are."""

    def __init__(self, site: Site, start: Start, connect: Callable[..., Peer], folder: Path) -> None:
        self._site, self._start, self._connect, self._folder = site, start, connect, folder
        self.nodes: dict[str, Node] = {}

    def add(
        self, name: str, form: str, role: str, channels: Mapping[str, tuple[str, str, str]], **more: object
    ) -> None:
        """Start a task; channels are name to (type, method, address)."""
        program, *options = form.format(role).split()
        task = self._start([*self._site.example(program), *options])
        peer = self._connect(task)
        machine = peer.welcome().machine
        properties = {"report_dir": str(self._folder), "role_path": name} | {k: str(v) for k, v in more.items()}
        for channel, (kind, method, address) in channels.items():
            told = {"type": kind, "method": method, "address": address, "transport": "shmem", "rateLogging": "0"}
            told |= {"sndBufSize": "50", "rcvBufSize": "50"}
            properties |= {f"chans.{channel}.0.{key}": value for key, value in told.items()}
            properties[f"chans.{channel}.numSockets"] = "1"
        self.nodes[name] = Node(name, task, peer, properties, machine is Machine.FAIRMQ, self._folder)

    def all(self, event: TaskEvent, arguments: Mapping[str, str] | None = None) -> None:
        """Send an event to all, then wait for all."""
        ids = {
            name: node.order(event, node.properties if event is E.CONFIGURE else arguments or {})
            for name, node in self.nodes.items()
        }
        for name, node in self.nodes.items():
            result = node.result(ids[name])
            assert result.ok, (name, result)

    def take_run(self, number: int, messages: int) -> dict[str, dict[str, Any]]:
        """Take a run in which every source sends at least so many messages; return the reports."""
        for node in self.nodes.values():
            node.peer.seen.clear()
        self.all(E.START, {"runNumber": str(number)})
        for node in self.nodes.values():
            if "source" in node.name:
                while node.peer.ping().progress < messages:
                    pass
        self.all(E.STOP)
        reports = {name: node.report(number) for name, node in self.nodes.items()}
        for name, report in reports.items():
            told = [message for message in self.nodes[name].peer.seen if isinstance(message, Metric)]
            entered = sum(account["count"] for account in report["sources"].values())
            assert sum(metric.sum for metric in told if metric.name == "events") == entered
            assert sum(metric.sum for metric in told if metric.name == "bytes") >= entered
        return reports


@pytest.fixture
def topology(site: Site, start: Start, connect: Callable[..., Peer], tmp_path: Path) -> Topology:
    return Topology(site, start, connect, tmp_path)


@pytest.fixture
def address() -> Callable[[str], str]:
    """A function that makes abstract addresses that nobody else has: another machine's pids may be ours."""
    mark = secrets.token_hex(8)
    return lambda name: f"ipc://@occ-test-{mark}-{name}"


def assert_nothing_lost(reports: Mapping[str, Mapping[str, Any]], receiver: str, sources: Sequence[str]) -> None:
    received = reports[receiver]
    assert set(received["sources"]) == set(sources)
    for source in sources:
        sent = reports[source]["sources"][source]
        assert received["sources"][source] == sent
        assert sent["count"] == sent["announced"] > 0
        assert sent["gaps"] == sent["repeated"] == 0
    assert received["complete"]
    assert received["foreign"] == 0


@pytest.mark.parametrize(
    ("source", "filter", "sink"),
    [
        (C, C, C),
        (PYTHON, PYTHON, PYTHON),
        (C, PYTHON, C),
        (PYTHON, C, PYTHON),
        (DEVICE, DEVICE, DEVICE),
        (DIRECT, DEVICE, DEVICE),
        (C, DEVICE, PYTHON),
    ],
    ids=NAMES.get,
)
def test_two_runs_through_a_chain_lose_nothing(
    topology: Topology, address: Callable[[str], str], source: str, filter: str, sink: str
) -> None:
    topology.add("a.source", source, "source", {"data": ("push", "bind", address("1"))}, rate=0, payload=100)
    channels = {"in": ("pull", "connect", address("1")), "out": ("push", "bind", address("2"))}
    topology.add("a.filter", filter, "filter", channels)
    topology.add("a.sink", sink, "sink", {"data": ("pull", "connect", address("2"))})
    topology.all(E.CONFIGURE)

    first = topology.take_run(17, 30)
    second = topology.take_run(18, 60)
    topology.all(E.RESET)
    topology.all(E.EXIT)

    for reports in (first, second):
        assert_nothing_lost(reports, "a.filter", ["a.source"])
        assert_nothing_lost(reports, "a.sink", ["a.source"])
    assert [node.task.wait() for node in topology.nodes.values()] == [0, 0, 0]


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_a_source_takes_another_size_without_a_reset(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    topology.add("a.source", form, "source", {"data": ("push", "bind", address("1"))}, rate=0, payload=10)
    topology.add("a.sink", C, "sink", {"data": ("pull", "connect", address("1"))})
    topology.all(E.CONFIGURE)
    topology.take_run(1, 10)
    source = topology.nodes["a.source"]

    changed = source.peer.go(E.RECONFIGURE, S.CONFIGURED, {"payload": "20", "count": "7"})
    wrong = topology.nodes["a.sink"].peer.go(E.RECONFIGURE, S.CONFIGURED, {"drain_ms": "1"})
    reports = topology.take_run(2, 1)

    assert (changed.ok, changed.state) == (True, S.CONFIGURED)
    assert (wrong.ok, wrong.error) == (False, "the task does not reconfigure live")
    assert reports["a.source"]["sources"]["a.source"]["count"] == 7
    assert sum(m.sum for m in source.peer.seen if isinstance(m, Metric) and m.name == "bytes") == 7 * 20


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_a_sink_takes_from_many_filters(topology: Topology, address: Callable[[str], str], form: str) -> None:
    sources = [f"node-{i}.source" for i in range(3)]
    topology.add("sink", form, "sink", {"data": ("pull", "bind", address("sink"))})
    for i, name in enumerate(sources):
        topology.add(name, C, "source", {"data": ("push", "bind", address(f"s{i}"))}, rate=0 if i else 200)
        channels = {"in": ("pull", "connect", address(f"s{i}")), "out": ("push", "connect", address("sink"))}
        topology.add(f"node-{i}.filter", C, "filter", channels)
    topology.all(E.CONFIGURE)

    for run in (1, 2, 3):
        assert_nothing_lost(topology.take_run(run, 20), "sink", sources)


@pytest.mark.parametrize("form", [C, PYTHON, DEVICE], ids=["c", "python", "device"])
def test_a_run_that_is_stopped_at_once_loses_nothing(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    topology.add("sink", form, "sink", {"data": ("pull", "connect", address("1"))})
    topology.add("source", form, "source", {"data": ("push", "bind", address("1"))}, rate=0)
    topology.all(E.CONFIGURE)

    for run in range(1, 6):
        reports = topology.take_run(run, 0)
        assert reports["sink"]["complete"]
        assert reports["sink"]["foreign"] == 0
        sent = reports["source"]["sources"]["source"]
        assert reports["sink"]["sources"]["source"] == sent


@pytest.mark.parametrize(("form", "other"), [(C, C), (C, PYTHON), (PYTHON, C)], ids=NAMES.get)
def test_a_source_publishes_to_subscribers_over_tcp(topology: Topology, form: str, other: str) -> None:
    # Nobody else has this address, and no connection that goes out takes its port.
    place = f"{own_host()}:20007"
    sinks = ("sink-1", "sink-2")
    topology.add("source", form, "source", {"data": ("pub", "bind", f"tcp://{place}")}, rate=500, count=40)
    for name in sinks:
        topology.add(name, other, "sink", {"data": ("sub", "connect", f"tcp://{place}")}, drain_ms=500)
    topology.all(E.CONFIGURE)

    # Nothing tells when a subscription has come to the source. Who subscribes too late for a run hears nothing of it;
    # who subscribes during it misses the beginning, but knows it.
    for run in count(1):
        topology.all(E.START, {"runNumber": str(run)})
        topology.nodes["source"].peer.wait_for(Happened)
        topology.all(E.STOP)
        books = [topology.nodes[name].report(run)["sources"].get("source") for name in sinks]
        assert all(book["count"] + book["gaps"] == 40 for book in books if book and book["announced"] == 40)
        if all(book and book["announced"] == 40 for book in books):
            break
        topology.nodes["source"].peer.seen.clear()


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_a_source_with_two_outputs_sends_to_both(topology: Topology, address: Callable[[str], str], form: str) -> None:
    channels = {name: ("push", "bind", address(name)) for name in ("one", "two")}
    topology.add("source", form, "source", channels, rate=0)
    for name in ("one", "two"):
        topology.add(name, C, "sink", {"data": ("pull", "connect", address(name))})
    topology.all(E.CONFIGURE)

    reports = topology.take_run(1, 20)

    for name in ("one", "two"):
        assert_nothing_lost(reports, name, ["source"])


@pytest.mark.parametrize("form", [C, PYTHON, DEVICE], ids=["c", "python", "device"])
def test_a_stream_ends_after_the_count_that_is_set(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    topology.add("source", form, "source", {"data": ("push", "bind", address("1"))}, rate=0, count=33, payload=0)
    topology.add("sink", C, "sink", {"data": ("pull", "connect", address("1"))})
    topology.all(E.CONFIGURE)

    for run in (1, 2):
        topology.all(E.START, {"runNumber": str(run)})
        topology.nodes["source"].peer.wait_for(Happened)
        topology.all(E.STOP)
        assert topology.nodes["sink"].report(run)["sources"]["source"]["count"] == 33


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_after_the_death_of_a_filter_the_others_stop_at_once_and_say_what_is_missing(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    drain_ms = 10 * TIMEOUT_S * 1000  # so long that a test which waited for it would fail
    topology.add("source", form, "source", {"data": ("push", "bind", address("1"))}, rate=0, drain_ms=drain_ms)
    channels = {"in": ("pull", "connect", address("1")), "out": ("push", "bind", address("2"))}
    topology.add("filter", form, "filter", channels)
    topology.add("sink", form, "sink", {"data": ("pull", "connect", address("2"))}, drain_ms=drain_ms)
    topology.all(E.CONFIGURE)
    topology.all(E.START, {"runNumber": "1"})
    while topology.nodes["sink"].peer.ping().progress < 3:
        pass

    victim = topology.nodes.pop("filter")
    victim.task.signal(signal.SIGKILL)
    victim.task.wait()
    topology.all(E.STOP)

    assert not topology.nodes["sink"].report(1)["complete"]
    assert topology.nodes["sink"].report(1)["sources"]["source"]["announced"] is None


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_messages_of_another_run_are_counted_and_dropped(
    topology: Topology, address: Callable[[str], str], form: str, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    def message(kind: int, run: int, sequence: int, payload: bytes = b"", source: bytes = b"me") -> bytes:
        return HEADER.pack(b"ECSM", 1, kind, len(source), run, 0, sequence, source) + payload

    topology.add("sink", form, "sink", {"data": ("pull", "bind", address("1"))})
    topology.all(E.CONFIGURE)
    with context.socket(zmq.PUSH) as stranger:
        stranger.connect(address("1"))
        for frame in (
            b"",
            b"short",
            b"x" * 500,
            message(0, 1, 0),
            message(2, 1, 0),
            HEADER.pack(b"ECSM", 2, 0, 2, 2, 0, 0, b"me"),
            HEADER.pack(b"ECSM", 1, 0, 105, 2, 0, 0, b"me"),
            message(0, 2, 0, b"a"),
            message(0, 2, 2, b"c"),
            message(0, 2, 1, b"b"),
            message(1, 2, 4),
            message(2, 2, 0),
        ):
            stranger.send(frame)

        report = topology.take_run(2, 0)["sink"]

    books = report["sources"]["me"]
    assert report["foreign"] == 7
    assert not report["complete"]
    assert (books["count"], books["gaps"], books["repeated"], books["announced"]) == (3, 1, 1, 4)


@pytest.mark.parametrize(
    ("role", "channels", "properties", "error"),
    [
        ("sink", {}, {}, "a sink was given 0 channels to receive and 0 to send by"),
        (
            "filter",
            {"a": ("pull", "bind", "ipc://@x")},
            {},
            "a filter was given 1 channels to receive and 0 to send by",
        ),
        ("sink", {"a": ("rep", "bind", "ipc://@x")}, {}, "channel a: type 'rep' is none of push, pull, pub, sub"),
        ("sink", {"a": ("pull", "marry", "ipc://@x")}, {}, "channel a: method 'marry' is neither bind nor connect"),
        (
            "sink",
            {"a": ("pull", "bind", "ipc:///nowhere/x")},
            {},
            "channel a: cannot bind ipc:///nowhere/x: No such file or directory",
        ),
        ("source", {"a": ("push", "bind", "ipc://@x")}, {"rate": "fast"}, "rate, payload"),
        ("source", {"a": ("push", "bind", "ipc://@x")}, {"fail": "configure"}, "told to fail in configure"),
    ],
    ids=lambda value: value.replace(" ", "_")[:40] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_channels_that_do_not_fit_are_an_error_and_can_be_mended(
    topology: Topology,
    address: Callable[[str], str],
    form: str,
    role: str,
    channels: dict[str, tuple[str, str, str]],
    properties: dict[str, str],
    error: str,
) -> None:
    ours = {"ipc://@x": address("x")}
    channels = {name: (type_, method, ours.get(at, at)) for name, (type_, method, at) in channels.items()}
    topology.add("task", form, role, channels, **properties)
    node = topology.nodes["task"]

    result = node.peer.go(E.CONFIGURE, S.STANDBY, node.properties)

    assert (result.ok, result.state) == (False, S.ERROR)
    assert error in result.error
    assert node.peer.go(E.RECOVER, S.ERROR).ok
    good = {"in": ("pull", "bind", address("in"))} if role != "source" else {}
    good |= {"out": ("push", "bind", address("out"))} if role != "sink" else {}
    told = {
        f"chans.{n}.0.{k}": v for n, c in good.items() for k, v in zip(("type", "method", "address"), c, strict=True)
    }
    assert node.peer.go(E.CONFIGURE, S.STANDBY, told).ok


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_without_a_folder_the_report_goes_to_stdout(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    topology.add("source", form, "source", {"data": ("push", "bind", address("1"))}, rate=0, drain_ms=1)
    node = topology.nodes["source"]
    node.properties["report_dir"] = ""
    topology.all(E.CONFIGURE)
    topology.all(E.START, {"runNumber": "3"})
    topology.all(E.STOP)
    topology.all(E.RESET)
    topology.all(E.EXIT)
    node.task.wait()

    assert json.loads(node.task.stderr())["run"] == 3


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_a_report_that_cannot_be_written_is_an_error(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    topology.add("source", form, "source", {"data": ("push", "bind", address("1"))}, drain_ms=1)
    node = topology.nodes["source"]
    node.properties["report_dir"] = "/no/such"
    topology.all(E.CONFIGURE)
    topology.all(E.START)

    result = node.peer.go(E.STOP, S.RUNNING)

    assert (result.ok, result.state) == (False, S.ERROR)
    assert "/no/such/source-run0.json" in result.error


@pytest.mark.parametrize("form", [C, PYTHON], ids=["c", "python"])
def test_a_long_name_keeps_its_end_and_stays_unique(
    topology: Topology, address: Callable[[str], str], form: str
) -> None:
    name = "environment." + "very-" * 30 + "long.source"
    topology.add(name, form, "source", {"data": ("push", "bind", address("1"))}, rate=0)
    topology.add("sink", C, "sink", {"data": ("pull", "connect", address("1"))})
    topology.all(E.CONFIGURE)

    reports = topology.take_run(1, 2)

    short = source_name(name).decode()
    assert len(short) == 104
    assert short == f"{zlib.crc32(name.encode()):08x}:{name[-95:]}"
    assert reports["sink"]["sources"] == {short: reports[name]["sources"][short]}


def test_faults_come_at_their_moment_in_c_and_python(topology: Topology, address: Callable[[str], str]) -> None:
    for i, form in enumerate((C, PYTHON, DIRECT)):
        topology.add(f"t{i}", form, "source", {"data": ("push", "bind", address(str(i)))}, crash="start")
    topology.all(E.CONFIGURE)

    for node in topology.nodes.values():
        node.order(E.START, {})

    assert [node.task.wait() for node in topology.nodes.values()] == [-signal.SIGABRT] * 3


@pytest.mark.parametrize(
    ("program", "arguments", "status", "text"),
    [
        ("source", ["--rate"], 2, "source: --rate needs a value"),
        ("sink", ["--colour", "red"], 2, "sink: unknown option --colour"),
        pytest.param("source.py", ["--rate", "fast"], 2, "invalid float value: 'fast'", id="python"),
        pytest.param("fairmq_device.py", [], 2, "the following arguments are required: --role", id="device"),
        ("source", [], 1, "source: no control endpoint: set OCC_CONTROL_ENDPOINT"),
    ],
)
def test_a_wrong_command_line_is_told(site: Site, program: str, arguments: list[str], status: int, text: str) -> None:
    command = [str(part) for part in site.example(program)]

    done = subprocess.run(
        [*command, *arguments], env=dict(site.environment), check=False, capture_output=True, text=True
    )

    assert done.returncode == status
    assert text in done.stderr


def test_a_device_ignores_what_launchers_add_for_fairmq(site: Site, start_at_port: StartAtPort) -> None:
    added = ["--id", "x", "-S", "/some/where", "-P", "OCClite", "--color", "false", "--control-port", "{port}"]

    _, _, welcome = start_at_port(
        [*site.example("fairmq_device.py"), "--role", "sink", *added], lambda port: {"OCC_CONTROL_ENDPOINT": ""}
    )

    assert welcome.state == DeviceState.IDLE


# --- without processes


def test_books_know_gaps_and_repetitions() -> None:
    account = Account()
    for sequence in (0, 1, 4, 3, 5):
        account.enter(sequence, b"x")

    assert (account.count, account.gaps, account.repeated) == (5, 2, 1)


def test_hashes_tell_order_and_content() -> None:
    def digest(*messages: tuple[int, bytes]) -> int:
        account = Account()
        for sequence, payload in messages:
            account.enter(sequence, payload)
        return account.hash

    assert digest((0, b"a"), (1, b"b")) == digest((0, b"a"), (1, b"b"))
    assert len({digest((0, b"a"), (1, b"b")), digest((1, b"b"), (0, b"a")), digest((0, b"a"), (1, b"c"))}) == 3


def test_a_worker_tells_how_many_and_how_fast() -> None:
    told: list[tuple[str, float, str]] = []

    def metric(name: str, value: float, unit: str) -> bool:
        told.append((name, value, unit))
        return True

    source = Source(read_options("", ["--count", "3", "--payload", "5", "--rate", "0"]), metric=metric)
    source.start(1)
    source._started = source._rated = -1e9  # as if the run had begun long ago

    assert not source.turn()
    source.turn()

    assert ("events", 3, "") in told
    assert ("bytes", 15, "B") in told
    assert any(name == "rate" and unit == "Hz" for name, _, unit in told)


def test_properties_overrule_options() -> None:
    options = read_options("x", ["--name", "a", "--rate", "5"])

    assert options.overruled({"role_path": "b", "count": "3"}) == Options(
        name="b", report_dir=options.report_dir, rate=5, payload=256, count=3
    )
    with pytest.raises(StreamError, match="rate, payload and count are numbers: .*'many'"):
        options.overruled({"count": "many"})


def test_a_worker_waits_for_its_channels_alone_if_nobody_can_wake_it() -> None:
    worker = Sink(read_options("x", []))
    try:
        with pytest.raises(StreamError, match="a sink was given 0 channels"):
            worker.configure({})
    finally:
        worker.reset()
    assert Source.has_outputs
