"""Expanding small templates that stand in the test itself."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from typing import Any

import pytest

from libecs.config.tree import Tree
from libecs.workflow.expand import expand
from libecs.workflow.role import Role, Workflow
from libecs.workflow.source import TextSource
from tests.workflow.growing import At, Grow

TASKS = {
    "tasks/t.yaml": "{name: t, control: {mode: direct}, command: {value: t}}",
    "tasks/f.yaml": "{name: f, control: {mode: fairmq}, command: {value: f}}",
    "tasks/b.yaml": "{name: b, control: {mode: basic}, command: {value: b}}",
}
"""A direct, a FairMQ and a basic task, there for every test."""


@pytest.fixture
def grow() -> Grow:
    """Expand `workflows/w.yaml` of `files`, or the text itself if it is one."""

    def grown(
        files: str | Mapping[str, str],
        variables: Mapping[str, str] | None = None,
        kv: Mapping[str, Any] | Tree | None = None,
        **options: Any,
    ) -> Workflow:
        texts = {"workflows/w.yaml": files} if isinstance(files, str) else files
        source = TextSource(
            files={**TASKS, **{path: textwrap.dedent(text) for path, text in texts.items()}},
            others=options.pop("others", {}),
        )
        ids = itertools.count(1)
        tree = kv if isinstance(kv, Tree) else Tree.of(kv or {})
        options.setdefault("ids", lambda: f"id{next(ids)}")
        return expand(source, options.pop("workflow", "w"), variables or {}, tree, **options)

    return grown


def role(workflow: Workflow, path: str) -> Role:
    """Return the role at `path`."""
    return next(role for role in workflow.roles if role.path == path)


@pytest.fixture
def at() -> At:
    """Return the role of a workflow at a path."""
    return role
