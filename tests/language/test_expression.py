"""Expressions: what they give, what they refuse, and where errors point."""

from __future__ import annotations

import pytest

from libecs.errors import EcsError, ExpressionError, Missing
from libecs.language.expression import Value, compile_expression, compile_text
from libecs.language.marks import Mark
from tests.language.scope import SCOPE, value_of

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
