"""Do the books of a run agree: what each sink counted, and what each source says that it sent?

Every example task writes one report a run: for each source how many messages, gaps, repetitions, and a hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

Report = Mapping[str, Any]
SOURCE = "source"
SINK = "sink"


@attrs.frozen(kw_only=True)
class Books:
    """What was found out about one run."""

    run: int
    sources: int
    sinks: int
    messages: int
    """Made by all sources."""
    counted: int
    """By all sinks."""
    problems: tuple[str, ...]

    def line(self) -> str:
        """Return it in words."""
        verdict = "counts, gaps and hashes agree" if not self.problems else f"{len(self.problems)} PROBLEMS"
        return (
            f"run {self.run}: {self.messages} messages of {self.sources} sources, "
            f"{self.counted} counted by {self.sinks} sinks: {verdict}"
        )

    def document(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {**attrs.asdict(self), "problems": list(self.problems), "ok": not self.problems}


def read_reports(folder: Path, run: int) -> list[Report]:
    """Return the reports of one run."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"*-run{run}.json"))]


def audit(run: int, reports: Iterable[Report], paths: Mapping[str, Iterable[str]]) -> Books:
    """Compare the reports of a run. `paths`: sink to the sources that must have reached it."""
    by_task = {report["task"]: report for report in reports}
    problems = []
    counted = 0
    for sink, sources in sorted(paths.items()):
        report = by_task.get(sink)
        if report is None:
            problems.append(f"{sink} wrote no report")
            continue
        if report["foreign"]:
            problems.append(f"{sink} got {report['foreign']} messages of another run")
        for stranger in sorted(set(report["sources"]) - set(sources)):
            problems.append(f"{sink} got messages of {stranger}, which it is not connected to")
        for source in sorted(sources):
            problems += _compare(sink, source, report["sources"].get(source), _own(by_task, source))
        counted += sum(account["count"] for account in report["sources"].values())
    sources_of = sorted({source for sources in paths.values() for source in sources})
    sent = [own["count"] for own in (_own(by_task, source) for source in sources_of) if own is not None]
    return Books(
        run=run,
        sources=len(sources_of),
        sinks=len(paths),
        messages=sum(sent),
        counted=counted,
        problems=tuple(problems),
    )


def _own(by_task: Mapping[str, Report], source: str) -> Report | None:
    report = by_task.get(source)
    own: Report | None = None if report is None else report["sources"].get(source)
    return own


def _compare(sink: str, source: str, got: Report | None, sent: Report | None) -> list[str]:
    if sent is None:
        return [f"{source} wrote no report"]
    if got is None:
        return [f"{sink} got nothing of {source}"]
    problems = []
    if got["gaps"] or got["repeated"]:
        problems.append(f"{sink}: {got['gaps']} gaps and {got['repeated']} repetitions in what {source} sent")
    if got["count"] != sent["count"]:
        problems.append(f"{sink} counted {got['count']} messages of {source}, which sent {sent['count']}")
    elif got["hash"] != sent["hash"]:
        problems.append(f"{sink} has hash {got['hash']} for {source}, which has {sent['hash']}")
    if not sent["count"]:
        problems.append(f"{source} sent nothing")
    return problems


def connections(roles: Iterable[str]) -> dict[str, list[str]]:
    """Return which source must reach which sink of the demo: the one beside it, and its language's collector."""
    paths: dict[str, list[str]] = {}
    for role in roles:
        parent, _, kind = role.rpartition(".")
        if kind == SOURCE:
            root, language = parent.partition(".")[0], parent.rpartition(".")[2]
            paths.setdefault(f"{parent}.{SINK}", []).append(role)
            paths.setdefault(f"{root}.collect-{language}", []).append(role)
    return paths
