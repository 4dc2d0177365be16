"""The records of all runs: in memory what lists need, on disk everything.

What a run's tasks were configured with is the same for many runs: it is packed once, when an environment is
configured, and the runs share the bytes. Metrics are told by `telemetry`, which keeps records of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from libecs.engine.effects import Effect, Persist
from libecs.engine.records import RUN, RUN_CONFIGURATION, ConfigurationRecord
from libecs.errors import DecodeError
from libecs.wire.client import MetricInfo, RunInfo
from libecs.wire.codec import pack_value, unpack_value

ANSWER_BYTES = 6 * 1024 * 1024
"""About what one answer to a client may hold: a larger one is none, nobody could read it."""


def fitting(run: RunInfo) -> RunInfo:
    """Return a record that one answer can hold: metrics that find no room, or then the configuration, are left out."""
    room = ANSWER_BYTES - size(run)
    for kept, metric in enumerate(run.metrics):
        room -= 80 + len(metric.role) + len(metric.name) + len(metric.unit)
        if room < 0:
            return attrs.evolve(run, metrics=run.metrics[:kept], configuration={})
    room -= sum(len(path) + len(digest) + 8 for path, digest in run.configuration.items())
    return run if room >= 0 else attrs.evolve(run, configuration={})


def size(run: RunInfo) -> int:
    """Return about how many bytes a record has without its metrics and configuration."""
    texts = sum(len(name) + len(text) + 8 for name, text in run.variables.items()) + sum(map(len, run.nodes))
    return 500 + texts + sum(40 + len(span.role) + len(span.reason) for span in run.degraded)


class RunBook:
    """Runs by number. Changes are written once a `handle`, by `flush`."""

    def __init__(self) -> None:
        self.runs: dict[int, RunInfo] = {}
        """Without metrics and configuration."""
        self._configurations: dict[int, bytes] = {}
        self._dirty: dict[int, None] = {}

    def save(self, run: RunInfo) -> None:
        """Keep a record."""
        self.runs[run.number] = run
        self._dirty[run.number] = None

    def get(self, number: int) -> RunInfo:
        """Return a record; an empty one for a number whose record is lost."""
        return self.runs.get(number) or RunInfo(number=number, environment="")

    def configured(self, number: int, configuration: bytes, emit: Callable[[Effect], None]) -> None:
        """Keep what the tasks of a run were configured with, a packed ConfigurationRecord."""
        self._configurations[number] = configuration
        emit(Persist(RUN_CONFIGURATION, str(number), configuration))

    def flush(self, emit: Callable[[Effect], None]) -> None:
        """Write what changed."""
        for number in self._dirty:
            emit(Persist(RUN, str(number), pack_value(self.runs[number])))
        self._dirty.clear()

    def full(self, number: int, metrics: tuple[MetricInfo, ...], dropped: int) -> RunInfo:
        """Return a record with everything that is known. A part that can't be read is missing."""
        configuration: Mapping[str, str] = {}
        if (data := self._configurations.get(number)) is not None:
            try:
                configuration = unpack_value(ConfigurationRecord, data).digests
            except DecodeError:
                self._configurations.pop(number)
        return attrs.evolve(self.get(number), metrics=metrics, configuration=configuration, dropped=dropped)

    def load_run(self, value: bytes) -> None:
        """Take over a record of an earlier life. Raises DecodeError."""
        run = unpack_value(RunInfo, value)
        self.runs[run.number] = run

    def load_configurations(self, records: Mapping[str, bytes]) -> None:
        """Take over what the runs of earlier lives were configured with; equal ones are kept once."""
        same: dict[bytes, bytes] = {}
        for key, value in records.items():
            self._configurations[int(key)] = same.setdefault(value, value)
