"""When a run stops without anybody asking: its time is over, or its data are.

Both are ordinary STOP_ACTIVITYs with a reason of their own. They never send an environment to ERROR because they could
not begin; once begun, they are judged as any other.
"""

from __future__ import annotations

from libecs.engine.context import Context
from libecs.engine.environment import Environment
from libecs.engine.streams import Streams
from libecs.errors import InvalidInput
from libecs.fsm import EnvEvent, EnvState
from libecs.language.duration import parse_duration

ENABLED, TIMEOUT = "auto_stop_enabled", "auto_stop_timeout"
"""Variables of the root role: "true", and a duration."""
TIMER, END_OF_STREAM = "TIMER", "END_OF_STREAM"
"""End reasons."""
TASKS = "TASKS"
"""Who asks for a stop at the end of the stream."""
LONGEST_S = 100 * 365 * 86_400.0
"""Whoever means longer means for ever; the end of the run is on record, where it has to fit."""


def seconds(env: Environment) -> float | None:
    """Return how long a run may last, None for as long as it likes.

    Raises:
        InvalidInput: `auto_stop_timeout` is no duration, or none at all though it is wanted.
    """
    _, launcher = env.expanded
    variables = launcher.variables(0, env.record.overlay)
    if variables.get(ENABLED) != "true":
        return None
    try:
        return min(parse_duration(variables.get(TIMEOUT, "")), LONGEST_S)
    except InvalidInput as error:
        raise InvalidInput(f"{TIMEOUT}: {error.message}", hint=error.hint) from None


def arm(env: Environment, ctx: Context) -> None:
    """The run has started: its time runs. The end is on record, it holds for a later life of the core too."""
    try:
        left_s = seconds(env)
    except InvalidInput as error:  # changed by a hook since the start was accepted
        env.note_failure(env.role(0).path, True, error.message)
        return
    if left_s is not None:
        env.update(auto_stop_ms=ctx.now.unix_ms + int(left_s * 1000))
        watch(env, ctx)


def watch(env: Environment, ctx: Context) -> None:
    """Set the timer for what is on record."""
    env.auto_stop_at = None
    if env.record.auto_stop_ms:
        env.auto_stop_at = ctx.now.mono_s + (env.record.auto_stop_ms - ctx.now.unix_ms) / 1000


def disarm(env: Environment) -> None:
    """The run ends, whoever asked for it."""
    env.auto_stop_at = env.cast.streams = None
    if env.record.auto_stop_ms:
        env.update(auto_stop_ms=0)


def deadline(env: Environment) -> float | None:
    """Return the monotonic seconds at which `consider` will stop the run. A plan that goes on is not disturbed."""
    return env.auto_stop_at if env.state is EnvState.RUNNING and not env.busy else None


def consider(env: Environment, ctx: Context) -> None:
    """Stop the run if it is time."""
    if env.state is not EnvState.RUNNING or env.busy or not env.record.run_number:
        return
    if env.cast.streams is None:
        env.cast.streams = Streams(env.cast.runners())
    if env.auto_stop_at is not None and ctx.now.mono_s >= env.auto_stop_at:
        _stop(env, ctx, TIMER, TIMER)
    elif env.cast.streams.over and not _is_unheard(env, ctx):
        _stop(env, ctx, END_OF_STREAM, TASKS)


def _is_unheard(env: Environment, ctx: Context) -> bool:
    """Whether a node has not told of its tasks since the core began its life: what is not known is not absent."""
    return any(ctx.node_problem(name) for name in {task.node for task in env.cast.runners() if task.as_of < 0})


def _stop(env: Environment, ctx: Context, reason: str, requester: str) -> None:
    disarm(env)
    env.update(requester=requester, end_reason=reason)
    env.begin(ctx, EnvEvent.STOP_ACTIVITY.name)
    env.advance(ctx)
