"""Run records as files: `run.json` in the folder of each run, for people, scripts and `coconut run list`.

    RUNS/1234/run.json      schema "ecs/run/1"; beside it what the tasks wrote

The records that the core itself goes on from are in its state (`StateRuns`). These files are for everybody else: they
outlive the state, and they can be copied with the data.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sqlite3
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import attrs

from libecs.engine.metrics import TaskMetrics
from libecs.engine.records import RUN, RUN_CONFIGURATION, RUN_METRICS, ConfigurationRecord
from libecs.engine.rules import masked
from libecs.errors import DecodeError, EcsError, InvalidInput, NotFound
from libecs.wire.codec import unpack_value
from libecs.wire.info import MetricInfo, Note, RunCondition, RunInfo, RunSpan

logger = logging.getLogger(__name__)

SCHEMA = "ecs/run/1"
FILE = "run.json"
MAX_FILES = 1000
"""A record lists no more."""
MAX_LOOKED = 20_000
"""Nor are more files and folders looked at: who waits for the record waits for that."""
_TIMES = ("start_ms", "start_completion_ms", "end_ms", "end_completion_ms")
_FLOATS = ("sum", "min", "max", "last")


def default_runs_folder() -> Path:
    """Return `$XDG_DATA_HOME/ecs/runs`."""
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification wants relative paths ignored.
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "ecs" / "runs"


# documents


def run_document(run: RunInfo) -> dict[str, Any]:
    """Return a run as JSON knows it. Times are unix milliseconds, null = never; null for what is no number."""
    return {
        "number": run.number,
        "condition": run.condition.name,
        "end_reason": run.end_reason,
        "cause": run.cause,
        "comment": run.comment,
        "environment": run.environment,
        "workflow": run.workflow,
        "revision": run.revision,
        "requester": run.requester,
        **{name: getattr(run, name) or None for name in _TIMES},
        "nodes": list(run.nodes),
        "degraded": [
            {"role": span.role, "reason": span.reason, "start_ms": span.start_ms, "end_ms": span.end_ms or None}
            for span in run.degraded
        ],
        "metrics": [_metric_document(metric) for metric in run.metrics],
        "dropped": run.dropped,
        "folder": run.folder,
        "files": list(run.files),
        "variables": dict(sorted(masked(run.variables).items())),
        "configuration": dict(sorted(run.configuration.items())),
        "request": run.request,
        "user_variables": dict(sorted(masked(run.user_variables).items())),
        "placement": dict(sorted(run.placement.items())),
        "notes": [{"unix_ms": note.unix_ms, "author": note.author, "text": note.text} for note in run.notes],
        "tags": dict(sorted(run.tags.items())),
        "excluded": list(run.excluded),
        "detectors": list(run.detectors),
    }


def _metric_document(metric: MetricInfo) -> dict[str, Any]:
    return {
        "role": metric.role,
        "name": metric.name,
        "unit": metric.unit,
        "n": metric.n,
        **{name: _number(getattr(metric, name)) for name in _FLOATS},
        "last_ms": metric.last_ms,
        "mean": _number(metric.sum / metric.n) if metric.n else None,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_run(text: str | bytes, place: str) -> RunInfo:
    """Return the run of a document; keys that a newer version has added are passed over.

    Raises:
        InvalidInput: it is none. The message begins with `place`.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise InvalidInput(f"{place} is no run record: its schema is not {SCHEMA}")
        known = {field.name for field in attrs.fields(RunInfo)}
        fields = {key: value for key, value in document.items() if key in known}
        fields |= {name: fields.get(name) or 0 for name in _TIMES}
        fields["condition"] = RunCondition[fields["condition"]]
        fields["nodes"] = tuple(fields.get("nodes", ()))
        for name in ("files", "excluded", "detectors"):
            fields[name] = tuple(fields.get(name, ()))
        fields["notes"] = tuple(Note(**note) for note in fields.get("notes", ()))
        fields["degraded"] = tuple(_span(span) for span in fields.get("degraded", ()))
        fields["metrics"] = tuple(_metric(metric) for metric in fields.get("metrics", ()))
        return RunInfo(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{place} is no run record: {type(error).__name__}: {error}") from error


def _span(document: Mapping[str, Any]) -> RunSpan:
    return RunSpan(
        start_ms=document["start_ms"],
        end_ms=document["end_ms"] or 0,
        role=document["role"],
        reason=document["reason"],
    )


def _metric(document: Mapping[str, Any]) -> MetricInfo:
    floats = {name: math.nan if document[name] is None else float(document[name]) for name in _FLOATS}
    return MetricInfo(
        role=document["role"],
        name=document["name"],
        unit=document["unit"],
        n=document["n"],
        last_ms=document["last_ms"],
        **floats,
    )


# writing


def save_run(run: RunInfo) -> RunInfo:
    """Write `run.json` into the run's folder, whole or not at all; return the run with its files listed.

    Without a folder nothing is written. What goes wrong is logged and no more: the core has the record too.
    """
    if not run.folder:
        return run
    folder = Path(run.folder)
    run = attrs.evolve(run, files=files_below(folder))
    text = _text({"schema": SCHEMA, **run_document(run)})
    temporary = folder / f".{FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        # Tasks write to this folder too: whatever they put in our way is not opened, and not followed.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(fd, "w", encoding="utf-8", errors="replace") as file:
                file.write(text + "\n")
            temporary.rename(folder / FILE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("the record of run %d is not in %s: %s", run.number, folder, error)
    return run


def _text(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, what it has many of one per line. The encoder of the standard library takes ten times
    as long with an indentation, and all wait.
    """
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(map(encode, value)) + "\n ]"
        elif isinstance(value, dict) and value:
            text = "{\n  " + ",\n  ".join(f"{encode(name)}: {encode(one)}" for name, one in value.items()) + "\n }"
        else:
            text = encode(value)
        parts.append(f" {encode(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


def files_below(folder: Path, limit: int = MAX_FILES) -> tuple[str, ...]:
    """Return the files below a folder but for its run record, relative to it and sorted; of very many only some, those
    of the folder itself first. Links are not followed.
    """
    found: list[str] = []
    folders = deque([""])
    looked = 0
    while folders:
        prefix = folders.popleft()
        try:
            with os.scandir(folder / prefix) as entries:
                for entry in entries:
                    looked += 1
                    if len(found) >= limit or looked > MAX_LOOKED:
                        return tuple(sorted(found))
                    path = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{path}/")
                    elif path != FILE and not path.startswith(f".{FILE}."):
                        found.append(path)
        except OSError:  # gone meanwhile, not for us, or deeper than a path can say
            continue
    return tuple(sorted(found))


# reading


class Runs(Protocol):
    """Where records of runs are."""

    def numbers(self) -> list[int]:
        """Return the numbers of all runs, ascending. Raises EcsError."""

    def run(self, number: int) -> RunInfo:
        """Return one run. Raises NotFound, InvalidInput, EcsError."""


def highest_number(folder: Path) -> int:
    """Return the highest number that a folder of runs has, 0 without any."""
    return max(RunFolders(folder).numbers(), default=0)


@attrs.frozen
class RunFolders:
    """A folder with a folder for each run."""

    path: Path

    def numbers(self) -> list[int]:
        """Return the numbers of all runs that have a folder, ascending. Raises EcsError."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EcsError(f"{self.path} cannot be read: {error.strerror}") from error
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name)

    def run(self, number: int) -> RunInfo:
        """Return one run.

        Raises:
            NotFound: it has no record here: it goes on, or its core was killed and never came back.
            InvalidInput: the file is no record.
        """
        path = self.path / str(number) / FILE
        try:
            return read_run(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise NotFound(f"run {number} has no record in {self.path}") from None
        except OSError as error:
            raise EcsError(f"{path} cannot be read: {error.strerror}") from error


class StateRuns:
    """The runs that a state folder knows, also while another process works with it."""

    def __init__(self, state: Path) -> None:
        """Raises NotFound if there is no state."""
        self._file = state / "state.sqlite"
        self._folders = RunFolders(state / "runs")
        if not self._file.is_file():
            raise NotFound(f"{state} is no state folder", hint="name what was given as state= or --state")

    def numbers(self) -> list[int]:
        """Return the numbers of all runs, ascending. Raises EcsError."""
        known = {int(row[0]) for row in self._rows("SELECT key FROM records WHERE tbl = ?", RUN)}
        return sorted(known | set(self._folders.numbers()))

    def run(self, number: int) -> RunInfo:
        """Return one run: from its file, which is complete, or else from the core's records."""
        try:
            return self._folders.run(number)
        except (NotFound, InvalidInput) as error:  # a loss of power may leave an empty file
            rows = self._rows("SELECT value FROM records WHERE tbl = ? AND key = ?", RUN, str(number))
            if not rows and isinstance(error, InvalidInput):
                raise
        if not rows:
            raise NotFound(f"no run {number}")
        try:
            run = unpack_value(RunInfo, rows[0][0])
            rows = self._rows("SELECT value FROM records WHERE tbl = ? AND key GLOB ?", RUN_METRICS, f"{number}/*")
            told = [unpack_value(TaskMetrics, value) for (value,) in rows]
            rows = self._rows("SELECT value FROM records WHERE tbl = ? AND key = ?", RUN_CONFIGURATION, str(number))
            configured = [unpack_value(ConfigurationRecord, value) for (value,) in rows]
        except DecodeError as error:
            raise InvalidInput(f"the record of run {number} in {self._file} can't be read: {error.message}") from error
        return attrs.evolve(
            run,
            metrics=tuple(metric for task in told for metric in task.metrics),
            dropped=sum(task.dropped for task in told),
            configuration=configured[0].digests if configured else {},
        )

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=5.0)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise EcsError(f"{self._file} cannot be read: {error}") from error
