"""`matches`: regular expressions in time linear in the text, whatever the pattern (placeholder)."""

from __future__ import annotations

from collections.abc import Callable

from libecs.language.values import fault


def search(pattern: str, text: str, spend: Callable[[int], None]) -> bool:
    """Return whether `pattern` matches somewhere in `text`."""
    del pattern, text, spend
    raise fault("`matches` is not available yet", hint="use contains, startsWith or endsWith")
