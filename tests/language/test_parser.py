"""The parser on anything: words in any order, arithmetic, and every tag of the real templates."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import ExpressionError, TemplateError
from libecs.language import yaml
from libecs.language.expression import Text, Value, compile_text
from libecs.language.functions import Function, FunctionTable, TableScope
from libecs.language.marks import Mark
from tests.language.scope import HOST, SCOPE, TABLE, value_of

# --- the parser, on anything


_WORDS = [
    *("name yes nothing it true false nil 1 2.5 0x1F 'a' \"b\" `c` # #index .x").split(),
    *("+ - * / % ** ^ == != < > <= >= && || and or not ! ? : ?? ?. . .. , | ( ) [ ] { } in contains").split(),
    *("startsWith endsWith matches len( map( all( filter( Up( strings.ToLower( json.Unmarshal(").split(),
]


@given(st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join))
def test_words_in_any_order_give_a_value_or_an_expression_error(source: str) -> None:
    try:
        value_of(source)
    except ExpressionError as error:
        assert 1 <= error.column <= len(source) + 1
        assert error.reason


@given(st.text(max_size=60))
def test_any_text_gives_text_or_a_template_error(text: str) -> None:
    for source in (text, f"a {{{{{text}}}}}", f"{{{{ {text}"):
        try:
            compile_text(source, None).evaluate(SCOPE)
        except TemplateError as error:
            assert error.column >= 1


_ARITHMETIC = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join)
        | inner.map(lambda text: f"-({text})")
    ),
    max_leaves=12,
)


@given(_ARITHMETIC)
def test_arithmetic_agrees_with_python(source: str) -> None:
    assert value_of(source) == _python_value(source)


def _python_value(source: str) -> int:
    """Evaluate by Python's own parser, with a walk over the four kinds of node that occur."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand)
        assert isinstance(node, ast.BinOp)
        left, right = walk(node.left), walk(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        return left - right if isinstance(node.op, ast.Sub) else left * right

    return walk(ast.parse(source, mode="eval").body)


# --- the real templates


def _real_texts(real: Path) -> Iterator[Text]:
    for file in sorted(real.glob("control-workflows*/**/*.yaml")):
        todo = [yaml.parse(file.read_bytes(), file.name)]
        while todo:
            node = todo.pop()
            if isinstance(node, yaml.Mapping):
                todo.extend(value for _, value in node)
            elif isinstance(node, yaml.Sequence):
                todo.extend(node)
            else:
                scalar = node.expect_scalar("scalar")
                yield compile_text(scalar.text, scalar.mark)
    for file in sorted(real.glob("control-workflows*/jit/*")):
        yield compile_text(file.read_text(), Mark(file.name, 1, 1))


def test_every_tag_of_the_real_templates_compiles(real: Path) -> None:
    written = 0
    for file in sorted(real.glob("control-workflows*/**/*")):
        if file.is_file():
            lines = file.read_text().splitlines()
            written += sum(line.count("{{") for line in lines if not line.lstrip().startswith("#"))

    texts = [text for text in _real_texts(real) if not text.is_literal]
    compiled = sum(text.source.count("{{") for text in texts)

    assert compiled == written > 900
    assert {name for text in texts for name in text.names} >= {"it", "dpl_workflow", "detectors", "qc_remote_workflow"}


def test_every_tag_of_the_real_templates_evaluates(real: Path) -> None:
    stubs = {
        f"{name}": Function(lambda *args: "stub", None)
        for name in (
            "config.Resolve",
            "config.ResolvePath",
            "inventory.DetectorsForHosts",
            "inventory.CRUCardsForHost",
            "inventory.EndpointsForCRUCard",
            "runtime.Get",
            "dpl.Generate",
            "dpl.GenerateFromUri",
            "dpl.GenerateFromUriOrFallbackToTemplate",
            "odc.GenerateEPNWorkflowScript",
            "odc.GenerateEPNTopologyFullname",
        )
    }
    table = TABLE.extended(stubs | {"This": Function(lambda: HOST)})
    count = 0

    for text in _real_texts(real):
        for setting in ("true", "false", "none", ""):
            variables: dict[str, Value] = dict.fromkeys(text.names, setting)
            variables |= {"detectors": '["TPC","ITS"]', "it": "flp1", "ctp_readout_host": "flp1"}
            text.check(variables, table)
            assert isinstance(text.evaluate(TableScope(variables, table)), str)
        count += 1

    assert count > 3000


def test_errors_in_the_real_templates_point_at_the_tag(real: Path) -> None:
    nothing = TableScope({}, FunctionTable({}))
    pointed = 0

    for text in _real_texts(real):
        if not text.names or text.source.endswith("\n"):
            continue
        with pytest.raises(ExpressionError) as caught:
            text.check(())
        error = caught.value
        name = error.reason.split("'")[1]
        assert error.excerpt[error.column - 1 :].startswith(name)
        with pytest.raises(ExpressionError):
            text.evaluate(nothing)
        pointed += 1

    assert pointed > 400
