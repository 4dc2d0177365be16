"""Real contexts of ZeroMQ."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from libecs.io.link import close_context, new_context


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = new_context()
    yield context
    close_context(context)
