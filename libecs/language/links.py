"""Rules for what stands behind a value: .name, [index], [begin:end], and ?. before them; `$env[name]` among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from lark import Token, Tree

from libecs.errors import ExpressionError
from libecs.language.compilation import Compiler, Rule, offset_of, token_of
from libecs.language.literals import constant
from libecs.language.operators import cut, item, member
from libecs.language.program import Code, Frame, place
from libecs.language.values import Value, a_type, fault

_STOP: Final = object()
Step: TypeAlias = Callable[[Frame, Value], "Value | object"]


def _chain(compiler: Compiler, tree: Tree[Token]) -> Code:
    """A value with members, items and slices behind it; after `?.` on nil the rest of the chain is nil."""
    links: list[Tree[Token]] = []
    base: Tree[Token] | Token = tree
    while isinstance(base, Tree) and str(base.data) in _LINKS:
        links.append(base)
        base = base.children[0]
    if isinstance(base, Tree) and base.data == "env" and str(links[-1].data) in _NAMED:
        start = _from_env(compiler, links.pop())
    else:
        start = compiler.compile(base)
    steps = [_LINKS[str(link.data)](compiler, link) for link in reversed(links)]

    def chain(frame: Frame) -> Value:
        value = start(frame)
        for step in steps:
            found = step(frame, value)
            if found is _STOP:
                return None
            value = found  # type: ignore[assignment]  # _STOP is the one that is no Value
        return value

    return chain


def _from_env(compiler: Compiler, tree: Tree[Token]) -> Code:
    """`$env.name` and `$env[name]`: a variable whose name may be anything, nil if there is none."""
    offset = offset_of(tree.children[2])
    is_member = str(tree.children[1]) in (".", "?.") and len(tree.children) == 3
    name_code = constant(str(tree.children[2])) if is_member else compiler.compile(tree.children[-2])

    def from_env(frame: Frame) -> Value:
        name = name_code(frame)
        if not isinstance(name, str):
            raise fault(f"the name of a variable must be a string, not {a_type(name)}", offset)
        try:
            return frame.scope.lookup(name)
        except KeyError:
            return None

    return from_env


def _member(compiler: Compiler, tree: Tree[Token]) -> Step:
    name, offset = str(tree.children[2]), token_of(tree.children[1]).start_pos or 0

    def step(frame: Frame, value: Value) -> Value:
        try:
            return member(value, name)
        except ExpressionError as error:
            raise place(error, offset) from None

    return step


def _index(compiler: Compiler, tree: Tree[Token]) -> Step:
    index, offset = compiler.compile(tree.children[-2]), token_of(tree.children[1]).start_pos or 0

    def step(frame: Frame, value: Value) -> Value:
        key = index(frame)
        try:
            return item(value, key)
        except ExpressionError as error:
            raise place(error, offset) from None

    return step


def _optional(build: Callable[[Compiler, Tree[Token]], Step]) -> Callable[[Compiler, Tree[Token]], Step]:
    def build_optional(compiler: Compiler, tree: Tree[Token]) -> Step:
        inner = build(compiler, tree)
        return lambda frame, value: _STOP if value is None else inner(frame, value)

    return build_optional


def _slice(begin: int, end: int) -> Callable[[Compiler, Tree[Token]], Step]:
    """Build slices; `begin` and `end` are the places of the bounds among the tree's children, 0 if left out."""

    def build(compiler: Compiler, tree: Tree[Token]) -> Step:
        first = compiler.compile(tree.children[begin]) if begin else constant(None)
        last = compiler.compile(tree.children[end]) if end else constant(None)
        offset = token_of(tree.children[1]).start_pos or 0

        def step(frame: Frame, value: Value) -> Value:
            bounds = first(frame), last(frame)
            try:
                return cut(frame.budget, value, *bounds)
            except ExpressionError as error:
                raise place(error, offset) from None

        return step

    return build


_LINKS: Final[dict[str, Callable[[Compiler, Tree[Token]], Step]]] = {
    "member": _member,
    "optional_member": _optional(_member),
    "index": _index,
    "optional_index": _optional(_index),
    "slice": _slice(2, 4),
    "slice_from": _slice(2, 0),
    "slice_to": _slice(0, 3),
    "slice_all": _slice(0, 0),
}
_NAMED: Final = frozenset(("member", "optional_member", "index", "optional_index"))
LINKS: Final[dict[str, Rule]] = dict.fromkeys(_LINKS, _chain)
