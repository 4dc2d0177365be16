"""How long coconut waits for a core that does not answer yet."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fieldkit.cluster import Cluster

from ecsd.coconut.options import connect_timeout_s
from tests.coconut.conftest import Coconut
from tests.io.places import own_host

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def nobody() -> str:
    """An address of this machine where nobody listens."""
    return f"tcp://{own_host()}:47102"


def test_who_waits_shorter_is_told_that_nobody_answers(coconut: Coconut, nobody: str) -> None:
    ran = coconut("environment", "list", "--context", nobody, "--connect-timeout", "10ms")

    assert ran.status == 6
    assert "timeout=30" not in ran.err  # he said how long; no advice to wait longer


def test_without_the_option_it_is_named_as_what_helps(coconut: Coconut, nobody: str) -> None:
    ran = coconut("environment", "list", "--context", nobody)

    assert ran.status == 6
    assert "coconut with --connect-timeout 30s" in ran.err


def test_the_variable_counts_as_well_and_the_option_wins(
    coconut: Coconut, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECS_CONNECT_TIMEOUT", "soon")
    assert "not a duration" in coconut("info", "--context", nobody).err
    assert coconut("info", "--context", nobody, "--connect-timeout", "10ms").status == 6


@pytest.mark.parametrize("verb", [("info",), ("key", "list"), ("template", "list"), ("run", "list")])
def test_what_is_no_time_is_said(coconut: Coconut, nobody: str, verb: tuple[str, ...]) -> None:
    ran = coconut(*verb, "--context", nobody, "--connect-timeout", "soon", "--json")

    assert ran.status in (2, 9)
    assert "not a duration" in ran.document["error"]["message"]


def test_a_core_that_is_only_being_started_is_waited_for(at_core: Coconut, cluster: Cluster, coconut: Coconut) -> None:
    core = cluster.core
    core.stop()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "ecsd.coconut.main", "info", "--json", "--connect-timeout", "3min"],
        env=dict(cluster.variables()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):  # longer than who says nothing would wait
            waiting.communicate(timeout=3)
        core.start()
        core.wait_ready()
        _, err = waiting.communicate(timeout=200)
        assert (waiting.returncode, err) == (0, "")
    finally:
        waiting.kill()
        waiting.wait()


def test_outside_of_a_command_line_nothing_is_said() -> None:
    assert connect_timeout_s() is None
