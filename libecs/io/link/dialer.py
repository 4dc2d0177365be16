"""One peer and one socket: how executors and clients come to their core, and come again.

A Dialer dials for ever. libzmq's own attempts end for good when a key is refused or the other side speaks something
else (4.3.5), so each attempt here is a new socket, after a pause that grows and is never the same for two dialers. Why
attempts fail is told as `Trouble`, at the latest 3 s after the first.

While the link is down nothing is kept: what is sent then is refused, what was queued is dropped. So nothing old ever
arrives late.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import zmq

from libecs.errors import InvalidInput
from libecs.io.link.context import ClientCurve, Context, set_heartbeats
from libecs.io.link.door import local_address
from libecs.io.link.monitor import HANDSHAKE_FAILED, Monitor
from libecs.io.link.probe import probe
from libecs.io.link.pump import Pump
from libecs.io.link.trouble import SHOWN_KEY, Refusal, Trouble
from libecs.wire.codec import MAX_FRAME_BYTES

logger = logging.getLogger(__name__)

HIGH_WATER = 10_000
MAX_QUEUED = 10_000
CONNECT_MS = 1500
HANDSHAKE_MS = 5000
SLOW_S = 1.5
"""An attempt that has not come to anything after so long is looked into."""
GIVE_UP_S = 8.0
"""An attempt of which libzmq says nothing for so long is ended: a name that can't be resolved is never told."""
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 0.6
MAX_REFUSED_PAUSE_S = 5.0
"""Between attempts after which somebody must do something: keys, addresses."""
MAX_SHORT_PAUSE_S = 2.0
"""After links that were up for less than `LASTING_S`."""
LASTING_S = 2.0
PROBE_AGAIN_S = 5.0
"""As long as nobody answers at all, it is asked why this often: to ask costs a second, in which nobody dials."""
TELL_AGAIN_S = 10.0

_EVENTS = (
    zmq.Event.CONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.CLOSED | HANDSHAKE_FAILED
)
_MORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)
_NEEDS_SOMEBODY = frozenset({Refusal.WRONG_KEY, Refusal.NO_KEY, Refusal.WRONG_CORE, Refusal.INSECURE})
_NOBODY = frozenset({Refusal.REFUSED, Refusal.UNREACHABLE, Refusal.UNKNOWN_HOST})
_DOUBTFUL = frozenset({Refusal.WRONG_CORE, Refusal.NO_KEY, Refusal.INSECURE, Refusal.NOT_A_CORE})
"""Believed when the next attempt ends the same way: a core that was just being restarted looks like that once."""


def pause_s(attempts: int, max_s: float, chance: float) -> float:
    """Return the seconds to wait after so many attempts: twice as many each time up to `max_s`, half of it by chance.

    Without chance, all executors would come at once to a core that was restarted.
    """
    return float(min(max_s, FIRST_PAUSE_S * 2.0 ** min(attempts, 10))) * (0.5 + chance)


class Dialer:
    """A link to one peer. It belongs to the event loop that it is made in."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        on_message: Callable[[list[bytes]], None],
        *,
        channel: bytes,
        curve: ClientCurve | None = None,
        on_link: Callable[[bool], None] | None = None,
        on_trouble: Callable[[Trouble], None] | None = None,
        on_next_key: Callable[[], None] | None = None,
        high_water: int = HIGH_WATER,
        max_queued: int = MAX_QUEUED,
        drop_oldest: bool = False,
        random: Callable[[], float] = random_.random,
    ) -> None:
        """Begin to dial.

        Args:
            context: of `new_context`.
            endpoint: tcp://host:port, or ipc://path.
            on_message: called with the frames of each message that comes in. Does not raise.
            channel: the first frame of each message that is sent.
            curve: our keys and the peer's; None = none.
            on_link: called with True when the link is up, with False when it was and is no more.
            on_trouble: called when an attempt failed for another reason than the last one, and else every 10 s.
            on_next_key: called, before `on_link`, when the link is up with the key that was the peer's next one and is
                its only one from now on.
            high_water: messages in ZeroMQ's queue.
            max_queued: messages in the queue behind it.
            drop_oldest: of a full queue the oldest message is dropped; else the one that comes is not taken.
            random: gives numbers from 0 to 1, for the pauses.

        Raises:
            InvalidInput: nothing of that name can be dialled, or a key is none.
        """
        self.endpoint = endpoint
        self.up = False
        self.local_address = ""
        """Of this machine, as the last connection used it: others there may reach us at it. "" = there was none."""
        self.trouble: Trouble | None = None
        """Of the last attempt; None while the link is up, and before the first attempt has failed."""
        self.dropped = 0
        """Messages that were taken, or came while the link was up, and were not sent."""
        self._context = context
        self._on_message = on_message
        self._channel = channel
        self.curve = curve
        """What the next attempt is made with."""
        self._tries_next = False
        """This attempt expects the peer's next key."""
        self._on_link = on_link
        self._on_trouble = on_trouble
        self._on_next_key = on_next_key
        self._high_water = high_water
        self._max_queued = max_queued
        self._drop_oldest = drop_oldest
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Sequence[bytes]] = deque()
        self._closed = False
        self._attempts = 0
        self._suspicion: Refusal | None = None
        self._told_at = self._probed_at = self._up_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._wire: _Wire | None = None
        self._dial()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send a message, or queue it. Return False if it was not taken: the link is down, or the queue is full."""
        if self._wire is None or not self.up:
            return False
        message = (self._channel, *frames)
        if not self._queue and self._wire.put(message):
            self._wire.pump.sent()
            return True
        if len(self._queue) >= self._max_queued:
            self.dropped += 1
            if not self._drop_oldest:
                return False
            self._queue.popleft()
        self._queue.append(message)
        self._wire.pump.held()
        return True

    @property
    def queued(self) -> int:
        """Messages that wait here, not counting those in ZeroMQ."""
        return len(self._queue)

    def close(self, linger_ms: int = 0) -> None:
        """Dial no more. What was sent has `linger_ms` to leave."""
        if self._closed:
            return
        self._closed = True
        self.up = False
        self._hang_up(linger_ms)
        if self._look is not None:
            self._look.cancel()

    # one attempt

    def _dial(self) -> None:
        self._timer = None
        if self._closed:
            return
        self._expected = self._expect()
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IMMEDIATE, 1)  # what is sent goes to a peer that is there, or nowhere
            socket.setsockopt(zmq.RECONNECT_IVL, -1)
            socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
            socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            socket.setsockopt(zmq.SNDHWM, self._high_water)
            socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            socket.setsockopt(zmq.IPV6, 1)
            set_heartbeats(socket)
            if self._expected is not None:
                self._expected.apply(socket)
            self._wire = _Wire(socket, self._happened, self._take, self._flush)
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self._hang_up()
            socket.close(linger=0)
            raise InvalidInput(f"{self.endpoint} cannot be dialled: {zmq.strerror(error.errno or 0)}") from error
        except BaseException:
            socket.close(linger=0)
            raise
        self._wire.pump.schedule()
        self._timer = self._loop.call_later(SLOW_S, self._slow)

    def _expect(self) -> ClientCurve | None:
        """Return the keys of this attempt."""
        curve = self.curve
        if curve is None or not curve.next_server:
            self._tries_next = False
        if curve is None or not self._tries_next:
            return curve
        return attrs.evolve(curve, server=curve.next_server, next_server="")

    def _dial_again(self) -> None:
        """Dial what could be dialled before: what hinders us passes, if only no descriptors were left."""
        try:
            self._dial()
        except (InvalidInput, zmq.ZMQError) as error:
            logger.warning("%s cannot be dialled now: %s", self.endpoint, error)
            self._dial_later(MAX_REFUSED_PAUSE_S)

    def _happened(self, event: zmq.Event, value: int, _endpoint: str) -> None:
        if event is zmq.Event.CONNECTED:
            self.local_address = local_address(value)
        elif event is zmq.Event.HANDSHAKE_SUCCEEDED:
            self._came_up()
        elif self.up:
            self._went_down()
        elif event is zmq.Event.HANDSHAKE_FAILED_AUTH:
            self._failed(Refusal.WRONG_KEY)
        elif event is zmq.Event.CLOSED and self._nobody_as_before():
            self._hang_up()
            self._dial_later(MAX_PAUSE_S)
        else:
            self._failed(None)

    def _nobody_as_before(self) -> bool:
        known = self.trouble is not None and self.trouble.refusal in _NOBODY
        return known and self._loop.time() < self._probed_at + PROBE_AGAIN_S

    def _came_up(self) -> None:
        self._stop_timer()
        self._suspicion = self.trouble = None
        self._told_at = float("-inf")
        self._up_at = self._loop.time()
        self.up = True
        if self._tries_next:
            self._tries_next = False
            self.curve = self._expected
            if self._on_next_key is not None:
                self._on_next_key()
        if self._on_link is not None:
            self._on_link(True)

    def _went_down(self) -> None:
        assert self._wire is not None
        self._wire.pump.drain()  # what had come before the end
        self.up = False
        self._hang_up()
        if self._loop.time() >= self._up_at + LASTING_S:
            self._attempts = 0
        self._dial_later(MAX_SHORT_PAUSE_S)
        if self._on_link is not None and not self._closed:
            self._on_link(False)

    def _failed(self, refusal: Refusal | None) -> None:
        """End an attempt. Without a refusal, find out why first."""
        self._hang_up()
        if refusal is None and self.curve is not None and self.curve.next_server:
            # It may have its next key by now. What was wrong is found out when it has neither.
            self._tries_next = not self._tries_next
            if self._tries_next:
                self._dial_later(MAX_PAUSE_S)
                return
        if refusal is not None:
            self._tell(refusal, "")
            self._dial_later(MAX_REFUSED_PAUSE_S)
        elif self._look is None:
            self._look = self._loop.create_task(self._look_into(then_dial=True))
        else:
            self._dial_later(MAX_PAUSE_S)

    def _slow(self) -> None:
        """The attempt takes long: say so, and let it go on."""
        self._timer = self._loop.call_later(GIVE_UP_S - SLOW_S, self._failed, None)
        if self._look is None:
            self._look = self._loop.create_task(self._look_into(then_dial=False))

    async def _look_into(self, *, then_dial: bool) -> None:
        refusal, detail = await probe(self.endpoint, curve=self.curve is not None)
        self._look = None
        self._probed_at = self._loop.time()
        if self._closed or self.up:
            return
        if not then_dial and refusal in _DOUBTFUL:
            return  # it speaks, slowly
        if refusal not in _DOUBTFUL or self._suspicion is refusal:
            self._tell(refusal, detail)
        elif then_dial:
            self._attempts = 0  # somebody answers: he may be the one
        self._suspicion = refusal
        if then_dial:
            self._dial_later(MAX_REFUSED_PAUSE_S if refusal in _NEEDS_SOMEBODY else MAX_PAUSE_S)
        elif refusal is not Refusal.SILENT and self._wire is not None:
            self._hang_up()  # libzmq would not tell of it
            self._dial_later(MAX_PAUSE_S)

    def _tell(self, refusal: Refusal, detail: str) -> None:
        curve = self.curve
        trouble = Trouble(
            refusal=refusal,
            endpoint=self.endpoint,
            key="" if curve is None else curve.public[:SHOWN_KEY],
            expected=_shown(curve),
            detail=detail,
        )
        news = self.trouble is None or self.trouble.refusal is not refusal
        self.trouble = trouble
        now = self._loop.time()
        if self._on_trouble is not None and (news or now >= self._told_at + TELL_AGAIN_S):
            self._told_at = now
            self._on_trouble(trouble)

    def _dial_later(self, max_s: float) -> None:
        if self._closed:
            return
        self._stop_timer()
        self._timer = self._loop.call_later(pause_s(self._attempts, max_s, self._random()), self._dial_again)
        self._attempts += 1

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self, linger_ms: int = 0) -> None:
        self._stop_timer()
        self.dropped += len(self._queue)
        self._queue.clear()
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close(linger_ms)

    # messages

    def _take(self, frames: list[Any]) -> None:
        self._on_message([frame.bytes for frame in frames])

    def _flush(self) -> bool:
        while self._queue and self._wire is not None and self._wire.put(self._queue[0]):
            self._queue.popleft()
        return bool(self._queue)


def _shown(curve: ClientCurve | None) -> str:
    keys = () if curve is None else (curve.server, curve.next_server)
    return " or ".join(key[:SHOWN_KEY] for key in keys if key)


class _Wire:
    """One socket with all that looks at it."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        happened: Callable[[zmq.Event, int, str], None],
        take: Callable[[list[Any]], None],
        flush: Callable[[], bool],
    ) -> None:
        self._socket = socket
        self._monitor = Monitor(socket, _EVENTS, happened)
        self.pump = Pump(socket, take, flush)

    def put(self, message: Sequence[bytes]) -> bool:
        """Give a message to ZeroMQ; return whether it took it."""
        # What `send_multipart` does, without making flags of enums for each frame.
        send, last = self._socket.send, len(message) - 1
        try:
            for number in range(last):
                send(message[number], _MORE)
            send(message[last], _LAST)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int) -> None:
        self.pump.close()
        self._monitor.close()
        self._socket.close(linger=linger_ms)
