"""Key-value trees from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from libecs.errors import EcsError, InvalidInput, NotFound, TemplateError
from libecs.io.kv_file import read_kv_file


def test_mappings_are_folders_and_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "kv.yaml").write_text(
        'o2:\n  runtime/aliecs/vars: {a: 010, b: yes, c: }\n  components:\n    x: |\n      {"k": [1]}\n'
    )

    tree = read_kv_file(tmp_path / "kv.yaml")

    assert tree.texts("o2/runtime/aliecs/vars") == {"a": "010", "b": "yes", "c": ""}
    assert tree.get("o2/components/x") == '{"k": [1]}\n'
    assert tree.get("o2/other") is None


def test_an_empty_file_is_an_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "kv.yaml").touch()

    assert read_kv_file(tmp_path / "kv.yaml").list("") == ()


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("a: [1]", TemplateError, r"kv\.yaml:1:4: the value of 'a' is a list"),
        ("a: 1\na: 2", TemplateError, r"kv\.yaml:2"),
        ("- a", TemplateError, r"kv\.yaml:1"),
        ("a: 1\na/b: 2", InvalidInput, "value and is a folder"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(
    tmp_path: Path, text: str, error: type[EcsError], reason: str
) -> None:
    (tmp_path / "kv.yaml").write_text(text)

    with pytest.raises(error, match=reason):
        read_kv_file(tmp_path / "kv.yaml")


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no file .*kv\.yaml"):
        read_kv_file(tmp_path / "kv.yaml")
    with pytest.raises(EcsError, match="cannot be read: Is a directory"):
        read_kv_file(tmp_path)
