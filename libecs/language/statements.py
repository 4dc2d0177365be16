"""Rules for `a; b`, `let x = 1; ...`, `if c { a } else { b }`, and for `$env`."""

from __future__ import annotations

from typing import Final

from lark import Token, Tree

from libecs.language.compilation import Compiler, Rule, offset_of, token_of
from libecs.language.program import Code, Frame, condition
from libecs.language.values import Value, fault


def _sequence(compiler: Compiler, tree: Tree[Token]) -> Code:
    """All parts are evaluated, and the last one is the value: the others may call `runtime.Set`."""
    codes = [compiler.compile(child) for child in tree.children[::2]]

    def sequence(frame: Frame) -> Value:
        value: Value = None
        for code in codes:
            value = code(frame)
        return value

    return sequence


def _let(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[1])
    value = compiler.compile(tree.children[3])
    if compiler.local(str(token)) is not None:
        raise fault(f"`let` gives {str(token)!r} a second value", token.start_pos or 0, "take another name")
    number, body = compiler.declared(str(token), tree.children[5])

    def let(frame: Frame) -> Value:
        frame.locals[number] = value(frame)
        return body(frame)

    return let


def _branches(compiler: Compiler, tree: Tree[Token]) -> Code:
    question, yes, no = (compiler.compile(tree.children[i]) for i in (1, 3, 6))
    offset = offset_of(tree.children[1])

    def branches(frame: Frame) -> Value:
        return yes(frame) if condition(question(frame), offset) else no(frame)

    return branches


def _block(compiler: Compiler, tree: Tree[Token]) -> Code:
    return compiler.compile(tree.children[1])


def _env(compiler: Compiler, tree: Tree[Token]) -> Code:
    raise fault(
        "`$env` can only be asked for one variable",
        offset_of(tree),
        "write $env['name'], $env.name or 'name' in $env",
    )


STATEMENTS: Final[dict[str, Rule]] = {
    "sequence": _sequence,
    "let": _let,
    "branches": _branches,
    "block": _block,
    "env": _env,
}
