"""Configuration, runtime values and inventory in one YAML file: `--kv FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from libecs.config.tree import Tree
from libecs.errors import EcsError, NotFound
from libecs.language.yaml import Mapping, Node, Scalar, parse


def read_kv_file(path: Path) -> Tree:
    """Return the tree in a file: mappings are folders, keys may hold "/" themselves, scalars are texts as written.

    Raises:
        NotFound: there is no such file.
        TemplateError: it is no YAML, or holds a list, at file:line:column.
        InvalidInput: a key is folder and value at once.
        EcsError: it cannot be read.
    """
    root = read_mapping(path, "a tree of keys and values")
    return Tree() if root is None else Tree.of(_plain(root))


def read_mapping(path: Path, what: str) -> Mapping | None:
    """Return the mapping that a YAML file is; None if the file is empty. `what` it should be, for messages.

    Raises:
        NotFound: there is no such file.
        TemplateError: it is no YAML or no mapping, at file:line:column.
        EcsError: it cannot be read.
    """
    data = read_file(path)
    return parse(data, str(path)).expect_mapping(what) if data.strip() else None


def read_file(path: Path) -> bytes:
    """Return the content of a file that a user named.

    Raises:
        NotFound: there is no such file.
        EcsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise EcsError(f"{path} cannot be read: {error.strerror}") from error


def _plain(mapping: Mapping) -> dict[str, Any]:
    return {key.text: _value(key.text, node) for key, node in mapping}


def _value(key: str, node: Node) -> Any:
    if isinstance(node, Mapping):
        return _plain(node)
    if isinstance(node, Scalar):
        return "" if node.is_null else node.text
    raise node.mark.error(f"the value of {key!r} is a list", hint="a value is a text; give JSON as text, in quotes")
