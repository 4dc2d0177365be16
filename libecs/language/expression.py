"""Text with {{ expressions }} in it, and expressions alone: compiled once, evaluated often.

    compile_text("/tmp/{{ name }}.log", mark).evaluate(scope) -> "/tmp/x.log"
    compile_expression("Up(2).Path + ':x'", mark).evaluate(scope) -> value

The first `}}` closes a tag; tags don't nest. Text outside tags is kept as it is. The language is that of grammar.py.
Where it differs from AliECS, this is stricter: an unknown variable, types that don't fit, nil as text are errors.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Final

import attrs

from libecs.errors import ExpressionError
from libecs.language.marks import Mark
from libecs.language.program import Program, Scope, place, suggest, unknown_name
from libecs.language.values import MAX_TEXT, RoleRef, Value, fault, to_text

__all__ = ["Expression", "RoleRef", "Scope", "Text", "Value", "compile_expression", "compile_text", "to_text"]

OPEN: Final = "{{"
CLOSE: Final = "}}"


@attrs.frozen
class Expression:
    """One expression with its place in a file, if it has one."""

    source: str
    mark: Mark | None = attrs.field(eq=False)
    _program: Program = attrs.field(eq=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Free variables, in all branches."""
        return frozenset(self._program.names)

    @property
    def calls(self) -> frozenset[tuple[str, ...]]:
        """Functions that are called, in all branches: ("strings", "ToLower")."""
        return frozenset(self._program.calls)

    def evaluate(self, scope: Scope) -> Value:
        """Return the value.

        Raises:
            ExpressionError: it can't be computed.
            Missing: configuration keys have to be fetched first.
        """
        try:
            return self._program.run(scope)
        except ExpressionError as error:
            raise _located(error, self.source, 0, self.mark) from None

    def check(self, names: Collection[str], functions: Collection[tuple[str, ...]] | None = None) -> None:
        """Check the variables (and functions, if given) of all branches, also of those that are not taken.

        Raises:
            ExpressionError: one is not known.
        """
        try:
            _check(self._program, names, functions)
        except ExpressionError as error:
            raise _located(error, self.source, 0, self.mark) from None


@attrs.frozen
class _Pieces:
    """A text cut at its tags: literals, and programs with the offsets where their sources begin."""

    parts: tuple[str | tuple[Program, int], ...]
    names: frozenset[str]
    calls: frozenset[tuple[str, ...]]
    bare: str | None
    """The name, if the text is one tag with nothing but a variable."""


@attrs.frozen
class Text:
    """Text that may hold {{ }} tags. Equal if the sources are."""

    source: str
    mark: Mark | None = attrs.field(eq=False)
    _pieces: _Pieces | None = attrs.field(eq=False, repr=False)

    @property
    def is_literal(self) -> bool:
        """True if there is no tag, so that the text is its own value."""
        return self._pieces is None

    @property
    def names(self) -> frozenset[str]:
        """Free variables of all tags, in all branches."""
        return self._pieces.names if self._pieces else frozenset()

    @property
    def calls(self) -> frozenset[tuple[str, ...]]:
        """Functions that are called in all tags, in all branches: ("strings", "ToLower")."""
        return self._pieces.calls if self._pieces else frozenset()

    def evaluate(self, scope: Scope) -> str:
        """Return the text with each tag replaced by its value.

        Raises:
            ExpressionError: a value can't be computed, or has no text.
            Missing: configuration keys have to be fetched first.
        """
        pieces = self._pieces
        if pieces is None:
            return self.source
        if pieces.bare is not None:
            try:
                value = scope.lookup(pieces.bare)
            except KeyError:
                pass  # the way below makes the error
            else:
                if type(value) is str:
                    return value
        result = "".join([part if isinstance(part, str) else self._fill(*part, scope) for part in pieces.parts])
        if len(result) > MAX_TEXT:
            raise _located(fault(f"the text has {len(result)} characters, more than {MAX_TEXT}", 0), "", 0, self.mark)
        return result

    def _fill(self, program: Program, start: int, scope: Scope) -> str:
        try:
            value = program.run(scope)
            return value if type(value) is str else to_text(value)
        except ExpressionError as error:
            blank = len(program.source) - len(program.source.lstrip())
            raise _located(place(error, blank), self.source, start, self.mark) from None

    def check(self, names: Collection[str], functions: Collection[tuple[str, ...]] | None = None) -> None:
        """Check the variables (and functions, if given) of all branches, also of those that are not taken.

        AliECS refuses a whole load for an unknown name anywhere; call this before `evaluate` to do the same.

        Raises:
            ExpressionError: one is not known.
        """
        if self._pieces is None or (functions is None and self._pieces.names.issubset(names)):
            return
        for part in self._pieces.parts:
            if isinstance(part, str):
                continue
            try:
                _check(part[0], names, functions)
            except ExpressionError as error:
                raise _located(error, self.source, part[1], self.mark) from None


def compile_text(text: str, mark: Mark | None) -> Text:
    """Compile text with tags. Equal texts are compiled once.

    Raises:
        ExpressionError: a tag is not closed, or what is in it does not parse.
    """
    if OPEN not in text:
        return Text(text, mark, None)
    try:
        return Text(text, mark, _cut(text))
    except ExpressionError as error:
        raise _located(error, text, 0, mark) from None


def compile_expression(source: str, mark: Mark | None) -> Expression:
    """Compile one expression without braces, such as the `func` of a call role.

    Raises:
        ExpressionError: it does not parse.
    """
    try:
        return Expression(source, mark, _program(source))
    except ExpressionError as error:
        raise _located(error, source, 0, mark) from None


@functools.lru_cache(maxsize=4096)
def _program(source: str) -> Program:
    # With the first expression: what only reads values, such as a daemon as it starts, needs no grammar.
    from libecs.language.compiler import compile_program

    return compile_program(source)


@functools.lru_cache(maxsize=16384)
def _cut(text: str) -> _Pieces:
    """Cut text at its tags; errors carry offsets into the text."""
    parts: list[str | tuple[Program, int]] = []
    position = 0
    while (begin := text.find(OPEN, position)) >= 0:
        start = begin + len(OPEN)
        end = text.find(CLOSE, start)
        if end < 0:
            raise fault("{{ is not closed", begin, "write }} after the expression")
        if begin > position:
            parts.append(text[position:begin])
        try:
            parts.append((_program(text[start:end]), start))
        except ExpressionError as error:
            raise ExpressionError(error.reason, column=start + error.column, hint=error.hint) from None
        position = end + len(CLOSE)
    if position < len(text):
        parts.append(text[position:])
    programs = [part[0] for part in parts if not isinstance(part, str)]
    return _Pieces(
        parts=tuple(parts),
        names=frozenset(name for program in programs for name in program.names),
        calls=frozenset(path for program in programs for path in program.calls),
        bare=programs[0].bare if len(parts) == 1 else None,
    )


def _check(program: Program, names: Collection[str], functions: Collection[tuple[str, ...]] | None) -> None:
    for name, offset in program.names.items():
        if name not in names:
            raise unknown_name(name, names, offset)
    for path, offset in program.calls.items():
        if functions is not None and path not in functions:
            raise unknown_function(path, functions, offset)


def unknown_function(path: tuple[str, ...], known: Iterable[tuple[str, ...]], offset: int = -1) -> ExpressionError:
    """Return the error for a function that does not exist."""
    return fault(f"unknown function {'.'.join(path)}()", offset, suggest(".".join(path), map(".".join, known)))


def _located(error: ExpressionError, text: str, start: int, mark: Mark | None) -> ExpressionError:
    """Turn an error's offset into a place. `start`: where the expression begins in `text`, which stands at `mark`.

    An error that a function raised with a place of its own is returned as it is.
    """
    if error.line or error.file:
        return error
    offset = min(start + max(error.column - 1, 0), len(text))
    if mark is not None:
        place = mark.within(text, offset)
        told = place != mark or not offset  # else the file does not spell the text, so it must stand in the message
        return ExpressionError(
            error.reason if told else f"{error.reason}, in `{text[:200]}`",
            file=place.file,
            line=place.line,
            column=place.column,
            path=error.path,
            excerpt=place.excerpt,
            hint=error.hint,
        )
    before = text[:offset].split("\n")
    line = text.split("\n")[len(before) - 1]
    return ExpressionError(
        error.reason,
        line=len(before) if "\n" in text else 0,
        column=len(before[-1]) + 1,
        path=error.path,
        excerpt="".join(c if c.isprintable() else " " for c in line),
        hint=error.hint,
    )
