"""What tasks tell besides their states, gathered until the next Telemetry: one span a metric, the last lines.

Each message costs the same however much there is already, and what is kept is bounded, so that a task that floods us
costs its own telemetry and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import isfinite

import attrs

from libecs.engine import lines
from libecs.wire.node import TaskTelemetry
from libecs.wire.task import Log, Metric
from libecs.wire.telemetry import MAX_LOST, MAX_NAME_BYTES, MAX_SAMPLES, MAX_UNIX_MS, LogLine, MetricSpan

MAX_NAMES = 64
"""Metrics of one task in one Telemetry; samples of more are dropped."""
MAX_LINES = 200
"""Lines of one task in one Telemetry; the oldest are dropped."""
MAX_LINES_NODE = 20_000
"""Lines of all tasks: beyond that, each new one costs its task an old one, or itself."""
MESSAGE_ITEMS = 2000
"""Spans and lines of one Telemetry; what is left goes with the next one, at once."""


@attrs.define
class _Span:
    """A MetricSpan that grows."""

    unit: str
    n: int
    sum: float
    min: float
    max: float
    last: float
    unix_ms: int

    def add(self, more: Metric) -> None:
        self.unit = more.unit
        self.n += more.n
        self.sum += more.sum
        self.min = min(self.min, more.min)
        self.max = max(self.max, more.max)
        if more.unix_ms >= self.unix_ms:
            self.last, self.unix_ms = more.last, more.unix_ms

    def span(self, name: str) -> MetricSpan:
        return MetricSpan(
            name=name,
            unit=self.unit,
            n=self.n,
            sum=self.sum,
            min=self.min,
            max=self.max,
            last=self.last,
            unix_ms=self.unix_ms,
        )


@attrs.define
class _Part:
    """What one task told in one run."""

    spans: dict[str, _Span] = attrs.field(factory=dict)
    lines: deque[LogLine] = attrs.field(factory=deque)


@attrs.define
class _Voice:
    """One task."""

    parts: dict[int, _Part] = attrs.field(factory=dict)
    """By run."""
    dropped: int = 0
    """Here, since the task's start."""
    dropped_there: int = 0
    """By the task itself, as it says."""


class Gather:
    """The telemetry of one node's tasks that is not sent yet."""

    def __init__(self) -> None:
        self._voices: dict[str, _Voice] = {}
        self._news: dict[str, None] = {}
        """Tasks that told something, in the order in which they began to."""
        self._lines = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._news

    def metric(self, task: str, run: int, metric: Metric) -> None:
        """Take samples of one metric, told in run `run` (0 = none). Samples that make no sense are dropped."""
        voice = self._voice(task)
        part = voice.parts.get(run)
        if part is None:
            part = voice.parts[run] = _Part()
        m = metric
        span = part.spans.get(m.name)
        told_well = 0 < m.n <= MAX_SAMPLES and 0 <= m.unix_ms <= MAX_UNIX_MS
        if not told_well or not isfinite(m.sum + m.min + m.max + m.last):
            voice.dropped += min(max(1, m.n), MAX_SAMPLES)
        elif span is not None:
            span.add(m)
        elif len(part.spans) >= MAX_NAMES or not _is_named(m):
            voice.dropped += m.n
        else:
            part.spans[m.name] = _Span(m.unit, m.n, m.sum, m.min, m.max, m.last, m.unix_ms)

    def log(self, task: str, run: int, log: Log) -> LogLine:
        """Take a line that a task told on its link, and return it as it is kept."""
        line = LogLine(severity=log.severity, text=lines.clean(log.text), unix_ms=min(max(0, log.unix_ms), MAX_UNIX_MS))
        self._voice(task).dropped_there = max(0, log.dropped)
        self.line(task, run, line)
        return line

    def line(self, task: str, run: int, line: LogLine) -> None:
        """Take a line of a task, told in run `run` (0 = none)."""
        voice = self._voice(task)
        part = voice.parts.get(run)
        if part is None:
            part = voice.parts[run] = _Part()
        if len(part.lines) >= MAX_LINES or (self._lines >= MAX_LINES_NODE and part.lines):
            part.lines.popleft()
            voice.dropped += 1
        elif self._lines >= MAX_LINES_NODE:
            voice.dropped += 1
            return
        else:
            self._lines += 1
        part.lines.append(line)

    def drop(self, task: str, n: int) -> None:
        """Count lines of a task that were lost on the way to us."""
        if n > 0:
            self._voice(task).dropped += n

    def take(self, only: Iterable[str] | None = None) -> tuple[TaskTelemetry, ...]:
        """Return and forget what there is: of some tasks, or about as much as one message holds."""
        told: list[TaskTelemetry] = []
        items = 0
        for task in list(self._news if only is None else only):
            if task not in self._news:
                continue
            del self._news[task]
            voice = self._voices[task]
            for run, part in voice.parts.items() or ((0, _Part()),):
                items += len(part.spans) + len(part.lines) + 1
                self._lines -= len(part.lines)
                told.append(
                    TaskTelemetry(
                        task=task,
                        run=run,
                        metrics=tuple(span.span(name) for name, span in part.spans.items()),
                        lines=tuple(part.lines),
                        dropped=min(voice.dropped + voice.dropped_there, MAX_LOST),
                    )
                )
            voice.parts = {}
            if only is None and items >= MESSAGE_ITEMS:
                break
        return tuple(told)

    def forget(self, task: str) -> None:
        """Drop all that there is of a task that is gone."""
        self._news.pop(task, None)
        voice = self._voices.pop(task, None)
        if voice is not None:
            self._lines -= sum(len(part.lines) for part in voice.parts.values())

    def _voice(self, task: str) -> _Voice:
        self._news[task] = None
        voice = self._voices.get(task)
        if voice is None:
            voice = self._voices[task] = _Voice()
        return voice


def _is_named(metric: Metric) -> bool:
    name, unit = metric.name.encode("utf-8", "replace"), metric.unit.encode("utf-8", "replace")
    return 0 < len(name) <= MAX_NAME_BYTES and len(unit) <= MAX_NAME_BYTES and (metric.name + metric.unit).isprintable()
