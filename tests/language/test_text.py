"""Texts with expressions inside: how they are filled, what is known of them beforehand, and their limits."""

from __future__ import annotations

import json

import pytest

from libecs.errors import ExpressionError
from libecs.language import yaml
from libecs.language.expression import compile_expression, compile_text
from libecs.language.functions import Function, TableScope
from libecs.language.marks import Mark, Source
from tests.language.scope import SCOPE, TABLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("}} plain {", "}} plain {"),
        ("{ {name} }", "{ {name} }"),
        ("{{name}}", "readout"),
        ("{{ name }}", "readout"),
        ("a-{{ name }}-b", "a-readout-b"),
        ("{{name}}{{name}}", "readoutreadout"),
        ("{{ yes == 'true' }}", "true"),
        ("{{ 1 > 2 }}!", "false!"),
        ("{{ 3 * 4 }}", "12"),
        ("{{ 3 / 2 }}", "1.5"),
        ("{{ 2 ** 20 }}", "1.048576e+06"),
        ("{{ json.Unmarshal(detectors) }}", '["TPC","ITS"]'),
        ("{{ json.Marshal(json.Sort(json.Unmarshal(detectors))) }}", '["ITS","TPC"]'),
        ("{{ {b: 1, a: [true, nil, 'é']} }}", '{"a":[true,null,"é"],"b":1}'),
        ("{{ [Parent(), 3.0, 1.5] }}", '[{"Name":"host-flp1","Path":"root.host-flp1"},3,1.5]'),
        ("{{ nothing ?? '' }}", ""),
        ("{{ '{{' }}", "{{"),
        ("{{ filter(1..2, {# > 1}) }}", "[2]"),
        ("{{\n  name\n}}", "readout"),
    ],
)
def test_text_is_filled(text: str, expected: str) -> None:
    assert compile_text(text, None).evaluate(SCOPE) == expected


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("a {{ name", 3, "{{ is not closed"),
        ("a {{ name }} {{", 14, "{{ is not closed"),
        ("{{ }}", 3, "empty"),
        ("ab{{ nane }}", 6, "unknown variable"),
        ("{{ nane }}", 4, "unknown variable"),
        ("{{ name }} {{ 1 + 'a' }}", 17, "`+` does not work"),
        ("{{ nothing }}", 4, "nil, which has no text"),
        ("x {{ Up(9) }}", 6, "nil, which has no text"),
        ("{{ Parent() }}", 4, "a role, which has no text"),
        # the first }} closes
        ("{{ {a: {b: 1}} }}", 13, "ends too early"),
    ],
)
def test_error_in_text_names_the_column(text: str, column: int, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_text(text, None).evaluate(SCOPE)

    assert part in caught.value.reason
    assert caught.value.column == column


def test_error_in_many_lines_names_line_and_column() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_text("first\n  {{ name +* 1 }}\nlast", None)

    assert (caught.value.line, caught.value.column) == (2, 12)
    assert caught.value.excerpt == "  {{ name +* 1 }}"


def test_error_points_into_the_file() -> None:
    source = 'name: x\ndefaults:\n  a: "\\"q\\" {{ yes == true }}"\n'
    root = yaml.parse(source, "workflows/x.yaml").expect_mapping("file")
    value = root.require("defaults", "file").expect_mapping("defaults").require("a", "defaults").expect_scalar("a")

    with pytest.raises(ExpressionError) as caught:
        compile_text(value.text, value.mark).evaluate(SCOPE)

    assert str(caught.value) == (
        "workflows/x.yaml:3:20: `==` does not work on a string and a bool\n"
        '      a: "\\"q\\" {{ yes == true }}"\n'
        "                       ^\n"
        "  next: variables are text: compare with 'true' or 'false' in quotes"
    )


def test_error_in_text_that_the_file_does_not_spell_shows_the_text() -> None:
    mark = Mark("w.yaml", 1, 7, Source("w.yaml", ("func: something else",)))

    with pytest.raises(ExpressionError) as caught:
        compile_expression("1 + nane", mark).evaluate(SCOPE)

    assert (caught.value.line, caught.value.column) == (1, 7)
    assert "in `1 + nane`" in caught.value.reason


def test_literal_text_is_known_as_such() -> None:
    literal, tagged = compile_text("/tmp/x", None), compile_text("/tmp/{{ name }}", None)

    assert literal.is_literal
    assert not tagged.is_literal
    assert literal.names == frozenset()
    assert literal.calls == frozenset()
    assert tagged.source == "/tmp/{{ name }}"


def test_names_and_calls_of_all_branches_are_told() -> None:
    text = compile_text("{{ a == 'x' ? strings.ToLower(b) : Up(2).Path + c[d].e }}-{{ f }}", None)

    assert text.names == {"a", "b", "c", "d", "f"}
    assert text.calls == {("strings", "ToLower"), ("Up",)}
    expression = compile_expression("a && inventory.DetectorForHost(b) == 'x'", None)
    assert expression.names == {"a", "b"}
    assert expression.calls == {("inventory", "DetectorForHost")}


def test_check_looks_into_branches_that_are_not_taken() -> None:
    text = compile_text("x{{ yes == 'true' ? name : nane }}", None)

    assert text.evaluate(SCOPE) == "xreadout"
    text.check({"yes", "name", "nane"})
    with pytest.raises(ExpressionError, match="unknown variable 'nane'") as caught:
        text.check({"yes", "name"})
    assert caught.value.column == 28
    assert "did you mean name?" in caught.value.hint


def test_check_knows_functions() -> None:
    text = compile_text("x {{ yes == 'true' ? name : strings.ToLwer(name) }}", None)
    expression = compile_expression("true ? 1 : nosuch()", None)

    text.check({"yes", "name"})
    with pytest.raises(ExpressionError, match="unknown function strings.ToLwer") as caught:
        text.check({"yes", "name"}, TABLE)
    assert caught.value.column == 29
    with pytest.raises(ExpressionError, match="unknown function nosuch"):
        expression.check((), TABLE)
    with pytest.raises(ExpressionError, match="unknown variable 'x'"):
        compile_expression("x", None).check(())
    compile_text("literal", None).check((), TABLE)
    compile_text("{{ ToLower(name) }}", None).check({"name"}, TABLE)


def test_equal_texts_are_compiled_once() -> None:
    first, second = compile_text("{{ a + 'b' }}", None), compile_text("{{ a + 'b' }}", Mark("f", 1, 1))

    assert first == second
    assert first._pieces is second._pieces


def test_a_variable_may_be_no_string() -> None:
    scope = TableScope({"n": 5, "xs": ["a"]}, TABLE)

    assert compile_text("{{ n }} {{ xs }}", None).evaluate(scope) == '5 ["a"]'
    assert compile_text("{{ n }}", None).evaluate(scope) == "5"


def test_very_long_text_is_refused() -> None:
    scope = TableScope({"s": "a" * 600_000}, TABLE)

    with pytest.raises(ExpressionError, match="the text has 1200000 characters"):
        compile_text("{{ s }}{{ s }}", None).evaluate(scope)
    with pytest.raises(ExpressionError, match="the string would have 1200000 characters"):
        compile_expression("s + s", None).evaluate(scope)


@pytest.mark.parametrize(
    "source",
    [
        "map(1..9999, s + 'a')",
        "map(1..9999, strings.ToLower(s))",
        "map(1..9999, s[1:])",
        "map(1..9999, s startsWith s)",
        "map(1..9999, s endsWith s)",
        "map(1..9999, s contains 'b')",
        "map(1..9999, s == t)",
        "map(1..9999, s <= t)",
        "t in map(1..9999, s)",
        "s matches '(a*)*b'",
        "json.Unmarshal(j) == json.Unmarshal(j)",
        "map(1..9999, json.Unmarshal(j))",
        "map([json.Unmarshal(j)], map(1..9999, json.Marshal(#)))",
        "map([json.Unmarshal(j)], map(1..9999, json.Sort(#)))",
        "{{ map(1..9999, s) }}",
        "{{ map([map([map([1..999], [#,#,#,#,#,#,#,#,#])], [#,#,#,#,#,#,#,#])], [#,#,#,#,#,#,#]) }}",
        "map(1..99, {a: 1..9999, b: 2} == {a: 1..9999, b: 3})",
    ],
)
def test_heavy_expression_runs_out_of_steps(source: str) -> None:
    scope = TableScope({"s": "a" * 500_000 + "b", "t": "a" * 500_000 + "c", "j": json.dumps(["x"] * 20_000)}, TABLE)
    text = compile_text(source if source.startswith("{{") else f"{{{{ {source} }}}}", None)

    with pytest.raises(ExpressionError, match="more than 100000 steps|more than 1048576|too large"):
        text.evaluate(scope)


def test_result_of_a_function_is_limited() -> None:
    scope = TableScope({}, TABLE.extended({"big": Function(lambda: "a" * ((1 << 20) + 1))}))

    with pytest.raises(ExpressionError, match="the result has 1048577 characters"):
        compile_expression("big()", None).evaluate(scope)
