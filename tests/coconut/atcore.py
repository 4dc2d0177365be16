"""What tests of verbs at a real core share: environments quickly made, coconut beside the test, and waits."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from fieldkit.cluster import Cluster

from tests.coconut.conftest import Coconut

SINGLE = ("environment", "create", "single", "-q")


def make(at_core: Coconut, *words: str) -> str:
    """Make an environment of one task; return its id."""
    document = at_core(*SINGLE, *words, "--json").document
    assert document["ok"], document
    return str(document["environment"])


def act_as(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, who: str) -> None:
    """Let coconut be somebody from now on."""
    for name, value in cluster.variables(who).items():
        if name.startswith("ECS_"):
            monkeypatch.setenv(name, value)


@contextlib.contextmanager
def running(cluster: Cluster, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run coconut beside the test; it is interrupted at the end, and must say 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "ecsd.coconut.main", *words],
        env=cluster.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever is started in the background of a shell inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


def wait_for(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for what no message tells of."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)  # what is waited for is a whole command line of its own: nothing tells of its outcome before
