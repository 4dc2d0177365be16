"""Real contexts of ZeroMQ, and a core that invites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import zmq

from libecs.io import lobby as lobbies
from libecs.io.link import Context, close_context, new_context
from tests.security.inviting import Core


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = new_context()
    yield context
    close_context(context)


@pytest_asyncio.fixture
async def core(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Core]:
    """A core of its own with an open lobby."""
    monkeypatch.setattr(lobbies, "PER_ADDRESS_S", 0.0)  # all tests are at one address
    core = Core(context, tmp_path)
    yield core
    core.close()
