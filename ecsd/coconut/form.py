"""`coconut template form`: what a workflow asks users for, as panels of fields, and values checked against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ecsd.coconut.findings import finding_document
from ecsd.coconut.options import read_inputs, repository_options
from ecsd.coconut.output import Output, json_option, verb
from libecs.config.path import runtime_key
from libecs.errors import InvalidInput
from libecs.io.kv_file import read_kv_file
from libecs.language.answers import Objection, validate
from libecs.language.fields import Severity
from libecs.language.form import Field, Form, make_form, to_json
from libecs.workflow.related import related
from libecs.workflow.source import Reference, TemplateSource

_SHOWN_DEFAULT = 40
_SHOWN_VALUES = 40


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
@click.argument("workflow")
@repository_options
@click.option("--kv", metavar="FILE", help="Installation: its variables win over the defaults of templates.")
@click.option("-e", "--extra-vars", "extra_vars", multiple=True, metavar="K=V", help="Values: K=V,…, JSON, @FILE.yaml.")
@click.option("--check", is_flag=True, help="Check the values of -e against the form, and print what is wrong.")
@json_option
@verb
def form(output: Output, workflow: str, check: bool, **options: Any) -> int:
    """Show the form of a workflow, or check values against it."""
    from ecsd.coconut.expanding import open_source

    inputs = read_inputs(**options)
    if inputs.variables and not check:
        raise click.UsageError("values are there to be checked: add --check")
    source, name = open_source(inputs.repo, inputs.revision, workflow)
    made = read_form(source, name, inputs.kv)
    head = {"workflow": made.name, "repository": source.repository, "revision": source.revision}
    if check:
        return _check(output, head, made, inputs.variables)
    fields = {
        **head,
        "description": made.description,
        **to_json(made),
        "findings": [finding_document(one) for one in made.findings],
    }
    for finding in made.findings:
        output.say(f"note: {finding}")
    output.document("template-form", fields, _lines(made))
    return 0


def read_form(source: TemplateSource, name: str, kv: Path | None) -> Form:
    """Return the form of a workflow; `kv`: a file with the installation's variables.

    Raises:
        NotFound: there is no such workflow.
        TemplateError: a template, or a condition in it, is wrong.
    """
    found = related(source, [Reference(name, "")], strict=True)
    installation = {}
    if kv is not None:
        installation = {
            key: text.strip() for key, text in read_kv_file(kv).texts(runtime_key("aliecs", "vars")).items()
        }
    return make_form(
        found.workflows,
        found.tasks,
        installation=installation,
        is_complete=found.is_complete,
        findings=found.findings,
    )


def _check(output: Output, head: dict[str, str], made: Form, variables: Any) -> int:
    objections = validate(made, variables)
    wrong = any(one.severity is Severity.ERROR for one in objections)
    fields = {**head, "ok": not wrong, "findings": [_objection_document(one) for one in objections]}
    lines = [f"{one.severity.name.lower()}: {one}" for one in objections]
    if not wrong:
        count = len(variables)
        lines.append(f"{count} value{'s' if count != 1 else ''} fit{'s' if count == 1 else ''} the form of {made.name}")
    output.document("template-check", fields, lines)
    return InvalidInput.exit_code if wrong else 0


def _objection_document(objection: Objection) -> dict[str, Any]:
    return {
        "code": objection.code,
        "severity": objection.severity.name.lower(),
        "variable": objection.variable,
        "message": objection.message,
        "hint": objection.hint,
    }


def _lines(made: Form) -> Iterator[str]:
    fields = made.fields()
    yield f"{made.name}  {made.description}".rstrip()
    if not fields:
        yield "  asks for nothing: no variable of its templates is !public"
    for panel in made.panels:
        yield ""
        yield panel.title
        yield from _table([(one.name, _default(one), one.label, _kind(one), _condition(one)) for one in panel.fields])


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [*rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    for row in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True) if width)
        yield f"  {'  '.join(cells)}".rstrip()


def _default(field: Field) -> str:
    """Return the default, on one line, with an asterisk if it is the installation's."""
    text = " ".join(field.default.split()) or "-"
    if len(text) > _SHOWN_DEFAULT:
        text = f"{text[: _SHOWN_DEFAULT - 1]}…"
    return text + ("*" if field.from_installation else "")


def _kind(field: Field) -> str:
    """Return the type, or the first of the values that may be chosen."""
    shown: list[str] = []
    for text in field.values:
        if sum(map(len, shown)) + 3 * len(shown) + len(text) > _SHOWN_VALUES:
            break
        shown.append(text or '""')
    rest = len(field.values) - len(shown)
    return " | ".join([*shown, f"{rest} more"] if rest else shown) if field.values else field.type


def _condition(field: Field) -> str:
    found = [
        f"{what} if {' '.join(text.split())}"
        for what, text in (("shown", field.visible_text), ("enabled", field.enabled_text))
        if text
    ]
    return ", ".join(found)
