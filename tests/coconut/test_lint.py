"""`coconut template lint`: findings, counts, exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.coconut.conftest import Coconut

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for folder in ("workflows", "tasks"):
        (tmp_path / folder).mkdir()
    write(tmp_path, "workflows/w", "name: w\nroles:\n  - {name: r, enable: x, include: sub}\n")
    write(tmp_path, "workflows/sub", "name: sub\nroles:\n  - {name: s, enabled: 'false', task: {load: t}}\n")
    write(tmp_path, "tasks/t", "name: t\ncommand: {value: x}\n")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


def test_findings_have_place_code_and_what_to_do(coconut: Coconut, repository: Path) -> None:
    ran = coconut("template", "lint", "--repo", str(repository))

    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        "workflows/sub.yaml:3:24: hint never-enabled: role 's' is switched off\n"
        "    next: remove the role, or make it depend on a variable\n"
        "workflows/w.yaml:3:15: warning unknown-key: unknown key 'enable' in role 'r' is ignored\n"
        "    next: did you mean 'enabled'?\n"
        "3 templates: 0 errors, 1 warning, 1 hint\n"
    )


def test_hints_can_be_left_out_and_warnings_can_count(coconut: Coconut, repository: Path) -> None:
    assert "never-enabled" not in coconut("template", "lint", "--repo", str(repository), "--no-hints").out
    assert coconut("template", "lint", "--repo", str(repository), "--strict").status == 9


def test_names_choose_workflows_with_what_belongs_to_them(coconut: Coconut, repository: Path) -> None:
    assert coconut("template", "lint", "sub", "--repo", str(repository), "--json").document["templates"] == 2
    assert coconut("template", "lint", "sub", "--repo", str(repository), "--strict").status == 0
    ran = coconut("template", "lint", "sbu", "--repo", str(repository))
    assert ran.status == 3
    assert "did you mean sub?" in ran.err


def test_variable_that_a_task_of_an_expression_reads_is_used(coconut: Coconut, repository: Path) -> None:
    write(
        repository,
        "workflows/w2",
        "name: w2\ndefaults: {kind: c, rate: '1', lost: '1'}\nroles: [{name: r, task: {load: 'read-{{ kind }}'}}]\n",
    )
    write(repository, "tasks/read-c", "name: read-c\ncommand: {value: 'x {{ rate }}'}\n")

    ran = coconut("template", "lint", "w2", "--repo", str(repository))

    assert "nothing here reads the variable 'lost'" in ran.out
    assert "'rate'" not in ran.out


def test_errors_end_with_9_and_all_templates_are_looked_at(coconut: Coconut, repository: Path) -> None:
    write(repository, "workflows/bad", "name: bad\nroles: [{name: a, name: b}]\n")
    write(
        repository, "workflows/link", "name: link\nroles: [{name: a, include: lost}, {name: b, task: {load: lost}}]\n"
    )
    write(repository, "tasks/bad", "name: bad\ncommand: [x]\n")
    write(repository, "tasks/alone", "name: alone\ncommand: {valeu: y, value: x}\n")

    ran = coconut("template", "lint", "--repo", str(repository), "--json", "--no-hints")

    assert ran.status == 9
    document = ran.document
    assert document["schema"] == "ecs/template-lint/1"
    assert [document[key] for key in ("ok", "templates", "errors", "warnings", "hints")] == [False, 7, 2, 4, 0]
    assert [(one["file"], one["line"], one["column"], one["code"]) for one in document["findings"]] == [
        ("tasks/alone.yaml", 2, 11, "unknown-key"),
        ("tasks/bad.yaml", 2, 10, "E_TEMPLATE"),
        ("workflows/bad.yaml", 2, 19, "E_TEMPLATE"),
        ("workflows/link.yaml", 2, 28, "missing-template"),
        ("workflows/link.yaml", 2, 58, "missing-template"),
        ("workflows/w.yaml", 3, 15, "unknown-key"),
    ]
    assert document["findings"][2]["severity"] == "error"
    assert document["findings"][2]["hint"] == "keep one of them"


def test_the_demo_has_nothing_but_hints(coconut: Coconut) -> None:
    document = coconut("template", "lint", "--repo", str(DEMO), "--strict", "--json").document

    assert (document["ok"], document["errors"], document["warnings"]) == (True, 0, 0)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real templates are not here")
@pytest.mark.parametrize("repository", ["control-workflows", "control-workflows-2022"])
def test_production_has_no_errors(coconut: Coconut, repository: str) -> None:
    ran = coconut("template", "lint", "--repo", str(REAL / repository), "--json")

    assert ran.status == 0
    assert ran.document["errors"] == 0
    assert ran.document["templates"] >= 17
