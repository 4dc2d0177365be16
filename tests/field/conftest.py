"""Clusters of real daemons for tests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from fieldkit.cluster import READY_S, Cluster, told_on_failure
from fieldkit.network import Network

import libecs
from libecs.io.procfs import read_stat


class Ground:
    """One cluster for many tests, for as long as they leave it as they found it."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._lives = 0

    def take(self) -> Cluster:
        """Return a cluster in which nothing runs and nothing is on record, and whose nodes are there."""
        if self._cluster is None:
            self._cluster = Cluster(["n1", "n2"])
            self._cluster.start()
            self._lives = lives(self._cluster)
        for path in self._cluster.records.iterdir():
            path.unlink()
        return self._cluster

    def give_back(self) -> None:
        """Keep it if it is in order, else the next test gets another one."""
        cluster = self._cluster
        if cluster is None:
            return
        alive = all(daemon.alive and is_running(daemon.pid) for daemon in cluster.daemons)
        if not alive or cluster.tasks() or cluster.shims() or not self._is_back(cluster):
            self.close()

    def _is_back(self, cluster: Cluster) -> bool:
        """After a daemon was started anew, wait until all nodes are at the core: it places nothing on others."""
        if self._lives == lives(cluster):
            return True
        self._lives = lives(cluster)
        end = time.monotonic() + READY_S
        with contextlib.suppress(libecs.EcsError), cluster.connect() as ecs:
            while time.monotonic() < end:
                if {node.node for node in ecs.nodes() if node.reach == "UP"} >= set(cluster.nodes):
                    return True
        return False

    def close(self) -> None:
        """End it."""
        if self._cluster is not None:
            self._cluster.close()
        self._cluster = None


def lives(cluster: Cluster) -> int:
    """Return how often its daemons were started."""
    return sum(daemon.lives for daemon in cluster.daemons)


def is_running(pid: int) -> bool:
    """Whether a process is neither stopped nor dead."""
    found = read_stat(pid)
    return found is not None and found[0] not in "TZ"


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """Where clusters stand."""
    ground = Ground()
    yield ground
    ground.close()


@pytest.fixture
def cluster(ground: Ground) -> Iterator[Cluster]:
    """A core and two nodes on this machine, in which nothing runs."""
    cluster = ground.take()
    with told_on_failure(cluster):
        yield cluster
    ground.give_back()


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
