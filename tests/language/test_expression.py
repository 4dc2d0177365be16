"""Expressions: what they give, what they refuse, and where errors point."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import EcsError, ExpressionError, Missing, NotFound, TemplateError
from libecs.language import yaml
from libecs.language.expression import (
    RoleRef,
    Text,
    Value,
    compile_expression,
    compile_text,
    to_text,
)
from libecs.language.functions import Function, FunctionTable, TableScope, pure_functions
from libecs.language.marks import Mark, Source
from libecs.language.values import float_text, from_json, type_name

ROOT = RoleRef(name="root", path="root")
HOST = RoleRef(name="host-flp1", path="root.host-flp1")


def up(height: int) -> Value:
    return {1: HOST, 2: ROOT}.get(height)


def detector(host: str) -> str:
    if host != "flp1":
        raise NotFound(f"no detector for host {host}", hint="add it to the inventory")
    return "TPC"


def missing(path: str) -> Value:
    raise Missing(["qc/ANY/any/x"])


def nested(path: str) -> Value:
    raise ExpressionError("bad payload", file="qc/ANY/any/x", line=3, column=7)


TABLE: FunctionTable = pure_functions(lambda: "2oDvieFrVTi").extended(
    {
        "Parent": Function(lambda: HOST),
        "Up": Function(up, ("int",)),
        "inventory.DetectorForHost": Function(detector, ("string",)),
        "config.Get": Function(missing, None),
        "config.GetLegacy": Function(nested, None),
        "dcs.StartOfRun": Function(lambda: "done"),
    }
)
VARIABLES: dict[str, Value] = {
    "yes": "true",
    "no": "false",
    "empty": "",
    "name": "readout",
    "five": "5",
    "detectors": '["TPC","ITS"]',
    "it": "alio2-cr1-flp145",
    "dpl_workflow": "none",
    "tpc_dpl_workflow": "tpc-full",
    "role": HOST,
    "nothing": None,
}
SCOPE = TableScope(VARIABLES, TABLE)


def value_of(source: str) -> Value:
    return compile_expression(source, None).evaluate(SCOPE)


VALUES: list[tuple[str, Value]] = [
    # names, literals
    ("name", "readout"),
    ("  name  ", "readout"),
    ("nothing", None),
    ("true", True),
    ("false", False),
    ("nil", None),
    ("42", 42),
    ("1_000", 1000),
    ("010", 10),
    ("0x1F", 31),
    ("0b101", 5),
    ("0o17", 15),
    ("9223372036854775807", 2**63 - 1),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e3", 1000.0),
    ("2.5e-1", 0.25),
    ("'x'", "x"),
    ('"x"', "x"),
    ("`x`", "x"),
    ("''", ""),
    (r"'it\'s'", "it's"),
    (r'"a\"b"', 'a"b'),
    (r"'a\n\t\\b'", "a\n\t\\b"),
    (r"'\x41\u00e9\U0001F600\101'", "Aé😀A"),
    (r"`a\n'b`", r"a\n'b"),
    ("[]", []),
    ("[1, 'a', true,]", [1, "a", True]),
    ("[[1], []]", [[1], []]),
    ("{}", {}),
    ("{a: 1, 'b c': 2, 3: 4, (name): 5,}", {"a": 1, "b c": 2, "3": 4, "readout": 5}),
    ("1 /* one */ + // two\n 1", 2),
    # arithmetic
    ("1 + 2", 3),
    ("1 + 2.5", 3.5),
    ("7 - 10", -3),
    ("2 * 3", 6),
    ("7 / 2", 3.5),
    ("6 / 2", 3.0),
    ("7 % 3", 1),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("2 ** 10", 1024.0),
    ("2 ^ 3", 8.0),
    ("2 ** -1", 0.5),
    ("2 ** 3 ** 2", 512.0),
    ("-2 ** 2", -4.0),
    ("(-2) ** 2", 4.0),
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("10 - 4 - 3", 3),
    ("-5 + +3", -2),
    ("- -5", 5),
    ("'a' + 'b' + 'c'", "abc"),
    ("'--dir=' +  name", "--dir=readout"),
    ("nothing + 'x'", "x"),
    ("'x' + nil", "x"),
    # comparison
    ("name == 'readout'", True),
    ("name != 'readout'", False),
    ('yes == "true"', True),
    ("1 == 1.0", True),
    ("1 != 2", True),
    ("nil == nil", True),
    ("nothing == nil", True),
    ("name == nil", False),
    ("nil != name", True),
    ("[1, 2] == [1, 2]", True),
    ("[1, [true]] == [1, [1]]", False),
    ("{a: [1]} == {a: [1.0]}", True),
    ("{a: 1} == {b: 1}", False),
    ("true == !false", True),
    ("Parent() == role", True),
    ("1 < 2", True),
    ("2 <= 2", True),
    ("1 > 2.5", False),
    ("2 >= 3", False),
    ("'a' < 'b'", True),
    ("'10' < '9'", True),
    ("1 < 2 < 3", True),
    ("1 < 3 < 2", False),
    ("3 < 2 < 1", False),
    # logic
    ("true and false", False),
    ("true && true", True),
    ("false or true", True),
    ("false || false", False),
    ("not false", True),
    ("!true", False),
    ("!!true", True),
    ("true || false && false", True),
    ("(true || false) && false", False),
    ("not (1 == 2)", True),
    ("false && nosuch.Function(1 + 'a') == 'x'", False),
    ("true || 1 + 'a' == 'x'", True),
    ("yes == 'true' && no == 'false' && name != 'x'", True),
    # choice
    ("yes == 'true' ? 'a' : 'b'", "a"),
    ("no == 'true' ? 'a' + name : 'b'", "b"),
    ("true ? false ? 1 : 2 : 3", 2),
    ("false ? 1 : false ? 2 : 3", 3),
    ("true ? 1 : 'a' + 1", 1),
    ("len(name)>0 ? 'full' : 'empty'", "full"),
    ("len(empty)>0 ? 'full' : 'empty'", "empty"),
    ("true ?: false", True),
    ("false ?: 'other'", "other"),
    ("true ?.5:1", 0.5),
    ("nothing ?? 'x'", "x"),
    ("name ?? 'x'", "readout"),
    ("nil ?? nil ?? 3", 3),
    ("nil ?? -1", -1),
    ("nil ?? !true", False),
    ("nil ?? -2 ** 2", -4.0),
    # membership and texts
    ("'TPC' in json.Unmarshal(detectors)", True),
    ("'MCH' in json.Unmarshal(detectors)", False),
    ("'MCH' not in json.Unmarshal(detectors)", True),
    ("!('TPC' in json.Unmarshal(detectors))", False),
    ("1 in [1, 2]", True),
    ("1 in [true, '1']", False),
    ("[1] in [[1]]", True),
    ("'a' in {a: 1}", True),
    ("'b' in {a: 1}", False),
    ("'x' in nil", False),
    ("'TPC' in json.Unmarshal('')", False),
    ("detectors contains 'ITS'", True),
    ("detectors not contains 'MCH'", True),
    ("name startsWith 'read'", True),
    ("name endsWith 'x'", False),
    ("name not endsWith 'x'", True),
    ("it matches 'flp[0-9]+$'", True),
    ("it matches '^flp'", False),
    ("name not matches '^o2'", True),
    # ranges, items, slices
    ("1..4", [1, 2, 3, 4]),
    ("3..1", []),
    ("1..1+2", [1, 2, 3]),
    ("[1, 2, 3][0]", 1),
    ("[1, 2, 3][-1]", 3),
    ("json.Unmarshal(detectors)[1]", "ITS"),
    ("name[0]", "r"),
    ("{a: 1}['a']", 1),
    ("{a: 1}['b']", None),
    ("{a: {b: 2}}.a.b", 2),
    ("(1..5)[1:3]", [2, 3]),
    ("(1..5)[:2]", [1, 2]),
    ("(1..5)[3:]", [4, 5]),
    ("(1..5)[:]", [1, 2, 3, 4, 5]),
    ("(1..5)[1:-1]", [2, 3, 4]),
    ("(1..5)[7:9]", []),
    ("name[1:4]", "ead"),
    # roles
    ("Parent().Path", "root.host-flp1"),
    ("Parent().Name", "host-flp1"),
    ("Up(2).Path", "root"),
    ("Up(2).Path + '.x'", "root.x"),
    ("Up(9)", None),
    ("Up(9)?.Path", None),
    ("Up(9)?.Path.x[0]", None),
    ("Up(9)?.Path ?? 'none'", "none"),
    ("nil?.[0]", None),
    ("[5]?.[0]", 5),
    ("role.Name", "host-flp1"),
    # functions and pipes
    ("len('héé')", 3),
    ("strings.ToLower(inventory.DetectorForHost('flp1'))", "tpc"),
    ("util.PrefixedOverride( 'dpl_workflow', strings.ToLower( 'TPC' ) )", "tpc-full"),
    ("name | strings.ToUpper()", "READOUT"),
    ("detectors | json.Unmarshal() | len()", 2),
    ("dcs.StartOfRun()", "done"),
    ("ToLower('A')", "a"),
    ("uid.New()", "2oDvieFrVTi"),
    ("NewID()", "2oDvieFrVTi"),
    # closures
    ("filter(1..6, {# % 2 == 0})", [2, 4, 6]),
    ("filter(json.Unmarshal(detectors), # startsWith 'T')", ["TPC"]),
    ("map(1..3, # * 2)", [2, 4, 6]),
    ("map([], #)", []),
    ("map(['a', 'b'], #index)", [0, 1]),
    ("map(1..2, map(1..#, #))", [[1], [1, 2]]),
    ("map([{n: 1}], .n)", [1]),
    ("all(1..3, {# > 0})", True),
    ("any(1..3, {# > 3})", False),
    ("none(1..3, {# > 3})", True),
    ("one(1..3, {# == 2})", True),
    ("count(1..5, {# > 2})", 3),
    ("1..6 | filter(# > 4)", [5, 6]),
]
ERRORS: list[tuple[str, int, str]] = [
    # (expression, column of the error, a part of its reason)
    ("", 1, "empty"),
    ("   ", 1, "empty"),
    ("name ==", 8, "ends too early"),
    ("(1 + 2", 7, "ends too early"),
    ("name name", 6, "`name` can't stand here"),
    ("'a' 'b'", 5, "can't stand here"),
    ("1 2", 3, "can't stand here"),
    ("+ * 2", 3, "can't stand here"),
    ("name = 'x'", 6, "`=` can't stand here"),
    ("a & b", 3, "no meaning"),
    ("let x = 1", 10, "ends too early"),
    ("let name 1; name", 10, "can't stand here"),
    ("1; ", 3, "ends too early"),
    ("let if = 1; 2", 5, "`if` can't stand here"),
    ("if yes { 1 }", 13, "ends too early"),
    ("let x = 1; let x = 2; x", 16, "`let` gives 'x' a second value"),
    ("$environment", 1, "the character '$' has no meaning"),
    ("1 \x00", 3, "the character U+0000 has no meaning"),
    ("+name", 1, "`+` before a value needs a number, not a string"),
    ("-name", 1, "`-` needs a number, not a string"),
    ("fromJSON(repeat('[', 5000))", 1, "more than 64 levels"),
    ("$env", 1, "can only be asked for one variable"),
    ("$env contains 'x'", 1, "can only be asked for one variable"),
    ("$env[5]", 6, "must be a string, not an int"),
    ("5 in $env", 1, "must be a string, not an int"),
    ("name | 5", 8, "passes a value on to a function"),
    ("name | five", 8, "unknown function five()"),
    ("name | Up.x | 'a'", 15, "passes a value on to a function"),
    ("'abc", 1, "no closing '"),
    ('x + "abc', 5, 'no closing "'),
    ("`abc", 1, "no closing `"),
    ("1 /* x", 3, "no closing */"),
    (r"x == \"a\"", 6, "backslash"),
    (r"'a\qb'", 3, r"unknown escape \q"),
    (r"'\ud800'", 2, "is no character"),
    (r"'\UFFFFFFFF'", 2, "is no character"),
    ("9223372036854775808", 1, "64 bits"),
    ("1" * 80, 1, "64 bits"),
    ("1e999", 1, "too large"),
    ("0x_", 1, "is no integer"),
    ("name.", 6, "ends too early"),
    ("[1, 2", 6, "ends too early"),
    ("{a 1}", 4, "can't stand here"),
    ("{[1]: 2}", 2, "can't stand here"),
    ("a ? b", 6, "ends too early"),
    ("name | strings.ToUpper() == 'X'", 26, "can't stand here"),
    # names and functions
    ("nane", 1, "unknown variable 'nane'"),
    ("name == nane", 9, "unknown variable 'nane'"),
    ("None", 1, "unknown variable 'None'"),
    ("strings.ToLwer(name)", 1, "unknown function strings.ToLwer()"),
    ("nosuch()", 1, "unknown function nosuch()"),
    ("name.Lower()", 1, "unknown function name.Lower()"),
    ("(name)()", 1, "only functions with a name"),
    ("Parent().Path()", 1, "only functions with a name"),
    ("inventory.DetectorForHost", 1, "unknown variable 'inventory'"),
    ("strings.ToLower()", 1, "takes 1 argument, not 0"),
    ("1 == 1 && Up(1, 2) == nil", 11, "takes 1 argument, not 2"),
    ("strings.ToLower(5)", 1, "argument 1 must be a string, not an int"),
    ("Up('2')", 1, "argument 1 must be an int, not a string"),
    ("'a' + inventory.DetectorForHost('flp9')", 7, "no detector for host flp9"),
    # types
    ("yes == true", 5, "`==` does not work on a string and a bool"),
    ("true != yes", 6, "does not work on a bool and a string"),
    ("five == 5", 6, "`==` does not work on a string and an int"),
    ("[1] == 'a'", 5, "`==` does not work on a list and a string"),
    ("name + 1", 6, "`+` does not work on a string and an int"),
    ("'a' + 'b' + 1", 11, "`+` does not work on a string and an int"),
    ("1 + true", 3, "`+` does not work on an int and a bool"),
    ("[1] + [2]", 5, "`+` does not work on a list and a list"),
    ("nil + 1", 5, "`+` does not work on nil and an int"),
    ("'a' - 'b'", 5, "`-` does not work"),
    ("'a' * 2", 5, "`*` does not work"),
    ("'4' / 2", 5, "`/` does not work"),
    ("1 + 2 * '3'", 7, "`*` does not work on an int and a string"),
    ("5.0 % 2", 5, "`%` does not work on a float and an int"),
    ("name ** 2", 6, "`**` does not work"),
    ("name < 5", 6, "`<` does not work on a string and an int"),
    ("true < false", 6, "`<` does not work on a bool and a bool"),
    ("1 < 2 < 'a'", 7, "`<` does not work on an int and a string"),
    ("name ? 1 : 2", 1, "a condition must be a bool, and is a string"),
    ("1 == 1 && name", 11, "a condition must be a bool"),
    ("5 || true", 1, "a condition must be a bool, and is an int"),
    ("nil ?: 1", 1, "a condition must be a bool, and is nil"),
    ("[] ? 1 : 2", 1, "a condition must be a bool, and is a list"),
    ("!name", 1, "`not` needs a bool, not a string"),
    ("not name == 'x'", 1, "`not` needs a bool"),
    ("-name", 1, "`-` needs a number, not a string"),
    ("'a' in 'abc'", 5, "`in` does not look for a string in a string"),
    ("1 in {a: 1}", 3, "`in` does not look for an int in a map"),
    ("5 contains 'a'", 3, "`contains` does not work"),
    ("5 startsWith 'a'", 3, "`startsWith` does not work"),
    ("'a' endsWith 5", 5, "`endsWith` does not work"),
    ("'a' matches 5", 5, "`matches` does not work"),
    ("'a' not matches '('", 5, "a ( is not closed"),
    ("'a'..'b'", 4, "a range needs two ints"),
    ("1..2.5", 2, "a range needs two ints"),
    ("name['a']", 5, "the index must be an int"),
    ("[1][true]", 4, "the index must be an int, not a bool"),
    ("[1][1]", 4, "out of range"),
    ("5[0]", 2, "an int has no items"),
    ("nil[0]", 4, "nil has no items"),
    ("{a: 1}[1]", 7, "the key of a map must be a string"),
    ("{(1): 2}", 3, "the key of a map must be a string"),
    ("5[1:2]", 2, "an int can't be sliced"),
    ("name['a':]", 5, "the ends of a slice must be ints, not a string"),
    ("name[:true]", 5, "the ends of a slice must be ints, not a bool"),
    ("Up(9).Path", 6, "nil has no 'Path'"),
    ("Parent().Parent", 9, "a role has no 'Parent'"),
    ("role.__class__", 5, "a role has no '__class__'"),
    ("name.Name", 5, "a string has no 'Name'"),
    ("[1].append", 4, "a list has no 'append'"),
    ("len(5)", 1, "an int has no length"),
    # closures
    ("#", 1, "only in a closure"),
    (".x", 1, "needs a value before it"),
    ("all([true])", 1, "takes a list and a closure"),
    ("all('abc', {true})", 1, "all takes a list, not a string"),
    ("all([1], {#})", 11, "a condition must be a bool"),
    ("map([1], {# + 'a'})", 13, "`+` does not work"),
    ("map([1], .x)", 10, "an int has no 'x'"),
    ("len({# > 1})", 5, "takes no closure"),
    ("len('a', {1 > 1})", 10, "takes no closure"),
    # limits
    ("9223372036854775807 + 1", 21, "64 bits"),
    ("-9223372036854775807 - 2", 22, "64 bits"),
    ("4611686018427387904 * 2", 21, "64 bits"),
    ("1 / 0", 3, "division by zero"),
    ("1 % 0", 3, "division by zero"),
    ("9.0 ** 9999", 5, "not a finite number"),
    ("(-8) ** 0.5", 6, "not a finite number"),
    ("1e308 * 10", 7, "too large for a float"),
    ("1..10001", 2, "more than 10000 items"),
    ("map(1..9999, map(1..9999, #))", 19, "more than 100000 steps"),
    ("(" * 70 + "1" + ")" * 70, 65, "more than 64 levels"),
    ("!" * 70 + "true", 65, "more than 64 levels"),
    ("[" * 70 + "]" * 70, 65, "more than 64 levels"),
    ("1" + "+1" * 600, 1001, "more than 1000 words"),
    ("a" * 16385, 1, "more than 16384"),
]


@pytest.mark.parametrize(("source", "expected"), VALUES, ids=[source for source, _ in VALUES])
def test_expression_gives_its_value(source: str, expected: Value) -> None:
    value = value_of(source)

    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(("source", "column", "part"), ERRORS, ids=[source[:40] for source, _, _ in ERRORS])
def test_error_names_place_and_reason(source: str, column: int, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(source)

    assert part in caught.value.reason
    assert caught.value.column == column
    assert caught.value.code == "E_EXPRESSION"


def test_the_tables_hold_enough() -> None:
    assert len(VALUES) + len(ERRORS) >= 120


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("yes == true", "compare with 'true' or 'false' in quotes"),
        ("name + 1", "strings.Itoa(n)"),
        ("five > 1", "strings.Atoi(x)"),
        ("detectors == [1]", "json.Unmarshal(x)"),
        ("name ? 1 : 2", "x == 'true'"),
        ("[] ? 1 : 2", "len(x) > 0"),
        ("'a' in 'abc'", "b contains a"),
        ("name = 'x'", "=="),
        ("Up(9).Path", "?."),
        ("nane", "did you mean name?"),
        ("NAME", "did you mean name?"),
        ("None", "write nil"),
        ("zzzzzz", "quote it if it is text"),
        ("strings.ToLwer(name)", "did you mean strings.ToLower"),
        ("strings.ToLower(nil)", "util.Nullable"),
        ("inventory.DetectorForHost('flp9')", "add it to the inventory"),
        (r"'a\qb'", "`backquotes`"),
        ("'a' 'b'", "join texts by +"),
        ("name name", "expected an operator or the end"),
        ("(name", "expected `)`"),
        ("name ==", "expected a value"),
        ("len('a', {1 > 1})", "all, any, count"),
    ],
)
def test_error_says_what_to_do(source: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(source)

    assert hint in caught.value.hint


def test_nothing_after_a_taken_branch_is_evaluated() -> None:
    assert value_of("true ? 1 : config.Get('x')") == 1
    assert value_of("name ?? config.Get('x')") == "readout"
    assert value_of("any([1], # == 1) || config.Get('x') == ''") is True


def test_missing_configuration_passes_through_unchanged() -> None:
    with pytest.raises(Missing) as caught:
        compile_text("{{ config.Get('x') }}", None).evaluate(SCOPE)

    assert caught.value.keys == ("qc/ANY/any/x",)


def test_error_with_a_place_of_its_own_keeps_it() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_text("{{ config.GetLegacy('x') }}", Mark("w.yaml", 1, 1)).evaluate(SCOPE)

    assert (caught.value.file, caught.value.line, caught.value.column) == ("qc/ANY/any/x", 3, 7)


def test_error_of_a_function_keeps_its_cause() -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of("inventory.DetectorForHost('flp9')")

    chain: list[BaseException | None] = [caught.value.__context__, caught.value.__cause__]
    assert "inventory.DetectorForHost: no detector for host flp9" in caught.value.reason
    assert any(isinstance(error, EcsError) for error in chain)


def test_items_of_an_outer_closure_come_back_after_the_inner_one() -> None:
    assert value_of("map(1..2, len(map(1..3, #)) * 10 + #)") == [31, 32]
    with pytest.raises(ExpressionError):
        value_of("all(1..2, {any([1], {# + 'a' == 'x'})})")
    assert value_of("map(1..2, (any([5], # == 5) ? # : 0))") == [1, 2]


def test_compiled_expression_has_no_state() -> None:
    expression = compile_expression("map(1..3, # + #index)", None)

    assert expression.evaluate(SCOPE) == expression.evaluate(SCOPE) == [1, 3, 5]


# --- text


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


# --- values


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
