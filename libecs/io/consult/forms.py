"""The form of a workflow, and values checked against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libecs.config.tree import Tree
from libecs.io.consult.expanding import installed
from libecs.io.consult.linting import finding_document
from libecs.language.answers import Objection, validate
from libecs.language.fields import Severity
from libecs.language.form import Field, Form, make_form, to_json
from libecs.workflow.related import related
from libecs.workflow.source import Reference, TemplateSource


def read_form(source: TemplateSource, name: str, tree: Tree) -> Form:
    """Return the form of a workflow; `tree` holds the installation's variables.

    Raises:
        NotFound: there is no such workflow.
        TemplateError: a template, or a condition in it, is wrong.
    """
    found = related(source, [Reference(name, "")], strict=True)
    return make_form(
        found.workflows,
        found.tasks,
        installation=installed(tree, "vars"),
        is_complete=found.is_complete,
        findings=found.findings,
    )


def form_document(form: Form) -> dict[str, Any]:
    """Return a form as JSON: `values`, a JSON Schema, `panels`, what to show, and findings."""
    document: dict[str, Any] = {"description": form.description, **to_json(form)}
    for panel, shown in zip(form.panels, document["panels"], strict=True):
        for field, told in zip(panel.fields, shown["fields"], strict=True):
            told["condition"] = condition(field)
    return {**document, "findings": [finding_document(one) for one in form.findings]}


def condition(field: Field) -> str:
    """Return in words when a field is shown or enabled, "" = always."""
    found = [
        f"{what} if {' '.join(text.split())}"
        for what, text in (("shown", field.visible_text), ("enabled", field.enabled_text))
        if text
    ]
    return ", ".join(found)


def check_document(form: Form, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return whether values fit a form, and what is wrong with them."""
    objections = validate(form, dict(variables))
    return {
        "ok": not any(one.severity is Severity.ERROR for one in objections),
        "values": len(variables),
        "findings": [_objection_document(one) for one in objections],
    }


def _objection_document(objection: Objection) -> dict[str, Any]:
    return {
        "code": objection.code,
        "severity": objection.severity.name.lower(),
        "variable": objection.variable,
        "message": objection.message,
        "hint": objection.hint,
    }
