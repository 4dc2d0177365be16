#!/usr/bin/env python3
"""Write the golden frames of the links over TCP: `node.json`, `client.json` and `lobby.json`, one frame a message.

    make_others.py [--check]

The values are made from the annotations alone, so that every field of every message is on record with its type and its
place. A frame that changes is a protocol that changes: old executors and clients are out there.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs

from libecs.wire.client import CLIENT
from libecs.wire.codec import Table
from libecs.wire.lobby import LOBBY
from libecs.wire.node import NODE

LINKS: Mapping[str, Table] = {"node": NODE, "client": CLIENT, "lobby": LOBBY}


def example(hint: Any, name: str = "value") -> Any:
    """Return a value of a type: never its default, and always the same."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return example(next(one for one in arguments if one is not type(None)), name)
    if origin is tuple and arguments[-1] is Ellipsis:
        return (example(arguments[0], name), example(arguments[0], name))
    if origin is tuple:
        return tuple(example(one, name) for one in arguments)
    if origin is not None:
        return {"key": example(arguments[1], name)}
    if issubclass(hint, IntEnum):
        return list(hint)[-1]
    if attrs.has(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: example(hints[field.name], field.name) for field in attrs.fields(hint)})
    return {bool: True, int: 7, float: 2.5, str: name, bytes: name.encode()}[hint]


def frames(table: Table) -> dict[str, str]:
    """Return the frame of every message of a link, in hexadecimal, by the name of its class."""
    return {cls.__name__: table.encode(example(cls)).hex() for _, cls in sorted(table.kinds().items())}


def main() -> int:
    """Write the files, or with --check tell whether they are what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, table in LINKS.items():
        target = Path(__file__).with_name(f"{name}.json")
        text = json.dumps(frames(table), indent=1) + "\n"
        if check and (not target.exists() or target.read_text() != text):
            stale.append(target.name)
        elif not check:
            target.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; run {Path(__file__).name}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
