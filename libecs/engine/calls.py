"""Calls of integrations: started at one moment, awaited at another, perhaps in another transition.

What was started is on record until it is awaited or cancelled. A call that was going on when the core died is
repeated only if its integration says that it may be; else its outcome is unknown, and counts as a failure.
"""

from __future__ import annotations

import attrs

from libecs.engine import payload
from libecs.engine.context import Context
from libecs.engine.effects import CallDone, CancelCall
from libecs.engine.environment import Environment
from libecs.engine.plan import Step, StepKind
from libecs.engine.records import PendingCall
from libecs.errors import EcsError

USUAL_S = 30.0
"""Seconds for a call whose role sets none."""
GRACE_S = 2.0
"""What an integration may be late by before the core gives up on it."""


def start(env: Environment, ctx: Context, step: Step) -> None:
    """Start the calls of a step. One that is still pending from before is given up: nobody can await both."""
    for index in step.roles:
        if index in env.cast.out:
            continue
        role = env.role(index)
        assert role.call is not None
        old = [pending for pending in env.record.pending if pending.role == index]
        for pending in old:
            _cancel(env, ctx, pending)
        call_id = f"{env.command_id}.{index}"
        pending = PendingCall(
            call=call_id,
            role=index,
            function=role.call.func,
            begun_ms=ctx.now.unix_ms,
            timeout_s=role.call.timeout_s or USUAL_S,
        )
        try:
            effect = payload.call(env, index, call_id, step)
        except EcsError as error:
            pending = attrs.evolve(pending, done=True, error=error.message)
        else:
            pending = attrs.evolve(pending, function=effect.function)
            ctx.emit(effect)
            ctx.event(
                "call.begin",
                env.id,
                transition=env.plan.event if env.plan else "",
                moment=effect.moment,
                await_=effect.await_moment,
                role=role.path,
                name=effect.function,
                run_number=env.record.run_number,
            )
        kept = tuple(one for one in env.record.pending if one.role != index)
        env.update(pending=(*kept, pending))


def wait_for(env: Environment, ctx: Context, step: Step) -> None:
    """Wait for those calls of a step that were started and have not ended."""
    longest = 0.0
    for pending in env.record.pending:
        if pending.role in step.roles and not pending.done:
            env.waiting.add(pending.call)
            begun = max(ctx.now.unix_ms - pending.begun_ms, 0) / 1000
            longest = max(longest, pending.timeout_s + GRACE_S - begun)
    if env.waiting:
        env.deadline = ctx.now.mono_s + max(longest, 0.0)
        return
    _collect(env, step)


def _collect(env: Environment, step: Step) -> None:
    rest = []
    for pending in env.record.pending:
        if pending.role not in step.roles:
            rest.append(pending)
        elif pending.error:
            role = env.role(pending.role)
            env.note_failure(role.path, role.critical, f"{pending.function}: {pending.error}")
    env.update(pending=tuple(rest))


def end(env: Environment, ctx: Context, done: CallDone) -> bool:
    """Take the end of a call; tell whether it was one of ours. It may be long before its await."""
    pending = next((one for one in env.record.pending if one.call == done.call and not one.done), None)
    if pending is None:
        return False
    role = env.role(pending.role)
    assert role.call is not None
    error = "" if done.ok else (done.error or "failed")
    ended = attrs.evolve(pending, done=True, error=error)
    env.update(pending=tuple(ended if one is pending else one for one in env.record.pending))
    for name, value in done.sets.items():
        env.set_var(name, value)
    if role.call.returns and done.ok:
        env.set_var(role.call.returns, done.value, role.path)
    _tell_end(env, ctx, pending, error)
    env.waiting.discard(done.call)
    step = env.step
    if step is not None and step.kind is StepKind.AWAIT and not env.waiting:
        _collect(env, step)
    return True


def _tell_end(env: Environment, ctx: Context, pending: PendingCall, error: str) -> None:
    ctx.event(
        "call.end",
        env.id,
        role=env.role(pending.role).path,
        name=pending.function,
        ok=not error,
        text=error,
        run_number=env.record.run_number,
    )


def time_out(env: Environment, ctx: Context, name: str) -> None:
    """Give up on a call that does not answer."""
    for pending in env.record.pending:
        if pending.call == name:
            role = env.role(pending.role)
            ctx.emit(CancelCall(name))
            reason = f"{pending.function}: no answer within {pending.timeout_s:g} s"
            env.note_failure(role.path, role.critical, reason)
            _tell_end(env, ctx, pending, reason)
    env.update(pending=tuple(pending for pending in env.record.pending if pending.call != name))


def cancel_all(env: Environment, ctx: Context) -> None:
    """Nobody will await what is still pending."""
    for pending in env.record.pending:
        _cancel(env, ctx, pending)
    env.update(pending=())


def _cancel(env: Environment, ctx: Context, pending: PendingCall) -> None:
    if not pending.done:
        ctx.emit(CancelCall(pending.call))
        _tell_end(env, ctx, pending, "cancelled")


def recover(env: Environment, ctx: Context) -> None:
    """After a restart: a call that was going on is repeated if it may be, else its outcome is unknown."""
    for pending in list(env.record.pending):
        if pending.done:
            continue
        if ctx.idempotent(pending.function):
            moment = env.role(pending.role).call
            step = Step(kind=StepKind.CALLS, moment="", weight=0)
            if moment is not None and moment.trigger is not None:
                step = Step(kind=StepKind.CALLS, moment=moment.trigger.name, weight=moment.trigger.weight)
            ctx.emit(payload.call(env, pending.role, pending.call, step))
        else:
            text = "outcome unknown: the core was restarted while the call was going on"
            end(env, ctx, CallDone(call=pending.call, ok=False, error=text))
