"""`coconut context …`: which core is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coconut.conftest import Coconut

KEY = "x" * 40


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "my.key"
    path.write_text("secret")
    return str(path)


def test_contexts_are_added_listed_used_shown_removed(coconut: Coconut, key_file: str) -> None:
    first = coconut("context", "add", "p2", "tcp://head:47102", "--core-key", KEY, "--key", key_file, "--json").document
    coconut("context", "add", "lab", "tcp://127.0.0.1:47102")
    listed = coconut("context", "list", "--json").document["contexts"]
    used = coconut("context", "use", "lab")
    shown = coconut("context", "show", "--json").document
    removed = coconut("context", "remove", "lab")

    assert (first["current"], first["key_file"]) == (True, key_file)
    assert [(one["name"], one["current"]) for one in listed] == [("p2", True), ("lab", False)]
    assert used.out == "lab is asked from now on: tcp://127.0.0.1:47102\n"
    assert (shown["name"], shown["current"]) == ("lab", True)
    assert removed.status == 0
    assert coconut("context", "list", "-o", "name").out == "p2\n"


def test_variable_wins_over_the_file(coconut: Coconut, monkeypatch: pytest.MonkeyPatch) -> None:
    coconut("context", "add", "a", "tcp://a:1")
    coconut("context", "add", "b", "tcp://b:1")
    monkeypatch.setenv("ECS_CONTEXT", "b")

    assert coconut("context", "show", "--json").document["name"] == "b"
    assert coconut("context", "show", "a", "--json").document["current"] is False


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("use", "p3"), 3, "did you mean p2"),
        (("show", "p3"), 3, "did you mean p2"),
        (("remove", "p3"), 3, "did you mean p2"),
        (("add", "x", "head"), 2, "write tcp://head:47102"),
        (("add", "x", "head:5000"), 2, "write tcp://head:5000"),
        (("add", "x", "tcp://head:1", "--core-key", KEY), 2, "go together"),
        (("add", "x", "tcp://head:1", "--core-key", KEY, "--key", "/nowhere"), 3, "no such file"),
        (("add", "a b", "tcp://head:1"), 2, "no name for a context"),
    ],
)
def test_mistakes(coconut: Coconut, words: tuple[str, ...], status: int, text: str) -> None:
    coconut("context", "add", "p2", "tcp://head:47102")

    ran = coconut("context", *words)

    assert (ran.status, ran.out) == (status, "")
    assert text in ran.err


def test_without_contexts_the_list_says_how_to_get_one(coconut: Coconut) -> None:
    ran = coconut("context", "list")

    assert ran.out.split() == ["current", "context", "endpoint"]
    assert "coconut login TOKEN" in ran.err
    assert coconut("context", "show").status == 3


def test_no_core_is_exit_3_and_names_three_ways(coconut: Coconut) -> None:
    ran = coconut("environment", "list")

    assert ran.status == 3
    assert "coconut login TOKEN" in ran.err
    assert "ECS_CORE" in ran.err
    assert "--local" in ran.err
