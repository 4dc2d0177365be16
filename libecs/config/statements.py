"""The syntax of configuration payloads: a text is cut at its tags and becomes a tree of nodes."""

from __future__ import annotations

import functools
import re
from typing import Final, TypeAlias

import attrs

from libecs.errors import TemplateError

MAX_NESTING: Final = 32
"""Statements inside each other."""
MAX_NAMES: Final = 2
"""Variables of a `for`."""

_LONGEST_EXCERPT: Final = 300
_TAG: Final = re.compile(
    r"\{\{(?P<cut1>-(?=\s))?(?P<expression>.*?)(?P<cut2>(?<=\s)-)?\}\}"
    r"|\{%(?P<cut3>-)?(?P<statement>.*?)(?P<cut4>-)?%\}"
    r"|\{\#.*?\#\}"
    r"|(?P<open>\{\{|\{%|\{\#)",
    re.DOTALL,
)
_RAW_END: Final = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_INCLUDE: Final = re.compile(r"""include\s+(?:"([^"]*)"|'([^']*)')""")
_FOR: Final = re.compile(r"for\s+(\w+(?:\s*,\s*\w+)*)\s+in\s+(.+)", re.DOTALL)
_SET: Final = re.compile(r"set\s+(\w+)\s*=(?!=)\s*(.+)", re.DOTALL)
_CONDITION: Final = re.compile(r"(if|elif)\s+(.+)", re.DOTALL)
_HINT: Final = "known are include, if, elif, else, endif, for, empty, endfor, set, raw"


@attrs.frozen(kw_only=True)
class _Node:
    offset: int
    """Where it begins in the payload."""


@attrs.frozen(kw_only=True)
class Text(_Node):
    """Text outside of tags."""

    text: str


@attrs.frozen(kw_only=True)
class Output(_Node):
    """`{{ expression }}`."""

    expression: str


@attrs.frozen(kw_only=True)
class Include(_Node):
    """`{% include "name" %}`."""

    name: str


@attrs.frozen(kw_only=True)
class Set(_Node):
    """`{% set name = expression %}`."""

    name: str
    expression: str


@attrs.frozen(kw_only=True)
class If(_Node):
    """Conditions with what they stand for; None = else."""

    branches: tuple[tuple[str | None, tuple[Node, ...]], ...]


@attrs.frozen(kw_only=True)
class For(_Node):
    """A loop, and what stands there if it has no rounds."""

    names: tuple[str, ...]
    expression: str
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


Node: TypeAlias = "Text | Output | Include | Set | If | For"


def error_at(payload: str, offset: int, file: str, reason: str, *, hint: str = "") -> TemplateError:
    """Return an error at a place of a payload."""
    line = payload.count("\n", 0, offset) + 1
    start = payload.rfind("\n", 0, offset) + 1
    excerpt = payload[start:].split("\n", 1)[0]
    excerpt = excerpt if len(excerpt) <= _LONGEST_EXCERPT else ""
    return TemplateError(reason, file=file, line=line, column=offset - start + 1, excerpt=excerpt, hint=hint)


@functools.lru_cache(maxsize=256)
def parse(payload: str, file: str) -> tuple[Node, ...]:
    """Return the nodes of a payload; `file` is its name for messages.

    Raises:
        TemplateError: a tag is not closed or not known, or has no end.
    """
    return _Parser(payload, file).page()


@attrs.frozen(kw_only=True)
class _Token:
    offset: int
    text: str = ""
    expression: str | None = None
    statement: str | None = None


class _Parser:
    """Goes through the tokens of one payload."""

    def __init__(self, payload: str, file: str) -> None:
        self._payload = payload
        self._file = file
        self._tokens = self._cut()
        self._at = 0

    def page(self) -> tuple[Node, ...]:
        """Return all nodes."""
        nodes, stop = self._nodes((), 0)
        assert stop is None, "nothing stops the outermost nodes"
        return nodes

    def _error(self, token: _Token, reason: str, hint: str = "") -> TemplateError:
        return error_at(self._payload, token.offset, self._file, reason, hint=hint)

    def _cut(self) -> list[_Token]:
        """Return texts and tags, with white space removed where a tag says so."""
        payload, tokens, at, strip = self._payload, list[_Token](), 0, False

        def add(begin: int, end: int, before: bool) -> None:
            text = payload[begin:end]
            text = text.lstrip() if strip else text
            text = text.rstrip() if before else text
            if text:
                tokens.append(_Token(offset=begin, text=text))

        while match := _TAG.search(payload, at):
            add(at, match.start(), bool(match["cut1"] or match["cut3"]))
            token = _Token(offset=match.start(), expression=match["expression"], statement=match["statement"])
            if match["open"]:
                raise self._error(token, f"{match['open']} is never closed")
            at, strip = match.end(), bool(match["cut2"] or match["cut4"])
            if token.statement is not None and token.statement.strip() == "raw":
                end = _RAW_END.search(payload, at)
                if end is None:
                    raise self._error(token, "`raw` has no `endraw`")
                add(at, end.start(), before=False)
                at, strip = end.end(), False
            elif token.expression is not None or token.statement is not None:
                tokens.append(token)
        add(at, len(payload), before=False)
        return tokens

    def _nodes(self, ends: tuple[str, ...], depth: int) -> tuple[tuple[Node, ...], _Token | None]:
        """Return the nodes up to a statement that begins with one of `ends`, and that statement."""
        nodes: list[Node] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.expression is not None:
                nodes.append(Output(offset=token.offset, expression=token.expression))
            elif token.statement is None:
                nodes.append(Text(offset=token.offset, text=token.text))
            elif (token.statement.split() or [""])[0] in ends:
                return tuple(nodes), token
            else:
                nodes.append(self._statement(token, token.statement.strip(), depth))
        return tuple(nodes), None

    def _statement(self, token: _Token, text: str, depth: int) -> Node:
        if depth >= MAX_NESTING:
            raise self._error(token, f"more than {MAX_NESTING} statements inside each other")
        if match := _INCLUDE.fullmatch(text):
            return Include(offset=token.offset, name=match[1] if match[1] is not None else match[2])
        if match := _SET.fullmatch(text):
            return Set(offset=token.offset, name=match[1], expression=match[2])
        if (match := _CONDITION.fullmatch(text)) and match[1] == "if":
            return self._if(token, match[2], depth)
        if match := _FOR.fullmatch(text):
            names = tuple(name.strip() for name in match[1].split(","))
            if len(names) > MAX_NAMES:
                raise self._error(token, f"`for` has {len(names)} names, more than {MAX_NAMES}")
            return self._for(token, names, match[2], depth)
        raise self._error(token, f"unknown statement {text[:60]!r}", _HINT)

    def _if(self, token: _Token, condition: str, depth: int) -> If:
        branches: list[tuple[str | None, tuple[Node, ...]]] = []
        wanted: str | None = condition
        while True:
            ends = ("elif", "else", "endif") if wanted is not None else ("endif",)
            body, end = self._nodes(ends, depth + 1)
            branches.append((wanted, body))
            word = (end.statement or "").strip() if end else ""
            if end is None:
                raise self._error(token, "`if` has no `endif`")
            if word == "endif":
                return If(offset=token.offset, branches=tuple(branches))
            match = _CONDITION.fullmatch(word)
            if match is None and word != "else":
                raise self._error(end, f"unknown statement {word[:60]!r}", _HINT)
            wanted = match[2] if match else None

    def _for(self, token: _Token, names: tuple[str, ...], expression: str, depth: int) -> For:
        body, end = self._nodes(("empty", "else", "endfor"), depth + 1)
        otherwise: tuple[Node, ...] = ()
        if end is not None and (end.statement or "").strip() in ("empty", "else"):
            otherwise, end = self._nodes(("endfor",), depth + 1)
        if end is None:
            raise self._error(token, "`for` has no `endfor`")
        return For(offset=token.offset, names=names, expression=expression, body=body, otherwise=otherwise)
