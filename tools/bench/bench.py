"""Run every bench of this folder, set its figures beside those of the bare code, the peers and the aims.

    python tools/bench [--json] [NAME...]

Each bench is a program that prints one JSON object of figures. It is run by itself, one after the other. The exit
status is 0 even when aims are missed: a figure is not a test. It is 1 when a bench could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Numbers: TypeAlias = dict[str, float]

HERE = Path(__file__).resolve().parent
NOT_BENCHES = ("bench.py", "__main__.py")
TIMEOUT_S = 600


class Aim:
    """What a figure is compared with. `most`: the figure should be at most this; `least`: at least."""

    def __init__(
        self,
        text: str,
        *,
        most: float | None = None,
        least: float | None = None,
        bare: str = "",
        times_bare: float | None = None,
        peer: str = "",
    ) -> None:
        self.text = text
        self.most, self.least = most, least
        self.bare = bare
        """Name of the figure of the bare code."""
        self.times_bare = times_bare
        """Figure over bare: at most this (at least, if `least` is None and it is a rate)."""
        self.peer = peer


AIMS: Mapping[str, Aim] = {
    "configure_60_ms": Aim("≤ 15 ms", most=15, bare="bare_configure_60_ms", peer="2000 to 2700 ms"),
    "start_60_ms": Aim("≤ 15 ms", most=15, bare="bare_start_60_ms", peer="2000 to 2700 ms"),
    "stop_60_ms": Aim("≤ 15 ms", most=15, bare="bare_stop_60_ms", peer="2000 to 2700 ms"),
    "coconut_help_s": Aim("≤ 6 × python -c pass", bare="python_pass_s", times_bare=6),
    "expansion_200_hosts_s": Aim("≤ 1 s", most=1, bare="expansion_bare_parse_s"),
    "expansion_200_hosts_with_qc_s": Aim("≤ 1 s", most=1, bare="expansion_bare_parse_s"),
    "simulated_1000_configure_ms": Aim("≤ 60 ms", most=60, bare="bare_1000_ms"),
    "simulated_1000_start_ms": Aim("≤ 60 ms", most=60, bare="bare_1000_ms"),
    "simulated_1000_stop_ms": Aim("≤ 60 ms", most=60, bare="bare_1000_ms"),
    "large_100000_start_us": Aim("≤ 50 µs a task", most=50, bare="large_100000_bare_us"),
    "large_100000_configure_us": Aim("≤ 100 µs a task", most=100, bare="large_100000_bare_us"),
    "large_start_s": Aim("≤ 5 s", most=5),
    "large_configure_s": Aim("≤ 10 s", most=10),
    "large_start_ratio": Aim("≤ 1.5 × 10 000's", most=1.5),
    "large_configure_ratio": Aim("≤ 1.5 × 10 000's", most=1.5),
    "core_kib_per_task": Aim("≤ 12 KiB", most=12),
    "expansion_1000_hosts_s": Aim("≤ 5 s", most=5, bare="expansion_bare_parse_s"),
    "metrics_delay_ratio": Aim("≤ 1.1 × without", most=1.1),
    "death_to_error_p99_ms": Aim("≤ 500 ms (F7)", most=500, peer="500 ms"),
    "hang_to_stalled_p99_ms": Aim("≤ 3000 ms (F11)", most=3000, peer="90 to 120 s"),
    "node_suspect_p99_ms": Aim("≤ 2000 ms (F18)", most=2000),
    "node_lost_p99_ms": Aim("≤ 3000 ms (F18)", most=3000, peer="75 s"),
    "node_healed_p99_ms": Aim("≤ 3000 ms (F18)", most=3000),
    "core_back_20_p99_ms": Aim("≤ 5000 ms (F1)", most=5000, peer="never: tasks killed"),
    "core_back_500_p99_ms": Aim("≤ 10000 ms (F1)", most=10_000, peer="never: tasks killed"),
    "executor_back_p99_ms": Aim("≤ 3000 ms (F5)", most=3000, peer="never: tasks killed"),
    "other_hung_ms": Aim("≤ 1.1 × alone (F11)", bare="other_alone_ms", times_bare=1.1),
    "other_slow_configure_ms": Aim("≤ 1.1 × alone", bare="other_alone_ms", times_bare=1.1),
    "other_expansion_ms": Aim("≤ 1.1 × alone", bare="other_alone_ms", times_bare=1.1),
    "get_state_us": Aim("≤ 1.5 × an echo that blocks", bare="echo_blocking_us", times_bare=1.5),
    "get_state_like_us": Aim("≤ 1.5 × an echo built alike", bare="echo_asyncio_us", times_bare=1.5),
    "daemons_configure_60_ms": Aim("≤ 30 ms", most=30, bare="daemons_bare_configure_60_ms"),
    "daemons_start_60_ms": Aim("≤ 30 ms", most=30, bare="daemons_bare_start_60_ms"),
    "daemons_stop_60_ms": Aim("≤ 30 ms", most=30, bare="daemons_bare_stop_60_ms"),
    "daemons_reset_60_ms": Aim("≤ 30 ms", most=30, bare="daemons_bare_reset_60_ms"),
    "fleet_20_idle_core_percent": Aim("≤ 1 %", most=1),
    "fleet_1000_idle_core_percent": Aim("≤ 25 %", most=25),
    "launch_per_s": Aim("≥ 0.5 × posix_spawn", bare="spawn_per_s", times_bare=-0.5),
}
"""Figure to aim (design, section 12). A negative `times_bare` is a lower bound."""


def programs(names: Iterable[str]) -> list[Path]:
    """Return the benches, all or those that are named."""
    wanted = set(names)
    found = [path for path in sorted(HERE.glob("*.py")) if path.name not in NOT_BENCHES]
    unknown = wanted - {path.stem for path in found}
    if unknown:
        raise SystemExit(f"there is no bench {min(unknown)!r} (there are {', '.join(p.stem for p in found)})")
    return [path for path in found if not wanted or path.stem in wanted]


def run(program: Path) -> tuple[Numbers, str]:
    """Run one bench; return its figures, and why there are none."""
    try:
        done = subprocess.run(
            [sys.executable, str(program)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            # benches share code with each other and with the field kit; safe paths leave it out
            env=os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent / 'chaos'}"},
        )
    except subprocess.TimeoutExpired:
        return {}, f"did not end within {TIMEOUT_S} s"
    if done.returncode != 0:
        return {}, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    try:
        figures: Numbers = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}, "printed no figures"
    return figures, ""


def judge(name: str, value: float, figures: Mapping[str, float]) -> dict[str, Any]:
    """Set one figure beside what it is compared with."""
    row: dict[str, Any] = {"value": value}
    aim = AIMS.get(name)
    if aim is None:
        return row
    bare = figures.get(aim.bare)
    ratio = value / bare if bare else None
    row |= {"aim": aim.text, "bare": bare, "ratio": round(ratio, 2) if ratio is not None else None}
    if aim.peer:
        row["peer"] = aim.peer
    verdicts = []
    if aim.most is not None:
        verdicts.append(value <= aim.most)
    if aim.least is not None:
        verdicts.append(value >= aim.least)
    if aim.times_bare is not None and ratio is not None:
        verdicts.append(ratio <= aim.times_bare if aim.times_bare > 0 else ratio >= -aim.times_bare)
    row["met"] = all(verdicts) if verdicts else None
    return row


def table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the results as lines."""
    heads = ("figure", "ours", "bare", "ratio", "peer", "aim", "")
    rows: list[tuple[str, ...]] = [heads]
    for bench, result in results.items():
        if result["error"]:
            rows.append((bench, "failed:", str(result["error"])[:60], "", "", "", ""))
        for name, row in result["figures"].items():
            met = {True: "met", False: "MISSED", None: ""}[row.get("met")]
            cells = (_text(row["value"]), _text(row.get("bare")), _text(row.get("ratio"), " ×"))
            rows.append((name, *cells, row.get("peer", ""), row.get("aim", ""), met))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _text(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:g}{unit}"


def main() -> int:
    """Run the benches and print what they found."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="the figures, beside bare code, peers and aims")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benches to run; all if none is given")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for program in programs(options.names):
        print(f"{program.stem} …", file=sys.stderr, flush=True)
        figures, error = run(program)
        rows = {name: judge(name, value, figures) for name, value in figures.items()}
        results[program.stem] = {"error": error, "figures": rows}
    missed = [name for one in results.values() for name, row in one["figures"].items() if row.get("met") is False]
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(terse=True)}
        document = {"schema": "ecs/bench/1", "machine": machine, "benches": results, "missed": missed}
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(table(results)))
        print(f"\nmissed: {', '.join(missed)}" if missed else "\nno aim is missed")
    return 1 if any(one["error"] for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
