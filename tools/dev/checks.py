#!/usr/bin/env python3
"""The checks of `./dev lint`, which are also tests: style, types, floors, generated files, spelling.

    checks.py [--list] [NAME...]

Each check is one command; it prints what is wrong and where. The exit status is the number of checks that failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> str:
    """Return the path of a program of the environment that runs this file."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def c_sources() -> list[str]:
    """Return the C files that people write (not the generated header)."""
    folders = ("libecs/shim", "occ", "readoutd", "examples", "tests")
    files = [path for folder in folders for suffix in ("c", "h") for path in (ROOT / folder).rglob(f"*.{suffix}")]
    return sorted(str(path.relative_to(ROOT)) for path in files if "generated" not in path.name)


def python_check(module: str, *arguments: str) -> Callable[[], list[str]]:
    """Return a function that makes the command of a Python module."""
    return lambda: [sys.executable, "-m", module, *arguments]


CHECKS: Mapping[str, Callable[[], Sequence[str]]] = {
    "style": lambda: [program("ruff"), "check", "--quiet", "--output-format=concise", "."],
    "format": lambda: [program("ruff"), "format", "--check", "--quiet", "--output-format=concise", "."],
    "types": lambda: [program("mypy"), "--no-error-summary"],
    "types-of-dev": lambda: [program("mypy"), "--no-error-summary", "--scripts-are-modules", "dev"],
    "floors": lambda: [program("lint-imports"), "--no-cache", "--no-logo"],
    "c-format": lambda: [program("clang-format"), "--dry-run", "--Werror", *c_sources()],
    "spelling": lambda: [program("codespell"), "."],
    "generated-header": lambda: [sys.executable, "tools/generate_header.py", "--check"],
    "generated-protocol": lambda: [sys.executable, "tools/generate_protocol.py", "--check"],
    "generated-roles": lambda: [sys.executable, "tools/generate_roles.py", "--check"],
    "generated-settings": lambda: [sys.executable, "tools/generate_settings.py", "--check"],
    "generated-cli": lambda: [sys.executable, "tools/generate_cli.py", "--check"],
}


def run_check(name: str) -> tuple[bool, str]:
    """Run one check from the root of the project; return whether it passed, and what it printed."""
    done = subprocess.run(
        CHECKS[name](),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode == 0, done.stdout.decode(errors="replace").strip()


def main() -> int:
    """Run the chosen checks and print what they found; return how many failed."""
    parser = argparse.ArgumentParser(description="check style, types, floors and generated files")
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHECKS)}; all if none is given")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CHECKS))
        return 0
    unknown = [name for name in options.names if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]!r} (there are {', '.join(CHECKS)})")
    failed = 0
    for name in options.names or CHECKS:
        passed, output = run_check(name)
        failed += not passed
        print(f"{'ok    ' if passed else 'FAILED'} {name}", flush=True)
        if not passed:
            print("\n".join(f"    {line}" for line in output.splitlines()), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
