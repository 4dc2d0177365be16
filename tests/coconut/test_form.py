"""`coconut template form`: panels, JSON, values checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coconut.conftest import Coconut

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "control-workflows"
WORKFLOW = """\
name: !public w
description: for tests
defaults:
  on: !public {value: 'false', type: bool, label: Switch, widget: checkBox, panel: Main_Panel, index: 2}
  mode: !public
    value: a
    values: [a, b, ccccccccccccccccccccccccccccc, ddddddddddddddddddd]
    panel: Main_Panel
    visibleif: $$on === "true"
    enabledif: $$note !== ""
  note: !public "a text\\nof two lines that is longer than the forty characters shown"
roles:
  - name: r
    task: {load: t}
"""


@pytest.fixture
def repository(tmp_path: Path) -> str:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "workflows" / "w.yaml").write_text(WORKFLOW)
    (tmp_path / "workflows" / "bare.yaml").write_text("name: bare\nroles: [{name: r, include: '{{ lost }}'}]\n")
    (tmp_path / "tasks" / "t.yaml").write_text("name: t\ncommand: {value: 'x {{ read }}'}\n")
    return str(tmp_path)


def test_form_is_a_table_for_each_panel(coconut: Coconut, repository: str) -> None:
    ran = coconut("template", "form", "w", "--repo", repository)

    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        "w  for tests\n"
        "\n"
        "Main Panel\n"
        "  mode  a              a | b | ccccccccccccccccccccccccccccc | 1 more"
        '  shown if $$on === "true", enabled if $$note !== ""\n'
        "  on    false  Switch  bool\n"
        "\n"
        "Other\n"
        "  note  a text of two lines that is longer than…  string\n"
    )


def test_form_of_a_template_without_public_variables(coconut: Coconut, repository: str) -> None:
    ran = coconut("template", "form", "bare", "--repo", repository)

    assert ran.out == "bare\n  asks for nothing: no variable of its templates is !public\n"


def test_form_in_json(coconut: Coconut, repository: str) -> None:
    document = coconut("template", "form", "w", "--repo", repository, "--json").document

    assert document["schema"] == "ecs/template-form/1"
    assert document["values"]["properties"]["mode"]["enum"][0] == "a"
    assert [panel["name"] for panel in document["panels"]] == ["Main_Panel", ""]
    assert document["others"] == ["read"]
    assert (document["complete"], document["findings"]) == (True, [])


def test_the_installations_variables_are_marked(coconut: Coconut, repository: str, tmp_path: Path) -> None:
    (tmp_path / "kv.yaml").write_text("o2: {runtime: {aliecs: {vars: {mode: b}}}}\n")

    ran = coconut("template", "form", "w", "--repo", repository, "--kv", str(tmp_path / "kv.yaml"))

    assert "  mode  b*  " in ran.out


def test_values_that_fit(coconut: Coconut, repository: str) -> None:
    words = ("template", "form", "w", "--repo", repository, "--check", "-e", "on=true,read=1")

    assert (coconut(*words).status, coconut(*words).out) == (0, "2 values fit the form of w\n")
    assert coconut("template", "form", "w", "--repo", repository, "--check").out == "0 values fit the form of w\n"
    document = coconut(*words, "--json").document
    assert (document["schema"], document["ok"], document["findings"]) == ("ecs/template-check/1", True, [])


def test_values_that_do_not_fit_end_with_9(coconut: Coconut, repository: str) -> None:
    words = ("template", "form", "w", "--repo", repository, "--check", "-e", "on=yes,mood=b")

    ran = coconut(*words)

    assert ran.status == 9
    assert ran.out == (
        "error: on must be true or false, and is `yes`; write true or false\n"
        "error: no template of this workflow knows the variable `mood`; did you mean mode?\n"
    )
    document = coconut(*words, "--json").document
    assert [(one["code"], one["variable"]) for one in document["findings"]] == [
        ("wrong-type", "on"),
        ("unknown-variable", "mood"),
    ]


def test_values_without_check_are_a_mistake(coconut: Coconut, repository: str) -> None:
    ran = coconut("template", "form", "w", "--repo", repository, "-e", "on=true")

    assert ran.status == 2
    assert "add --check" in ran.err


def test_a_wrong_condition_ends_with_9_and_a_caret(coconut: Coconut, repository: str, tmp_path: Path) -> None:
    (tmp_path / "workflows" / "w.yaml").write_text(WORKFLOW.replace("===", "="))

    ran = coconut("template", "form", "w", "--repo", repository)

    assert ran.status == 9
    assert ran.err == (
        "E_EXPRESSION  workflows/w.yaml:9:21: the character `=` has no meaning here\n"
        '        visibleif: $$on = "true"\n'
        "                        ^\n"
        "  next: compare by ===\n"
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the real templates are not here")
def test_the_form_of_production(coconut: Coconut) -> None:
    ran = coconut("template", "form", "readout-dataflow", "--repo", str(REAL))
    document = coconut("template", "form", "readout-dataflow", "--repo", str(REAL), "--json").document

    assert ran.status == 0
    assert ran.out.count("\n\n") == 8
    assert max(len(line) for line in ran.out.splitlines()) < 420
    assert sum(len(panel["fields"]) for panel in document["panels"]) == 111
    assert {one["code"] for one in document["findings"]} == {"missing-template"}
