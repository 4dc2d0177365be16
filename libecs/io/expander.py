"""Expand one workflow, in whatever thread or process this is called: jobs and results are plain values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs

from libecs.config.path import runtime_key
from libecs.config.tree import Tree
from libecs.errors import EcsError, Missing
from libecs.ids import base58
from libecs.io.repository import OverlaidTasks, Repositories
from libecs.workflow.limits import ExpansionLimits
from libecs.workflow.role import Workflow
from libecs.workflow.source import TemplateSource

logger = logging.getLogger(__name__)
_LIMITS = ExpansionLimits()


@attrs.frozen(kw_only=True)
class ExpansionJob:
    """All that a worker needs: plain values, so that it may be another process."""

    job: str
    workflow: str
    variables: Mapping[str, str]
    tree: Tree
    integrations: Mapping[str, str]
    """Functions that templates may call while they are expanded, to what they give."""
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    """Variables of the installation, below those of the tree."""


@attrs.frozen(kw_only=True)
class ExpansionResult:
    """What came of it: a workflow, or code and message of an error."""

    workflow: Workflow | None = None
    writes: Mapping[str, str] = attrs.field(factory=dict)
    """Keys that `runtime.Set` wrote."""
    code: str = ""
    message: str = ""
    missing: tuple[str, ...] = ()
    """Keys that it needs first, folders with a "/" at their end; then there is no workflow and no code."""
    is_too_large: bool = False
    """The error is a limit of how large a workflow may be."""


class Templates(Protocol):
    """Where workers find templates."""

    def open(self, workflow: str) -> tuple[TemplateSource, str]:
        """Return the source that a workflow expression means, and the name in it. Raises EcsError."""
        ...

    def is_own(self, workflow: str) -> bool:
        """Return whether a workflow was made by this process itself, by a script."""
        ...


class TaskOverlay:
    """Templates of `repositories` with a folder of tasks laid over them."""

    def __init__(self, repositories: Repositories, tasks: Path) -> None:
        self._repositories = repositories
        self._tasks = tasks

    def open(self, workflow: str) -> tuple[TemplateSource, str]:
        """Return the source with the overlay."""
        source, name = self._repositories.open(workflow)
        return OverlaidTasks(source, self._tasks), name

    def is_own(self, workflow: str) -> bool:
        """Return whether a script of this process made a workflow."""
        return self._repositories.is_own(workflow)


def run_job(templates: Templates, job: ExpansionJob, limits: ExpansionLimits = _LIMITS) -> ExpansionResult:
    """Expand in the present thread or process. Raises nothing: errors are results."""
    # With the first job: a core that starts has other things to do than to learn the language of templates.
    from libecs.workflow.expand import expand

    counter = 0

    def next_id() -> str:
        # Expanded again after a crash, a job gives the same ids; two jobs never do.
        nonlocal counter
        counter += 1
        return f"{job.job}x{base58(counter)}"

    writes: dict[str, str] = {}
    exceeded: list[str] = []
    try:
        source, name = templates.open(job.workflow)
        workflow = expand(
            source,
            name,
            job.variables,
            job.tree,
            ids=next_id,
            base_vars=_installation(job.tree, "vars"),
            base_defaults={**job.defaults, **_installation(job.tree, "defaults")},
            integrations=job.integrations,
            writes=writes,
            limits=limits,
            exceeded=exceeded,
        )
    except Missing as error:
        return ExpansionResult(missing=error.keys)
    except EcsError as error:
        return ExpansionResult(code=error.code, message=str(error), is_too_large=bool(exceeded))
    except Exception as error:  # a fault of ours must fail this environment and no other
        logger.exception("expansion of %s failed", job.workflow)
        return ExpansionResult(code="E_FAILED", message=f"{job.workflow}: {type(error).__name__}: {error}")
    return ExpansionResult(workflow=workflow, writes=writes)


def _installation(tree: Tree, kind: str) -> dict[str, str]:
    """Return `o2/runtime/aliecs/vars` or `…/defaults`: texts directly in it, without blanks around them."""
    folder = runtime_key("aliecs", kind)
    return {name: text.strip() for name, text in tree.texts(folder).items()}
