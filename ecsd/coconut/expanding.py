"""From the options of a verb to a workflow, in this process and without an environment."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import attrs

from ecsd.coconut.installation import defaults
from ecsd.coconut.lazy import meant
from ecsd.coconut.options import Inputs
from libecs.config.path import runtime_key
from libecs.config.tree import Tree
from libecs.ids import base58
from libecs.io.integrations import functions_of_file
from libecs.io.kv_file import read_kv_file
from libecs.io.repository import OverlaidTasks, Repositories, RepositorySource
from libecs.io.testplugin import TestPlugin
from libecs.language.fields import Finding
from libecs.session import open_location
from libecs.workflow.expand import expand
from libecs.workflow.role import Workflow
from libecs.workflow.source import TemplateSource


@attrs.frozen(kw_only=True)
class Expansion:
    """A workflow, and what else was found on the way to it."""

    workflow: Workflow
    notes: tuple[str, ...]
    """What is allowed and probably a mistake."""
    served: frozenset[str]
    """Functions that call roles can call."""


def open_source(repo: str, revision: str, workflow: str) -> tuple[RepositorySource, str]:
    """Return the templates of a repository at a revision, and the bare name of `workflow` in it.

    Raises:
        NotFound: no such repository or revision.
        InvalidInput: `workflow` names no workflow.
    """
    return Repositories(open_location(repo), revision=revision).open(workflow)


def expand_inputs(workflow: str, inputs: Inputs) -> Expansion:
    """Expand a workflow as `libecs.local()` would. Raises what loading and expanding raise."""
    opened, name = open_source(inputs.repo, inputs.revision, workflow)
    source: TemplateSource = opened if inputs.tasks is None else OverlaidTasks(opened, inputs.tasks)
    tree = Tree() if inputs.kv is None else read_kv_file(inputs.kv)
    served = None if inputs.integrations is None else functions_of_file(inputs.integrations)
    counter = count(1)
    findings: list[Finding] = []
    expanded = expand(
        source,
        name,
        {**inputs.variables, "environment_id": "plan"},
        tree,
        ids=lambda: f"plan0{base58(next(counter))}",
        base_vars=_texts(tree, "vars"),
        base_defaults={**defaults(), **_texts(tree, "defaults")},
        integrations={} if served is None else served.texts,
        findings=findings,
    )
    return Expansion(
        workflow=expanded,
        notes=(*map(str, findings), *misspelt(inputs.variables, expanded)),
        served=frozenset(TestPlugin().functions().handlers) | frozenset(served.handlers if served else ()),
    )


def _texts(tree: Tree, kind: str) -> Mapping[str, str]:
    return {name: text.strip() for name, text in tree.texts(runtime_key("aliecs", kind)).items()}


def misspelt(variables: Mapping[str, str], workflow: Workflow) -> list[str]:
    """Return a note for each variable of the request that nobody declares, and that is like one that is declared."""
    declared = {*workflow.base_vars, *workflow.base_defaults}
    for role in workflow.roles:
        declared.update(role.defaults, role.vars)
    for one in workflow.classes.values():
        declared.update(one.defaults, one.vars)
    notes = []
    for name in sorted(set(variables) - declared):
        if near := meant(name, declared):
            notes.append(f"no role declares the variable {name!r}{near}")
    return notes
