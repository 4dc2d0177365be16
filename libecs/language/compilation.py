"""What is gathered while an expression is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from lark import Token, Tree

from libecs.language.program import Code
from libecs.language.values import MAX_DEPTH, fault

Rule: TypeAlias = "Callable[[Compiler, Tree[Token]], Code]"
"""Makes the code of one kind of tree."""


class Compiler:
    """Compiles one tree, by a rule for each kind, and gathers the names on the way."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self.names: dict[str, int] = {}
        self.calls: dict[tuple[str, ...], int] = {}
        self.loops = 0
        """Closures around what is compiled."""
        self.reductions = 0
        """Those of `reduce` among them."""
        self.piped: dict[int, Tree[Token] | Token] = {}
        """Calls behind a `|`, by the id of their tree, to what is passed to them."""
        self._locals: dict[str, int] = {}
        self._declared = 0
        self._depth = 0

    def local(self, name: str) -> int | None:
        """Return the number of the `let` that `name` means here, None if it is no such name."""
        return self._locals.get(name)

    def declared(self, name: str, body: Tree[Token] | Token) -> tuple[int, Code]:
        """Compile what stands behind `let name = ...;`: return the number of its variable, and the code.

        Raises:
            ExpressionError: there is a `let` of that name around it.
        """
        self._declared += 1
        number = self._locals[name] = self._declared
        code = self.compile(body)
        del self._locals[name]
        return number, code

    def compile(self, tree: Tree[Token] | Token) -> Code:
        """Return the code of a tree; deeper than `MAX_DEPTH` is an `ExpressionError`."""
        assert isinstance(tree, Tree)
        if self._depth >= MAX_DEPTH:
            raise fault(f"the expression has more than {MAX_DEPTH} levels inside each other", offset_of(tree))
        self._depth += 1
        code = self._rules[str(tree.data)](self, tree)
        self._depth -= 1
        return code


def offset_of(tree: Tree[Token] | Token) -> int:
    """Return where a tree begins. Every tree but an empty `arguments` begins with a token."""
    while isinstance(tree, Tree):
        tree = tree.children[0]
    return tree.start_pos or 0


def token_of(tree: Tree[Token] | Token) -> Token:
    """Return a child of which the grammar says that it is a token."""
    assert isinstance(tree, Token)
    return tree
