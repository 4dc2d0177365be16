"""Perform Expand: templates are read and expanded in a worker, and the answer comes as an input."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import attrs

from libecs.config.path import runtime_key
from libecs.config.tree import Tree
from libecs.engine.effects import Expand, Expanded, Input
from libecs.errors import EcsError, Missing
from libecs.ids import base58
from libecs.io.blocking import BlockingCalls
from libecs.io.repository import OverlaidTasks, Repositories
from libecs.workflow.expand import expand
from libecs.workflow.role import Workflow
from libecs.workflow.source import TemplateSource

logger = logging.getLogger(__name__)

MOST_ROUNDS: Final = 100
"""How often one expansion may ask for keys. Each round finds all that can be known, so that real ones need four."""


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


class KeySource(Protocol):
    """A store of keys that is far away: what an expansion needs of it is fetched when it is known."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return texts of `keys`, and of everything below those that end with "/". What is not there is left out.

        May block: it is called in a thread.

        Raises:
            EcsError: the store can't be asked.
        """
        ...


class Templates(Protocol):
    """Where workers find templates."""

    def open(self, workflow: str) -> tuple[TemplateSource, str]:
        """Return the source that a workflow expression means, and the name in it. Raises EcsError."""
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


def run_job(templates: Templates, job: ExpansionJob) -> ExpansionResult:
    """Expand in the present thread or process. Raises nothing: errors are results."""
    counter = 0

    def next_id() -> str:
        # Expanded again after a crash, a job gives the same ids; two jobs never do.
        nonlocal counter
        counter += 1
        return f"{job.job}x{base58(counter)}"

    writes: dict[str, str] = {}
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
        )
    except Missing as error:
        return ExpansionResult(missing=error.keys)
    except EcsError as error:
        return ExpansionResult(code=error.code, message=str(error))
    except Exception as error:  # a fault of ours must fail this environment and no other
        logger.exception("expansion of %s failed", job.workflow)
        return ExpansionResult(code="E_FAILED", message=f"{job.workflow}: {type(error).__name__}: {error}")
    return ExpansionResult(workflow=workflow, writes=writes)


def run_to_the_end(templates: Templates, job: ExpansionJob, keys: KeySource | None) -> ExpansionResult:
    """Expand, fetch what is missing and expand again, until it is done. Blocks. Raises nothing."""
    asked: set[str] = set()
    for _ in range(MOST_ROUNDS):
        result = run_job(templates, job)
        if not result.missing:
            return result
        wanted = [key for key in result.missing if key not in asked]
        if keys is None or not wanted:
            break
        try:
            found = keys.fetch(wanted)
        except EcsError as error:
            return ExpansionResult(code=error.code, message=str(error))
        asked.update(wanted)
        known: dict[str, str | None] = {key: None for key in wanted if not key.endswith("/")}
        known.update(found)
        job = attrs.evolve(job, tree=job.tree.with_known(known, (key for key in wanted if key.endswith("/"))))
    missing = Missing(result.missing)
    return ExpansionResult(code=missing.code, message=f"{job.workflow}: {missing}")


def _installation(tree: Tree, kind: str) -> dict[str, str]:
    """Return `o2/runtime/aliecs/vars` or `…/defaults`: texts directly in it, without blanks around them."""
    folder = runtime_key("aliecs", kind)
    return {name: text.strip() for name, text in tree.texts(folder).items()}


class Expansion:
    """Performs Expand in a thread."""

    def __init__(
        self,
        put: Callable[[Input], None],
        templates: Templates,
        blocking: BlockingCalls,
        *,
        tree: Tree,
        integrations: Mapping[str, str],
        defaults: Mapping[str, str] | None = None,
        keys: KeySource | None = None,
    ) -> None:
        """`put` takes Expanded. `tree` is what configuration functions see; `runtime.Set` adds to it. `keys` gives what
        a partial tree does not hold; it is asked anew for each expansion.

        `integrations` and `defaults` are as in ExpansionJob.
        """
        self._put = put
        self._templates = templates
        self._blocking = blocking
        self._integrations = integrations
        self._defaults = dict(defaults or {})
        self._keys = keys
        self.tree = tree
        """With everything that `runtime.Set` wrote so far."""

    def expand(self, effect: Expand) -> None:
        """Begin one expansion."""
        job = ExpansionJob(
            job=effect.job,
            workflow=effect.workflow,
            variables=dict(effect.variables),
            tree=self.tree,
            integrations=self._integrations,
            defaults=self._defaults,
        )
        future = self._blocking.start(run_to_the_end, self._templates, job, self._keys)
        future.add_done_callback(lambda done: self._done(effect.job, done))

    def _done(self, job: str, future: asyncio.Future[ExpansionResult]) -> None:
        if future.cancelled():
            return  # closed meanwhile
        result = future.result()
        if result.writes:
            self.tree = self.tree.with_known(result.writes)
        self._put(Expanded(job=job, workflow=result.workflow, code=result.code, message=result.message))
