"""Build the C code with the address and undefined-behaviour sanitizers, warnings as errors, and run its tests.

Tests of C code are of two kinds: programs `test_*.c`, and the tests of real tasks in tests/occ, which run here a second
time on a libocc, example tasks and a task of their own that the sanitizers watch.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
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

pytestmark = pytest.mark.timeout(1500)


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


@pytest.fixture(scope="module")
def sanitized_site(sanitized_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the installed packages whose compiled parts are the sanitized ones."""
    site = tmp_path_factory.mktemp("site")
    for package in ("occ", "ecsd"):
        shutil.copytree(str(resources.files(package)), site / package)
    shutil.copy(sanitized_build / "occ" / "libocc.so", site / "occ" / "lib")
    for program in (site / "ecsd" / "examples" / "bin").iterdir():
        shutil.copy(sanitized_build / "examples" / program.name, program)
    return site


def test_real_tasks_in_c_keep_their_promises_under_the_sanitizers(sanitized_site: Path, tmp_path: Path) -> None:
    assert b"__asan_init" in (sanitized_site / "occ" / "lib" / "libocc.so").read_bytes()
    # The tests compile a task with `cc`: theirs is one that adds the sanitizers.
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which("cc")} -fsanitize=address,undefined "$@"\n')
    compiler.chmod(0o755)
    reports = tmp_path / "reports"
    reports.mkdir()
    environment = os.environ | {
        "PATH": f"{compiler.parent}{os.pathsep}{os.environ['PATH']}",
        "ECS_TEST_SITE": str(sanitized_site),
        "ASAN_OPTIONS": f"log_path={reports / 'address'}",
        "UBSAN_OPTIONS": f"log_path={reports / 'undefined'}:halt_on_error=1:print_stacktrace=1",
    }

    # A Python that was not built with the sanitizers can't load the sanitized libocc.
    of_c_only = ["-k", "not python and not device and not traceback", "--ignore=tests/occ/test_task.py"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/occ",
        "tests/conformance",
        "-q",
        "-p",
        "no:cacheprovider",
        "--maxfail=3",
        *of_c_only,
    ]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)

    found = "\n".join(report.read_text(errors="replace") for report in sorted(reports.iterdir()))
    assert done.returncode == 0, done.stdout + done.stderr + found
    assert found == ""
