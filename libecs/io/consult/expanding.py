"""A workflow that is expanded only to be looked at: no environment comes of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import count

import attrs

from libecs.config.path import runtime_key
from libecs.config.tree import Tree
from libecs.errors import EcsError
from libecs.ids import base58
from libecs.io.expander import ExpansionJob, Templates
from libecs.io.expansion import SMALL, run_to_the_end
from libecs.io.integrations import Functions
from libecs.io.worker import ExpansionWorker
from libecs.language.fields import Finding
from libecs.workflow.expand import ExpansionLimits, expand
from libecs.workflow.role import Workflow

ENVIRONMENT = "plan"
"""Stands for the id that an environment would get."""
_NO_LIMITS = ExpansionLimits()


@attrs.frozen(kw_only=True)
class Looked:
    """A workflow, and what else was found on the way to it."""

    workflow: Workflow
    notes: tuple[str, ...]
    """What is allowed and probably a mistake."""
    served: frozenset[str]
    """Functions that call roles can call."""


def look(
    templates: Templates,
    workflow: str,
    variables: Mapping[str, str],
    *,
    tree: Tree,
    functions: Sequence[Functions] = (),
    defaults: Mapping[str, str] | None = None,
    worker: ExpansionWorker | None = None,
) -> Looked:
    """Expand a workflow as an environment's would be. Blocks. What is large goes to the `worker`, if there is one.

    Raises:
        EcsError: what loading and expanding raise.
    """
    counter = count(1)
    findings: list[Finding] = []
    exceeded: list[str] = []
    given = {**variables, "environment_id": ENVIRONMENT}
    texts = {name: text for one in functions for name, text in one.texts.items()}
    source, name = templates.open(workflow)
    try:
        expanded = expand(
            source,
            name,
            given,
            tree,
            ids=lambda: f"plan0{base58(next(counter))}",
            base_vars=installed(tree, "vars"),
            base_defaults={**(defaults or {}), **installed(tree, "defaults")},
            integrations=texts,
            findings=findings,
            limits=_NO_LIMITS if worker is None else SMALL,
            exceeded=exceeded,
        )
    except EcsError:
        if worker is None or not exceeded:
            raise
        job = ExpansionJob(
            job=ENVIRONMENT,
            workflow=workflow,
            variables=given,
            tree=tree,
            integrations=texts,
            defaults=dict(defaults or {}),
        )
        result = run_to_the_end(templates, job, None, worker.run)
        if result.workflow is None:
            raise told(result.code, result.message) from None
        expanded = result.workflow
    return Looked(
        workflow=expanded,
        notes=(*map(str, findings), *misspelt(variables, expanded)),
        served=frozenset(handler for one in functions for handler in one.handlers),
    )


def told(code: str, message: str) -> EcsError:
    """Return the error of a worker, which told only its code and text."""
    text, _, hint = message.partition("\n  next: ")
    error = EcsError(text, hint=hint)
    error.code = code or error.code  # type: ignore[misc] # of this one: its class stayed in the worker
    return error


def installed(tree: Tree, kind: str) -> dict[str, str]:
    """Return what the installation gives to every workflow: `vars` or `defaults`."""
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
        near = difflib.get_close_matches(name, declared, n=3, cutoff=0.6)
        if near:
            notes.append(f"no role declares the variable {name!r}; did you mean {' or '.join(near)}?")
    return notes
