"""Real sockets in short folders."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from libecs.errors import NotFound
from libecs.io.link import close_context, new_context
from libecs.io.process import find_shim


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
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed shim; in a bare source tree it is compiled."""
    try:
        return find_shim()
    except NotFound:
        source = Path(__file__).parents[2] / "libecs" / "shim" / "ecs-shim.c"
        program = tmp_path_factory.mktemp("bin") / "ecs-shim"
        subprocess.run(["cc", "-O2", "-std=c11", "-D_GNU_SOURCE", "-o", program, source], check=True)
        return program
