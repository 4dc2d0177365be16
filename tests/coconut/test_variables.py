"""Variables on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsd.coconut.variables import parse_variables
from libecs.errors import NotFound, TemplateError, UsageError


@pytest.mark.parametrize(
    ("texts", "variables"),
    [
        ([], {}),
        ([""], {}),
        (["k=v"], {"k": "v"}),
        (["k="], {"k": ""}),
        (["k=v,k2=v2"], {"k": "v", "k2": "v2"}),
        (["k=v", "k=w"], {"k": "w"}),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        (['hosts=["a","b"]'], {"hosts": '["a","b"]'}),
        (['a=1,hosts=["a","b"]'], {"a": "1", "hosts": '["a","b"]'}),
        (['o={"x": 1, "y": 2}'], {"o": '{"x": 1, "y": 2}'}),
        (["k='a,b',l=c"], {"k": "a,b", "l": "c"}),
        (['"k=v"'], {"k": "v"}),
        (["k='it"], {"k": "'it"}),
        (['{"a": "x", "b": 3, "c": true, "d": ["p", "q"]}'], {"a": "x", "b": "3", "c": "true", "d": '["p", "q"]'}),
    ],
)
def test_assignments(texts: list[str], variables: dict[str, str]) -> None:
    assert parse_variables(texts) == variables


@pytest.mark.parametrize("text", ["k", "=v", "a=1,b", "a=1,=2", '{"a": }'])
def test_what_is_no_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="invalid") as caught:
        parse_variables([text])

    assert "-e name=value" in caught.value.hint


def test_file_keeps_texts_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text("on: off\nn: 010\nhosts: [a, b]\nmap: {x: 1}\n")

    assert parse_variables([f"@{path}"]) == {"on": "off", "n": "010", "hosts": '["a","b"]', "map": '{"x":"1"}'}


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot read"):
        parse_variables([f"@{tmp_path}/none.yaml"])


def test_broken_file_is_a_template_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text("a: 1\na: 2\n")

    with pytest.raises(TemplateError) as caught:
        parse_variables([f"@{path}"])
    assert caught.value.line == 2
