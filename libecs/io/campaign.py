"""Many histories: in several processes, with progress, resumable, and a summary of what they were about.

python -m libecs.io.campaign --count 100000 --jobs 2 --done done.txt
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import attrs

from libecs.sim.coverage import table
from libecs.sim.engines import RealEngines
from libecs.sim.outcome import Outcome
from libecs.sim.world import play

CHUNK = 50
"""Seeds that one process plays before it reports."""

Range = tuple[int, int]
"""First seed, and the one after the last."""


@attrs.frozen(kw_only=True)
class Broken:
    """A history in which a rule was broken."""

    seed: int
    kind: str
    rules: tuple[str, ...]
    text: str


@attrs.frozen(kw_only=True)
class Part:
    """What became of the histories of one range."""

    seeds: Range
    broken: tuple[Broken, ...]
    counts: Counter[str]
    kinds: Counter[str]
    cpu_s: float


@attrs.define(kw_only=True)
class Summary:
    """What became of all histories."""

    histories: int = 0
    broken: list[Broken] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    kinds: Counter[str] = attrs.field(factory=Counter)
    cpu_s: float = 0.0

    def add(self, part: Part) -> None:
        """Add the histories of a range."""
        self.histories += part.seeds[1] - part.seeds[0]
        self.broken.extend(part.broken)
        self.counts.update(part.counts)
        self.kinds.update(part.kinds)
        self.cpu_s += part.cpu_s


def play_range(seeds: Range, stop: bool = False) -> Part:
    """Play the histories of a range; with `stop` only until one is broken."""
    began = time.process_time()
    broken: list[Broken] = []
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    last = seeds[0]
    for seed in range(*seeds):
        outcome = play(seed, RealEngines())
        counts.update(outcome.counts)
        kinds[outcome.scenario.kind] += 1
        last = seed + 1
        if not outcome.ok:
            broken.append(_broken(outcome))
            if stop:
                break
    cpu_s = time.process_time() - began
    return Part(seeds=(seeds[0], last), broken=tuple(broken), counts=counts, kinds=kinds, cpu_s=cpu_s)


def _broken(outcome: Outcome) -> Broken:
    rules = tuple(dict.fromkeys(violation.rule for violation in outcome.violations))
    text = "\n".join(f"  {violation}"[:400] for violation in outcome.violations[:5])
    return Broken(seed=outcome.scenario.seed, kind=outcome.scenario.kind, rules=rules, text=text)


def missing(wanted: Range, done: Iterable[Range], size: int = CHUNK) -> Iterator[Range]:
    """Yield what of a range is not done, in pieces of at most `size` seeds."""
    seed = wanted[0]
    for first, last in sorted(done):
        if last <= seed:
            continue
        yield from _pieces(seed, min(first, wanted[1]), size)
        seed = max(seed, last)
    yield from _pieces(seed, wanted[1], size)


def _pieces(first: int, last: int, size: int) -> Iterator[Range]:
    while first < last:
        yield first, min(first + size, last)
        first += size


class Log:
    """A file of the ranges that are done, one a line: `first last broken…`. A campaign goes on from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def done(self) -> list[Range]:
        """Return the ranges that are done. A broken seed is not: it is played again, with what repairs it."""
        ranges = []
        for line in self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else ():
            first, last, *broken = (int(word) for word in line.split())
            ranges += list(missing((first, last), [(seed, seed + 1) for seed in broken], last - first or 1))
        return ranges

    def add(self, part: Part) -> None:
        """Enter a range."""
        words = [*part.seeds, *(one.seed for one in part.broken)]
        with self.path.open("a", encoding="ascii") as file:
            file.write(" ".join(str(word) for word in words) + "\n")


def run(
    wanted: Range,
    *,
    jobs: int = 1,
    log: Log | None = None,
    stop: bool = False,
    output: TextIO = sys.stderr,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Play all histories of a range that are not done yet, with progress on `output`."""
    summary = Summary()
    ranges = list(missing(wanted, log.done() if log is not None else ()))
    total = sum(last - first for first, last in ranges)
    began = clock()
    told = began
    for part in _parts(ranges, jobs, stop):
        summary.add(part)
        if log is not None:
            log.add(part)
        for one in part.broken:
            print(f"seed {one.seed} ({one.kind}) breaks {', '.join(one.rules)}\n{one.text}", file=output, flush=True)
        now = clock()
        if now - told >= 10.0 or summary.histories == total:
            told = now
            print(_progress(summary, total, now - began), file=output, flush=True)
        if stop and summary.broken:
            break
    return summary


def _progress(summary: Summary, total: int, seconds: float) -> str:
    rate = summary.histories / seconds if seconds > 0 else 0.0
    left = (total - summary.histories) / rate if rate else 0.0
    return (
        f"{summary.histories} of {total} histories, {len(summary.broken)} broken, {rate:.1f} a second, "
        f"{left / 60:.0f} min left"
    )


def _parts(ranges: list[Range], jobs: int, stop: bool) -> Iterator[Part]:
    if jobs <= 1:
        for seeds in ranges:
            yield play_range(seeds, stop)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(ranges) or 1), maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(partial(play_range, stop=stop), ranges)


def main(arguments: list[str] | None = None) -> int:
    """Play the wanted histories; return 1 if a rule was broken in any."""
    parser = argparse.ArgumentParser(prog="python -m libecs.io.campaign", description="Play many seeded histories.")
    parser.add_argument("--seed", type=int, default=0, help="the first history")
    parser.add_argument("--count", type=int, default=1000, help="how many seeds, one after the other")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--done", type=Path, help="file of the ranges that are done; what is in it is not played again")
    parser.add_argument("--stop", action="store_true", help="stop at the first broken history")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    log = Log(options.done) if options.done is not None else None
    wanted = (options.seed, options.seed + options.count)
    summary = run(wanted, jobs=options.jobs, log=log, stop=options.stop)
    print(table(summary.counts))
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(summary.kinds.items()))
    print(f"{summary.histories} histories ({kinds}) of seeds {wanted[0]} to {wanted[1] - 1}")
    print(f"{time.monotonic() - began:.0f} s by the clock, {summary.cpu_s:.0f} s of processors")
    print(f"{len(summary.broken)} broken: {', '.join(str(one.seed) for one in summary.broken) or 'none'}")
    return 1 if summary.broken else 0


if __name__ == "__main__":
    sys.exit(main())
