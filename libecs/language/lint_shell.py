"""Findings about shell commands: variables that reach a shell without quotes around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
from lark import Token, Tree

from libecs.errors import ExpressionError
from libecs.language import walk
from libecs.language.expression import CLOSE, OPEN, Text
from libecs.language.fields import Finding, Severity
from libecs.language.grammar import parse
from libecs.language.marks import Mark
from libecs.language.task import TaskTemplate
from libecs.language.walk import SET_BY_THE_SYSTEM

_PLAIN_RESULTS = frozenset(
    {
        "Itoa", "Atoi", "IsFalsy", "IsTruthy", "NewID", "Parent", "SuffixInRange", "This", "Up", "all", "any", "count",
        "len", "none", "one", "sh", "strings.Atoi", "strings.IsFalsy", "strings.IsTruthy", "strings.Itoa", "uid.New",
        "util.SuffixInRange", "strings.Quote",
    }
)  # fmt: skip
"""Functions whose result no shell misreads: numbers, true and false, ids, paths of roles, and what is quoted."""
_NO_TEXT = frozenset({"comparison", "both", "either", "not_", "signed", "product", "power", "range", "closure"})
"""Kinds of expressions whose result is no text that somebody typed."""
_SHOWN = 5
_BY_NAME = frozenset({"util.PrefixedOverride", "PrefixedOverride"})


@attrs.frozen
class _Tag:
    """One {{ }} in a shell text."""

    names: tuple[str, ...]
    """Variables that may become a part of the text."""
    offset: int
    is_quoted: bool
    is_whole: bool
    """There is nothing else in the text."""


def check(tasks: tuple[TaskTemplate, ...]) -> Iterator[Finding]:
    """Go through the findings."""
    for task in tasks:
        if task.shell:
            yield from _task(task)


def _task(task: TaskTemplate) -> Iterator[Finding]:
    texts = walk.task_texts(task)
    own = {**texts.defaults, **texts.vars}
    pending = [(text, True) for text in texts.command] + [(text, False) for text in texts.arguments]
    seen: set[str] = set()
    unquoted: dict[str, Mark] = {}
    for text, is_command in pending:
        for tag in _tags(text.source):
            for name in tag.names:
                if name in seen or name in SET_BY_THE_SYSTEM or text.mark is None:
                    continue
                if _is_fragment(name, own):
                    seen.add(name)
                    pending.append((own[name], is_command))
                elif tag.is_whole and is_command:
                    yield _whole(task, text.mark, name)
                elif not tag.is_quoted:
                    unquoted.setdefault(name, text.mark.within(text.source, tag.offset))
    if unquoted:
        names = list(unquoted)
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        yield Finding(
            mark=unquoted[names[0]],
            message=f"the shell of task {task.name!r} reads {shown} without quotes",
            code="unquoted-shell",
            hint=f"write {{{{ sh({names[0]}) }}}}, or do without `shell: true`: a blank or `;` changes the command",
        )


def _whole(task: TaskTemplate, mark: Mark, name: str) -> Finding:
    return Finding(
        mark=mark,
        message=f"the shell command of task {task.name!r} is the variable {name!r}: who sets it can run anything",
        code="shell-is-variable",
        severity=Severity.HINT,
    )


def _is_fragment(name: str, own: Mapping[str, Text]) -> bool:
    """Return whether a variable of the task template is a piece of the command itself: it has blanks or tags."""
    text = own.get(name)
    return text is not None and (not text.is_literal or len(text.source.split()) > 1)


def _tags(source: str) -> Iterator[_Tag]:
    """Go through the tags of a shell text, with what the shell's quotes around them are."""
    at, quote = 0, ""
    while at < len(source):
        if source.startswith(OPEN, at):
            end = source.find(CLOSE, at)
            expression = source[at + len(OPEN) : end]
            is_whole = not source[:at].strip() and not source[end + len(CLOSE) :].strip()
            yield _Tag(tuple(sorted(_names(expression))), at, bool(quote), is_whole)
            at = end + len(CLOSE)
            continue
        character = source[at]
        if character == "\\" and quote != "'":
            at += 1
        elif not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
        at += 1


def _names(expression: str) -> frozenset[str]:
    try:
        return reaching(parse(expression))
    except ExpressionError:
        return frozenset()  # reported where it was read


def reaching(tree: Tree[Token] | Token) -> frozenset[str]:
    """Return the variables whose text may be in the result of an expression, or be a part of it.

    Those that only decide between results are not among them.
    """
    if isinstance(tree, Token) or tree.data in _NO_TEXT:
        return frozenset()
    if tree.data == "name":
        return frozenset({str(tree.children[0])})
    parts = [part for part in tree.children if isinstance(part, Tree)]
    if tree.data in ("conditional", "branches"):
        parts = parts[1:]
    elif tree.data == "sequence":
        parts = parts[-1:]
    elif tree.data == "call":
        return _called(parts[0], parts[1:], tree)
    elif tree.data == "pipe":
        callee, *rest = parts[1].children if parts[1].data == "call" else [parts[1]]
        return _called(callee, [parts[0], *(part for part in rest if isinstance(part, Tree))], tree)
    found = frozenset[str]().union(*(reaching(part) for part in parts))
    return found - {str(tree.children[1])} if tree.data == "let" else found


def _called(callee: Tree[Token] | Token, arguments: list[Tree[Token]], tree: Tree[Token]) -> frozenset[str]:
    path = _dotted(callee)
    if path in _PLAIN_RESULTS:
        return frozenset()
    if path in _BY_NAME:
        return frozenset(_first_string(tree))
    return frozenset[str]().union(*(reaching(part) for part in arguments))


def _dotted(tree: Tree[Token] | Token) -> str:
    """Return the dotted name of a function."""
    if isinstance(tree, Token):
        return str(tree)
    return ".".join(str(token) for token in _tokens(tree, "NAME"))


def _tokens(tree: Tree[Token], kind: str) -> Iterator[Token]:
    for token in tree.scan_values(lambda one: isinstance(one, Token)):
        if token.type == kind:
            yield token


def _first_string(tree: Tree[Token]) -> Iterator[str]:
    for token in _tokens(tree, "STRING"):
        yield str(token)[1:-1]
        return
