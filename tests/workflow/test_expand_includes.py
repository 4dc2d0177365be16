"""Includes: what an included template brings along, keeps and loses."""

from __future__ import annotations

import pytest

from libecs.errors import NotFound, TemplateError
from tests.workflow.growing import At, Grow, paths


def test_an_include_keeps_its_name_and_adds_its_variables_as_a_layer_of_its_own(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles:
                  - name: part
                    defaults: {a: include, b: include}
                    vars: {which: sub, v: include}
                    include: "{{ which }}"
                """,
            "workflows/sub.yaml": """
                name: other-name
                defaults: {b: "sub of {{ b }}", c: "{{ Parent().Path }}"}
                vars: {v: "sub of {{ v }}"}
                roles:
                  - {name: t, vars: {seen: "{{ a }}, {{ b }}, {{ v }}", up: "{{ Parent().Path }}"}, task: {load: t}}
                """,
        }
    )

    part = at(workflow, "w.part")
    assert part.defaults == {"a": "include", "b": "sub of include", "c": "w"}
    assert part.vars == {"which": "sub", "v": "sub of include"}
    assert at(workflow, "w.part.t").vars == {"seen": "include, sub of include, sub of include", "up": "w.part"}


def test_constraints_and_channels_of_an_include_hold_for_what_it_includes(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                constraints: [{attribute: x, value: root}, {attribute: y, value: root}]
                roles:
                  - name: part
                    constraints: [{attribute: y, value: include}, {attribute: z, value: include}]
                    bind: [{name: a, type: push, transport: shmem}, {name: b, type: push, transport: shmem}]
                    include: sub
                """,
            "workflows/sub.yaml": """
                name: sub
                constraints: [{attribute: z, value: sub}]
                bind: [{name: b, type: push, transport: zeromq}]
                roles: [{name: t, task: {load: t}}]
                """,
        }
    )

    role = at(workflow, "w.part.t")
    assert {item.attribute: item.value for item in role.constraints} == {"x": "root", "y": "include", "z": "sub"}
    assert [(channel.name, channel.transport) for channel in role.bind] == [("b", "zeromq"), ("a", "shmem")]
    assert [channel.name for channel in at(workflow, "w.part").bind] == ["b", "a"]


@pytest.mark.parametrize(
    ("outer", "inner", "there"), [("true", "true", True), ("false", "true", False), ("true", "false", False)]
)
def test_an_include_is_enabled_if_both_sides_are(grow: Grow, outer: str, inner: str, there: bool) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": f"""
                name: w
                roles:
                  - {{name: part, enabled: "{outer}", include: sub}}
                  - {{name: t, task: {{load: t}}}}
                """,
            "workflows/sub.yaml": f"{{name: sub, enabled: '{inner}', roles: [{{name: t, task: {{load: t}}}}]}}",
        }
    )
    assert ("w.part.t" in paths(workflow)) is there


def test_the_name_of_an_include_is_evaluated_once(grow: Grow) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles: [{name: "{{ a }}", vars: {a: "{{ x }}"}, include: sub}]
                """,
            "workflows/sub.yaml": "{name: sub, vars: {a: other}, roles: [{name: t, task: {load: t}}]}",
        },
        {"x": "{{ odd }}"},
    )
    assert paths(workflow) == ["w", "w.{{ odd }}", "w.{{ odd }}.t"]


def test_a_disabled_include_is_never_loaded_and_an_empty_one_removed(grow: Grow) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles:
                  - {name: part, enabled: "false", include: absent}
                  - {name: hollow, include: hollow}
                  - {name: t, task: {load: t}}
                """,
            "workflows/hollow.yaml": "{name: hollow, roles: [{name: t, enabled: 'false', task: {load: t}}]}",
        }
    )
    assert paths(workflow) == ["w", "w.t"]


def test_references_of_an_included_template_mean_its_own_repository(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles:
                  - {name: a, include: host/u/other/workflows/sub@v1}
                  - {name: b, include: sub@v2}
                  - {name: t, task: {load: t}}
                """
        },
        others={
            "host/u/other@v1": {
                "workflows/sub.yaml": "{name: sub, roles: [{name: deep, include: deep}]}",
                "workflows/deep.yaml": "{name: deep, roles: [{name: t, task: {load: t}}]}",
                "tasks/t.yaml": "{name: t, command: {value: theirs}}",
            },
            "@v2": {
                "workflows/sub.yaml": "{name: sub, roles: [{name: t, task: {load: t}}]}",
                "tasks/t.yaml": "{name: t, command: {value: older}}",
            },
        },
    )

    classes = {role.path: role.task.class_name for role in workflow.roles if role.task}
    assert {path: workflow.classes[name].command for path, name in classes.items()} == {
        "w.a.deep.t": "theirs",
        "w.b.t": "older",
        "w.t": "t",
    }


@pytest.mark.parametrize("reference", ["a/b", "sub@", "a@b@c", "  ", "x/tasks/y"])
def test_references_that_name_no_template(grow: Grow, reference: str) -> None:
    with pytest.raises(TemplateError, match="names no template"):
        grow("{name: w, roles: [{name: i, include: '{{ r }}'}]}", {"r": reference})


def test_an_absent_template_is_an_error_where_it_is_asked_for(grow: Grow) -> None:
    with pytest.raises(TemplateError, match=r"workflows/w.yaml:3:24: role w.i: there is no workflows/absent.yaml"):
        grow("name: w\nroles:\n  - {name: i, include: absent}\n")
    with pytest.raises(TemplateError, match=r"workflows/w.yaml:3:28: role w.i: there is no tasks/absent.yaml"):
        grow("name: w\nroles:\n  - {name: i, task: {load: absent}}\n")
    with pytest.raises(TemplateError, match="there is no repository 'h/u/r'"):
        grow("{name: w, roles: [{name: i, include: h/u/r/workflows/x}]}")
    with pytest.raises(NotFound, match=r"there is no workflows/absent.yaml"):
        grow({}, workflow="absent")


def test_includes_that_go_round_are_refused(grow: Grow) -> None:
    with pytest.raises(TemplateError, match="circle: w -> a -> w"):
        grow(
            {
                "workflows/w.yaml": "{name: w, roles: [{name: i, include: a}]}",
                "workflows/a.yaml": "{name: a, roles: [{name: i, include: w}]}",
            }
        )


def test_the_same_template_may_be_included_twice_side_by_side(grow: Grow) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": "{name: w, roles: [{name: a, include: s}, {name: b, include: s}]}",
            "workflows/s.yaml": "{name: s, roles: [{name: t, task: {load: t}}]}",
        }
    )
    assert paths(workflow) == ["w", "w.a", "w.a.t", "w.b", "w.b.t"]
