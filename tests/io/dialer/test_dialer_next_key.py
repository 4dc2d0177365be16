"""A peer that takes another key."""

from __future__ import annotations

import pytest

from libecs.io.link import (
    ClientCurve,
    Refusal,
    ServerCurve,
    new_keys,
)
from tests.io.dialer.hall import (
    CLIENT_KEYS,
    DOMAIN,
    SERVER_KEYS,
    Client,
    Dial,
    Hall,
)

pytestmark = pytest.mark.timeout(150)


NEXT_KEYS = new_keys()


def pinned(server: str, next_server: str) -> ClientCurve:
    return ClientCurve(public=CLIENT_KEYS[0], secret=CLIENT_KEYS[1], server=server, next_server=next_server)


async def nobody(client: Client) -> None:
    """Wait until the port is free again."""
    await client.until(lambda: any(trouble.refusal is Refusal.REFUSED for trouble in client.troubles))


async def test_a_core_that_took_its_next_key_is_believed_and_its_old_key_no_more(hall: Hall, dial: Dial) -> None:
    old, now = NEXT_KEYS[0], SERVER_KEYS[0]
    turned: list[str] = []
    client = dial(hall.endpoint, pinned(old, now), on_next_key=lambda: turned.append("to the next"))

    await client.until(lambda: client.links == [True])

    assert turned == ["to the next"]
    assert client.dialer.curve == pinned(now, "")
    assert not client.troubles


async def test_a_core_that_has_its_present_key_still_keeps_it(hall: Hall, dial: Dial) -> None:
    turned: list[str] = []
    client = dial(hall.endpoint, pinned(SERVER_KEYS[0], NEXT_KEYS[0]), on_next_key=lambda: turned.append("to the next"))
    await client.until(lambda: client.links == [True])

    hall.stop()
    await nobody(client)  # both keys were tried by then
    await hall.start_again()
    await client.until(lambda: client.links == [True, False, True])

    assert client.dialer.curve == pinned(SERVER_KEYS[0], NEXT_KEYS[0])
    assert not turned


async def test_a_core_takes_its_next_key_while_a_client_is_there(hall: Hall, dial: Dial) -> None:
    client = dial(hall.endpoint, pinned(SERVER_KEYS[0], ""))
    await client.until(lambda: client.links == [True])

    client.dialer.curve = pinned(SERVER_KEYS[0], NEXT_KEYS[0])
    hall.stop()
    await nobody(client)
    hall.options = {"curve": ServerCurve(secret=NEXT_KEYS[1], domain=DOMAIN)}
    await hall.start_again()
    await client.until(lambda: client.links == [True, False, True])

    assert client.dialer.curve == pinned(NEXT_KEYS[0], "")


async def test_a_core_with_neither_key_is_told_with_both(hall: Hall, dial: Dial) -> None:
    wrong, other = new_keys()[0], new_keys()[0]

    trouble = await dial(hall.endpoint, pinned(wrong, other)).first_trouble()

    assert trouble.refusal is Refusal.WRONG_CORE
    assert f"it does not have key {wrong[:8]} or {other[:8]}" in trouble.sentence
    assert "coconut node invite n1 --rotate" in trouble.hint("n1", "node")
