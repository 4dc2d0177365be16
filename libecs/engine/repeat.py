"""Taking a run again: the same commit, variables and placement, or a list of what can't be the same.

The comparison comes after the expansion and before anything is launched. Texts that only a transition can complete
are compared as they are evaluated before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import attrs

from libecs.engine import payload
from libecs.engine.context import Context
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.placement import place, runnable
from libecs.engine.records import PLACEMENT, PlacementRecord
from libecs.engine.runbook import RunBook
from libecs.engine.task import Task
from libecs.errors import EcsError, InvalidInput, NotFound, Unplaceable, UsageError
from libecs.fsm import Mode
from libecs.wire import client
from libecs.wire.codec import pack_value
from libecs.wire.info import RunInfo

SCRIPT = "script-"
"""How the names of repositories begin that hold what a script has brought along."""
SHOWN = 8
"""Kinds of differences that a message lists."""
NAMED = 3
"""Roles that it names of each kind."""
PORTION = 100
"""Tasks that one `handle` compares."""


def check(runbook: RunBook, message: client.Create) -> None:
    """Refuse what can't be repeated.

    Raises:
        UsageError: a workflow or variables are given too.
        NotFound: there is no record of the run.
        InvalidInput: the record does not say what was asked for.
    """
    if message.workflow or message.variables or message.files:
        raise UsageError("a run is repeated as it was: workflow and variables can't be given too")
    run = runbook.runs.get(message.repeat)
    if run is None:
        raise NotFound(f"no run {message.repeat} is on record", hint="coconut run list shows the last ones")
    if not run.request:
        raise InvalidInput(f"the record of run {run.number} does not say what was asked for")
    if run.request.startswith(SCRIPT):
        raise InvalidInput(f"the workflow of run {run.number} was written in a script, which has to bring it again")


def request_of(run: RunInfo) -> str:
    """Return the expression that names the workflow of a run at its commit."""
    name = run.request.partition("@")[0]
    return f"{name}@{run.revision}" if run.revision and run.revision != "local" else name


@attrs.define
class Differences:
    """What can't be the same: role path, or what else it is about, to how it differs."""

    found: dict[str, str] = attrs.field(factory=dict)

    def add(self, path: str, text: str) -> None:
        """Note a difference."""
        self.found.setdefault(path, text)

    def __bool__(self) -> bool:
        return bool(self.found)

    def text(self, *, quoting: bool = True) -> str:
        """Return all of them in few words: equal ones are one. With `quoting` errors are told in their own words."""
        kinds: dict[str, list[str]] = {}
        for path, text in self.found.items():
            kinds.setdefault(text.partition(": ")[0], []).append(path)
        told = []
        for kind, paths in list(kinds.items())[:SHOWN]:
            if len(paths) == 1:
                told.append(f"{paths[0]}: {self.found[paths[0]] if quoting else kind}")
            else:
                some = ", ".join(paths[:NAMED]) + (", …" if len(paths) > NAMED else "")
                told.append(f"{len(paths)} tasks: {kind} ({some})")
        more = len(kinds) - len(told)
        return "; ".join(told) + (f"; and {more} others" if more else "")


@attrs.define
class _Comparison:
    run: RunInfo
    rest: list[Task] = attrs.field(factory=list)
    found: Differences = attrs.field(factory=Differences)


Done = Callable[[Environment, Differences, bool], None]
"""Is called with the environment, what differs, and whether it can be made all the same."""


def begin(env: Environment, ctx: Context, run: RunInfo, done: Done) -> None:
    """Place the tasks of an expanded environment where those of `run` were, and compare. `done` gets what differs."""
    workflow = env.workflow
    assert workflow is not None
    comparison = _Comparison(run)
    found = comparison.found
    if workflow.revision != run.revision:
        found.add("commit", f"was {run.revision or 'none'} and is {workflow.revision or 'none'}")
    keep = _places(env, run, found)
    ids = {index: f"{env.id}t{index}" for index in runnable(workflow)}
    try:
        placed = place(workflow, ctx.offers(), ids, keep)
    except Unplaceable as error:
        for path, reason in sorted(error.reasons.items()):
            found.add(path, f"can't be placed: {reason}")
        done(env, found, False)
        return
    for one in placed:
        path, was = workflow.roles[one.role].path, keep.get(one.role)
        if was is not None and one.node != was:
            found.add(path, f"was on node {was} and would be on {one.node}")
    env.cast.set_placed(placed)
    comparison.rest = [task for task in env.cast.runners() if task.mode is not Mode.BASIC][::-1]
    ctx.defer(partial(_go_on, env, ctx, comparison, done))


def _places(env: Environment, run: RunInfo, found: Differences) -> dict[int, str]:
    workflow = env.workflow
    assert workflow is not None
    keep: dict[int, str] = {}
    paths: Mapping[str, str] = run.placement
    for index in runnable(workflow):
        path = workflow.roles[index].path
        if path in paths:
            keep[index] = paths[path]
        elif paths:
            found.add(path, "was not there")
    here = {workflow.roles[index].path for index in runnable(workflow)}
    for path in paths:
        if path not in here:
            found.add(path, "is not there any more")
    if not paths:
        found.add("placement", "the record does not say where its tasks were")
    return keep


def _go_on(env: Environment, ctx: Context, comparison: _Comparison, done: Done) -> None:
    if env.record.repeat == 0 or env.plan is not None or env.record.destroying:
        return  # destroyed meanwhile
    for _ in range(min(PORTION, len(comparison.rest))):
        _compare_one(env, comparison, comparison.rest.pop())
    if comparison.rest:
        ctx.defer(partial(_go_on, env, ctx, comparison, done))
        return
    done(env, comparison.found, True)


def _compare_one(env: Environment, comparison: _Comparison, task: Task) -> None:
    was = comparison.run.configuration.get(task.path)
    if was is None:
        return
    try:
        properties = payload.configuration(env, task)
    except EcsError as error:
        comparison.found.add(task.path, f"its configuration can't be made: {error.message}")
        return
    if properties and payload.digest(properties, task.id) != was:
        comparison.found.add(task.path, "its configuration differs")


def keep_placement(env: Environment, ctx: Context) -> None:
    """Write down where the tasks are: the environment is made."""
    ctx.adopt_tasks(env)
    placed = tuple(env.cast.placed.values())
    ctx.emit(Persist(PLACEMENT, env.id, pack_value(PlacementRecord(placed=placed))))
