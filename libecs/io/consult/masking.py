"""Documents for those who may look, and not see secrets: the values of variables that are named like secrets.

A value is masked where its name stands beside it, and wherever else it is repeated: in the argument of a call, a note,
a constraint, the text of a template, an error that quotes it. What a template makes of it in other words (a hash, a
part) is not recognized.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from libecs.engine.rules import MASK, SECRET, is_secret
from libecs.errors import EcsError
from libecs.language.yaml import parse

SHORTEST = 4
"""Characters of a secret that is looked for in other texts: `on` and `1` are everywhere, and tell nothing."""
_VALUES = ("value", "default", "text")
"""Keys beside the `name` of a variable that hold what it is."""
_BETWEEN = re.compile(r"[\s,{}\[\]\"']+")
_ASSIGNED = re.compile(rf"[\w.-]*(?:{'|'.join(SECRET)})[\w.-]*[\"']?\s*[:=]\s*(.+)", re.IGNORECASE)
"""A name of a secret and what follows it, in a line that is perhaps no YAML."""


def masked_document(
    document: Mapping[str, Any], variables: Iterable[Mapping[str, str]] = (), secrets: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a document without the values of secrets.

    variables: what else its texts may be made of. secrets: values that are looked for besides.
    """
    found = set(secrets)
    _collect(document, found)
    for table in variables:
        _collect(table, found)
    masked: dict[str, Any] = _masked(document, _longest_first(found))
    return masked


def masked_text(text: str, variables: Iterable[Mapping[str, str]], secrets: Iterable[str]) -> str:
    """Return a text, such as an error's, without the values of secrets. Arguments as of `masked_document`."""
    found = set(secrets)
    for table in variables:
        _collect(table, found)
    return str(_masked(text, _longest_first(found)))


def secrets_of(text: str) -> set[str]:
    """Return the values of what a template names like secrets; of one that is no YAML, what looks like them."""
    if not is_secret(text):
        return set()
    if _is_yaml(text):
        return {scalar.value for scalar in _secret_scalars(text)}
    found = set()
    for assigned in _ASSIGNED.finditer(text):
        parts = [part for part in _BETWEEN.split(assigned[1]) if part and part[0] != "!" and part[-1] != ":"]
        found.update(parts[:1])
    return found


def masked_template(text: str) -> str:
    """Return the text of a template without what stands beside the names of secrets. One that is no YAML is masked."""
    text = text.removeprefix("\ufeff")  # libyaml does not count it
    if not is_secret(text):
        return text
    if not _is_yaml(text):
        return MASK
    spans = {(scalar.start_mark.index, scalar.end_mark.index) for scalar in _secret_scalars(text)}
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]}{MASK}{text[start + len(text[start:end].rstrip()) :]}"
    return text


def _is_yaml(text: str) -> bool:
    """Return whether a text is YAML as templates may have it: of no depth, and no size, that is much work."""
    try:
        parse(text, "")
    except EcsError:
        return False
    return True


def _secret_scalars(text: str) -> Iterator[yaml.ScalarNode]:
    """Yield the scalars of a YAML text beside names of secrets."""
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    seen: set[tuple[int, bool]] = set()
    waiting = [(root, False)]
    while waiting:
        node, is_beside = waiting.pop()
        if (id(node), is_beside) in seen:
            continue
        seen.add((id(node), is_beside))
        if isinstance(node, yaml.ScalarNode) and is_beside and node.value:
            yield node
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(inner, is_beside) for inner in node.value]
        elif isinstance(node, yaml.MappingNode):
            named = any(key.value == "name" and is_secret(str(inner.value)) for key, inner in node.value)
            described = any(key.value in _VALUES for key, _ in node.value)
            for key, inner in node.value:
                name = str(key.value)
                beside = name in _VALUES if described else is_beside
                waiting.append((inner, is_secret(name) or (beside and (is_beside or named))))


def _longest_first(secrets: Iterable[str]) -> list[str]:
    return sorted((text for text in secrets if len(text) >= SHORTEST), key=len, reverse=True)


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
