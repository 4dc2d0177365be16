"""Patterns that choose roles by their path: `**.dut`, `host-?.source`, `trigger`.

`*` is one element or a part of one, `?` one character, `**` any number of elements, none included. The name of the
root, which is that of the workflow, may be written or left out: `trigger` and `cosmics.trigger` are the same task.
"""

from __future__ import annotations

import re

from libecs.errors import UsageError

MAX_PATTERN = 2000
"""Characters of a pattern: what compiles it takes a time that grows with them, and all wait."""


def role_pattern(glob: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern, for `fullmatch` with a path, or better for `matches`.

    Raises:
        UsageError: an element is empty, `**` is only a part of one, or it is longer than any path.
    """
    if len(glob) > MAX_PATTERN:
        raise UsageError(f"a pattern of {len(glob)} characters; {MAX_PATTERN} are allowed")
    parts = []
    elements = glob.split(".")
    for i, element in enumerate(elements):
        last = i == len(elements) - 1
        if element == "**":
            if i == 0 or elements[i - 1] != "**":  # one after the other they mean the same, and cost the square
                parts.append(r"(?:[^.]+(?:\.[^.]+)*)?" if last else r"(?:[^.]+\.)*")
            elif last:
                parts[-1] = r"(?:[^.]+(?:\.[^.]+)*)?"
            continue
        if not element or "**" in element:
            raise UsageError(
                f"{glob!r} is no pattern of role paths", hint="elements are joined by '.', and '**' is a whole element"
            )
        parts.append(_element(element) if last else _element(element) + r"\.")
    return re.compile("".join(parts))


def _element(element: str) -> str:
    """Return the regular expression of one element. What stands between two stars is looked for once, at the first
    place where it fits: to try all of them would cost time without end for patterns with many stars.
    """
    first, *others = ["".join("[^.]" if one == "?" else re.escape(one) for one in text) for text in element.split("*")]
    if not others:
        return first
    return "".join([first, *(f"(?>[^.]*?{text})" for text in others[:-1]), "[^.]*", others[-1]])


def matches(pattern: re.Pattern[str], path: str) -> bool:
    """Tell whether a pattern chooses the role of this path, written with the root's name or without."""
    _, dot, below = path.partition(".")
    return pattern.fullmatch(path) is not None or (bool(dot) and pattern.fullmatch(below) is not None)


def below_root(path: str) -> str:
    """Return a path without the root's name, as people write it; the root itself stays."""
    return path.partition(".")[2] or path
