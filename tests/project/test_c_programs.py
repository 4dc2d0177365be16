"""Build the C code with the address and undefined-behaviour sanitizers, warnings as errors, and run its tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitize"
OPTIONS = [
    "-Db_sanitize=address,undefined",
    "-Db_lundef=false",
    "-Dbuildtype=debugoptimized",
    "-Dwerror=true",
    "-Dpython=false",
    "-Dtest_programs=true",
]
SOURCES = sorted(path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.c"))

pytestmark = pytest.mark.timeout(600)


def meson(*arguments: str) -> None:
    """Run meson; fail the test with its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which("meson", path=path)
    assert program is not None, "meson is not installed beside this Python"
    done = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"meson {' '.join(arguments)}\n{done.stdout.decode(errors='replace')}", pytrace=False)


@pytest.fixture(scope="module")
def sanitized_build() -> Iterator[Path]:
    """Configure and compile; the folder is kept, so that the next run compiles only what changed."""
    BUILD.parent.mkdir(exist_ok=True)
    with (BUILD.parent / "sanitize.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configured = (BUILD / "build.ninja").exists()
        meson("setup", *(["--reconfigure"] if configured else []), *OPTIONS, str(BUILD))
        meson("compile", "-C", str(BUILD))
        yield BUILD


def test_all_c_code_compiles_without_a_warning(sanitized_build: Path) -> None:
    assert (sanitized_build / "compile_commands.json").exists()


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_c_program_passes_under_the_sanitizers(sanitized_build: Path, source: Path) -> None:
    name = "".join(letter if letter.isalnum() else "_" for letter in str(source.with_suffix("")))

    meson("test", "-C", str(sanitized_build), "--print-errorlogs", "--num-processes=1", name)
