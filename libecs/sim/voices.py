"""What simulated tasks tell besides their states: how much, how often, and the book of all of it.

Samples are small whole numbers, so that sums are exact in whatever order they are added.
"""

from __future__ import annotations

from random import Random

import attrs

from libecs.wire.task import Log, Metric
from libecs.wire.telemetry import LogLine, Severity

NAMES = ("rate", "events", "size")


@attrs.frozen(kw_only=True)
class Voice:
    """How much one task tells while it runs."""

    every_s: float
    flood: int = 0
    """Lines that it throws out at once, at its first word in a run."""
    names: int = 1


@attrs.define
class Sum:
    """All samples of one metric."""

    n: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0

    def add(self, metric: Metric) -> None:
        """Add what was told."""
        self.min = min(self.min, metric.min) if self.n else metric.min
        self.max = max(self.max, metric.max) if self.n else metric.max
        self.n += metric.n
        self.sum += metric.sum


@attrs.define
class Book:
    """All metrics that tasks told on a link that was up."""

    sums: dict[tuple[str, str, int, str], Sum] = attrs.field(factory=dict)
    """(environment, role, run, name) to all samples of it."""
    lines: int = 0
    cut: set[tuple[str, str, int]] = attrs.field(factory=set)
    """(environment, role, run) of which some may have been lost on the way: its task died."""

    def add(self, environment: str, role: str, run: int, metric: Metric) -> None:
        """Enter what a task told."""
        self.sums.setdefault((environment, role, run, metric.name), Sum()).add(metric)


def draw_voice(random: Random) -> Voice | None:
    """Draw how much a task tells: two of three tell nothing."""
    if random.random() < 0.67:
        return None
    flood = random.choice((0, 0, 0, 250))
    return Voice(every_s=random.choice((0.2, 0.7, 2.0)), flood=flood, names=random.choice((1, 1, 3)))


def metrics(voice: Voice, random: Random, unix_ms: int) -> list[Metric]:
    """Return what a task tells of its metrics at one time."""
    told = []
    for name in NAMES[: voice.names]:
        samples = [float(random.randint(0, 9)) for _ in range(random.choice((1, 1, 4)))]
        told.append(
            Metric(
                name=name,
                unit="Hz",
                n=len(samples),
                sum=sum(samples),
                min=min(samples),
                max=max(samples),
                last=samples[-1],
                unix_ms=unix_ms,
            )
        )
    return told


def line(random: Random, number: int, unix_ms: int) -> Log:
    """Return a line that a task tells."""
    severity = random.choice((Severity.INFO, Severity.INFO, Severity.WARNING, Severity.ERROR))
    return Log(severity=severity, text=f"line {number}", unix_ms=unix_ms)


def output(random: Random, count: int, unix_ms: int) -> tuple[LogLine, ...]:
    """Return lines that a program writes."""
    stream = random.choice(("stdout", "stderr"))
    return tuple(
        LogLine(severity=Severity.INFO, text=f"written {n}", unix_ms=unix_ms, stream=stream) for n in range(count)
    )
