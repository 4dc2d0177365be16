"""Template processing of payloads. The first values are those of the vectors in the behaviour description."""

from __future__ import annotations

import pytest

from libecs.config.payload import process
from libecs.errors import ExpressionError, NotFound, TemplateError

_PAYLOADS = {
    "o2/components/qc/ANY/any/entry10": '{{ var1 }} {% include "entry11" %}',
    "o2/components/qc/ANY/any/entry11": "world",
    "o2/components/qc/ANY/any/entry12": 'hello {% include "sub/entry12" %}',
    "o2/components/qc/ANY/any/sub/entry12": "world",
    "o2/components/qc/ANY/any/sub/deep": '{% include "entry12" %}',
    "o2/components/qc/ANY/any/up": '{% include "sub/deep2" %}',
    "o2/components/qc/ANY/any/sub/deep2": '{% include "entry11" %}',
    "o2/components/qc/ANY/any/absolute": "{%- include '/qc/ANY/any/entry11' -%}|{% include \"qc/ANY/any/entry11\" %}",
    "o2/components/qc/ANY/any/comment": "a{# {{ nothing }} #}b",
    "o2/components/qc/ANY/any/self": '\n  {% include "self" %}',
    "o2/components/qc/ANY/any/nowhere": 'a: 1\nb: {% include "absent" %}',
    "o2/components/qc/ANY/any/statement": "{% if x %}",
    "o2/components/qc/ANY/any/unclosed": "x\n{{ var1",
    "o2/components/qc/ANY/any/bad": "x {{ unknown }}",
}


def _evaluate(expression: str) -> str:
    values = {"var1": "hello"}
    if expression.strip() not in values:
        raise ExpressionError(f"unknown variable {expression.strip()}")
    return values[expression.strip()]


def _process(entry: str) -> str:
    return process(f"o2/components/qc/ANY/any/{entry}", _PAYLOADS.get, _evaluate)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("entry10", "hello world"),
        ("entry12", "hello world"),
        ("sub/entry12", "world"),
        ("sub/deep", "world"),
        ("up", "world"),
        ("absolute", "world|world"),
        ("comment", "ab"),
    ],
)
def test_payloads_are_processed(entry: str, text: str) -> None:
    assert _process(entry) == text


@pytest.mark.parametrize(
    ("entry", "line", "column", "reason"),
    [
        ("self", 2, 3, "includes go round in a circle: qc/ANY/any/self -> qc/ANY/any/self"),
        ("nowhere", 2, 4, "includes 'absent', but there is no qc/ANY/any/absent"),
        ("statement", 1, 1, "unknown statement 'if x'"),
        ("unclosed", 2, 1, "{{ is never closed"),
        ("bad", 1, 3, "unknown variable unknown"),
    ],
)
def test_errors_name_the_place(entry: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        _process(entry)

    assert (caught.value.file, caught.value.line, caught.value.column) == (f"qc/ANY/any/{entry}", line, column)
    assert caught.value.reason == reason


def test_an_absent_payload_raises() -> None:
    with pytest.raises(NotFound, match="no payload at configuration path qc/ANY/any/absent"):
        _process("absent")


def test_depth_and_size_are_limited() -> None:
    chain = {f"o2/components/c/ANY/any/e{i}": f'{{% include "e{i + 1}" %}}' for i in range(30)}
    with pytest.raises(TemplateError, match="nested deeper than 16"):
        process("o2/components/c/ANY/any/e0", chain.get, _evaluate)

    wide = {f"o2/components/c/ANY/any/e{i}": f'{{% include "e{i + 1}" %}}' * 20 for i in range(5)}
    wide["o2/components/c/ANY/any/e5"] = "x" * 10
    with pytest.raises(TemplateError, match="grows beyond"):
        process("o2/components/c/ANY/any/e0", wide.get, _evaluate)
