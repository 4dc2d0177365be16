"""What the tasks of one run have counted: per task and name one sum, however many samples there were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from libecs.wire.codec import schema_of
from libecs.wire.info import MetricInfo
from libecs.wire.telemetry import MAX_LOST, MetricSpan

MAX_NAMES = 64
"""Metrics of one task; what a task tells under more names is dropped and counted."""
MAX_METRICS = 100_000
"""Metrics of one run."""
_MOST_SAMPLES = 2**53
"""Of one metric; beyond that they are not counted: who told them can't have taken them."""
_INFO = schema_of(MetricInfo)
"""Makes one of a list of its fields, faster than its __init__: ten thousand are shown each second."""


@attrs.frozen(kw_only=True)
class TaskMetrics:
    """The metrics of one task in one run, as they are on record."""

    role: str
    metrics: tuple[MetricInfo, ...]
    dropped: int = 0
    """Samples and lines of it that were lost on the way, in this run."""


@attrs.define
class Sum:
    """All samples of one metric so far."""

    unit: str
    n: int
    sum: float
    min: float
    max: float
    last: float
    last_ms: int

    def add(self, span: MetricSpan) -> None:
        """Add a stretch. The newer of two stretches says what is last, whichever comes first."""
        self.n += span.n
        if self.n > _MOST_SAMPLES:
            self.n = _MOST_SAMPLES
        self.sum += span.sum
        if span.min < self.min:
            self.min = span.min
        if span.max > self.max:
            self.max = span.max
        if span.unix_ms >= self.last_ms:
            self.last, self.last_ms, self.unit = span.last, span.unix_ms, span.unit

    def info(self, role: str, name: str) -> MetricInfo:
        """Return it as clients see it."""
        fields = [role, name, self.unit, self.n, self.sum, self.min, self.max, self.last, self.last_ms]
        made: MetricInfo = _INFO.unpack(fields)
        return made


@attrs.define
class _OfTask:
    sums: dict[str, Sum] = attrs.field(factory=dict)
    dropped: int = 0


class RunMetrics:
    """All metrics of one run, or of an environment outside of runs (number 0)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.changed: dict[tuple[str, str], None] = {}
        """(role, name) of those that whoever watches has not seen yet."""
        self.unsaved: dict[str, None] = {}
        """Roles that have told more than is on record."""
        self.save_at: float | None = None
        self.close_at: float | None = None
        """Set once the run is over: when what comes late is not taken any more."""
        self.late = False
        """More came after the end."""
        self._tasks: dict[str, _OfTask] = {}
        self.count = 0
        """Metrics of all tasks."""

    @property
    def due(self) -> float | None:
        """Monotonic seconds at which something is to be done."""
        return self.save_at if self.save_at is not None else self.close_at

    def load(self, record: TaskMetrics) -> None:
        """Take over what an earlier life of the core has saved."""
        of = self._tasks[record.role] = _OfTask(dropped=record.dropped)
        for m in record.metrics:
            of.sums[m.name] = Sum(m.unit, m.n, m.sum, m.min, m.max, m.last, m.last_ms)
        self.count += len(of.sums)

    def add(self, role: str, spans: Iterable[MetricSpan], dropped: int, watched: bool) -> None:
        """Add what a task told. `dropped`: samples and lines that it lost since it told last."""
        of = self._tasks.get(role)
        if of is None:
            of = self._tasks[role] = _OfTask()
        sums = of.sums
        for span in spans:
            if not 0 < span.n <= _MOST_SAMPLES:
                continue
            found = sums.get(span.name)
            if found is not None:
                found.add(span)
            elif len(sums) >= MAX_NAMES or self.count >= MAX_METRICS:
                dropped += span.n
                continue
            else:
                sums[span.name] = Sum(span.unit, span.n, span.sum, span.min, span.max, span.last, span.unix_ms)
                self.count += 1
            if watched:
                self.changed[role, span.name] = None
        if dropped:
            of.dropped = min(of.dropped + dropped, MAX_LOST)
        self.unsaved[role] = None
        self.late = self.late or self.close_at is not None

    def show_all(self) -> None:
        """Somebody begins to watch: all of them are news."""
        self.changed = {(role, name): None for role, of in self._tasks.items() for name in of.sums}

    def take_changed(self, limit: int) -> tuple[MetricInfo, ...]:
        """Return at most `limit` of those that changed; they are news no more."""
        chosen = [key for key, _ in zip(self.changed, range(limit), strict=False)]
        for key in chosen:
            del self.changed[key]
        return tuple(self._tasks[role].sums[name].info(role, name) for role, name in chosen)

    def take_unsaved(self, limit: int) -> Iterator[TaskMetrics]:
        """Return the records of at most `limit` tasks that have none of now."""
        for role in [role for role, _ in zip(self.unsaved, range(limit), strict=False)]:
            del self.unsaved[role]
            yield self.record(role)

    def record(self, role: str) -> TaskMetrics:
        """Return what a task has counted."""
        of = self._tasks[role]
        infos = tuple(found.info(role, name) for name, found in of.sums.items())
        return TaskMetrics(role=role, metrics=infos, dropped=of.dropped)

    def records(self) -> Iterator[TaskMetrics]:
        """Return what all tasks have counted."""
        return (self.record(role) for role in self._tasks)
