"""Perform Expand: templates are read and expanded in a worker, and the answer comes as an input."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import attrs

from libecs.config.tree import Tree
from libecs.engine.effects import Expand, Expanded, Input
from libecs.errors import EcsError, Missing
from libecs.io.blocking import BlockingCalls
from libecs.io.expander import ExpansionJob, ExpansionResult, TaskOverlay, Templates, run_job
from libecs.io.worker import ExpansionWorker
from libecs.workflow.limits import ExpansionLimits

__all__ = ["Expansion", "KeySource", "TaskOverlay", "run_to_the_end"]

MOST_ROUNDS: Final = 100
"""How often one expansion may ask for keys. Each round finds all that can be known, so that real ones need four."""

SMALL: Final = ExpansionLimits(roles=3_000, steps=300_000, characters=1 << 20)
"""What is expanded in a thread: twice the largest real workflow, which has 1 500 roles and takes half a second."""

Run: TypeAlias = Callable[[Templates, ExpansionJob], ExpansionResult]
"""Runs one job. Blocks, and raises nothing."""


class KeySource(Protocol):
    """A store of keys that is far away: what an expansion needs of it is fetched when it is known."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return texts of `keys`, and of everything below those that end with "/". What is not there is left out.

        May block: it is called in a thread.

        Raises:
            EcsError: the store can't be asked.
        """
        ...


def run_to_the_end(
    templates: Templates, job: ExpansionJob, keys: KeySource | None, run: Run = run_job
) -> ExpansionResult:
    """Expand, fetch what is missing and expand again, until it is done. Blocks. Raises nothing."""
    asked: set[str] = set()
    for _ in range(MOST_ROUNDS):
        result = run(templates, job)
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


def small_first(worker: ExpansionWorker) -> Run:
    """Return what expands small workflows here, and gives larger ones to the worker."""

    def run(templates: Templates, job: ExpansionJob) -> ExpansionResult:
        result = run_job(templates, job, SMALL)
        return worker.run(templates, job) if result.is_too_large else result

    return run


class Expansion:
    """Performs Expand.

    Small workflows are expanded in a thread, within `SMALL`, which costs nothing before and little beside the engines.
    One that turns out to be larger is begun anew in a worker process, which is ended when it takes too long or too
    much; starting that one takes half a second. What a script of this process has made stays in a thread. What clients
    bring along nobody has read before: all of it goes to a `guard`, a worker with tighter limits and no work but that,
    one after another, so that it takes no more than one thread from the others.
    """

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
        worker: ExpansionWorker | None = None,
        guard: ExpansionWorker | None = None,
    ) -> None:
        """`put` takes Expanded. `tree` is what configuration functions see; `runtime.Set` adds to it. `keys` gives what
        a partial tree does not hold; it is asked anew for each expansion. Without a `worker` everything is
        expanded in threads; without a `guard` what clients bring is like all else. Both are ended by `close`.

        `integrations` and `defaults` are as in ExpansionJob.
        """
        self._put = put
        self._templates = templates
        self._blocking = blocking
        self._integrations = integrations
        self._defaults = dict(defaults or {})
        self._keys = keys
        self._worker = worker
        self._guard = guard
        self._brought: deque[ExpansionJob] = deque()
        """What clients brought along, and has to wait."""
        self._is_guarding = False
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
        if effect.files and self._guard is not None:
            self._brought.append(job)
            self._guarded()
            return
        is_own = self._templates.is_own(effect.workflow)
        run = run_job if is_own or self._worker is None else small_first(self._worker)
        future = self._blocking.start(run_to_the_end, self._templates, job, self._keys, run)
        future.add_done_callback(lambda done: self._done(effect.job, done))

    def _guarded(self) -> None:
        """Begin the next expansion of what a client has brought along, if none goes on."""
        if self._is_guarding or not self._brought:
            return
        assert self._guard is not None
        job = self._brought.popleft()
        self._is_guarding = True
        future = self._blocking.start(run_to_the_end, self._templates, job, self._keys, self._guard.run)

        def done(future: asyncio.Future[ExpansionResult]) -> None:
            self._is_guarding = False
            self._done(job.job, future)
            self._guarded()

        future.add_done_callback(done)

    def close(self) -> None:
        """End the workers. What they were about to expand ends as an error."""
        self._brought.clear()
        for worker in (self._worker, self._guard):
            if worker is not None:
                worker.close()

    def _done(self, job: str, future: asyncio.Future[ExpansionResult]) -> None:
        if future.cancelled():
            return  # closed meanwhile
        result = future.result()
        if result.writes:
            self.tree = self.tree.with_known(result.writes)
        self._put(Expanded(job=job, workflow=result.workflow, code=result.code, message=result.message))
