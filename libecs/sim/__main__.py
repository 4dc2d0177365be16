"""Play histories from the command line: `python -m libecs.sim --seed N --verbose`.

Many of them, in several processes and with progress: `python -m libecs.io.campaign`.
"""

from __future__ import annotations

import argparse
import sys

from libecs.sim.engines import RealEngines
from libecs.sim.world import play


def main(arguments: list[str] | None = None) -> int:
    """Play the wanted histories; return 1 if a rule was broken in any."""
    parser = argparse.ArgumentParser(prog="python -m libecs.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the history to play, or the first one")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--verbose", action="store_true", help="print the whole history")
    parser.add_argument("--keepalives", action="store_true", help="with --verbose: keepalives and telemetry too")
    parser.add_argument("--lines", type=int, default=40, help="lines of the history that a report shows")
    options = parser.parse_args(arguments)
    failed = 0
    for seed in range(options.seed, options.seed + options.count):
        outcome = play(seed, RealEngines(), keepalives=options.keepalives)
        if options.verbose:
            print(outcome.history.text())
        if not outcome.ok:
            failed += 1
            print(outcome.report(0 if options.verbose else options.lines))
        print(
            f"seed {seed} ({outcome.scenario.kind}): {'ok' if outcome.ok else 'BROKEN'}, {outcome.operations} "
            f"operations, {outcome.runs} runs, {outcome.effects} effects, settled after {outcome.settled_s:.1f} s, "
            f"{outcome.steps} steps"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
