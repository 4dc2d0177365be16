"""A client's way to a core on some machine: the messages of `wire/client.py` over a `Dialer`.

While the link is down what is sent is lost; who sends says it again when the link is up (`on_link`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from libecs.errors import DecodeError, EcsError, NotFound
from libecs.io.contexts import Context, pin
from libecs.io.keys import read_key_file
from libecs.io.link import ClientCurve, Dialer, Trouble, close_context, new_context
from libecs.io.pins import Pins
from libecs.wire.client import CLIENT
from libecs.wire.codec import VERSION_FRAME

logger = logging.getLogger(__name__)

CHANNEL = b"client"


class ClientLink:
    """A link to the core of a context. It belongs to the event loop, and to the thread, that it is made in."""

    def __init__(
        self,
        core: Context,
        receive: Callable[[object], None],
        *,
        on_link: Callable[[bool], None],
        on_trouble: Callable[[Trouble], None],
    ) -> None:
        """Begin to dial.

        Args:
            core: which one, and what to prove to it.
            receive: takes the messages of the core.
            on_link: called with True when the link is up, with False when it is no more.
            on_trouble: called when an attempt failed for another reason than the last one, and now and then.

        Raises:
            NotFound, Denied, InvalidInput: of the key file, or the address.
        """
        self.core = core
        self.lost = False
        """Something was not sent though the link was up: too much waits already."""
        self.key = ""
        """Our public key."""
        self._receive = receive
        self._undecodable = 0
        self._on_link = on_link
        self._pins = Pins(self._curve(), self._keep, renew="coconut key invite YOU --rotate")
        self._zmq = new_context()
        try:
            self._dialer = Dialer(
                self._zmq,
                core.endpoint,
                self._take,
                channel=CHANNEL,
                curve=self._pins.curve,
                on_link=self._linked,
                on_trouble=on_trouble,
                on_next_key=self._pins.turned,
            )
        except EcsError:
            close_context(self._zmq)
            raise
        self._pins.add(self._dialer)

    def _curve(self) -> ClientCurve | None:
        core = self.core
        if core.key_file is None:
            return None
        try:
            pair = read_key_file(core.key_file)
        except NotFound as error:
            name = core.name or "NAME"
            raise NotFound(
                f"you have no key for {core.endpoint}: {error.message}", hint=f"coconut login TOKEN --context {name}"
            ) from None
        self.key = pair.public
        return ClientCurve(public=pair.public, secret=pair.secret, server=core.core_key, next_server=core.next_core_key)

    def _keep(self, core_key: str, next_core_key: str) -> bool:
        known, self.core = self.core, attrs.evolve(self.core, core_key=core_key, next_core_key=next_core_key)
        return pin(known, core_key, next_core_key)

    def _linked(self, up: bool) -> None:
        self._pins.linked(up)
        self._on_link(up)

    @property
    def up(self) -> bool:
        """Whether there is a connection; nothing is said of who answers on it."""
        return self._dialer.up

    @property
    def trouble(self) -> Trouble | None:
        """Why there is none."""
        return self._dialer.trouble

    def send(self, message: object) -> None:
        """Send one message of `wire/client.py`. Never blocks; lost while the link is down."""
        if not self._dialer.send((VERSION_FRAME, CLIENT.encode(message))) and self._dialer.up:
            self.lost = True

    def close(self) -> None:
        """Dial no more."""
        self._dialer.close()
        close_context(self._zmq)

    def _take(self, frames: list[bytes]) -> None:
        try:
            if len(frames) != 2 or frames[0] != VERSION_FRAME:
                raise DecodeError(f"{len(frames)} frames, version {bytes(frames[0][:4]).hex()}")
            message = CLIENT.decode(frames[1])
        except DecodeError as error:
            if self._undecodable == 0:  # a newer core may have said it: what matters is asked for
                logger.warning("%s said something that is not understood: %s", self.core.endpoint, error.message)
            self._undecodable += 1
            return
        if not self._pins.heard(message):
            self._receive(message)
