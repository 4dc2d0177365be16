"""The link inside of one process."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Connected, Disconnected, Input, Received
from libecs.io.memory import MemoryLink
from libecs.wire.node import NODE, CoreKeepalive, NodeKeepalive


def make(encoded: bool = False) -> tuple[MemoryLink, list[Input], list[Input]]:
    core: list[Input] = []
    node: list[Input] = []
    link = MemoryLink(NODE, core.append, hub_name="core", encoded=encoded)
    link.attach("n1", node.append)
    return link, core, node


@pytest.mark.parametrize("encoded", [False, True])
def test_messages_come_in_order_under_the_name_of_their_sender(encoded: bool) -> None:
    link, core, node = make(encoded)

    assert link.to_peer("n1", CoreKeepalive(session=1, epoch=2, seen=3))
    assert link.to_peer("n1", CoreKeepalive(session=1, epoch=2, seen=4))
    assert link.to_hub("n1", NodeKeepalive(session=1, sequence=5))

    assert node == [
        Connected("core"),
        Received("core", CoreKeepalive(session=1, epoch=2, seen=3)),
        Received("core", CoreKeepalive(session=1, epoch=2, seen=4)),
    ]
    assert core == [Received("n1", NodeKeepalive(session=1, sequence=5))]


def test_encoded_a_message_is_a_copy_and_what_is_no_message_does_not_pass() -> None:
    link, core, _ = make(encoded=True)
    message = NodeKeepalive(session=1, sequence=5)

    link.to_hub("n1", message)
    (received,) = core

    assert isinstance(received, Received)
    assert received.message is not message
    with pytest.raises(KeyError):
        link.to_hub("n1", object())


def test_who_is_unplugged_hears_so_and_nothing_more() -> None:
    link, core, node = make()

    link.detach("n1", "broken")
    link.detach("n1")

    assert node == [Connected("core"), Disconnected("core", "broken")]
    assert link.to_peer("n1", CoreKeepalive(session=1, epoch=2, seen=3)) is False
    assert link.to_hub("n1", NodeKeepalive(session=1, sequence=5)) is False
    assert (core, link.dropped) == ([], 2)
