"""Clusters of real daemons for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster, told_on_failure
from fieldkit.network import Network


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A core and two nodes on this machine."""
    with Cluster(["n1", "n2"]) as cluster, told_on_failure(cluster):
        yield cluster


@pytest.fixture
def network() -> Iterator[Network]:
    """Three hosts for daemons and one for clients, each in its own name space."""
    if problem := Network.problem():
        pytest.skip(problem)
    with Network(["head", "n1", "n2", "client"]) as network:
        yield network


@pytest.fixture
def field(network: Network) -> Iterator[Cluster]:
    """A core and two nodes, each on a host of its own."""
    with Cluster(["n1", "n2"], network=network) as cluster, told_on_failure(cluster):
        yield cluster


@pytest.fixture(scope="session")
def spare_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what tests of the harness itself write."""
    return tmp_path_factory.mktemp("field")
