"""A core of a few lines and the executors that dial it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.daemons.executors import Site


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()
