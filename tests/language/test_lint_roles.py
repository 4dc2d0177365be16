"""Findings on roles: moments that never come, roles that cannot work."""

from __future__ import annotations

import pytest

from tests.language.linting import ALL, of, roles, told


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
