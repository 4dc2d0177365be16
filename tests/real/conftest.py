"""Repositories and the independent counter for the tests of the real templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .counter import Counter, Role
from .oracle import ENVIRONMENT_ID, INTEGRATIONS, ROOT, build_repo, kv_of_few_hosts

Count = Callable[..., list[Role]]


@pytest.fixture(scope="session")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Year to a copy of its templates that may be changed."""
    return {year: build_repo(year, tmp_path_factory.mktemp(f"repo-{year}")) for year in (2026, 2022)}


@pytest.fixture(scope="session")
def count(repos: dict[int, Path]) -> Count:
    """Count the roles of readout-dataflow; `template` is a changed one."""

    def counted(
        year: int,
        variables: Mapping[str, str],
        kv: Mapping[str, Any] | None = None,
        template: dict[str, Any] | None = None,
    ) -> list[Role]:
        replaced = {ROOT: template} if template else None
        tree = kv or kv_of_few_hosts()
        return Counter(repos[year], variables, tree, INTEGRATIONS, replaced, ENVIRONMENT_ID).roles(ROOT)

    return counted
