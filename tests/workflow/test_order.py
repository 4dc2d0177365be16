"""`start_after`: names become paths, circles are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libecs.errors import TemplateError
from libecs.workflow.role import Role, Workflow

Grow = Callable[..., Workflow]
At = Callable[[Workflow, str], Role]


def test_names_mean_siblings_then_paths(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, task: {load: t}}
          - name: part
            start_after: a
            roles:
              - {name: b, task: {load: t}}
              - {name: c, start_after: [b], task: {load: t}}
          - {name: d, start_after: ["part.b", "w.a", "{{ Parent().Path }}.a"], task: {load: t}}
        """
    )

    assert at(workflow, "w.part").start_after == ("w.a",)
    assert at(workflow, "w.part.c").start_after == ("w.part.b",)
    assert at(workflow, "w.d").start_after == ("w.part.b", "w.a")


def test_what_is_disabled_is_not_waited_for(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, enabled: "false", task: {load: t}}
          - {name: b, start_after: [a], task: {load: t}}
        """
    )

    assert at(workflow, "w.b").start_after == ()


def test_an_include_and_what_it_includes_add_up(grow: Grow, at: At) -> None:
    workflow = grow(
        {
            "workflows/w.yaml": """
                name: w
                roles:
                  - {name: a, task: {load: t}}
                  - {name: b, task: {load: t}}
                  - {name: i, start_after: [a], include: sub}
                """,
            "workflows/sub.yaml": "{name: sub, start_after: b, roles: [{name: t, task: {load: t}}]}",
        }
    )

    assert at(workflow, "w.i").start_after == ("w.a", "w.b")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nobody", "there is no such role"), ("b", "the role itself"), ("w", "above it"), ("b.c", "below it")],
)
def test_names_that_mean_nothing(grow: Grow, name: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        grow(
            f"""\
            name: w
            roles:
              - name: b
                start_after: ["{name}"]
                roles: [{{name: c, task: {{load: t}}}}]
            """
        )
    assert (caught.value.path, caught.value.line) == ("w.b", 3)


@pytest.mark.parametrize(
    "roles",
    [
        "[{name: a, start_after: b, task: {load: t}}, {name: b, start_after: a, task: {load: t}}]",
        """[{name: a, start_after: b, roles: [{name: x, task: {load: t}}]},
            {name: b, roles: [{name: y, start_after: a.x, task: {load: t}}]}]""",
        """[{name: a, start_after: b, task: {load: t}}, {name: b, start_after: c, task: {load: t}},
            {name: c, start_after: d, task: {load: t}}, {name: d, start_after: b, task: {load: t}}]""",
    ],
)
def test_circles_are_refused(grow: Grow, roles: str) -> None:
    with pytest.raises(TemplateError, match="roles start after each other: "):
        grow(f"{{name: w, roles: {roles}}}")


def test_diamonds_are_no_circles(grow: Grow, at: At) -> None:
    workflow = grow(
        """
        name: w
        roles:
          - {name: a, task: {load: t}}
          - {name: b, start_after: [a], task: {load: t}}
          - {name: c, start_after: [a], task: {load: t}}
          - {name: d, start_after: [b, c], task: {load: t}}
        """
    )

    assert at(workflow, "w.d").start_after == ("w.b", "w.c")
