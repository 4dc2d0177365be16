"""Rules for calls, pipes, and the functions with a closure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from lark import Token, Tree

from libecs.errors import EcsError, ExpressionError, Missing, TemplateError
from libecs.language.operators import Budget, member
from libecs.language.program import Code, Compiler, Frame, Rule, condition, offset_of, place, token_of, unary
from libecs.language.values import MAX_TEXT, Value, a_type, fault

CALL_STEPS: Final = 10
"""What a call costs besides the text it is given."""


def _call(compiler: Compiler, tree: Tree[Token]) -> Code:
    callee, arguments = tree.children[0], tree.children[2]
    names: list[str] = []
    node = callee
    while isinstance(node, Tree) and node.data == "member":
        names.append(str(node.children[2]))
        node = node.children[0]
    if not isinstance(node, Tree) or node.data != "name":
        raise fault("only functions with a name can be called", offset_of(callee))
    path = (str(node.children[0]), *reversed(names))
    assert isinstance(arguments, Tree)
    return _function(compiler, path, offset_of(node), [], arguments)


def _pipe(compiler: Compiler, tree: Tree[Token]) -> Code:
    """`x | f(y)` is f(x, y)."""
    _, _, callee, _, arguments, _ = tree.children
    assert isinstance(callee, Tree)
    assert isinstance(arguments, Tree)
    path = tuple(str(token) for token in callee.children[::2])
    return _function(compiler, path, offset_of(callee), [tree.children[0]], arguments)


def _function(
    compiler: Compiler,
    path: tuple[str, ...],
    offset: int,
    first: list[Tree[Token] | Token],
    arguments: Tree[Token],
) -> Code:
    given = first + [child for child in arguments.children if isinstance(child, Tree)]
    if len(path) == 1 and path[0] in _LOOPS:
        return _loop(compiler, path[0], offset, given)
    compiler.calls.setdefault(path, offset)
    for argument in given:
        if isinstance(argument, Tree) and argument.data == "closure":
            raise fault(
                f"{'.'.join(path)} takes no closure {{ }}", offset_of(argument), f"closures go with {_loop_names()}"
            )
    codes = [compiler.compile(argument) for argument in given]

    def call(frame: Frame) -> Value:
        values = [code(frame) for code in codes]
        try:
            frame.budget.spend(CALL_STEPS + sum(len(value) for value in values if isinstance(value, str)) // 16)
            result = frame.scope.call(path, values)
            _weigh(frame.budget, values, result)
        except ExpressionError as error:
            raise place(error, offset) from None
        except (Missing, TemplateError):
            raise
        except EcsError as error:
            raise fault(f"{'.'.join(path)}: {error.message}", offset, error.hint) from error
        return result

    return call


def _weigh(budget: Budget, values: list[Value], result: Value) -> None:
    """Spend what a call cost beyond a look at its text: lists and maps that were read, written or made."""
    lists = [value for value in values if isinstance(value, (list, dict))]
    if isinstance(result, str):
        if len(result) > MAX_TEXT:
            raise fault(f"the result has {len(result)} characters, more than {MAX_TEXT}")
        budget.spend(len(result) // (4 if lists else 16))
    if lists:
        budget.spend(sum(len(value) for value in lists))
    elif isinstance(result, (list, dict)):
        budget.spend(len(result) + sum(len(value) for value in values if isinstance(value, str)) // 4)


Loop: TypeAlias = Callable[[Iterable[bool], "list[Value]"], Value]

_LOOPS: Final[dict[str, Loop]] = {
    "all": lambda answers, items: all(answers),
    "any": lambda answers, items: any(answers),
    "none": lambda answers, items: not any(answers),
    "one": lambda answers, items: sum(answers) == 1,
    "count": lambda answers, items: sum(answers),
    "filter": lambda answers, items: [item for item, answer in zip(items, answers, strict=True) if answer],
    "map": lambda answers, items: None,
}
"""Functions with a closure: what they make of the answers, item by item. `map` has no bools: see `_loop`."""


def _loop_names() -> str:
    return ", ".join(sorted(_LOOPS))


def _loop(compiler: Compiler, name: str, offset: int, given: list[Tree[Token] | Token]) -> Code:
    if len(given) != 2:
        raise fault(f"{name} takes a list and a closure", offset, f"such as {name}(xs, {{# == 'a'}})")
    source, body = given
    assert isinstance(body, Tree)
    items_code = compiler.compile(source)
    compiler.loops += 1
    inner = body.children[1] if body.data == "closure" else body
    code = compiler.compile(inner)
    compiler.loops -= 1
    cost = 1 + sum(1 for _ in body.iter_subtrees())
    body_offset = offset_of(inner)
    finish = _LOOPS[name]

    def results(frame: Frame, items: list[Value]) -> Iterable[Value]:
        outer = frame.item, frame.index
        try:
            for index, value in enumerate(items):
                frame.budget.spend(cost)
                frame.item, frame.index = value, index
                yield code(frame)
        finally:
            frame.item, frame.index = outer

    def loop(frame: Frame) -> Value:
        items = items_code(frame)
        if not isinstance(items, list):
            raise fault(f"{name} takes a list, not {a_type(items)}", offset, "json.Unmarshal makes a list of JSON text")
        try:
            if name == "map":
                return list(results(frame, items))
            return finish((condition(answer, body_offset) for answer in results(frame, items)), items)
        except ExpressionError as error:
            raise place(error, offset) from None

    return loop


def _item(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    if not compiler.loops:
        raise fault(
            f"`{token}` has a meaning only in a closure", token.start_pos or 0, f"closures go with {_loop_names()}"
        )
    if token == "#":
        return lambda frame: frame.item
    return lambda frame: frame.index


def _item_member(compiler: Compiler, tree: Tree[Token]) -> Code:
    token = token_of(tree.children[0])
    if not compiler.loops:
        raise fault("`.` needs a value before it", token.start_pos or 0)
    name = str(tree.children[1])
    return unary(lambda value: member(value, name), lambda frame: frame.item, token.start_pos or 0)


CALLS: Final[dict[str, Rule]] = {"call": _call, "pipe": _pipe, "item": _item, "item_member": _item_member}
