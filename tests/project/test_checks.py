"""Each check of `./dev lint` is a test, so that one command says whether a tree can be submitted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "tools" / "dev" / "checks.py"


def names_of_checks() -> list[str]:
    return subprocess.run([sys.executable, CHECKS, "--list"], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", names_of_checks())
def test_the_tree_passes_the_check(name: str) -> None:
    done = subprocess.run([sys.executable, CHECKS, name], check=False, capture_output=True, text=True)

    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_an_unknown_check_is_refused_by_name() -> None:
    done = subprocess.run([sys.executable, CHECKS, "taste"], check=False, capture_output=True, text=True)

    assert done.returncode == 2
    assert "there is no check 'taste' (there are style, " in done.stderr
