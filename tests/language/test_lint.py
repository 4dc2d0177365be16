"""Findings in templates: functions, their order, and what production's templates have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from libecs.language import lint
from libecs.language.fields import Severity
from libecs.language.task import read_task
from libecs.language.template import read_workflow
from tests.language.linting import ALL, findings, roles, told

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"


# ----------------------------------------------------------------------------------------------- functions, reading


def test_names_of_old_functions() -> None:
    assert told("name: w\nroles: [{name: \"{{ ToLower('A') }}\", task: {load: t}}]\n") == [
        "HINT deprecated w.yaml:2:16: ToLower() is the old name of strings.ToLower(); write strings.ToLower()"
    ]


def test_functions_that_do_not_exist() -> None:
    texts = ("strings.ToLwer('A')", "lenn('x')", "odc.Anything()", "any([1], {# == 1})")
    workflow = roles(*(f'{{name: "{{{{ {text} }}}}", task: {{load: basic}}}}' for text in texts))

    assert told(workflow, *ALL) == [
        "ERROR unknown-function w.yaml:3:12: there is no function strings.ToLwer(); "
        "did you mean strings.ToLower or strings.ToUpper?",
        "ERROR unknown-function w.yaml:4:12: there is no function lenn(); did you mean len?",
    ]


def test_findings_of_reading_are_among_them() -> None:
    assert told("{name: w, colour: x, roles: [{name: r, task: {load: t}}]}") == [
        "WARNING unknown-key w.yaml:1:11: unknown key 'colour' in role 'w' is ignored"
    ]
    assert told("name: t\ncommand: {value: x, log: all}\nproperties: {p: [1]}\n") == [
        "HINT deprecated t.yaml:2:21: `log` of task 't' is deprecated; write `stdout`",
        "ERROR not-text t.yaml:3:14: 'p' in `properties` is a list and is ignored; write text; a list as JSON text",
    ]


def test_findings_are_in_order_and_each_once() -> None:
    found = findings(roles("{name: r, call: {func: x.Y()}}"))

    assert lint.in_order([*found, *reversed(found)]) == tuple(found)


def test_every_code_is_in_the_table_of_the_module() -> None:
    sources = [path for path in Path(lint.__file__).parent.glob("*.py") if path.name != "answers.py"]
    used = {
        code
        for path in sources
        for code in re.findall(r'code="([a-z-]+)"|_finding\(\s*[^,]+(?:\([^)]*\))?, "([a-z-]+)"', path.read_text())
        for code in code
        if code
    } - {"note"}

    assert lint.__doc__ is not None
    assert {code for code in used if code not in lint.__doc__} == set()


# ------------------------------------------------------------------------------------------------------------- real


@pytest.mark.skipif(not REAL.is_dir(), reason="the real templates are not here")
@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (
            "control-workflows",
            {"never-comes": 4, "not-text": 2, "unquoted-shell": 11, "shell-is-variable": 1},
        ),
        (
            "control-workflows-2022",
            {"not-text": 2, "unquoted-shell": 14, "shell-is-variable": 1},
        ),
    ],
)
def test_production_has_no_errors_and_few_kinds_of_findings(repository: str, expected: dict[str, int]) -> None:
    folder = REAL / repository
    workflows = [read_workflow(file.read_bytes(), file.name) for file in sorted(folder.glob("workflows/*.yaml"))]
    tasks = [read_task(file.read_bytes(), file.name) for file in sorted(folder.glob("tasks/*.yaml"))]

    found = lint.check(workflows, tasks, is_complete=False)

    assert not [finding for finding in found if finding.severity is Severity.ERROR]
    counts = {code: sum(finding.code == code for finding in found) for code in {one.code for one in found}}
    assert {code: count for code, count in counts.items() if code in expected} == expected
    assert counts.keys() - expected.keys() <= {"unused-variable", "undeclared-variable", "deprecated"}
    assert counts["unused-variable"] < 20
