"""Verbs with --local: a control system in this process, whose environments live on between commands."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldkit import recorder
from fieldkit.repository import write_repository

from tests.coconut.conftest import Coconut, Ran

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def local(coconut: Coconut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coconut]:
    """Run coconut with a state folder of its own; at the end nothing of it is left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(recorder.RECORD_DIR, str(tmp_path))
    repository = write_repository(tmp_path / "repository", recorder.build())
    where = ("--local", "--state", str(tmp_path / "lab"))

    def run(*words: str) -> Ran:
        more = ("--repo", str(repository)) if words[:2] == ("environment", "create") else ()
        return coconut(*words, *where, *more)

    yield run
    for row in json.loads(run("environment", "list", "--json").out)["environments"]:
        run("environment", "destroy", row["environment"], "--force", "-q")
    run("task", "clean")
    digest = hashlib.sha256(os.fsencode(tmp_path / "lab")).hexdigest()[:12]
    shutil.rmtree(f"/tmp/ecs-{os.geteuid()}-{digest}", ignore_errors=True)  # sockets lie where paths are short


def test_an_environment_lives_on_between_commands(local: Coconut, coconut: Coconut, tmp_path: Path) -> None:
    created = local("environment", "create", "field", "--name", "f", "-e", "each=1", "-q", "--json").document
    before = local("environment", "show", "f", "--json").document
    started = local("environment", "control", "f", "START", "-q", "--json").document
    out = local("environment", "modify", "f", "--exclude", "n2", "-q", "--json").document
    stopped = local("environment", "control", "f", "STOP", "-q", "--json").document
    after = local("environment", "show", "f", "--json").document
    runs = coconut("run", "list", "--state", str(tmp_path / "lab"), "--json").document["runs"]
    destroyed = local("environment", "destroy", "f", "-q", "--json").document

    assert (created["state"], started["state"], out["state"]) == ("CONFIGURED", "RUNNING", "RUNNING")
    assert (stopped["state"], destroyed["state"]) == ("CONFIGURED", "DONE")
    assert before["tasks"][0]["pid"] == after["tasks"][0]["pid"] != 0
    assert after["excluded"] == ["field.n2"]
    assert [(run["number"], run["condition"]) for run in runs] == [(started["run_number"], "DEGRADED")]
    idle = local("task", "list", "--json").document["tasks"]
    assert [(task["role"], task["environment"]) for task in idle] == [("field.n2.r1", "")]
    assert local("task", "clean", "--json").document["tasks"][0]["task"] == idle[0]["task"]


def test_nodes_and_repository_are_remembered(local: Coconut, tmp_path: Path) -> None:
    local("environment", "create", "field", "--name", "f", "-e", "each=1", "-q")

    nodes = local("node", "list", "--json").document["nodes"]
    templates = local("role", "query", "f", "n1", "--json").document

    assert [node["node"] for node in nodes] == ["n1", "n2"]
    assert [role["path"] for role in templates["roles"]] == ["field.n1"]
    known = json.loads((tmp_path / "lab" / "coconut.json").read_text())
    assert known["repo"] == str(tmp_path / "repository")


def test_damaged_memory_is_said(local: Coconut, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "coconut.json").write_text("{")

    ran = local("environment", "list")

    assert ran.status == 9
    assert "remove it" in ran.err
    (tmp_path / "lab" / "coconut.json").unlink()


def test_dry_run_launches_nothing_and_makes_no_folder(local: Coconut, tmp_path: Path) -> None:
    ran = local("environment", "create", "field", "--dry-run", "--json")

    assert ran.document["ok"]
    assert not (tmp_path / "lab").exists()


def test_follow_after_no_wait(local: Coconut) -> None:
    begun = local("environment", "create", "single", "-q", "--no-wait", "--json").document

    ended = local("operation", "follow", begun["operation"], "-q", "--json")

    assert ended.document["state"] == "CONFIGURED", ended
