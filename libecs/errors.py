"""Every error that the system raises on purpose, as one tree.

    EcsError                         1  E_FAILED      anything below
    ├── UsageError                   2  E_USAGE       you called it wrongly
    ├── NotFound                     3  E_NOT_FOUND   no environment, template, key, task of that name
    ├── Conflict                     4  E_CONFLICT    locked, busy, in use by somebody else
    │   └── Busy                     4  E_BUSY        asked too often: nothing was done, ask again a little later
    ├── Denied                       5  E_DENIED      not allowed: role, lock, policy
    ├── Unreachable                  6  E_UNREACHABLE nobody answers
    ├── TransitionFailed             7  E_TRANSITION  the environment did not get where it was told to go
    │   └── RunFailed                7  E_RUN         ... while a run was wanted or going on
    ├── WaitTimeout                  8  E_TIMEOUT     we stopped waiting; the operation goes on
    ├── InvalidInput                 9  E_INVALID     a file, an expression or a plan is wrong
    │   ├── TemplateError            9  E_TEMPLATE    ... at a place in a template
    │   │   └── ExpressionError      9  E_EXPRESSION  ... inside {{ }}
    │   ├── Unplaceable              9  E_PLACEMENT   no node can take some task
    │   └── DecodeError              9  E_DECODE      bytes that are no message of ours
    ├── IllegalTransition            4  E_STATE       this event is not allowed in this state
    └── Missing                      9  E_MISSING     configuration keys that expansion needs first

`exit_code` and `code` follow the table of exit codes in the README; `--json` prints `code`.
A message says what, where, why, and, in `hint`, what to do. Many failures are one error that holds a mapping.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

FIRST_LINE: Final = 100
"""Columns of the first line of an error that is shown."""
EXCERPT: Final = 96
"""Columns of the line that a template's error shows."""
LONGEST_QUOTE: Final = 80
"""Characters of somebody's text that a message repeats."""


class EcsError(Exception):
    """Base of all errors that are raised on purpose."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "E_FAILED"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message

    def shown(self) -> str:
        """Return the error as people are shown it: its code, what `str()` says, no first line beyond 100 columns."""
        return _folded(f"{self.code}  {self}")


class UsageError(EcsError):
    """The caller used a function or a command in a way that can't work."""

    exit_code = 2
    code = "E_USAGE"


class NotFound(EcsError):
    """Nothing of that name exists."""

    exit_code = 3
    code = "E_NOT_FOUND"


class Conflict(EcsError):
    """Somebody or something else holds what is wanted."""

    exit_code = 4
    code = "E_CONFLICT"


class Busy(Conflict):
    """The caller asks more often than one may. Nothing was done; the same may be asked again a little later."""

    code = "E_BUSY"


class Denied(EcsError):
    """The caller, or the policy in force, may not do this."""

    exit_code = 5
    code = "E_DENIED"


class Unreachable(EcsError):
    """The other side does not answer."""

    exit_code = 6
    code = "E_UNREACHABLE"


class TransitionFailed(EcsError):
    """An environment did not reach the state it was told to go to.

    Attributes:
        cause: the first failure in one sentence: task, node, why, last log line.
        failures: role path to reason, for every role that failed.
    """

    exit_code = 7
    code = "E_TRANSITION"

    def __init__(
        self, message: str, *, cause: str = "", failures: Mapping[str, str] | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause or message
        self.failures = dict(failures or {})

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause != self.message:
            lines.append(f"  cause: {self.cause}")
        lines.extend(f"  {path}: {reason}" for path, reason in sorted(self.failures.items()))
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return "\n".join(lines)


class RunFailed(TransitionFailed):
    """A run could not start, or the environment went to ERROR while it was going on."""

    code = "E_RUN"


class WaitTimeout(EcsError):
    """The wait ended before the operation did; the operation goes on."""

    exit_code = 8
    code = "E_TIMEOUT"


class InvalidInput(EcsError):
    """Something that a person wrote is wrong."""

    exit_code = 9
    code = "E_INVALID"


class TemplateError(InvalidInput):
    """A template is wrong at a place that can be named.

    Attributes:
        file: as the user knows it (`workflows/x.yaml`), or "" for text without a file.
        line, column: counted from 1; 0 if unknown.
        path: role path, or "".
        excerpt: the offending line, printed with a caret under `column`.
    """

    code = "E_TEMPLATE"

    def __init__(
        self,
        reason: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        path: str = "",
        excerpt: str = "",
        hint: str = "",
    ) -> None:
        self.reason, self.file, self.line, self.column = reason, file, line, column
        self.path, self.excerpt = path, excerpt
        place = ":".join(str(part) for part in (file, line, column) if part)
        message = ": ".join(part for part in (place, f"role {path}" if path else "", reason) if part)
        if excerpt:
            shown, at = _window(excerpt, column)
            message += f"\n    {shown}\n    {' ' * at}^"
        super().__init__(message, hint=hint)

    def at(self, *, file: str = "", line: int = 0, column: int = 0, path: str = "", excerpt: str = "") -> TemplateError:
        """Return the same error with a place filled in where this one has none."""
        return type(self)(
            self.reason,
            file=self.file or file,
            line=self.line or line,
            column=self.column or column,
            path=self.path or path,
            excerpt=self.excerpt or excerpt,
            hint=self.hint,
        )


class ExpressionError(TemplateError):
    """An expression does not parse, or failed when it was evaluated."""

    code = "E_EXPRESSION"


class Unplaceable(InvalidInput):
    """No node can take some task. `reasons`: role path to why, node by node."""

    code = "E_PLACEMENT"

    def __init__(self, reasons: Mapping[str, str], *, hint: str = "") -> None:
        self.reasons = dict(reasons)
        lines = [f"{len(self.reasons)} task{'s' if len(self.reasons) != 1 else ''} cannot be placed"]
        lines.extend(f"  {path}: {reason}" for path, reason in sorted(self.reasons.items()))
        super().__init__("\n".join(lines), hint=hint)


class DecodeError(InvalidInput):
    """Bytes that are no message of ours: wrong kind, type, size or version."""

    code = "E_DECODE"


class IllegalTransition(EcsError):
    """An event that is not allowed in a state. Nothing has changed."""

    exit_code = 4
    code = "E_STATE"

    def __init__(self, state: str, event: str, allowed: Iterable[str], *, hint: str = "") -> None:
        self.state, self.event, self.allowed = state, event, tuple(allowed)
        names = ", ".join(self.allowed) or "none"
        super().__init__(f"{event} is not possible in {state} (allowed: {names})", hint=hint)


class Missing(InvalidInput):
    """Expansion needs configuration keys that its snapshot does not hold; fetch them and expand again."""

    code = "E_MISSING"

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"missing configuration keys: {', '.join(self.keys)}")


def quoted(text: str) -> str:
    """Return a text as messages repeat it: in quotes, on one line, cut when it is long."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[:LONGEST_QUOTE])
    return f"'{shown}'" if len(text) <= LONGEST_QUOTE else f"'{shown}…'"


def _folded(message: str) -> str:
    """Return a message whose first line is short enough to be read; what is cut off follows, indented."""
    first, newline, rest = message.partition("\n")
    if len(first) <= FIRST_LINE:
        return message
    lines = textwrap.wrap(
        first, FIRST_LINE, subsequent_indent="    ", break_on_hyphens=False, replace_whitespace=False, expand_tabs=False
    )
    return "\n".join(lines) + newline + rest


def _window(excerpt: str, column: int) -> tuple[str, int]:
    """Return the part of a line around `column` (counted from 1), and where that column is in it."""
    at = max(column - 1, 0)
    if len(excerpt) <= EXCERPT:
        return excerpt, at
    begin = min(max(at - EXCERPT // 2, 0), len(excerpt) - EXCERPT + 1)
    begin = max(begin, 0)
    head = "…" if begin else ""
    tail = "…" if begin + EXCERPT < len(excerpt) else ""
    return f"{head}{excerpt[begin : begin + EXCERPT]}{tail}", at - begin + len(head)
