"""Rules for calls and pipes."""

from __future__ import annotations

from typing import Final

from lark import Token, Tree

from libecs.errors import EcsError, ExpressionError, Missing, TemplateError
from libecs.language.compilation import Compiler, Rule, offset_of
from libecs.language.loops import compile_loop, is_loop, loop_names
from libecs.language.operators import Budget
from libecs.language.program import Code, Frame, place
from libecs.language.values import MAX_TEXT, Value, fault

CALL_STEPS: Final = 10
"""What a call costs besides the text it is given."""


def _call(compiler: Compiler, tree: Tree[Token]) -> Code:
    callee, arguments = tree.children[0], tree.children[2]
    path = _path(callee)
    if not path:
        raise fault("only functions with a name can be called", offset_of(callee))
    assert isinstance(arguments, Tree)
    piped = compiler.piped.pop(id(tree), None)
    return _function(compiler, path, offset_of(callee), [] if piped is None else [piped], arguments)


def _path(callee: Tree[Token] | Token) -> tuple[str, ...]:
    """Return the parts of a name with dots in it; () for anything else."""
    names: list[str] = []
    while isinstance(callee, Tree) and callee.data == "member":
        names.append(str(callee.children[2]))
        callee = callee.children[0]
    if not isinstance(callee, Tree) or callee.data != "name":
        return ()
    return (str(callee.children[0]), *reversed(names))


def _pipe(compiler: Compiler, tree: Tree[Token]) -> Code:
    """`x | f(y)` is f(x, y), `x | f(y)[0]` is f(x, y)[0], and `x | f` is f(x)."""
    target = tree.children[2]
    if path := _path(target):
        return _function(compiler, path, offset_of(target), [tree.children[0]], None)
    call = target
    while isinstance(call, Tree) and not (call.data == "call" and _path(call.children[0])):
        call = call.children[0]
    if not isinstance(call, Tree):
        raise fault("`|` passes a value on to a function", offset_of(target), "such as x | lower")
    compiler.piped[id(call)] = tree.children[0]
    return compiler.compile(target)


def _function(
    compiler: Compiler,
    path: tuple[str, ...],
    offset: int,
    first: list[Tree[Token] | Token],
    arguments: Tree[Token] | None,
) -> Code:
    given = list(first)
    if arguments is not None:
        given += [child for child in arguments.children if isinstance(child, Tree)]
    if is_loop(path):
        return compile_loop(compiler, path[0], offset, given)
    compiler.calls.setdefault(path, offset)
    for argument in given:
        if isinstance(argument, Tree) and argument.data == "closure":
            raise fault(
                f"{'.'.join(path)} takes no closure {{ }}", offset_of(argument), f"closures go with {loop_names()}"
            )
    codes = [compiler.compile(argument) for argument in given]

    def call(frame: Frame) -> Value:
        values = [code(frame) for code in codes]
        try:
            frame.budget.spend(CALL_STEPS + sum(map(_size, values)) // 16)
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


def _size(value: Value) -> int:
    """Return how many characters a function may have to go through, items of lists counted once."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(len(item) for item in value if isinstance(item, str)) // 4
    return 0


def _weigh(budget: Budget, values: list[Value], result: Value) -> None:
    """Spend what a call cost beyond a look at its text: lists and maps that were read, written or made."""
    lists = [value for value in values if isinstance(value, (list, dict))]
    if isinstance(result, str):
        if len(result) > MAX_TEXT:
            raise fault(f"the result has {len(result)} characters, more than {MAX_TEXT}")
        budget.spend(len(result) // (4 if lists else 16))
    if lists:
        budget.spend(2 * sum(len(value) for value in lists))
    elif isinstance(result, (list, dict)):
        budget.spend(len(result) + sum(len(value) for value in values if isinstance(value, str)) // 4)


CALLS: Final[dict[str, Rule]] = {"call": _call, "pipe": _pipe}
