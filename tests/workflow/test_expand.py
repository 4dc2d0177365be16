"""A workflow of roles is expanded: each kind becomes what it is, if it is enabled, and the same each time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.config.tree import Tree
from libecs.errors import Missing, TemplateError
from libecs.language.fields import Finding
from libecs.workflow.expand import expand
from libecs.workflow.role import Mode, Moment, RoleKind, Workflow
from libecs.workflow.source import TextSource
from tests.workflow.growing import At, Grow, paths

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
