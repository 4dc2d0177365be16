"""What an engine would be given: kept, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libecs.engine.effects import Input, Received

WAIT_S = 30


class Inputs:
    """All inputs, in their order."""

    def __init__(self) -> None:
        self.all: list[Input] = []
        self._changed = asyncio.Event()

    def put(self, input: Input) -> None:
        self.all.append(input)
        self._changed.set()

    @property
    def received(self) -> list[Input]:
        return [input for input in self.all if isinstance(input, Received)]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT_S)
