"""A place of its own for each test, and what is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.place import Left, Place, Waiting, nothing_left, wait_until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.clean()


@pytest.fixture
def waiting() -> Waiting:
    return wait_until


@pytest.fixture(scope="session")
def examples() -> Path:
    """The installed examples. System tests are about what is installed; without it they fail."""
    import ecsd

    folder = Path(ecsd.__file__).resolve().parent / "examples"
    if not (folder / "bin" / "source").exists():
        pytest.fail("the package is not installed: run the tests by ./dev test")
    return folder


@pytest.fixture
def left(place: Place) -> Left:
    return lambda: nothing_left(place)
