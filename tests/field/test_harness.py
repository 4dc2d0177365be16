"""The harness itself: what the recording task writes is what happened, and name spaces can be cut and healed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fieldkit import recorder
from fieldkit.cluster import Daemon, Failed, await_end
from fieldkit.lateness import Lateness
from fieldkit.network import Network
from fieldkit.repository import write_repository

import libecs

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    monkeypatch.setenv(recorder.RECORD_DIR, str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return folder


def test_recording_task_writes_down_each_effect_before_it_answers(tmp_path: Path, records: Path) -> None:
    repository = write_repository(tmp_path / "repository", recorder.build())
    with libecs.local(nodes=1, repo=repository) as ecs:
        with ecs.environment("single", {"host": "node1", "value": "5"}) as env:
            (task,) = env.tasks()
            with env.run() as run:
                (running,) = recorder.read(records).values()
                assert running.words() == ["begin", "configure", f"start {run.number}"]
            env.reconfigure({"value": "6"})
            with env.run() as second:
                pass
            pid = task.pid
    await_end(pid, 60)

    (record,) = recorder.read(records).values()
    assert record.pids == (pid,)
    assert record.words()[3:] == [
        f"stop {run.number}",
        "reconfigure",
        f"start {second.number}",
        f"stop {second.number}",
        "reset",
        "exit",
        "end",
    ]
    configured = [note.values["value"] for note in record.notes if note.word in ("configure", "reconfigure")]
    assert configured == ["5", "6"]


def test_lateness_is_that_of_this_machine_since_it_was_asked_for() -> None:
    asleep = Lateness()
    assert asleep.worst_s == 0
    asleep._due_s = time.monotonic() - 1000  # its thread should have woken so long ago
    assert asleep.worst_s >= 1000
    asleep.begin()
    assert asleep.worst_s >= 1000

    with Lateness() as lateness:
        lateness._worst_s = 1000
        lateness.begin()
        assert lateness.worst_s < 1000


def test_killed_recording_task_has_no_end(tmp_path: Path, records: Path) -> None:
    repository = write_repository(tmp_path / "repository", recorder.build())
    with libecs.local(nodes=1, repo=repository) as ecs:
        with pytest.raises(libecs.EcsError), ecs.environment("single", {"host": "node1"}) as env:
            os.kill(env.tasks()[0].pid, signal.SIGKILL)
            env.wait("RUNNING")

    (record,) = recorder.read(records).values()
    assert record.words() == ["begin", "configure"]


NOTIFIER = """
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    notify.send(b"STATUS=on its way")
    if sys.argv[1] == "ready":
        notify.send(b"READY=1\\nSTATUS=there")
        signal.pause()
sys.exit(3)
"""


def test_daemon_is_ready_when_it_says_so_and_dies_when_it_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("one", [sys.executable, "-c", NOTIFIER, "ready"], os.environ, tmp_path, tmp_path)
    daemon.start()
    with pytest.raises(Failed, match="lives"):
        daemon.start()
    daemon.wait_ready()
    first = daemon.pid
    assert daemon.hear() == ["on its way", "there"]

    daemon.kill()
    assert daemon.status == -signal.SIGKILL
    daemon.start()
    daemon.wait_ready()
    assert daemon.pid != first
    daemon.close()
    assert not daemon.alive


def test_daemon_that_ends_or_is_never_ready_fails_with_its_log(tmp_path: Path) -> None:
    daemon = Daemon("one", [sys.executable, "-c", NOTIFIER, "not"], os.environ, tmp_path, tmp_path)
    daemon.start()
    with pytest.raises(Failed, match="ended with status 3"):
        daemon.wait_ready()
    mute = Daemon("mute", ["sleep", "1000"], os.environ, tmp_path, tmp_path)
    with pytest.raises(Failed, match="was not started"):
        _ = mute.pid
    mute.start()
    with pytest.raises(Failed, match="not ready within"):
        mute.wait_ready(0.05)
    mute.close()
    daemon.close()


class Echo:
    """A server on a host of a network, that answers each line with itself."""

    def __init__(self, network: Network, host: str) -> None:
        with network.entered(host):
            self.socket = socket.create_server((network.address(host), 5000))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def close(self) -> None:
        self.socket.close()
        self.thread.join(timeout=10)


def test_cut_link_is_silent_and_heals(network: Network) -> None:
    echo = Echo(network, "head")
    with network.entered("client"):
        client = socket.create_connection((network.address("head"), 5000))
    with client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        assert network.listening("head") == ["10.7.0.1:5000"]

        faults: tuple[Callable[[], None], ...] = (lambda: network.cut("head"), lambda: network.drop("head", "output"))
        for fault in faults:
            fault()
            client.settimeout(0.3)
            client.sendall(b"two")
            with pytest.raises(TimeoutError):
                client.recv(100)
            network.heal("head")
            client.settimeout(30)
            assert client.recv(100) == b"two"
    echo.close()


def test_network_leaves_nothing_behind(network: Network) -> None:
    space = network.space("n1")
    assert space in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    network.remove()

    assert space not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
