"""Numbers that tasks tell in a run, chosen by `pattern:name`: `m["trigger:events"].last`, `m["**.dut:events"].sum`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping

import attrs

from libecs.errors import UsageError
from libecs.globs import below_root, matches, role_pattern
from libecs.wire.info import MetricInfo

_NAMED = 10
"""How many tasks an error lists."""


@attrs.frozen(kw_only=True)
class MetricView:
    """All samples of one metric in a run so far, of one task or of several."""

    n: int = 0
    """Samples."""
    sum: float = 0.0
    """Of all samples."""
    min: float = math.nan
    max: float = math.nan
    last: float = 0.0
    """The latest sample of all."""
    total: float = 0.0
    """Sum of the latest samples of the tasks: what their counters have come to, together."""
    unit: str = ""

    @property
    def mean(self) -> float:
        """Mean of all samples; not a number (as `min` and `max`) before the first."""
        return self.sum / self.n if self.n else math.nan

    @classmethod
    def of(cls, infos: Iterable[MetricInfo]) -> MetricView:
        """Put together what several tasks tell."""
        told = [info for info in infos if info.n]
        if not told:
            return cls()
        latest = max(told, key=lambda info: info.last_ms)
        return cls(
            n=sum(info.n for info in told),
            sum=math.fsum(info.sum for info in told),
            min=min(info.min for info in told),
            max=max(info.max for info in told),
            last=latest.last,
            total=math.fsum(info.last for info in told),
            unit=latest.unit,
        )


class RunMetrics(Mapping[str, MetricView]):
    """Metrics of one run. Its own keys are `path:name`, without the root's name; patterns are keys too.

    A metric that no task has told yet reads as `n` = 0, `last` = `sum` = 0: who waits for it needs no special case.
    """

    def __init__(self, roles: Iterable[str] = (), infos: Iterable[MetricInfo] = ()) -> None:
        """`roles` are the paths of all tasks, () = those that `infos` names."""
        self._roles = tuple(roles)
        self._infos: dict[tuple[str, str], MetricInfo] = {}
        self._chosen: dict[str, tuple[str, ...]] = {}
        self.take(infos)

    def take(self, infos: Iterable[MetricInfo]) -> None:
        """Take newer figures, each for the whole run so far."""
        for info in infos:
            self._infos[info.role, info.name] = info

    def __getitem__(self, key: str) -> MetricView:
        """Return the metric of all tasks that the key's pattern matches.

        Raises:
            UsageError: it is no `pattern:name`, or no task matches.
        """
        glob, _, name = key.partition(":")
        if not glob or not name:
            raise UsageError(
                f"{key!r} is no metric", hint='write pattern and name, as "trigger:events" or "**.dut:events"'
            )
        return MetricView.of(
            info for role in self._matching(glob) if (info := self._infos.get((role, name))) is not None
        )

    def __iter__(self) -> Iterator[str]:
        return iter([f"{below_root(role)}:{name}" for role, name in list(self._infos)])

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, key: object) -> bool:
        return key in list(self)

    def __repr__(self) -> str:
        return f"<metrics: {', '.join(self) or 'none'}>"

    def _matching(self, glob: str) -> tuple[str, ...]:
        chosen = self._chosen.get(glob)
        if chosen is None:
            pattern = role_pattern(glob)
            roles = self._roles or tuple(dict.fromkeys(role for role, _ in list(self._infos)))
            chosen = tuple(role for role in roles if matches(pattern, role))
            if not chosen and roles:
                raise UsageError(f"no task matches {glob!r}", hint=_advice(glob, [below_root(role) for role in roles]))
            if self._roles:
                self._chosen[glob] = chosen
        return chosen


def _advice(glob: str, names: list[str]) -> str:
    near = difflib.get_close_matches(glob, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"tasks are {', '.join(names[:_NAMED])}{more}"
