"""Forms: the public variables of templates as a user interface shows them, and as values are checked against them.

A form has panels in the order in which they appear, fields in each by `index`, then by the order of the files. Only
entries tagged `!public` are fields. What a field may hold is a JSON Schema (`schema`); `answers` checks what a person
typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from libecs.language import walk
from libecs.language.condition import Tree, parse_condition
from libecs.language.condition import to_json as tree_to_json
from libecs.language.fields import Finding, Severity, Variable, VariableSpec
from libecs.language.marks import Mark
from libecs.language.task import TaskTemplate
from libecs.language.template import TemplateRole, WorkflowTemplate
from libecs.language.variable_types import EXAMPLES, WANTED, Json, excluded, fits, item_type, shown, typed

WIDGETS: Final = (
    "editBox",
    "slider",
    "listBox",
    "dropDownBox",
    "comboBox",
    "radioButtonBox",
    "checkBox",
    "detectorSelector",
)
CHOOSERS: Final = ("listBox", "dropDownBox", "comboBox", "radioButtonBox")
"""Widgets that offer `values`."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
OTHER_PANEL: Final = "Other"

_SCHEMA_TYPES: Final = {"string": "string", "number": "number", "bool": "boolean", "list": "array", "map": "object"}
_NO_TEXTS: Mapping[str, str] = {}


@attrs.frozen(kw_only=True)
class Field:
    """One variable that users are asked for."""

    name: str
    type: str = "string"
    """string, number, bool, list or map."""
    widget: str = "editBox"
    """One of `WIDGETS`."""
    label: str = ""
    description: str = ""
    panel: str = ""
    values: tuple[str, ...] = ()
    """Texts that may be chosen; of a list: what its items may be. Empty: any."""
    index: int = 0
    rows: int = 0
    """Height of an edit box in lines; 0: one."""
    default: str = ""
    """Text that the variable has if nobody says anything. It may hold {{ }}: see `is_computed`."""
    is_computed: bool = False
    """The default is computed from other variables."""
    layer: str = "defaults"
    """defaults or vars."""
    from_installation: bool = False
    """The default is the installation's, not the template's."""
    visible_if: Tree | None = None
    enabled_if: Tree | None = None
    visible_text: str = ""
    """`visible_if` as it is written."""
    enabled_text: str = ""
    mark: Mark
    """Place of the value in the template."""


@attrs.frozen(kw_only=True)
class Panel:
    """Fields that are shown together."""

    name: str
    title: str
    fields: tuple[Field, ...]


@attrs.frozen(kw_only=True)
class Form:
    """What a workflow asks users for."""

    name: str
    description: str = ""
    panels: tuple[Panel, ...] = ()
    others: frozenset[str] = frozenset()
    """Variables that are no fields and that the templates declare or read: they may be set, too."""
    is_complete: bool = True
    """False: templates that could not be read, or are generated later, may have more variables."""
    findings: tuple[Finding, ...] = ()

    def fields(self) -> dict[str, Field]:
        """Return all fields by name, in the order of the form."""
        return {field.name: field for panel in self.panels for field in panel.fields}


def make_form(
    workflows: Iterable[WorkflowTemplate],
    tasks: Iterable[TaskTemplate] = (),
    *,
    installation: Mapping[str, str] = _NO_TEXTS,
    is_complete: bool = True,
    findings: Iterable[Finding] = (),
) -> Form:
    """Return the form of a workflow.

    Args:
        workflows: the template and those that it includes, in the order in which they are included, each once.
        tasks: the task templates that they load: what those read may be set by users, too.
        installation: the installation's `vars`, which win over what stands under `defaults`.
        is_complete: False if templates are missing.
        findings: what is known already; those about fields are added.

    Raises:
        TemplateError: a variable is declared twice in one file; ExpressionError: a condition is wrong.
    """
    templates = tuple(workflows)
    found: dict[str, Field] = {}
    noted = list(findings)
    others: set[str] = set()
    for template in templates:
        in_file: dict[str, Mark] = {}
        for role in walk.roles(template):
            for layer, variable in walk.variables(role):
                if variable.spec is None:
                    others.add(variable.name)
                    continue
                _once(variable, in_file)
                if variable.name in found:
                    noted.append(_hidden(variable, found[variable.name]))
                    continue
                found[variable.name] = _field(variable, variable.spec, layer, installation, noted)
            others.update(name for text in walk.role_texts(role) for name in text.names)
            others.difference_update(_locals(role))
    for task in tasks:
        others.update(name for text in walk.all_task_texts(task) for name in text.names)
        others.update((*task.defaults, *task.vars))
    top = templates[0]
    return Form(
        name=top.name,
        description=top.description,
        panels=_panels(found.values()),
        others=frozenset(others - found.keys()),
        is_complete=is_complete,
        findings=tuple(sorted(noted, key=lambda one: (one.mark.file, one.mark.line, one.mark.column))),
    )


def _locals(role: TemplateRole) -> tuple[str, ...]:
    return (role.loop.var,) if role.loop is not None else ()


def _once(variable: Variable, in_file: dict[str, Mark]) -> None:
    first = in_file.setdefault(variable.name, variable.mark)
    if first is not variable.mark:
        raise variable.mark.error(
            f"the public variable {variable.name!r} stands twice, in lines {first.line} and {variable.mark.line}",
            hint="keep one of them, or remove !public from one",
        )


def _hidden(variable: Variable, shown: Field) -> Finding:
    return Finding(
        mark=variable.mark,
        message=f"the public variable {variable.name!r} stands in {shown.mark.file}, too, whose field is shown",
        code="duplicate-variable",
        hint="remove !public from one of them",
    )


def _field(
    variable: Variable, spec: VariableSpec, layer: str, installation: Mapping[str, str], noted: list[Finding]
) -> Field:
    noted += check_spec(variable, spec)
    overridden = layer == "defaults" and variable.name in installation
    return Field(
        name=variable.name,
        type=spec.type,
        widget=spec.widget if spec.widget in WIDGETS else "editBox",
        label=spec.label,
        description=spec.description,
        panel=spec.panel,
        values=tuple(dict.fromkeys(text for text in spec.values if fits(text, item_type(spec.type)))),
        index=spec.index,
        rows=spec.rows,
        default=installation[variable.name] if overridden else variable.text.source,
        is_computed=not overridden and not variable.text.is_literal,
        layer=layer,
        from_installation=overridden,
        visible_if=_condition(spec.visible_if, spec.marks.get("visibleif")),
        enabled_if=_condition(spec.enabled_if, spec.marks.get("enabledif")),
        visible_text=spec.visible_if.strip(),
        enabled_text=spec.enabled_if.strip(),
        mark=variable.mark,
    )


def _condition(source: str, mark: Mark | None) -> Tree | None:
    return parse_condition(source, mark) if source.strip() else None


def check_spec(variable: Variable, spec: VariableSpec) -> Iterator[Finding]:
    """Go through what is odd about the field of one variable."""

    def finding(key: str, message: str, code: str, severity: Severity, hint: str = "") -> Finding:
        mark = spec.marks.get(key, variable.mark)
        return Finding(
            mark=mark, message=f"variable {variable.name!r} {message}", code=code, severity=severity, hint=hint
        )

    if spec.widget not in WIDGETS:
        hint = f"widgets: {', '.join(WIDGETS)}"
        yield finding("widget", f"has the unknown widget {spec.widget!r}", "unknown-widget", Severity.WARNING, hint)
    if spec.rows and spec.widget != "editBox":
        yield finding("rows", "has `rows`, which only an editBox has", "ignored", Severity.HINT)
    if spec.widget in CHOOSERS and not spec.values:
        yield finding("widget", f"has the widget {spec.widget}, and no `values`", "no-values", Severity.WARNING)
    if len(set(spec.values)) < len(spec.values):
        twice = next(text for text in spec.values if spec.values.count(text) > 1)
        yield finding("values", f"allows {shown(twice)} twice", "duplicate-value", Severity.HINT)
    wrong = [text for text in spec.values if not fits(text, item_type(spec.type))]
    if wrong:
        what = WANTED[item_type(spec.type)]
        yield finding("values", f"allows {shown(wrong[0])}, which is not {what}", "wrong-type", Severity.WARNING)
    if not variable.text.is_literal:
        return
    text = variable.text.source
    if text and not fits(text, spec.type):
        message = f"is {WANTED[spec.type]}, and its value {shown(text)} is not"
        yield finding("value", message, "wrong-type", Severity.WARNING, EXAMPLES[spec.type])
    elif text and spec.values and not wrong and excluded(typed(text, spec.type), spec.type, spec.values):
        message = f"has the value {shown(text)}, which is not among its `values`"
        yield finding("value", message, "not-allowed", Severity.WARNING, "add it to `values`")


def _panels(fields: Iterable[Field]) -> tuple[Panel, ...]:
    panels: dict[str, list[Field]] = {}
    for field in fields:
        panels.setdefault(field.panel, []).append(field)
    return tuple(
        Panel(
            name=name,
            title=name.replace("_", " ") or OTHER_PANEL,
            fields=tuple(sorted(inside, key=lambda field: field.index)),
        )
        for name, inside in panels.items()
    )


# ------------------------------------------------------------------------------------------------------------- JSON


def schema(form: Form) -> dict[str, Json]:
    """Return the JSON Schema of the values, an object of variables. Every field may be left out."""
    document: dict[str, Json] = {"$schema": DIALECT, "title": form.name}
    if form.description:
        document["description"] = form.description
    return {
        **document,
        "type": "object",
        "properties": {name: _property(field) for name, field in form.fields().items()},
        "additionalProperties": True,
    }


def _property(field: Field) -> dict[str, Json]:
    made: dict[str, Json] = {"type": _SCHEMA_TYPES[field.type]}
    if field.label:
        made["title"] = field.label
    if field.description:
        made["description"] = field.description
    if field.values:
        allowed: list[Json] = [typed(text, item_type(field.type)) for text in field.values]
        if field.type == "list":
            made["items"] = {"enum": allowed}
        else:
            made["enum"] = allowed
    if not field.is_computed and (field.default or field.type == "string") and fits(field.default, field.type):
        made["default"] = typed(field.default, field.type)
    return made


def to_json(form: Form) -> dict[str, Json]:
    """Return the form: `values`, a JSON Schema, and `panels`, what to show."""
    panels: list[Json] = [
        {"name": panel.name, "title": panel.title, "fields": [_shown_field(field) for field in panel.fields]}
        for panel in form.panels
    ]
    return {"values": schema(form), "panels": panels, "others": [*sorted(form.others)], "complete": form.is_complete}


def _shown_field(field: Field) -> dict[str, Json]:
    made: dict[str, Json] = {
        "name": field.name,
        "type": field.type,
        "widget": field.widget,
        "label": field.label or field.name,
        "description": field.description,
        "index": field.index,
        "rows": field.rows or 1,
        "values": [*field.values],
        "default": field.default,
        "computed": field.is_computed,
        "layer": field.layer,
        "installation": field.from_installation,
        "file": field.mark.file,
        "line": field.mark.line,
    }
    if field.visible_if is not None:
        made["visibleif"] = tree_to_json(field.visible_if)
    if field.enabled_if is not None:
        made["enabledif"] = tree_to_json(field.enabled_if)
    return made
