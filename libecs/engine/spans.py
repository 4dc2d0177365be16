"""What was missing in a run, from when to when: the spans of its record.

A role has at most one open span. What may come back ends with it: a task that stalls, that has left the run by itself,
or of which nobody knows because its node is silent. A task that is dead is missing until the end of the run.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from libecs.engine.context import Context
from libecs.engine.environment import Environment
from libecs.wire.info import RunCondition, RunInfo, RunSpan

STALLED = "stalled: "
UNKNOWN = "unknown: "
EXCLUDED = "excluded: "
INCONSISTENT = "inconsistent: "
"""How the reasons of spans begin that may end before the run does."""
MAX_SPANS = 1000
"""Spans of one run that are on record; who sees so many does not read more."""


def degrade(env: Environment, ctx: Context, path: str, reason: str) -> None:
    """A part that does not stop the run is missing from now on, until `restore` or the end."""
    if not env.record.run_number:
        return
    run = ctx.run(env.record.run_number)
    spans = _open(env, run)
    if path in spans:
        kind = _kind(run.degraded[spans[path]].reason)
        if kind in ("", _kind(reason)):
            return  # dead is dead, and the rest was told again, to a new life of the core
        restore(env, ctx, path, kind)
        run = ctx.run(env.record.run_number)
    condition = RunCondition.DEGRADED if run.condition is RunCondition.UNDEFINED else run.condition
    degraded = run.degraded
    if len(degraded) < MAX_SPANS:
        spans[path] = len(degraded)
        degraded = (*degraded, RunSpan(start_ms=ctx.now.unix_ms, end_ms=0, role=path, reason=reason))
    if degraded is not run.degraded or condition is not run.condition:
        ctx.save_run(attrs.evolve(run, condition=condition, degraded=degraded))


def restore(env: Environment, ctx: Context, path: str, kind: str) -> None:
    """A part that was missing is back, if that is why it was missing."""
    if not is_open(env, ctx, path, kind):
        return
    run = ctx.run(env.record.run_number)
    number = _open(env, run).pop(path)
    spans = list(run.degraded)
    spans[number] = attrs.evolve(spans[number], end_ms=ctx.now.unix_ms)
    ctx.save_run(attrs.evolve(run, degraded=tuple(spans)))


def exclude(env: Environment, ctx: Context, path: str, reason: str) -> None:
    """A role is taken out of the run, whatever was missing of it before. One that is dead was missing already."""
    _close(env, ctx, lambda other: other.startswith(f"{path}."))
    degrade(env, ctx, path, reason)


def include(env: Environment, ctx: Context, path: str) -> None:
    """A role is in the run again."""
    _close(env, ctx, lambda other: other == path)


def _close(env: Environment, ctx: Context, wanted: Callable[[str], bool]) -> None:
    if not env.record.run_number:
        return
    run = ctx.run(env.record.run_number)
    spans = _open(env, run)
    over = [path for path in spans if wanted(path)]
    if over:
        degraded = list(run.degraded)
        for path in over:
            number = spans.pop(path)
            degraded[number] = attrs.evolve(degraded[number], end_ms=ctx.now.unix_ms)
        ctx.save_run(attrs.evolve(run, degraded=tuple(degraded)))


def is_open(env: Environment, ctx: Context, path: str, kind: str) -> bool:
    """Whether the record of the run says that a part is missing now for this reason."""
    if not env.record.run_number:
        return False
    run = ctx.run(env.record.run_number)
    number = _open(env, run).get(path)
    return number is not None and _kind(run.degraded[number].reason) == kind


def open_of(env: Environment, ctx: Context, kind: str) -> set[str]:
    """Return the paths of the parts that are missing now for this reason."""
    if not env.record.run_number:
        return set()
    run = ctx.run(env.record.run_number)
    return {path for path, number in _open(env, run).items() if _kind(run.degraded[number].reason) == kind}


def _kind(reason: str) -> str:
    return next((kind for kind in (STALLED, UNKNOWN, EXCLUDED, INCONSISTENT) if reason.startswith(kind)), "")


def _open(env: Environment, run: RunInfo) -> dict[str, int]:
    """Return the open spans; after a restart they are those of the record that have no end."""
    if env.spans is None:
        env.spans = {span.role: number for number, span in enumerate(run.degraded) if not span.end_ms}
    return env.spans
