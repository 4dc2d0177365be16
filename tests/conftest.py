"""What all tests share: where the real inputs are, and how hypothesis behaves."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run, and no verdict that depends on the machine's speed.
hypothesis.settings.register_profile(
    "ecs", derandomize=True, deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ecs")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that started us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or tasks that we start inherit it


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def real() -> Path:
    """Return the folder of the real inputs: production templates and raw data that no one of this project wrote.

    They lie beside the project and are not part of it. A test that needs them fails when they are missing.
    """
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.fail("the real inputs are missing: they are expected in ../shared/real from the root of the project")
    return folder
