"""Run coconut inside the test: its stdout, stderr and exit status. Documents are checked against their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import jsonschema
import pytest
from fieldkit.cluster import Cluster, told_on_failure

from ecsd.coconut.main import main
from ecsd.coconut.schemas import SCHEMAS


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that is what its schema says."""
    if "schema" in document:
        jsonschema.validate(document, SCHEMAS[document["schema"]])
    else:
        assert set(document) == {"error"}
    return document


@attrs.frozen
class Ran:
    """How one command line ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        return checked(json.loads(self.out))

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON documents on stdout, one a line."""
        return [checked(json.loads(line)) for line in self.out.splitlines()]


Coconut = Callable[..., Ran]
"""Takes the words of a command line, without `coconut`."""


@pytest.fixture
def coconut(capsys: pytest.CaptureFixture[str]) -> Coconut:
    def run(*words: str) -> Ran:
        status = main(words)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def _no_core(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no context of whoever runs the tests count."""
    empty = tmp_path_factory.mktemp("config")
    for name in ("ECS_CONTEXT", "ECS_CORE", "ECS_CORE_KEY", "ECS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty))
    monkeypatch.setattr("libecs.io.contexts.core_state_folder", lambda: empty / "core")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A core and two nodes, for all tests of a module."""
    with Cluster(["n1", "n2"]) as cluster, told_on_failure(cluster):
        yield cluster


@pytest.fixture
def at_core(cluster: Cluster, coconut: Coconut, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coconut]:
    """Run coconut against the cluster; afterwards it has no environments, no locks and no idle tasks."""
    chosen: Mapping[str, str] = cluster.variables()
    for name, value in chosen.items():
        if name.startswith(("ECS_", "XDG_")):
            monkeypatch.setenv(name, value)
    yield coconut
    for row in json.loads(_quiet(coconut, "environment", "list", "--json"))["environments"]:
        _quiet(coconut, "environment", "destroy", row["environment"], "--force", "--json")
    _quiet(coconut, "lock", "release", "--json")
    _quiet(coconut, "task", "clean", "--json")


def _quiet(coconut: Coconut, *words: str) -> str:
    return coconut(*words).out
