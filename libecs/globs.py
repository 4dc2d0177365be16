"""Patterns that choose roles by their path: `**.dut`, `host-?.source`, `trigger`.

`*` is one element or a part of one, `?` one character, `**` any number of elements, none included. The name of the
root, which is that of the workflow, may be written or left out: `trigger` and `cosmics.trigger` are the same task.
"""

from __future__ import annotations

import re

from libecs.errors import UsageError


def role_pattern(glob: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern, for `fullmatch` with a path, or better for `matches`.

    Raises:
        UsageError: an element is empty, or `**` is only a part of one.
    """
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
        text = "".join({"*": "[^.]*", "?": "[^.]"}.get(character, re.escape(character)) for character in element)
        parts.append(text if last else text + r"\.")
    return re.compile("".join(parts))


def matches(pattern: re.Pattern[str], path: str) -> bool:
    """Tell whether a pattern chooses the role of this path, written with the root's name or without."""
    _, dot, below = path.partition(".")
    return pattern.fullmatch(path) is not None or (bool(dot) and pattern.fullmatch(below) is not None)


def below_root(path: str) -> str:
    """Return a path without the root's name, as people write it; the root itself stays."""
    return path.partition(".")[2] or path
