"""The records of all runs: in memory what lists need, on disk everything.

What a run's tasks were configured with is the same for many runs: it is packed once, when an environment is
configured, and the runs share the bytes. Metrics are told by `telemetry`, which keeps records of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from libecs.engine.effects import Effect, Persist
from libecs.engine.records import RUN, RUN_CONFIGURATION, RUN_PLACEMENT, ConfigurationRecord
from libecs.errors import DecodeError
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import MetricInfo, RunInfo

ANSWER_BYTES = 6 * 1024 * 1024
"""About what one answer to a client may hold: a larger one is none, nobody could read it."""
KEEP_RUNS = 10_000
"""Records that are kept; the oldest go first."""
FORGET_AT_ONCE = 20
"""Records that are forgotten in one `handle`."""


def fitting(run: RunInfo) -> RunInfo:
    """Return a record that one answer can hold: metrics that find no room are left out, or then the configuration, or
    then the placement.
    """
    room = ANSWER_BYTES - size(run)
    for kept, metric in enumerate(run.metrics):
        room -= 80 + len(metric.role) + len(metric.name) + len(metric.unit)
        if room < 0:
            return attrs.evolve(run, metrics=run.metrics[:kept], configuration={}, placement={})
    room -= _bytes(run.configuration)
    if room < 0:
        return attrs.evolve(run, configuration={}, placement={})
    return run if _bytes(run.placement) <= room else attrs.evolve(run, placement={})


def _bytes(part: Mapping[str, str]) -> int:
    return sum(len(path) + len(text) + 8 for path, text in part.items())


def size(run: RunInfo) -> int:
    """Return about how many bytes a record has without its metrics and configuration."""
    texts = sum(map(len, run.nodes)) + sum(map(len, run.excluded)) + sum(map(len, run.detectors))
    for table in (run.variables, run.user_variables, run.tags):
        texts += sum(len(name) + len(text) + 8 for name, text in table.items())
    texts += sum(len(note.text) + len(note.author) + 16 for note in run.notes)
    return 500 + texts + sum(40 + len(span.role) + len(span.reason) for span in run.degraded)


class RunBook:
    """Runs by number. Changes are written once a `handle`, by `flush`."""

    def __init__(self, keep: int = KEEP_RUNS) -> None:
        self.runs: dict[int, RunInfo] = {}
        """Without metrics, configuration and placement."""
        self._keep = max(keep, 1)
        self._configurations: dict[int, bytes] = {}
        self._placements: dict[int, bytes] = {}
        self._dirty: dict[int, None] = {}

    def save(self, run: RunInfo) -> None:
        """Keep a record."""
        self.runs[run.number] = run
        self._dirty[run.number] = None

    def get(self, number: int) -> RunInfo:
        """Return a record; an empty one for a number whose record is lost."""
        return self.runs.get(number) or RunInfo(number=number, environment="")

    def began(self, number: int, configuration: bytes, placement: bytes, emit: Callable[[Effect], None]) -> None:
        """Keep what the tasks of a run were configured with, a packed ConfigurationRecord, and where they are."""
        self._configurations[number] = configuration
        emit(Persist(RUN_CONFIGURATION, str(number), configuration))
        self._placements[number] = placement
        emit(Persist(RUN_PLACEMENT, str(number), placement))

    def flush(self, emit: Callable[[Effect], None], keep: Iterable[int] = ()) -> list[int]:
        """Write what changed, and forget the oldest records if there are too many, but for those to `keep`. Return
        the numbers of those that are forgotten.
        """
        if not self._dirty:
            return []
        for number in self._dirty:
            emit(Persist(RUN, str(number), pack_value(self.runs[number])))
        self._dirty.clear()
        too_many = min(len(self.runs) - self._keep, FORGET_AT_ONCE)
        if too_many <= 0:
            return []
        going = set(keep)
        forgotten = [number for number in sorted(self.runs) if number not in going][:too_many]
        for number in forgotten:
            del self.runs[number]
            emit(Persist(RUN, str(number), None))
            for table, parts in ((RUN_CONFIGURATION, self._configurations), (RUN_PLACEMENT, self._placements)):
                if parts.pop(number, None) is not None:
                    emit(Persist(table, str(number), None))
        return forgotten

    def full(self, number: int, metrics: tuple[MetricInfo, ...], dropped: int) -> RunInfo:
        """Return a record with everything that is known. A part that can't be read is missing."""
        return attrs.evolve(
            self.get(number),
            metrics=metrics,
            configuration=_part(self._configurations, number),
            placement=_part(self._placements, number),
            dropped=dropped,
        )

    def load_run(self, value: bytes) -> None:
        """Take over a record of an earlier life. Raises DecodeError."""
        run = unpack_value(RunInfo, value)
        self.runs[run.number] = run

    def load_parts(self, configurations: Mapping[str, bytes], placements: Mapping[str, bytes]) -> None:
        """Take over how the runs of earlier lives were configured and placed; equal ones are kept once."""
        same: dict[bytes, bytes] = {}
        for records, parts in ((configurations, self._configurations), (placements, self._placements)):
            for key, value in ((key, value) for key, value in records.items() if key.isdecimal()):
                parts[int(key)] = same.setdefault(value, value)


def packed_places(places: Mapping[str, str]) -> bytes:
    """Return the record of a placement: role path to node."""
    return pack_value(ConfigurationRecord(digests=places))


def _part(parts: dict[int, bytes], number: int) -> Mapping[str, str]:
    """Return role paths and texts; nothing if they can't be read."""
    data = parts.get(number)
    if data is None:
        return {}
    try:
        return unpack_value(ConfigurationRecord, data).digests
    except DecodeError:
        del parts[number]
        return {}
