"""`coconut run list` and `coconut run show`: the records of runs, long after their control system is gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import runs as run_numbers
from ecsd.coconut.environment import moment
from ecsd.coconut.options import Number
from ecsd.coconut.output import Column, Output, aligned, json_option, list_options, plain, verb
from ecsd.coconut.records import open_records, records_options

if TYPE_CHECKING:
    from libecs.wire.info import MetricInfo, RunInfo, RunSpan

LIMIT = 20
FILES = 20
"""Files that are listed; --json gives all."""
_UNKNOWN = "unknown: "
"""How the reason of a span begins while nobody knows of its task, because its node is silent."""


def _text(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str(row.get(key) or "")


def _how(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return "?"
    return str(row["condition"]) if row["end_ms"] else "going on"


COLUMNS = (
    Column("run", lambda row: str(row["number"])),
    Column("condition", _how),
    Column("ended by", _text("end_reason")),
    Column("started", lambda row: moment(row.get("start_ms"))),
    Column("lasted", lambda row: length(row.get("start_ms"), row.get("end_ms"))),
    Column("workflow", _text("workflow")),
    Column("comment", lambda row: str(row.get("error") or row.get("comment") or "")),
    Column("detectors", lambda row: ",".join(row.get("detectors", ())), wide=True),
    Column("environment", _text("environment"), wide=True),
    Column("by", _text("requester"), wide=True),
    Column("tags", lambda row: plain(row.get("tags", {})), wide=True),
)


@click.command(
    name="list",
    help="""List the last runs: number, condition, why it ended, when, how long, what, comment.

    \b
    Examples:
      coconut run list
      coconut run list --limit 5 --json
    """,
)
@records_options
@click.option("--limit", default=LIMIT, show_default=True, type=Number(1), metavar="N", help="How many.")
@list_options
@verb
def list_runs(output: Output, limit: int, **options: Any) -> None:
    """List runs."""
    source = open_records(options)
    total, found = source.last(limit)
    rows = [_summary(run) if run else {"number": n, "error": error} for n, run, error in found]
    document: dict[str, Any] = {"schema": "ecs/runs/1", "total": total, "runs": rows}
    output.listing(document, "runs", COLUMNS, name="number")
    if total is not None and total > len(found):
        output.say(f"{total - len(found)} older runs; --limit shows more")
    if not found:
        output.say("no runs yet; `coconut run take --help` tells how to take one")


@click.command(
    help="""Show one run: how it was and why, its times, what was degraded, metrics, files, variables.

    \b
    Examples:
      coconut run show 12
      coconut run show 12 --json
    """
)
@click.argument("number", type=Number(1), shell_complete=run_numbers)
@records_options
@json_option
@verb
def show(output: Output, number: int, **options: Any) -> None:
    """Show a run."""
    from libecs.io.runrecord import run_document

    run = open_records(options).run(number)
    output.answer({"schema": "ecs/run/1", **run_document(run)}, _page(run))


def _summary(run: RunInfo) -> dict[str, Any]:
    from libecs.io.runrecord import run_document

    left_out = ("variables", "configuration", "metrics", "files", "user_variables", "placement")
    return {key: value for key, value in run_document(run).items() if key not in left_out}


def _condition(run: RunInfo) -> str:
    return run.condition.name if run.end_ms else "going on"


def lasted(run: RunInfo) -> str:
    """Return how long a run lasted, "" while it goes on."""
    return length(run.start_ms, run.end_ms)


def length(start_ms: int | None, end_ms: int | None) -> str:
    """Return how long something lasted, "" while it goes on."""
    if not end_ms:
        return ""
    seconds = (end_ms - (start_ms or end_ms)) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _page(run: RunInfo) -> Iterator[str]:
    facts = (
        ("condition", _condition(run)),
        ("ended by", run.end_reason),
        ("cause", run.cause),
        ("comment", run.comment),
        ("detectors", ", ".join(run.detectors)),
        ("excluded", ", ".join(run.excluded)),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(run.tags.items()))),
        ("workflow", f"{run.workflow} {run.revision}".strip()),
        ("environment", run.environment),
        ("requester", run.requester),
        ("nodes", ", ".join(run.nodes)),
        ("started", moment(run.start_ms)),
        ("ended", moment(run.end_ms)),
        ("lasted", lasted(run)),
        ("folder", run.folder),
        ("lost", f"{run.dropped} samples and lines" if run.dropped else ""),
    )
    yield f"run {run.number}"
    for name, text in facts:
        if text:
            yield f"  {name:<12}{text}"
    if run.notes:
        yield "\nnotes"
        yield from (f"  {moment(note.unix_ms)}  {note.author}  {note.text}" for note in run.notes)
    if run.degraded:
        yield "\ndegraded"
        yield from _degraded(run.degraded)
    if run.metrics:
        yield "\nmetrics"
        metrics = sorted(run.metrics, key=lambda metric: (_natural(metric.role), metric.name))
        yield from (f"  {line}" for line in aligned([_METRIC_HEAD, *map(_metric_row, metrics)]))
    if run.files:
        yield "\nfiles"
        yield from (f"  {file}" for file in run.files[:FILES])
        if len(run.files) > FILES:
            yield f"  and {len(run.files) - FILES} more"
    if run.variables:
        yield "\nvariables"
        yield from (f"  {name} = {value}" for name, value in sorted(run.variables.items()))


def _degraded(spans: Iterable[RunSpan]) -> Iterator[str]:
    """Return a line for each span, but one for all tasks of a node that did not answer."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for number, span in enumerate(spans):
        time = f"{moment(span.start_ms)} to {moment(span.end_ms) or 'the end'}"
        is_of_node = span.reason.startswith(f"{_UNKNOWN}node ")
        lines.setdefault((time, span.reason) if is_of_node else (time, span.reason, str(number)), []).append(span.role)
    for (time, reason, *_), roles in lines.items():
        if len(roles) > 1:
            yield f"  {time}  {reason.removeprefix(_UNKNOWN)}: {len(roles)} tasks"
        else:
            yield f"  {time}  {roles[0]}: {reason}"


def _natural(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts node2 before node10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split("([0-9]+)", path)]


_METRIC_HEAD = ("task", "metric", "samples", "sum", "mean", "min", "max", "last", "unit")


def _metric_row(metric: MetricInfo) -> tuple[str, ...]:
    mean = metric.sum / metric.n if metric.n else 0.0
    figures = (metric.sum, mean, metric.min, metric.max, metric.last)
    return (metric.role, metric.name, str(metric.n), *(f"{figure:.6g}" for figure in figures), metric.unit)
