#!/usr/bin/env python3
"""Generate what `occ` knows of states, events and messages from libecs: one definition, two languages.

    generate_header.py [--check]

Writes `occ/include/occ/occ_table.h` for C, and for Python (occ does not import libecs) `occ/_table.py` and
`occ/_messages.py`, apart because only devices need the messages and every task pays for its imports. They are
committed; `--check` writes nothing and fails when one of them is not what would be written.
"""

from __future__ import annotations

import argparse
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the tables of this source tree, not of an installed libecs

from libecs import fairmq, fsm  # noqa: E402
from libecs.wire import codec, task, telemetry  # noqa: E402

HEADER = ROOT / "occ" / "include" / "occ" / "occ_table.h"
TABLE = ROOT / "occ" / "_table.py"
MESSAGES = ROOT / "occ" / "_messages.py"

LIMITS: Mapping[str, tuple[int, str]] = {
    "WIRE_VERSION": (codec.VERSION, "Content of the version frame."),
    "MAX_FRAME_BYTES": (codec.MAX_FRAME_BYTES, "A longer frame is refused before it is read."),
    "MAX_ID_BYTES": (63, "Of Transition.id and Hello.name."),
    "MAX_ERROR_BYTES": (1023, "Of Result.error and Happened.text; longer texts are cut."),
    "MAX_ANSWERS": (16, "How many answers a task keeps to give again."),
    "MAX_NAME_BYTES": (telemetry.MAX_NAME_BYTES, "Of Metric.name and Metric.unit."),
    "MAX_LINE_BYTES": (telemetry.MAX_LINE_BYTES, "Of Log.text; longer lines are cut."),
    "MAX_METRICS": (64, "How many metrics a task may tell."),
}

WIRE_ENUMS: tuple[type[IntEnum], ...] = (
    task.Machine,
    task.PeerRole,
    task.Refusal,
    task.Trigger,
    task.DeviceEventType,
    telemetry.Severity,
)


@attrs.frozen(kw_only=True)
class Field:
    """One field of a message."""

    name: str
    kind: str
    """INT, BOOL, FLOAT, TEXT or MAP."""
    enum: type[IntEnum] | None
    required: bool
    fallback: int


@attrs.frozen(kw_only=True)
class Message:
    """One message of the task link."""

    number: int
    name: str
    fields: tuple[Field, ...]

    @property
    def snake(self) -> str:
        """The name in lower case with underscores."""
        return snake(self.name)

    @property
    def required(self) -> int:
        """How many fields have no default."""
        return sum(field.required for field in self.fields)


def snake(name: str) -> str:
    """Return `DeviceEventType` as `device_event_type`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def messages() -> list[Message]:
    """Return the messages of the task link in the order of their numbers."""
    return [
        Message(number=number, name=cls.__name__, fields=tuple(fields_of(cls)))
        for number, cls in sorted(task.TASK.kinds().items())
    ]


def fields_of(cls: type) -> Iterator[Field]:
    """Yield the fields of a message class.

    Raises:
        TypeError: a field has a type or a default that the C side has no form for.
    """
    hints = typing.get_type_hints(cls)
    for attribute in attrs.fields(cls):
        hint: Any = hints[attribute.name]
        enum = hint if isinstance(hint, type) and issubclass(hint, IntEnum) else None
        kinds = {int: "INT", bool: "BOOL", float: "FLOAT", str: "TEXT", Mapping[str, str]: "MAP"}
        kind = "INT" if enum else kinds.get(hint)
        default = attribute.default
        required = default is attrs.NOTHING
        plain = required or kind == "MAP" or default == "" or kind in ("INT", "BOOL")
        if kind is None or not plain:
            raise TypeError(f"{cls.__name__}.{attribute.name}: no C form for {hint!r} with default {default!r}")
        fallback = int(default) if kind in ("INT", "BOOL") and not required else 0
        yield Field(name=attribute.name, kind=kind, enum=enum, required=required, fallback=fallback)


# --- C ------------------------------------------------------------------------------------------------------------


def c_enum(prefix: str, members: Iterable[tuple[str, int]]) -> str:
    """Return a C enum and, below it, nothing else."""
    name = prefix.lower()
    rows = "\n".join(f"    {prefix}_{member} = {number}," for member, number in members)
    return f"enum {name} {{\n{rows}\n}};"


def c_names(name: str, members: Iterable[IntEnum], fairmq_labels: bool = False) -> str:
    """Return an array of names, indexed by number."""
    rows = "\n".join(
        f'    [{int(member)}] = "{member.name.replace("_", " ") if fairmq_labels else member.name}",'
        for member in members
    )
    return f"static const char* const {name}[] = {{\n{rows}\n}};"


def c_next(
    name: str, states: type[IntEnum], events: type[IntEnum], table: Mapping[Any, Mapping[Any, Any]], prefix: str
) -> str:
    """Return a transition table: [state][event] is the next state, 0 where the event is not allowed."""
    rows = []
    for state in states:
        cells = ", ".join(
            f"[{prefix}_EVENT_{event.name}] = {prefix}_STATE_{target.name}"
            for event, target in table.get(state, {}).items()
        )
        if cells:
            rows.append(f"    [{prefix}_STATE_{state.name}] = {{{cells}}},")
    size = f"[{max(states) + 1}][{max(events) + 1}]"
    return f"static const uint8_t {name}{size} = {{\n" + "\n".join(rows) + "\n};"


C_TYPES = {"INT": "int64_t", "BOOL": "bool", "FLOAT": "double", "TEXT": "struct occ_text", "MAP": "struct occ_map"}


def c_message(message: Message) -> str:
    """Return the struct of a message and the description of its fields."""
    rows = "\n".join(f"    {C_TYPES[field.kind]} {field.name};" for field in message.fields)
    described = []
    for field in message.fields:
        allowed = sum(1 << int(member) for member in field.enum) if field.enum else 0
        described.append(
            f"    {{OCC_FIELD_{field.kind}, offsetof(struct occ_{message.snake}, {field.name}), {allowed:#x}, "
            f"{field.fallback}}},"
        )
    return (
        f"struct occ_{message.snake} {{\n{rows}\n}};\n\n"
        f"static const struct occ_field occ_{message.snake}_fields[] = {{\n" + "\n".join(described) + "\n};"
    )


WIRE_TYPES = """\
/* Bytes inside a frame; not ended by NUL. */
struct occ_text {
    const char* bytes;
    size_t size;
};

/* `count` pairs of text, still packed. */
struct occ_map {
    const uint8_t* pairs;
    size_t size;
    uint32_t count;
};

enum occ_field_type { OCC_FIELD_INT, OCC_FIELD_BOOL, OCC_FIELD_FLOAT, OCC_FIELD_TEXT, OCC_FIELD_MAP };

struct occ_field {
    uint8_t type;
    uint16_t offset;
    uint64_t allowed; /* bit N: the number N is a member of the enum; 0: any number */
    int64_t fallback; /* when the field is absent; texts and maps are then empty */
};

struct occ_schema {
    int64_t kind;
    const char* name;
    uint8_t required; /* so many fields must be there */
    uint8_t count;
    const struct occ_field* fields;
};"""


def header() -> str:
    """Return the text of occ_table.h."""
    every = messages()
    limits = "\n".join(f"    OCC_{name} = {value}, /* {text} */" for name, (value, text) in LIMITS.items())
    ways = "\n".join(
        f"    [OCC_DEVICE_EVENT_{event.name}] = OCC_DEVICE_STATE_{state.name},"
        for event, state in fairmq.ON_THE_WAY.items()
    )
    union = "\n".join(f"        struct occ_{message.snake} {message.snake};" for message in every)
    schemas = "\n".join(
        f'    {{OCC_KIND_{message.snake.upper()}, "{message.name}", {message.required}, {len(message.fields)}, '
        f"occ_{message.snake}_fields}},"
        for message in every
    )
    blocks = [
        "/* Generated by tools/generate_header.py from libecs.fsm, libecs.fairmq, libecs.wire.task. Do not edit. */\n"
        "/* clang-format off */",
        "#ifndef OCC_TABLE_H\n#define OCC_TABLE_H",
        "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>",
        "/* --- a task, as the control system sees it --- */",
        c_enum("OCC_STATE", ((s.name, s) for s in fsm.TaskState)),
        c_enum("OCC_EVENT", ((e.name, e) for e in fsm.TaskEvent)),
        c_names("occ_state_names", fsm.TaskState),
        c_names("occ_event_names", fsm.TaskEvent),
        "/* [state][event] is the state that the event leads to; OCC_STATE_UNKNOWN: the event is not allowed. */\n"
        + c_next("occ_next", fsm.TaskState, fsm.TaskEvent, fsm.TASK, "OCC"),
        "/* --- a FairMQ device --- */",
        c_enum("OCC_DEVICE_STATE", ((s.name, s) for s in fairmq.DeviceState)),
        c_enum("OCC_DEVICE_EVENT", ((e.name, e) for e in fairmq.DeviceEvent)),
        c_names("occ_device_state_names", fairmq.DeviceState, fairmq_labels=True),
        c_names("occ_device_event_names", fairmq.DeviceEvent, fairmq_labels=True),
        "/* As occ_next. ERROR FOUND leads to ERROR from everywhere and is not in the table. */\n"
        + c_next("occ_device_next", fairmq.DeviceState, fairmq.DeviceEvent, fairmq.DEVICE, "OCC_DEVICE"),
        "/* [event] is the working state that a device passes through, UNDEFINED if none. */\n"
        f"static const uint8_t occ_device_on_the_way[{max(fairmq.DeviceEvent) + 1}] = {{\n{ways}\n}};",
        "/* --- limits --- */",
        f"enum occ_limit {{\n{limits}\n}};",
        "/* --- the messages of the task link --- */",
        *(c_enum(f"OCC_{snake(e.__name__).upper()}", ((m.name, m) for m in e)) for e in WIRE_ENUMS),
        c_enum("OCC_KIND", ((message.snake.upper(), message.number) for message in every)),
        "#ifdef OCC_TABLE_WIRE /* for those who read and write frames */",
        WIRE_TYPES,
        *(c_message(message) for message in every),
        f"struct occ_message {{\n    int64_t kind;\n    union {{\n{union}\n    }};\n}};",
        f"static const struct occ_schema occ_schemas[] = {{\n{schemas}\n}};",
        "#endif /* OCC_TABLE_WIRE */",
        "#endif",
    ]
    return "\n\n".join(blocks) + "\n"


# --- Python -------------------------------------------------------------------------------------------------------


def py_enum(cls: type[IntEnum]) -> str:
    """Return an enum as Python source."""
    rows = "\n".join(f"    {member.name} = {int(member)}" for member in cls)
    return f'class {cls.__name__}(IntEnum):\n    """{(cls.__doc__ or "").splitlines()[0]}"""\n\n{rows}'


def py_table(name: str, table: Mapping[Any, Mapping[Any, Any]]) -> str:
    """Return a transition table as Python source."""
    (state_type,) = {type(state) for state in table}
    (event_type,) = {type(event) for row in table.values() for event in row}
    state, event = state_type.__name__, event_type.__name__
    rows = []
    for source, row in table.items():
        cells = "".join(f"        {event}.{e.name}: {state}.{target.name},\n" for e, target in row.items())
        rows.append(f"    {state}.{source.name}: {{\n{cells}    }}," if cells else f"    {state}.{source.name}: {{}},")
    return f"{name}: Mapping[{state}, Mapping[{event}, {state}]] = {{\n" + "\n".join(rows) + "\n}"


PY_TYPES = {"INT": "int", "BOOL": "bool", "FLOAT": "float", "TEXT": "str", "MAP": "Mapping[str, str]"}


def py_number(field: Field) -> str:
    """Return the default of a number as Python source."""
    if field.enum is None or field.required:
        return str(field.fallback)
    return f"{field.enum.__name__}.{field.enum(field.fallback).name}"


def py_message(message: Message) -> str:
    """Return a message as an attrs class."""
    rows = []
    for field in message.fields:
        kind = field.enum.__name__ if field.enum else PY_TYPES[field.kind]
        default = {
            "INT": f" = {py_number(field)}",
            "BOOL": f" = {bool(field.fallback)}",
            "FLOAT": "",  # a default has no form yet
            "TEXT": ' = ""',
            "MAP": " = attrs.field(factory=dict)",
        }[field.kind]
        rows.append(f"    {field.name}: {kind}{'' if field.required else default}")
    return (
        f"@attrs.frozen(kw_only=True)\nclass {message.name}:\n"
        f'    """Message {message.number} of the task link."""\n\n' + "\n".join(rows)
    )


GENERATED = "Generated by tools/generate_header.py from libecs; do not edit."


def table_module() -> str:
    """Return the text of occ/_table.py."""
    limits = "\n".join(f'{name} = {value}\n"""{text}"""' for name, (value, text) in LIMITS.items())
    ways = "".join(
        f"    DeviceEvent.{event.name}: DeviceState.{state.name},\n" for event, state in fairmq.ON_THE_WAY.items()
    )
    top = [
        f'"""States, events and limits. {GENERATED}"""',
        "from __future__ import annotations",
        "from collections.abc import Mapping\nfrom enum import IntEnum",
        limits,
    ]
    enums: list[type[IntEnum]] = [fsm.TaskState, fsm.TaskEvent, fairmq.DeviceState, fairmq.DeviceEvent, *WIRE_ENUMS]
    tables = [
        py_table("TASK", fsm.TASK),
        py_table("DEVICE", fairmq.DEVICE)
        + '\n"""Device events by state. ERROR FOUND leads to ERROR from everywhere."""',
        f"ON_THE_WAY: Mapping[DeviceEvent, DeviceState] = {{\n{ways}}}\n"
        '"""The working state that a device passes through on an event."""',
    ]
    body = "\n\n\n".join([*[py_enum(enum) for enum in enums], "\n\n".join(tables)])
    return "\n\n".join(top) + "\n\n\n" + body + "\n"


def messages_module() -> str:
    """Return the text of occ/_messages.py."""
    every = messages()
    kinds = "".join(f"    {message.number}: {message.name},\n" for message in every)
    top = [
        f'"""Messages of the task link. {GENERATED}"""',
        "from __future__ import annotations",
        "from collections.abc import Mapping",
        "import attrs",
        f"from occ._table import {', '.join(sorted(enum.__name__ for enum in WIRE_ENUMS))}",
    ]
    body = "\n\n\n".join(py_message(message) for message in every)
    return "\n\n".join(top) + "\n\n\n" + body + f"\n\n\nKINDS: Mapping[int, type] = {{\n{kinds}}}\n"


def main() -> int:
    """Write the files, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description="generate the tables of occ from libecs")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    options = parser.parse_args()
    stale = 0
    for path, text in ((HEADER, header()), (TABLE, table_module()), (MESSAGES, messages_module())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            stale = 1
            print(f"{path.relative_to(ROOT)} is stale: run tools/generate_header.py and commit it", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
