"""Template processing of payloads. The first values are those of the vectors in the behaviour description."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from libecs.config.payload import Local, process
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
    "o2/components/qc/ANY/any/statement": "{% jump %}",
    "o2/components/qc/ANY/any/unclosed": "x\n{{ var1",
    "o2/components/qc/ANY/any/bad": "x {{ unknown }}",
    "o2/components/qc/ANY/any/inner": "<{{ x }}>",
}


class _Names:
    """Expressions that are a name, a number or a text in quotes; local names hide others."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def value(self, expression: str, local: Local) -> object:
        name = expression.strip()
        if name.isdecimal() or name[:1] == "'":
            return int(name) if name.isdecimal() else name[1:-1]
        found: object = {**self.values, **local}
        for part in name.split("."):
            if not isinstance(found, dict) or part not in found:
                raise ExpressionError(f"unknown variable {name}")
            found = found[part]
        return found

    def text(self, expression: str, local: Local) -> str:
        return str(self.value(expression, local))

    def truth(self, expression: str, local: Local) -> bool:
        value = self.value(expression, local)
        if not isinstance(value, bool):
            raise ExpressionError("a condition must be a bool")
        return value


_VALUES = _Names(
    {
        "var1": "hello",
        "yes": True,
        "no": False,
        "list": ["a", "b"],
        "none": [],
        "map": {"k2": "v2", "k1": "v1"},
        "pairs": [["a", 1], ["b", 2]],
    }
)


def _process(entry: str) -> str:
    return process(f"o2/components/qc/ANY/any/{entry}", _PAYLOADS.get, _VALUES)


def _render(payload: str) -> str:
    key = "o2/components/qc/ANY/any/page"
    return process(key, {**_PAYLOADS, key: payload}.get, _VALUES)


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
        ("statement", 1, 1, "unknown statement 'jump'"),
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


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("{% if yes %}a{% endif %}b", "ab"),
        ("{% if no %}a{% endif %}b", "b"),
        ("{% if no %}a{% elif yes %}b{% else %}c{% endif %}", "b"),
        ("{% if no %}a{% elif no %}b{% else %}c{% endif %}", "c"),
        ("{% if yes %}{% if no %}a{% else %}b{% endif %}{% endif %}", "b"),
        ("{% if no %}{{ unknown }}{% endif %}", ""),
        ("{% for x in list %}{{ x }},{% endfor %}", "a,b,"),
        ("{% for x in none %}{{ x }}{% empty %}nothing{% endfor %}", "nothing"),
        ("{% for x in none %}{{ x }}{% else %}nothing{% endfor %}", "nothing"),
        ("{% for k in map %}{{ k }} {% endfor %}", "k1 k2 "),
        ("{% for k, v in map %}{{ k }}={{ v }} {% endfor %}", "k1=v1 k2=v2 "),
        ("{% for k , v in pairs %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.length }}{% endfor %}", "102212"),
        ("{% for x in list %}{{ x }}{% if loop.last %}.{% else %},{% endif %}{% endfor %}", "a,b."),
        ("{% for x in list %}{% for y in list %}{{ x }}{{ y }} {% endfor %}{% endfor %}", "aa ab ba bb "),
        ("{% for var1 in list %}{{ var1 }}{% endfor %}{{ var1 }}", "abhello"),
        ("{% for x in list %}{% include 'inner' %}{% endfor %}", "<a><b>"),
        ("{% set x = 5 %}{{ x }}{% include 'inner' %}", "5<5>"),
        ("{% set x = 'a' %}{% for y in list %}{% set x = y %}{% endfor %}{{ x }}", "a"),
        ("a  {%- if yes -%}  b  {%- endif -%}  c", "abc"),
        ("a {{- var1 -}} b", "ahellob"),
        ("a {{ var1 }} b", "a hello b"),
        ("{% raw %}{{ kept }}{% if %}{% endraw %}|{{ var1 }}", "{{ kept }}{% if %}|hello"),
        ("{# {{ a }} {% b %} #}", ""),
        ("", ""),
    ],
)
def test_statements(payload: str, text: str) -> None:
    assert _render(payload) == text


@pytest.mark.parametrize(
    ("payload", "line", "column", "reason"),
    [
        ("\n {% if yes %}", 2, 2, "`if` has no `endif`"),
        ("{% if yes %}{% else %}{% else %}{% endif %}", 1, 23, "unknown statement 'else'"),
        ("{% if yes %}{% elif %}{% endif %}", 1, 13, "unknown statement 'elif'"),
        ("{% if %}", 1, 1, "unknown statement 'if'"),
        ("{% if var1 %}{% endif %}", 1, 1, "a condition must be a bool"),
        ("{% for x in list %}", 1, 1, "`for` has no `endfor`"),
        ("{% for x in list %}{% empty %}", 1, 1, "`for` has no `endfor`"),
        ("{% for x of list %}{% endfor %}", 1, 1, "unknown statement 'for x of list'"),
        ("{% for x in var1 %}{% endfor %}", 1, 1, "`for` needs a list or a map: 'var1' is none"),
        ("{% for a, b in list %}{% endfor %}", 1, 1, "`for` with 2 names needs a map, or a list of lists of 2"),
        ("{% for a, b, c in list %}{% endfor %}", 1, 1, "`for` has 3 names, more than 2"),
        ("{% endif %}", 1, 1, "unknown statement 'endif'"),
        ("{% set x %}", 1, 1, "unknown statement 'set x'"),
        ("{% raw %}", 1, 1, "`raw` has no `endraw`"),
        ("x {% ", 1, 3, "{% is never closed"),
        ("x {# ", 1, 3, "{# is never closed"),
        ("{% if yes %}" * 40, 1, 385, "more than 32 statements inside each other"),
        ("{% set y = unknown %}", 1, 1, "unknown variable unknown"),
    ],
)
def test_wrong_statements(payload: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        _render(payload)

    assert caught.value.reason == reason
    assert (caught.value.file, caught.value.line, caught.value.column) == ("qc/ANY/any/page", line, column)


def test_depth_and_size_are_limited() -> None:
    chain = {f"o2/components/c/ANY/any/e{i}": f'{{% include "e{i + 1}" %}}' for i in range(30)}
    with pytest.raises(TemplateError, match="nested deeper than 16"):
        process("o2/components/c/ANY/any/e0", chain.get, _VALUES)

    wide = {f"o2/components/c/ANY/any/e{i}": f'{{% include "e{i + 1}" %}}' * 20 for i in range(2)}
    wide["o2/components/c/ANY/any/e2"] = "x" * 100_000
    with pytest.raises(TemplateError, match="grows beyond"):
        process("o2/components/c/ANY/any/e0", wide.get, _VALUES)


def test_steps_are_limited() -> None:
    loops = "{% for a in list %}" * 20 + "{% endfor %}" * 20
    with pytest.raises(TemplateError, match="more than 100000 pieces are gone through"):
        _render(loops)

    tree = {f"o2/components/c/ANY/any/e{i}": f'{{% include "e{i + 1}" %}}' * 10 for i in range(15)}
    tree["o2/components/c/ANY/any/e15"] = ""
    with pytest.raises(TemplateError, match="more than 100000 pieces are gone through"):
        process("o2/components/c/ANY/any/e0", tree.get, _VALUES)


def test_an_error_with_a_place_of_its_own_keeps_it() -> None:
    class Fails(_Names):
        def text(self, expression: str, local: Local) -> str:
            raise ExpressionError("elsewhere", file="other", line=7)

    with pytest.raises(ExpressionError) as caught:
        process("o2/components/qc/ANY/any/bad", _PAYLOADS.get, Fails({}))
    assert (caught.value.file, caught.value.line) == ("other", 7)
