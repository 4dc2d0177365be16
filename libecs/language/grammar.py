"""The grammar of expressions: tokens, LALR(1) rules, and syntax errors that say what was expected.

Operators and precedence are those of expr-lang 1.17, the language inside AliECS's {{ }}. From loose to tight:

    ;  let   if else   ?:   |   or ||   and &&   == != < > <= >= in contains startsWith endsWith matches   ..   + -
    not !   * / %   unary - +   ** ^   ??   . ?. [] ()

Surprising but true to it: `not` binds tighter than `==` and looser than `*`. A sequence `a; b` is worth its last part.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from libecs.errors import ExpressionError
from libecs.language.values import fault

MAX_SOURCE: Final = 16 * 1024
"""Characters of one expression."""
MAX_TOKENS: Final = 1000
"""Tokens of one expression; the longest of the production templates has 40."""

GRAMMAR: Final = r"""
start: sequence
?sequence: expression (SEMI expression)*
// A `let` reaches as far as it can: that is the shift of a shift/reduce conflict at the next semicolon.
?expression: pipe
    | pipe QUESTION expression COLON expression -> conditional
    | pipe QUESTION COLON expression            -> elvis
    | LET NAME ASSIGN expression SEMI sequence  -> let
    | branches
branches: IF expression LBRACE sequence RBRACE ELSE otherwise
?otherwise: LBRACE sequence RBRACE              -> block
    | branches
?pipe: either
    | pipe PIPE postfix
?either: both (OR both)*
?both: comparison (AND comparison)*
?comparison: range (comparator range)*
comparator: RELATION | WORD | NOT WORD
?range: sum (RANGE sum)?
?sum: negation ((PLUS | MINUS) negation)*
?negation: product
    | (NOT | BANG) negation                     -> not_
?product: sign ((TIMES) sign)*
?sign: power
    | (MINUS | PLUS) sign                       -> signed
?power: coalesce (POWER sign)?
?coalesce: postfix
    | coalesce COALESCE operand
// A prefix operator behind ?? reaches as far as it can: that is the shift of a shift/reduce conflict.
?operand: postfix
    | (MINUS | PLUS) sign                       -> signed
    | (NOT | BANG) negation                     -> not_
?postfix: atom
    | postfix DOT NAME                          -> member
    | postfix OPTIONAL NAME                     -> optional_member
    | postfix LSQB expression RSQB              -> index
    | postfix OPTIONAL LSQB expression RSQB     -> optional_index
    | postfix LSQB expression COLON expression RSQB -> slice
    | postfix LSQB expression COLON RSQB        -> slice_from
    | postfix LSQB COLON expression RSQB        -> slice_to
    | postfix LSQB COLON RSQB                   -> slice_all
    | postfix LPAR arguments RPAR               -> call
?atom: NAME                                     -> name
    | INT                                       -> integer
    | FLOAT                                     -> float
    | STRING                                    -> string
    | TRUE                                      -> true
    | FALSE                                     -> false
    | NIL                                       -> nil
    | ITEM                                      -> item
    | DOT NAME                                  -> item_member
    | ENV                                       -> env
    | LPAR sequence RPAR                        -> group
    | LSQB (expression (COMMA expression)* COMMA?)? RSQB -> list
    | LBRACE (pair (COMMA pair)* COMMA?)? RBRACE -> map
pair: key COLON expression
key: NAME | STRING | INT | LPAR sequence RPAR
arguments: (argument (COMMA argument)* COMMA?)?
?argument: expression
    | LBRACE sequence RBRACE                    -> closure

%declare SEMI LET ASSIGN IF ELSE ENV
%declare QUESTION COLON PIPE OR AND RELATION WORD NOT BANG RANGE PLUS MINUS TIMES POWER COALESCE DOT OPTIONAL
%declare LSQB RSQB LPAR RPAR LBRACE RBRACE COMMA NAME INT FLOAT STRING TRUE FALSE NIL ITEM
"""

_TOKEN: Final = re.compile(
    r"""
      (?P<SPACE>[ \t\r\n]+|/\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)
    | (?P<UNCLOSED>/\*)
    | (?P<FLOAT>(?:\d[\d_]*\.(?!\.)\d+|\.\d+)(?:[eE][+-]?\d+)?|\d[\d_]*[eE][+-]?\d+)
    | (?P<INT>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*)
    | (?P<NAME>[^\W\d]\w*)
    | (?P<STRING>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<ITEM>\#(?:index|acc)?)
    | (?P<ENV>\$env\b)
    | (?P<COALESCE>\?\?) | (?P<OPTIONAL>\?\.(?!\d)) | (?P<QUESTION>\?) | (?P<COLON>:)
    | (?P<OR>\|\|) | (?P<PIPE>\|) | (?P<AND>&&)
    | (?P<RELATION>==|!=|<=|>=|<|>) | (?P<BANG>!) | (?P<ASSIGN>=) | (?P<SEMI>;)
    | (?P<RANGE>\.\.) | (?P<DOT>\.)
    | (?P<POWER>\*\*|\^) | (?P<TIMES>[*/%]) | (?P<PLUS>\+) | (?P<MINUS>-)
    | (?P<LPAR>\() | (?P<RPAR>\)) | (?P<LSQB>\[) | (?P<RSQB>\]) | (?P<LBRACE>\{) | (?P<RBRACE>\}) | (?P<COMMA>,)
    """,
    re.VERBOSE | re.DOTALL,
)

_KEYWORDS: Final = {
    "or": "OR",
    "and": "AND",
    "not": "NOT",
    "in": "WORD",
    "contains": "WORD",
    "startsWith": "WORD",
    "endsWith": "WORD",
    "matches": "WORD",
    "true": "TRUE",
    "false": "FALSE",
    "nil": "NIL",
    "let": "LET",
    "if": "IF",
    "else": "ELSE",
}
RESERVED: Final = frozenset(_KEYWORDS)
"""Words that are no names of variables."""

_SPELT: Final = {
    "NAME": "a name",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "RBRACE": "`}`",
    "COLON": "`:`",
    "COMMA": "`,`",
    "LPAR": "`(`",
    "LBRACE": "`{`",
    "SEMI": "`;`",
    "ELSE": "`else`",
    "ASSIGN": "`=`",
    "$END": "the end",
}
"""Tokens worth naming among what was expected. Operators are not: they may stand after every value."""


def parse(source: str) -> Tree[Token]:
    """Return the syntax tree of one expression. Tokens carry their offset in `start_pos`.

    Raises:
        ExpressionError: no expression; `column` is the offset of the offending token plus one.
    """
    check_length(source)
    if not source.strip():
        raise fault("the expression is empty", 0, "write a name or an expression between {{ and }}")
    try:
        return _parser().parse(source)
    except UnexpectedToken as error:
        raise _unexpected(error, source) from None


def check_length(source: str) -> None:
    """Raise `ExpressionError` for an expression that is too long to be looked at."""
    if len(source) > MAX_SOURCE:
        raise fault(f"the expression has {len(source)} characters, more than {MAX_SOURCE}", 0, "cut it into variables")


@functools.cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer=_Tokens, start="start")


class _Tokens(Lexer):
    """The lexer that Lark asks: one regular expression, so that time is linear and errors are ours."""

    def __init__(self, lexer_conf: object) -> None:
        del lexer_conf

    def lex(self, data: str) -> Iterator[Token]:  # type: ignore[override]  # lark: Any text
        position, count = 0, 0
        while position < len(data):
            found = _TOKEN.match(data, position)
            if found is None or found.lastgroup == "UNCLOSED":
                raise _bad_character(data, position)
            kind = found.lastgroup or ""
            if kind != "SPACE":
                count += 1
                if count > MAX_TOKENS:
                    raise fault(f"the expression has more than {MAX_TOKENS} words and signs", position)
                text = found.group()
                yield Token(_KEYWORDS.get(text, kind) if kind == "NAME" else kind, text, position)
            position = found.end()


def _bad_character(source: str, offset: int) -> ExpressionError:
    character = source[offset]
    if character in "'\"`":
        return fault(f"the string that begins here has no closing {character}", offset)
    if character == "\\":
        return fault(
            "a backslash stands outside of a string", offset, "YAML in plain or single quotes needs no escapes"
        )
    if source.startswith("/*", offset):
        return fault("the comment that begins here has no closing */", offset)
    hints = {"&": "write && or `and`", "~": "write `not`", "$": "the only such name is $env"}
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return fault(f"the character {shown} has no meaning here", offset, hints.get(character, ""))


def _unexpected(error: UnexpectedToken, source: str) -> ExpressionError:
    token = error.token
    accepted = error.accepts - {"SEMI"} if "$END" in error.accepts else error.accepts
    wanted = sorted(_SPELT[name] for name in accepted if name in _SPELT)
    hint = f"expected {' or '.join(wanted)}" if wanted else ""
    if "PLUS" in error.accepts:
        hint = "expected an operator" + "".join(f" or {sign}" for sign in wanted if sign != "`(`")
    if "NAME" in error.accepts and "STRING" in error.accepts:
        hint = "expected a value: a name, a 'string', a number, or something in brackets"
    if token.type == "$END":
        return fault("the expression ends too early", len(source.rstrip()), hint)
    if token.type == "STRING" and "NAME" not in error.accepts:
        hint = "join texts by +"
    if token.type == "ASSIGN":
        hint = "compare by ==, or write `let x = 1; ...`"
    return fault(f"`{token}` can't stand here", token.start_pos or 0, hint)
