"""Template processing of configuration payloads: `{{ expression }}`, statements, and `{# comment #}`.

    {% include "entry" %}                                  another entry, processed with the same variables
    {% if x == 'a' %} … {% elif y %} … {% else %} … {% endif %}
    {% for x in list %} … {% empty %} … {% endfor %}      also `for key, value in map`; `loop` counts
    {% set x = expression %}
    {% raw %} … {% endraw %}                              kept as it is

That is the part of Jinja and pongo2 that payloads use. A `-` inside of a brace, `{%-` and `-%}`, removes the white
space on its side. Expressions are those of the workflow language, which the caller brings along as `Evaluator`, because
this floor lies below the language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import attrs

from libecs.config.path import COMPONENTS
from libecs.config.statements import For, If, Include, Node, Output, Set, Text, error_at, parse
from libecs.errors import ExpressionError, NotFound, TemplateError

Local: TypeAlias = Mapping[str, object]
"""Variables that `for` and `set` made. Their values are those of the expression language."""
Load = Callable[[str], "str | None"]
"""Key to payload, None if there is no such key."""

MAX_DEPTH: Final = 16
"""Includes inside each other."""
MAX_CHARACTERS: Final = 8 * 1024 * 1024
"""Characters made in one processing, what is made twice counted twice."""
MAX_STEPS: Final = 100_000
"""Pieces of templates that one processing goes through."""


class Evaluator(Protocol):
    """Expressions, evaluated with variables of the caller and, above them, local ones. All raise `ExpressionError`."""

    def text(self, expression: str, local: Local) -> str:
        """Return the text that takes the expression's place."""
        ...

    def truth(self, expression: str, local: Local) -> bool:
        """Return the answer to a condition."""
        ...

    def value(self, expression: str, local: Local) -> object:
        """Return the value itself."""
        ...


def process(key: str, load: Load, evaluator: Evaluator) -> str:
    """Return the payload at `key` with its templates processed.

    Raises:
        NotFound: no payload at `key`.
        TemplateError: a tag is wrong, an include leads nowhere or in circles.
        Missing: as `load`.
    """
    payload = load(key)
    if payload is None:
        raise NotFound(f"no payload at configuration path {_shown(key)}")
    return _Payload(key, load, evaluator).render(payload, key, (key,), {})


class _Payload:
    """One processing: includes are relative to the folder of the entry that was asked for, wherever they stand."""

    def __init__(self, key: str, load: Load, evaluator: Evaluator) -> None:
        self._folder = key.rpartition("/")[0] + "/"
        self._load = load
        self._evaluator = evaluator
        self._steps = MAX_STEPS
        self._size = 0

    def render(self, payload: str, key: str, above: tuple[str, ...], local: Local) -> str:
        """Return one payload, with variables that `for` and `set` made around its include."""
        page = _Page(payload, key, above)
        parts: list[str] = []
        self._nodes(parse(payload, _shown(key)), page, dict(local), parts)
        return "".join(parts)

    def _nodes(self, nodes: tuple[Node, ...], page: _Page, local: dict[str, object], parts: list[str]) -> None:
        for node in nodes:
            self._steps -= 1
            if self._steps < 0:
                raise page.error(node.offset, f"more than {MAX_STEPS} pieces are gone through")
            if isinstance(node, Text):
                self._add(node.text, page, parts)
                continue
            try:
                self._node(node, page, local, parts)
            except ExpressionError as error:
                if error.line or error.file:
                    raise
                raise page.error(node.offset, error.reason, hint=error.hint) from None

    def _node(self, node: Node, page: _Page, local: dict[str, object], parts: list[str]) -> None:
        if isinstance(node, Output):
            self._add(self._evaluator.text(node.expression, local), page, parts)
        elif isinstance(node, Set):
            local[node.name] = self._evaluator.value(node.expression, local)
        elif isinstance(node, If):
            for condition, body in node.branches:
                if condition is None or self._evaluator.truth(condition, local):
                    self._nodes(body, page, local, parts)
                    return
        elif isinstance(node, For):
            self._loop(node, page, local, parts)
        elif isinstance(node, Include):
            self._add(self._include(node, page, local), page, parts)

    def _add(self, text: str, page: _Page, parts: list[str]) -> None:
        self._size += len(text)
        if self._size > MAX_CHARACTERS:
            raise TemplateError(f"payload grows beyond {MAX_CHARACTERS} characters", file=_shown(page.above[0]))
        parts.append(text)

    def _loop(self, node: For, page: _Page, local: dict[str, object], parts: list[str]) -> None:
        rounds = _rounds(self._evaluator.value(node.expression, local), len(node.names), node, page)
        if not rounds:
            self._nodes(node.otherwise, page, local, parts)
        for index, values in enumerate(rounds):
            inside = {**local, **dict(zip(node.names, values, strict=True))}
            inside["loop"] = {
                "index": index + 1,
                "index0": index,
                "first": index == 0,
                "last": index == len(rounds) - 1,
                "length": len(rounds),
            }
            self._nodes(node.body, page, inside, parts)

    def _include(self, node: Include, page: _Page, local: Local) -> str:
        target = self._target(node.name)
        if target in page.above:
            circle = " -> ".join(_shown(step) for step in (*page.above, target))
            raise page.error(node.offset, f"includes go round in a circle: {circle}")
        if len(page.above) >= MAX_DEPTH:
            raise page.error(node.offset, f"includes are nested deeper than {MAX_DEPTH}")
        included = self._load(target)
        if included is None:
            raise page.error(node.offset, f"includes {node.name!r}, but there is no {_shown(target)}")
        return self.render(included, target, (*page.above, target), local)

    def _target(self, name: str) -> str:
        if name.startswith("/"):
            return COMPONENTS + name.lstrip("/")
        if (COMPONENTS + name).startswith(self._folder):
            return COMPONENTS + name
        return self._folder + name


@attrs.frozen
class _Page:
    """The payload that is rendered."""

    payload: str
    key: str
    above: tuple[str, ...]
    """Keys of the payloads around it and its own, the outermost first."""

    def error(self, offset: int, reason: str, *, hint: str = "") -> TemplateError:
        """Return an error at a place of this payload."""
        return error_at(self.payload, offset, _shown(self.key), reason, hint=hint)


def _rounds(value: object, names: int, node: For, page: _Page) -> list[tuple[object, ...]]:
    """Return the values of the variables of a loop, round by round."""
    if isinstance(value, dict):
        pairs = [(key, value[key]) for key in sorted(value)]
        return [pair[:names] for pair in pairs]
    if not isinstance(value, list):
        raise page.error(
            node.offset, f"`for` needs a list or a map: {node.expression.strip()!r} is none", hint="use json.Unmarshal"
        )
    if names == 1:
        return [(item,) for item in value]
    if not all(isinstance(item, list) and len(item) == names for item in value):
        raise page.error(node.offset, f"`for` with {names} names needs a map, or a list of lists of {names}")
    return [tuple(item) for item in value]


def _shown(key: str) -> str:
    return key.removeprefix(COMPONENTS)
