"""The core's one door: a ROUTER that executors and clients dial, and who is behind each message.

    routing id │ channel │ version │ payload        in; channel = `node` or `client`
    routing id │ version │ payload                  out

Who somebody is comes from the key that ZeroMQ has proved for each message, never from what he says. Peers are named
`node:` or `client:` and the routing id in hexadecimal digits: nothing in it was chosen by the other side in clear.
Whatever is no message of ours is dropped, counted, and logged at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from libecs.access import Principal, Role
from libecs.engine.effects import Disconnected, Input, Received
from libecs.errors import Busy, DecodeError, EcsError, quoted
from libecs.io.bucket import Rate, Turn, Turns
from libecs.io.link import MAX_PARTS, Context, Failed, Gather, Origin, Router, ServerCurve
from libecs.wire.client import CLIENT, Environments, Events, Finished, Lines, Metrics, Refused
from libecs.wire.codec import MAX_FRAME_BYTES, VERSION_FRAME, Table
from libecs.wire.node import NODE, KeyNews, NodeHello, NodeRefused

logger = logging.getLogger(__name__)

TABLES: Final = {b"node": NODE, b"client": CLIENT}
SILENT_S: Final = 10.0
"""A peer that has sent nothing for so long is forgotten: a client asks for a sign of life far more often."""
MAX_BEHIND: Final = 500
"""Messages that wait for a client; with more, it gets no events until it has caught up, and sees a gap."""
MAX_TELEMETRY_BEHIND: Final = 100
MAX_ANSWERS_BEHIND: Final = 1000
"""With so many waiting, a client that asks and does not listen gets no answers either: they would fill our memory."""
HIGH_WATER: Final = 1000
"""Messages per peer in ZeroMQ's queues; more wait in ours, where they are counted."""
MAX_PER_ADDRESS: Final = 2000
"""Connections of one IP address: a bench has 1 000 executors on one host, with 2 each."""
_LOOK_S: Final = 1.0
_LINGER_MS: Final = 500
UNLIMITED: Final = Rate(0.0, 0.0)
INSECURE: Final = Principal(name="insecure", role=Role.ADMIN, via="client")
"""Every client of a core without keys, which listens to its own machine only."""

NO_NEWS: Final = KeyNews()
"""There is nothing to say about keys, or no more."""

_Encoded = tuple[object, bytes]


@attrs.define(eq=False)
class Peer:
    """Somebody who has sent us something."""

    name: str
    routing_id: bytes
    table: Table
    key: str
    """Public key with which it began; "" without CURVE."""
    heard: float
    """Monotonic seconds."""
    node: str = ""
    """Of an executor: the name in its NodeHello."""
    behind: bool = False
    """It was too slow: events were left out."""
    flooding: bool = False
    """It was hung up on, because it asked far too often."""
    news: KeyNews = NO_NEWS
    """What it was told last about keys."""


class Hub:
    """All peers of a core. Make it inside of a running event loop, then `bind`, at last `close`."""

    def __init__(
        self,
        context: Context,
        put: Callable[[Input], None],
        *,
        curve: ServerCurve | None,
        principal: Callable[[str], Principal | None],
        is_open: Callable[[], bool] = lambda: True,
        on_forgotten: Callable[[str], None] = lambda peer: None,
        client_rate: Rate = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
        gather: Gather | None = None,
        on_failed: Failed | None = None,
        key_news: Callable[[str], KeyNews] = lambda key: NO_NEWS,
    ) -> None:
        """Nobody is let in yet.

        Args:
            context: of `new_context`; its ZAP responder is there already.
            put: takes Received and Disconnected.
            curve: our key; None = no keys at all: clients are `insecure`, nodes who they say they are.
            principal: gives whose a public key is, None = nobody's. It is asked for each message.
            is_open: False = nobody can be known now, and all messages are dropped.
            on_forgotten: called with the name of a peer that is gone.
            client_rate: how often the clients of one key may ask, or, without keys, one client.
            clock: monotonic seconds, for that and for how often it is told of what was dropped.
            gather: told True before messages that came together are put, False after them.
            on_failed: called with address and cause of each handshake that was wrong.
            key_news: gives what there is to say to whoever has a public key, about keys.
        """
        self._put = put
        self._is_secure = curve is not None
        self._principal = principal
        self._is_open = is_open
        self._turns = Turns(client_rate)
        self._clock = clock
        self._on_forgotten = on_forgotten
        self._key_news = key_news
        self._loop = asyncio.get_running_loop()
        self._peers: dict[bytes, Peer] = {}
        self._by_name: dict[str, Peer] = {}
        self._last_events: _Encoded = (None, b"")
        self._complained_at = float("-inf")
        self._complaints = 0
        self.dropped: Counter[str] = Counter()
        """Messages that were dropped, by reason."""
        self.undecodable: Counter[str] = Counter()
        """Those that are no messages, by principal."""
        self.router = Router(
            context,
            None,
            on_traced=self._received,
            on_gone=self._gone,
            gather=gather,
            curve=curve,
            heartbeats=True,
            high_water=HIGH_WATER,
            max_per_address=MAX_PER_ADDRESS,
            on_failed=on_failed,
            linger_ms=_LINGER_MS,
        )
        self._looked_at = time.monotonic()
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def bind(self, endpoint: str) -> str:
        """Listen; return the endpoint with the port that was chosen. Raises Conflict, InvalidInput."""
        return self.router.bind(endpoint)

    def close(self) -> None:
        """Let nobody in any more. What was sent may still leave, for half a second."""
        self._timer.cancel()
        self.router.close()

    @property
    def peers(self) -> Counter[str]:
        """How many peers there are, by channel."""
        return Counter(name.partition(":")[0] for name in self._by_name)

    # to peers

    def send(self, peer: str, message: object) -> None:
        """Send to a peer; lost if it is gone. A client that takes too little gets no more events."""
        known = self._by_name.get(peer)
        if known is None:
            return
        if known.table is CLIENT and not self._may_have(known, message):
            return
        data = self._encode(known.table, message)
        if len(data) > MAX_FRAME_BYTES:
            self.dropped["too large"] += 1
            logger.error("a %s of %d bytes is too large for %s", type(message).__name__, len(data), known.name)
            if known.table is not CLIENT:
                return  # it is asked for again, or its step fails in time
            data = _too_large(message, len(data))
        self.router.send(known.routing_id, (VERSION_FRAME, data))

    def is_behind(self, peer: str) -> bool:
        """Whether a few messages wait for a peer already: who sends much in parts waits then."""
        known = self._by_name.get(peer)
        return known is not None and self.router.waiting(known.routing_id) > 0

    def recheck(self) -> None:
        """Forget all peers whose key is nobody's any more: they are sent nothing more."""
        if not self._is_secure:
            return
        for peer in list(self._peers.values()):
            if self._principal(peer.key) is None:
                self._forget(peer, "its key was revoked")

    def tell_key_news(self) -> None:
        """Tell everybody what there is to say about keys and was not told yet."""
        for peer in list(self._peers.values()):
            self._tell_key_news(peer)

    def _tell_key_news(self, peer: Peer) -> None:
        news = self._key_news(peer.key) if self._is_secure else NO_NEWS
        if news != peer.news:
            peer.news = news
            self.send(peer.name, news)

    def _may_have(self, peer: Peer, message: object) -> bool:
        kind = type(message)
        waiting = self.router.waiting(peer.routing_id)
        if kind is not Events and kind is not Metrics and kind is not Lines:
            if waiting > MAX_ANSWERS_BEHIND:
                self.dropped["client that does not listen"] += 1
            return waiting <= MAX_ANSWERS_BEHIND
        if kind is not Events:
            return waiting <= MAX_TELEMETRY_BEHIND
        if peer.behind:
            peer.behind = waiting > 0
        elif waiting > MAX_BEHIND:
            peer.behind = True
            logger.warning("%s takes too little: it gets no events until it has caught up", peer.name)
        if peer.behind:
            self.dropped["slow subscriber"] += 1
        return not peer.behind

    def _encode(self, table: Table, message: object) -> bytes:
        if type(message) is not Events:
            return table.encode(message)
        if self._last_events[0] is not message.events:  # the same ones go to each subscriber
            self._last_events = (message.events, table.encode(message))
        return self._last_events[1]

    # from peers

    def _received(self, routing_id: bytes, frames: list[bytes], origin: Origin) -> None:
        if not self._is_open():
            self._drop("nobody can be known")
            return
        key = origin.key if self._is_secure else ""
        principal = self._principal(key) if self._is_secure else INSECURE
        if principal is None:
            self._drop("unknown key")
            origin.hang_up()
            return
        if len(frames) != 3:
            self._undecodable(principal, origin, f"{len(frames)} frames")
            if len(frames) >= MAX_PARTS - 1:
                origin.hang_up()  # what is said in so many parts costs memory before it is seen
            return
        channel, version, payload = frames
        table = TABLES.get(channel)
        if table is None or version != VERSION_FRAME:
            self._undecodable(principal, origin, "no channel and version of ours")
            return
        if self._is_secure and (principal.role is Role.NODE) is not (table is NODE):
            self._drop("wrong channel", f"{principal.name} may not speak as a {channel.decode()}")
            return
        peer = self._peers.get(routing_id)
        if peer is not None and (peer.key != key or peer.table is not table):
            self._drop("another key", f"{peer.name} sends under another key than it began with")
            return
        turn = Turn.SERVED if table is NODE else self._turns.take(key or routing_id.hex(), self._clock())
        if turn is Turn.FLOOD:
            self._flooded(peer or self._meet(routing_id, channel, table, key), principal, origin)
            return
        try:
            message = table.decode(payload)
        except DecodeError as error:
            self._undecodable(principal, origin, error.message)
            return
        if peer is None:
            peer = self._meet(routing_id, channel, table, key)
        peer.heard = time.monotonic()
        peer.flooding = False
        if turn is Turn.BUSY:
            self._drop("client that asks too often", principal.name)
            self.send(peer.name, _busy(message))
            return
        if table is NODE:
            named = self._node(peer, principal, message)
            if named is None:
                return
            principal = named
        self._put(Received(peer.name, message, principal))

    def _node(self, peer: Peer, principal: Principal, message: object) -> Principal | None:
        """Return who an executor is, None if it may not be that."""
        if isinstance(message, NodeHello):
            if self._is_secure and message.node != principal.name:
                self._drop("another node's name", f"the key of node {principal.name} says it is {quoted(message.node)}")
                reason = f"your key is that of node {principal.name}, and you say you are {message.node}"
                self.send(peer.name, NodeRefused(epoch=0, reason=reason))
                return None
            peer.node = message.node
        return principal if self._is_secure else Principal(name=peer.node, role=Role.NODE, via="node")

    def _flooded(self, peer: Peer, principal: Principal, origin: Origin) -> None:
        """Somebody asks so often that even to refuse is too much. What he has sent is lost, so his link is, too: an
        honest client, who may have the same key, asks again on the next one. Once, for what waits may be of a
        connection that is over already.
        """
        self._drop("client that floods", f"{principal.name} at {origin.address}")
        if not peer.flooding:
            peer.flooding = True
            origin.hang_up()

    def _meet(self, routing_id: bytes, channel: bytes, table: Table, key: str) -> Peer:
        name = f"{channel.decode()}:{routing_id.hex()}"
        peer = Peer(name=name, routing_id=routing_id, table=table, key=key, heard=time.monotonic())
        self._peers[routing_id] = self._by_name[name] = peer
        self._tell_key_news(peer)
        return peer

    # who is gone

    def _gone(self, routing_id: bytes) -> None:
        peer = self._peers.get(routing_id)
        if peer is not None:
            self._forget(peer, "it is gone")

    def _forget(self, peer: Peer, reason: str) -> None:
        if self._peers.pop(peer.routing_id, None) is None:
            return
        del self._by_name[peer.name]
        self._on_forgotten(peer.name)
        self._put(Disconnected(peer.name, reason))

    def _look(self) -> None:
        """Forget who is silent. If we were stopped ourselves, nobody is late for that."""
        now = time.monotonic()
        late = now - self._looked_at - _LOOK_S
        for peer in list(self._peers.values()):
            if late > _LOOK_S:
                peer.heard += late
            if now - peer.heard > SILENT_S:
                self._forget(peer, f"it was silent for {SILENT_S:.0f} s")
        self._looked_at = now
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    # what is no message

    def _undecodable(self, principal: Principal, origin: Origin, why: str) -> None:
        self.undecodable[principal.name] += 1
        self._drop("undecodable", f"{principal.name} at {origin.address}: {why}")

    def _drop(self, reason: str, text: str = "") -> None:
        self.dropped[reason] += 1
        self._complaints += 1
        now = self._clock()
        if now - self._complained_at >= 1.0:
            self._complained_at = now
            logger.warning("%d messages were dropped; the last: %s: %s", self._complaints, reason, text)
            self._complaints = 0


def _busy(message: object) -> Refused | Finished:
    """Return the answer to who asks too often."""
    hint = "ask less often, or wait for events; client_rate in docs/settings.md says how often"
    error = Busy("you ask more often than this core lets one key ask; nothing was done", hint=hint)
    request = getattr(message, "request", None)
    if request is not None:
        return Refused(request=str(request), code=error.code, message=error.message, hint=error.hint)
    operation = str(getattr(message, "operation", ""))
    return Finished(operation=operation, code=error.code, message=error.message, hint=error.hint)


def _too_large(message: object, size: int) -> bytes:
    """Return what is sent to a client in place of an answer that it would not take."""
    hint = "ask for one environment, or without its tasks" if isinstance(message, Environments) else "ask for less"
    return CLIENT.encode(
        Refused(
            request=str(getattr(message, "request", "")),
            code=EcsError.code,
            message=f"the answer has {size >> 20} MiB, and a message at most {MAX_FRAME_BYTES >> 20}",
            hint=hint,
        )
    )
