"""One row of the table of bad inputs: what is given, and how it must be refused."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.frozen(kw_only=True)
class Row:
    """An input that is wrong."""

    name: str
    """Unique in its group."""
    run: Callable[[], object]
    """Reads it, and must raise."""
    code: str = "E_TEMPLATE"
    """Of the error."""
    place: str = ""
    """`file:line:column` of the error, or what of it is known; a column alone is ":7"."""
    path: str = ""
    """Role path, where the error has one; `*` = any."""
    says: tuple[str, ...]
    """What its text must hold: the cause, and what to do."""
    budget_s: float = 1.0
    """CPU time that it may take: 1 s for a file, 50 ms for an expression."""
    source: str = ""
    """What a person wrote: words in it may be in the message, too."""
    slow: str = ""
    """Why it is known to take longer; then it must be refused all the same."""
