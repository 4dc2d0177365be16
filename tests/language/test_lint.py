"""What is wrong in templates, or allowed and probably a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from libecs.language import lint
from libecs.language.fields import Finding, Severity
from libecs.language.functions import pure_functions
from libecs.language.lint_channels import may_equal
from libecs.language.task import read_task
from libecs.language.template import read_workflow

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
TASKS = {
    "readout": "name: readout\ncommand: {value: x}\nbind: [{name: data, type: push}]\n",
    "stfb": "name: stfb\ncommand: {value: x}\nconnect: [{name: readout, type: pull}]\n",
    "basic": "name: basic\ncontrol: {mode: basic}\ncommand: {value: x}\nbind: [{name: data, type: push}]\n",
    "hook": "name: hook\ncontrol: {mode: hook}\ncommand: {value: x}\n",
}
ALL = tuple(TASKS.values())


def findings(*texts: str, is_complete: bool = True) -> list[Finding]:
    """Lint workflow and task templates, told from each other by `roles`."""
    workflows = [
        read_workflow(text, f"{name_of(text)}.yaml") for text in texts if re.search(r"^roles:|, roles:", text, re.M)
    ]
    tasks = [read_task(text, "t.yaml") for text in texts if re.search(r"^command:|^control:", text, re.M)]
    assert len(workflows) + len(tasks) == len(texts)
    return list(lint.check(workflows, tasks, functions=set(pure_functions(str)), is_complete=is_complete))


def name_of(text: str) -> str:
    found = re.search(r"name: *(\w+)", text)
    assert found
    return found[1]


def told(*texts: str, is_complete: bool = True) -> list[str]:
    return [f"{one.severity.name} {one.code} {one}" for one in findings(*texts, is_complete=is_complete)]


def of(code: str, *texts: str, is_complete: bool = True) -> list[str]:
    return [f"{one.severity.name} {one}" for one in findings(*texts, is_complete=is_complete) if one.code == code]


def roles(*lines: str) -> str:
    return "name: w\nroles:\n" + "".join(f"  - {line}\n" for line in lines)


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


# ------------------------------------------------------------------------------------------------------------ roles


def test_moments_that_never_come_and_awaits_of_tasks() -> None:
    workflow = """\
name: w
roles:
  - {name: a, call: {func: x.Y(), trigger: CONFIGURE}}
  - {name: b, call: {func: x.Y(), trigger: before_CONFIGURE-5, await: after_CONFIGURES}}
  - {name: c, task: {load: t, trigger: "{{ 'x' }}"}}
  - {name: d, task: {load: t, trigger: DESTROY, await: after_DESTROY}}
  - {name: e, call: {func: x.Y(), trigger: before_CONFIGURE-x}}
"""
    assert told(workflow) == [
        "WARNING never-comes w.yaml:3:44: the moment 'CONFIGURE' of `trigger` never comes; "
        "write before_CONFIGURE or after_CONFIGURE",
        "WARNING never-comes w.yaml:4:71: the moment 'after_CONFIGURES' of `await` never comes; "
        "did you mean after_CONFIGURE or enter_CONFIGURED or before_CONFIGURE?",
        "WARNING ignored-await w.yaml:6:56: `await` of a task is ignored: a hook task is waited for where it begins",
        "ERROR bad-moment w.yaml:7:44: `trigger` is 'before_CONFIGURE-x', which is no moment; "
        "write a name and maybe a weight, such as before_CONFIGURE-50",
    ]


@pytest.mark.parametrize(
    ("enabled", "severity"),
    [
        ("'false'", "HINT"),
        ("'yes'", "WARNING"),
        ("''", "WARNING"),
        ("\"{{ 'a' == 'b' }}\"", "WARNING"),
        ("' TRUE '", None),
        ("'1'", None),
        ("\"{{ 'a' == 'a' }}\"", None),
        ("\"{{ 'a' + 1 }}\"", None),
        ("\"{{ x == 'b' }}\"", None),
        ("\"{{ strings.ToLower('A') }}\"", None),
    ],
)
def test_roles_that_are_never_enabled(enabled: str, severity: str | None) -> None:
    found = of("never-enabled", roles(f"{{name: r, enabled: {enabled}, task: {{load: t}}}}"))

    assert [one.split()[0] for one in found] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("{name: r, call: {func: x.Y()}}", "WARNING no-trigger w.yaml:3:5: role 'r' has no trigger: its call never ru"),
        ("{name: r, task: {load: hook}}", "WARNING no-trigger w.yaml:3:5: role 'r' has no trigger and never runs"),
        ("{name: r, task: {load: readout, trigger: DESTROY}}", "ERROR not-a-hook w.yaml:3:46: role 'r' can't be a hoo"),
        ("{name: r, task: {load: hook, trigger: DESTROY, timeout: 5}}", "ERROR bad-duration w.yaml:3:61: timeout of"),
        ("{name: r, call: {func: 'x.Y(', trigger: DESTROY}}", "ERROR bad-call w.yaml:3:33: the expression ends"),
        ("{name: r, roles: []}", "WARNING no-members w.yaml:3:5: role 'r' has no roles in it and disappears"),
        ("{name: r, min: 2, roles: [{name: a, task: {load: basic}}]}", "ERROR too-few-members w.yaml:3:5: `min` of"),
        ("{name: 'r{{ i }}', for: {begin: 3, end: 2, var: i}, task: {load: basic}}", "WARNING no-members w.yaml:3:29"),
        ("{name: 'r{{ i }}', for: {range: '[]', var: i}, task: {load: basic}}", "WARNING no-members w.yaml:3:29: role"),
        ("{name: r, for: {range: '{{ hosts }}', var: i}, task: {load: basic}}", "WARNING iterator-name w.yaml:3:12: t"),
        ("{name: r, for: {begin: 1, end: '{{ \"2\" }}', var: i}, task: {load: basic}}", "WARNING iterator-name w.yaml"),
        ("{name: r, start_after: [q], task: {load: basic}}", "WARNING unknown-role w.yaml:3:29: `start_after` of role"),
    ],
)  # fmt: skip
def test_roles_that_cannot_work(role: str, expected: str) -> None:
    found = told(roles(role), *ALL)

    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    "role",
    [
        "{name: r, for: {begin: 1, end: 1, var: i}, task: {load: basic}}",
        "{name: r, for: {range: '[\"a\"]', var: i}, task: {load: basic}}",
        "{name: 'r{{ i }}', for: {range: 'no JSON', var: i}, task: {load: basic}}",
        "{name: 'r{{ i }}', for: {range: '{}', var: i}, task: {load: basic}}",
        "{name: r, start_after: [w.x, '{{ hosts }}'], task: {load: basic}}",
        "{name: r, call: {func: '{{ hosts }}', trigger: DESTROY}}",
        "{name: r, min: 2, roles: [{name: 'a{{ i }}', for: {begin: 1, end: 9, var: i}, task: {load: basic}}]}",
    ],
)
def test_roles_that_work(role: str) -> None:
    assert told(roles(role), *ALL) == []


def test_the_default_of_a_timeout_is_looked_at() -> None:
    workflow = "name: w\ndefaults: {t: soon, u: 5s}\nroles:\n" + "".join(
        f"  - {{name: {name}, task: {{load: hook, trigger: DESTROY, timeout: '{timeout}'}}}}\n"
        for name, timeout in (("a", "{{ t }}"), ("b", "{{u}}"), ("c", "{{ t }}s"), ("d", "{{ hosts }}"), ("e", ""))
    )

    assert told(workflow, *ALL) == [
        "WARNING bad-duration w.yaml:2:15: timeout of role 'a': not a duration: 'soon'; "
        "write it with units, such as 10s, 1m30s or 250ms"
    ]


def test_siblings_of_one_name_that_are_enabled_together() -> None:
    workflow = roles(
        "{name: a, task: {load: basic}}",
        "{name: a, task: {load: basic}}",
        "{name: b, enabled: \"{{ hosts == 'x' }}\", task: {load: basic}}",
        "{name: b, enabled: \"{{ hosts != 'x' }}\", task: {load: basic}}",
        "{name: c, enabled: \"{{ hosts == 'x' }}\", task: {load: basic}}",
        "{name: c, enabled: \"{{ hosts == 'x' }}\", task: {load: basic}}",
    )

    assert [one.split(";")[0] for one in of("duplicate-role", workflow, *ALL)] == [
        "ERROR w.yaml:4:12: role 'a' stands in line 3, too, and both are enabled together",
        "ERROR w.yaml:8:12: role 'c' stands in line 7, too, and both are enabled together",
    ]


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


# --------------------------------------------------------------------------------------------------------- channels


def connected(target: str, *others: str, load: str = "stfb") -> str:
    return roles(
        "{name: readout, task: {load: readout}, bind: [{name: own, type: push, global: 'own-{{ hosts }}'}]}",
        "{name: basic, task: {load: basic}}",
        f"{{name: stfb, task: {{load: {load}}}, connect: [{{name: readout, type: pull, target: '{target}'}}]}}",
        *others,
    )


@pytest.mark.parametrize(
    "target",
    [
        "w.readout:data",
        "w.readout:own",
        "{{ Parent().Path }}.readout:data",
        "{{ Up(1).Path }}.{{ hosts }}:data",
        "{{ hosts }}:own",
        "{{ hosts }}",
        "other.readout:data",
        "::own-x",
        "::{{ hosts }}",
        "::o{{ hosts }}",
        "tcp://x:1",
        "ipc://y",
    ],
)
def test_targets_that_may_lead_somewhere(target: str) -> None:
    assert of("unknown-channel", connected(target), *ALL) == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("w.readout:dat", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no channel 'dat'; di"),
        ("w.readout:zzz", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no channel 'zzz'; it"),
        ("w.raedout:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.raedout` that bin"),
        ("{{ Parent().Path }}.x:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.x` th"),
        ("{{ Parent().Name }}.readout:x", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: `w.readout` binds no"),
        ("{{ This().Path }}:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.stfb` tha"),
        ("w.basic:data", "ERROR w.yaml:5:84: channel 'readout' leads nowhere: there is no task `w.basic` that binds"),
        ("{{ Up(3).Path }}.x:data", "WARNING w.yaml:5:84: channel 'readout' leads nowhere: there is no task `*.x` tha"),
        ("::onw-x", "WARNING w.yaml:5:84: channel 'readout' leads nowhere: nothing here binds the global channel name"),
    ],
)  # fmt: skip
def test_targets_that_lead_nowhere(target: str, expected: str) -> None:
    (found,) = of("unknown-channel", connected(target), *ALL)

    assert found.startswith(expected)


def test_what_is_included_by_an_expression_or_missing_may_bind_anything() -> None:
    included = "{name: sub, include: '{{ hosts }}'}"
    missing = "{name: sub, task: {load: missing}}"

    for other in (included, missing):
        assert of("unknown-channel", connected("w.sub:any", other), *ALL, is_complete=False) == []
        assert of("unknown-channel", connected("::any", other), *ALL, is_complete=False) == []
    assert of("unknown-channel", connected("w.sub.deep.er:any", included), *ALL, is_complete=False) == []
    (found,) = of("unknown-channel", connected("w.x:any", included), *ALL, is_complete=False)
    assert found.startswith("ERROR")
    (found,) = of("unknown-channel", connected("v.x:any", missing), *ALL, is_complete=False)
    assert found.startswith("HINT")


def test_channels_of_included_templates_are_where_they_are_included() -> None:
    top = roles("{name: sub, include: inner, bind: [{name: outer, type: push}]}") + (
        "  - {name: user, task: {load: stfb}, connect: [{name: readout, type: pull, target: 'w.sub.r:data'},\n"
        "      {name: b, type: pull, target: 'w.sub.r:outer'}, {name: c, type: pull, target: 'w.sub.q:data'}]}\n"
    )
    inner = (
        "name: inner\nroles:\n  - {name: r, task: {load: readout}}\n"
        "  - {name: s, task: {load: stfb}, connect: [{name: readout, type: pull, target: '{{ Up(1).Path }}.r:data'}]}\n"
    )

    assert [one.split(": there")[0] for one in of("unknown-channel", top, inner, *ALL)] == [
        "ERROR w.yaml:5:85: channel 'c' leads nowhere"
    ]


def test_a_circle_of_includes_ends() -> None:
    one = "name: one\nroles: [{name: a, include: two}]\n"
    two = "name: two\nroles: [{name: b, include: one}]\n"

    assert told(one, two) == []


def test_outbound_channels_without_a_target() -> None:
    bare = roles(
        "{name: a, task: {load: stfb}}", "{name: b, task: {load: stfb}, connect: [{name: readout, type: pull}]}"
    )
    above = (
        "name: w\nconnect: [{name: readout, type: pull, target: 'ipc://x'}]\nroles: [{name: a, task: {load: stfb}}]\n"
    )

    assert [one.split(";")[0] for one in of("no-target", bare, *ALL)] == [
        "WARNING w.yaml:3:5: role 'a' has no target for channel 'readout' of its task 'stfb'",
        "ERROR w.yaml:4:45: outbound channel 'readout' of role 'b' has no target",
    ]
    assert of("no-target", above, *ALL) == []


def test_a_fixed_address_that_is_none() -> None:
    found = of("bad-address", roles("{name: a, task: {load: readout}, bind: [{name: x, type: push, target: y}]}"), *ALL)

    assert found[0].startswith("ERROR w.yaml:3:75: the fixed address of inbound channel 'x' is 'y'")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", True),
        ("a", "a", True),
        ("a", "b", False),
        ("a", "", False),
        ("\0", "", True),
        ("\0", "\0", True),
        ("a\0", "ab", True),
        ("a\0c", "abd", False),
        ("a\0", "\0b", True),
        ("\0a", "b\0", True),
        ("x\0a", "y\0a", False),
        ("a\0b\0c", "a1b2c", True),
        ("a\0\0b", "a\0b", True),
    ],
)
def test_patterns_that_have_a_text_in_common(one: str, other: str, expected: bool) -> None:
    assert may_equal(one, other) is expected
    assert may_equal(other, one) is expected


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
