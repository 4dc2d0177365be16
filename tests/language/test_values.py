"""Values as text and as JSON."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import ExpressionError
from libecs.language.expression import Value, compile_expression, compile_text, to_text
from libecs.language.functions import TableScope
from libecs.language.values import float_text, from_json, type_name
from tests.language.scope import ROOT, SCOPE, TABLE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-2.25, "-2.25"),
        (100000.0, "100000"),
        (123456.75, "123456.75"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.25e-7, "1.25e-07"),
        (0.1 + 0.2, "0.30000000000000004"),
    ],
)
def test_floats_are_written_as_go_does(value: float, expected: str) -> None:
    assert float_text(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_text_reads_back(value: float) -> None:
    assert float(float_text(value)) == value


_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)


_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@given(_values)
def test_json_reads_back(value: Value) -> None:
    scope = TableScope({"v": value}, TABLE)

    assert compile_expression("json.Unmarshal(json.Marshal(v))", None).evaluate(scope) == value
    if isinstance(value, (list, dict)):
        assert json.loads(to_text(value)) == value


@given(st.text())
def test_any_string_survives_quoting(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("}", "\\x7d")

    assert compile_text(f"a{{{{ '{quoted}' }}}}", None).evaluate(SCOPE) == f"a{text}"


@given(st.integers(-(2**63), 2**63 - 1))
def test_integer_text_reads_back(number: int) -> None:
    scope = TableScope({"n": number}, TABLE)

    assert compile_expression("strings.Atoi(strings.Itoa(n)) == n", None).evaluate(scope) is True


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1", "not JSON"),
        ("NaN", "NaN is no JSON value"),
        ("[9223372036854775808]", "64 bits"),
        ("[1e999]", "too large for a float"),
        ("[" * 65 + "]" * 65, "more than 64 levels"),
        ("[" * 100_000, "more than 64 levels"),
        (f'"{"a" * (1 << 17)}"', "more than 131072"),
    ],
)
def test_bad_json_is_refused(text: str, part: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(part)):
        from_json(text)


def test_deep_value_is_not_written_as_json() -> None:
    value: Value = []
    for _ in range(65):
        value = [value]

    with pytest.raises(ExpressionError, match="more than 64 levels"):
        to_text(value)


def test_texts_of_plain_values() -> None:
    values: list[Value] = ["x", True, False, -5, [], {}]

    assert [to_text(value) for value in values] == ["x", "true", "false", "-5", "[]", "{}"]


def test_types_have_names() -> None:
    values: list[Value] = ["", True, 1, 1.5, None, [], {}, ROOT]

    assert [type_name(value) for value in values] == ["string", "bool", "int", "float", "nil", "list", "map", "role"]
