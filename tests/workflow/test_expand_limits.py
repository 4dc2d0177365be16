"""What can't be a workflow is refused, and what would be too large is refused before it is made."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError, TemplateError
from libecs.workflow.expand import ExpansionLimits
from tests.workflow.growing import Grow


def test_equal_paths_are_an_error_that_names_both_lines(grow: Grow) -> None:
    with pytest.raises(TemplateError, match=r"two roles are named w.t, in workflows/w.yaml:3 and workflows/w.yaml:4"):
        grow("name: w\nroles:\n  - {name: t, task: {load: t}}\n  - {name: t, task: {load: t}}\n")


def test_siblings_of_one_name_may_exclude_each_other(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - {name: t, enabled: "{{ x == 'a' }}", task: {load: t}}
          - {name: t, enabled: "{{ x != 'a' }}", task: {load: f}}
        """
    assert [role.task.class_name for role in grow(template, {"x": "b"}).roles if role.task] == ["f"]


def test_a_controlled_task_is_no_hook(grow: Grow) -> None:
    with pytest.raises(TemplateError, match="a fairmq task can't be a hook"):
        grow("{name: w, roles: [{name: t, task: {load: f, trigger: DESTROY}}]}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("task: {load: t, timeout: '30'}", "not a duration: '30'"),
        ("task: {load: b, trigger: before_X+soon}", "is no moment"),
        ("call: {func: x.Y(), trigger: DESTROY, await: +5}", "is no moment"),
        ("call: {func: 'x.Y(', trigger: DESTROY}", "`func` is"),
        ("call: {func: nothing, trigger: DESTROY}", "is no call"),
        ("task: {load: t}, name: '{{ empty }}'", "name of the role is empty"),
        ("roles: [{name: t, task: {load: t}}], min: 2", "`min` is 2, but the role has 1 members"),
    ],
)
def test_wrong_values_are_errors_at_their_place(grow: Grow, body: str, reason: str) -> None:
    name = "" if "name: '" in body else "name: r, "
    with pytest.raises(TemplateError, match=reason) as caught:
        grow(f"name: w\nroles:\n  - {{{name}{body}}}\n", {"empty": ""})
    assert (caught.value.file, caught.value.line) == ("workflows/w.yaml", 3)


def test_the_size_of_a_workflow_is_limited(grow: Grow) -> None:
    template = "{name: w, roles: [{name: '{{ i }}', for: {begin: 1, end: 30, var: i}, task: {load: t}}]}"
    with pytest.raises(TemplateError, match="more than 20 roles"):
        grow(template, limits=ExpansionLimits(roles=20))
    deep = "{name: t, task: {load: t}}"
    for i in range(6):
        deep = f"{{name: a{i}, roles: [{deep}]}}"
    with pytest.raises(TemplateError, match="more than 5 roles inside each other"):
        grow(f"{{name: w, roles: [{deep}]}}", limits=ExpansionLimits(depth=5))
    chain = {f"workflows/s{i}.yaml": f"{{name: s, roles: [{{name: i, include: s{i + 1}}}]}}" for i in range(20)}
    with pytest.raises(TemplateError, match="more than 16 includes inside each other"):
        grow({"workflows/w.yaml": "{name: w, roles: [{name: i, include: s0}]}", **chain})


def test_too_many_roles_of_one_count_are_refused_one_by_one(grow: Grow) -> None:
    with pytest.raises(TemplateError, match="the workflow has more than 3 roles"):
        grow(
            '{name: w, roles: [{name: \'{{ i }}\', for: {range: \'["a","b","c"]\', var: i}, task: {load: t}}]}',
            limits=ExpansionLimits(roles=3),
        )


def test_iterators_are_refused_before_they_are_gone_through(grow: Grow) -> None:
    role = "task: {load: t}, name: 't{{ i }}'"
    with pytest.raises(TemplateError, match="more than 100000 roles"):
        grow(f"{{name: w, roles: [{{for: {{begin: 1, end: 1000000000, var: i}}, {role}}}]}}")
    with pytest.raises(TemplateError, match="must be integers: '99"):
        grow(f"{{name: w, roles: [{{for: {{begin: 1, end: '{'9' * 30}', var: i}}, {role}}}]}}")
    with pytest.raises(TemplateError, match="`range` has 3 items: more than 2 roles"):
        grow(
            f'{{name: w, roles: [{{for: {{range: \'["a","b","c"]\', var: i}}, {role}}}]}}',
            limits=ExpansionLimits(copies=2),
        )


@pytest.mark.parametrize("inner", ["", ", roles: []", ", include: sub"])
def test_iterators_inside_each_other_are_refused_before_they_are_gone_through(grow: Grow, inner: str) -> None:
    loop = "for: {begin: 1, end: 30000, var: "
    inside = f"{{name: 'b{{{{ j }}}}', {loop}j}}{inner or ', task: {load: t}'}}}"
    inside = inside.replace("include: sub", "roles: []")
    sub = f"{{name: sub, roles: [{{name: 'c{{{{ i }}}}', {loop}i}}, roles: [{inside}]}}]}}"
    with pytest.raises(TemplateError, match="more than 200000 roles: at least 900030001"):
        grow(
            {
                "workflows/w.yaml": "{name: w, roles: [{name: a, include: sub}]}" if "include" in inner else sub,
                "workflows/sub.yaml": sub,
            },
            workflow="w" if "include" in inner else "sub",
        )


def test_roles_that_are_not_enabled_count_as_well(grow: Grow) -> None:
    role = "{name: 'a{{ i }}', for: {begin: 1, end: 100000, var: i}, enabled: 'false', task: {load: t}}"
    with pytest.raises(ExpressionError, match="more than 50000 steps"):
        grow(f"{{name: w, roles: [{role}]}}", limits=ExpansionLimits(steps=50_000))


def test_all_texts_of_a_workflow_together_have_a_limit(grow: Grow) -> None:
    text = "{name: w, roles: [{for: {begin: 1, end: 50, var: i}, name: 't{{ i }}', task: {load: t}}]}"

    assert len(grow(text, limits=ExpansionLimits(steps=5000)).roles) == 51
    with pytest.raises(ExpressionError, match="the texts of the workflow need more than 2500 steps"):
        grow(text, limits=ExpansionLimits(steps=2500))
    big = "{name: w, vars: {x: \"{{ repeat('a', 100000) }}\"}, roles: [{name: t, task: {load: t}}]}"
    with pytest.raises(ExpressionError, match="more than 20000 steps"):
        grow(big, limits=ExpansionLimits(steps=20000))


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (ExpansionLimits(roles=2), "roles"),
        (ExpansionLimits(steps=1), "steps"),
        (ExpansionLimits(characters=50), "characters"),
        (ExpansionLimits(), ""),
    ],
)
def test_what_stopped_an_expansion_is_told(grow: Grow, limits: ExpansionLimits, name: str) -> None:
    text = "{name: w, roles: [{for: {begin: 1, end: 3, var: i}, name: 't{{ i }}', task: {load: t}}]}"
    exceeded: list[str] = []
    try:
        grow(text, limits=limits, exceeded=exceeded)
    except TemplateError as error:
        assert name in str(error) or "too long together" in str(error)
    assert exceeded == [name] * bool(name)
