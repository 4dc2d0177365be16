"""What daemons import as they start: nothing that the first second has no use for. No clock is read here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecsd.core import later
from libecs.io.blocking import BlockingCalls
from tests.daemons.cores import connect, make_core

pytestmark = pytest.mark.timeout(150)

TEMPLATES = {"lark", "libecs.language.compiler", "libecs.language.template", "libecs.workflow.expand", "yaml"}
NOT_FOR_A_CORE = {"pygit2", "libecs.io.consult.consultant", "ecsd.prometheus", *TEMPLATES}
NOT_FOR_AN_EXECUTOR = {
    "libecs.engine.core",
    "libecs.engine.placement",
    "libecs.io.lobby",
    "libecs.wire.client",
    "libecs.workflow.role",
    *NOT_FOR_A_CORE,
}


def imported(importing: str) -> set[str]:
    code = f"import sys, {importing}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def told(log: str) -> list[str]:
    """Return the modules of lines of `-X importtime`."""
    return [line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")]


async def test_a_core_is_ready_without_git_and_without_the_language_of_templates(tmp_path: Path) -> None:
    repository = tmp_path / "lab"
    (repository / ".git").mkdir(parents=True)  # which makes it a work tree: git itself is asked for commits alone
    (repository / "workflows").mkdir()
    core = make_core(tmp_path, "--repository", str(repository), environment={"PYTHONPROFILEIMPORTTIME": "1"})
    core.start()
    try:
        core.wait_ready()
        before, _, _ = core.log.read_text().partition("ready: ")
        async with connect(core) as ecs:
            found = await ecs.consult("template.list")
            info = await ecs.info()
    finally:
        core.close()

    modules = told(before)
    assert "ecsd.core.daemon" in modules
    assert NOT_FOR_A_CORE & set(modules) == set()
    assert found["templates"] == []
    assert not info.problems


def test_an_executor_knows_neither_clients_nor_templates() -> None:
    modules = imported("ecsd.executor.main")

    assert "libecs.engine.executor" in modules
    assert NOT_FOR_AN_EXECUTOR & modules == set()


def test_a_daemon_that_only_tells_its_settings_imports_no_daemon() -> None:
    assert {"zmq", "libecs.wire.client", "asyncio.unix_events"}.isdisjoint(imported("libecs.errors, ecsd.core.options"))


def test_a_script_that_only_connects_needs_no_engine_of_templates() -> None:
    assert {"pygit2", "sqlite3", *TEMPLATES}.isdisjoint(imported("libecs.client.connection"))


async def test_what_is_missing_or_broken_of_an_installation_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(later, "BEGIN_S", 0.0)
    (tmp_path / "broken_package_of_ours.py").write_text("raise OSError('no such device')\n")
    monkeypatch.syspath_prepend(tmp_path)
    blocking = BlockingCalls()
    problems: list[str] = []

    await later.load(blocking, problems, ["no_such_package_of_ours", "broken_package_of_ours", "libecs.io.git"])
    await blocking.close()

    missing, broken = problems
    assert "no_such_package_of_ours" in missing
    assert "no such device" in broken


async def test_all_that_a_core_loads_later_is_there() -> None:
    blocking = BlockingCalls()
    problems: list[str] = []

    await later.load(blocking, problems)
    await blocking.close()

    assert problems == []
    assert set(later.MODULES) <= set(sys.modules)
