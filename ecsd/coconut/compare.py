"""`coconut run diff`: what differs between two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import runs as run_numbers
from ecsd.coconut.options import Number
from ecsd.coconut.output import Output, aligned, json_option, plain, verb
from ecsd.coconut.records import open_records, records_options
from ecsd.coconut.runs import length

if TYPE_CHECKING:
    from libecs.wire.info import RunInfo

FACTS = ("workflow", "revision", "condition", "end_reason", "cause", "requester", "comment")
SETS = ("detectors", "nodes", "excluded")
MAPS = ("user_variables", "variables", "configuration", "placement", "tags")
NOISE = frozenset({"environment_id", "run_number", "runNumber", "run_dir", "enter_state_time_ms"})
"""Variables that differ between any two runs, or are told elsewhere."""
_PREFIXES = ("run_start_", "run_end_", "last_run_", "__")


@click.command(
    help="""Show what differs between two runs: commit, variables, configuration, placement, detectors, times.

    Configurations are compared by the hash of what each task was configured with. Exit status 0, different or not.

    \b
    Examples:
      coconut run diff 511 512
      coconut run diff 511 512 --json
    """
)
@click.argument("first", type=Number(1), shell_complete=run_numbers)
@click.argument("second", type=Number(1), shell_complete=run_numbers)
@records_options
@json_option
@verb
def diff(output: Output, first: int, second: int, **options: Any) -> None:
    """Compare two runs."""
    records = open_records(options)
    document = difference(records.run(first), records.run(second))
    output.document("run-diff", document, _lines(document))


def difference(one: RunInfo, two: RunInfo) -> dict[str, Any]:
    """Return what differs between two runs. Pairs are [first, second]; null = one has none."""
    from libecs.io.runrecord import run_document

    a, b = run_document(one), run_document(two)
    facts = {name: [a[name], b[name]] for name in FACTS if a[name] != b[name]}
    sets = {
        name: {"only_first": sorted(set(a[name]) - set(b[name])), "only_second": sorted(set(b[name]) - set(a[name]))}
        for name in SETS
        if set(a[name]) != set(b[name])
    }
    maps = {name: found for name in MAPS if (found := _changed(a[name], b[name]))}
    metrics = _metrics(a, b)
    same = not (sets or maps or any(name in facts for name in ("workflow", "revision")))
    return {
        "first": one.number,
        "second": two.number,
        "same_setup": same,
        "times": {
            name: [a[name], b[name]] for name in ("start_ms", "start_completion_ms", "end_ms", "end_completion_ms")
        },
        **facts,
        **sets,
        **maps,
        "metrics": metrics,
    }


def _changed(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, list[str | None]]:
    keys = sorted({*a, *b})
    return {key: [a.get(key), b.get(key)] for key in keys if a.get(key) != b.get(key) and not _is_noise(key)}


def _is_noise(name: str) -> bool:
    return name in NOISE or name.startswith(_PREFIXES)


def _metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the sums and means of metrics, both runs'."""
    found: dict[str, list[Any]] = {}
    for column, run in enumerate((a, b)):
        for metric in run["metrics"]:
            pair = found.setdefault(f"{metric['role']}:{metric['name']}", [None, None])
            pair[column] = {key: metric[key] for key in ("n", "sum", "mean", "last")}
    return {name: pair for name, pair in sorted(found.items()) if pair[0] != pair[1]}


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    one, two = document["first"], document["second"]
    words = "the same setup" if document["same_setup"] else "different setups"
    yield f"runs {one} and {two}: {words}"
    rows = [["", str(one), str(two)]]
    rows += [[name.replace("_", " "), *map(_short, document[name])] for name in FACTS if name in document]
    times = document["times"]
    lasted = [length(times["start_ms"][i], times["end_ms"][i]) for i in (0, 1)]
    rows.append(["lasted", *(text or "going on" for text in lasted)])
    yield from (f"  {line}" for line in aligned(rows))
    for name in SETS:
        if name in document:
            yield f"\n{name}"
            yield from (f"  only in {one}: {what}" for what in document[name]["only_first"])
            yield from (f"  only in {two}: {what}" for what in document[name]["only_second"])
    for name in MAPS:
        if name in document:
            yield f"\n{name.replace('_', ' ')}"
            shorten = _digest if name == "configuration" else _short
            pairs = [(key, *map(shorten, pair)) for key, pair in document[name].items()]
            yield from (f"  {line}" for line in aligned(pairs))
    if document["metrics"]:
        yield "\nmetrics (sum, mean)"
        pairs = [(key, *map(_figures, pair)) for key, pair in document["metrics"].items()]
        yield from (f"  {line}" for line in aligned(pairs))


def _figures(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "-"
    return ", ".join("-" if figures[key] is None else f"{figures[key]:.6g}" for key in ("sum", "mean"))


def _digest(value: str | None) -> str:
    return "-" if value is None else value[:12]


def _short(value: Any) -> str:
    text = " ".join(plain(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
