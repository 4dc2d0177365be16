"""Template processing of configuration payloads: `{{ expression }}`, `{% include "entry" %}` and `{# comment #}`.

The syntax is the part of Jinja that the payloads need; expressions are those of the workflow language, which the caller
brings along as `evaluate`, because this floor lies below the language. What an include pulls in is processed the same
way, with the same variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from libecs.config.path import COMPONENTS
from libecs.errors import ExpressionError, NotFound, TemplateError

Evaluate = Callable[[str], str]
"""Text between the braces to the text that takes its place; raises `ExpressionError`."""
Load = Callable[[str], "str | None"]
"""Key to payload, None if there is no such key."""

MAX_DEPTH = 16
MAX_CHARACTERS = 8 * 1024 * 1024

_TAG = re.compile(
    r"\{\{(?P<expression>.*?)\}\}|\{%-?(?P<statement>.*?)-?%\}|\{#.*?#\}|(?P<open>\{\{|\{%|\{#)", re.DOTALL
)
_INCLUDE = re.compile(r"""include\s+(?:"([^"]*)"|'([^']*)')""")


def process(key: str, load: Load, evaluate: Evaluate) -> str:
    """Return the payload at `key` with its templates processed.

    Raises:
        NotFound: no payload at `key`.
        TemplateError: a tag is wrong, an include leads nowhere or in circles.
        Missing: as `load`.
    """
    payload = load(key)
    if payload is None:
        raise NotFound(f"no payload at configuration path {_shown(key)}")
    return _Payload(key, load, evaluate).render(payload, key, (key,))


class _Payload:
    """One processing: includes are relative to the folder of the entry that was asked for, wherever they stand."""

    def __init__(self, key: str, load: Load, evaluate: Evaluate) -> None:
        self._folder = key.rpartition("/")[0] + "/"
        self._load = load
        self._evaluate = evaluate
        self._size = 0

    def render(self, payload: str, key: str, above: tuple[str, ...]) -> str:
        parts: list[str] = []
        at = 0
        for match in _TAG.finditer(payload):
            parts.append(payload[at : match.start()])
            at = match.end()
            if match["open"]:
                raise _error(payload, match.start(), key, f"{match['open']} is never closed")
            if match["expression"] is not None:
                try:
                    parts.append(self._evaluate(match["expression"]))
                except ExpressionError as error:
                    raise _error(payload, match.start(), key, error.reason, hint=error.hint) from None
            elif match["statement"] is not None:
                parts.append(self._statement(match["statement"].strip(), payload, match.start(), key, above))
        parts.append(payload[at:])
        text = "".join(parts)
        self._size += len(text)
        if self._size > MAX_CHARACTERS:
            raise TemplateError(f"payload grows beyond {MAX_CHARACTERS} characters", file=_shown(above[0]))
        return text

    def _statement(self, statement: str, payload: str, at: int, key: str, above: tuple[str, ...]) -> str:
        match = _INCLUDE.fullmatch(statement)
        if not match:
            raise _error(
                payload, at, key, f"unknown statement {statement!r}", hint='only {% include "entry" %} is supported'
            )
        name = match[1] if match[1] is not None else match[2]
        target = self._target(name)
        if target in above:
            circle = " -> ".join(_shown(step) for step in (*above, target))
            raise _error(payload, at, key, f"includes go round in a circle: {circle}")
        if len(above) >= MAX_DEPTH:
            raise _error(payload, at, key, f"includes are nested deeper than {MAX_DEPTH}")
        included = self._load(target)
        if included is None:
            raise _error(payload, at, key, f"includes {name!r}, but there is no {_shown(target)}")
        return self.render(included, target, (*above, target))

    def _target(self, name: str) -> str:
        if name.startswith("/"):
            return COMPONENTS + name.lstrip("/")
        if (COMPONENTS + name).startswith(self._folder):
            return COMPONENTS + name
        return self._folder + name


def _shown(key: str) -> str:
    return key.removeprefix(COMPONENTS)


def _error(payload: str, at: int, key: str, reason: str, *, hint: str = "") -> TemplateError:
    line = payload.count("\n", 0, at) + 1
    start = payload.rfind("\n", 0, at) + 1
    excerpt = payload[start:].split("\n", 1)[0]
    return TemplateError(reason, file=_shown(key), line=line, column=at - start + 1, excerpt=excerpt, hint=hint)
