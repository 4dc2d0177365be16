"""Findings on variables, and on those that a shell reads."""

from __future__ import annotations

import pytest

from tests.language.linting import of

# -------------------------------------------------------------------------------------------------------- variables


def test_a_variable_that_nothing_reads() -> None:
    workflow = "name: w\nvars:\n  a: '1'\n  b: '{{ c }}'\nroles: [{name: '{{ b }}', task: {load: t}}]\n"

    assert of("unused-variable", workflow) == ["WARNING w.yaml:3:6: nothing here reads the variable 'a'"]
    assert of("unused-variable", workflow, is_complete=False)[0].startswith("HINT")


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

    assert of("unused-variable", workflow, task) == []


def test_a_name_that_nobody_declares_is_misspelt_or_comes_from_outside() -> None:
    workflow = """\
name: w
defaults: {detctor: ITS, known: '1'}
roles:
  - {name: "{{ Known }}{{ detcor }}{{ known }}{{ outside }}{{ outside }}{{ environment_id }}", task: {load: t}}
  - {name: "{{ knowm }}{{ detctor2 }}{{ consul_x }}", task: {load: t}}
"""
    assert of("misspelt-variable", workflow) == [
        "WARNING w.yaml:4:16: no template declares the variable 'Known'; did you mean known?",
        "WARNING w.yaml:4:27: no template declares the variable 'detcor'; did you mean detctor?",
        "WARNING w.yaml:5:27: no template declares the variable 'detctor2'; did you mean detctor?",
    ]
    assert of("undeclared-variable", workflow) == [
        "HINT w.yaml:4:50: no template declares the variable 'outside': the request or the installation must",
        "HINT w.yaml:5:16: no template declares the variable 'knowm': the request or the installation must; "
        "did you mean known?",
    ]


def test_a_public_variable_twice() -> None:
    workflow = "name: w\ndefaults: {a: !public 1}\nroles: [{name: '{{ a }}', vars: {a: !public 2}, task: {load: t}}]\n"

    assert of("duplicate-variable", workflow) == [
        "ERROR w.yaml:3:37: the public variable 'a' stands in line 2, too; keep one of them, or remove !public from one"
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('$$a = "x"', "ERROR w.yaml:3:53: the character `=` has no meaning here; compare by ==="),
        ('$$aa === "x"', "WARNING w.yaml:3:49: $$aa is no public variable"),
        ('$$plain === "x"', "WARNING w.yaml:3:49: $$plain is not !public: a form does not know it"),
        ('!$$a && $$a === "z"', "WARNING w.yaml:3:50: $$a is never `z`: that is not among its `values`"),
        ("true !== $$a", 'WARNING w.yaml:3:58: $$a is a text and never the same as true; write "true"'),
        ('$$a === "x" && $$b === "anything" && $$a == 1', None),
    ],
)
def test_conditions_of_forms(condition: str, expected: str | None) -> None:
    workflow = (
        "name: w\ndefaults:\n"
        f"  b: !public {{value: '{{{{ plain }}}}', visibleif: '{condition}'}}\n"
        "  a: !public {value: x, values: [x, y]}\n  plain: 1\nroles: [{name: '{{ a }}{{ b }}', task: {load: t}}]\n"
    )

    assert of("bad-condition", workflow) == ([] if expected is None else [expected])


def test_odd_fields_are_among_the_findings() -> None:
    workflow = "name: w\ndefaults: {a: !public {value: x, widget: box}}\nroles: [{name: '{{ a }}', task: {load: t}}]\n"

    assert of("unknown-widget", workflow)[0].startswith(
        "WARNING w.yaml:2:42: variable 'a' has the unknown widget 'box'"
    )


def test_what_a_controlled_task_cannot_know_when_it_is_launched() -> None:
    task = "name: t\n{control}command:\n  value: x\n  arguments: ['{{ run_dir }}/{{ run_number }}']\n"

    assert of("late-variable", task.replace("{control}", "")) == [
        "WARNING t.yaml:4:15: {{ run_dir }} is empty in the command of a direct task, which outlives runs; "
        "the task gets it as an argument of START",
        "WARNING t.yaml:4:15: {{ run_number }} is empty in the command of a direct task, which outlives runs; "
        "the task gets it as an argument of START",
    ]
    assert of("late-variable", task.replace("{control}", "control: {mode: basic}\n")) == []


# ------------------------------------------------------------------------------------------------------------ shell


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("{{ x }}", "x"),
        ("--a={{ x }} {{ y }}", "x, y"),
        ("{{ x + '/' + y }}", "x, y"),
        ("{{ x == 'a' ? y : 'b' }}", "y"),
        ("{{ x ?: y }}", "x, y"),
        ("{{ x ?? y }}", "x, y"),
        ("{{ strings.ToLower(x) }}", "x"),
        ("{{ x | strings.ToLower() }}", "x"),
        ("{{ util.PrefixedOverride('x', y) }}", "x"),
        ("{{ let q = x; q + y }}", "x, y"),
        ("{{ if x == 'a' { y } else { z } }}", "y, z"),
        ("{{ x; y }}", "y"),
        ("{{ json.Unmarshal(x)[0] }}", "x"),
        ("'it is' {{ x }}", "x"),
        ("\\' {{ x }}", "x"),
        ("{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }}", "a, b, c, d, e and 1 more"),
    ],
)
def test_variables_that_a_shell_reads_without_quotes(argument: str, names: str) -> None:
    task = f"name: t\ncommand:\n  shell: true\n  value: x\n  arguments:\n    - >-\n      {argument}\n"

    assert [one.split(";")[0] for one in of("unquoted-shell", task)] == [
        f"WARNING t.yaml:7:{7 + argument.index('{{')}: the shell of task 't' reads {names} without quotes"
    ]


@pytest.mark.parametrize(
    "argument",
    [
        "literal",
        "'{{ x }}'",
        '--a="{{ x }}"',
        "{{ sh(x) }}",
        "{{ x | sh }}",
        "{{ x | sh() }}",
        "{{ x == 'true' ? '--a' : '' }}",
        "{{ len(x) }}",
        "{{ strings.Itoa(3) }}",
        "{{ uid.New() }}",
        "{{ Parent().Path }}",
        "{{ x == y }}",
        "{{ !strings.IsFalsy(x) }}",
        "{{ any(json.Unmarshal(x), {# == y}) }}",
        "{{ environment_id }}",
    ],
)
def test_variables_that_no_shell_misreads(argument: str) -> None:
    task = f"name: t\ncommand:\n  shell: true\n  value: x\n  arguments:\n    - >-\n      {argument}\n"

    assert of("unquoted-shell", task) == []
    assert of("unquoted-shell", task.replace("shell: true", "shell: false").replace("'{{", "{{")) == []


def test_pieces_of_a_command_are_followed() -> None:
    task = """\
name: t
defaults:
  _module: module load {{ modules }} && run
  _plain: "{{ path }}/run"
  literal: two words
command:
  shell: true
  value: "{{ len(modules) > 0 ? _module : _plain }} {{ literal }}"
"""
    assert [one.split(";")[0] for one in of("unquoted-shell", task)] == [
        "WARNING t.yaml:3:24: the shell of task 't' reads modules, path without quotes"
    ]


def test_a_command_that_is_a_variable() -> None:
    task = "name: t\ncommand: {shell: true, value: '{{ anything }}'}\n"

    assert of("shell-is-variable", task) == [
        "HINT t.yaml:2:31: the shell command of task 't' is the variable 'anything': who sets it can run anything"
    ]
    assert of("unquoted-shell", task) == []
