"""What clients may ask of environments, why they are refused, and what an accepted request sets in motion."""

from __future__ import annotations

from collections.abc import Mapping

from libecs.engine import autostop, reconfigure
from libecs.engine.context import Context
from libecs.engine.effects import Now
from libecs.engine.environment import Environment
from libecs.engine.plan import DESTROY
from libecs.engine.records import EnvironmentRecord
from libecs.errors import Conflict, EcsError, IllegalTransition, NotFound, UsageError
from libecs.fsm import EnvEvent, EnvState, allowed_env, next_env
from libecs.wire.client import Control, Create, Destroy, Finished, Reconfigure

Operation = Create | Control | Destroy | Reconfigure
CONTROLLABLE = (
    EnvEvent.DEPLOY,
    EnvEvent.CONFIGURE,
    EnvEvent.RESET,
    EnvEvent.START_ACTIVITY,
    EnvEvent.STOP_ACTIVITY,
    EnvEvent.RECOVER,
)
"""Events that a client may send. GO_ERROR happens, EXIT is what destroying does."""

_TO_TARGET: Mapping[EnvState, tuple[str, ...]] = {
    EnvState.STANDBY: (),
    EnvState.DEPLOYED: (EnvEvent.DEPLOY.name,),
    EnvState.CONFIGURED: (EnvEvent.DEPLOY.name, EnvEvent.CONFIGURE.name),
    EnvState.RUNNING: (EnvEvent.DEPLOY.name, EnvEvent.CONFIGURE.name, EnvEvent.START_ACTIVITY.name),
}


def refusal(environments: Mapping[str, Environment], message: Operation) -> Finished | None:
    """Return the answer to a request that can't be accepted, None if it can."""
    try:
        _check(environments, message)
    except EcsError as error:
        environment = "" if isinstance(message, Create) else message.environment
        state = environments[environment].state if environment in environments else EnvState.DONE
        return Finished(
            operation=message.operation,
            environment=environment,
            state=state,
            code=error.code,
            message=error.message,
            hint=error.hint,
        )
    return None


def _check(environments: Mapping[str, Environment], message: Operation) -> None:
    if isinstance(message, Create):
        if message.target not in _TO_TARGET:
            names = ", ".join(state.name for state in _TO_TARGET)
            raise UsageError(f"an environment can't be created in {message.target.name} (possible: {names})")
        for name in message.variables:
            if ":" in name:
                raise UsageError(
                    f"{name!r} is no name of a variable",
                    hint="a variable is given to the whole workflow; a role can't be named before the colon",
                )
        return
    env = environments.get(message.environment)
    if env is None:
        known = ", ".join(environments) or "none"
        raise NotFound(f"no environment {message.environment} (there are: {known})")
    if isinstance(message, Destroy):
        _check_destroy(env, message)
        return
    if isinstance(message, Reconfigure):
        _check_idle(env)
        reconfigure.check(env, message)
        return
    event = EnvEvent.__members__.get(message.event)
    if event not in CONTROLLABLE:
        names = ", ".join(one.name for one in CONTROLLABLE)
        raise UsageError(f"{message.event} is no event for an environment (possible: {names})")
    _check_idle(env)
    next_env(env.state, event)
    if event is EnvEvent.START_ACTIVITY:
        autostop.seconds(env)


def _check_idle(env: Environment) -> None:
    if env.busy:
        raise Conflict(
            f"environment {env.id} is busy: {env.plan.event if env.plan else 'loading its workflow'} is going on",
            hint="wait for it to end, or destroy the environment with force",
        )


def _check_destroy(env: Environment, message: Destroy) -> None:
    if env.record.destroying and not message.force:
        raise Conflict(f"environment {env.id} is being destroyed already")
    if env.busy and not message.force:
        raise Conflict(
            f"environment {env.id} is busy: {env.plan.event if env.plan else 'loading its workflow'} is going on",
            hint="wait for it to end, or use force",
        )
    if env.state is EnvState.RUNNING and not (message.force or message.allow_running):
        raise IllegalTransition(
            env.state.name,
            DESTROY,
            (event.name for event in allowed_env(env.state)),
            hint="stop the run first, or allow destroying in RUNNING",
        )


def new_record(environment: str, message: Create, now: Now) -> EnvironmentRecord:
    """Return the record of an environment that was just asked for."""
    return EnvironmentRecord(
        environment=environment,
        name=message.name or message.workflow,
        request=message.workflow,
        variables=message.variables,
        requester=message.requester,
        created_ms=now.unix_ms,
        state=EnvState.STANDBY,
        operation=message.operation,
        agenda=_TO_TARGET[message.target],
    )


def prepare(env: Environment, ctx: Context, message: Control | Destroy | Reconfigure) -> None:
    """Set an accepted request in motion."""
    if isinstance(message, Reconfigure):
        reconfigure.prepare(env, ctx, message)
        return
    if isinstance(message, Control):
        env.update(operation=message.operation, requester=message.requester or env.record.requester)
        if message.event == EnvEvent.START_ACTIVITY.name:
            env.update(run_comment=message.comment)
        if message.end_reason:
            env.update(end_reason=message.end_reason)
        env.begin(ctx, message.event)
        return
    if env.record.operation:
        ctx.finish(env, interrupted(env))
    env.update(operation=message.operation, destroying=True)
    if env.workflow is None:
        env.update(state=EnvState.DONE)
        ctx.event("environment.state", env.id, state=EnvState.DONE.name, text="destroyed before it was loaded")
        ctx.finish(env, Finished(operation="", environment=env.id, state=EnvState.DONE))
        ctx.remove(env)
        return
    env.drop_plan(ctx)
    gentle: tuple[str, ...] = ()
    if not message.force:
        if env.state is EnvState.RUNNING:
            gentle = (EnvEvent.STOP_ACTIVITY.name, EnvEvent.RESET.name)
        elif env.state is EnvState.CONFIGURED:
            gentle = (EnvEvent.RESET.name,)
    agenda = (*gentle, DESTROY)
    env.update(agenda=agenda[1:], end_reason=env.record.end_reason or "DESTROYED")
    env.begin(ctx, agenda[0])


def interrupted(env: Environment) -> Finished:
    """Return the answer to an operation that a forced destruction ends."""
    return Finished(
        operation=env.record.operation,
        environment=env.id,
        state=env.state,
        code="E_CONFLICT",
        message=f"environment {env.id} is destroyed by force while this was going on",
    )
