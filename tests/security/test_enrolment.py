"""From an invitation to a node that works, and to a user who may, with real processes and commands only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster, Daemon, told_on_failure

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster([]) as cluster, told_on_failure(cluster):
        yield cluster


def coconut(cluster: Cluster, *words: str, who: str = "owner", status: int = 0) -> str:
    ran = cluster.coconut(*words, who=who)
    assert ran.returncode == status, (words, ran.stdout, ran.stderr)
    return ran.stdout if status == 0 else ran.stderr


def run(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], env=cluster.environment, capture_output=True, text=True, timeout=60, check=False
    )


def until(daemon: Daemon, condition: Callable[[str], bool]) -> None:
    end = time.monotonic() + 60
    while not any(map(condition, daemon.hear())):
        assert time.monotonic() < end, daemon.tail()
        time.sleep(0.02)


def test_a_machine_becomes_a_node(cluster: Cluster) -> None:
    line = coconut(cluster, "node", "invite", "n7").split()
    assert line[:2] == ["ecs-executord", "join"]
    state = cluster.base / "n7"

    joined = run(cluster, "ecsd.executor", *line[1:], "--state", str(state))
    assert joined.returncode == 0, joined.stderr
    assert "coconut node approve n7" in joined.stdout
    user = ["--user", "root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "ecsd.executor", "--state", str(state), *user]
    executor = Daemon("n7", command, cluster.environment, state, cluster.base / "log")
    executor.start()
    try:
        executor.wait_ready()
        until(executor, lambda status: "refused key" in status and "coconut node approve n7" in status)
        assert "n7" not in coconut(cluster, "node", "list", "-o", "name")

        approved = coconut(cluster, "node", "approve", "n7")
        assert "n7 (node) is let in with key" in approved
        until(executor, lambda status: " connected" in status)
        assert coconut(cluster, "node", "list", "-o", "name").split() == ["n7"]

        coconut(cluster, "key", "revoke", "n7")
        until(executor, lambda status: executor.statuses[-1] == status and "refused key" in status)
    finally:
        executor.close()


def test_a_user_gets_a_key_uses_it_changes_it_and_loses_it(cluster: Cluster) -> None:
    line = coconut(cluster, "key", "invite", "alice", "--role", "operator", "--detectors", "its").split()
    assert line[:2] == ["coconut", "login"]
    context = ("--context", "p2")

    logged = run(cluster, "ecsd.coconut.main", "login", line[2], *context, "--json")
    assert logged.returncode == 0, logged.stderr
    assert run(cluster, "ecsd.coconut.main", "lock", "list", *context).returncode == 5
    coconut(cluster, "key", "approve", "alice")

    def alice(*words: str) -> subprocess.CompletedProcess[str]:
        return run(cluster, "ecsd.coconut.main", *words, *context)

    assert alice("lock", "take", "its").returncode == 0
    assert alice("lock", "take", "tpc").returncode == 5
    assert alice("key", "list").returncode == 5
    before = key_file(cluster).read_text()
    rotated = alice("key", "rotate")
    assert rotated.returncode == 0, rotated.stderr
    assert key_file(cluster).read_text() != before
    assert alice("lock", "list").returncode == 0
    states = [row.split()[4] for row in coconut(cluster, "key", "list").splitlines() if row.startswith("alice")]
    assert sorted(states) == ["approved", "revoked"]

    coconut(cluster, "key", "revoke", "alice")
    denied = alice("lock", "list")
    assert denied.returncode == 5
    assert "refused key" in denied.stderr

    lines = coconut(cluster, "audit", "tail", "-n", "100")
    for verb in ("Work.key.invite", "Join", "Work.key.approve", "Lock", "Work.key.rotate", "Work.key.revoke"):
        assert verb in lines
    coconut(cluster, "audit", "verify", "--state", str(cluster.state))


def key_file(cluster: Cluster) -> Path:
    return cluster.home / "config" / "ecs" / "keys" / "p2.key"
