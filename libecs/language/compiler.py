"""From a syntax tree to nested Python functions, once per expression; running them is the evaluation.

Each rule of the grammar has one function here that takes the tree and returns `Code`. Nothing is looked up, parsed or
checked by type of node while an expression runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

import attrs
from lark import Token, Tree

from libecs.errors import EcsError, ExpressionError, Missing, TemplateError
from libecs.language import grammar
from libecs.language.operators import (
    ARITHMETIC,
    RELATIONS,
    Binary,
    Budget,
    bool_hint,
    cut,
    invert,
    item,
    member,
    negate,
)
from libecs.language.values import INT_MAX, MAX_DEPTH, MAX_TEXT, Value, a_type, fault


class Scope(Protocol):
    """What an expression can see: variables, and functions by their dotted names."""

    def lookup(self, name: str) -> Value:
        """Return the value of a variable, or raise `KeyError` if there is none of that name."""
        ...

    def names(self) -> Iterable[str]:
        """Return the names of all variables, for checks and for "did you mean"."""
        ...

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        """Call the function `path`, such as ("strings", "ToLower"), or raise an `EcsError`."""
        ...


class Frame:
    """The state of one evaluation."""

    __slots__ = ("budget", "index", "item", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.budget = Budget()
        self.item: Value = None
        """`#` of the innermost closure."""
        self.index = 0
        """`#index`."""


Code: TypeAlias = Callable[[Frame], Value]


@attrs.frozen(kw_only=True)
class Program:
    """A compiled expression. It holds no place and no values, so equal sources share one."""

    source: str
    code: Code = attrs.field(eq=False, repr=False)
    names: dict[str, int]
    """Free variables, each with the offset where it stands first."""
    calls: dict[tuple[str, ...], int]
    """Functions, each with the offset where it is called first."""
    bare: str | None
    """The name, if the expression is nothing but a variable."""

    def run(self, scope: Scope) -> Value:
        """Return the value.

        Raises:
            ExpressionError: it can't be computed; `column` is an offset into the source plus one, no line is given,
                unless a function raised an error with a place of its own.
            Missing: a function needs configuration keys first.
        """
        return self.code(Frame(scope))


_BARE: Final = re.compile(r"\s*([^\W\d]\w*)\s*")
_RESERVED: Final = frozenset(
    ("true", "false", "nil", "or", "and", "not", "in", "contains", "startsWith", "endsWith", "matches")
)


def compile_program(source: str) -> Program:
    """Compile one expression.

    Raises:
        ExpressionError: it does not parse; `column` is an offset plus one, no line is given.
    """
    grammar.check_length(source)
    simple = _BARE.fullmatch(source)
    if simple and simple[1] not in _RESERVED:  # nearly all expressions of real templates
        name, offset = simple[1], simple.start(1)
        return Program(source=source, code=_variable(name, offset), names={name: offset}, calls={}, bare=name)
    compiler = _Compiler()
    code = compiler.compile(grammar.parse(source).children[0])
    return Program(source=source, code=code, names=compiler.names, calls=compiler.calls, bare=None)


def place(error: ExpressionError, offset: int) -> ExpressionError:
    """Return the error with `offset` filled in, unless it has a place already."""
    if error.column or error.line:
        return error
    return ExpressionError(error.reason, path=error.path, column=offset + 1, hint=error.hint)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" with the nearest known names, or ""."""
    names = sorted(set(known))
    near = [other for other in names if other.lower() == name.lower()]
    near += [other for other in difflib.get_close_matches(name, names, n=3, cutoff=0.7) if other not in near]
    return f"did you mean {' or '.join(near[:3])}?" if near else ""


def unknown_name(name: str, known: Iterable[str], offset: int) -> ExpressionError:
    """Return the error for a variable that nobody has set."""
    name = name if len(name) <= 60 else f"{name[:60]}..."
    hint = {"True": "write true", "False": "write false", "None": "write nil", "null": "write nil"}.get(name)
    hint = hint or suggest(name, known) or "set it in defaults or vars, or quote it if it is text"
    return fault(f"unknown variable {name!r}", offset, hint)


class _Compiler:
    """What is gathered while one tree is compiled."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.calls: dict[tuple[str, ...], int] = {}
        self.loops = 0
        self._depth = 0

    def compile(self, tree: Tree[Token] | Token) -> Code:
        """Return the code of a tree; deeper than `MAX_DEPTH` is an `ExpressionError`."""
        assert isinstance(tree, Tree)
        if self._depth >= MAX_DEPTH:
            raise fault(f"the expression has more than {MAX_DEPTH} levels inside each other", _offset(tree))
        self._depth += 1
        code = _RULES[str(tree.data)](self, tree)
        self._depth -= 1
        return code


def _offset(tree: Tree[Token] | Token) -> int:
    """Return where a tree begins. Every tree but an empty `arguments` begins with a token."""
    while isinstance(tree, Tree):
        tree = tree.children[0]
    return tree.start_pos or 0


def _token(tree: Tree[Token] | Token) -> Token:
    assert isinstance(tree, Token)
    return tree


def _condition(value: Value, offset: int) -> bool:
    if value is True or value is False:
        return value
    raise fault(f"a condition must be a bool, and is {a_type(value)}", offset, bool_hint(value))


# --- names and literals


def _variable(name: str, offset: int) -> Code:
    def variable(frame: Frame) -> Value:
        try:
            return frame.scope.lookup(name)
        except KeyError:
            raise unknown_name(name, frame.scope.names(), offset) from None

    return variable


def _name(compiler: _Compiler, tree: Tree[Token]) -> Code:
    token = _token(tree.children[0])
    offset = token.start_pos or 0
    compiler.names.setdefault(str(token), offset)
    return _variable(str(token), offset)


def _constant(value: Value) -> Code:
    return lambda frame: value


def _integer(compiler: _Compiler, tree: Tree[Token]) -> Code:
    return _constant(_integer_value(_token(tree.children[0])))


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


def _float(compiler: _Compiler, tree: Tree[Token]) -> Code:
    token = _token(tree.children[0])
    value = float(token.replace("_", ""))
    if value == float("inf"):
        raise fault("the number is too large for a float", token.start_pos or 0)
    return _constant(value)


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


def _string(compiler: _Compiler, tree: Tree[Token]) -> Code:
    return _constant(_string_value(_token(tree.children[0])))


def _group(compiler: _Compiler, tree: Tree[Token]) -> Code:
    return compiler.compile(tree.children[1])


def _list(compiler: _Compiler, tree: Tree[Token]) -> Code:
    codes = [compiler.compile(child) for child in tree.children if isinstance(child, Tree)]

    def make_list(frame: Frame) -> Value:
        return [code(frame) for code in codes]

    return make_list


def _map(compiler: _Compiler, tree: Tree[Token]) -> Code:
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


def _pair(compiler: _Compiler, tree: Tree[Token]) -> tuple[Code, int, Code]:
    key, value = tree.children[0], compiler.compile(tree.children[2])
    assert isinstance(key, Tree)
    first = _token(key.children[0])
    if first.type == "LPAR":
        return compiler.compile(key.children[1]), _offset(key.children[1]), value
    return _constant(_string_value(first) if first.type == "STRING" else str(first)), first.start_pos or 0, value


# --- operators


def _conditional(compiler: _Compiler, tree: Tree[Token]) -> Code:
    question, yes, no = (compiler.compile(tree.children[i]) for i in (0, 2, 4))
    offset = _offset(tree)

    def conditional(frame: Frame) -> Value:
        return yes(frame) if _condition(question(frame), offset) else no(frame)

    return conditional


def _elvis(compiler: _Compiler, tree: Tree[Token]) -> Code:
    question, no = compiler.compile(tree.children[0]), compiler.compile(tree.children[3])
    offset = _offset(tree)

    def elvis(frame: Frame) -> Value:
        return True if _condition(question(frame), offset) else no(frame)

    return elvis


def _logical(stop: bool) -> Callable[[_Compiler, Tree[Token]], Code]:
    """`or` stops at the first True, `and` at the first False; what follows is not evaluated."""

    def build(compiler: _Compiler, tree: Tree[Token]) -> Code:
        operands = [(compiler.compile(child), _offset(child)) for child in tree.children[::2]]

        def logical(frame: Frame) -> Value:
            for code, offset in operands:
                if _condition(code(frame), offset) is stop:
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


def _arithmetic(compiler: _Compiler, tree: Tree[Token]) -> Code:
    operands = [compiler.compile(child) for child in tree.children[::2]]
    signs = [(ARITHMETIC[str(sign)], _offset(sign)) for sign in tree.children[1::2]]
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


def _comparison(compiler: _Compiler, tree: Tree[Token]) -> Code:
    """`a < b < c` means a < b and b < c, as in expr-lang; each operand is evaluated once."""
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


def _comparator(tree: Tree[Token] | Token) -> tuple[Binary, int]:
    assert isinstance(tree, Tree)
    operate = RELATIONS[str(tree.children[-1])]
    if len(tree.children) == 1:
        return operate, _offset(tree)
    return (lambda budget, left, right: not operate(budget, left, right)), _offset(tree)


def _coalesce(compiler: _Compiler, tree: Tree[Token]) -> Code:
    left, right = compiler.compile(tree.children[0]), compiler.compile(tree.children[2])

    def coalesce(frame: Frame) -> Value:
        value = left(frame)
        return right(frame) if value is None else value

    return coalesce


def _unary(operate: Callable[[Value], Value], code: Code, offset: int) -> Code:
    def unary(frame: Frame) -> Value:
        value = code(frame)
        try:
            return operate(value)
        except ExpressionError as error:
            raise place(error, offset) from None

    return unary


def _not(compiler: _Compiler, tree: Tree[Token]) -> Code:
    return _unary(invert, compiler.compile(tree.children[1]), _offset(tree))


def _signed(compiler: _Compiler, tree: Tree[Token]) -> Code:
    code, minus = compiler.compile(tree.children[1]), tree.children[0] == "-"
    return _unary(negate if minus else lambda value: negate(negate(value)), code, _offset(tree))


# --- what stands behind a value: .name [i] (arguments)

_STOP: Final = object()
Step: TypeAlias = Callable[[Frame, Value], "Value | object"]


def _chain(compiler: _Compiler, tree: Tree[Token]) -> Code:
    """A value with members, items and slices behind it; after `?.` on nil the rest of the chain is nil."""
    links: list[Tree[Token]] = []
    base: Tree[Token] | Token = tree
    while isinstance(base, Tree) and str(base.data) in _LINKS:
        links.append(base)
        base = base.children[0]
    start = compiler.compile(base)
    steps = [_LINKS[str(link.data)](compiler, link) for link in reversed(links)]

    def chain(frame: Frame) -> Value:
        value = start(frame)
        for step in steps:
            found = step(frame, value)
            if found is _STOP:
                return None
            value = found  # type: ignore[assignment]
        return value

    return chain


def _member(compiler: _Compiler, tree: Tree[Token]) -> Step:
    name, offset = str(tree.children[2]), _token(tree.children[1]).start_pos or 0

    def step(frame: Frame, value: Value) -> Value:
        try:
            return member(value, name)
        except ExpressionError as error:
            raise place(error, offset) from None

    return step


def _index(compiler: _Compiler, tree: Tree[Token]) -> Step:
    index, offset = compiler.compile(tree.children[-2]), _token(tree.children[1]).start_pos or 0

    def step(frame: Frame, value: Value) -> Value:
        key = index(frame)
        try:
            return item(value, key)
        except ExpressionError as error:
            raise place(error, offset) from None

    return step


def _optional(build: Callable[[_Compiler, Tree[Token]], Step]) -> Callable[[_Compiler, Tree[Token]], Step]:
    def build_optional(compiler: _Compiler, tree: Tree[Token]) -> Step:
        inner = build(compiler, tree)
        return lambda frame, value: _STOP if value is None else inner(frame, value)

    return build_optional


def _slice(begin: int, end: int) -> Callable[[_Compiler, Tree[Token]], Step]:
    """Build slices; `begin` and `end` are the places of the bounds among the tree's children, 0 if left out."""

    def build(compiler: _Compiler, tree: Tree[Token]) -> Step:
        first = compiler.compile(tree.children[begin]) if begin else _constant(None)
        last = compiler.compile(tree.children[end]) if end else _constant(None)
        offset = _token(tree.children[1]).start_pos or 0

        def step(frame: Frame, value: Value) -> Value:
            bounds = first(frame), last(frame)
            try:
                return cut(frame.budget, value, *bounds)
            except ExpressionError as error:
                raise place(error, offset) from None

        return step

    return build


_LINKS: Final[dict[str, Callable[[_Compiler, Tree[Token]], Step]]] = {
    "member": _member,
    "optional_member": _optional(_member),
    "index": _index,
    "optional_index": _optional(_index),
    "slice": _slice(2, 4),
    "slice_from": _slice(2, 0),
    "slice_to": _slice(0, 3),
    "slice_all": _slice(0, 0),
}


# --- functions and closures


def _call(compiler: _Compiler, tree: Tree[Token]) -> Code:
    callee, arguments = tree.children[0], tree.children[2]
    names: list[str] = []
    node = callee
    while isinstance(node, Tree) and node.data == "member":
        names.append(str(node.children[2]))
        node = node.children[0]
    if not isinstance(node, Tree) or node.data != "name":
        raise fault("only functions with a name can be called", _offset(callee))
    path = (str(node.children[0]), *reversed(names))
    assert isinstance(arguments, Tree)
    return _function(compiler, path, _offset(node), [], arguments)


def _pipe(compiler: _Compiler, tree: Tree[Token]) -> Code:
    """`x | f(y)` is f(x, y)."""
    _, _, callee, _, arguments, _ = tree.children
    assert isinstance(callee, Tree)
    assert isinstance(arguments, Tree)
    path = tuple(str(token) for token in callee.children[::2])
    return _function(compiler, path, _offset(callee), [tree.children[0]], arguments)


def _function(
    compiler: _Compiler,
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
                f"{'.'.join(path)} takes no closure {{ }}", _offset(argument), f"closures go with {_loop_names()}"
            )
    codes = [compiler.compile(argument) for argument in given]

    def call(frame: Frame) -> Value:
        values = [code(frame) for code in codes]
        try:
            frame.budget.spend(1 + sum(len(value) for value in values if isinstance(value, str)) // 16)
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


def _loop(compiler: _Compiler, name: str, offset: int, given: list[Tree[Token] | Token]) -> Code:
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
    body_offset = _offset(inner)
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
            return finish((_condition(answer, body_offset) for answer in results(frame, items)), items)
        except ExpressionError as error:
            raise place(error, offset) from None

    return loop


def _item(compiler: _Compiler, tree: Tree[Token]) -> Code:
    token = _token(tree.children[0])
    if not compiler.loops:
        raise fault(
            f"`{token}` has a meaning only in a closure", token.start_pos or 0, f"closures go with {_loop_names()}"
        )
    if token == "#":
        return lambda frame: frame.item
    return lambda frame: frame.index


def _item_member(compiler: _Compiler, tree: Tree[Token]) -> Code:
    token = _token(tree.children[0])
    if not compiler.loops:
        raise fault("`.` needs a value before it", token.start_pos or 0)
    name = str(tree.children[1])
    return _unary(lambda value: member(value, name), lambda frame: frame.item, token.start_pos or 0)


_RULES: Final[dict[str, Callable[[_Compiler, Tree[Token]], Code]]] = {
    "name": _name,
    "integer": _integer,
    "float": _float,
    "string": _string,
    "true": lambda compiler, tree: _constant(True),
    "false": lambda compiler, tree: _constant(False),
    "nil": lambda compiler, tree: _constant(None),
    "group": _group,
    "list": _list,
    "map": _map,
    "item": _item,
    "item_member": _item_member,
    "conditional": _conditional,
    "elvis": _elvis,
    "pipe": _pipe,
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
    "call": _call,
    **dict.fromkeys(_LINKS, _chain),
}
