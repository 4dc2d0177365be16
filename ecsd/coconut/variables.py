"""Variables on a command line: `k=v`, `k=v,k2=v2`, a JSON object, `@file.yaml`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from libecs.errors import NotFound, UsageError
from libecs.language import yaml

HINT = 'write -e name=value, -e a=1,b=2, -e \'{"hosts": ["a", "b"]}\' or -e @file.yaml'


def parse_variables(texts: Iterable[str]) -> dict[str, str]:
    """Return the variables of all `-e` options; a later one wins.

    A value that begins with `[` or `{` goes on to the end of the option, so that lists need no quotes inside of
    quotes. Values of objects and files that are no text become JSON.

    Raises:
        UsageError: something is no assignment.
        NotFound: there is no such file.
        TemplateError: the file is no YAML.
    """
    variables: dict[str, str] = {}
    for text in texts:
        stripped = text.strip()
        if stripped in ("-", "@-"):
            variables |= _from_text(sys.stdin.read(), "standard input")
        elif stripped.startswith("@"):
            variables |= _from_file(Path(stripped[1:]))
        elif stripped.startswith("{"):
            variables |= _from_object(stripped)
        else:
            variables |= dict(_assignments(stripped))
    return variables


def _assignments(text: str) -> Iterable[tuple[str, str]]:
    rest = text
    while rest:
        name, equals, value = rest.partition("=")
        name = name.strip().strip("\"'")
        if not equals or not name or "," in name:
            wrong = rest.split(",")[0] if "," in name or not equals else rest
            raise UsageError(f"invalid variable assignment {wrong!r}", hint=HINT)
        value, rest = _value(value)
        yield name, value


def _value(text: str) -> tuple[str, str]:
    """Split a value from what follows its comma."""
    if text[:1] in ("[", "{"):
        return text, ""
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        if end > 0 and text[end + 1 : end + 2] in ("", ","):
            return text[1:end], text[end + 2 :]
    value, _, rest = text.partition(",")
    if value[-1:] in ('"', "'"):  # coconut allows "name=value" with the quotes around both
        value = value[:-1]
    return value, rest


def _from_object(text: str) -> dict[str, str]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"invalid JSON in a variable assignment: {error}", hint=HINT) from None
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", hint=HINT) from None
    return _from_text(text, str(path))


def _from_text(text: str | bytes, place: str) -> dict[str, str]:
    document = yaml.parse(text, place).expect_mapping("a file of variables")
    return {key.text: _text(node) for key, node in document}


def _text(node: yaml.Node) -> str:
    return node.text if isinstance(node, yaml.Scalar) else json.dumps(plain(node), separators=(",", ":"))


def plain(node: yaml.Node) -> object:
    """Return a YAML tree as lists, dicts and the literal texts of scalars."""
    if isinstance(node, yaml.Mapping):
        return {key.text: plain(value) for key, value in node}
    if isinstance(node, yaml.Sequence):
        return [plain(item) for item in node]
    assert isinstance(node, yaml.Scalar)
    return node.text
