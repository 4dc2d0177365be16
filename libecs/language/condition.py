"""Conditions of forms: the JavaScript of `visibleif` and `enabledif`, parsed once and handed out as a syntax tree.

    $$epn_enabled === "true" && ($$mode === "Expert" || !$$hosts.includes("flp1"))

AliECS lets the browser run such text. Here it is parsed when the template is read, and a browser gets the tree, which
it interprets without `eval`. The part of JavaScript that is understood:

    ||   &&   === !== == !=   !   ( )   "text" 'text'   12.5 -1   true false   $$variable
    $$variable.includes(x)   $$variable.indexOf(x)

A tree is JSON, an object with `kind`, and children, if any, in the list `of`:

    {"kind": "literal", "value": "x"}           a text, a number, true or false
    {"kind": "variable", "name": "x"}           the text of a variable; undefined if there is none
    {"kind": "not", "of": [A]}
    {"kind": "and", "of": [A, B, …]}            the first that is false, else the last, as in JavaScript
    {"kind": "or", "of": [A, B, …]}             the first that is true, else the last
    {"kind": "compare", "operator": "===", "of": [A, B]}        also !==, ==, !=
    {"kind": "includes", "of": [text, part]}    true or false; false if the text is undefined
    {"kind": "indexOf", "of": [text, part]}     counted in UTF-16 as JavaScript does; -1 if there is none

All variables are texts, as everywhere in templates: a box that is ticked is "true". `evaluate` is the reference for
other interpreters; it computes what JavaScript computes, for everything that parses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import attrs

from libecs.errors import ExpressionError
from libecs.language.marks import Mark
from libecs.language.values import fault
from libecs.language.variable_types import Json

MAX_SOURCE: Final = 4096
"""Characters of one condition."""
MAX_DEPTH: Final = 32
"""Brackets and `!` inside each other."""

Literal: TypeAlias = "str | float | bool"
Result: TypeAlias = "str | float | bool | None"
"""A value while a condition is evaluated; None is JavaScript's undefined."""

METHODS: Final = ("includes", "indexOf")

_TOKEN: Final = re.compile(
    r"""
      (?P<SPACE>[ \t\r\n]+)
    | \$\$(?P<VARIABLE>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<STRING>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<NUMBER>[0-9][0-9A-Za-z_.]*)
    | (?P<WORD>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<SIGN>===|!==|==|!=|&&|\|\||[!().-])
    """,
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_COMPARISONS: Final = ("===", "!==", "==", "!=")
_WORDS: Final = {
    "and": "write &&",
    "or": "write ||",
    "not": "write !",
    "null": 'variables are texts: compare with ""',
    "undefined": 'variables are texts: compare with ""',
    "True": "write true",
    "False": "write false",
}
_SIGNS: Final = {
    "=": "compare by ===",
    "&": "write &&",
    "|": "write ||",
    "<": "texts are compared by === and !== only",
    ">": "texts are compared by === and !== only",
    "`": 'write "text"',
    "$": "a variable is $$ and its name",
    ";": "a condition is one expression",
}


@attrs.frozen(kw_only=True)
class Tree:
    """A condition, or a part of one."""

    kind: str
    """literal, variable, not, and, or, compare, includes or indexOf."""
    of: tuple[Tree, ...] = ()
    value: Literal = ""
    """Of a literal."""
    name: str = ""
    """Of a variable."""
    operator: str = ""
    """Of a comparison."""

    def variables(self) -> Iterator[str]:
        """Go through the names of all variables, as often as they stand there."""
        if self.kind == "variable":
            yield self.name
        for part in self.of:
            yield from part.variables()

    def comparisons(self) -> Iterator[Tree]:
        """Go through all comparisons."""
        if self.kind == "compare":
            yield self
        for part in self.of:
            yield from part.comparisons()


def to_json(tree: Tree) -> dict[str, Json]:
    """Return the tree as this module describes it."""
    if tree.kind == "literal":
        return {"kind": tree.kind, "value": tree.value}
    if tree.kind == "variable":
        return {"kind": tree.kind, "name": tree.name}
    children: list[Json] = [to_json(part) for part in tree.of]
    if tree.kind == "compare":
        return {"kind": tree.kind, "operator": tree.operator, "of": children}
    return {"kind": tree.kind, "of": children}


def parse_condition(source: str, mark: Mark | None = None) -> Tree:
    """Return the tree of a condition; `mark` is where its text stands.

    Raises:
        ExpressionError: it is no condition, or one that is not understood here, at file:line:column.
    """
    try:
        return _Parser(source).whole()
    except ExpressionError as error:
        raise _placed(error, source, mark) from None


def evaluate(tree: Tree, values: Mapping[str, str]) -> bool:
    """Return whether the condition holds. `values` are the texts of the variables."""
    return _is_true(_value(tree, values))


# ------------------------------------------------------------------------------------------------------------ parse


@attrs.frozen
class _Token:
    kind: str
    text: str
    offset: int


def _tokens(source: str) -> Iterator[_Token]:
    if len(source) > MAX_SOURCE:
        raise fault(f"the condition has {len(source)} characters, more than {MAX_SOURCE}", 0)
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise _bad_character(source, at)
        kind = found.lastgroup or ""
        if kind != "SPACE":
            yield _Token(found.group(kind) if kind == "SIGN" else kind, found.group(kind), at)
        at = found.end()
    yield _Token("END", "", len(source.rstrip()))


class _Parser:
    """Reads one condition. Depth is bounded, so recursion is safe."""

    def __init__(self, source: str) -> None:
        self._tokens = list(_tokens(source))
        self._at = 0
        self._depth = 0

    def whole(self) -> Tree:
        """Return the tree."""
        if self._next.kind == "END":
            raise fault("the condition is empty", 0, "leave the key out if there is none")
        tree = self._either()
        if self._next.kind != "END":
            raise self._unexpected("`&&`, `||` or the end")
        return tree

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _skip(self, kind: str) -> bool:
        if self._next.kind != kind:
            return False
        self._at += 1
        return True

    def _either(self) -> Tree:
        parts = [self._both()]
        while self._skip("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Tree(kind="or", of=tuple(parts))

    def _both(self) -> Tree:
        parts = [self._comparison()]
        while self._skip("&&"):
            parts.append(self._comparison())
        return parts[0] if len(parts) == 1 else Tree(kind="and", of=tuple(parts))

    def _comparison(self) -> Tree:
        left = self._negation()
        if self._next.kind not in _COMPARISONS:
            return left
        operator = self._take().kind
        right = self._negation()
        if self._next.kind in _COMPARISONS:
            raise fault("three values are compared at once", self._next.offset, "join two comparisons by &&")
        return Tree(kind="compare", operator=operator, of=(left, right))

    def _negation(self) -> Tree:
        if self._next.kind != "!":
            return self._postfix()
        with _Level(self):
            self._take()
            return Tree(kind="not", of=(self._negation(),))

    def _postfix(self) -> Tree:
        start = self._next
        tree = self._primary()
        if self._next.kind != ".":
            return tree
        dot = self._take()
        name = self._take()
        if name.text not in METHODS:
            raise fault(f"`.{name.text}` is not known here", dot.offset, "known are .includes(…) and .indexOf(…)")
        if start.kind not in ("VARIABLE", "STRING") or self._next.kind != "(":
            raise fault(f"`.{name.text}` asks a text", dot.offset, f'write $$name.{name.text}("text")')
        part = self._bracket()
        if self._next.kind == ".":
            raise fault("a result has no methods", self._next.offset)
        return Tree(kind=name.text, of=(tree, part))

    def _primary(self) -> Tree:
        token = self._next
        if token.kind == "(":
            return self._bracket()
        self._take()
        if token.kind == "VARIABLE":
            return Tree(kind="variable", name=token.text)
        if token.kind == "STRING":
            return Tree(kind="literal", value=_string(token))
        if token.kind == "NUMBER":
            return Tree(kind="literal", value=_number(token))
        if token.kind == "-" and self._next.kind == "NUMBER":
            return Tree(kind="literal", value=-_number(self._take()))
        if token.text in ("true", "false") and token.kind == "WORD":
            return Tree(kind="literal", value=token.text == "true")
        self._at -= 1
        raise self._unexpected('a value: $$name, "text", a number, true or false')

    def _bracket(self) -> Tree:
        with _Level(self):
            opened = self._take()
            tree = self._either()
            if self._next.kind == "END":
                raise fault("the bracket that begins here is not closed", opened.offset, "write `)` behind its part")
            if not self._skip(")"):
                raise self._unexpected("`&&`, `||` or `)`")
            return tree

    def _unexpected(self, wanted: str) -> ExpressionError:
        token = self._next
        if token.kind == "END":
            return fault("the condition ends too early", token.offset, f"expected {wanted}")
        hint = f"expected {wanted}"
        if token.kind == "WORD":
            hint = _WORDS.get(token.text) or f'write $$name for a variable, and "{token.text}" for a text'
        shown = f"$${token.text}" if token.kind == "VARIABLE" else token.text
        return fault(f"`{shown}` can't stand here", token.offset, hint)


class _Level:
    """One bracket or `!` deeper."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser

    def __enter__(self) -> None:
        self._parser._depth += 1
        if self._parser._depth > MAX_DEPTH:
            offset = self._parser._next.offset
            raise fault(f"the condition has more than {MAX_DEPTH} levels inside each other", offset)

    def __exit__(self, *error: object) -> None:
        self._parser._depth -= 1


def _bad_character(source: str, at: int) -> ExpressionError:
    character = source[at]
    if character in "'\"":
        return fault(f"the text that begins here has no closing {character}", at)
    if character.isprintable():
        return fault(f"the character `{character}` has no meaning here", at, _SIGNS.get(character, ""))
    return fault(f"the character U+{ord(character):04X} has no meaning here", at)


def _string(token: _Token) -> str:
    def character(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _SIMPLE:
            raise fault(f"unknown escape \\{found[2]}", token.offset + 1 + found.start(), "write \\\\ for a backslash")
        return _SIMPLE[found[2]]

    text = _ESCAPE.sub(character, token.text[1:-1])
    # Two escapes may make one character above U+FFFF, as in JavaScript; half of one is nothing that a file can hold.
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise fault("the text holds half a character", token.offset) from None


def _number(token: _Token) -> float:
    if not _NUMBER.fullmatch(token.text):
        raise fault(f"`{token.text}` is no number", token.offset, "a number has at most 15 digits and 6 decimals")
    return float(token.text) if "." in token.text else int(token.text)


def _placed(error: ExpressionError, source: str, mark: Mark | None) -> ExpressionError:
    offset = min(max(error.column - 1, 0), len(source))
    if mark is None:
        return ExpressionError(error.reason, column=offset + 1, excerpt=source.split("\n")[0], hint=error.hint)
    place = mark.within(source, offset)
    return ExpressionError(
        error.reason,
        file=place.file,
        line=place.line,
        column=place.column,
        excerpt=place.excerpt,
        hint=error.hint,
    )


# --------------------------------------------------------------------------------------------------------- evaluate


def _value(tree: Tree, values: Mapping[str, str]) -> Result:
    if tree.kind == "literal":
        return tree.value
    if tree.kind == "variable":
        return values.get(tree.name)
    if tree.kind == "not":
        return not _is_true(_value(tree.of[0], values))
    if tree.kind in ("and", "or"):
        result: Result = None
        for part in tree.of:
            result = _value(part, values)
            if _is_true(result) == (tree.kind == "or"):
                break
        return result
    left, right = (_value(part, values) for part in tree.of)
    if tree.kind == "compare":
        same = _equal(left, right) if len(tree.operator) == 3 else _loosely_equal(left, right)
        return same == tree.operator.startswith("=")
    if left is None:
        return False if tree.kind == "includes" else -1
    text, part_text = str(left), _text(right)
    if tree.kind == "includes":
        return part_text in text
    at = text.find(part_text)
    return at if at < 0 else len(text[:at].encode("utf-16-le")) // 2


def _is_true(value: Result) -> bool:
    return value not in ("", 0, None)  # false is 0; a number is never NaN here


def _equal(left: Result, right: Result) -> bool:
    return _type(left) == _type(right) and left == right


def _loosely_equal(left: Result, right: Result) -> bool:
    """JavaScript's `==`: of different types, all become numbers; undefined equals itself only."""
    if left is None or right is None:
        return left is right
    if _type(left) == _type(right):
        return left == right
    return _as_number(left) == _as_number(right)


def _type(value: Result) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "undefined" if value is None else "text"


_BLANKS: Final = " \t\n\v\f\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" + (
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_NUMERIC: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BASED: Final = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")


def _as_number(value: str | float) -> float:
    if not isinstance(value, str):
        return value
    text = value.strip(_BLANKS)
    if not text:
        return 0
    if _BASED.fullmatch(text):
        return float(int(text, 0)) if len(text) < 250 else math.inf
    if text.lstrip("+-") == "Infinity" and len(text) <= len("Infinity") + 1:
        return -math.inf if text.startswith("-") else math.inf
    return float(text) if _NUMERIC.fullmatch(text) else math.nan


def _text(value: Result) -> str:
    """JavaScript's String(); numbers are literals of `_NUMBER` and positions."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "undefined"
    return f"{value:.6f}".rstrip("0").rstrip(".") if value else "0"
