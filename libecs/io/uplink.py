"""How an executor comes to its core: two links with one key, one for control, one for what tasks tell.

Telemetry has a link of its own so that it never delays a command. When it is slow, the oldest telemetry is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from libecs.engine.effects import Connected, Disconnected, Input, Received
from libecs.engine.outbox import CORE, TELEMETRY
from libecs.errors import DecodeError
from libecs.io.link import ClientCurve, Context, Dialer, Trouble
from libecs.io.pins import Keep, Pins
from libecs.wire.codec import MAX_FRAME_BYTES, VERSION_FRAME
from libecs.wire.node import NODE, NodeRefused, Welcome

logger = logging.getLogger(__name__)

CHANNEL = b"node"
TELEMETRY_HIGH_WATER = 8
TELEMETRY_QUEUED = 32
"""Messages of telemetry that wait for a slow link, beside those in ZeroMQ. One is sent a second, with many metrics."""

Put = Callable[[Input], None]


class Uplink(Protocol):
    """A link from an executor to its core. Nothing blocks."""

    def attach(self, put: Put) -> None:
        """Come to the core: from now on `put` takes Connected, Received and Disconnected."""

    def send(self, peer: str, message: object) -> None:
        """Send to CORE or TELEMETRY; lost if the link is down."""

    def detach(self) -> None:
        """Leave."""


class TcpUplink:
    """A link to a core somewhere else, dialled for ever."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        curve: ClientCurve | None,
        *,
        on_trouble: Callable[[Trouble], None] | None = None,
        on_welcome: Callable[[Welcome], None] | None = None,
        on_refused: Callable[[NodeRefused], None] | None = None,
        on_link: Callable[[bool], None] | None = None,
        keep: Keep = lambda server, next_server: False,
        node: str = "NAME",
    ) -> None:
        """Call inside of a running event loop; `attach` begins to dial.

        Args:
            context: of `new_context`.
            endpoint: of the core.
            curve: our keys and the core's; None = a core without keys.
            on_trouble: hears why the core can't be reached.
            on_welcome: hears that the core has accepted us.
            on_refused: hears that it has not.
            on_link: hears that the control link went up or down.
            keep: keeps the core's keys when it gets another one.
            node: for messages.
        """
        self.endpoint = endpoint
        self._context = context
        self._pins = Pins(curve, keep, renew=f"coconut node invite {node} --rotate")
        self._on_trouble = on_trouble
        self._on_welcome = on_welcome
        self._on_refused = on_refused
        self._on_link = on_link
        self._put: Put | None = None
        self._control: Dialer | None = None
        self._telemetry: Dialer | None = None
        self.undecodable = 0
        """Messages of the core that could not be decoded."""

    def attach(self, put: Put) -> None:
        """Begin to dial. Raises InvalidInput: what was given can't be dialled."""
        self._put = put
        self._control = Dialer(
            self._context,
            self.endpoint,
            self._take,
            channel=CHANNEL,
            curve=self._pins.curve,
            on_link=self._linked,
            on_trouble=self._on_trouble,
            on_next_key=self._pins.turned,
        )
        self._pins.add(self._control)

    def send(self, peer: str, message: object) -> None:
        """Send to CORE or TELEMETRY; lost if the link is down."""
        dialer = self._telemetry if peer == TELEMETRY else self._control
        if dialer is None or not dialer.up:
            return
        data = NODE.encode(message)
        if len(data) > MAX_FRAME_BYTES:  # the core would drop the link
            logger.error("a %s of %d bytes is too large for the core", type(message).__name__, len(data))
            return
        dialer.send((VERSION_FRAME, data))

    @property
    def up(self) -> bool:
        """Whether the control link is up."""
        return self._control is not None and self._control.up

    @property
    def local_address(self) -> str:
        """Address of this machine on the way to the core; "" before there was one."""
        return "" if self._control is None else self._control.local_address

    @property
    def telemetry_up(self) -> bool:
        """Whether the link for telemetry is up."""
        return self._telemetry is not None and self._telemetry.up

    @property
    def trouble(self) -> Trouble | None:
        """Why the core can't be reached; None while it can, and before it is known."""
        return None if self._control is None else self._control.trouble

    @property
    def dropped(self) -> int:
        """Messages of telemetry that were dropped because the link was slow."""
        return 0 if self._telemetry is None else self._telemetry.dropped

    def detach(self) -> None:
        """Dial no more."""
        self._put = None
        for dialer in (self._control, self._telemetry):
            if dialer is not None:
                dialer.close()
        self._control = self._telemetry = None

    def _linked(self, up: bool) -> None:
        if self._put is None:
            return
        self._pins.linked(up)
        if up and self._telemetry is None:
            # Only now: a core that does not want us is not asked twice.
            self._telemetry = Dialer(
                self._context,
                self.endpoint,
                self._take,
                channel=CHANNEL,
                curve=self._pins.curve,
                high_water=TELEMETRY_HIGH_WATER,
                max_queued=TELEMETRY_QUEUED,
                drop_oldest=True,
            )
            self._pins.add(self._telemetry)
        self._put(Connected(CORE) if up else Disconnected(CORE, "link lost"))
        if self._on_link is not None:
            self._on_link(up)

    def _take(self, frames: Sequence[bytes]) -> None:
        try:
            if len(frames) != 2 or frames[0] != VERSION_FRAME:
                raise DecodeError(f"{len(frames)} frames, the first {frames[0][:8] if frames else b''!r}")
            message = NODE.decode(frames[1])
        except DecodeError as error:
            self.undecodable += 1
            if self.undecodable % 1000 == 1:
                logger.warning("the core sent what can't be decoded (%d so far): %s", self.undecodable, error)
            return
        if self._pins.heard(message):
            return
        if self._put is not None:
            self._put(Received(CORE, message))
        if isinstance(message, Welcome) and self._on_welcome is not None:
            self._on_welcome(message)
        elif isinstance(message, NodeRefused) and self._on_refused is not None:
            self._on_refused(message)
