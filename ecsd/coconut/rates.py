"""How fast an environment takes data: rates from what its tasks tell, and their last minute as a small picture.

It knows no clock: whoever draws says what time it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import attrs
from rich.text import Text

from ecsd.coconut.livetree import COUNTED, figure, short, stands
from libecs.wire.info import MetricInfo

KEPT = 60
"""Points of the picture, one a second."""
TICK_S = 1.0
SILENT_S = 3.0
"""What is counted and was not told for so long does not grow: figures come once a second, when they have changed."""
BARS = "▁▂▃▄▅▆▇█"
_NAME_WIDTH, _FIGURE_WIDTH = 12, 11


@attrs.define(kw_only=True)
class _Told:
    """What one task has told of one metric."""

    info: MetricInfo
    heard_s: float
    rate: float | None = None
    """Growth a second of what is counted; None until it was told twice."""


@attrs.define
class Rates:
    """The metrics of one environment's run."""

    run: int = 0
    _told: dict[tuple[str, str], _Told] = attrs.field(factory=dict)
    _series: dict[str, deque[float | None]] = attrs.field(factory=dict)
    _ticked_s: float | None = None

    def take(self, run: int, infos: Iterable[MetricInfo], now_s: float) -> None:
        """Take figures that are newer; those of another run take the place of what was known."""
        if run != self.run:
            self.run, self._told, self._series = run, {}, {}
        for info in infos:
            key = (info.role, info.name)
            before = self._told.get(key)
            rate = None if before is None else _growth(before, info)
            self._told[key] = _Told(info=info, heard_s=now_s, rate=rate)

    def tick(self, now_s: float, *, suspect: bool) -> None:
        """Add a point to the pictures, once a second; while the core is not heard, an empty one: nothing is known."""
        if self._ticked_s is not None and now_s - self._ticked_s < TICK_S:
            return
        # Points stand a second apart, though drawing comes late now and then.
        late = self._ticked_s is None or now_s - self._ticked_s >= 2 * TICK_S
        self._ticked_s = now_s if late else (self._ticked_s or 0.0) + TICK_S
        if suspect:
            for key in self._told:
                self._told[key].heard_s = now_s  # that it is silent says nothing of the task
        by_name: dict[str, list[_Told]] = {}
        for (_, name), told in self._told.items():
            by_name.setdefault(name, []).append(told)
        for name, tellers in by_name.items():
            value = _together(tellers, now_s)
            self._series.setdefault(name, deque(maxlen=KEPT)).append(None if suspect else value)

    def names(self) -> list[str]:
        """Return the metrics, first those that most tasks tell."""
        often = Counter(name for _, name in self._told)
        return sorted(often, key=lambda name: (-often[name], name))

    def figures(self, now_s: float, most: int) -> list[MetricInfo]:
        """Return what every task tells of the first few metrics, as it is now: what is counted as growth a second."""
        names = self.names()[:most]
        found = []
        for (_, name), told in self._told.items():
            value = _value(told, now_s)
            if name in names and value is not None:
                found.append(attrs.evolve(told.info, unit=_unit(told.info), last=value))
        return found

    def lines(self, most: int, width: int, now_s: float, pattern: str = "") -> list[Text]:
        """Return one line a metric: its sum over the tasks, how many these are, and the last minute.

        Args:
            most: lines at most.
            width: characters of a line.
            now_s: present time.
            pattern: only tasks whose role path has these letters; the last minute is that of all tasks.
        """
        lines = []
        for name in self.names()[:most]:
            value, tasks = self._whole(name, pattern, now_s)
            if not tasks:
                value, tasks = self._whole(name, "", now_s)
            unit = next(_unit(told.info) for (_, one), told in self._told.items() if one == name)
            text = Text(f"{name:<{_NAME_WIDTH}.{_NAME_WIDTH}} ", no_wrap=True)
            text.append(("-" if value is None else with_unit(value, unit)).rjust(_FIGURE_WIDTH), style="bold")
            what = "sum" if _adds_up(unit) else "mean"
            text.append(f"  {what} of {tasks} task{'s' * (tasks != 1)}".ljust(19), style="dim")
            text.append(f"  {bars(self._series.get(name, ()), width - len(text.plain) - 2)}", style="cyan")
            lines.append(text)
        return lines

    def _whole(self, name: str, pattern: str, now_s: float) -> tuple[float | None, int]:
        """Return the sum, or the mean, of a metric over the tasks that tell it, and how many these are."""
        words = pattern.lower()
        told = [one for (role, metric), one in self._told.items() if metric == name and words in role.lower()]
        return _together(told, now_s), len(told)


def _growth(before: _Told, info: MetricInfo) -> float | None:
    """Return how much a counter grew in a second, by the clock of its task; None if that can't be said."""
    seconds = (info.last_ms - before.info.last_ms) / 1000
    if stands(info) is not stands(before.info):
        return before.rate
    grown = figure(info) - figure(before.info)
    return grown / seconds if seconds > 0 and grown >= 0 else before.rate


def _together(told: Sequence[_Told], now_s: float) -> float | None:
    values = [value for one in told if (value := _value(one, now_s)) is not None]
    if not values:
        return None
    whole = sum(values)
    return whole if _adds_up(_unit(told[0].info)) else whole / len(values)


def _value(told: _Told, now_s: float) -> float | None:
    if told.info.unit not in COUNTED:
        return told.info.last
    return 0.0 if told.rate is not None and now_s - told.heard_s > SILENT_S else told.rate


def _unit(info: MetricInfo) -> str:
    if info.unit not in COUNTED:
        return info.unit
    return "B/s" if info.unit in ("B", "bytes") else "/s"


def _adds_up(unit: str) -> bool:
    """Whether the figures of several tasks have a sum that means something: rates do, temperatures do not."""
    return unit.endswith("/s") or unit in ("Hz", "kHz", "MHz")


def with_unit(value: float, unit: str) -> str:
    """Return a number and its unit in a few characters: 1.25 kB/s, 300/s, 99.8 Hz."""
    if unit not in ("B/s", "/s", "Hz"):
        return f"{value:.4g} {unit}".rstrip()  # it may have a k of its own
    text = short(value)
    return f"{text}{unit}" if " " in text or unit == "/s" else f"{text} {unit}"


def bars(values: Iterable[float | None], width: int) -> str:
    """Return the last values as bars between 0 and the largest one; what is not known is a blank."""
    shown: Sequence[float | None] = tuple(values)[-width:] if width > 0 else ()
    top = max((abs(value) for value in shown if value is not None), default=0.0)
    return "".join(
        " " if value is None else BARS[min(int(max(value, 0.0) / top * len(BARS)), len(BARS) - 1)] if top else BARS[0]
        for value in shown
    )
