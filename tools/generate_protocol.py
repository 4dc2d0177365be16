#!/usr/bin/env python3
"""Write the tables of docs/protocol.md from the messages themselves, so that the document can't be wrong about them.

    generate_protocol.py [--check]

The text between `<!-- generated: NAME -->` and `<!-- end of NAME -->` is replaced; all other text is written by hand.
`--check` writes nothing and fails when the tables are not what would be written. Meanings are the docstrings in
libecs/wire: correct them there.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the messages of this source tree, not of an installed libecs

from libecs import fairmq, fsm  # noqa: E402
from libecs.wire import client, lobby, node, task  # noqa: E402
from libecs.wire.codec import Table  # noqa: E402

DOCUMENT = ROOT / "docs" / "protocol.md"

LINKS: Mapping[str, Table] = {
    "task link": task.TASK,
    "node link": node.NODE,
    "client link": client.CLIENT,
    "lobby": lobby.LOBBY,
}


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the strings under the attributes of a class, each as one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            targets = before.targets if isinstance(before, ast.Assign) else [getattr(before, "target", None)]
            target = targets[0]
            if isinstance(target, ast.Name):
                docs[target.id] = one_line(after.value.value)
    return docs


def one_line(text: str) -> str:
    """Return text without line breaks, safe inside a table."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def type_name(hint: Any) -> str:
    """Return the type of a field as the document writes it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return f"{type_name(inner)} or nil"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"array of {type_name(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(type_name, arguments))}]"
    if origin is not None:
        return f"map of text to {type_name(arguments[1])}"
    return {int: "int", float: "float", bool: "bool", str: "text", bytes: "bytes"}.get(hint) or str(hint.__name__)


def default_text(attribute: Any) -> str:
    """Return the default of a field; empty if it must be there."""
    default = attribute.default
    if default is attrs.NOTHING:
        return ""
    if isinstance(default, IntEnum):
        return f"{default.name} ({int(default)})"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        made = default.factory()
        return "{}" if made == {} else "all defaults"
    if isinstance(default, bool):  # 0 and 1 are equal to them
        return "true" if default else "false"
    return {"": '""', (): "[]", None: "nil"}.get(default, str(default))


def inner_types(hint: Any) -> Iterator[type]:
    """Yield the classes that a type mentions."""
    if typing.get_origin(hint) is not None:
        for argument in typing.get_args(hint):
            yield from inner_types(argument)
    elif isinstance(hint, type) and (attrs.has(hint) or issubclass(hint, IntEnum)):
        yield hint


def mentioned(classes: list[type]) -> list[type]:
    """Return the values and enums that messages are made of, in the order in which they are met."""
    found: dict[type, None] = {}
    queue = list(classes)
    while queue:
        cls = queue.pop(0)
        for hint in typing.get_type_hints(cls).values() if attrs.has(cls) else ():
            for inner in inner_types(hint):
                if inner not in found:
                    found[inner] = None
                    queue.append(inner)
    return list(found)


def fields_table(cls: type) -> Iterator[str]:
    """Yield the rows of the table of a class."""
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    if not attrs.fields(cls):
        yield "No fields."
        return
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for attribute in attrs.fields(cls):
        default = default_text(attribute)
        shown = f"`{default}`" if default else "–"
        yield f"| {attribute.name} | {type_name(hints[attribute.name])} | {shown} | {docs.get(attribute.name, '')} |"


def enum_row(cls: type[IntEnum]) -> str:
    """Return an enum in one row."""
    docs = attribute_docs(cls)
    members = (
        f"{int(member)} {member.name}" + (f" ({docs[member.name]})" if member.name in docs else "") for member in cls
    )
    return f"| {cls.__name__} | {one_line((cls.__doc__ or '').splitlines()[0])} | {'; '.join(members)} |"


def link(table: Table) -> Iterator[str]:
    """Yield the messages of a link, then the values and enums in them."""
    kinds = sorted(table.kinds().items())
    for number, cls in kinds:
        yield f"#### {number} {cls.__name__}\n"
        yield one_line(cls.__doc__ or "") + "\n"
        yield "\n".join(fields_table(cls)) + "\n"
    inside = mentioned([cls for _, cls in kinds])
    for cls in inside:
        if attrs.has(cls):
            yield f"#### {cls.__name__}, inside others\n"
            yield one_line(cls.__doc__ or "") + "\n"
            yield "\n".join(fields_table(cls)) + "\n"
    enums = [cls for cls in inside if issubclass(cls, IntEnum)]
    if enums:
        yield "#### Enums\n"
        yield "| enum | | numbers |\n|---|---|---|"
        yield "\n".join(map(enum_row, enums)) + "\n"


def machine(states: type[IntEnum], table: Mapping[Any, Mapping[Any, Any]], blanks: bool) -> Iterator[str]:
    """Yield a state machine: numbers of states, then what leads where."""

    def label(member: IntEnum) -> str:
        return f"{member.name.replace('_', ' ') if blanks else member.name} {int(member)}"

    yield "| state | event → state |"
    yield "|---|---|"
    for state in states:
        if state in table:
            row = "; ".join(f"{label(event)} → {label(target)}" for event, target in table[state].items())
            yield f"| {label(state)} | {row or 'none: the end'} |"
    yield ""


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each generated part."""
    for name, table in LINKS.items():
        yield name, "\n".join(link(table))
    yield "OCC machine", "\n".join(machine(fsm.TaskState, fsm.TASK, blanks=False))
    yield "FairMQ machine", "\n".join(machine(fairmq.DeviceState, fairmq.DEVICE, blanks=True))


def document(old: str) -> str:
    """Return the document with fresh tables.

    Raises:
        ValueError: a part has no place in it.
    """
    for name, text in texts():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->"
        if old.count(begin) != 1 or old.count(end) != 1:
            raise ValueError(f"{DOCUMENT.name} has no place for {name}: {begin.strip()} … {end}")
        before, _, rest = old.partition(begin)
        _, _, after = rest.partition(end)
        old = f"{before}{begin}\n{text}\n{end}{after}"
    return old


def main() -> int:
    """Write the document, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description="write the tables of docs/protocol.md")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they are stale")
    check = parser.parse_args().check
    old = DOCUMENT.read_text(encoding="utf-8")
    new = document(old)
    if check and new != old:
        print("docs/protocol.md is stale: run tools/generate_protocol.py and commit it", file=sys.stderr)
        return 1
    if new != old:
        DOCUMENT.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
