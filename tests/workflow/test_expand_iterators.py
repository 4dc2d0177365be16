"""Iterators: over a list and counting, inside each other, and what they can't repeat."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError, TemplateError
from tests.workflow.growing import At, Grow, paths


def test_iterators_over_a_list(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - name: host-{{ it }}
            for: {range: "{{ hosts }}", var: it}
            vars: {own: "{{ it }}"}
            roles:
              - {name: t, vars: {seen: "{{ it }} {{ own }}", above: "{{ Up(2).Path }}"}, task: {load: t}}
        """,
        {"hosts": '["b", "a"]'},
    )

    assert paths(workflow) == ["w", "w.host-b", "w.host-b.t", "w.host-a", "w.host-a.t"]
    assert at(workflow, "w.host-b").vars == {"own": "b", "it": "b"}
    assert at(workflow, "w.host-a.t").vars == {"seen": "a a", "above": "w"}


@pytest.mark.parametrize(
    ("begin", "end", "names"), [("1", "3", ["r1", "r2", "r3"]), ("2", "2", ["r2"]), ("-1", "0", ["r-1", "r0"])]
)
def test_iterators_that_count(grow: Grow, begin: str, end: str, names: list[str]) -> None:
    template = f"""
        name: w
        roles:
          - {{name: "r{{{{ i }}}}", for: {{begin: "{begin}", end: "{{{{ '{end}' }}}}", var: i}}, task: {{load: t}}}}
        """
    assert [role.name for role in grow(template).roles[1:]] == names


def test_counting_down_gives_nothing(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - {name: "r{{ i }}", for: {begin: 3, end: 1, var: i}, task: {load: t}}
          - {name: t, task: {load: t}}
        """
    assert paths(grow(template)) == ["w", "w.t"]


@pytest.mark.parametrize("body", ["task: {load: t}", "call: {func: x.Y(), trigger: DESTROY}", "include: sub"])
def test_iterators_may_repeat_anything(grow: Grow, body: str) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": f"""
                name: w
                roles: [{{name: "r{{{{ i }}}}", for: {{range: '["a","b"]', var: i}}, {body}}}]
                """,
            "workflows/sub.yaml": "{name: s, roles: [{name: 't-{{ i }}', task: {load: t}}]}",
        }
    )
    assert {"w.ra", "w.rb"} <= set(paths(workflow))


def test_nested_iterators_see_the_outer_variable(grow: Grow) -> None:
    workflow = grow(
        """
        name: w
        defaults: {a: '["1"]', b: '["2","3"]'}
        roles:
          - name: "{{ x }}"
            for: {range: '["a","b"]', var: x}
            defaults: {items: "{{ x == 'a' ? a : b }}"}
            roles: [{name: "{{ x }}{{ y }}", for: {range: "{{ items }}", var: y}, task: {load: t}}]
        """
    )
    assert paths(workflow) == ["w", "w.a", "w.a.a1", "w.b", "w.b.b2", "w.b.b3"]


def test_a_range_sees_what_is_above_the_iterator_only(grow: Grow) -> None:
    role = "name: '{{ i }}', defaults: {items: '[]'}, for: {range: '{{ items }}', var: i}, task: {load: t}"

    with pytest.raises(ExpressionError, match="unknown variable 'items'"):
        grow(f"{{name: w, roles: [{{{role}}}]}}")
    assert paths(grow(f"{{name: w, defaults: {{items: '[\"x\"]'}}, roles: [{{{role}}}]}}")) == ["w", "w.x"]


def test_each_copy_of_an_iterator_is_enabled_by_itself(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - {name: "{{ i }}", enabled: "{{ i != 'b' }}", for: {range: '["a","b","c"]', var: i}, task: {load: t}}
        """
    assert paths(grow(template)) == ["w", "w.a", "w.c"]


def test_an_iterators_variable_beats_everything_in_its_own_role_and_is_a_var_below(grow: Grow, at: At) -> None:
    template = """
        name: w
        roles:
          - name: "{{ i }}"
            for: {range: '["a"]', var: i}
            vars: {i: own, seen: "{{ i }}"}
            roles: [{name: t, vars: {seen: "{{ i }}"}, task: {load: t}}]
        """
    workflow = grow(template, {"i": "user"})

    assert at(workflow, "w.a").vars == {"i": "a", "seen": "a"}
    assert at(workflow, "w.a.t").vars == {"seen": "user"}


@pytest.mark.parametrize("value", ["", "a", '{"a": 1}', "[1]", '["a", 1]', "null", "[" * 5000])
def test_a_range_must_be_a_list_of_strings(grow: Grow, value: str) -> None:
    with pytest.raises(TemplateError, match="JSON list of strings") as caught:
        grow("{name: w, roles: [{name: '{{ i }}', for: {range: '{{ r }}', var: i}, task: {load: t}}]}", {"r": value})
    assert caught.value.line == 1


@pytest.mark.parametrize(("begin", "end", "reason"), [("a", "1", "must be integers"), ("0", "10000000", "more than")])
def test_counts_are_checked(grow: Grow, begin: str, end: str, reason: str) -> None:
    loop = f"{{begin: '{begin}', end: '{end}', var: i}}"
    with pytest.raises(TemplateError, match=reason):
        grow(f"{{name: w, roles: [{{name: '{{{{ i }}}}', for: {loop}, task: {{load: t}}}}]}}")
