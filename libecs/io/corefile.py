"""STATE/core.toml: which core a node belongs to, and which keys of that core it believes.

core, node                   address of the core, name of the node
core_key, next_core_key      the core's present key, and the one that it has told to follow
key                          path of the node's own key
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from libecs.errors import EcsError, InvalidInput
from libecs.io.keyfile import CORE_FILE, check_key, toml_text, write_private
from libecs.io.link import ClientCurve


def next_core_key(state: Path, core_key: str) -> str:
    """Return the next key of a node's core, "" if none was told. Raises InvalidInput: the file is damaged."""
    document = _read_core_file(state)
    key = str(document.get("next_core_key", "")) if document.get("core_key") == core_key else ""
    if key:
        check_key(key)
    return key


def pin_core(state: Path, core_key: str, next_key: str, *, known: Collection[str]) -> bool:
    """Write down that the core of a node has, or will have, another key.

    Return False if the file, as it is now, says nothing of a key that is `known`: the settings name the core, or the
    node has joined anew.

    Raises:
        EcsError: the file is damaged, or can't be written.
    """
    document = _read_core_file(state)
    if document.get("core_key") not in known:
        return False
    values = {name: str(value) for name, value in document.items()} | {"core_key": core_key, "next_core_key": next_key}
    write_core_file(state, {name: value for name, value in values.items() if value})
    return True


class NodePins:
    """Keeps the keys that the executor of a node believes its core to have, in its `core.toml`: a `Keep` of `pins`."""

    def __init__(self, state: Path, curve: ClientCurve | None, *, by_hand: bool) -> None:
        """`curve`: what is believed now. `by_hand`: the settings name the core's key, and win over the file."""
        self._state = state
        self._known = set() if curve is None else {curve.server, curve.next_server} - {""}
        self._by_hand = by_hand

    def __call__(self, core_key: str, next_key: str) -> bool:
        """Write them down; return whether they hold at the next start. Raises EcsError as `pin_core`."""
        known = frozenset(self._known)
        self._known |= {core_key, next_key} - {""}
        return pin_core(self._state, core_key, next_key, known=known) and not self._by_hand


def _read_core_file(state: Path) -> Mapping[str, object]:
    path = state / CORE_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}", hint="join the core again: ecs-executord join TOKEN") from None
    except OSError as error:
        raise EcsError(f"{path} cannot be read: {error.strerror}") from error


def write_core_file(state: Path, values: Mapping[str, str]) -> None:
    """Write which core a node belongs to. Raises EcsError: it can't be written."""
    path = state / CORE_FILE
    try:
        write_private(path, "".join(f"{name} = {toml_text(value)}\n" for name, value in values.items()))
    except OSError as error:
        raise EcsError(f"{path} cannot be written: {error.strerror}") from error
