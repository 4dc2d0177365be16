"""Templates that belong together."""

from __future__ import annotations

from typing import Any

import pytest

from libecs.errors import NotFound, TemplateError
from libecs.workflow.related import Related, related
from libecs.workflow.source import Reference, TextSource

TOP = """\
name: top
roles:
  - {name: a, include: one}
  - {name: b, include: one}
  - {name: c, include: two}
  - {name: d, task: {load: t}}
"""


def workflow(name: str, *roles: str) -> str:
    return f"name: {name}\nroles: [{', '.join(roles)}]\n"


FILES = {
    "workflows/top.yaml": TOP,
    "workflows/one.yaml": workflow("one", "{name: x, include: deep}", "{name: y, include: top}"),
    "workflows/two.yaml": workflow("two", "{name: x, task: {load: t}}"),
    "workflows/deep.yaml": workflow("deep", "{name: x, task: {load: u}}"),
    "tasks/t.yaml": "name: t\ncommand: {value: x}\n",
    "tasks/u.yaml": "name: u\ncommand: {value: x}\n",
}


def find(name: str = "top", *, strict: bool = False, **files: str) -> Related:
    changed = {path.replace("__", "/") + ".yaml": text for path, text in files.items()}
    return related(TextSource(files={**FILES, **changed}), [Reference(name, "")], strict=strict)


def told(found: Related) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity.name, str(one)) for one in found.findings]


def test_includes_come_in_the_order_of_the_files_each_once() -> None:
    found = find()

    assert [one.name for one in found.workflows] == ["top", "one", "deep", "two"]
    assert [one.name for one in found.tasks] == ["u", "t"]
    assert (found.findings, found.is_complete) == ((), True)


def test_templates_of_other_repositories_are_found_there() -> None:
    files = {"workflows/w.yaml": workflow("w", "{name: x, include: host/a/b/workflows/far@v1}")}
    others = {
        "host/a/b@v1": {
            "workflows/far.yaml": workflow("far", "{name: x, task: {load: t}}"),
            "tasks/t.yaml": "name: t\ncommand: {value: far}\n",
        }
    }

    found = related(TextSource(files=files, others=others), [Reference("w", "")])

    assert [one.file for one in found.workflows] == ["workflows/w.yaml", "host/a/b@v1:workflows/far.yaml"]
    assert found.tasks[0].command == "far"


def test_what_an_expression_includes_is_not_known() -> None:
    assert not find("w", workflows__w=workflow("w", "{name: x, include: '{{ y }}'}")).is_complete
    assert not find("w", workflows__w=workflow("w", "{name: x, task: {load: 'a{{ y }}'}}")).is_complete


def test_missing_templates_are_warnings() -> None:
    found = find("w", workflows__w=workflow("w", "{name: x, include: lost}", "{name: y, task: {load: lost}}"))

    assert [(code, severity) for code, severity, _ in told(found)] == [("missing-template", "WARNING")] * 2
    assert told(found)[0][2].startswith("workflows/w.yaml:2:28: there is no workflows/lost.yaml; there are: deep, one")
    assert not found.is_complete


def test_a_reference_that_names_nothing_is_an_error() -> None:
    found = find("w", workflows__w=workflow("w", "{name: x, include: a/b}"))

    assert told(found)[0][:2] == ("bad-reference", "ERROR")


def test_templates_that_cannot_be_read_are_findings_or_errors() -> None:
    broken: dict[str, Any] = {"workflows__w": workflow("w", "{name: x, include: bad}", "{name: y, task: {load: bad}}")}
    broken |= {"workflows__bad": "name: bad\n", "tasks__bad": "name: worse\ncommand: {value: x}\n"}

    found = find("w", **broken)

    assert [one.split(";")[0] for _, _, one in told(found)] == [
        "workflows/bad.yaml:1:1: a workflow template needs the key 'roles'",
        "tasks/bad.yaml:1:7: the task template is named 'worse', and its file 'bad'",
    ]
    assert {(code, severity) for code, severity, _ in told(found)} == {("E_TEMPLATE", "ERROR")}
    with pytest.raises(TemplateError, match="needs the key 'roles'"):
        find("w", strict=True, **broken)


def test_a_workflow_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotFound):
        find("lost")
