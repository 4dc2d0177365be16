"""Streams of messages that carry run, source and sequence: what the example tasks and stand-ins are made of.

A worker (`Source`, `Filter`, `Sink`) opens the channels that CONFIGURE's properties name, keeps books of each source's
messages, and writes them as JSON when the run ends. `examples/tasks/stream.h` is the same in C, with the same bytes.

How a run ends without loss: all tasks get STOP at the same time, so messages are still on their way. A source then
sends END (how many there were, and their hash) and PEER_END; a filter passes on what comes until it has PEER_END of
this run from every peer connected to its inputs, and sends its own PEER_END; a sink waits likewise. The number of
peers is known from the sockets' monitors, so that no task is told how many there are; waiting is bounded by the
property `drain_ms`. Messages of another run are counted as foreign and dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import attrs
import zmq

HEADER = struct.Struct("<4sBBHIIQ104s")
"""Magic, version, kind, bytes of the source's name, run, hash (END), sequence (END: how many), source."""

SOURCE_BYTES = 104
MESSAGES_A_TURN = 64


class Kind(IntEnum):
    """What a message is."""

    DATA = 0
    END = 1
    PEER_END = 2


class StreamError(Exception):
    """The properties do not describe channels that this worker can use, or a channel can't be opened."""


@attrs.define
class Account:
    """The messages of one source in one run."""

    count: int = 0
    gaps: int = 0
    repeated: int = 0
    hash: int = 0
    announced: int | None = None
    announced_hash: int | None = None
    _next: int = 0

    def enter(self, sequence: int, payload: bytes) -> None:
        """Count one message."""
        self.hash = zlib.crc32(payload, zlib.crc32(struct.pack("<Q", sequence), self.hash))
        self.count += 1
        if sequence >= self._next:
            self.gaps += sequence - self._next
            self._next = sequence + 1
        else:
            self.repeated += 1

    def as_json(self) -> dict[str, object]:
        """Return the account as the report has it."""
        return {
            "count": self.count,
            "gaps": self.gaps,
            "repeated": self.repeated,
            "hash": f"{self.hash:08x}",
            "announced": self.announced,
            "announced_hash": None if self.announced_hash is None else f"{self.announced_hash:08x}",
        }


class Channel:
    """One socket, opened as the properties `chans.NAME.0.*` say, and a count of its peers."""

    _TYPES: Mapping[str, tuple[int, bool]] = {
        "push": (zmq.PUSH, False),
        "pull": (zmq.PULL, True),
        "pub": (zmq.PUB, False),
        "sub": (zmq.SUB, True),
    }

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], name: str, properties: Mapping[str, str]) -> None:
        def told(key: str, default: str = "") -> str:
            return properties.get(f"chans.{name}.0.{key}", default)

        if told("type") not in self._TYPES:
            raise StreamError(f"channel {name}: type {told('type')!r} is none of {', '.join(self._TYPES)}")
        if told("method") not in ("bind", "connect"):
            raise StreamError(f"channel {name}: method {told('method')!r} is neither bind nor connect")
        self.name = name
        self.peers = 0
        self.had_peers = False
        self.ended = 0
        """PEER_ENDs of this run."""
        self.type, self.is_input = self._TYPES[told("type")]
        self.socket = context.socket(self.type)
        self.socket.sndhwm = int(told("sndBufSize", "1000"))
        self.socket.rcvhwm = int(told("rcvBufSize", "1000"))
        self.socket.reconnect_ivl = 10
        self.socket.linger = 0
        if self.type == zmq.SUB:
            self.socket.subscribe(b"")
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        address = told("address")
        try:
            # FairMQ's shared memory is spoken over ipc here: the address is what counts.
            (self.socket.bind if told("method") == "bind" else self.socket.connect)(address)
        except zmq.ZMQError as error:
            self.close()
            raise StreamError(f"channel {name}: cannot {told('method')} {address}: {error.strerror}") from None

    def watch(self) -> None:
        """Take note of peers that came and went."""
        while self._monitor.poll(0):
            event = struct.unpack_from("<H", self._monitor.recv_multipart()[0])[0]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.peers += 1
                self.had_peers = True
            else:
                self.peers = max(0, self.peers - 1)

    @property
    def is_deserted(self) -> bool:
        """Whether all peers have gone."""
        return self.peers == 0 and self.had_peers

    def close(self) -> None:
        """Close the socket."""
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=0)


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says; properties of the same name overrule it."""

    name: str
    report_dir: str
    rate: float
    """Messages a second; 0: as fast as it goes."""
    payload: int
    count: int
    """End the stream after so many; 0: never."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        task = os.environ.get("ECS_TASK_ID", "").rpartition("/")[2]
        parser.add_argument("--name", default=task, help="name in messages and reports (default: of ECS_TASK_ID)")
        parser.add_argument("--report-dir", default=os.environ.get("ECS_REPORT_DIR", ""), help="folder for reports")
        parser.add_argument("--rate", type=float, default=1000, help="messages a second; 0: as fast as it goes")
        parser.add_argument("--payload", type=int, default=256, help="bytes a message")
        parser.add_argument("--count", type=int, default=0, help="end the stream after so many messages")

    @classmethod
    def of(cls, told: argparse.Namespace) -> Options:
        """Return the options that a parser found."""
        return cls(name=told.name, report_dir=told.report_dir, rate=told.rate, payload=told.payload, count=told.count)

    def overruled(self, properties: Mapping[str, str]) -> Options:
        """Return the options with what the properties say on top.

        Raises:
            StreamError: a number is none.
        """
        try:
            return Options(
                name=properties.get("role_path", self.name),
                report_dir=properties.get("report_dir", self.report_dir),
                rate=float(properties.get("rate", self.rate)),
                payload=int(properties.get("payload", self.payload)),
                count=int(properties.get("count", self.count)),
            )
        except ValueError as error:
            raise StreamError(f"rate, payload and count are numbers: {error}") from None


def source_name(name: str) -> bytes:
    """Return a name as messages carry it: of a long one the end, behind a hash that tells equal ends apart."""
    encoded = name.encode()
    if len(encoded) <= SOURCE_BYTES:
        return encoded
    return b"%08x:%s" % (zlib.crc32(encoded), encoded[-(SOURCE_BYTES - 9) :])


class Worker:
    """What the three have in common: channels, books, the end of a run, the report."""

    role = "worker"
    has_inputs = False
    has_outputs = False

    def __init__(
        self,
        options: Options,
        waker: Callable[[], int] | None = None,
        metric: Callable[[str, float, str], bool] | None = None,
    ) -> None:
        """Take options, and what a task has to give.

        Args:
            options: what the command line says.
            waker: returns a descriptor that is readable when `turn` should return.
            metric: tells a sample, as `occ.Task.metric`.
        """
        self._metric = metric
        self._untold_events = self._untold_bytes = self._rated_events = 0
        self._rated = 0.0
        self._told = options
        self._waker = waker
        self._options = options
        self._source = b""
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._channels: list[Channel] = []
        self._accounts: dict[bytes, Account] = {}
        self._run = 0
        self._foreign = 0
        self._started = 0.0
        self._held: bytes | None = None
        self._held_for: list[Channel] = []
        self._lost = False
        """Whether a message of this run was for somebody who is gone."""
        self._drain_s = 5.0
        self._faults: Mapping[str, str] = {}

    # --- what a task calls

    def configure(self, properties: Mapping[str, str]) -> None:
        """Open all channels that the properties name.

        Raises:
            StreamError: they don't fit, or one can't be opened.
        """
        self._faults = {fault: properties.get(fault, "") for fault in ("fail", "crash", "hang")}
        self.fault("configure")
        self._options = self._told.overruled(properties)
        self._drain_s = float(properties.get("drain_ms", "5000")) / 1000
        self._source = source_name(self._options.name or self.role)
        self._context = zmq.Context()
        for name in channel_names(properties):
            self._channels.append(Channel(self._context, name, properties))
        n_inputs = sum(channel.is_input for channel in self._channels)
        n_outputs = len(self._channels) - n_inputs
        if (n_inputs > 0, n_outputs > 0) != (self.has_inputs, self.has_outputs):
            raise StreamError(f"a {self.role} was given {n_inputs} channels to receive and {n_outputs} to send by")

    def reconfigure(self, properties: Mapping[str, str]) -> None:
        """Take other options, the same channels.

        Raises:
            StreamError: they don't fit.
        """
        self._options = self._told.overruled(properties)

    def start(self, run: int) -> None:
        """Begin a run with empty books."""
        self._run = run
        self._foreign = 0
        self._lost = False
        self._accounts = {}
        self._started = self._rated = time.monotonic()
        self._untold_events = self._untold_bytes = self._rated_events = 0
        for channel in self._channels:
            channel.ended = 0
        self.fault("start")

    def turn(self) -> bool:
        """Do a piece of work, or wait for some; return False when there is nothing more in this run."""
        raise NotImplementedError  # source, filter and sink each have their own

    def stop(self) -> None:
        """Receive what is still on its way, pass it on where there are outputs, and write the report."""
        self.fault("stop")
        deadline = time.monotonic() + self._drain_s
        ended = False
        while not ended and time.monotonic() < deadline:
            # First ask who is connected, then read until nothing is left: what a peer sent before it went is then here.
            all_ended = self._inputs_ended()
            passed = self._pass_on_to_the_living()
            while passed and (message := self._receive()) is not None:
                if self.has_outputs:
                    self._hold(message)
                    passed = self._pass_on_to_the_living()
            ended = passed and all_ended
            if not ended:
                self._wait(inputs=passed, outputs=not passed, timeout_s=0.02, wakes=False)
        ended = ended and all(account.announced == account.count for account in self._accounts.values())
        sent = self._send_end(self._header(Kind.PEER_END), deadline)
        self._report(complete=ended and sent and not self._lost)

    def reset(self) -> None:
        """Close all channels."""
        for channel in self._channels:
            channel.close()
        self._channels = []
        self._held = None
        if self._context is not None:
            self._context.term()
        self._context = None
        self.fault("reset")

    def fault(self, moment: str) -> None:
        """Fail, crash or hang on order: the properties of these names tell the moment. For tests."""
        if self._faults.get("crash") == moment:
            os.abort()
        while self._faults.get("hang") == moment:
            time.sleep(3600)
        if self._faults.get("fail") == moment:
            raise RuntimeError(f"told to fail in {moment}")

    # --- messages

    def _header(self, kind: Kind, *, sequence: int = 0, digest: int = 0) -> bytes:
        return HEADER.pack(b"ECSM", 1, kind, len(self._source), self._run, digest, sequence, self._source)

    def _enter(self, channel: Channel, message: bytes) -> bool:
        """Enter a received message into the books; return whether it is to be passed on."""
        if len(message) < HEADER.size:
            self._foreign += 1
            return False
        magic, version, kind, size, run, digest, sequence, source = HEADER.unpack_from(message)
        if magic != b"ECSM" or version != 1 or size > SOURCE_BYTES or run != self._run:
            self._foreign += 1
            return False
        if kind == Kind.PEER_END:
            channel.ended += 1
            return False
        account = self._accounts.setdefault(source[:size], Account())
        if kind == Kind.END:
            account.announced, account.announced_hash = sequence, digest
        else:
            self._count(account, sequence, message[HEADER.size :])
        return True

    def _count(self, account: Account, sequence: int, payload: bytes) -> None:
        account.enter(sequence, payload)
        self._untold_events += 1
        self._untold_bytes += len(payload)

    def _tell(self) -> None:
        """Tell how many messages and bytes there were since the last time, and about once a second the rate."""
        if self._metric is None:
            return
        if self._untold_events > 0:
            self._metric("events", self._untold_events, "")
            self._metric("bytes", self._untold_bytes, "B")
        self._rated_events += self._untold_events
        self._untold_events = self._untold_bytes = 0
        passed_s = time.monotonic() - self._rated
        if passed_s >= 1:
            self._metric("rate", self._rated_events / passed_s, "Hz")
            self._rated_events = 0
            self._rated += passed_s

    def _receive(self) -> bytes | None:
        """Return one message of this run, from any input, not waiting; None if none waits."""
        for channel in self._inputs():
            while True:
                try:
                    message = channel.socket.recv(zmq.DONTWAIT)
                except zmq.Again:
                    break
                if self._enter(channel, message):
                    return message
        return None

    def _hold(self, message: bytes) -> None:
        """Keep a message that is to go out to every output."""
        self._held = message
        self._held_for = self._outputs()

    def _pass_on(self) -> bool:
        """Send the held message, not waiting; return False if an output is full."""
        while self._held is not None and self._held_for:
            try:
                self._held_for[-1].socket.send(self._held, zmq.DONTWAIT)
            except zmq.Again:
                return False
            self._held_for.pop()
        self._held = None
        return True

    def _pass_on_to_the_living(self) -> bool:
        """Pass the held message on, but not to outputs whose peers are all gone; return False if another is full."""
        while not self._pass_on():
            channel = self._held_for[-1]
            channel.watch()
            if not channel.is_deserted:
                return False
            self._lost = True
            self._held_for.pop()
        return True

    # --- waiting

    def _inputs(self) -> list[Channel]:
        return [channel for channel in self._channels if channel.is_input]

    def _outputs(self) -> list[Channel]:
        return [channel for channel in self._channels if not channel.is_input]

    def _wait(self, *, inputs: bool, outputs: bool, timeout_s: float, wakes: bool = True) -> None:
        """Wait until inputs (or outputs) are ready or a command comes."""
        poller = zmq.Poller()
        for channel in self._channels:
            if inputs if channel.is_input else outputs:
                poller.register(channel.socket, zmq.POLLIN if channel.is_input else zmq.POLLOUT)
        if wakes and self._waker is not None:
            poller.register(self._waker(), zmq.POLLIN)
        poller.poll(max(0, int(timeout_s * 1000 + 0.999)))

    def _inputs_ended(self) -> bool:
        """Whether every peer of every input has said that it is through."""
        for channel in self._inputs():
            channel.watch()
            if channel.ended < channel.peers or (channel.ended == 0 and not channel.had_peers):
                return False
        return True

    # --- the end of a run

    def _send_end(self, message: bytes, deadline: float) -> bool:
        """Send to every peer of every output; return False if there was no room until the deadline."""
        sent = True
        for channel in self._outputs():
            channel.watch()
            copies = 1 if channel.type == zmq.PUB else max(1, channel.peers)
            for _ in range(copies):
                sent = self._send_by(channel, message, deadline) and sent
        return sent

    def _send_by(self, channel: Channel, message: bytes, deadline: float) -> bool:
        while not channel.is_deserted:
            try:
                channel.socket.send(message, zmq.DONTWAIT)
                return True
            except zmq.Again:
                if time.monotonic() >= deadline:
                    return False
                channel.socket.poll(50, zmq.POLLOUT)
                channel.watch()
        return True  # nobody waits for it

    def _report(self, *, complete: bool) -> None:
        """Write the account of this run to <report_dir>/<name>-run<run>.json by rename, or to stdout."""
        self._tell()
        name = self._options.name or self.role
        report = {
            "task": name,
            "role": self.role,
            "run": self._run,
            "complete": complete,
            "foreign": self._foreign,
            "seconds": round(time.monotonic() - self._started, 3),
            "sources": {
                source.decode(errors="replace"): account.as_json() for source, account in self._accounts.items()
            },
        }
        text = json.dumps(report) + "\n"
        if not self._options.report_dir:
            print(text, end="", flush=True)
            return
        path = Path(self._options.report_dir) / f"{name.replace('/', '_')}-run{self._run}.json"
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(path)


def channel_names(properties: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the channels that the properties describe."""
    for key in properties:
        if key.startswith("chans.") and key.endswith(".0.address"):
            yield key.removeprefix("chans.").removesuffix(".0.address")


class Source(Worker):
    """Makes messages and sends them by all its channels."""

    role = "source"
    has_outputs = True

    def start(self, run: int) -> None:
        """Begin to count from 0."""
        super().start(run)
        self._accounts[self._source] = Account()

    def turn(self) -> bool:
        """Send what is due; return False after the last message of `count`."""
        self.fault("running")
        self._tell()
        account = self._accounts[self._source]
        for _ in range(MESSAGES_A_TURN):
            if not self._pass_on():
                self._wait(inputs=False, outputs=True, timeout_s=0.1)
                return True
            if 0 < self._options.count <= account.count:
                return False
            if self._options.rate > 0:
                ahead_s = self._started + account.count / self._options.rate - time.monotonic()
                if ahead_s > 0:
                    self._wait(inputs=False, outputs=False, timeout_s=min(ahead_s, 0.5))
                    return True
            payload = bytes([account.count & 0xFF]) * self._options.payload
            self._hold(self._header(Kind.DATA, sequence=account.count) + payload)
            self._count(account, account.count, payload)
        return True

    def stop(self) -> None:
        """Send what is held, tell how many there were, and write the report."""
        self.fault("stop")
        deadline = time.monotonic() + self._drain_s
        while not (sent := self._pass_on_to_the_living()) and time.monotonic() < deadline:
            self._wait(inputs=False, outputs=True, timeout_s=0.02, wakes=False)
        account = self._accounts[self._source]
        account.announced, account.announced_hash = account.count, account.hash
        end = self._header(Kind.END, sequence=account.count, digest=account.hash)
        sent = sent and self._send_end(end, deadline) and self._send_end(self._header(Kind.PEER_END), deadline)
        self._report(complete=sent and not self._lost)


class Filter(Worker):
    """Passes messages on, from all its inputs to all its outputs."""

    role = "filter"
    has_inputs = True
    has_outputs = True

    def turn(self) -> bool:
        """Pass on what waits, or wait for more."""
        self.fault("running")
        self._tell()
        for _ in range(MESSAGES_A_TURN):
            if not self._pass_on():
                self._wait(inputs=False, outputs=True, timeout_s=0.5)
                return True
            message = self._receive()
            if message is None:
                self._wait(inputs=True, outputs=False, timeout_s=0.5)
                return True
            self._hold(message)
        return True


class Sink(Worker):
    """Takes messages from all its inputs."""

    role = "sink"
    has_inputs = True

    def turn(self) -> bool:
        """Take what waits, or wait for more."""
        self.fault("running")
        self._tell()
        for _ in range(MESSAGES_A_TURN):
            if self._receive() is None:
                self._wait(inputs=True, outputs=False, timeout_s=0.5)
                return True
        return True


ROLES: Mapping[str, type[Worker]] = {cls.role: cls for cls in (Source, Filter, Sink)}


def read_options(description: str, arguments: Sequence[str] | None = None) -> Options:
    """Return the options of a program that is one worker."""
    parser = argparse.ArgumentParser(description=description)
    Options.add_arguments(parser)
    return Options.of(parser.parse_args(arguments))
