"""The pure functions of expressions; values of the AliECS tests (spec 14.1) first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import ExpressionError, UsageError
from libecs.language.expression import Value, compile_expression
from libecs.language.functions import ALIASES, Function, FunctionTable, TableScope, is_falsy, is_truthy, pure_functions

VARIABLES: dict[str, Value] = {
    "prefix_var": "prefixed_value",
    "var": "plain_value",
    "fallback_var": "fallback_value",
    "prefixed_none_fallback_var": "none",
    "none_fallback_var": "fallback_value",
    "blank_only": " ",
    "none_only": "none",
    "number": 5,
    "long": "[" + " " * 140_000 + "]",
}


def table() -> FunctionTable:
    return pure_functions(lambda: "2oDvieFrVTi")


def value_of(source: str) -> Value:
    return compile_expression(source, None).evaluate(TableScope(VARIABLES, table()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("strings.Atoi('123')", 123),
        ("strings.Atoi('abc')", 0),
        ("strings.Atoi('-7')", -7),
        ("strings.Atoi('+7')", 7),
        ("strings.Atoi('007')", 7),
        ("strings.Atoi('')", 0),
        ("strings.Atoi(' 7')", 0),
        ("strings.Atoi('1_000')", 0),
        ("strings.Atoi('9223372036854775807')", 2**63 - 1),
        ("strings.Atoi('9223372036854775808')", 0),
        ("strings.Itoa(-456)", "-456"),
        ("strings.Itoa(0)", "0"),
        ("strings.TrimQuotes('\"a\"')", "a"),
        ("strings.TrimQuotes('\"a')", "a"),
        ("strings.TrimQuotes('a\"')", "a"),
        ("strings.TrimQuotes('a\"b')", 'a"b'),
        ("strings.TrimQuotes(\"'a'\")", "'a'"),
        (r"strings.TrimSpace(' a b\t\n')", "a b"),
        ("strings.ToUpper('tpc-1')", "TPC-1"),
        ("strings.ToLower('TPC')", "tpc"),
        ('json.Unmarshal(\'["b","a"]\')', ["b", "a"]),
        ("json.Deserialize('{\"a\": 1.5}')", {"a": 1.5}),
        ("json.Unmarshal('[')", None),
        ("json.Unmarshal('')", None),
        ("json.Marshal(['b', 1, nil])", '["b",1,null]'),
        ("json.Serialize({b: 1, a: 2})", '{"a":2,"b":1}'),
        ("json.Marshal('a<b&c')", '"a<b&c"'),
        ("json.Sort(['b', 'B', 'a', '10', '9'])", ["10", "9", "B", "a", "b"]),
        ("json.Sort([2, 1])", [2, 1]),
        ("json.Sort('ba')", "ba"),
        ("uid.New()", "2oDvieFrVTi"),
        ("util.Nullable(nil)", ""),
        ("util.Nullable('x')", "x"),
        ("util.PrefixedOverride('var', 'prefix')", "prefixed_value"),
        ("util.PrefixedOverride('fallback_var', 'prefix')", "fallback_value"),
        ("util.PrefixedOverride('fallback_var', 'prefixed_none')", "fallback_value"),
        ("util.PrefixedOverride('absent', 'prefix')", ""),
        ("util.PrefixedOverride('only', 'blank')", ""),
        ("util.PrefixedOverride('only', 'none')", ""),
        ("util.PrefixedOverride('none_only', 'x')", ""),
        ("util.SuffixInRange('test5', 'test', '1', '10')", "true"),
        ("util.SuffixInRange('test15', 'test', '1', '10')", "false"),
        ("util.SuffixInRange('other5', 'test', '1', '10')", "false"),
        ("util.SuffixInRange('test', 'test', '1', '10')", "false"),
        ("util.SuffixInRange('test001', 'test', '1', '10')", "true"),
        ("util.SuffixInRange('test10', 'test', '001', '010')", "true"),
        ("util.SuffixInRange('test1a', 'test', '1', '10')", "false"),
        ("util.SuffixInRange('test-1', 'test', '-5', '-1')", "true"),
        ("util.SuffixInRange('alio2-cr1-flp145', 'alio2-cr1-flp', '073', '144')", "false"),
        ("len('')", 0),
        ("len([1, 2])", 2),
        ("len({a: 1})", 1),
    ],
)
def test_function_gives_its_value(source: str, expected: Value) -> None:
    value = value_of(source)

    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "y", "1", "on", "ok", " Ok\n"])
def test_truthy_texts(text: str) -> None:
    assert is_truthy(text)
    assert not is_falsy(text)


@pytest.mark.parametrize("text", ["", "FALSE", "false", "no", "n", "0", "off", "none", " "])
def test_falsy_texts(text: str) -> None:
    assert is_falsy(text)
    assert not is_truthy(text)


@pytest.mark.parametrize("text", ["truthy", "2", "maybe"])
def test_other_texts_are_neither(text: str) -> None:
    assert not is_truthy(text)
    assert not is_falsy(text)


@pytest.mark.parametrize(
    ("source", "reason", "hint"),
    [
        ("strings.Atoi(1)", "strings.Atoi: argument 1 must be a string, not an int", "strings.Itoa(n)"),
        ("strings.Itoa('1')", "strings.Itoa: argument 1 must be an int, not a string", "strings.Atoi(x)"),
        ("strings.Itoa(true)", "must be an int, not a bool", ""),
        ("strings.ToLower(nil)", "must be a string, not nil", "util.Nullable(x)"),
        ("strings.ToLower(['a'])", "must be a string, not a list", "json.Marshal(x)"),
        ("strings.IsFalsy()", "strings.IsFalsy takes 1 argument, not 0", ""),
        ("uid.New(1)", "uid.New takes 0 arguments, not 1", ""),
        ("util.SuffixInRange('a1', 'a', '1')", "takes 4 arguments, not 3", ""),
        ("util.SuffixInRange('a1', 'a', 'x', '2')", "the bound 'x' is no integer", ""),
        ("util.SuffixInRange('a1', 'a', '1', '')", "the bound '' is no integer", ""),
        ("util.PrefixedOverride('number', 'x')", "the variable 'number' is an int, not a string", ""),
        ("json.Unmarshal(long)", "the JSON text has 140002 characters, more than 131072", ""),
        ("util.Dump('text', '/tmp/x')", "util.Dump is off", "remove it"),
        ("Dump('text', '/tmp/x')", "util.Dump is off", ""),
        ("len(nil)", "nil has no length", "strings, lists and maps"),
        ("lenn('a')", "unknown function lenn()", "did you mean len?"),
        ("strings.tolower('a')", "unknown function strings.tolower()", "did you mean strings.ToLower"),
    ],
)
def test_wrong_use_is_told(source: str, reason: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(source)

    assert reason in caught.value.reason
    assert hint in caught.value.hint
    assert caught.value.column == 1


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_alias_of_old_templates_means_the_new_name(alias: str) -> None:
    answer = Function(lambda: "here")
    functions = FunctionTable({ALIASES[alias]: answer})

    value = compile_expression(f"{alias}()", None).evaluate(TableScope({}, functions))

    assert value == "here"
    assert (alias,) in functions
    assert set(functions) == {(alias,), tuple(ALIASES[alias].split("."))}
    assert len(functions) == 2


def test_alias_without_its_function_is_unknown() -> None:
    with pytest.raises(ExpressionError, match=r"unknown function DetectorForHost\(\)"):
        value_of("DetectorForHost('x')")
    assert ("DetectorForHost",) not in table()


def test_every_id_is_new() -> None:
    count = itertools.count()
    scope = TableScope({}, pure_functions(lambda: f"id-{next(count)}"))
    expression = compile_expression("uid.New() + uid.New()", None)

    assert expression.evaluate(scope) == "id-0id-1"
    assert expression.evaluate(scope) == "id-2id-3"


def test_tables_are_put_together_but_names_are_not_taken_twice() -> None:
    more = table().extended({"dcs.StartOfRun": Function(lambda: "ok")})

    assert ("dcs", "StartOfRun") in more
    assert ("dcs", "StartOfRun") not in table()
    assert "dcs.StartOfRun" not in more
    with pytest.raises(UsageError, match=r"function len is defined twice"):
        more.extended({"len": Function(lambda: 0)})


def test_function_that_reads_variables_gets_the_scope() -> None:
    def join(scope: TableScope, name: str) -> Value:
        return f"{name}={scope.lookup(name)}"

    functions = FunctionTable({"show": Function(join, ("string",), scoped=True)})

    assert compile_expression("show('a')", None).evaluate(TableScope({"a": "1"}, functions)) == "a=1"


@given(st.text(max_size=20), st.text(max_size=5))
def test_suffix_in_range_never_fails_on_any_text(text: str, prefix: str) -> None:
    scope = TableScope({"t": text, "p": prefix}, table())

    assert compile_expression("util.SuffixInRange(t, p, '0', '9')", None).evaluate(scope) in ("true", "false")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_suffix_in_range_includes_both_ends(number: int, low: int, high: int) -> None:
    scope = TableScope({"t": f"flp{number}", "low": str(low), "high": str(high)}, table())

    value = compile_expression("util.SuffixInRange(t, 'flp', low, high)", None).evaluate(scope)

    assert value == ("true" if low <= number <= high else "false")


@given(st.lists(st.text(max_size=5)))
def test_sort_orders_by_code_points(items: list[str]) -> None:
    scope = TableScope({"xs": list(items)}, table())

    assert compile_expression("json.Sort(xs)", None).evaluate(scope) == sorted(items)
