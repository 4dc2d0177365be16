"""`./dev` says in one sentence what it can't do, and builds again only when it must."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "dev", *arguments], check=False, capture_output=True, text=True)


@pytest.fixture
def dev() -> ModuleType:
    """Return the script as a module."""
    loader = importlib.machinery.SourceFileLoader("dev_script", str(ROOT / "dev"))
    specification = importlib.util.spec_from_loader("dev_script", loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return module


def test_help_names_every_verb(dev: ModuleType) -> None:
    shown = run_dev("help")

    assert shown.returncode == 0
    for verb in dev.VERBS:
        assert f"\n  {verb} " in shown.stdout


def test_an_unknown_verb_is_refused_with_the_known_ones() -> None:
    refused = run_dev("deploy")

    assert refused.returncode == 2
    verbs = "demo, test, bench, chaos, mutants, lint, shell and help"
    assert refused.stderr == f"dev: there is no verb 'deploy'; the verbs are {verbs}.\n"


def test_a_user_without_the_packages_is_told_the_command_in_one_sentence(dev: ModuleType) -> None:
    sentence = dev.why_not(["gcc", "libzmq3-dev"], is_root=False, has_apt=True)

    assert sentence == (
        "missing Debian packages: install with `sudo apt-get install gcc libzmq3-dev`, then run ./dev again."
    )


def test_another_system_is_told_what_is_missing(dev: ModuleType) -> None:
    assert "no apt-get" in dev.why_not(["gcc"], is_root=True, has_apt=False)


def test_root_on_debian_is_not_refused(dev: ModuleType) -> None:
    assert dev.why_not(["gcc"], is_root=True, has_apt=True) == ""


def test_missing_packages_that_can_not_be_installed_stop_the_preparation(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(dev.Stop, match="what the Debian packages left-handed-gcc bring"):
        dev.install_debian_packages({"left-handed-gcc": lambda: False})


def test_who_is_not_root_is_not_asked_for_the_packages_of_tests_for_root(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(dev, "DEBIAN_TESTS", {"left-handed-ip": lambda: False})

    dev.install_test_packages()


def test_a_failing_step_shows_its_output_and_stops(
    dev: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "STAMPS", tmp_path / "stamps")

    with pytest.raises(dev.Stop, match="the step failed with status 3"):
        dev.run_logged("the step", ["/bin/sh", "-c", "echo because; exit 3"], {})

    assert "because" in capfd.readouterr().err


def test_a_program_that_is_not_there_is_named(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "prepare", lambda extras: None)

    with pytest.raises(dev.Stop, match="no program 'cocoanut'"):
        dev.shell(["cocoanut"])


def test_the_digest_of_the_sources_sees_names_and_contents(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    (tmp_path / "libecs" / "__pycache__").mkdir(parents=True)
    source = tmp_path / "libecs" / "fsm.py"
    source.write_text("a = 1\n")
    before = dev.source_digest()
    (tmp_path / "libecs" / "__pycache__" / "fsm.pyc").write_text("cache")
    unchanged = dev.source_digest()
    source.write_text("a = 2\n")
    changed = dev.source_digest()
    source.rename(tmp_path / "libecs" / "machine.py")
    renamed = dev.source_digest()

    assert before == unchanged
    assert len({before, changed, renamed}) == 3


def test_requirements_are_those_of_the_project_file(dev: ModuleType) -> None:
    runtime, everything = dev.requirements([]), dev.requirements(["test", "dev"])

    assert any(requirement.startswith("meson-python") for requirement in runtime)
    assert any(requirement.startswith("attrs") for requirement in runtime)
    assert set(runtime) < set(everything)
    assert not any(requirement.startswith("libecs") for requirement in everything)
