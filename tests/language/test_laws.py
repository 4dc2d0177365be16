"""What holds for all expressions: they read as they are written, and mean what a small reference says."""

from __future__ import annotations

import operator
import shlex
from collections.abc import Callable
from typing import TypeAlias

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libecs.errors import ExpressionError, TemplateError
from libecs.language.expression import Value, compile_expression, compile_text, to_text
from libecs.language.functions import TableScope, pure_functions
from libecs.language.values import INT_MAX, INT_MIN, type_name

VARIABLES: dict[str, Value] = {"x": "text", "n": 7, "l": ["b", "a"], "m": {"k": 1}, "yes": True, "nothing": None}
SCOPE = TableScope(VARIABLES, pure_functions(lambda: "id"))


def value_of(source: str) -> Value:
    return compile_expression(source, None).evaluate(SCOPE)


# --- a reference: trees that are written in two ways and evaluated by ten lines

Reference: TypeAlias = "int | float | bool | str"


class Undefined(Exception):
    """The reference has no value: types that don't fit, a division by zero, more than 64 bits."""


@attrs.frozen
class Tree:
    """An operator with what it is applied to, or a literal."""

    sign: str
    parts: tuple[Tree, ...] = ()
    value: Reference = 0


LEVEL = {"?": 0, "or": 1, "and": 2}
LEVEL |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3)
LEVEL |= {"+": 5, "-": 5, "not": 6, "*": 7, "/": 7, "%": 7, "sign": 8, "**": 9, "literal": 11}


def bounded(value: int | float) -> int | float:
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    if isinstance(value, int) and INT_MIN <= value <= INT_MAX:
        return value
    raise Undefined


def number(value: Reference) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Undefined
    return value


def truth(value: Reference) -> bool:
    if not isinstance(value, bool):
        raise Undefined
    return value


def remainder(a: int | float, b: int | float) -> int:
    if not isinstance(a, int) or not isinstance(b, int):
        raise Undefined
    return abs(a) % abs(b) if a >= 0 else -(abs(a) % abs(b))


ARITHMETIC: dict[str, Callable[[int | float, int | float], int | float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: float(a / b),
    "%": remainder,
    "**": lambda a, b: float(a) ** float(b),
}
RELATIONS: dict[str, Callable[[object, object], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,  # type: ignore[dict-item]  # of two numbers or two texts
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    ">=": operator.ge,  # type: ignore[dict-item]
}


def reference(tree: Tree) -> Reference:
    """Return what a tree means."""
    sign, parts = tree.sign, tree.parts
    if sign == "literal":
        return tree.value
    if sign == "?":
        return reference(parts[1] if truth(reference(parts[0])) else parts[2])
    if sign in ("or", "and"):
        first = truth(reference(parts[0]))
        return first if first is (sign == "or") else truth(reference(parts[1]))
    if sign == "not":
        return not truth(reference(parts[0]))
    if sign == "sign":
        return bounded(-number(reference(parts[0])))
    left, right = (reference(part) for part in parts)
    if sign in RELATIONS:
        if type(left) is not type(right) or (isinstance(left, bool) and sign not in ("==", "!=")):
            left, right = number(left), number(right)
        return RELATIONS[sign](left, right)
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    try:
        result = ARITHMETIC[sign](number(left), number(right))
    except (ZeroDivisionError, OverflowError):
        raise Undefined from None
    if isinstance(result, complex):
        raise Undefined
    return bounded(result)


def spelt(value: Reference) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if not isinstance(value, str) else f"'{value}'"


def with_brackets(tree: Tree) -> str:
    """Write a tree with brackets around everything."""
    parts = [with_brackets(part) for part in tree.parts]
    if tree.sign == "literal":
        return spelt(tree.value)
    if tree.sign == "?":
        return f"({parts[0]} ? {parts[1]} : {parts[2]})"
    if len(parts) == 1:
        return f"({'-' if tree.sign == 'sign' else 'not '}{parts[0]})"
    return f"({parts[0]} {tree.sign} {parts[1]})"


def with_few_brackets(tree: Tree, level: int = 0) -> str:
    """Write a tree with the brackets that precedence asks for, and no others."""
    own = LEVEL[tree.sign]
    if tree.sign == "literal":
        text = spelt(tree.value)
    elif tree.sign == "?":
        question, yes, no = tree.parts
        text = f"{with_few_brackets(question, 1)}?{with_few_brackets(yes)}:{with_few_brackets(no)}"
    elif len(tree.parts) == 1:
        text = ("-" if tree.sign == "sign" else "!") + with_few_brackets(tree.parts[0], own)
    elif tree.sign == "**":  # its right side may be a sign, its left side not
        text = f"{with_few_brackets(tree.parts[0], 10)}**{with_few_brackets(tree.parts[1], 8)}"
    else:
        left, right = tree.parts
        blank = " " if tree.sign.isalpha() else ""
        # a comparison of comparisons is a chain, and means something else
        own_left = own + 1 if own == 3 else own
        text = f"{with_few_brackets(left, own_left)}{blank}{tree.sign}{blank}{with_few_brackets(right, own + 1)}"
    return text if own >= level else f"({text})"


LITERALS = st.one_of(
    st.integers(0, 20),
    st.sampled_from([0.5, 2.5, 1e300, INT_MAX]),
    st.booleans(),
    st.text("abé", max_size=3),
).map(lambda value: Tree("literal", (), value))
TREES = st.recursive(
    LITERALS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from([*ARITHMETIC, *RELATIONS, "or", "and"]), inner, inner).map(
            lambda parts: Tree(parts[0], parts[1:])
        ),
        st.tuples(st.sampled_from(["not", "sign"]), inner).map(lambda parts: Tree(parts[0], parts[1:])),
        st.tuples(inner, inner, inner).map(lambda parts: Tree("?", parts)),
    ),
    max_leaves=10,
)


SMALL = st.one_of(st.integers(0, 9), st.sampled_from([0.5, 1.5])).map(lambda value: Tree("literal", (), value))
WORDS_ONLY = st.text("ab", max_size=2).map(lambda value: Tree("literal", (), value))
NUMBERS = st.recursive(
    SMALL,
    lambda inner: st.tuples(st.sampled_from(["+", "-", "*", "/", "sign"]), inner, inner).map(
        lambda parts: Tree(parts[0], (parts[1],) if parts[0] == "sign" else (parts[1], parts[2]))
    ),
    max_leaves=6,
)
CONDITIONS = st.recursive(
    st.tuples(st.sampled_from([*RELATIONS]), NUMBERS, NUMBERS).map(lambda parts: Tree(parts[0], parts[1:]))
    | st.tuples(st.sampled_from([*RELATIONS]), WORDS_ONLY, WORDS_ONLY).map(lambda parts: Tree(parts[0], parts[1:])),
    lambda inner: st.tuples(st.sampled_from(["or", "and", "not"]), inner, inner).map(
        lambda parts: Tree(parts[0], (parts[1],) if parts[0] == "not" else (parts[1], parts[2]))
    ),
    max_leaves=4,
)
SENSIBLE = st.one_of(NUMBERS, CONDITIONS, st.tuples(CONDITIONS, NUMBERS, NUMBERS).map(lambda parts: Tree("?", parts)))
"""Trees whose types fit, most of them; `TREES` are those whose types rarely do."""


@given(st.one_of(SENSIBLE, TREES))
@example(Tree("**", (Tree("literal", (), 2), Tree("sign", (Tree("literal", (), 1),)))))
@example(Tree("not", (Tree("==", (Tree("literal", (), 1), Tree("literal", (), 1))),)))
def test_an_expression_means_what_the_reference_says_however_it_is_written(tree: Tree) -> None:
    full, short = with_brackets(tree), with_few_brackets(tree)
    try:
        expected = reference(tree)
    except Undefined:
        for source in (full, short):
            with pytest.raises(ExpressionError):
                value_of(source)
        return

    for source in (full, short):
        found = value_of(source)
        assert found == expected, source
        assert type(found) is type(expected)


@given(TREES, st.sampled_from([" ", "\n", "\t", " /* c */ "]))
def test_blanks_and_comments_mean_nothing(tree: Tree, blank: str) -> None:
    source = with_brackets(tree)
    assert _outcome(source.replace(" ", blank)) == _outcome(source)


def _outcome(source: str) -> tuple[str, str]:
    try:
        value = value_of(source)
    except ExpressionError as error:
        return "error", error.reason
    return type_name(value), to_text(value)


# --- any text

WORDS = [
    *("x n l m yes nothing nobody 1 2.5 0 'a' \"b\" `c` # #index #acc .k $env").split(),
    *("+ - * / % ** == != < >= && || not ! ? : ?? ?. . .. , | ( ) [ ] { } in contains matches ; = let if else").split(),
    *("let y = 1 ; y|if yes { 1 } else { 2 }|l | sort()|$env['x']|map( l , # )|reduce( l , #acc + # )|[1, 2]").split(
        "|"
    ),
    *("len( filter( sortBy( sum( join( split( max( get( fromPairs( string( repeat( int( now( sh(").split(),
]


@given(st.lists(st.sampled_from(WORDS), max_size=16).map(" ".join))
@example("let x = 1; x; x")
@example("if yes { let a = 1; a } else { 2 }")
def test_words_in_any_order_give_a_value_or_an_expression_error_with_a_place(source: str) -> None:
    try:
        value_of(source)
    except ExpressionError as error:
        assert 1 <= error.column <= len(source) + 1
        assert error.reason


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text("{}% -x'\"|;=", max_size=30))
def test_any_text_around_tags_gives_text_or_a_template_error(text: str, signs: str) -> None:
    for source in (text + "{{ x }}" + signs, signs + "{{" + text + "}}", "{{" + signs + "}}"):
        try:
            assert isinstance(compile_text(source, None).evaluate(SCOPE), str)
        except TemplateError as error:
            assert error.column >= 1


# --- built-in functions against Python

TEXTS = st.text("ab,-é ", max_size=8)
JSON_VALUES = st.recursive(
    st.booleans() | st.integers(INT_MIN, INT_MAX) | st.text(max_size=4) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def applied(source: str, **variables: Value) -> Value:
    return compile_expression(source, None).evaluate(TableScope(variables, pure_functions(lambda: "id")))


@given(TEXTS, st.text("ab,-", min_size=1, max_size=2), st.integers(1, 5))
def test_what_is_split_is_joined_again(text: str, separator: str, most: int) -> None:
    assert applied("split(t, s) | join(s)", t=text, s=separator) == text
    assert applied("splitAfter(t, s) | join()", t=text, s=separator) == text
    parts = applied("split(t, s, n)", t=text, s=separator, n=most)
    assert isinstance(parts, list)
    assert len(parts) <= most
    assert separator.join(map(str, parts)) == text
    assert applied("split(t, '') | join('')", t=text) == text


@given(TEXTS, TEXTS, TEXTS)
def test_texts_are_found_and_replaced_as_python_does(text: str, part: str, new: str) -> None:
    assert applied("indexOf(t, p) >= 0", t=text, p=part) == (part in text) == applied("t contains p", t=text, p=part)
    assert applied("replace(t, p, n)", t=text, p=part, n=new) == text.replace(part, new)
    assert applied("hasPrefix(t, p)", t=text, p=part) == text.startswith(part)
    assert applied("trimPrefix(p + t, p)", t=text, p=part) == text
    assert applied("trimSuffix(t + p, p)", t=text, p=part) == text
    assert applied("fromBase64(toBase64(t))", t=text) == text


@given(JSON_VALUES)
def test_json_reads_back_in_both_ways(value: Value) -> None:
    assert applied("fromJSON(toJSON(v))", v=value) == value
    assert applied("json.Unmarshal(json.Marshal(v))", v=value) == value


@given(st.lists(JSON_VALUES, max_size=8))
def test_lists_keep_their_laws(items: list[Value]) -> None:
    assert applied("reverse(reverse(l)) == l", l=items) is True
    assert applied("concat(take(l, 2), l[2:]) == l", l=items) is True
    unique = applied("uniq(l)", l=items)
    assert isinstance(unique, list)
    assert applied("uniq(uniq(l)) == uniq(l) and all(l, # in uniq(l))", l=items) is True
    assert applied("len(filter(l, # == nil)) + count(l, # != nil) == len(l)", l=items) is True
    assert applied("map(l, #)", l=items) == items
    assert applied("first(l)", l=items) == (items[0] if items else None)
    assert applied("last(l)", l=items) == (items[-1] if items else None)


@given(st.lists(st.text(max_size=3), max_size=8), st.lists(st.integers(-100, 100), max_size=8))
def test_sorting_is_that_of_python(texts: list[str], numbers: list[int]) -> None:
    assert applied("sort(l)", l=[*texts]) == sorted(texts)
    assert applied("sort(l, 'desc')", l=[*numbers]) == sorted(numbers, reverse=True)
    assert applied("sortBy(l, # * -1)", l=[*numbers]) == sorted(numbers, reverse=True)
    assert applied("sortBy(l, len(#))", l=[*texts]) == sorted(texts, key=len)
    assert applied("sortBy(l, len(#), 'desc')", l=[*texts]) == sorted(texts, key=lambda text: -len(text))
    assert applied("sum(l)", l=[*numbers]) == sum(numbers)
    assert applied("reduce(l, #acc + #, 0)", l=[*numbers]) == sum(numbers)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=5))
def test_maps_go_through_pairs_and_back(value: dict[str, int]) -> None:
    assert applied("fromPairs(toPairs(m)) == m", m={**value}) is True
    assert applied("keys(m)", m={**value}) == sorted(value)
    assert applied("len(values(m))", m={**value}) == len(value)


@given(st.integers(INT_MIN, INT_MAX), st.integers(INT_MIN, INT_MAX), st.integers(0, 70))
def test_bits_are_those_of_64(a: int, b: int, shift: int) -> None:
    mask = (1 << 64) - 1
    assert applied("bitxor(bitand(a, b), bitor(a, b)) == bitxor(a, b)", a=a, b=b) is True
    assert applied("bitnand(a, b)", a=a, b=b) == a & ~b
    assert applied("bitnot(a)", a=a) == -a - 1
    left, right = applied("bitshl(a, s)", a=a, s=shift), applied("bitushr(a, s)", a=a, s=shift)
    assert isinstance(left, int)
    assert isinstance(right, int)
    assert left & mask == (a << shift) & mask
    assert right & mask == (a & mask) >> shift
    assert applied("bitshr(a, s)", a=a, s=shift) == a >> shift


@given(st.text(max_size=20))
def test_a_quoted_text_is_one_word_of_a_shell(text: str) -> None:
    assert shlex.split(str(applied("t | sh", t=text))) == [text]
