"""Conditions of forms: the same answers as JavaScript, and errors at their place."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from libecs.errors import ExpressionError
from libecs.language.condition import MAX_SOURCE, Tree, evaluate, parse_condition, to_json
from libecs.language.marks import Mark, Source

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CORPUS = json.loads((VECTORS / "conditions.json").read_text(encoding="ascii"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_conditions", VECTORS / "make_conditions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_is_large_and_mixed() -> None:
    answers = [answer for _, answer, _ in CORPUS["conditions"]]

    assert len(answers) >= 300
    assert min(answers.count(True), answers.count(False)) > 100


@pytest.mark.parametrize(("source", "answer", "tree"), CORPUS["conditions"])
def test_a_condition_gives_what_javascript_gives(source: str, answer: bool, tree: object) -> None:
    parsed = parse_condition(source)

    assert json.loads(json.dumps(to_json(parsed))) == tree
    assert evaluate(parsed, CORPUS["variables"]) is answer


@pytest.mark.parametrize("source", CORPUS["refused"])
def test_what_is_no_condition_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(source)

    assert caught.value.column >= 1


@pytest.mark.skipif(shutil.which("node") is None, reason="node is the judge")
def test_random_conditions_give_what_node_gives(maker: ModuleType) -> None:
    chosen = random.Random(7)
    sources = [source for source in (maker.expression(chosen, 5) for _ in range(3000)) if len(source) < 2000]

    expected = maker.javascript(sources)

    assert [evaluate(parse_condition(source), maker.VALUES) for source in sources] == expected


def test_methods_of_a_variable_that_is_not_there_find_nothing() -> None:
    assert evaluate(parse_condition("$$x.includes('')"), {}) is False
    assert evaluate(parse_condition("$$x.indexOf('') === -1"), {}) is True


def test_the_tree_of_a_real_condition() -> None:
    tree = parse_condition('$$epn_enabled === "true" && !$$hosts.includes("a")')

    assert to_json(tree) == {
        "kind": "and",
        "of": [
            {
                "kind": "compare",
                "operator": "===",
                "of": [{"kind": "variable", "name": "epn_enabled"}, {"kind": "literal", "value": "true"}],
            },
            {
                "kind": "not",
                "of": [
                    {
                        "kind": "includes",
                        "of": [{"kind": "variable", "name": "hosts"}, {"kind": "literal", "value": "a"}],
                    }
                ],
            },
        ],
    }
    assert list(tree.variables()) == ["epn_enabled", "hosts"]
    assert [part.operator for part in tree.comparisons()] == ["==="]
    assert isinstance(tree, Tree)


@pytest.mark.parametrize(
    ("source", "column", "reason", "hint"),
    [
        ("", 1, "the condition is empty", "leave the key out"),
        ("$$a = 'x'", 5, "the character `=` has no meaning here", "compare by ==="),
        ("a === 'x'", 1, "`a` can't stand here", 'write $$name for a variable, and "a" for a text'),
        ("$$a and $$b", 5, "`and` can't stand here", "write &&"),
        ("$$a === null", 9, "`null` can't stand here", 'compare with ""'),
        ("$$a > 3", 5, "the character `>` has no meaning here", "compared by === and !== only"),
        ("$$a === 'x", 9, "the text that begins here has no closing '", ""),
        ("($$a", 1, "the bracket that begins here is not closed", "write `)`"),
        ("($$a $$b)", 6, "`$$b` can't stand here", "expected `&&`, `||` or `)`"),
        ("$$a)", 4, "`)` can't stand here", "expected `&&`, `||` or the end"),
        ("$$a ===", 8, "the condition ends too early", "expected a value"),
        ("$$a == $$b == $$c", 12, "three values are compared at once", "&&"),
        ("$$a.length", 4, "`.length` is not known here", ".includes(…) and .indexOf(…)"),
        ("$$a.includes", 4, "`.includes` asks a text", "write $$name.includes"),
        ("$$a.includes('x').indexOf('y')", 18, "a result has no methods", ""),
        ("(1).includes(1)", 4, "`.includes` asks a text", ""),
        ("007", 1, "`007` is no number", "15 digits and 6 decimals"),
        ("'\\x41'", 2, "unknown escape \\x", "backslash"),
        ("'\\ud83d'", 1, "the text holds half a character", ""),
        ("$$a\0", 4, "the character U+0000 has no meaning here", ""),
        ("!" * 33 + "$$a", 33, "the condition has more than 32 levels inside each other", ""),
        ("x" * (MAX_SOURCE + 1), 1, "the condition has 4097 characters, more than 4096", ""),
    ],
)
def test_errors_say_where_and_what_to_do(source: str, column: int, reason: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(source)

    assert (caught.value.column, caught.value.reason) == (column, reason)
    assert hint in caught.value.hint


def test_an_error_is_placed_in_the_file() -> None:
    line = "    visibleif: '$$a === ''x'' & $$b'"
    mark = Mark("w.yaml", 1, 16, Source("w.yaml", (line,)))

    with pytest.raises(ExpressionError) as caught:
        parse_condition("$$a === 'x' & $$b", mark)

    assert str(caught.value).startswith("w.yaml:1:31: the character `&` has no meaning here")
    assert caught.value.excerpt == line
