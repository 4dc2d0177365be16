"""The book of runs: numbers, the four times of a run, how it was and why it ended.

A run begins when its number is taken, before any task is told (SOR), and ends when its environment has left RUNNING
(EOR). The times are variables of the root role too, where hooks see them: a hook at before_START_ACTIVITY-1 does not
see run_start_time_ms, one at +0 does.
"""

from __future__ import annotations

from typing import Any

import attrs

from libecs.engine import autostop
from libecs.engine.context import Context
from libecs.engine.environment import Environment
from libecs.fsm import EnvEvent
from libecs.wire.info import RunCondition, RunInfo

RUN_DIR = "run_dir"
CLEANUP_COUNT = "__fmq_cleanup_count"
_RUN_TIMES = ("run_start_completion_time_ms", "run_end_time_ms", "run_end_completion_time_ms")


def begin(env: Environment, ctx: Context, number: int) -> None:
    """SOR: the run has its number and its start time, the three other times are empty."""
    assert env.workflow is not None
    now = str(ctx.now.unix_ms)
    env.set_var("run_number", str(number))
    env.set_var("runNumber", str(number))
    env.set_var("run_start_time_ms", now)
    for name in _RUN_TIMES:
        env.set_var(name, "")
    if env.var(CLEANUP_COUNT) is None:
        env.set_var(CLEANUP_COUNT, "0")
    for name in ("lhc_period", "pdp_n_hbf_per_tf"):
        if name in env.workflow.base_vars:
            env.set_var(name, env.workflow.base_vars[name])
    env.update(run_number=number)
    env.spans = {}
    folder = env.run_folder
    if folder:
        env.set_var(RUN_DIR, folder)
    ctx.save_run(
        RunInfo(
            number=number,
            environment=env.id,
            workflow=env.workflow.name,
            revision=env.workflow.revision,
            requester=env.record.requester,
            start_ms=ctx.now.unix_ms,
            comment=env.record.run_comment,
            variables=_variables(env),
            folder=folder,
            request=env.record.request,
            user_variables=env.record.variables,
            excluded=env.record.excluded,
            detectors=ctx.detectors(env),
            nodes=tuple(sorted({placed.node for placed in env.cast.placed.values()})),
        )
    )
    ctx.run_began(env, number)
    ctx.event("run.start", env.id, run_number=number, state=env.state.name, transition=EnvEvent.START_ACTIVITY.name)


def starts(env: Environment) -> int:
    """Return how many runs the environment has started before. Hooks may set it: what is no number is 0."""
    text = env.var(CLEANUP_COUNT) or ""
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def start_completed(env: Environment, ctx: Context) -> None:
    """EOSOR."""
    env.set_var(CLEANUP_COUNT, str(starts(env) + 1))
    env.set_var("run_start_completion_time_ms", str(ctx.now.unix_ms))
    _change(env, ctx, start_completion_ms=ctx.now.unix_ms, variables=_variables(env))
    autostop.arm(env, ctx)


def end(env: Environment, ctx: Context) -> None:
    """SOEOR, once a run."""
    autostop.disarm(env)
    if env.record.run_number and env.var("run_end_time_ms") == "":
        env.set_var("run_end_time_ms", str(ctx.now.unix_ms))
        _change(env, ctx, end_ms=ctx.now.unix_ms)


def end_completed(env: Environment, ctx: Context) -> None:
    """EOEOR, once a run."""
    if env.record.run_number and env.var("run_end_completion_time_ms") == "":
        env.set_var("run_end_completion_time_ms", str(ctx.now.unix_ms))
        _change(env, ctx, end_completion_ms=ctx.now.unix_ms)


def forget(env: Environment, ctx: Context) -> None:
    """The run is over: judge it, tell everybody, and take its number away from the environment."""
    number = env.record.run_number
    if not number:
        return
    failed = env.plan is not None and env.plan.event == EnvEvent.GO_ERROR.name
    run = ctx.run(number)
    condition = run.condition
    if failed:
        condition = RunCondition.FAILED
    elif condition is RunCondition.UNDEFINED:
        condition = RunCondition.GOOD
    reason = env.record.end_reason or ("ERROR" if failed else "STOPPED")
    if failed:
        reason = "ERROR"
    _change(env, ctx, condition=condition, end_reason=reason, cause=env.record.cause if failed else "")
    ctx.run_ended(env, number)
    for name in ("run_number", "runNumber", RUN_DIR):
        if env.var(name) is not None:
            env.set_var(name, None)
    env.spans = None
    env.update(run_number=0, last_run_number=number, run_comment="", end_reason="")
    ctx.event(
        "run.end",
        env.id,
        run_number=number,
        state=env.state.name,
        transition=env.plan.event if env.plan else "",
        text=reason,
        ok=condition is RunCondition.GOOD,
    )


def end_at_teardown(env: Environment, ctx: Context) -> None:
    """The environment is destroyed while its run goes on."""
    if env.record.run_number:
        end(env, ctx)
        end_completed(env, ctx)
        env.update(end_reason=env.record.end_reason or "DESTROYED")
        forget(env, ctx)


def _variables(env: Environment) -> dict[str, str]:
    """Return what the workflow's own texts see, at the root."""
    _, launcher = env.expanded
    return launcher.variables(0, env.record.overlay)


def _change(env: Environment, ctx: Context, **fields: Any) -> None:
    run = ctx.run(env.record.run_number)
    ctx.save_run(attrs.evolve(run, **fields))
