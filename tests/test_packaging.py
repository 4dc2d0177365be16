"""What is installed is what is in the tree: nothing forgotten, nothing of the source folder imported by mistake."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("libecs", "occ", "ecsd", "readoutd")
NOT_INSTALLED = {".c", ".pyx", ".pyc", ".build", ".in", ".so"}
COMPILED = ("libocc/", "shim/")
"""Folders of which only what is made of them is installed."""


def installed(package: str) -> Path:
    return Path(str(importlib.resources.files(package)))


def sources(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in NOT_INSTALLED
        and not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_run_on_the_installed_package(package: str) -> None:
    assert not installed(package).is_relative_to(ROOT) or ".venv" in installed(package).parts


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_the_package_is_installed(package: str) -> None:
    present = set(sources(installed(package)))

    missing = [name for name in sources(ROOT / package) if name not in present and not name.startswith(COMPILED)]

    assert missing == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (installed(package) / "py.typed").is_file()


def test_every_example_is_installed_as_data_of_the_daemons() -> None:
    present = set(sources(installed("ecsd") / "examples"))

    assert [name for name in sources(ROOT / "examples") if name not in present] == []


def test_no_file_of_a_removed_source_stays_installed() -> None:
    for package in PACKAGES:
        known = {name for name in sources(ROOT / package) if name.endswith(".py")}
        if package == "ecsd":
            known |= {f"examples/{name}" for name in sources(ROOT / "examples")}
        assert [name for name in sources(installed(package)) if name.endswith(".py") and name not in known] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_by_itself(package: str) -> None:
    modules = [
        ".".join((package, *Path(name).with_suffix("").parts)).removesuffix(".__init__")
        for name in sources(ROOT / package)
        if name.endswith(".py") and not name.endswith("__main__.py")
    ]

    for module in modules:
        importlib.import_module(module)


def test_the_compiled_programs_are_installed_and_executable() -> None:
    programs = [installed("libecs") / "bin" / "ecs-shim"]
    programs += [
        installed("ecsd") / "examples" / "bin" / path.stem for path in (ROOT / "examples" / "tasks").glob("*.c")
    ]

    assert [str(program) for program in programs if not os.access(program, os.X_OK)] == []


def test_the_entry_points_load() -> None:
    distribution = importlib.metadata.distribution("libecs")

    for entry in distribution.entry_points:
        assert callable(entry.load()), entry.name


def test_a_c_program_is_built_by_pkg_config_from_the_wheel_alone(tmp_path: Path) -> None:
    compiler, pkg_config = shutil.which("cc") or shutil.which("gcc"), shutil.which("pkg-config")
    assert compiler is not None
    assert pkg_config is not None
    library = installed("occ") / "lib"
    environment = os.environ | {"PKG_CONFIG_PATH": str(library / "pkgconfig")}
    flags = subprocess.run(
        [pkg_config, "--cflags", "--libs", "occ"], env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    source = tmp_path / "task.c"
    source.write_text("#include <occ/occ.h>\nint main(void) { return 0; }\n")

    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", source, "-o", tmp_path / "task", *flags], check=True
    )
    subprocess.run([tmp_path / "task"], check=True)


def test_the_wheel_asks_for_no_python_older_than_the_code() -> None:
    metadata = importlib.metadata.metadata("libecs")

    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert sys.version_info >= (3, 11)
