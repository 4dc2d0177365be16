"""What a role sees while it is expanded: its own variables, those above, and names that are not there."""

from __future__ import annotations

import pytest

from libecs.errors import ExpressionError
from tests.workflow.growing import At, Grow


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
