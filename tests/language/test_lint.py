"""What is allowed and probably a mistake."""

from __future__ import annotations

from pathlib import Path

from libecs.language import lint
from libecs.language.task import read_task
from libecs.language.template import read_workflow

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "control-workflows"


def messages(workflow: str, *tasks: str) -> list[str]:
    found = lint.check([read_workflow(workflow, "w.yaml")], [read_task(text, "t.yaml") for text in tasks])
    return [str(finding) for finding in found]


def test_a_variable_that_nothing_reads() -> None:
    assert messages("name: w\nvars:\n  a: '1'\n  b: '{{ c }}'\nroles: [{name: '{{ b }}', task: {load: t}}]\n") == [
        "w.yaml:3:6: nothing here reads the variable 'a'"
    ]


def test_every_place_counts_as_reading() -> None:
    workflow = """\
name: w
vars: {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, ft0_j: 10, j: 11, odc_k: 12, run_type: 13, l: 14, m: 15}
roles:
  - {name: "{{ a }}", enabled: "{{ b }}", for: {range: "{{ c }}", var: x}, task: {load: "{{ d }}"}}
  - {name: "{{ a }}", for: {begin: 1, end: "{{ l }}", var: x}, include: "{{ m }}"}
  - name: c
    constraints: [{attribute: x, value: "{{ e }}"}]
    bind: [{name: x, type: push, rateLogging: "{{ f }}"}]
    call: {func: odc.Start(), timeout: "{{ g }}", return: "{{ util.PrefixedOverride('j', 'ft0') }}"}
"""
    task = "name: t\ncommand: {value: '{{ h }}'}\nproperties: {p: '{{ i }}'}\n"

    assert messages(workflow, task) == []


def test_moments_that_never_come_and_awaits_of_tasks() -> None:
    workflow = """\
name: w
roles:
  - {name: a, call: {func: x.Y(), trigger: CONFIGURE}}
  - {name: b, call: {func: x.Y(), trigger: before_CONFIGURE-5, await: after_CONFIGURES}}
  - {name: c, task: {load: t, trigger: "{{ 'x' }}"}}
  - {name: d, task: {load: t, trigger: DESTROY, await: after_DESTROY}}
"""
    assert messages(workflow) == [
        "w.yaml:3:44: the moment 'CONFIGURE' of `trigger` never comes",
        "w.yaml:4:71: the moment 'after_CONFIGURES' of `await` never comes",
        "w.yaml:6:56: `await` of a task is ignored: a hook task is waited for where it begins",
    ]


def test_names_of_old_functions() -> None:
    assert messages("name: w\nroles: [{name: \"{{ ToLower('A') }}\", task: {load: t}}]\n") == [
        "w.yaml:2:16: ToLower() is the old name of strings.ToLower()"
    ]


def test_findings_of_reading_are_among_them() -> None:
    assert messages("{name: w, colour: x, roles: []}") == ["w.yaml:1:11: unknown key 'colour' in role 'w' is ignored"]


def test_the_real_workflow_has_few_findings() -> None:
    workflows = [read_workflow(file.read_text(), file.name) for file in sorted(REAL.glob("workflows/*.yaml"))]
    tasks = [read_task(file.read_text(), file.name) for file in sorted(REAL.glob("tasks/*.yaml"))]

    found = lint.check(workflows, tasks)

    assert sum("never comes" in finding.message for finding in found) == 4
    assert sum("mapping without !public" in finding.message for finding in found) == 2
    assert sum("nothing here reads" in finding.message for finding in found) < 20
