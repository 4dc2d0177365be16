"""What systemd is told, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator

import pytest

from ecsd.notify import Notifier, Watchdog
from libecs.engine.effects import Effect, Input, Now
from libecs.io.loop import EngineLoop


class NoEngine:
    """It has nothing to do."""

    next_deadline = None

    def handle(self, input: Input, now: Now) -> list[Effect]:
        raise AssertionError


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    """The other end; its address is an abstract one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0ecs-test-{secrets.token_hex(8)}")
        other.settimeout(20)
        yield other


def address(systemd: socket.socket) -> str:
    name: bytes = systemd.getsockname()
    return "@" + name[1:].decode()


def fill(systemd: socket.socket) -> None:
    """Send until its queue is full: until somebody who has sent nothing yet, and so has room of his own, can't."""
    sent = True
    while sent:
        sent = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as somebody, contextlib.suppress(BlockingIOError):
            somebody.setblocking(False)
            while True:
                somebody.sendto(b"x", systemd.getsockname())
                sent = True


async def heard(systemd: socket.socket) -> str:
    data: bytes = await asyncio.to_thread(systemd.recv, 4096)
    return data.decode()


def test_states_are_told_to_an_abstract_socket(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address(systemd)})

    notifier.ready("2 nodes\nand more")
    notifier.status("busy")
    notifier.stopping("bye")
    notifier.feed()
    notifier.reloading()

    assert [systemd.recv(4096).decode() for _ in range(4)] == [
        "READY=1\nSTATUS=2 nodes and more",
        "STATUS=busy",
        "STOPPING=1\nSTATUS=bye",
        "WATCHDOG=1",
    ]
    assert systemd.recv(4096).decode().startswith("RELOADING=1\nMONOTONIC_USEC=")
    notifier.close()


def test_what_a_service_manager_that_is_behind_does_not_take_is_told_later(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address(systemd)})
    systemd.setblocking(False)

    def heard_now() -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(systemd.recv(4096).decode())
        return found

    fill(systemd)
    notifier.ready()
    notifier.feed()
    for number in range(100):
        notifier.status(f"{number} nodes")
    notifier.status("busy")

    assert set(heard_now()) == {"x"}
    notifier.feed()
    assert heard_now() == ["READY=1", "STATUS=busy", "WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000"}, 3.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, 0.0),
        ({"NOTIFY_SOCKET": "vsock:1:2", "WATCHDOG_USEC": "3000000"}, 0.0),
    ],
)
def test_the_watchdog_is_ours_only_if_it_is_meant_for_us(environment: dict[str, str], watchdog_s: float) -> None:
    notifier = Notifier.from_environment(environment)

    assert notifier.watchdog_s == watchdog_s
    notifier.ready()  # nobody is there: nothing happens
    notifier.close()


async def test_a_loop_that_ticks_feeds_the_watchdog(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address(systemd), "WATCHDOG_USEC": "30000"})
    loop = EngineLoop(NoEngine(), {})
    loop.start()

    watchdog = Watchdog(notifier, loop)

    assert await heard(systemd) == "WATCHDOG=1"
    assert await heard(systemd) == "WATCHDOG=1"
    assert loop.ticks >= 2
    assert watchdog.age_s < 20
    watchdog.close()
    loop.stop()
    notifier.close()


class Stuck:
    """A loop that is asked for ticks and completes none."""

    def __init__(self) -> None:
        self.ticks = 7
        self.asked = 0
        self.asked_often = asyncio.Event()

    def nudge(self) -> None:
        self.asked += 1
        if self.asked == 4:
            self.asked_often.set()


async def test_a_loop_that_completes_no_tick_starves_the_watchdog(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address(systemd), "WATCHDOG_USEC": "30000"})
    stuck = Stuck()

    watchdog = Watchdog(notifier, stuck)
    await asyncio.wait_for(stuck.asked_often.wait(), 20)

    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)
    watchdog.close()
    notifier.close()
