"""Engines that are broken on purpose: unit tests let each of them pass, the simulator finds each.

A mutant is a file tests/mutants/NAME.patch: some lines `Key: text`, an empty line, and a patch of the tree. For each
mutant this program copies the tree, applies the patch, runs the tests of the pure floors, which must pass, and plays
2 000 seeded histories, one of which must break a rule that fits. It ends with 1 if a mutant is not as that says.

    python tools/mutants/mutants.py [NAME…] [--seeds N] [--jobs N] [--no-unit]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "mutants"
PURE = ("base", "wire", "config", "language", "workflow", "engine")
"""Folders of `tests` that try the pure floors."""
COPIED = ("libecs", "tests", "docs", "examples", "tools", "pyproject.toml", "README.md", "occ")
"""What pure tests need of the tree."""
SEEDS = 2000

_BREAKS = re.compile(r"^seed (\d+) \([\w-]+\) breaks (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One patch and what its head says."""

    path: Path
    title: str
    """The fault, as a person would name it."""
    why: str
    """Where it hides."""
    rules: tuple[str, ...]
    """Rules of the simulator one of which it breaks."""
    seed: int
    """A history that finds it, as of when it was written."""

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem


@dataclass(frozen=True)
class Found:
    """The first history that broke a rule."""

    seed: int
    rules: tuple[str, ...]


def load(folder: Path = PATCHES) -> list[Mutant]:
    """Return all mutants, by name.

    Raises:
        ValueError: a head lacks a line or has one that is not known.
    """
    return [_read(path) for path in sorted(folder.glob("*.patch"))]


def _read(path: Path) -> Mutant:
    head: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines():
        key, colon, value = line.partition(":")
        if not colon or key not in ("Mutant", "Why", "Rules", "Seed"):
            raise ValueError(f"{path.name}: {line!r} is no line of the head of a mutant")
        head[key] = value.strip()
    missing = {"Mutant", "Why", "Rules", "Seed"} - set(head)
    if missing:
        raise ValueError(f"{path.name}: the head lacks {', '.join(sorted(missing))}")
    rules = tuple(rule.strip() for rule in head["Rules"].split(","))
    return Mutant(path, head["Mutant"], head["Why"], rules, int(head["Seed"]))


def fits(mutant: Mutant, root: Path = ROOT) -> str:
    """Return why the patch does not fit the tree, or ""."""
    command = ["git", "apply", "--check", str(mutant.path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return ended.stderr.strip() if ended.returncode else ""


def grow(mutant: Mutant, folder: Path, copied: Sequence[str] = COPIED) -> Path:
    """Copy the tree into a folder with the mutant's patch, return the copy's root.

    Raises:
        RuntimeError: the patch does not fit.
    """
    tree = folder / "main"
    tree.mkdir(parents=True)
    for name in copied:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        elif source.exists():
            shutil.copy(source, tree / name)
    if (ROOT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(ROOT.parent / "shared")
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve())}
    command = ["git", "apply", str(mutant.path)]
    ended = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{mutant.name} does not fit the tree: {ended.stderr.strip()}")
    return tree


def passes(tree: Path, folders: Sequence[str] = PURE) -> str:
    """Run the pure tests of a copy; return which of them fail, or ""."""
    wanted = [f"tests/{folder}" for folder in folders]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *wanted]
    ended = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        return ""
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else (ended.stdout + ended.stderr)[-500:]


def hunt(tree: Path, first: int, count: int, jobs: int = 1) -> Found | None:
    """Play histories with the engines of a copy until a rule is broken."""
    program = ["-m", "libecs.io.campaign", "--stop", "--seed", str(first), "--count", str(count), "--jobs", str(jobs)]
    command = [sys.executable, "-P", *program]
    ended = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False)
    found = _BREAKS.search(ended.stderr)
    if found is None:
        if ended.returncode:
            raise RuntimeError(f"the simulator has failed: {ended.stderr[-1000:]}")
        return None
    return Found(int(found[1]), tuple(found[2].split(", ")))


def _environment(tree: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def judge(mutant: Mutant, *, seeds: int, jobs: int, unit: bool) -> tuple[bool, str, str]:
    """Return whether a mutant is as it should be, what unit tests say and what the simulator says."""
    if problem := fits(mutant):
        return False, problem, "-"
    with tempfile.TemporaryDirectory(prefix="ecs-mutant-") as folder:
        tree = grow(mutant, Path(folder))
        failed = passes(tree) if unit else ""
        found = hunt(tree, mutant.seed, 1) or hunt(tree, 0, seeds, jobs)
    told = "pass" if unit and not failed else failed or "not run"
    if found is None:
        return False, told, f"not found in {seeds} seeds"
    good = bool(set(found.rules) & set(mutant.rules))
    return good and not failed, told, f"seed {found.seed}: {', '.join(found.rules)}"


def rows(mutants: Sequence[Mutant], *, seeds: int, jobs: int, unit: bool) -> Iterator[bool]:
    """Print the table, row by row; yield whether each mutant is as it should be."""
    print(f"{'mutant':<34} {'unit tests':<12} {'time':>6}  simulator")
    for mutant in mutants:
        began = time.monotonic()
        good, told, found = judge(mutant, seeds=seeds, jobs=jobs, unit=unit)
        mark = "" if good else "   <- NOT AS IT SHOULD BE"
        print(f"{mutant.title:<34} {told:<12} {time.monotonic() - began:>5.0f}s  {found}{mark}", flush=True)
        yield good


def main(arguments: Sequence[str]) -> int:
    """Try the mutants that are named, or all."""
    parser = argparse.ArgumentParser(prog="./dev mutants", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants, by file name without .patch; default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="histories in which each must be found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--no-unit", action="store_true", help="do not run the unit tests")
    options = parser.parse_args(arguments)
    mutants = load()
    unknown = set(options.names) - {mutant.name for mutant in mutants}
    if unknown:
        print(f"there is no mutant {', '.join(sorted(unknown))}; there are:", file=sys.stderr)
        print("\n".join(f"  {mutant.name}" for mutant in mutants), file=sys.stderr)
        return 2
    chosen = [mutant for mutant in mutants if not options.names or mutant.name in options.names]
    good = list(rows(chosen, seeds=options.seeds, jobs=options.jobs, unit=not options.no_unit))
    print(f"{sum(good)} of {len(good)} mutants pass the unit tests and are found by the simulator")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
