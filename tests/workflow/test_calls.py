"""Calls: the text after `func:`."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError, InvalidInput
from libecs.language.expression import Value
from libecs.language.functions import TableScope, pure_functions
from libecs.workflow.calls import Call, check_call, parse_call

SCOPE = TableScope({"name": "x", "list": '["a"]'}, pure_functions(lambda: "id"))


@pytest.mark.parametrize(
    ("func", "arguments"),
    [
        ("odc.Start()", ()),
        (" odc.Start ( ) ", ()),
        ("odc.Start('a', 1, true, nil)", ("a", 1, True, None)),
        ("odc.Start(name + '!', json.Unmarshal(list))", ("x!", ["a"])),
        ("odc.Start(')(', \"]\")", (")(", "]")),
        ("odc.Start(strings.ToUpper('a'))", ("A",)),
        ("odc.Start('\\')', `\\`)", ("')", "\\")),
    ],
)
def test_calls_are_read_and_their_arguments_evaluated(func: str, arguments: tuple[Value, ...]) -> None:
    assert parse_call(func, SCOPE) == Call(integration="odc", method="Start", arguments=arguments)


@pytest.mark.parametrize(
    "func",
    [
        "",
        "odc",
        "odc.Start",
        "Start()",
        "a.b.c()",
        "odc.Start() + 'x'",
        "odc.Start() == odc.Stop()",
        "true ? odc.Start() : odc.Stop()",
        "odc.Start().Name",
        "(odc.Start())",
        "odc.Start(",
        "'odc.Start()'",
    ],
)
def test_what_is_no_call_is_refused(func: str) -> None:
    with pytest.raises(InvalidInput, match="`func` is"):
        check_call(func)


def test_an_argument_that_fails_is_an_error_of_the_expression() -> None:
    with pytest.raises(ExpressionError, match="unknown variable 'nobody'"):
        parse_call("odc.Start(nobody)", SCOPE)
