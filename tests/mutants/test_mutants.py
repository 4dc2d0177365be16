"""Mutants do not rot: each patch fits the tree, and the simulator finds each. `./dev mutants` tries unit tests, too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "await-dropped-at-error",
    "command-run-twice",
    "detector-free-in-error",
    "epoch-less-for-less-or-equal",
    "late-reply-taken-as-state",
    "lost-shown-as-healthy",
    "non-critical-merged",
    "operation-id-lost-at-restart",
    "orphan-killed-at-reconcile",
    "resume-at-index-plus-1",
    "run-number-taken-before-persist",
    "send-before-persist",
    "stop-skipped-at-go-error",
)
SEEDS = 2000
"""Histories among which a mutant must be, when the one that found it once does not any more."""


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ecs_mutants", ROOT / "tools" / "mutants" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = load_tool()
MUTANTS = {mutant.name: mutant for mutant in tool.load()}


def test_all_mutants_are_there() -> None:
    assert tuple(sorted(MUTANTS)) == NAMES


@pytest.mark.parametrize("name", MUTANTS)
def test_a_patch_fits_the_tree(name: str) -> None:
    assert tool.fits(MUTANTS[name]) == ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds_a_mutant(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    tree = tool.grow(mutant, tmp_path, copied=("libecs",))

    found = tool.hunt(tree, mutant.seed, 1) or tool.hunt(tree, 0, SEEDS)

    assert found is not None, f"{name} is not found in {SEEDS} histories"
    assert set(found.rules) & set(mutant.rules)


@pytest.mark.timeout(120)
def test_without_a_mutant_nothing_is_found() -> None:
    assert tool.hunt(ROOT, 0, 5) is None


def test_a_head_that_lacks_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.patch").write_text("Mutant: nothing\nSeed: 1\n\n--- a/x\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"bad.patch: the head lacks Rules, Why"):
        tool.load(tmp_path)


def test_a_line_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.patch").write_text("Mutants: nothing\n\n--- a/x\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"is no line of the head"):
        tool.load(tmp_path)


def test_a_patch_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    patch = (
        "Mutant: m\nWhy: w\nRules: calls\nSeed: 1\n\n--- a/libecs/ids.py\n+++ b/libecs/ids.py\n@@ -1 +1 @@\n-no\n+yes\n"
    )
    (tmp_path / "rotten.patch").write_text(patch, encoding="utf-8")
    (mutant,) = tool.load(tmp_path)

    assert "ids.py" in tool.fits(mutant)
    with pytest.raises(RuntimeError, match="does not fit the tree"):
        tool.grow(mutant, tmp_path / "tree", copied=("libecs",))


def test_a_name_that_is_no_mutant_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["no-such"]) == 2

    assert "send-before-persist" in capsys.readouterr().err
