"""Tell systemd how we are: readiness, status, and that the engine's loop lives. By datagrams, without a library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

logger = logging.getLogger(__name__)

_SHARE: Final = 3
"""The watchdog is fed this often in the time that it allows."""
_FEED: Final = "WATCHDOG=1"
_STATUS: Final = "STATUS="
_KEPT: Final = 16
"""What could not be told is kept up to so many; older ones are forgotten."""


class Notifier:
    """Sends to `$NOTIFY_SOCKET`; without one, it does nothing. Never blocks, never raises.

    A service manager that is behind takes nothing for a while (a socket of Linux holds ten datagrams): what it was to
    be told then is told with what comes next, in order. Feeding is not: it says that we live now.
    """

    def __init__(self, address: str = "", *, watchdog_s: float = 0.0) -> None:
        """`address`: a path, or `@name` (abstract). `watchdog_s`: the time that the watchdog allows, 0 = none."""
        self.watchdog_s = watchdog_s
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._waiting: deque[str] = deque(maxlen=_KEPT)
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        """Return what the service manager of this process asks for."""
        address = environment.get("NOTIFY_SOCKET", "")
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        is_ours = usec.isascii() and usec.isdecimal() and pid in ("", str(os.getpid()))
        if not address.startswith(("/", "@")):
            address = ""
        return cls(address, watchdog_s=int(usec) / 1e6 if is_ours and address else 0.0)

    def ready(self, status: str = "") -> None:
        """We work."""
        self._send("READY=1" + _status(status))

    def status(self, status: str) -> None:
        """Say in one line what we do."""
        self._send(_status(status).lstrip("\n"))

    def reloading(self) -> None:
        """We read our files anew; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """We end."""
        self._send("STOPPING=1" + _status(status))

    def feed(self) -> None:
        """We live."""
        self._send(_FEED)

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        if text.startswith(_STATUS):  # the last one counts: many must not push out that we are ready
            self._waiting = deque((one for one in self._waiting if not one.startswith(_STATUS)), maxlen=_KEPT)
        self._waiting.append(text)
        while self._waiting:
            try:
                self._socket.sendto(self._waiting[0].encode("utf-8", "replace"), self._address)
            except BlockingIOError:
                if text == _FEED:
                    self._waiting.pop()
                return
            except OSError as error:
                logger.debug("the service manager was not told %r: %s", self._waiting[0], error)
            self._waiting.popleft()


def _status(status: str) -> str:
    return f"\n{_STATUS}" + " ".join(status.split()) if status else ""


class Ticking(Protocol):
    """A loop that counts what it does: `EngineLoop`."""

    ticks: int

    def nudge(self) -> None:
        """Make a tick come."""


class Watchdog:
    """Feeds the service manager's watchdog, if since the last time the engine's loop has completed a tick.

    A loop that is stuck, or was stopped by an error, is not fed; then the service manager ends us.
    """

    def __init__(self, notifier: Notifier, loop: Ticking) -> None:
        """Call inside of a running event loop."""
        self._notifier = notifier
        self._loop = loop
        self._seen = loop.ticks
        self._fed_at = time.monotonic()
        self._interval_s = (notifier.watchdog_s or 3.0) / _SHARE
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._look)
        loop.nudge()

    @property
    def age_s(self) -> float:
        """Seconds since it was seen that the loop lives."""
        return time.monotonic() - self._fed_at

    def close(self) -> None:
        """Feed no more."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._loop.ticks != self._seen:
            self._seen = self._loop.ticks
            self._fed_at = time.monotonic()
            if self._notifier.watchdog_s:
                self._notifier.feed()
        self._loop.nudge()
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._look)
