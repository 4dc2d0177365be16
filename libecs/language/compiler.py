"""From a syntax tree to nested Python functions, once per expression; running them is the evaluation.

Each rule of the grammar has one function that takes the tree and returns `Code`: here those of the operators, the
others in statements.py, literals.py, links.py, calls.py and loops.py. Nothing is looked up, parsed or checked by type
of node while an expression runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lark import Token, Tree

from libecs.errors import ExpressionError
from libecs.language import grammar
from libecs.language.calls import CALLS
from libecs.language.compilation import Compiler, Rule, offset_of
from libecs.language.links import LINKS
from libecs.language.literals import LITERALS, variable
from libecs.language.loops import LOOPS
from libecs.language.operators import ARITHMETIC, RELATIONS, Binary, affirm, invert, negate
from libecs.language.program import Code, Frame, Program, Scope, condition, place, unary
from libecs.language.statements import STATEMENTS
from libecs.language.values import Value, a_type, fault

__all__ = ["Program", "Scope", "compile_program"]

_BARE: Final = re.compile(r"\s*([^\W\d]\w*)\s*")


def compile_program(source: str) -> Program:
    """Compile one expression.

    Raises:
        ExpressionError: it does not parse; `column` is an offset plus one, no line is given.
    """
    grammar.check_length(source)
    simple = _BARE.fullmatch(source)
    if simple and simple[1] not in grammar.RESERVED:  # nearly all expressions of real templates
        name, offset = simple[1], simple.start(1)
        return Program(source=source, code=variable(name, offset), names={name: offset}, calls={}, bare=name)
    compiler = Compiler(_RULES)
    code = compiler.compile(grammar.parse(source).children[0])
    return Program(source=source, code=code, names=compiler.names, calls=compiler.calls, bare=None)


def _conditional(compiler: Compiler, tree: Tree[Token]) -> Code:
    question, yes, no = (compiler.compile(tree.children[i]) for i in (0, 2, 4))
    offset = offset_of(tree)

    def conditional(frame: Frame) -> Value:
        return yes(frame) if condition(question(frame), offset) else no(frame)

    return conditional


def _elvis(compiler: Compiler, tree: Tree[Token]) -> Code:
    question, no = compiler.compile(tree.children[0]), compiler.compile(tree.children[3])
    offset = offset_of(tree)

    def elvis(frame: Frame) -> Value:
        return True if condition(question(frame), offset) else no(frame)

    return elvis


def _logical(stop: bool) -> Callable[[Compiler, Tree[Token]], Code]:
    """`or` stops at the first True, `and` at the first False; what follows is not evaluated."""

    def build(compiler: Compiler, tree: Tree[Token]) -> Code:
        operands = [(compiler.compile(child), offset_of(child)) for child in tree.children[::2]]

        def logical(frame: Frame) -> Value:
            for code, offset in operands:
                if condition(code(frame), offset) is stop:
                    return stop
            return not stop

        return logical

    return build


def _binary(operate: Binary, left: Code, right: Code, offset: int) -> Code:
    def binary(frame: Frame) -> Value:
        a, b = left(frame), right(frame)
        try:
            return operate(frame.budget, a, b)
        except ExpressionError as error:
            raise place(error, offset) from None

    return binary


def _arithmetic(compiler: Compiler, tree: Tree[Token]) -> Code:
    operands = [compiler.compile(child) for child in tree.children[::2]]
    signs = [(ARITHMETIC[str(sign)], offset_of(sign)) for sign in tree.children[1::2]]
    if len(signs) == 1:
        return _binary(signs[0][0], operands[0], operands[1], signs[0][1])
    steps = list(zip(signs, operands[1:], strict=True))

    def arithmetic(frame: Frame) -> Value:
        """A loop, so that a sum of many terms does not nest."""
        left = operands[0](frame)
        for (operate, offset), operand in steps:
            right = operand(frame)
            try:
                left = operate(frame.budget, left, right)
            except ExpressionError as error:
                raise place(error, offset) from None
        return left

    return arithmetic


def _comparison(compiler: Compiler, tree: Tree[Token]) -> Code:
    """`a < b < c` means a < b and b < c, as in expr-lang; each operand is evaluated once."""
    last = tree.children[-1]
    if len(tree.children) == 3 and isinstance(last, Tree) and last.data == "env":
        return _in_env(compiler, tree)
    operands = [compiler.compile(child) for child in tree.children[::2]]
    signs = [_comparator(child) for child in tree.children[1::2]]
    if len(signs) == 1:
        return _binary(signs[0][0], operands[0], operands[1], signs[0][1])
    steps = list(zip(signs, operands[1:], strict=True))

    def chain(frame: Frame) -> Value:
        left = operands[0](frame)
        for (operate, offset), operand in steps:
            right = operand(frame)
            try:
                if not operate(frame.budget, left, right):
                    return False
            except ExpressionError as error:
                raise place(error, offset) from None
            left = right
        return True

    return chain


def _in_env(compiler: Compiler, tree: Tree[Token]) -> Code:
    """`'name' in $env`: is there such a variable?"""
    name_code, sign = compiler.compile(tree.children[0]), tree.children[1]
    assert isinstance(sign, Tree)
    if sign.children[-1] != "in":
        return compiler.compile(tree.children[2])  # says what $env is for
    wanted, offset = len(sign.children) == 1, offset_of(tree)

    def in_env(frame: Frame) -> Value:
        name = name_code(frame)
        if not isinstance(name, str):
            raise fault(f"the name of a variable must be a string, not {a_type(name)}", offset)
        return (name in frame.scope.names()) is wanted

    return in_env


def _comparator(tree: Tree[Token] | Token) -> tuple[Binary, int]:
    assert isinstance(tree, Tree)
    operate = RELATIONS[str(tree.children[-1])]
    if len(tree.children) == 1:
        return operate, offset_of(tree)
    return (lambda budget, left, right: not operate(budget, left, right)), offset_of(tree)


def _coalesce(compiler: Compiler, tree: Tree[Token]) -> Code:
    left, right = compiler.compile(tree.children[0]), compiler.compile(tree.children[2])

    def coalesce(frame: Frame) -> Value:
        value = left(frame)
        return right(frame) if value is None else value

    return coalesce


def _not(compiler: Compiler, tree: Tree[Token]) -> Code:
    return unary(invert, compiler.compile(tree.children[1]), offset_of(tree))


def _signed(compiler: Compiler, tree: Tree[Token]) -> Code:
    code, minus = compiler.compile(tree.children[1]), tree.children[0] == "-"
    return unary(negate if minus else affirm, code, offset_of(tree))


_RULES: Final[dict[str, Rule]] = {
    **LITERALS,
    **LINKS,
    **CALLS,
    **LOOPS,
    **STATEMENTS,
    "conditional": _conditional,
    "elvis": _elvis,
    "either": _logical(True),
    "both": _logical(False),
    "comparison": _comparison,
    "range": _arithmetic,
    "sum": _arithmetic,
    "product": _arithmetic,
    "power": _arithmetic,
    "not_": _not,
    "signed": _signed,
    "coalesce": _coalesce,
}
