"""A hall, and a way to dial it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from libecs.io.link import (
    ClientCurve,
    Context,
)
from tests.io.dialer.hall import (
    Client,
    Dial,
    Hall,
)


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Hall]:
    hall = Hall()
    yield hall
    hall.close()


@pytest_asyncio.fixture
async def dial(context: Context) -> AsyncIterator[Dial]:
    clients: list[Client] = []

    def make(endpoint: str, curve: ClientCurve | None, **options: object) -> Client:
        clients.append(Client(context, endpoint, curve, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.dialer.close()
