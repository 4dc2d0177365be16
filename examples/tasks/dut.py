"""A device under test as a task: how many hits it sees depends on the properties `threshold` and `bias`.

Both may change while it is CONFIGURED, in the same process. `seed` makes the hits the same in each session.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping

import occ

TURN_S = 0.01


class DeviceUnderTest(occ.Task):
    """Pretends to see particles."""

    def configure(self, properties: Mapping[str, str]) -> None:
        self._random = random.Random(properties.get("seed", ""))
        self.reconfigure(properties)

    def reconfigure(self, changed: Mapping[str, str]) -> None:
        """`changed` has the properties that are new, `self.properties` all."""
        threshold, bias = float(self.properties["threshold"]), float(self.properties["bias"])
        if bias > 0:
            raise ValueError(f"bias is {bias:g} V: it must not be positive")
        self._rate_hz = 100_000 * math.exp(-threshold / 60) * (1 - math.exp(bias / 40))

    def start(self, run: int) -> None:
        self._last_s = time.monotonic()

    def iterate_running(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < TURN_S:
            return False
        expected = self._rate_hz * (now_s - self._last_s)
        self._last_s = now_s
        hits = max(0, round(self._random.gauss(expected, math.sqrt(expected))))
        # Increments: their sum is the number of events, whichever part of the run one asks for.
        self.metric("events", hits)
        return False


if __name__ == "__main__":
    DeviceUnderTest().run()
