"""The golden frames of the node and client links: what is on the wire today must be on the wire tomorrow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libecs.wire.client import CLIENT
from libecs.wire.lobby import LOBBY
from libecs.wire.node import NODE

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
LINKS = {"node": NODE, "client": CLIENT, "lobby": LOBBY}
FRAMES = [
    (link, name, frame) for link in LINKS for name, frame in json.loads((VECTORS / f"{link}.json").read_text()).items()
]


@pytest.mark.parametrize(("link", "name", "frame"), FRAMES, ids=[f"{link}-{name}" for link, name, _ in FRAMES])
def test_a_golden_frame_is_read_and_written_again_byte_for_byte(link: str, name: str, frame: str) -> None:
    message = LINKS[link].decode(bytes.fromhex(frame))

    assert type(message).__name__ == name
    assert LINKS[link].encode(message).hex() == frame


@pytest.mark.parametrize("link", LINKS)
def test_every_message_has_a_golden_frame(link: str) -> None:
    golden = json.loads((VECTORS / f"{link}.json").read_text())

    assert set(golden) == {cls.__name__ for cls in LINKS[link].kinds().values()}
