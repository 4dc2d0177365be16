"""From an invitation to a node that takes tasks, with the real core."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster

from ecsd.executor.main import join
from libecs.errors import EcsError, InvalidInput, UsageError
from libecs.io.keys import read_key_file
from tests.daemons.executors import Executor
from tests.shim.build import shim_program

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=[], environment={"ECS_SHIM": str(shim_program())}) as cluster:
        yield cluster


def invite(cluster: Cluster, *words: str) -> str:
    """Return the token in the line that an admin carries to the node."""
    done = cluster.coconut("node", "invite", *words)
    assert done.returncode == 0, done.stderr
    found = re.search(r"ecs-executord join (ecs1\.[A-Za-z0-9_-]+)", done.stdout)
    assert found is not None, done.stdout
    return found[1]


def executord(cluster: Cluster, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ecsd.executor", *words]
    return subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, timeout=60, check=False, input=stdin
    )


def node(cluster: Cluster, state: Path, *options: str) -> Executor:
    command = [sys.executable, "-m", "ecsd.executor", "--state", str(state), *options]
    if os.geteuid() == 0:
        command += ["--user", "root"]
    return Executor("flp1", command, cluster.environment, state, cluster.base)


def test_who_was_invited_joins_waits_for_approval_and_takes_tasks(cluster: Cluster) -> None:
    state = cluster.base / "flp1"
    token = invite(cluster, "flp1")

    joined = executord(cluster, "join", token, "--state", str(state))
    assert joined.returncode == 0, joined.stderr
    public = read_key_file(state / "keys" / "node.key").public
    assert f"node flp1 has key {public[:8]} at the core {cluster.endpoint}" in joined.stdout
    assert "coconut node approve flp1" in joined.stdout
    assert read_key_file(state / "keys" / "node.key").secret not in joined.stdout + joined.stderr

    daemon = node(cluster, state)
    daemon.start()
    try:
        daemon.wait_ready()
        asyncio.run(daemon.says("refused key"))
        approved = cluster.coconut("node", "approve", "flp1")
        assert approved.returncode == 0, approved.stderr
        asyncio.run(daemon.says("connected"))

        taken = cluster.coconut("node", "list", "--json")
        assert taken.returncode == 0, taken.stderr
        assert "flp1" in json.dumps(json.loads(taken.stdout))

        shown = executord(cluster, "--state", str(state), "--show-settings", "--json")
        settings = json.loads(shown.stdout)
        assert settings["node"] == {"value": "flp1", "source": str(state / "core.toml")}
        assert settings["core"]["value"] == cluster.endpoint
        assert settings["core_key"]["value"] == cluster.core_key
    finally:
        daemon.close()


def test_a_token_is_good_for_its_node_once(cluster: Cluster) -> None:
    token = invite(cluster, "flp1", "--auto")

    other = executord(cluster, "join", token, "--state", str(cluster.base / "a"), "--node", "flp2")
    assert other.returncode == 9
    assert "this token is for node flp1, not for flp2" in other.stderr

    first = executord(cluster, "join", token, "--state", str(cluster.base / "b"))
    assert first.returncode == 0, first.stderr
    assert f"next: ecs-executord --state {cluster.base / 'b'}" in first.stdout

    second = executord(cluster, "join", token, "--state", str(cluster.base / "c"))
    assert second.returncode not in (0, 1), second.stdout
    assert "Traceback" not in second.stderr


def test_a_token_may_come_by_the_standard_input(cluster: Cluster) -> None:
    state = cluster.base / "flp1"
    token = invite(cluster, "flp1", "--auto")

    joined = executord(cluster, "join", "-", "--state", str(state), stdin=f"{token}\n")

    assert joined.returncode == 0, joined.stderr
    assert read_key_file(state / "keys" / "node.key").public[:8] in joined.stdout
    assert token not in joined.stdout + joined.stderr


@pytest.mark.parametrize("stdin", ["", "\n", "ecs1." + "x" * 100_000])
def test_a_standard_input_without_a_token_is_told(stdin: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))

    with pytest.raises(InvalidInput, match="this is no token"):
        join(["-", "--state", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ([], UsageError, "join needs a token"),
        (["--state", "x"], UsageError, "join needs a token"),
        (["ecs1.nonsense"], InvalidInput, "the token is damaged"),
        (["word"], InvalidInput, "this is no token"),
        (["ecs1.x", "--stat", "y"], UsageError, "--stat"),
        (["ecs1.x", "--node", "a b"], InvalidInput, "no name"),
    ],
)
def test_what_is_no_token_is_told(words: list[str], error: type[EcsError], text: str) -> None:
    with pytest.raises(error, match=text):
        join(words)


def test_help_and_version_tell_of_both_uses(tmp_path: Path) -> None:
    def said(*words: str) -> str:
        command = [sys.executable, "-m", "ecsd.executor", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert done.returncode == 0
        return done.stdout

    assert "ecs-executord join TOKEN" in said("--help")
    assert said("--version").startswith("ecs-executord ")
