"""A supervisor of real shims, and a list of all that it tells."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from libecs.io.process import ShimSupervisor
from libecs.io.taskfolder import ShimOptions
from tests.io.process.tasks import Inputs, Make


@pytest.fixture
def inputs() -> Inputs:
    return Inputs()


@pytest.fixture
def make(inputs: Inputs, folder: Path, shim: Path) -> Make:
    def make(**options: float) -> ShimSupervisor:
        return ShimSupervisor(
            inputs.put,
            instance="test",
            node=folder.name,
            folder=folder / "node",
            shim=shim,
            environment={"PATH": os.environ["PATH"]},
            options=ShimOptions(**options),  # type: ignore[arg-type]
        )

    return make


@pytest_asyncio.fixture
async def supervisor(make: Make) -> AsyncIterator[ShimSupervisor]:
    supervisor = make()
    yield supervisor
    await supervisor.close(stop=True)
