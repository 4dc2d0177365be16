"""The functions that are built into the language, `let`, `if` and sequences: what they give and what they refuse."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError
from libecs.language.expression import Value, compile_expression
from libecs.language.functions import TableScope, pure_functions
from libecs.language.values import MAX_LIST, MAX_TEXT

VARIABLES: dict[str, Value] = {
    "name": "readout",
    "with-dash": "dashed",
    "hosts": "flp1,flp2,flp3",
    "people": [{"name": "b", "age": 30}, {"name": "a", "age": 40}, {"name": "c", "age": 30}],
    "big": "x" * MAX_TEXT,
}
SCOPE = TableScope(VARIABLES, pure_functions(lambda: "id"))


def value_of(source: str) -> Value:
    return compile_expression(source, None).evaluate(SCOPE)


CASES: list[tuple[str, Value]] = [
    # strings
    (r"trim('  a b\t\n')", "a b"),
    ("trim('__a__', '_')", "a"),
    ("trim(' a ', '')", " a "),
    ("trimPrefix('HelloWorld', 'Hello')", "World"),
    ("trimPrefix('x', 'Hello')", "x"),
    ("trimSuffix('HelloWorld', 'World')", "Hello"),
    ("upper('aé')", "AÉ"),
    ("lower('AÉ')", "aé"),
    ("split(hosts, ',')", ["flp1", "flp2", "flp3"]),
    ("split(hosts, ',', 2)", ["flp1", "flp2,flp3"]),
    ("split(hosts, ',', 1)", ["flp1,flp2,flp3"]),
    ("split(hosts, ',', 0)", []),
    ("split(hosts, ',', -1)", ["flp1", "flp2", "flp3"]),
    ("split('abc', '')", ["a", "b", "c"]),
    ("split('abc', '', 2)", ["a", "bc"]),
    ("split('', ',')", [""]),
    ("splitAfter(hosts, ',')", ["flp1,", "flp2,", "flp3"]),
    ("splitAfter(hosts, ',', 2)", ["flp1,", "flp2,flp3"]),
    ("splitAfter('ab', '')", ["a", "b"]),
    ("join(['a', 'b'], '-')", "a-b"),
    ("join(['a', 'b'])", "ab"),
    ("join([], ',')", ""),
    ("replace('a.b.c', '.', '-')", "a-b-c"),
    ("replace('a.b.c', '.', '-', 1)", "a-b.c"),
    ("replace('ab', '', '-')", "-a-b-"),
    ("repeat('ab', 3)", "ababab"),
    ("repeat('', 1000000000)", ""),
    ("indexOf('apple pie', 'pie')", 6),
    ("indexOf('é-', '-')", 1),
    ("indexOf('a', 'b')", -1),
    ("lastIndexOf('a-a-a', 'a')", 4),
    ("hasPrefix(name, 'read')", True),
    ("hasSuffix(name, 'read')", False),
    # numbers
    ("max(5, 7)", 7),
    ("max([1, 2.5], 2)", 2.5),
    ("min(5, 7, -1)", -1),
    ("mean([1, 2, 6])", 3.0),
    ("mean()", 0.0),
    ("mean([])", 0.0),
    ("median([3, 1, 2])", 2.0),
    ("median(1, 2, 3, 4)", 2.5),
    ("median([])", 0.0),
    ("abs(-5)", 5),
    ("abs(-5.5)", 5.5),
    ("ceil(1.5)", 2.0),
    ("floor(-1.5)", -2.0),
    ("round(1.5)", 2.0),
    ("round(-1.5)", -2.0),
    ("round(2)", 2.0),
    ("bitand(0b1010, 0b1100)", 0b1000),
    ("bitor(0b1010, 0b1100)", 0b1110),
    ("bitxor(0b1010, 0b1100)", 0b0110),
    ("bitnand(0b1010, 0b1100)", 0b0010),
    ("bitnot(0b1010)", -0b1011),
    ("bitshl(0b101101, 2)", 0b10110100),
    ("bitshl(1, 63)", -(1 << 63)),
    ("bitshl(1, 64)", 0),
    ("bitshr(-8, 1)", -4),
    ("bitshr(-8, 100)", -1),
    ("bitushr(-0b101, 2)", 4611686018427387902),
    # types
    ("int('123')", 123),
    ("int('-5')", -5),
    ("int(1.9)", 1),
    ("int(-1.9)", -1),
    ("float('1.5')", 1.5),
    ("float('1e3')", 1000.0),
    ("float(2)", 2.0),
    ("string(1.0)", "1"),
    ("string(true)", "true"),
    ("string([1, 'a'])", '[1,"a"]'),
    ("type(nil)", "nil"),
    ("type([])", "array"),
    ("type({})", "map"),
    ("type(1.0)", "float"),
    ("toJSON({a: [1]})", '{\n  "a": [\n    1\n  ]\n}'),
    ("fromJSON('{\"a\": 1}').a", 1),
    ("toBase64('Hello World')", "SGVsbG8gV29ybGQ="),
    ("fromBase64('SGVsbG8gV29ybGQ=')", "Hello World"),
    # lists and maps
    ("first([1, 2])", 1),
    ("first([])", None),
    ("last([1, 2])", 2),
    ("last([]) ?? 'none'", "none"),
    ("take([1, 2, 3], 2)", [1, 2]),
    ("take([1], 5)", [1]),
    ("get([1, 2], 1)", 2),
    ("get([1, 2], -1)", 2),
    ("get([1, 2], 2)", None),
    ("get({a: 1}, 'a')", 1),
    ("get({a: 1}, 'b')", None),
    ("get({a: 1}, 1)", None),
    ("get(nil, 'a')", None),
    ("reverse([1, 2, 3])", [3, 2, 1]),
    ("concat([1], [2, 3], [])", [1, 2, 3]),
    ("concat()", []),
    ("flatten([1, [2, [3, []]], 4])", [1, 2, 3, 4]),
    ("uniq([1, 2, 1, '1', true, true, [1], [1], {a: 1}, {a: 1}])", [1, 2, "1", True, [1], {"a": 1}]),
    ("sort([3, 1, 2])", [1, 2, 3]),
    ("sort(['b', 'a'], 'desc')", ["b", "a"]),
    ("sort([])", []),
    ("keys({b: 1, a: 2})", ["a", "b"]),
    ("values({b: 1, a: 2})", [2, 1]),
    ("toPairs({b: 1, a: 2})", [["a", 2], ["b", 1]]),
    ("fromPairs([['a', 1], [2, 'b']])", {"a": 1, "2": "b"}),
    # closures
    ("count([true, false, true])", 2),
    ("count(1..5, # > 3)", 2),
    ("find(1..5, # > 3)", 4),
    ("find(1..5, # > 9)", None),
    ("findIndex(1..5, # > 3)", 3),
    ("findIndex(1..5, # > 9) ?? -1", -1),
    ("findLast(1..5, # < 3)", 2),
    ("findLastIndex(1..5, # < 3)", 1),
    ("findLastIndex(1..5, #index < 2)", 1),
    ("sum([1, 2, 3])", 6),
    ("sum([1, 2.5])", 3.5),
    ("sum([])", 0),
    ("sum(people, .age)", 100),
    ("map(groupBy(people, .age)['30'], .name)", ["b", "c"]),
    ("groupBy([true], #)", {"true": [True]}),
    ("map(sortBy(people, .name), .name)", ["a", "b", "c"]),
    ("map(sortBy(people, .age), .name)", ["b", "c", "a"]),
    ("map(sortBy(people, .age, 'desc'), .name)", ["a", "b", "c"]),
    ("reduce(1..4, #acc + #)", 10),
    ("reduce(1..4, #acc + #, 10)", 20),
    ("reduce([], #acc + #, 'x')", "x"),
    ("reduce(['a', 'b'], {#acc + string(#index) + #}, '')", "0a1b"),
    ("reduce(1..3, #acc + sum(1..#, {# * 2}), 0)", 20),
    ("filter(1..4, {let half = # / 2; half > 1.4})", [3, 4]),
    ("map(1..2, {map(1..2, # * 10)})", [[10, 20], [10, 20]]),
    # let, if, sequences
    ("let x = 42; x * 2", 84),
    ("let x = 2; let y = x + 1; x * y", 6),
    ("(let x = 1; x) + (let x = 2; x)", 3),
    ("let name = 'own'; name", "own"),
    ("let parts = hosts | split(','); parts[1]", "flp2"),
    ("1; 2; 3", 3),
    ("let x = 1; 5; x", 1),
    ("[let x = 1; x, 2]", [1, 2]),
    ("if 1 < 2 { 'yes' } else { 'no' }", "yes"),
    ("if 1 > 2 { 'a' } else if 2 > 3 { 'b' } else { 'c' }", "c"),
    ("if true { let x = 1; x + 1 } else { 5 }", 2),
    ("let x = if true { 1 } else { 2 }; x", 1),
    ("(if true { 1 } else { 2 }) + 1", 2),
    ("true ? if false { 1 } else { 2 } : 3", 2),
    # pipes
    ("hosts | split(',') | len()", 3),
    ("hosts | split(',')[0]", "flp1"),
    ("hosts | split(',')[1:] | join('+')", "flp2+flp3"),
    ("people | find(.age > 35).name", "a"),
    ("name | strings.ToUpper()", "READOUT"),
    ("1..3 | map(# * 2) | sum()", 12),
    ("hosts | split(',') | len", 3),
    ("name | strings.ToUpper | lower", "readout"),
    # shell
    ("sh('it is')", "'it is'"),
    ("'a; rm -r b' | sh", "'a; rm -r b'"),
    ("name | sh", "readout"),
    # all variables
    ("$env['with-dash']", "dashed"),
    ("$env.name", "readout"),
    ("$env?.nothing", None),
    ("$env['nothing'] ?? 'else'", "else"),
    ("$env.people[0].name", "b"),
    ("'name' in $env", True),
    ("'nothing' in $env", False),
    ("'nothing' not in $env", True),
]


@pytest.mark.parametrize(("source", "value"), CASES, ids=[source[:60] for source, _ in CASES])
def test_value(source: str, value: Value) -> None:
    found = value_of(source)

    assert found == value
    assert type(found) is type(value)


REFUSED: list[tuple[str, str]] = [
    ("trim()", "trim takes 1 or 2 arguments, not 0"),
    ("trim(1)", "argument 1 must be a string, not an int"),
    ("split('a')", "takes 2 or 3 arguments, not 1"),
    ("upper('a', 'b')", "takes 1 argument, not 2"),
    ("abs('1')", "argument 1 must be a number, not a string"),
    ("keys([])", "argument 1 must be a map, not a list"),
    ("concat([1], 2)", "argument 2 must be a list, not an int"),
    ("join([1])", "join takes a list of strings, and it holds an int"),
    ("join([big, big])", "more than"),
    ("join([big], big)", "steps"),
    ("replace(big, 'x', 'xx')", "the string would have"),
    ("repeat('ab', 1000000)", "the string would have 2000000 characters"),
    ("repeat('ab', -1)", "can't repeat -1 times"),
    ("split(big, '')", "more than 100000 parts"),
    ("split(big, 'x')", "more than 100000 parts"),
    ("take([], -1)", "can't take -1 items"),
    ("get('abc', 1)", "get takes a list and an int"),
    ("get([1], 'a')", "get takes a list and an int"),
    ("max()", "max of nothing"),
    ("min([])", "min of nothing"),
    ("max('a')", "max takes numbers, not a string"),
    ("mean([true])", "mean takes numbers, not a bool"),
    ("mean([1.7e308, 1.7e308])", "too large"),
    ("abs(-9223372036854775807 - 1)", "64 bits"),
    ("int('1.5')", "'1.5' is no integer"),
    ("int('9999999999999999999')", "64 bits"),
    ("int('" + "9" * 100 + "')", "is no integer"),
    ("int(1e300)", "64 bits"),
    ("int(nil)", "int takes a number or a string, not nil"),
    ("int(true)", "int takes a number or a string, not a bool"),
    ("float('nan')", "'nan' is no number"),
    ("float('1e9999')", "too large"),
    ("float([])", "float takes a number or a string, not a list"),
    ("string(nil)", "nil, which has no text"),
    ("fromJSON('{')", "not JSON"),
    ("fromBase64('!!')", "no Base64"),
    ("fromBase64('/w==')", "no Base64"),
    ("bitshl(1, -1)", "a shift by -1 bits"),
    ("bitshr(1, -1)", "a shift by -1 bits"),
    ("sort([1, 'a'])", "sort compares numbers or strings, and there are int, string"),
    ("sort([true])", "there are bool"),
    ("sort([1], 'up')", "the order is 'up'"),
    ("sortBy([1], #, 5)", "the order is an int"),
    ("sortBy([1, 2], [#])", "sortBy compares numbers or strings, and there are list"),
    ("sum(['a'])", "sum adds numbers, not a string"),
    ("sum([9223372036854775807, 1])", "64 bits"),
    ("groupBy([1], nil)", "nil, which has no text"),
    ("fromPairs([1])", "list of lists [key, value]"),
    ("fromPairs([[1]])", "list of lists [key, value]"),
    ("count([1])", "a condition must be a bool"),
    ("find([1], 5)", "a condition must be a bool"),
    ("filter([1])", "filter takes a list and a closure"),
    ("map([1], #, 3)", "map takes a list and a closure"),
    ("reduce([])", "reduce takes a list and a closure"),
    ("reduce([], #acc)", "reduce of an empty list"),
    ("reduce('ab', #acc)", "reduce takes a list, not a string"),
    ("map([1], #acc)", "`#acc` has a meaning only in the closure of `reduce`"),
    ("#acc", "has a meaning only in a closure"),
    ("now()", "must mean the same whenever it is expanded"),
    ("now().Year()", "only functions with a name"),
    ("date('2023-08-14')", "must mean the same whenever it is expanded"),
    ("duration('1h')", "must mean the same whenever it is expanded"),
    ("timezone('UTC')", "must mean the same whenever it is expanded"),
    ("concat(" + ", ".join(["0..9999"] * 11) + ")", "steps"),
    # a list that stands in itself many times is huge when it is gone through
    ("let a = 0..99; let b = map(0..99, a); let c = map(0..99, b); flatten(c)", f"more than {MAX_LIST} items"),
    ("let a = map(0..999, 'x' * 1); a", "does not work"),
    ("let a = 0..99; let b = map(0..99, a); let c = map(0..99, b); toJSON(c)", "too large"),
    ("let a = 0..99; let b = map(0..99, a); uniq(map(0..99, b))", "too large"),
    ("let a = map(0..9999, big); sort(a)", "steps"),
]


@pytest.mark.parametrize(("source", "reason"), REFUSED, ids=[source[:60] for source, _ in REFUSED])
def test_refused(source: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(source)
    assert reason in caught.value.reason


def test_a_let_is_no_variable_of_the_template() -> None:
    expression = compile_expression("let x = name; x + other", None)

    assert expression.names == {"name", "other"}


def test_variables_may_be_named_like_functions() -> None:
    scope = TableScope({"count": "3", "first": "x"}, pure_functions(lambda: "id"))

    assert compile_expression("first([count, first])", None).evaluate(scope) == "3"


def test_a_fault_in_a_closure_is_placed_there() -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of("map([1], # + 'a')")
    assert caught.value.column == 12


def test_items_are_those_of_the_outer_closure_again_behind_an_inner_one() -> None:
    assert value_of("map([1, 2], {len(filter([5, 6], # > 5)) + #})") == [2, 3]
    assert value_of("map([1, 2], {(any([7], # == 7) ? 10 : 20) * #})") == [10, 20]
