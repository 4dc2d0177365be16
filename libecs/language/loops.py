"""Rules for the functions with a closure, which go through a list: `filter(xs, # > 1)`, `reduce(xs, #acc + #)`.

In a closure `#` is the item, `.name` short for `#.name`, `#index` its number, and `#acc` what `reduce` has so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs
from lark import Token, Tree

from libecs.errors import ExpressionError
from libecs.language.compilation import Compiler, Rule, offset_of, token_of
from libecs.language.lists import ascending
from libecs.language.operators import Budget, add, member
from libecs.language.program import Code, Frame, condition, place, unary
from libecs.language.values import Value, a_type, fault, to_text

Answer: TypeAlias = "tuple[int, Value, Value]"
"""Number of an item, the item, and what the closure made of it."""


@attrs.frozen(kw_only=True)
class Loop:
    """One of these functions."""

    finish: Callable[[Budget, Iterator[Answer], Value], Value]
    """Makes the result. It gets the third argument, nil if there is none."""
    bools: bool = True
    """The closure asks a question."""
    bare: bool = False
    """The closure may be left out: then the items are the answers."""
    extra: bool = False
    """A third argument is allowed."""
    backwards: bool = False
    """The last item comes first."""
    work: int = 2
    """Steps for each item besides those of the closure."""


def _find(budget: Budget, answers: Iterator[Answer], _: Value) -> Value:
    return next((item for _, item, yes in answers if yes), None)


def _find_index(budget: Budget, answers: Iterator[Answer], _: Value) -> Value:
    return next((index for index, _, yes in answers if yes), None)


def _sum(budget: Budget, answers: Iterator[Answer], _: Value) -> Value:
    total: Value = 0
    for _index, _item, number in answers:
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            raise fault(f"sum adds numbers, not {a_type(number)}")
        total = add(budget, total, number)
    return total


def _group(budget: Budget, answers: Iterator[Answer], _: Value) -> Value:
    groups: dict[str, list[Value]] = {}
    for _index, item, key in answers:
        groups.setdefault(to_text(key), []).append(item)
    return dict(groups)


def _sort_by(budget: Budget, answers: Iterator[Answer], order: Value) -> Value:
    pairs = [(item, key) for _, item, key in answers]
    keys = [key for _, key in pairs]
    budget.spend(sum(len(key) for key in keys if isinstance(key, str)) >> 6)
    return [pairs[i][0] for i in ascending("sortBy", keys, "asc" if order is None else order)]


_LOOPS: Final[dict[str, Loop]] = {
    "all": Loop(finish=lambda budget, answers, _: all(yes for _, _, yes in answers)),
    "any": Loop(finish=lambda budget, answers, _: any(yes for _, _, yes in answers)),
    "none": Loop(finish=lambda budget, answers, _: not any(yes for _, _, yes in answers)),
    "one": Loop(finish=lambda budget, answers, _: sum(1 for _, _, yes in answers if yes) == 1),
    "count": Loop(finish=lambda budget, answers, _: sum(1 for _, _, yes in answers if yes), bare=True),
    "filter": Loop(finish=lambda budget, answers, _: [item for _, item, yes in answers if yes]),
    "map": Loop(finish=lambda budget, answers, _: [made for _, _, made in answers], bools=False),
    "find": Loop(finish=_find),
    "findIndex": Loop(finish=_find_index),
    "findLast": Loop(finish=_find, backwards=True),
    "findLastIndex": Loop(finish=_find_index, backwards=True),
    "sum": Loop(finish=_sum, bools=False, bare=True),
    "groupBy": Loop(finish=_group, bools=False, work=6),
    "sortBy": Loop(finish=_sort_by, bools=False, extra=True),
}
_REDUCE: Final = "reduce"


def is_loop(path: tuple[str, ...]) -> bool:
    """Return whether a function takes a closure."""
    return len(path) == 1 and (path[0] in _LOOPS or path[0] == _REDUCE)


def loop_names() -> str:
    """Return the names of the functions with a closure, for messages."""
    return ", ".join(sorted((*_LOOPS, _REDUCE)))


def compile_loop(compiler: Compiler, name: str, offset: int, given: list[Tree[Token] | Token]) -> Code:
    """Return the code of a call of one of these functions; `given` are its arguments.

    Raises:
        ExpressionError: too few or too many.
    """
    loop = _LOOPS.get(name)
    most = 3 if loop is None or loop.extra else 2
    if not (1 if loop is not None and loop.bare else 2) <= len(given) <= most:
        raise fault(f"{name} takes a list and a closure", offset, f"such as {name}(xs, {{# == 'a'}})")
    items_code = compiler.compile(given[0])
    body, cost = (None, 1) if len(given) == 1 else _body(compiler, given[1], reduction=loop is None)
    cost += loop.work if loop is not None else 2
    option_code = compiler.compile(given[2]) if len(given) == 3 else None

    def items_of(frame: Frame) -> list[Value]:
        items = items_code(frame)
        if isinstance(items, list):
            return items
        raise fault(f"{name} takes a list, not {a_type(items)}", offset, "json.Unmarshal makes a list of JSON text")

    if loop is None:
        assert body is not None
        return _reduction(items_of, body, cost, option_code, offset)
    body_offset = offset_of(given[-1] if body is None else _inner(given[1]))

    def answers(frame: Frame, items: list[Value]) -> Iterator[Answer]:
        order = range(len(items) - 1, -1, -1) if loop.backwards else range(len(items))
        for index in order:
            frame.budget.spend(cost)
            frame.item, frame.index = items[index], index
            answer = frame.item if body is None else body(frame)
            if loop.bools:
                condition(answer, body_offset)
            yield index, items[index], answer

    def run(frame: Frame) -> Value:
        items = items_of(frame)
        option = option_code(frame) if option_code else None
        outer = frame.item, frame.index
        try:
            return loop.finish(frame.budget, answers(frame, items), option)
        except ExpressionError as error:
            raise place(error, offset) from None
        finally:
            frame.item, frame.index = outer

    return run


def _reduction(
    items_of: Callable[[Frame], list[Value]], body: Code, cost: int, begin: Code | None, offset: int
) -> Code:
    def reduce(frame: Frame) -> Value:
        items = items_of(frame)
        if begin is None and not items:
            raise fault("reduce of an empty list needs a third argument to begin with", offset)
        start = 0 if begin is not None else 1
        total = begin(frame) if begin is not None else items[0]
        outer = frame.item, frame.index, frame.acc
        try:
            for index in range(start, len(items)):
                frame.budget.spend(cost)
                frame.item, frame.index, frame.acc = items[index], index, total
                total = body(frame)
        finally:
            frame.item, frame.index, frame.acc = outer
        return total

    return reduce


def _inner(body: Tree[Token] | Token) -> Tree[Token] | Token:
    return body.children[1] if isinstance(body, Tree) and body.data == "closure" else body


def _body(compiler: Compiler, tree: Tree[Token] | Token, *, reduction: bool) -> tuple[Code, int]:
    """Return the code of a closure, and what one round of it costs."""
    assert isinstance(tree, Tree)
    compiler.loops += 1
    compiler.reductions += reduction
    code = compiler.compile(_inner(tree))
    compiler.loops -= 1
    compiler.reductions -= reduction
    return code, sum(1 for _ in tree.iter_subtrees())


def _item(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    offset = token.start_pos or 0
    if not compiler.loops:
        raise fault(f"`{token}` has a meaning only in a closure", offset, f"closures go with {loop_names()}")
    if token == "#":
        return lambda frame: frame.item
    if token == "#index":
        return lambda frame: frame.index
    if not compiler.reductions:
        raise fault("`#acc` has a meaning only in the closure of `reduce`", offset)
    return lambda frame: frame.acc


def _item_member(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    if not compiler.loops:
        raise fault("`.` needs a value before it", token.start_pos or 0)
    name = str(tree.children[1])
    return unary(lambda value: member(value, name), lambda frame: frame.item, token.start_pos or 0)


LOOPS: Final[dict[str, Rule]] = {"item": _item, "item_member": _item_member}
