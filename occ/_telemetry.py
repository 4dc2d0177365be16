"""What a device tells about itself besides its state, until it is sent: what libocc's telemetry.c is in C.

Pure, but for the time of day.
"""

from __future__ import annotations

import math
import time
from collections import deque

import attrs

from occ import _table
from occ._messages import Log, Metric
from occ._table import Severity

MAX_LINES = 100
FLUSH_PERIOD_S = 0.1
LOG_BYTES = 4 * _table.MAX_LINE_BYTES
"""What one `log` may say in all its lines."""


@attrs.define
class Telemetry:
    """Samples gathered by name, and the newest lines."""

    dropped: int = 0
    """Lines that gave way to newer ones."""
    _units: dict[str, str] = attrs.field(factory=dict)
    """Every name that was ever told, and its unit."""
    _metrics: dict[str, Metric] = attrs.field(factory=dict)
    """Those with samples since they were last taken."""
    _lines: deque[Log] = attrs.field(factory=deque)

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._metrics or self._lines)

    def sample(self, name: str, value: float, unit: str) -> bool:
        """Take one sample; return False if there are too many names or it is not finite.

        Raises:
            ValueError: name or unit is too long, or the name is empty.
        """
        if name not in self._units:
            too_long = max(len(name.encode()), len(unit.encode())) > _table.MAX_NAME_BYTES
            if too_long or not name or "\0" in name + unit:
                raise ValueError(
                    f"metric {name!r:.80} in {unit!r:.80}: both have at most 63 bytes and no NUL, a name at least one"
                )
        number = float(value)
        if not math.isfinite(number) or (name not in self._units and len(self._units) == _table.MAX_METRICS):
            return False
        unit = self._units.setdefault(name, unit)
        at = time.time_ns() // 1_000_000
        self._add(Metric(name=name, unit=unit, n=1, sum=number, min=number, max=number, last=number, unix_ms=at))
        return True

    def _add(self, later: Metric) -> None:
        known = self._metrics.get(later.name)
        if known is None:
            self._metrics[later.name] = later
            return
        self._metrics[later.name] = attrs.evolve(
            later,
            n=known.n + later.n,
            sum=known.sum + later.sum,
            min=min(known.min, later.min),
            max=max(known.max, later.max),
        )

    def take_metrics(self) -> list[Metric]:
        """Take all samples."""
        taken = list(self._metrics.values())
        self._metrics.clear()
        return taken

    def put_back(self, metric: Metric) -> None:
        """Put back samples that nobody got; newer ones may have come."""
        newer = self._metrics.pop(metric.name, None)
        self._add(metric)
        if newer is not None:
            self._add(newer)

    def log(self, text: str, severity: Severity) -> None:
        """Keep each line of a text."""
        at = time.time_ns() // 1_000_000
        shortened = text.encode(errors="replace")[: LOG_BYTES - 1].decode(errors="ignore").replace("\0", "?")
        for line in shortened.removesuffix("\n").split("\n"):
            if len(self._lines) == MAX_LINES:
                self._lines.popleft()
                self.dropped += 1
            cut = line.encode()[: _table.MAX_LINE_BYTES].decode(errors="ignore")
            self._lines.append(Log(severity=severity, text=cut, unix_ms=at))

    def take_line(self) -> Log | None:
        """Take the oldest line."""
        if not self._lines:
            return None
        return attrs.evolve(self._lines.popleft(), dropped=self.dropped)
