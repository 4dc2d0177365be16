"""`coconut run list` and `coconut run show`: the records of runs, long after their control system is gone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import EcsError, NotFound

if TYPE_CHECKING:
    from libecs.io.runrecord import Runs
    from libecs.wire.client import MetricInfo, RunInfo

LIMIT = 20
NEAR = 3
"""Runs that an error proposes."""
FILES = 20
"""Files that are listed; --json gives all."""


def _options(function: Any) -> Any:
    """Add --state and --runs."""
    function = click.option("--runs", metavar="DIR", help="Folder of runs; default: $XDG_DATA_HOME/ecs/runs.")(function)
    return click.option("--state", metavar="DIR", help="State folder whose runs are meant, as given to `run take`.")(
        function
    )


def open_runs(state: str | None, runs: str | None) -> Runs:
    """Return where the options say that the records are. Raises NotFound if there is no such folder."""
    from libecs.io.runrecord import RunFolders, StateRuns, default_runs_folder

    if state is not None:
        return StateRuns(Path(state).expanduser())
    folder = default_runs_folder() if runs is None else Path(runs).expanduser()
    if runs is not None and not folder.is_dir():
        raise NotFound(f"--runs {runs}: there is no such folder")
    return RunFolders(folder)


@click.command(
    name="list",
    help="""List the last runs: number, condition, why it ended, when, how long, what, comment.

    \b
    Examples:
      coconut run list
      coconut run list --limit 5 --json
    """,
)
@_options
@click.option("--limit", default=LIMIT, show_default=True, type=click.IntRange(1), metavar="N", help="How many.")
@json_option
@verb
def list_runs(output: Output, state: str | None, runs: str | None, limit: int) -> None:
    """List runs."""
    source = open_runs(state, runs)
    numbers = source.numbers()
    found: list[tuple[int, RunInfo | None, str]] = []
    for number in numbers[-limit:]:
        try:
            found.append((number, source.run(number), ""))
        except EcsError as error:
            found.append((number, None, error.message))
    documents = [_summary(run) if run else {"number": n, "error": error} for n, run, error in found]
    output.document("runs", {"total": len(numbers), "runs": documents}, _table(found))
    if len(numbers) > len(found):
        output.say(f"{len(numbers) - len(found)} older runs; --limit shows more")
    if not numbers:
        output.say("no runs yet; `coconut run take --help` tells how to take one")


@click.command(
    help="""Show one run: how it was and why, its times, what was degraded, metrics, files, variables.

    \b
    Examples:
      coconut run show 12
      coconut run show 12 --json
    """
)
@click.argument("number", type=click.IntRange(1))
@_options
@json_option
@verb
def show(output: Output, number: int, state: str | None, runs: str | None) -> None:
    """Show a run."""
    from libecs.io.runrecord import run_document

    source = open_runs(state, runs)
    try:
        run = source.run(number)
    except NotFound as error:
        raise NotFound(f"{error.message}", hint=_near(number, source.numbers())) from None
    output.document("run", run_document(run), _page(run))


def _near(number: int, numbers: Sequence[int]) -> str:
    if number in numbers:
        return "it goes on, or its control system was killed: see --state DIR"
    if not numbers:
        return "there are no runs here; --state DIR or --runs DIR names another place"
    near = sorted(sorted(numbers, key=lambda one: (abs(one - number), one))[:NEAR])
    return f"did you mean {', '.join(map(str, near))}? see `coconut run list`"


def _summary(run: RunInfo) -> dict[str, Any]:
    from libecs.io.runrecord import run_document

    left_out = ("variables", "configuration", "metrics", "files")
    return {key: value for key, value in run_document(run).items() if key not in left_out}


def _table(found: Sequence[tuple[int, RunInfo | None, str]]) -> Iterator[str]:
    rows = [("run", "condition", "ended by", "started", "lasted", "workflow", "comment")]
    for number, run, error in found:
        if run is None:
            rows.append((str(number), "?", "", "", "", "", error))
        else:
            how = (_condition(run), run.end_reason, moment(run.start_ms), lasted(run), run.workflow, run.comment)
            rows.append((str(number), *how))
    yield from aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return rows as lines with columns, two blanks between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _condition(run: RunInfo) -> str:
    return run.condition.name if run.end_ms else "going on"


def moment(unix_ms: int) -> str:
    """Return a time for people, "" for never."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000)) if unix_ms else ""


def lasted(run: RunInfo) -> str:
    """Return how long a run lasted, "" while it goes on."""
    if not run.end_ms:
        return ""
    seconds = (run.end_ms - run.start_ms) / 1000
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
    if run.degraded:
        yield "\ndegraded"
        for span in run.degraded:
            end = moment(span.end_ms) or "the end"
            yield f"  {moment(span.start_ms)} to {end}  {span.role}: {span.reason}"
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


def _natural(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts node2 before node10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split("([0-9]+)", path)]


_METRIC_HEAD = ("task", "metric", "samples", "sum", "mean", "min", "max", "last", "unit")


def _metric_row(metric: MetricInfo) -> tuple[str, ...]:
    mean = metric.sum / metric.n if metric.n else 0.0
    figures = (metric.sum, mean, metric.min, metric.max, metric.last)
    return (metric.role, metric.name, str(metric.n), *(f"{figure:.6g}" for figure in figures), metric.unit)
