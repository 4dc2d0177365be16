"""Rules for names, literals, lists and maps."""

from __future__ import annotations

import re
from typing import Final

from lark import Token, Tree

from libecs.language.compilation import Compiler, Rule, offset_of, token_of
from libecs.language.program import Code, Frame, unknown_name
from libecs.language.values import INT_MAX, Value, a_type, fault


def variable(name: str, offset: int) -> Code:
    """Return the code of a variable."""

    def look_up(frame: Frame) -> Value:
        try:
            return frame.scope.lookup(name)
        except KeyError:
            raise unknown_name(name, frame.scope.names(), offset) from None

    return look_up


def _name(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    offset = token.start_pos or 0
    number = compiler.local(str(token))
    if number is not None:
        return lambda frame: frame.locals[number]
    compiler.names.setdefault(str(token), offset)
    return variable(str(token), offset)


def constant(value: Value) -> Code:
    """Return the code of a value that is known."""
    return lambda frame: value


def _integer(compiler: Compiler, tree: Tree[Token]) -> Code:
    return constant(_integer_value(token_of(tree.children[0])))


def _integer_value(token: Token) -> int:
    digits = token.replace("_", "")
    if len(digits) > 70:
        raise fault("the integer has more than 64 bits", token.start_pos or 0)
    try:
        value = int(digits, 0 if digits[1:2].isalpha() else 10)
    except ValueError:
        raise fault(f"{token} is no integer", token.start_pos or 0) from None
    if value > INT_MAX:
        raise fault("the integer has more than 64 bits", token.start_pos or 0)
    return value


def _float(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    value = float(token.replace("_", ""))
    if value == float("inf"):
        raise fault("the number is too large for a float", token.start_pos or 0)
    return constant(value)


_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE: Final = dict(zip("ntrabfv\\'\"`", "\n\t\r\a\b\f\v\\'\"`", strict=True))


def _string_value(token: Token) -> str:
    if token[0] == "`" or "\\" not in token:
        return str(token[1:-1])
    start = (token.start_pos or 0) + 1

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code or found[4]:
            number = int(code, 16) if code else int(found[4], 8)
            if number > 0x10FFFF or 0xD800 <= number < 0xE000:
                raise fault(f"{found[0]} is no character", start + found.start())
            return chr(number)
        if found[5] not in _SIMPLE:
            hint = "write \\\\ for a backslash, or put the string in `backquotes`"
            raise fault(f"unknown escape \\{found[5]}", start + found.start(), hint)
        return _SIMPLE[found[5]]

    return _ESCAPE.sub(character, token[1:-1])


def _string(compiler: Compiler, tree: Tree[Token]) -> Code:
    return constant(_string_value(token_of(tree.children[0])))


def _group(compiler: Compiler, tree: Tree[Token]) -> Code:
    return compiler.compile(tree.children[1])


def _list(compiler: Compiler, tree: Tree[Token]) -> Code:
    codes = [compiler.compile(child) for child in tree.children if isinstance(child, Tree)]

    def make_list(frame: Frame) -> Value:
        return [code(frame) for code in codes]

    return make_list


def _map(compiler: Compiler, tree: Tree[Token]) -> Code:
    pairs = [_pair(compiler, child) for child in tree.children if isinstance(child, Tree)]

    def make_map(frame: Frame) -> Value:
        made: dict[str, Value] = {}
        for key, offset, value in pairs:
            name = key(frame)
            if not isinstance(name, str):
                raise fault(f"the key of a map must be a string, not {a_type(name)}", offset)
            made[name] = value(frame)
        return made

    return make_map


def _pair(compiler: Compiler, tree: Tree[Token]) -> tuple[Code, int, Code]:
    key, value = tree.children[0], compiler.compile(tree.children[2])
    assert isinstance(key, Tree)
    first = token_of(key.children[0])
    if first.type == "LPAR":
        return compiler.compile(key.children[1]), offset_of(key.children[1]), value
    return constant(_string_value(first) if first.type == "STRING" else str(first)), first.start_pos or 0, value


LITERALS: Final[dict[str, Rule]] = {
    "name": _name,
    "integer": _integer,
    "float": _float,
    "string": _string,
    "true": lambda compiler, tree: constant(True),
    "false": lambda compiler, tree: constant(False),
    "nil": lambda compiler, tree: constant(None),
    "group": _group,
    "list": _list,
    "map": _map,
}
