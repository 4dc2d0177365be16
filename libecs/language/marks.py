"""Places in files: the marks that nodes and errors carry, and the way from a value back to how it was written."""

from __future__ import annotations

import re
from typing import Final

import attrs

from libecs.errors import TemplateError

_LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_PROPERTIES: Final = re.compile(r"(?:[!&]\S*\s+)*")
_FOLD: Final = re.compile(r"[ \t]*(?:\n[ \t]*)+")
_JOIN: Final = re.compile(r"\\[ \t]*\n[ \t]*")
"""An escaped line break in double quotes, which stands for nothing."""
_INDENT: Final = re.compile(r"(?: *\n)*( *)[^ \n]")
_WIDE_ESCAPES: Final = {"x": 4, "u": 6, "U": 10}
"""Length in the file of `\\x41` and its like. All other escapes are two characters."""


def split_lines(text: str) -> tuple[str, ...]:
    """Return the lines of `text` as YAML counts them (NEL, LS and PS end a line, form feed does not)."""
    return tuple(_LINE_BREAK.split(text))


@attrs.frozen(eq=False)
class Source:
    """One document's lines, kept once for all its marks."""

    file: str
    lines: tuple[str, ...] = attrs.field(repr=False)

    def line(self, number: int) -> str:
        """Return line `number`, counted from 1, made printable; "" if there is none."""
        if not 1 <= number <= len(self.lines):
            return ""
        return "".join(c if c.isprintable() else " " for c in self.lines[number - 1])


@attrs.frozen
class Mark:
    """A place in a file. Line and column count from 1."""

    file: str
    line: int
    column: int
    source: Source | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def excerpt(self) -> str:
        """The line of the source that the mark points into, or ""."""
        return self.source.line(self.line) if self.source else ""

    def error(self, reason: str, *, hint: str = "", path: str = "") -> TemplateError:
        """Return a `TemplateError` at this place, to be raised by the caller."""
        return TemplateError(
            reason, file=self.file, line=self.line, column=self.column, path=path, excerpt=self.excerpt, hint=hint
        )

    def within(self, text: str, offset: int) -> Mark:
        """Return the place of character `offset` of the scalar `text` that begins here; self if it can't be told."""
        if self.source is None or not 0 <= offset <= len(text):
            return self
        place = align(self.source.lines, self.line, self.column, text, offset)
        return attrs.evolve(self, line=place[0], column=place[1]) if place else self

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def align(lines: tuple[str, ...], line: int, column: int, text: str, offset: int) -> tuple[int, int] | None:
    """Return (line, column) of character `offset` of a scalar, or None if the file does not spell `text` there.

    The scalar begins, with its tag and anchor if any, at (line, column), counted from 1. Quotes, escapes, folded lines
    and blocks are followed. Used only when an error is written.
    """
    if not 1 <= line <= len(lines):
        return None
    raw = "\n".join((lines[line - 1][column - 1 :], *lines[line:]))
    begin = _PROPERTIES.match(raw)
    start = begin.end() if begin else 0
    style = raw[start : start + 1]
    at = _in_block(raw, start, text, offset) if style in ("|", ">") else _in_flow(raw, start, style, text, offset)
    if at is None:
        return None
    breaks = raw.count("\n", 0, at)
    return (line, column + at) if not breaks else (line + breaks, at - raw.rindex("\n", 0, at))


def _in_flow(raw: str, at: int, style: str, text: str, offset: int) -> int | None:
    """Walk a plain or quoted scalar and its text side by side, up to `offset`."""
    if style in ("'", '"'):
        at += 1
    i = 0
    while True:
        joined = _JOIN.match(raw, at) if style == '"' else None
        if joined:
            at = joined.end()
        if i >= offset:
            return at
        fold = _FOLD.match(raw, at) if text[i] in " \n" else None
        if fold:
            at = fold.end()
            while text[i] == "\n" and i + 1 < offset and text[i + 1] == "\n":
                i += 1
        elif style == '"' and raw[at : at + 1] == "\\":
            at += _WIDE_ESCAPES.get(raw[at + 1 : at + 2], 2)
        elif raw[at : at + 1] != text[i]:
            return None
        else:
            at += 2 if style == "'" and text[i] == "'" else 1
        i += 1


def _in_block(raw: str, at: int, text: str, offset: int) -> int | None:
    """Walk a `|` or `>` block, up to `offset`."""
    at = raw.find("\n", at) + 1
    written, meant = _INDENT.match(raw, at), _INDENT.match(text)
    if not at or not written or not meant:
        return None
    blanks = re.compile(f" {{0,{max(len(written[1]) - len(meant[1]), 0)}}}")

    def content(begin: int) -> int:
        found = blanks.match(raw, begin)
        return found.end() if found else begin

    at = content(at)
    i = 0
    while i < offset:
        if raw[at : at + 1] != "\n":
            if raw[at : at + 1] != text[i]:
                return None
            at, i = at + 1, i + 1
            continue
        end, breaks = at, 0
        while raw[end : end + 1] == "\n":
            end, breaks = content(end + 1), breaks + 1
        newlines = len(text[i:]) - len(text[i:].lstrip("\n"))
        if newlines not in (breaks, breaks - 1) or not (newlines or text[i] == " "):
            return None
        i += newlines or 1  # a fold makes a blank of one break, and n - 1 newlines of n
        at = end
    return at
