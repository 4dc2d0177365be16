"""`coconut template form`: what a workflow asks users for, as panels of fields, and values checked against it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from ecsd.coconut.complete import templates, variables
from ecsd.coconut.options import consult_options
from ecsd.coconut.output import Output, json_option, verb

_SHOWN_DEFAULT = 40
_SHOWN_VALUES = 40
_INVALID = 9


@click.command(
    "form",
    help="""Show the form of a workflow: its public variables by panel, with types, choices and conditions. With
    --check, say whether values fit it, without creating anything; exit status 9 if they do not.

    \b
    Examples:
      coconut template form demo --repo examples/demo
      coconut template form demo --repo examples/demo --json
      coconut template form demo --repo examples/demo --check -e rate=100
    """,
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@click.option("--kv", metavar="FILE", help="Installation: its variables win over the defaults of templates.")
@click.option(
    "-e",
    "--extra-vars",
    "extra_vars",
    multiple=True,
    metavar="K=V",
    shell_complete=variables,
    help="Values: K=V,…, JSON, @FILE.yaml.",
)
@click.option("--check", is_flag=True, help="Check the values of -e against the form, and print what is wrong.")
@json_option
@verb
def form(
    output: Output, workflow: str, check: bool, kv: str | None, extra_vars: tuple[str, ...], **options: Any
) -> int:
    """Show the form of a workflow, or check values against it."""
    from ecsd.coconut.consulting import Source
    from ecsd.coconut.options import existing
    from ecsd.coconut.variables import parse_variables

    if extra_vars and not check:
        raise click.UsageError("values are there to be checked: add --check")
    source = Source(**options, kv=existing(kv, "--kv"))
    arguments = {
        "workflow": source.workflow(workflow),
        "check": "1" if check else "",
        "variables": json.dumps(parse_variables(extra_vars)),
    }
    document = source.answer("template.form", arguments)
    if check:
        output.answer(document, _checked(document))
        return 0 if document["ok"] else _INVALID
    for finding in document["findings"]:
        mark = ":".join(str(finding[part]) for part in ("file", "line", "column"))
        output.say(f"note: {mark}: {finding['message']}" + (f"; {finding['hint']}" if finding["hint"] else ""))
    output.answer(document, _lines(document))
    return 0


def _checked(document: Mapping[str, Any]) -> Iterator[str]:
    for one in document["findings"]:
        yield f"{one['severity']}: {one['message']}" + (f"; {one['hint']}" if one["hint"] else "")
    if document["ok"]:
        count = document["values"]
        yield f"{count} value{'s' * (count != 1)} fit{'s' * (count == 1)} the form of {document['workflow']}"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"{document['workflow']}  {document['description']}".rstrip()
    if not document["panels"]:
        yield "  asks for nothing: no variable of its templates is !public"
    for panel in document["panels"]:
        yield ""
        yield panel["title"]
        yield from _table(
            [(one["name"], _default(one), _label(one), _kind(one), one["condition"]) for one in panel["fields"]]
        )


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [*rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    for row in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True) if width)
        yield f"  {'  '.join(cells)}".rstrip()


def _label(field: Mapping[str, Any]) -> str:
    return "" if field["label"] == field["name"] else str(field["label"])


def _default(field: Mapping[str, Any]) -> str:
    """Return the default, on one line, with an asterisk if it is the installation's."""
    text = " ".join(field["default"].split()) or "-"
    if len(text) > _SHOWN_DEFAULT:
        text = f"{text[: _SHOWN_DEFAULT - 1]}…"
    return text + ("*" if field["installation"] else "")


def _kind(field: Mapping[str, Any]) -> str:
    """Return the type, or the first of the values that may be chosen."""
    shown: list[str] = []
    for text in field["values"]:
        if sum(map(len, shown)) + 3 * len(shown) + len(text) > _SHOWN_VALUES:
            break
        shown.append(text or '""')
    rest = len(field["values"]) - len(shown)
    return " | ".join([*shown, f"{rest} more"] if rest else shown) if field["values"] else str(field["type"])
