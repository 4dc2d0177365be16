"""Expansion: kinds of roles, stages, iterators, includes, what is removed and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.config.tree import Tree
from libecs.errors import ExpressionError, Missing, NotFound, TemplateError, UsageError
from libecs.language.fields import Finding
from libecs.workflow.expand import ExpansionLimits, expand
from libecs.workflow.role import Mode, Moment, Role, RoleKind, Workflow
from libecs.workflow.source import TextSource

Grow = Callable[..., Workflow]
At = Callable[[Workflow, str], Role]


def paths(workflow: Workflow) -> list[str]:
    return [role.path for role in workflow.roles]


# --------------------------------------------------------------------------------------------------- kinds of roles


def test_every_kind_of_role_becomes_what_it_is(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: !public w
                description: !public for tests
                roles:
                  - {name: a, roles: [{name: t, task: {load: t}}]}
                  - {name: c, call: {func: x.Y(), trigger: DESTROY}}
                  - {name: i, include: sub}
                """,
            "workflows/sub.yaml": "{name: any-name, roles: [{name: t, task: {load: t}}]}",
        }
    )

    assert [(role.path, role.kind, role.parent) for role in workflow.roles] == [
        ("w", RoleKind.AGGREGATOR, -1),
        ("w.a", RoleKind.AGGREGATOR, 0),
        ("w.a.t", RoleKind.TASK, 1),
        ("w.c", RoleKind.CALL, 0),
        ("w.i", RoleKind.AGGREGATOR, 0),
        ("w.i.t", RoleKind.TASK, 4),
    ]
    assert workflow.description == "for tests"
    assert list(workflow.classes) == ["t"]
    assert at(workflow, "w.i.t").file == "workflows/sub.yaml"
    assert (at(workflow, "w.a").file, at(workflow, "w.a").line) == ("workflows/w.yaml", 5)


def test_a_description_is_shown_only_if_public(grow: Grow) -> None:
    assert grow("{name: w, description: hidden, roles: [{name: t, task: {load: t}}]}").description == ""


def test_task_traits_have_the_defaults_of_hooks_and_others(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: plain, task: {load: t}}
          - {name: limited, task: {load: t, timeout: 1m30s, critical: false}}
          - {name: hook, task: {load: b, trigger: before_CONFIGURE-10}}
          - {name: late, task: {load: b, trigger: DESTROY, timeout: 5s}}
        """
    )

    plain = at(workflow, "w.plain").task
    assert plain is not None
    assert (plain.mode, plain.trigger, plain.await_, plain.timeout_s) == (Mode.DIRECT, None, None, 0.0)
    assert at(workflow, "w.plain").critical
    limited = at(workflow, "w.limited").task
    assert limited is not None
    assert limited.timeout_s == 90.0
    assert not at(workflow, "w.limited").critical
    hook = at(workflow, "w.hook").task
    assert hook is not None
    moment = Moment(name="before_CONFIGURE", weight=-10)
    assert (hook.mode, hook.trigger, hook.await_, hook.timeout_s) == (Mode.HOOK, moment, moment, 30.0)
    late = at(workflow, "w.late").task
    assert late is not None
    assert late.timeout_s == 5.0


def test_call_traits(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        vars: {what: Start, out: result}
        roles:
          - name: c
            call:
              func: "odc.{{ what }}('a')"
              return: "{{ out }}"
              trigger: before_START_ACTIVITY+100
              await: after_START_ACTIVITY-10
              timeout: 45s
              critical: false
          - {name: never, call: {func: odc.Stop()}}
        """
    )

    call = at(workflow, "w.c").call
    assert call is not None
    assert (call.func, call.returns, call.timeout_s) == ("odc.Start('a')", "result", 45.0)
    assert call.trigger == Moment(name="before_START_ACTIVITY", weight=100)
    assert call.await_ == Moment(name="after_START_ACTIVITY", weight=-10)
    assert not at(workflow, "w.c").critical
    never = at(workflow, "w.never").call
    assert never is not None
    assert (never.trigger, never.await_, never.timeout_s) == (None, None, 0.0)


def test_what_never_runs_is_a_finding(grow: Grow) -> None:
    findings: list[Finding] = []
    grow(
        {
            "workflows/w.yaml": "{name: w, roles: [{name: c, call: {func: x.Y()}}, {name: h, task: {load: h}}]}",
            "tasks/h.yaml": "{name: h, control: {mode: hook}, command: {value: x, colour: y}}",
        },
        findings=findings,
    )

    assert {finding.message for finding in findings} == {
        "call w.c has no trigger and never runs",
        "hook task w.h has no trigger and never runs",
        "unknown key 'colour' in `command` of task 'h' is ignored",
    }


# --------------------------------------------------------------------------------------------------- stages


def test_own_vars_see_own_defaults_and_the_name_sees_both(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - name: "{{ a }}-{{ b }}"
            defaults: {a: one}
            vars: {b: "{{ a }}!"}
            task: {load: t}
        """
    )

    assert at(workflow, "w.one-one!").vars == {"b": "one!"}


def test_entries_of_one_map_do_not_see_each_other(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        vars: {x: outer}
        roles:
          - {name: t, vars: {x: inner, y: "{{ x }}"}, task: {load: t}}
        """
    )

    assert at(workflow, "w.t").vars == {"x": "inner", "y": "outer"}


def test_a_sibling_variable_alone_is_unknown(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="unknown variable 'x'") as caught:
        grow("{name: w, vars: {x: '1', y: '{{ x }}'}, roles: [{name: t, task: {load: t}}]}")
    assert caught.value.path == "w"


def test_enabled_and_defaults_see_the_parent_only(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="unknown variable 'on'"):
        grow("{name: w, roles: [{name: t, enabled: '{{ on }}', vars: {on: 'true'}, task: {load: t}}]}")
    with pytest.raises(ExpressionError, match="unknown variable 'b'"):
        grow("{name: w, roles: [{name: t, defaults: {a: '{{ b }}'}, vars: {b: '1'}, task: {load: t}}]}")


def test_vars_beat_defaults_at_any_depth_and_the_user_beats_both(grow: Grow, at: At) -> None:
    text = """
        name: w
        vars: {a: root var}
        roles:
          - {name: t, defaults: {a: leaf default}, vars: {seen: "{{ a }}"}, task: {load: t}}
        """

    assert at(grow(text), "w.t").vars == {"seen": "root var"}
    assert at(grow(text, {"a": "user"}), "w.t").vars == {"seen": "user"}


def test_installation_variables_are_the_ends_of_their_chains(grow: Grow, at: At) -> None:
    text = """
        name: w
        defaults: {a: template default, b: template default}
        roles: [{name: t, vars: {seen: "{{ a }} {{ b }} {{ c }}"}, task: {load: t}}]
        """
    workflow = grow(text, base_vars={"a": "base var"}, base_defaults={"b": "base default", "c": "base default"})

    assert at(workflow, "w.t").vars == {"seen": "base var template default base default"}
    assert workflow.base_vars == {"a": "base var"}


def test_parent_up_and_this(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - name: a
            vars: {parent: "{{ Parent().Name }}", path: "{{ Parent().Path }}"}
            roles:
              - name: b
                vars: {up: "{{ Up(1).Path }} {{ Up(2).Path }}", top: "{{ Up(3) == nil }}"}
                constraints: [{attribute: x, value: "{{ This().Path }} {{ This().Name }}"}]
                task: {load: t}
        """
    )

    assert at(workflow, "w.a").vars == {"parent": "w", "path": "w"}
    assert at(workflow, "w.a.b").vars == {"up": "w.a w", "top": "true"}
    assert at(workflow, "w.a.b").constraints[0].value == "w.a.b b"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("This().Path", "This"),
        ("Up(0).Path", "is no ancestor"),
        ("Up(5).Path", "nil"),
    ],
)
def test_roles_that_are_not_there_are_errors(grow: Grow, expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        grow(f"{{name: w, roles: [{{name: t, vars: {{a: '{{{{ {expression} }}}}'}}, task: {{load: t}}}}]}}")


def test_the_root_has_no_parent(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="nil"):
        grow("{name: w, vars: {a: '{{ Parent().Path }}'}, roles: [{name: t, task: {load: t}}]}")


def test_unknown_names_are_errors_even_where_they_are_not_reached(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="unknown variable 'nowhere'") as caught:
        grow(
            """\
            name: w
            roles:
              - name: t
                vars:
                  a: "{{ 'x' == 'x' ? 'y' : nowhere }}"
                task: {load: t}
            """
        )
    assert (caught.value.file, caught.value.line, caught.value.path) == ("workflows/w.yaml", 5, "w.t")


# --------------------------------------------------------------------------------------------------- enabled


@pytest.mark.parametrize("text", ["true", "TRUE", " true ", "1", "{{ 'a' == 'a' }}"])
def test_enabled(grow: Grow, text: str) -> None:
    assert paths(grow(f'{{name: w, roles: [{{name: t, enabled: "{text}", task: {{load: t}}}}]}}')) == ["w", "w.t"]


@pytest.mark.parametrize("text", ["false", "yes", "on", "0", "", "{{ 'a' == 'b' }}"])
def test_not_enabled(grow: Grow, text: str) -> None:
    template = f"""
        name: w
        roles:
          - {{name: t, enabled: "{text}", task: {{load: absent}}}}
          - {{name: u, task: {{load: t}}}}
        """
    assert paths(grow(template)) == ["w", "w.u"]


def test_nothing_below_a_disabled_role_is_evaluated(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - {name: a, enabled: "false", vars: {x: "{{ nowhere }}"}, include: absent}
          - {name: t, task: {load: t}}
        """
    assert paths(grow(template)) == ["w", "w.t"]


def test_aggregators_without_members_are_removed(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - {name: a, roles: [{name: b, roles: [{name: t, enabled: "false", task: {load: t}}]}]}
          - {name: e, roles: []}
          - {name: i, roles: [{name: "x{{ n }}", for: {range: "[]", var: n}, task: {load: t}}]}
          - {name: t, task: {load: t}}
        """
    assert paths(grow(template)) == ["w", "w.t"]


def test_an_empty_workflow_is_an_error_that_says_what_was_disabled(grow: Grow) -> None:
    with pytest.raises(TemplateError, match="no role left") as caught:
        grow("{name: w, roles: [{name: t, enabled: 'false', task: {load: t}}]}")
    assert "w.t" in caught.value.hint


# --------------------------------------------------------------------------------------------------- iterators


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


# --------------------------------------------------------------------------------------------------- includes


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


# --------------------------------------------------------------------------------------------------- what is refused


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


# --------------------------------------------------------------------------------------------------- functions


def test_functions_of_the_configuration(grow: Grow, at: At) -> None:
    kv = {
        "o2/hardware/detectors/ITS/flps/h1/x": "1",
        "o2/hardware/flps/h1/cards": '{"0": {"serial": "7", "endpoint": "1"}, "1": {"serial": "7", "endpoint": "0"}}',
        "o2/components/c/PHYSICS/any/e": "value of {{ v }} {% include 'part' %}",
        "o2/components/c/PHYSICS/any/part": "{{ strings.ToUpper(v) }}",
        "o2/components/c/ANY/r/e": "legacy {{ v }}",
        "o2/runtime/comp/key": "runtime",
    }
    expressions = {
        "detector": "inventory.DetectorForHost('h1')",
        "detectors": "inventory.DetectorsForHosts('[\\\"h1\\\"]')",
        "cards": "inventory.CRUCardsForHost('h1')",
        "endpoints": "inventory.EndpointsForCRUCard('h1', '7')",
        "resolved": "config.Resolve('c', 'PHYSICS', 'r', 'e')",
        "path": "config.ResolvePath('c/PHYSICS/x/e')",
        "got": "config.Get('c/PHYSICS/any/e')",
        "legacy": "config.GetLegacy('c/ANY/r/e')",
        "runtime": "runtime.Get('comp', 'key')",
        "old": "DetectorForHost('h1')",
    }
    lines = "".join(f'      {name}: "{{{{ {text} }}}}"\n' for name, text in expressions.items())
    workflow = grow(f"name: w\nroles:\n  - name: t\n    task: {{load: t}}\n    vars:\n{lines}", {"v": "x"}, kv)

    assert at(workflow, "w.t").vars == {
        "detector": "ITS",
        "detectors": '["ITS"]',
        "cards": '["7"]',
        "endpoints": "0 1",
        "resolved": "c/ANY/r/e",
        "path": "c/PHYSICS/any/e",
        "got": "value of x X",
        "legacy": "legacy x",
        "runtime": "runtime",
        "old": "ITS",
    }


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("inventory.DetectorForHost('h9')", "host 'h9' belongs to no detector"),
        ("inventory.DetectorsForHosts('h9')", "not a JSON list of host names"),
        ("inventory.CRUCardsForHost('h9')", "no cards of host 'h9'"),
        ("config.Resolve('c', 'PHYSICS', 'r', 'e')", "could not resolve configuration path c/PHYSICS/r/e"),
        ("config.Resolve('c', 'PHYSIC', 'r', 'e')", "unknown run type 'PHYSIC'"),
        ("config.Get('c/ANY/any/e')", "no payload at configuration path c/ANY/any/e"),
        ("config.GetLegacy('c/ANY/any/e')", "no payload at configuration path c/ANY/any/e"),
        ("config.ResolvePath('c')", "bad configuration path"),
        ("runtime.Get('a', 'b')", "there is no runtime value a/b"),
        ("runtime.Set('a', '', 'x')", "needs a component and a key"),
        ("dpl.Generate('rm -rf x')", "dpl.Generate is off: it would run this shell command"),
        ("dpl.Generate(' none ')", "there is no such command"),
        ("dpl.GenerateFromUri('')", "there is no such command"),
        ("dpl.GenerateFromUri('ctp-reco')", "it would run the shell command in jit/ctp-reco"),
        ("dpl.GenerateFromUriOrFallbackToTemplate('a b/c')", "names no template"),
        ("ToPtree('x', 'json')", "only in the `properties` of a task template"),
        ("util.Dump('a', '/tmp/b')", "util.Dump is off"),
        ("odc.GenerateEPNWorkflowScript()", "belongs to the integration 'odc', which is not loaded"),
        ("strings.Nothing('a')", "unknown function strings.Nothing"),
    ],
)
def test_functions_that_fail_raise(grow: Grow, expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        grow(f'name: w\nroles:\n  - name: t\n    task: {{load: t}}\n    vars:\n      a: "{{{{ {expression} }}}}"\n')
    assert (caught.value.line, caught.value.path) == (6, "w.t")


def test_an_empty_runtime_key_asks_for_nothing(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "<{{ runtime.Get('c', '') }}>"}, task: {load: t}}
        """
    )

    assert at(workflow, "w.a").vars["x"] == "<>"


def test_runtime_set_is_an_overlay_that_the_caller_gets(grow: Grow, at: At) -> None:
    writes: dict[str, str] = {}
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "{{ runtime.Set('c', 'k', 'new') }}"}, task: {load: t}}
          - {name: b, vars: {x: "{{ runtime.Get('c', 'k') }}"}, task: {load: t}}
        """,
        kv={"o2/runtime/c/k": "old"},
        writes=writes,
    )

    assert writes == {"o2/runtime/c/k": "new"}
    assert (at(workflow, "w.a").vars, at(workflow, "w.b").vars) == ({"x": "new"}, {"x": "new"})


def test_what_runtime_set_wrote_goes_along_with_the_workflow(grow: Grow) -> None:
    workflow = grow("{name: w, vars: {x: \"{{ runtime.Set('c', 'k', 'new') }}\"}, roles: [{name: t, task: {load: t}}]}")

    assert workflow.runtime == {"o2/runtime/c/k": "new"}


_FALLBACK = "dpl.GenerateFromUriOrFallbackToTemplate"


def test_a_workflow_that_no_command_generates_is_the_template_of_that_name(grow: Grow) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": f"{{name: w, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
            "workflows/plain.yaml": "{name: plain, roles: [{name: t, task: {load: t}}]}",
        }
    )

    assert paths(workflow) == ["w", "w.i", "w.i.t"]


def test_a_workflow_that_a_command_generates_is_not_the_template_of_that_name(grow: Grow) -> None:
    with pytest.raises(ExpressionError, match="it would run the shell command in jit/plain"):
        grow(
            {
                "workflows/w.yaml": f"{{name: w, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
                "workflows/plain.yaml": "{name: plain, roles: [{name: t, task: {load: t}}]}",
                "jit/plain": "o2-workflow",
            }
        )


def test_commands_that_generate_are_those_of_the_repository_of_the_template(grow: Grow) -> None:
    other = {
        "workflows/x.yaml": f"{{name: x, roles: [{{name: i, include: \"{{{{ {_FALLBACK}('plain') }}}}\"}}]}}",
        "jit/plain": "o2-workflow",
    }

    with pytest.raises(ExpressionError, match="it would run the shell command in jit/plain"):
        grow("{name: w, roles: [{name: o, include: host/a/b/workflows/x}]}", others={"host/a/b": other})


def test_payloads_see_variables_functions_and_statements(grow: Grow, at: At) -> None:
    kv = {
        "o2/components/c/ANY/any/e": "{% for d in json.Unmarshal(detectors) %}{% if d == 'TPC' %}{{ d | lower }}"
        "{% else %}{{ v }}-{{ d }}{{ loop.index }}{% include 'part' %}{% endif %};{% endfor %}",
        "o2/components/c/ANY/any/part": "({{ d | len }})",
    }
    workflow = grow(
        "{name: w, roles: [{name: t, task: {load: t}, vars: {x: \"{{ config.Get('c/ANY/any/e') }}\"}}]}",
        {"v": "x", "detectors": '["TPC", "ITS"]'},
        kv,
    )

    assert at(workflow, "w.t").vars["x"] == "tpc;x-ITS2(3);"


@pytest.mark.parametrize(
    ("function", "payload", "place", "reason"),
    [
        ("config.Get", "a\n {{ v + 1 }}", (2, 2), "does not work"),
        ("config.Get", "a\n {% if v %}{% endif %}", (2, 2), "a condition must be a bool"),
        ("config.Get", "{{ nothing }}", (1, 1), "unknown variable 'nothing'"),
        ("config.GetLegacy", "a\n {{ v + 1 }}", (2, 7), "does not work"),
        ("config.GetLegacy", "{{ nothing }}", (1, 4), "unknown variable 'nothing'"),
        ("config.GetLegacy", "{{", (1, 1), "{{ is not closed"),
    ],
)
def test_faults_in_payloads_are_told_in_the_payload(
    grow: Grow, function: str, payload: str, place: tuple[int, int], reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        grow(
            f"name: w\nvars: {{x: \"{{{{ {function}('c/ANY/any/e') }}}}\"}}\nroles: [{{name: t, task: {{load: t}}}}]",
            {"v": "x"},
            {"o2/components/c/ANY/any/e": payload},
        )
    assert (caught.value.file, caught.value.line, caught.value.column) == ("c/ANY/any/e", *place)


def test_an_administrator_may_allow_generation(grow: Grow) -> None:
    asked: list[tuple[str, str]] = []

    def dpl(method: str, argument: str) -> str:
        asked.append((method, argument))
        return "generated"

    workflow = grow(
        {
            "workflows/w.yaml": """{name: w, roles: [{name: i, include: "{{ dpl.GenerateFromUri('qc') }}"}]}""",
            "workflows/generated.yaml": "{name: generated, roles: [{name: t, task: {load: t}}]}",
        },
        allow={"dpl": dpl},
    )

    assert paths(workflow) == ["w", "w.i", "w.i.t"]
    assert asked == [("GenerateFromUri", "qc")]


def test_integrations_give_texts(grow: Grow, at: At) -> None:
    template = "{name: w, roles: [{name: t, vars: {a: '{{ odc.Script() }}'}, task: {load: t}}]}"

    assert at(grow(template, integrations={"odc.Script": "run"}), "w.t").vars == {"a": "run"}
    assert at(grow(template, integrations={"odc.Script()": "run"}), "w.t").vars == {"a": "run"}
    with pytest.raises(ExpressionError, match=r"unknown function odc.Script"):
        grow(template, integrations={"odc.Other": "x"})
    with pytest.raises(UsageError, match="defined twice"):
        grow(template, integrations={"strings.Atoi": "x"})


def test_an_integration_that_is_not_loaded_matters_only_where_it_is_called(grow: Grow, at: At) -> None:
    template = """{name: w, roles: [{name: t, vars: {a: "{{ on == 'true' ? odc.Script() : '' }}"}, task: {load: t}}]}"""

    assert at(grow(template, {"on": "false"}), "w.t").vars == {"a": ""}


def test_ids_come_from_the_source_that_is_given(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, vars: {x: "{{ uid.New() }}-{{ uid.New() }}"}, task: {load: t}}
          - {name: b, vars: {x: "{{ NewID() }}"}, task: {load: t}}
        """
    )

    assert [at(workflow, path).vars["x"] for path in ("w.a", "w.b")] == ["id1-id2", "id3"]


# --------------------------------------------------------------------------------------------------- snapshots


def test_a_partial_snapshot_says_all_that_is_missing_and_goes_on_when_it_is_there(grow: Grow) -> None:
    template = """
        name: w
        roles:
          - name: "{{ h }}"
            for: {range: '["h1","h2"]', var: h}
            vars: {x: "{{ runtime.Get('c', h) }}"}
            roles: [{name: t, vars: {y: "{{ runtime.Get('d', x) }}"}, task: {load: t}}]
          - {name: r, roles: [{name: "{{ q }}", for: {range: "{{ runtime.Get('c', 'q') }}", var: q}, task: {load: t}}]}
        """
    kv = {"o2/runtime/c/h1": "a", "o2/runtime/c/h2": "b", "o2/runtime/d/a": "A", "o2/runtime/d/b": "B"}
    kv["o2/runtime/c/q"] = '["z"]'
    tree = Tree({}, complete=False)
    rounds = []
    while True:
        try:
            workflow = grow(template, kv=tree)
            break
        except Missing as missing:
            rounds.append(missing.keys)
            tree = tree.with_known({key: kv.get(key) for key in missing.keys})

    assert rounds == [
        ("o2/runtime/c/h1", "o2/runtime/c/h2", "o2/runtime/c/q"),
        ("o2/runtime/d/a", "o2/runtime/d/b"),
    ]
    assert workflow == grow(template, kv=kv)


def test_a_missing_key_of_the_root_is_reported_too(grow: Grow) -> None:
    with pytest.raises(Missing) as caught:
        grow(
            "{name: w, vars: {a: \"{{ runtime.Get('c', 'k') }}\"}, roles: [{name: t, task: {load: t}}]}",
            kv=Tree({}, complete=False),
        )
    assert caught.value.keys == ("o2/runtime/c/k",)


def test_a_disabled_role_is_not_called_missing_because_of_a_sibling(grow: Grow) -> None:
    with pytest.raises(Missing):
        grow(
            """
            name: w
            roles:
              - {name: a, min: 1, roles: [{name: t, vars: {x: "{{ runtime.Get('c', 'k') }}"}, task: {load: t}}]}
            """,
            kv=Tree({}, complete=False),
        )


# --------------------------------------------------------------------------------------------------- determinism


_NAMES = st.sampled_from("abcd")


@st.composite
def _templates(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    variables = st.dictionaries(
        _NAMES, st.sampled_from(["1", "{{ p }}", "{{ p }}-{{ q }}", "{{ uid.New() }}"]), max_size=3
    )
    body: dict[str, Any] = {"defaults": draw(variables), "vars": draw(variables)}
    if draw(st.booleans()):
        body["enabled"] = draw(st.sampled_from(["true", "{{ p == '1' }}"]))
    if depth < 3 and draw(st.booleans()):
        n = draw(st.integers(1, 3))
        body["roles"] = [{**draw(_templates(depth=depth + 1)), "name": f"r{i}"} for i in range(n)]
    else:
        body["task"] = {"load": draw(st.sampled_from(["t", "f", "b"]))}
    return body


@given(_templates(), st.sampled_from(["1", "2"]))
def test_expansion_is_a_function_of_its_arguments(template: dict[str, Any], p: str) -> None:
    # JSON is YAML
    text = json.dumps({"name": "w", "roles": [{**template, "name": "top"}, {"name": "t", "task": {"load": "t"}}]})
    tasks = {f"tasks/{name}.yaml": f"{{name: {name}, command: {{value: x}}}}" for name in "tfb"}
    source = TextSource(files={"workflows/w.yaml": text, **tasks})

    def once() -> Workflow:
        ids = iter(range(1000))
        return expand(source, "w", {"p": p, "q": "Q"}, Tree(), ids=lambda: f"id{next(ids)}")

    first = once()
    assert first == once()
    for index, role in enumerate(first.roles):
        assert role.parent < index
        if role.parent >= 0:
            assert role.path == f"{first.roles[role.parent].path}.{role.name}"
        if role.kind is RoleKind.AGGREGATOR:
            assert any(other.parent == index for other in first.roles)
