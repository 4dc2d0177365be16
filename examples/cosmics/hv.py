"""A high-voltage supply as a task: CONFIGURE sets the property `volts`, RESET takes the voltage away.

Started by cosmics.py. By hand, with a controller of your own: OCC_CONTROL_PORT=47101 python3 hv.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import occ

MAX_VOLTS = 2000.0


class HighVoltage(occ.Task):
    """Pretends to have a supply. A real one would talk to it in `configure`, `reset` and `iterate_check`."""

    def __init__(self) -> None:
        self._volts = 0.0
        self._told_s = 0.0

    def configure(self, properties: Mapping[str, str]) -> None:
        volts = float(properties["volts"])
        if not 0 <= volts <= MAX_VOLTS:
            raise ValueError(f"volts is {volts:g}: this supply gives 0 to {MAX_VOLTS:g} V")
        self._volts = volts
        self.log(f"{volts:g} V are on")

    def start(self, run: int) -> None:
        self._told_s = 0.0

    def iterate_running(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._told_s >= 0.2:
            self._told_s = now_s
            self.metric("volts", random.gauss(self._volts, 0.1), "V")
        return False

    def reset(self) -> None:
        self._volts = 0.0


if __name__ == "__main__":
    HighVoltage().run()
