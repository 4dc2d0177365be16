"""Documents for those who may look, and not see secrets: the values of variables that are named like secrets.

A value is masked where its name stands beside it, and wherever else it is repeated: in the argument of a call, a note,
a constraint. What a template makes of it in other words (a hash, a part) is not recognized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from libecs.engine.rules import MASK, is_secret

SHORTEST = 4
"""Characters of a secret that is looked for in other texts: `on` and `1` are everywhere, and tell nothing."""
_VALUES = ("value", "default", "text")
"""Keys beside the `name` of a variable that hold what it is."""


def masked_document(document: Mapping[str, Any], variables: Iterable[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return a document without the values of secrets. `variables`: what else its texts may be made of."""
    found: set[str] = set()
    _collect(document, found)
    for table in variables:
        _collect(table, found)
    secrets = sorted((text for text in found if len(text) >= SHORTEST), key=len, reverse=True)
    masked: dict[str, Any] = _masked(document, secrets)
    return masked


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if is_secret(str(key)) and isinstance(inner, str):
                found.add(inner)
            else:
                _collect(inner, found)
        if is_secret(str(value.get("name", ""))):
            found.update(value[key] for key in _VALUES if isinstance(value.get(key), str))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _collect(inner, found)


def _masked(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, Mapping):
        named = is_secret(str(value.get("name", "")))
        return {
            _masked(key, secrets): MASK
            if isinstance(inner, str) and inner and (is_secret(str(key)) or (named and key in _VALUES))
            else _masked(inner, secrets)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_masked(inner, secrets) for inner in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
    return value
