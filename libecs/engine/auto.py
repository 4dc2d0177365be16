"""Environments that take one run by themselves and end: made, configured, started; at the end of the run, however it
came, reset and destroyed; in ERROR destroyed by force.

Nobody waits in between: whenever such an environment is at rest it is looked at, so that it goes on after a restart of
the core, or after somebody has stopped its run by hand, as if nothing had been.
"""

from __future__ import annotations

import attrs

from libecs.engine.context import Context
from libecs.engine.environment import Environment
from libecs.engine.plan import DESTROY
from libecs.fsm import EnvEvent, EnvState
from libecs.wire.client import Finished
from libecs.wire.info import RunCondition

AUTO = "AUTO"
"""Who ends such an environment."""


def consider(env: Environment, ctx: Context) -> None:
    """Do the next thing if the environment is at rest."""
    record = env.record
    if not record.auto or env.busy or record.destroying or env.state in (EnvState.RUNNING, EnvState.DONE):
        return
    if record.repeat:
        return  # it is being compared
    agenda = (EnvEvent.RESET.name, DESTROY) if env.state is EnvState.CONFIGURED else (DESTROY,)
    env.update(destroying=True, requester=AUTO, agenda=agenda[1:])
    env.begin(ctx, agenda[0])
    env.advance(ctx)


def answer(env: Environment, ctx: Context, said: Finished | None) -> Finished:
    """Return the answer to who asked for an environment that is gone now. `said`: the failure that ended it."""
    record = env.record
    number = record.last_run_number
    base = Finished(operation="", environment=env.id, state=EnvState.DONE, run_number=number)
    if said is not None and said.code:
        return attrs.evolve(said, operation="", run_number=number, state=EnvState.DONE)
    if number and ctx.run(number).condition is not RunCondition.FAILED:
        return base
    cause = record.cause or (ctx.run(number).cause if number else "")
    if cause or number:
        text = f"run {number} of environment {env.id} failed" if number else f"environment {env.id} took no run"
        return attrs.evolve(base, code="E_RUN", message=text, cause=cause, failures=record.error_failures)
    text = f"environment {env.id} was destroyed before it took its run"
    return attrs.evolve(base, code="E_CONFLICT", message=text)
