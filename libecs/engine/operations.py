"""What clients may ask of environments, why they are refused, and what an accepted request sets in motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from libecs.access import Principal, Role
from libecs.engine import autostop, modify, reconfigure, repeat, rules
from libecs.engine.context import Context
from libecs.engine.controllable import CONTROLLABLE, not_possible
from libecs.engine.effects import Now
from libecs.engine.environment import Environment
from libecs.engine.locks import when
from libecs.engine.plan import DESTROY
from libecs.engine.records import EnvironmentRecord, OperationRecord
from libecs.engine.runbook import RunBook
from libecs.errors import Conflict, Denied, InvalidInput, NotFound, UsageError, quoted
from libecs.fsm import EnvEvent, EnvState, allowed_env
from libecs.wire.client import Control, Create, Destroy, Finished, Modify, Reconfigure
from libecs.wire.info import RunInfo

Operation = Create | Control | Destroy | Reconfigure | Modify
MAX_FILES = 1024 * 1024
MAX_NAME = 100
AUTO = (EnvEvent.DEPLOY.name, EnvEvent.CONFIGURE.name, EnvEvent.START_ACTIVITY.name)
"""What an environment does by itself that takes one run."""

_TO_TARGET: Mapping[EnvState, tuple[str, ...]] = {
    EnvState.STANDBY: (),
    EnvState.DEPLOYED: (EnvEvent.DEPLOY.name,),
    EnvState.CONFIGURED: (EnvEvent.DEPLOY.name, EnvEvent.CONFIGURE.name),
    EnvState.RUNNING: (EnvEvent.DEPLOY.name, EnvEvent.CONFIGURE.name, EnvEvent.START_ACTIVITY.name),
}


class Desk(Context, Protocol):
    """What checks need of the core."""

    environments: dict[str, Environment]
    runbook: RunBook

    @property
    def allow_scripts(self) -> bool:
        """Whether operators may bring workflows of their own along."""


Operations = Mapping[str, OperationRecord]
"""Those that are going on, and the last ones that are over."""


def check(desk: Desk, message: Operation, who: Principal, going: Operations) -> None:
    """Refuse what can't be done now. Raises EcsError."""
    if isinstance(message, Create):
        _check_create(desk, message, who)
        return
    env = desk.environments.get(message.environment)
    if env is None:
        known = ", ".join(desk.environments) or "none"
        raise NotFound(f"no environment {message.environment} (there are: {known})")
    if isinstance(message, Destroy):
        _check_destroy(env, message, going)
        return
    if isinstance(message, Reconfigure):
        _check_idle(env, going)
        reconfigure.check(env, message)
        return
    if isinstance(message, Modify):
        _check_idle(env, going)
        modify.check(env, desk, message, who)
        return
    event = EnvEvent.__members__.get(message.event)
    if event not in CONTROLLABLE:
        names = ", ".join(one.name for one in CONTROLLABLE)
        raise UsageError(f"{message.event} is no event for an environment (possible: {names})")
    _check_idle(env, going)
    if event not in allowed_env(env.state):
        raise not_possible(env, event.name)
    if event is EnvEvent.START_ACTIVITY:
        autostop.seconds(env)
        modify.check_start(env)


def _check_create(desk: Desk, message: Create, who: Principal) -> None:
    if message.target not in _TO_TARGET:
        names = ", ".join(state.name for state in _TO_TARGET)
        raise UsageError(f"an environment can't be created in {message.target.name} (possible: {names})")
    if len(message.name) > MAX_NAME or not message.name.isprintable():
        raise UsageError(
            f"{quoted(message.name)} is no name of an environment", hint=f"{MAX_NAME} characters at most, on one line"
        )
    for name in message.variables:
        if ":" in name:
            raise UsageError(
                f"{name!r} is no name of a variable",
                hint="a variable is given to the whole workflow; a role can't be named before the colon",
            )
    if message.files:
        if not (rules.is_owner(who) or who.role is Role.ADMIN or desk.allow_scripts):
            raise Denied(
                f"{rules.described(who)} may not bring workflows along: this core takes them from its repositories",
                hint="put the workflow into a repository, or ask an admin",
            )
        if sum(len(name) + len(text) for name, text in message.files.items()) > MAX_FILES:
            raise InvalidInput(f"the files of a workflow that comes along have at most {MAX_FILES} characters in all")
    if message.repeat:
        repeat.check(desk.runbook, message)


def _busy(env: Environment, going: Operations) -> str:
    """Return what is going on for an environment, by whom and since when."""
    if env.plan is None:
        what, since_ms = "loading its workflow", env.record.created_ms
    else:
        what, since_ms = env.plan.event, env.record.begun_ms
        if env.record.index < len(env.plan.steps):
            what += f" ({env.plan.steps[env.record.index].describe()})"
    record = going.get(env.record.operation or env.record.auto_operation)
    by = (record.requester if record is not None else env.record.requester) or "the owner"
    since_ms = record.begun_ms if record is not None and record.begun_ms else since_ms
    return f"environment {env.id} is busy: {what} is in progress, by {by} since {when(since_ms)}"


def _check_idle(env: Environment, going: Operations) -> None:
    if env.busy:
        raise Conflict(_busy(env, going), hint="wait for it to end, or destroy the environment with force")


def _check_destroy(env: Environment, message: Destroy, going: Operations) -> None:
    if env.record.destroying and not message.force:
        raise Conflict(f"environment {env.id} is being destroyed already; {_busy(env, going)}")
    if env.busy and not message.force:
        raise Conflict(_busy(env, going), hint="wait for it to end, or use force")
    if env.state is EnvState.RUNNING and not (message.force or message.allow_running):
        raise not_possible(env, DESTROY, hint="stop the run first, or allow destroying in RUNNING")


def new_record(
    environment: str, message: Create, who: Principal, now: Now, repeated: RunInfo | None
) -> EnvironmentRecord:
    """Return the record of an environment that was just asked for. `repeated`: the run whose like it shall take."""
    request, variables = message.workflow, message.variables
    if repeated is not None:
        request, variables = repeat.request_of(repeated), repeated.user_variables
    agenda = AUTO if message.auto else _TO_TARGET[message.target]
    return EnvironmentRecord(
        environment=environment,
        name=message.name or request,
        request=request,
        variables=variables,
        requester=message.requester,
        created_ms=now.unix_ms,
        state=EnvState.STANDBY,
        operation="" if message.auto else message.operation,
        auto_operation=message.operation if message.auto else "",
        auto=message.auto,
        agenda=agenda,
        files=message.files,
        scope=None if who.detectors is None else tuple(sorted(who.detectors)),
        repeat=message.repeat,
        repeat_force=message.force,
    )


def prepare(env: Environment, ctx: Context, message: Control | Destroy | Reconfigure | Modify, who: Principal) -> None:
    """Set an accepted request in motion."""
    env.update(scope=None if who.detectors is None else tuple(sorted(who.detectors)))
    if isinstance(message, Modify):
        modify.prepare(env, ctx, message)
        return
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
    env.update(operation=message.operation, destroying=True, keep_tasks=message.keep_tasks)
    if env.workflow is None or env.record.repeat:
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
