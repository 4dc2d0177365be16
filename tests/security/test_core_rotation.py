"""The core takes another key: what an admin asks for, and what nodes and users see of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fieldkit.cluster import Cluster, Daemon, told_on_failure

from libecs.access import Role
from libecs.errors import InvalidInput, NotFound
from libecs.io.keys import DAY_MS, KeyState
from libecs.io.token import Invitation
from tests.security.inviting import ALICE, BOB, Core

# what is asked for


async def test_a_core_without_a_next_key_gets_one_and_everybody_is_told(core: Core) -> None:
    core.keyring.add("alice", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0)
    core.keyring.add("bob", Role.VIEWER, BOB.public, state=KeyState.PENDING, by="", now_ms=0)

    answer = core.work.core({}, "owner")

    following = core.next_key.next
    assert following is not None
    assert core.news == [following]
    assert answer == {
        "key": core.pair.public,
        "next_key": following.public,
        "from_ms": core.now + 14 * DAY_MS,
        "told": [],
        "untold": ["alice"],
    }


async def test_said_again_it_shows_who_was_told_and_changes_nothing(core: Core) -> None:
    for name, pair in (("alice", ALICE), ("bob", BOB)):
        core.keyring.add(name, Role.VIEWER, pair.public, state=KeyState.APPROVED, by="", now_ms=0)
    first = core.work.core({"days": "3"}, "owner")
    core.next_key.note_told("alice")
    core.now += DAY_MS

    assert core.work.core({}, "owner") == {**first, "told": ["alice"], "untold": ["bob"]}


async def test_days_count_from_the_day_on_which_they_are_said(core: Core) -> None:
    first = core.work.core({"days": "3"}, "owner")
    core.now += DAY_MS

    assert core.work.core({"days": "30"}, "owner") == {**first, "from_ms": core.now + 30 * DAY_MS}
    assert core.work.core({"days": "0"}, "owner")["from_ms"] == core.now
    with pytest.raises(InvalidInput, match="'soon' is no number of days: 0 to 36500"):
        core.work.core({"days": "soon"}, "owner")


async def test_who_may_not_come_in_needs_not_be_told(core: Core) -> None:
    core.keyring.add("old", Role.VIEWER, ALICE.public, state=KeyState.APPROVED, by="", now_ms=0, lifetime_ms=1)
    core.keyring.add("gone", Role.VIEWER, BOB.public, state=KeyState.APPROVED, by="", now_ms=0)
    core.keyring.revoke("gone", by="owner")

    assert core.work.core({}, "owner")["untold"] == []


async def test_a_next_key_is_given_up(core: Core) -> None:
    core.work.core({}, "owner")

    answer = core.work.core({"cancel": "1"}, "owner")

    assert answer == {"key": core.pair.public, "next_key": "", "from_ms": 0, "told": [], "untold": []}
    assert core.news[-1] is None
    with pytest.raises(NotFound, match="no next key"):
        core.work.core({"cancel": "1"}, "owner")


@pytest.mark.parametrize(
    "arguments", [{"days": "-1"}, {"days": "x"}, {"days": "40000"}, {"days": "3", "cancel": "1"}, {"days": "00"}]
)
async def test_what_is_no_time_for_a_next_key_is_refused(core: Core, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        core.work.core(arguments, "owner")

    assert core.next_key.next is None
    assert not core.news


async def test_who_is_invited_meanwhile_gets_both_keys(core: Core) -> None:
    assert core.invite().next_core_key == ""
    core.work.core({}, "owner")

    invitation = core.invite()

    assert core.next_key.next is not None
    assert invitation.next_core_key == core.next_key.next.public
    assert Invitation.read(invitation.text()) == invitation


# what nodes and users see of it


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster([]) as cluster, told_on_failure(cluster):
        yield cluster


def run(cluster: Cluster, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=120, check=False)


def coconut(cluster: Cluster, context: str, *words: str) -> str:
    """Run it as whoever has that context; "" = as owner, on the core's machine."""
    ran = run(cluster, "ecsd.coconut.main", *words, "--context", context or str(cluster.state))
    assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
    return ran.stdout


def log_in(cluster: Cluster, name: str, *words: str) -> None:
    token = coconut(cluster, "", "key", "invite", name, "--auto", *words).split()[2]
    coconut(cluster, name, "login", token)


def rotation(cluster: Cluster, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(coconut(cluster, "", "key", "rotate", "--core", "--json", *words))
    return found


def until(daemon: Daemon, condition: Callable[[str], bool]) -> None:
    end = time.monotonic() + 120
    while not any(map(condition, daemon.hear())):
        assert time.monotonic() < end, daemon.tail()
        time.sleep(0.02)  # its notify socket is read without waiting


@pytest.mark.timeout(400)
def test_a_core_is_killed_and_comes_back_with_its_next_key(cluster: Cluster) -> None:
    line = coconut(cluster, "", "node", "invite", "n7", "--auto").split()
    state = cluster.base / "n7"
    joined = run(cluster, "ecsd.executor", *line[1:], "--state", str(state))
    assert joined.returncode == 0, joined.stderr
    user = ["--user", "root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "ecsd.executor", "--state", str(state), *user]
    executor = Daemon("n7", command, cluster.environment, state, cluster.base / "log")
    executor.start()
    try:
        until(executor, lambda status: " connected" in status)
        log_in(cluster, "alice")
        log_in(cluster, "bob")

        begun = rotation(cluster, "--days", "0")
        coconut(cluster, "alice", "node", "list")
        until(executor, lambda status: begun["next_key"] in (state / "core.toml").read_text())
        before = rotation(cluster)
        assert before["next_key"] == begun["next_key"] != begun["key"]
        assert (before["told"], before["untold"]) == (["alice", "n7", "owner"], ["bob"])
        epochs = {status.partition("epoch ")[2].partition(";")[0] for status in executor.hear()} - {""}

        cluster.core.kill()
        cluster.core.start()
        cluster.core.wait_ready()

        until(
            executor,
            lambda status: (
                " connected, epoch" in status and status.partition("epoch ")[2].partition(";")[0] not in epochs
            ),
        )
        coconut(cluster, "alice", "key", "rotate")
        assert coconut(cluster, "alice", "node", "list", "-o", "name").split() == ["n7"]
        assert f'core_key = "{begun["next_key"]}"' in (state / "core.toml").read_text()
        assert not (cluster.state / "keys" / "core.next.key").exists()
        executor.restart()  # with what it has written down
        until(executor, lambda status: " connected" in status)

        away = run(cluster, "ecsd.coconut.main", "node", "list", "--context", "bob")
        assert away.returncode == 5
        assert f"is not the core you pinned: it does not have key {begun['key'][:8]}" in away.stderr
        assert "coconut key invite NAME --rotate" in away.stderr
        log_in(cluster, "bob", "--rotate")
        assert coconut(cluster, "bob", "node", "list", "-o", "name").split() == ["n7"]
        assert "Work.key.core" in coconut(cluster, "", "audit", "tail", "-n", "100")
    finally:
        executor.close()
