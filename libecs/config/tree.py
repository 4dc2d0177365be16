"""An immutable tree of keys and texts, as a key-value store holds it, and what is known of a store that is far away.

Keys are joined by "/" and never begin with it. A tree may be *partial*: then it knows some keys to be there, some
not to be there and some folders completely, and says `Missing` for all else, so that I/O can fetch and ask again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from libecs.errors import InvalidInput, Missing

_MAX_DEPTH = 64


@attrs.frozen
class Tree:
    """Keys to texts. A key of a folder ends with "/" wherever keys are asked for or reported as missing."""

    leaves: Mapping[str, str] = attrs.field(factory=dict)
    complete: bool = True
    """False: keys that are not in `leaves` may still exist, unless `absent` or `folders` know better."""
    absent: frozenset[str] = frozenset()
    """Keys known not to exist."""
    folders: frozenset[str] = frozenset()
    """Folders, "a/b/", of which everything is known."""
    empty: frozenset[str] = frozenset()
    """Folders, "a/b/", that exist without keys in them."""
    _children: dict[str, tuple[str, ...]] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def of(cls, nested: Mapping[str, Any]) -> Tree:
        """Build a complete tree from nested mappings, as a YAML or JSON file holds them.

        Mappings are folders; keys may hold "/" themselves. A text is kept as it is; true, 1.5 and null become
        "true", "1.5" and "".

        Raises:
            InvalidInput: a list, a key twice, or a key that is folder and value at once.
        """
        leaves: dict[str, str] = {}
        empty: set[str] = set()
        _collect(nested, "", leaves, empty, 0)
        for key in leaves:
            parent, slash, _ = key.rpartition("/")
            while slash:
                if parent in leaves:
                    raise InvalidInput(f"key {parent!r} has a value and is a folder too, of {key!r}")
                parent, slash, _ = parent.rpartition("/")
        return cls(leaves, empty=frozenset(empty))

    def get(self, key: str) -> str | None:
        """Return the text of `key`, or None if it does not exist.

        Raises:
            Missing: the tree is partial and doesn't know.
        """
        value = self.leaves.get(key)
        if value is None and not self.complete and key not in self.absent and not self._inside_known_folder(key):
            raise Missing([key])
        return value

    def has(self, key: str) -> bool:
        """Return whether `key` has a text. Raises as `get`."""
        return self.get(key) is not None

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in `folder` ("a/b" or "a/b/"), sorted; sub-folders among them, without "/".

        Raises:
            Missing: the tree is partial and does not know the whole folder.
        """
        prefix = folder.rstrip("/") + "/" if folder.strip("/") else ""
        if not self.complete and prefix not in self.folders and not self._inside_known_folder(prefix):
            raise Missing([prefix])
        if not self._children:
            self._children.update(_index(self.leaves, self.empty))
        return self._children.get(prefix, ())

    def texts(self, folder: str) -> dict[str, str]:
        """Return the keys directly in `folder` with their texts; sub-folders are left out. Raises as `list`."""
        prefix = folder.rstrip("/") + "/"
        return {name: self.leaves[prefix + name] for name in self.list(folder) if prefix + name in self.leaves}

    def with_known(self, values: Mapping[str, str | None], folders: Iterable[str] = ()) -> Tree:
        """Return a tree that also knows `values` (None: no such key) and, completely, `folders` ("a/b/")."""
        return attrs.evolve(
            self,
            leaves={**self.leaves, **{key: value for key, value in values.items() if value is not None}},
            absent=self.absent | {key for key, value in values.items() if value is None},
            folders=self.folders | set(folders),
        )

    def _inside_known_folder(self, key: str) -> bool:
        if not self.folders:
            return False
        at = key.rfind("/", 0, len(key) - 1)
        while at >= 0:
            if key[: at + 1] in self.folders:
                return True
            at = key.rfind("/", 0, at)
        return "" in self.folders


def _collect(nested: Mapping[str, Any], prefix: str, leaves: dict[str, str], empty: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidInput(f"key-value tree deeper than {_MAX_DEPTH} at {prefix!r}")
    for name, value in nested.items():
        if not isinstance(name, str):
            raise InvalidInput(
                f"key {name!r} in {prefix or 'the root'!r} is no text", hint=f'write it in quotes: "{name}"'
            )
        key = prefix + name.strip("/")
        if isinstance(value, Mapping):
            if not value:
                empty.add(key + "/")
            _collect(value, key + "/", leaves, empty, depth + 1)
        elif isinstance(value, list):
            raise InvalidInput(f"key {key!r} is a list", hint="a value is a text; give JSON as text, in quotes")
        elif key in leaves:
            raise InvalidInput(f"key {key!r} stands there twice")
        else:
            leaves[key] = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _index(leaves: Mapping[str, str], empty: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return every folder's names, sorted. One pass, so that listing is cheap however often it is asked."""
    names: dict[str, set[str]] = {}
    for key in [*leaves, *(folder.rstrip("/") for folder in empty)]:
        while True:
            parent, slash, name = key.rpartition("/")
            folder = names.setdefault(parent + slash, set())
            if name in folder:
                break
            folder.add(name)
            if not slash:
                break
            key = parent
    return {folder: tuple(sorted(found)) for folder, found in names.items()}
