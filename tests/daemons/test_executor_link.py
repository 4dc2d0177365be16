"""What an executor says when it cannot come to its core: in its log and to systemd, and that it comes when it can."""

from __future__ import annotations

import pytest

from libecs.io.keys import KeyPair, read_key_file
from tests.daemons.executors import Executor, Site, Stopwatch
from tests.io.places import refusing

pytestmark = pytest.mark.timeout(240)  # several processes are started, one after the other


async def says(executor: Executor, *parts: str) -> None:
    """Start it; it must be ready all the same, and say what is wrong."""
    watch = Stopwatch()
    executor.start()
    status = await executor.says(parts[0])
    watch.tell("said after the start of the process")
    await executor.ready()
    for part in parts:
        assert part in status
        assert part in executor.log_text()


async def test_a_key_that_the_core_does_not_know_and_then_does(site: Site) -> None:
    executor = site.executor(known=False)
    public = read_key_file(executor.state / "keys" / "node.key").public

    await says(executor, f"refused key {public[:8]} (not approved, or revoked)", "coconut node approve n1")

    site.core.allowed.add(public)
    await executor.says("connected")


async def test_a_key_that_is_revoked(site: Site) -> None:
    executor = await site.start()
    public = read_key_file(executor.state / "keys" / "node.key").public

    site.core.allowed.remove(public)  # its next message ends the link

    await executor.says(f"refused key {public[:8]}")


async def test_another_core_than_the_one_that_was_pinned(site: Site) -> None:
    pinned = KeyPair.new().public
    executor = site.executor(core_key=pinned)

    await says(executor, "is not the core you pinned", pinned[:8], "ecs-executord join TOKEN")


async def test_nobody_there(site: Site) -> None:
    with refusing() as endpoint:
        executor = site.executor(endpoint=endpoint)

        await says(executor, f"nobody answers at {endpoint}: connection refused", "is ecsd running there")


async def test_no_key_where_one_is_wanted(site: Site) -> None:
    executor = site.executor()
    at = executor.command.index("--core-key")
    executor.command[at : at + 2] = ["--insecure"]

    await says(executor, "you have no key for", "ecs-executord join TOKEN")


async def test_a_core_without_keys(site: Site) -> None:
    plain = Site(secure=False)
    try:
        executor = site.executor(endpoint=plain.core.endpoint)

        await says(executor, "speaks without keys (--insecure)")
    finally:
        await plain.close()


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        ("", "takes the link of node n1, and then says nothing: is its key that of a node"),
        ("another node has your name", "does not take node n1: another node has your name"),
    ],
)
async def test_a_core_that_does_not_want_this_node_and_then_does(site: Site, refusal: str, text: str) -> None:
    site.core.refusal = refusal
    executor = site.executor()

    await says(executor, text)

    site.core.refusal = None
    await executor.says("connected")


async def test_without_keys_on_both_sides_it_works() -> None:
    plain = Site(secure=False)
    try:
        executor = await plain.start()

        await executor.says("connected")
    finally:
        await plain.close()


async def test_settings_that_are_wrong_are_told(site: Site) -> None:
    executor = site.executor("--nod", "x")

    executor.start()

    assert await executor.ended() == 2
    assert "--node" in executor.log_text()


async def test_who_was_told_nothing_is_told_to_join(site: Site) -> None:
    executor = site.executor()
    for option in ("--core-key", "--core"):
        at = executor.command.index(option)
        del executor.command[at : at + 2]

        executor.start()

        assert await executor.ended() == 2
        assert "coconut node invite NAME" in executor.log_text()


async def test_a_key_file_that_others_can_read_is_not_used(site: Site) -> None:
    executor = site.executor()
    (executor.state / "keys" / "node.key").chmod(0o644)

    executor.start()

    assert await executor.ended() == 5
    assert "can be read by others" in executor.log_text()
