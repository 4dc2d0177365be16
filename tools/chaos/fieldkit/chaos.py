"""Kill core, executors, shims and tasks at random moments under a workload, and check that nothing was lost.

    ./dev chaos --seed 1 --rounds 50            a line of progress, at the end a table; status 1 if a rule was broken
    ./dev chaos --seed 1 --only 17              one round again

A seed fixes what clients do and which blows fall after how many events. The journal, the audit log, the tasks' records
and all logs of a round that broke a rule are kept in `build/chaos/SEED-ROUND/`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import platform
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from fieldkit.checker import Checker
from fieldkit.cluster import Cluster, Failed, await_end
from fieldkit.diary import Diary
from fieldkit.recorder import ROOT
from fieldkit.schedule import KINDS, Round, make_round
from fieldkit.workload import Broken, EventCount, play

NODES = ("n1", "n2")
LAST_S = 60.0
"""After a round, what should end has so long to do so."""
ROUNDS_EACH = 100
"""A cluster serves so many rounds; then a new one begins, with an empty journal."""


@attrs.frozen(kw_only=True)
class Outcome:
    """How one round went."""

    number: int
    seconds: float
    kinds: tuple[str, ...]
    problems: tuple[str, ...]
    kept: str = ""
    """Folder with everything that is known of a round that broke a rule."""


class Field:
    """One cluster, its clients and its checker, over many rounds."""

    def __init__(self, folder: Path, *, modify: bool) -> None:
        self._folder = folder
        self._modify = modify
        self._stack = contextlib.AsyncExitStack()
        self._sessions: list[Any] = []
        self._count = EventCount()
        self._watching: asyncio.Task[None] | None = None
        self._cluster: Cluster | None = None
        self._checker: Checker | None = None
        self._rounds = 0
        self.hopeless = False
        """Not even a cluster that nobody disturbs comes up."""
        self.totals: Counter[str] = Counter()

    async def _open(self) -> Cluster:
        if self._cluster is not None:
            return self._cluster
        cluster = Cluster(NODES)
        self._stack.callback(cluster.close)
        await asyncio.to_thread(cluster.start)
        self._sessions = [await self._stack.enter_async_context(cluster.connect()) for _ in range(3)]
        self._count = EventCount()
        self._watching = asyncio.create_task(self._count.watch(self._sessions[2]))
        self._checker = Checker(cluster)
        self._cluster = cluster
        self._rounds = 0
        return cluster

    async def close(self) -> None:
        """End the cluster; the next round makes a new one."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self._checker is not None:
            self.totals.update(self._checker.counts)
        self._checker = self._cluster = None
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()

    async def play(self, seed: int, number: int) -> Outcome:
        """Play one round and check it."""
        plan = make_round(seed, number, modify=self._modify)
        begun = time.monotonic()
        diary = Diary()
        problems: list[str] = []
        kept = ""
        try:
            self.hopeless = True
            cluster = await self._open()
            self.hopeless = False
            assert self._checker is not None
            diary = Diary()
            begun = time.monotonic()
            try:
                await play(cluster, self._sessions, self._count, plan, diary)
            except (Broken, Failed) as error:
                problems.append(str(error))
            problems += await self._settle(cluster, diary, plan)
        except Exception as error:  # a round that can't be judged has failed, whatever the reason; the next goes on
            problems.append(f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - begun
        self._rounds += 1
        self.totals["requests"] += sum(1 for entry in diary.entries if entry.verb != "show")
        self.totals["requests that failed"] += sum(1 for entry in diary.entries if entry.outcome not in ("", "ok"))
        self.totals["blows"] += len(diary.blows)
        self.totals["blows after the work"] += sum(1 for blow in diary.blows if blow["at_event"] < blow["wanted"])
        if problems:
            kept = self._keep(plan, diary, problems)
        if problems or self._rounds >= ROUNDS_EACH:
            await self.close()
        kinds = tuple(blow.kind for blow in plan.blows)
        return Outcome(number=number, seconds=seconds, kinds=kinds, problems=tuple(problems), kept=kept)

    async def _settle(self, cluster: Cluster, diary: Diary, plan: Round) -> list[str]:
        """Wait until what should end has ended, then check."""
        assert self._checker is not None
        expected = await self._idle()
        end = time.monotonic() + LAST_S
        while (left := self._checker.left_behind(expected)) and time.monotonic() < end:
            pid = next(iter((*cluster.tasks(), *cluster.shims().values())), 0)
            if pid:
                await asyncio.to_thread(await_end, pid, 0.2)
            else:
                await self._count.next_or(0.1)
            expected = await self._idle()
        problems = await asyncio.to_thread(self._checker.check, diary, may_hurt=plan.may_hurt)
        return [*problems, *left]

    async def _idle(self) -> frozenset[str]:
        """Return the ids of tasks in the idle pool."""
        async with asyncio.timeout(LAST_S):
            return frozenset(task.task for task in await self._sessions[0].tasks() if not task.environment)

    def _keep(self, plan: Round, diary: Diary, problems: Sequence[str]) -> str:
        folder = self._folder / f"{plan.seed}-{plan.number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        document = {"problems": list(problems), "plan": plan.document(), "diary": diary.document()}
        (folder / "round.json").write_text(json.dumps(document, indent=1, default=str))
        if self._cluster is not None:
            for name in ("core", "log", "records", *NODES):
                with contextlib.suppress(OSError, shutil.Error):
                    shutil.copytree(
                        self._cluster.base / name,
                        folder / name,
                        symlinks=True,
                        ignore=shutil.ignore_patterns("alive", "reserve", "*.notify", "*.key"),
                    )
        return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)


async def run(seed: int, numbers: Sequence[int], jobs: int, folder: Path, *, modify: bool, quiet: bool) -> Report:
    """Play rounds, several at a time."""
    report = Report(seed=seed)
    waiting = list(reversed(numbers))
    begun = time.monotonic()

    async def work() -> None:
        field = Field(folder, modify=modify)
        try:
            while waiting:
                outcome = await field.play(seed, waiting.pop())
                report.add(outcome)
                if field.hopeless:
                    waiting.clear()
                if not quiet:
                    _progress(report, len(numbers), time.monotonic() - begun)
                    for problem in outcome.problems:
                        print(f"\nround {outcome.number}: {problem}\n  kept in {outcome.kept}", file=sys.stderr)
        finally:
            await field.close()
            report.totals.update(field.totals)

    workers = [asyncio.create_task(work()) for _ in range(min(jobs, len(numbers)))]

    def stop() -> None:
        for worker in workers:
            worker.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)  # so that clusters are ended, and the table is printed
    try:
        ends = await asyncio.gather(*workers, return_exceptions=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    report.seconds = time.monotonic() - begun
    return report


@attrs.define(kw_only=True)
class Report:
    """What came of all rounds."""

    seed: int
    outcomes: list[Outcome] = attrs.field(factory=list)
    totals: Counter[str] = attrs.field(factory=Counter)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take one more."""
        self.outcomes.append(outcome)

    @property
    def failed(self) -> list[Outcome]:
        """Rounds that broke a rule."""
        return [outcome for outcome in self.outcomes if outcome.problems]

    def table(self) -> list[str]:
        """Return it as lines."""
        lines = [f"{'blow':<18}{'rounds':>8}{'broken':>8}{'median s':>10}"]
        for kind in KINDS:
            rounds = [outcome for outcome in self.outcomes if kind in outcome.kinds]
            if rounds:
                times = sorted(outcome.seconds for outcome in rounds)
                broken = sum(1 for outcome in rounds if outcome.problems)
                lines.append(f"{kind:<18}{len(rounds):>8}{broken:>8}{times[len(times) // 2]:>10.2f}")
        lines.append("")
        lines.append(
            f"seed {self.seed}: {len(self.outcomes)} rounds in {self.seconds:.0f} s, {len(self.failed)} broken; "
            + ", ".join(f"{number} {name}" for name, number in sorted(self.totals.items()))
        )
        for outcome in self.failed:
            lines.append(f"  round {outcome.number} ({', '.join(outcome.kinds)}), kept in {outcome.kept}:")
            lines += [f"    {problem.splitlines()[0][:300]}" for problem in outcome.problems[:8]]
        return lines

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "schema": "ecs/chaos/1",
            "seed": self.seed,
            "rounds": len(self.outcomes),
            "broken": len(self.failed),
            "seconds": round(self.seconds, 1),
            "machine": {"python": platform.python_version(), "system": platform.platform(terse=True)},
            "totals": dict(self.totals),
            "blows": dict(Counter(kind for outcome in self.outcomes for kind in outcome.kinds)),
            "failures": [attrs.asdict(outcome) for outcome in self.failed],
        }


def _progress(report: Report, rounds: int, seconds: float) -> None:
    number = len(report.outcomes)
    text = f"{number}/{rounds} rounds, {len(report.failed)} broken, {seconds / number:.2f} s a round"
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
    elif number % 10 == 0 or number == rounds:
        print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Play rounds as the command line says."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (default 1)")
    parser.add_argument("--rounds", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--first", type=int, default=0, help="number of the first round (default 0)")
    parser.add_argument("--only", type=int, action="append", metavar="N", help="this round; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="clusters at the same time (default 2)")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "chaos", help="folder for broken rounds")
    parser.add_argument("--no-modify", action="store_true", help="no exclusions, no idle pool")
    parser.add_argument("--show", action="store_true", help="print the schedule and do nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    numbers = options.only or list(range(options.first, options.first + options.rounds))
    if options.show:
        rounds = [make_round(options.seed, number, modify=not options.no_modify).document() for number in numbers]
        print(json.dumps(rounds, indent=1))
        return 0
    logging.basicConfig(level=logging.ERROR)  # that the core is away is no news here
    report = asyncio.run(
        run(options.seed, numbers, options.jobs, options.keep, modify=not options.no_modify, quiet=options.json)
    )
    if sys.stderr.isatty() and not options.json:
        print(file=sys.stderr)
    print(json.dumps(report.document(), indent=2) if options.json else "\n".join(report.table()))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
