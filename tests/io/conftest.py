"""Real sockets in short folders."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from libecs.io.link import close_context, new_context
from tests.shim.build import shim_program


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = new_context()
    yield context
    close_context(context)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: paths of ipc sockets are limited."""
    path = Path(tempfile.mkdtemp(prefix="e", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def shim() -> Path:
    """The installed shim; in a bare source tree it is compiled."""
    return shim_program()
