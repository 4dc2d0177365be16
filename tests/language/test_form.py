"""Forms of templates, and values checked against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import ExpressionError, InvalidInput, TemplateError
from libecs.language.answers import texts, validate
from libecs.language.condition import evaluate
from libecs.language.form import Form, make_form, schema, to_json
from libecs.language.task import read_task
from libecs.language.template import read_workflow
from libecs.language.variable_types import Json, text_of, typed

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"

WORKFLOW = """\
name: !public w
description: a workflow
defaults:
  plain: '1'
  on: !public {value: 'true', type: bool, label: On, widget: checkBox, panel: General, index: 2}
  rate: !public
    value: "10"
    type: number
    description: Hz
    panel: General
    index: 1
    visibleif: $$on === "true"
    enabledif: $$mode !== "idle"
  mode: !public {value: idle, values: [idle, pulse], widget: dropDownBox, panel: Source_Panel}
  hosts: !public {value: '["a"]', type: list, values: [a, b], widget: listBox}
vars:
  note: !public {value: "{{ plain }}", rows: 3, panel: General}
  extra: !public {value: '{}', type: map, panel: Source_Panel}
  tag: !public x
roles:
  - name: r
    task: {load: t}
    vars: {inner: "{{ outside }}"}
"""
TASK = "name: t\ndefaults: {own: x}\ncommand: {value: 'x {{ own }} {{ read_by_task }}'}\n"


def form(text: str = WORKFLOW, *tasks: str, **options: Any) -> Form:
    return make_form([read_workflow(text, "w.yaml")], [read_task(one, "t.yaml") for one in tasks], **options)


def one_field(entry: str) -> Form:
    return form(f"name: w\ndefaults:\n  x: !public {entry}\nroles: []\n")


# ------------------------------------------------------------------------------------------------------------- form


def test_panels_are_in_the_order_of_the_file_and_fields_in_that_of_their_index() -> None:
    made = form()

    assert [(panel.title, [field.name for field in panel.fields]) for panel in made.panels] == [
        ("General", ["note", "rate", "on"]),
        ("Source Panel", ["mode", "extra"]),
        ("Other", ["hosts", "tag"]),
    ]


def test_a_schema_has_types_choices_and_defaults() -> None:
    assert schema(form()) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "w",
        "description": "a workflow",
        "type": "object",
        "properties": {
            "note": {"type": "string"},
            "rate": {"type": "number", "description": "Hz", "default": 10},
            "on": {"type": "boolean", "title": "On", "default": True},
            "mode": {"type": "string", "enum": ["idle", "pulse"], "default": "idle"},
            "extra": {"type": "object", "default": {}},
            "hosts": {"type": "array", "items": {"enum": ["a", "b"]}, "default": ["a"]},
            "tag": {"type": "string", "default": "x"},
        },
        "additionalProperties": True,
    }
    jsonschema.Draft202012Validator.check_schema(schema(form()))


def test_a_field_in_json_has_all_that_a_page_needs() -> None:
    document = to_json(form())
    panels: Any = document["panels"]
    note, rate, _ = panels[0]["fields"]

    assert rate == {
        "name": "rate",
        "type": "number",
        "widget": "editBox",
        "label": "rate",
        "description": "Hz",
        "index": 1,
        "rows": 1,
        "values": [],
        "default": "10",
        "computed": False,
        "layer": "defaults",
        "installation": False,
        "file": "w.yaml",
        "line": 7,
        "visibleif": {
            "kind": "compare",
            "operator": "===",
            "of": [{"kind": "variable", "name": "on"}, {"kind": "literal", "value": "true"}],
        },
        "enabledif": {
            "kind": "compare",
            "operator": "!==",
            "of": [{"kind": "variable", "name": "mode"}, {"kind": "literal", "value": "idle"}],
        },
    }
    assert (note["computed"], note["default"], note["layer"], note["rows"]) == (True, "{{ plain }}", "vars", 3)


def test_the_installations_variables_win_over_defaults_only() -> None:
    fields = form(installation={"rate": "5", "note": "z", "plain": "y"}).fields()

    assert (fields["rate"].default, fields["rate"].from_installation) == ("5", True)
    assert (fields["note"].default, fields["note"].from_installation) == ("{{ plain }}", False)


def test_an_installations_text_of_a_wrong_type_is_no_default() -> None:
    properties: Any = schema(form(installation={"rate": "fast"}))["properties"]

    assert "default" not in properties["rate"]


def test_included_templates_come_behind_and_do_not_repeat_fields() -> None:
    included = "name: i\ndefaults:\n  b: !public {value: '1'}\n  a: !public {value: '2'}\nroles: []\n"
    first = "name: w\ndefaults: {a: !public {value: '1'}}\nroles: []\n"

    made = make_form([read_workflow(first, "w.yaml"), read_workflow(included, "i.yaml")])

    assert {name: field.default for name, field in made.fields().items()} == {"a": "1", "b": "1"}
    assert [(str(finding), finding.code) for finding in made.findings] == [
        (
            "i.yaml:4:22: the public variable 'a' stands in w.yaml, too, whose field is shown; "
            "remove !public from one of them",
            "duplicate-variable",
        )
    ]


def test_a_variable_twice_in_one_file_is_an_error() -> None:
    text = "name: w\ndefaults: {a: !public {value: 1}}\nroles:\n  - {name: r, vars: {a: !public 2}, task: {load: t}}\n"

    with pytest.raises(TemplateError) as caught:
        form(text)

    assert str(caught.value).startswith("w.yaml:4:25: the public variable 'a' stands twice, in lines 2 and 4")


def test_a_wrong_condition_is_an_error_at_its_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        one_field("{value: '1', visibleif: \"$$a = 'b'\"}")

    assert str(caught.value).startswith("w.yaml:3:43: the character `=` has no meaning here")


def test_others_are_what_templates_declare_and_read() -> None:
    assert form(WORKFLOW, TASK).others == {"plain", "inner", "outside", "own", "read_by_task"}


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ("{value: x, widget: editbox}", "unknown-widget", "variable 'x' has the unknown widget 'editbox'; widgets:"),
        ("{value: x, widget: slider, rows: 2}", "ignored", "variable 'x' has `rows`, which only an editBox has"),
        ("{value: x, widget: comboBox}", "no-values", "variable 'x' has the widget comboBox, and no `values`"),
        ("{value: a, values: [a, b, a]}", "duplicate-value", "variable 'x' allows `a` twice"),
        ("{value: 1, type: number, values: [1, b]}", "wrong-type", "variable 'x' allows `b`, which is not a number"),
        ("{value: x, type: number}", "wrong-type", "variable 'x' is a number, and its value `x` is not; such as 12"),
        ("{value: True, type: bool}", "wrong-type", "variable 'x' is true or false, and its value `True` is not"),
        ("{value: '{}', type: list}", "wrong-type", "variable 'x' is a list, and its value `{}` is not"),
        ("{value: '[', type: map}", "wrong-type", "variable 'x' is a map, and its value `[` is not"),
        (
            "{value: c, values: [a, b]}",
            "not-allowed",
            "variable 'x' has the value `c`, which is not among its `values`",
        ),
        ("{value: '[\"c\"]', type: list, values: [a]}", "not-allowed", "variable 'x' has the value `[\"c\"]`, which"),
    ],
)
def test_odd_fields_are_findings(entry: str, code: str, message: str) -> None:
    found = one_field(entry).findings

    assert [finding.code for finding in found] == [code]
    assert message in str(found[0])


def test_unknown_widgets_become_edit_boxes_and_the_detector_selector_is_known() -> None:
    assert one_field("{value: x, widget: editbox}").fields()["x"].widget == "editBox"
    assert one_field("{value: x, widget: detectorSelector}").fields()["x"].widget == "detectorSelector"


def test_empty_and_computed_values_fit_every_type() -> None:
    assert one_field("{value: '', type: number}").findings == ()
    assert one_field("{value: '{{ y }}', type: number, values: [1]}").findings == ()


# ----------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    "values",
    [
        {"on": "true", "rate": "1e3", "mode": "pulse", "hosts": '["a", "b"]', "extra": '{"a": 1}', "note": ""},
        {"on": False, "rate": -0.5, "hosts": [], "extra": {}, "tag": "true"},
        {"plain": "x", "inner": "y", "outside": "z", "read_by_task": "1", "run_type": "PHYSICS"},
    ],
)
def test_values_that_fit(values: dict[str, Json]) -> None:
    assert validate(form(WORKFLOW, TASK), values) == ()


@pytest.mark.parametrize(
    ("name", "value", "code", "message"),
    [
        ("on", "True", "wrong-type", "on must be true or false, and is `True`; write true or false"),
        ("on", 1, "wrong-type", "on must be true or false, and is `1`; write true or false"),
        ("on", None, "wrong-type", "on must be true or false, and is `null`; write true or false"),
        ("rate", "fast", "wrong-type", "rate must be a number, and is `fast`; such as 12 or 0.5"),
        ("rate", "0x10", "wrong-type", "rate must be a number, and is `0x10`; such as 12 or 0.5"),
        ("rate", "1e999", "wrong-type", "rate must be a number, and is `1e999`; such as 12 or 0.5"),
        ("rate", "9" * 400, "wrong-type", f"rate must be a number, and is `{'9' * 40}…`; such as 12 or 0.5"),
        ("rate", True, "wrong-type", "rate must be a number, and is `true`; such as 12 or 0.5"),
        ("mode", "pulsed", "not-allowed", "mode can't be `pulsed`; did you mean pulse?"),
        ("mode", "x", "not-allowed", "mode can't be `x`; allowed: idle, pulse"),
        ("mode", 7, "wrong-type", "mode must be text, and is `7`; put it in quotes"),
        ("hosts", "a", "wrong-type", 'hosts must be a list, and is `a`; a JSON list, such as ["a", "b"]'),
        ("hosts", '["c"]', "not-allowed", "hosts can't be `c`; allowed: a, b"),
        ("hosts", [["a"]], "not-allowed", 'hosts can\'t be `["a"]`; allowed: a, b'),
        ("hosts", "[" * 5000, "wrong-type", f"hosts must be a list, and is `{'[' * 40}…`;"),
        ("extra", "[]", "wrong-type", 'extra must be a map, and is `[]`; a JSON object, such as {"a": "b"}'),
        ("extra", '{"a": NaN}', "wrong-type", 'extra must be a map, and is `{"a": NaN}`'),
        ("rtae", "1", "unknown-variable", "no template of this workflow knows the variable `rtae`; did you mean rate?"),
    ],
)
def test_values_that_do_not_fit(name: str, value: Json, code: str, message: str) -> None:
    (found,) = validate(form(WORKFLOW, TASK), {name: value})

    assert (found.variable, found.code, found.severity.name) == (name, code, "ERROR")
    assert str(found).startswith(message)


def test_unknown_names_are_warnings_where_templates_are_missing() -> None:
    (found,) = validate(form(is_complete=False), {"zzz": "1"})

    assert found.severity.name == "WARNING"


def test_many_choices_are_cut() -> None:
    (found,) = validate(one_field(f"{{value: a, values: [{', '.join('abcdefghijkl')}]}}"), {"x": "zz"})

    assert found.hint == "allowed: a, b, c, d, e, f, g, h and 4 more"


def test_texts_are_what_a_request_takes() -> None:
    assert texts({"a": True, "b": 1.5, "c": ["ü"], "d": {"k": None}, "e": "x y", "f": 3}) == {
        "a": "true",
        "b": "1.5",
        "c": '["ü"]',
        "d": '{"k":null}',
        "e": "x y",
        "f": "3",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CHECKED = form(
    "name: w\ndefaults:\n"
    "  s: !public {value: ''}\n  b: !public {value: '', type: bool}\n  n: !public {value: '', type: number}\n"
    "  l: !public {value: '', type: list}\n  m: !public {value: '', type: map}\n"
    "  ls: !public {value: '', type: list, values: [a, '1', '']}\n"
    "  ns: !public {value: '', type: number, values: [0, 1, 2.5]}\n  ss: !public {value: '', values: [a, '1']}\n"
    "roles: []\n"
)
VALIDATOR = jsonschema.Draft202012Validator(schema(CHECKED))


@given(name=st.sampled_from(sorted(CHECKED.fields())), value=JSON | st.sampled_from(["a", "1", 1, 0, 1.0, True, ["a"]]))
def test_validate_says_what_the_schema_says(name: str, value: Json) -> None:
    if isinstance(value, str) and CHECKED.fields()[name].type != "string":
        return  # texts stand for values here, and not in a schema

    assert (validate(CHECKED, {name: value}) == ()) == VALIDATOR.is_valid({name: value})


@given(value=JSON)
def test_a_value_is_the_same_after_a_way_as_text(value: Json) -> None:
    kind = "list" if isinstance(value, list) else "map" if isinstance(value, dict) else None
    if kind is not None:
        assert typed(text_of(value), kind) == value


def test_typed_refuses_what_is_of_another_type() -> None:
    with pytest.raises(InvalidInput, match="`x` is not a number"):
        typed("x", "number")


# ----------------------------------------------------------------------------------------------------------- real


@pytest.mark.skipif(not REAL.is_dir(), reason="the real templates are not here")
@pytest.mark.parametrize(
    ("repository", "panels"),
    [
        (
            "control-workflows",
            {
                "General_Configuration": 9,
                "FLPs_Workflows": 15,
                "QC_Nodes_Workflows": 22,
                "DCS": 28,
                "TRG": 2,
                "Logging": 4,
                "EPNs_Workflows": 30,
                "Detectors": 1,
            },
        ),
        (
            "control-workflows-2022",
            {
                "General_Configuration": 5,
                "FLP_Workflows": 33,
                "DCS": 33,
                "TRG": 2,
                "Logging": 3,
                "EPN_Workflows": 29,
                "Detectors": 1,
            },
        ),
    ],
)
def test_the_form_of_production(repository: str, panels: dict[str, int]) -> None:
    file = REAL / repository / "workflows" / "readout-dataflow.yaml"

    made = make_form([read_workflow(file.read_bytes(), file.name)])

    assert {panel.name: len(panel.fields) for panel in made.panels} == panels
    assert made.findings == ()
    jsonschema.Draft202012Validator.check_schema(schema(made))
    defaults = {name: field.default for name, field in made.fields().items() if not field.is_computed}
    assert validate(made, {name: text for name, text in defaults.items() if text}) == ()
    hidden = [field for field in made.fields().values() if field.visible_if is not None]
    assert hidden
    assert not any(evaluate(field.visible_if, {}) for field in hidden if field.visible_if is not None)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real templates are not here")
def test_every_real_template_has_a_form() -> None:
    for file in sorted(REAL.glob("*/workflows/*.yaml")):
        make_form([read_workflow(file.read_bytes(), file.name)])
