"""Answers: values for the fields of a form, checked before anything is created with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from libecs.errors import InvalidInput
from libecs.language.fields import Severity
from libecs.language.form import Field, Form
from libecs.language.program import suggest
from libecs.language.variable_types import EXAMPLES, WANTED, Json, excluded, is_of_type, shown, text_of, typed
from libecs.language.walk import READ_BY_THE_SYSTEM

_SHOWN_VALUES = 8


@attrs.frozen(kw_only=True)
class Objection:
    """Something that is wrong with a value."""

    variable: str
    code: str
    """unknown-variable, wrong-type or not-allowed."""
    severity: Severity = Severity.ERROR
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return self.message + (f"; {self.hint}" if self.hint else "")


def validate(form: Form, values: Mapping[str, Json]) -> tuple[Objection, ...]:
    """Return what is wrong with values for the variables of a form, in their order; nothing if all is well.

    A text is taken for what it means: "12" is a number. Names that are no fields are fine if templates know them.
    """
    fields = form.fields()
    found: list[Objection] = []
    for name, value in values.items():
        field = fields.get(name)
        found.extend(_unknown(form, name, fields) if field is None else _wrong(field, value))
    return tuple(found)


def texts(values: Mapping[str, Json]) -> dict[str, str]:
    """Return the variables of a request: the texts of values that `validate` has no objection to."""
    return {name: text_of(value) for name, value in values.items()}


def _unknown(form: Form, name: str, fields: Mapping[str, Field]) -> Iterator[Objection]:
    if name in form.others or name in READ_BY_THE_SYSTEM:
        return
    yield Objection(
        variable=name,
        code="unknown-variable",
        severity=Severity.ERROR if form.is_complete else Severity.WARNING,
        message=f"no template of this workflow knows the variable {shown(name)}",
        hint=suggest(name, {*fields, *form.others}),
    )


def _wrong(field: Field, value: Json) -> Iterator[Objection]:
    try:
        meant = typed(value, field.type) if isinstance(value, str) else value
    except InvalidInput as error:
        meant, hint = None, error.hint
    else:
        hint = EXAMPLES[field.type]
    if not is_of_type(meant, field.type):
        message = f"{field.name} must be {WANTED[field.type]}, and is {shown(text_of(value))}"
        yield Objection(variable=field.name, code="wrong-type", message=message, hint=hint)
    elif field.values:
        for one in excluded(meant, field.type, field.values):
            names = ", ".join(field.values[:_SHOWN_VALUES])
            rest = f" and {len(field.values) - _SHOWN_VALUES} more" if len(field.values) > _SHOWN_VALUES else ""
            hint = suggest(text_of(one), field.values) or f"allowed: {names}{rest}"
            message = f"{field.name} can't be {shown(text_of(one))}"
            yield Objection(variable=field.name, code="not-allowed", message=message, hint=hint)
