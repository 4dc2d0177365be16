"""Changing properties of tasks while their environment stays CONFIGURED.

A key is a property of a chosen task's template, or else a variable that the task's role sees; either way the value is
set for that role and stays, for later CONFIGUREs and after a restart of the core too. Only tasks whose configuration
becomes another are touched: `reconfigure: live` ones are told what changed, the others are RESET and configured anew,
each in its process. A basic task has no process between runs: it is held anew, with the command that it shall have.

The comparison is the first step of the plan, cut into portions, and the plan's other steps are what it found. Nothing
is changed before it is over: a text that can't be evaluated any more refuses the request, and the environment is as
it was. When a task refuses later, the environment goes to ERROR as after any transition, and the old values are put
back: RECOVER and CONFIGURE bring it to where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import attrs

from libecs.engine import payload, transits
from libecs.engine import plan as plans
from libecs.engine.context import Context
from libecs.engine.controllable import not_possible
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.plan import RECONFIGURE
from libecs.engine.records import RECONFIGURATION, ReconfigurationRecord
from libecs.engine.task import Task
from libecs.errors import EcsError, InvalidInput
from libecs.fsm import EnvState, Mode
from libecs.globs import matches, role_pattern
from libecs.language.program import suggest
from libecs.language.variables import Overlay
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.wire.codec import pack_value

PORTION = 100
"""Tasks that one `handle` compares."""
SUGGESTED = 1000
"""Names or tasks among which what was meant is looked for."""
COMPARISON = "comparison of configurations"
"""What the first step waits for."""


@attrs.define
class Comparison:
    """What has been found so far."""

    rest: list[Task]
    """Still to be compared, the next one last."""
    overlay: dict[str, Mapping[str, str]]
    properties: dict[str, Mapping[str, str]]
    changed: dict[str, Mapping[str, str]] = attrs.field(factory=dict)
    digests: dict[str, str] = attrs.field(factory=dict)
    live: list[int] = attrs.field(factory=list)
    resets: list[int] = attrs.field(factory=list)
    basics: list[int] = attrs.field(factory=list)


def check(env: Environment, message: client.Reconfigure) -> None:
    """Refuse what can't be done.

    Raises:
        IllegalTransition: the environment is not CONFIGURED.
        UsageError: `tasks` is no pattern.
        InvalidInput: it chooses no task, there are no values, or a key means nothing to any chosen task.
    """
    if env.state is not EnvState.CONFIGURED:
        raise not_possible(env, RECONFIGURE)
    chosen = _chosen(env, message.tasks)
    if not chosen:
        paths = [task.path for _, task in zip(range(SUGGESTED), env.cast.runners(), strict=False)]
        raise InvalidInput(
            f"no task of environment {env.id} matches {message.tasks!r}", hint=suggest(message.tasks, paths)
        )
    if not message.values:
        raise InvalidInput("there is nothing to change: no values are given")
    unknown = [key for key in message.values if not any(_meaning(env, task, key) for task in chosen)]
    if unknown:
        told = unknown[:SUGGESTED]
        text = "; ".join(_complaint(env, chosen, key) for key in told)
        more = f"; and {len(unknown) - len(told)} others" if len(unknown) > len(told) else ""
        raise InvalidInput(text + more, hint=_hint(env, chosen, told))


def _chosen(env: Environment, glob: str) -> list[Task]:
    pattern = role_pattern(glob)
    return [task for task in env.cast.runners() if matches(pattern, task.path)]


def _meaning(env: Environment, task: Task, key: str) -> str:
    """Return what a key is to a task: "property", "variable" or nothing."""
    _, launcher = env.expanded
    task_class = env.cast.task_class(task.role)
    if task.mode is not Mode.BASIC and key in task_class.properties:
        return "property"
    seen = key in task_class.vars or key in task_class.defaults or launcher.stack(task.role).get(key) is not None
    return "variable" if seen else ""


def _complaint(env: Environment, chosen: Iterable[Task], key: str) -> str:
    if any(key in payload.channel_properties(env, task) for task in chosen):
        return f"{key!r} comes from the channels of a task and can't be changed while it is configured"
    return f"{key!r} is neither a property nor a variable of the chosen tasks"


def _hint(env: Environment, chosen: Iterable[Task], unknown: Iterable[str]) -> str:
    _, launcher = env.expanded
    known: set[str] = set()
    classes = {id(one): one for one in (env.cast.task_class(task.role) for task in chosen)}
    for one in classes.values():
        known.update(one.properties, one.vars, one.defaults)
    for _, task in zip(range(SUGGESTED), chosen, strict=False):
        known.update(launcher.stack(task.role).consolidated())
    return next((hint for key in unknown if (hint := suggest(key, known))), "")


def prepare(env: Environment, ctx: Context, message: client.Reconfigure) -> None:
    """Set an accepted request in motion."""
    env.update(operation=message.operation, requester=message.requester or env.record.requester)
    _keep(env, ctx, ReconfigurationRecord(values=message.values, tasks=message.tasks))
    env.begin(ctx, RECONFIGURE)


def _keep(env: Environment, ctx: Context, record: ReconfigurationRecord | None) -> None:
    env.reconfiguration = record
    ctx.emit(Persist(RECONFIGURATION, env.id, None if record is None else pack_value(record)))


# the first step


def compare(env: Environment, ctx: Context) -> None:
    """Find the tasks that become different."""
    assert env.reconfiguration is not None
    comparison = Comparison(
        rest=_chosen(env, env.reconfiguration.tasks)[::-1],
        overlay=dict(env.record.overlay),
        properties=dict(env.record.properties),
    )
    env.waiting.add(COMPARISON)
    ctx.defer(partial(_go_on, env, ctx, comparison, env.command_id))


def _go_on(env: Environment, ctx: Context, comparison: Comparison, id: str) -> None:
    if env.command_id != id or COMPARISON not in env.waiting:
        return
    try:
        for _ in range(min(PORTION, len(comparison.rest))):
            _compare_one(env, comparison, comparison.rest.pop())
    except EcsError as error:
        _refuse(env, ctx, error)
        return
    if comparison.rest:
        ctx.defer(partial(_go_on, env, ctx, comparison, id))
        return
    _apply(env, ctx, comparison)
    env.waiting.discard(COMPARISON)
    env.advance(ctx)


def _compare_one(env: Environment, comparison: Comparison, task: Task) -> None:
    assert env.reconfiguration is not None
    values = env.reconfiguration.values
    meanings = {key: _meaning(env, task, key) for key in values}
    variables = {key: values[key] for key, meaning in meanings.items() if meaning == "variable"}
    properties = {key: values[key] for key, meaning in meanings.items() if meaning == "property"}
    if not variables and not properties:
        return
    path = task.path
    overlay: Overlay = env.record.overlay
    table = {**overlay.get(path, {}), **variables}
    overrides = {**env.record.properties.get(path, {}), **properties}
    then = {**_inherited(env, task, overlay), path: table}
    if variables:
        comparison.overlay[path] = table
    if properties:
        comparison.properties[path] = overrides
    if task.dead:
        return
    if task.mode is Mode.BASIC:
        if payload.command(env, task.role, task.id) != payload.command(env, task.role, task.id, then):
            comparison.basics.append(task.role)
        return
    before = payload.configuration(env, task)
    after = payload.configuration(env, task, then, overrides)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    if not changed:
        return
    if env.cast.task_class(task.role).reconfigure == "live" and task.mode is Mode.DIRECT:
        comparison.live.append(task.role)
        comparison.changed[path] = changed
        comparison.digests[path] = payload.digest(after, task.id)
    else:
        comparison.resets.append(task.role)


def _inherited(env: Environment, task: Task, overlay: Overlay) -> dict[str, Mapping[str, str]]:
    """Return what is set at run time on the ancestors of a task."""
    found = {}
    index = env.role(task.role).parent
    while index >= 0:
        role = env.role(index)
        if role.path in overlay:
            found[role.path] = overlay[role.path]
        index = role.parent
    return found


def _refuse(env: Environment, ctx: Context, error: EcsError) -> None:
    """The new values can't be: nothing was sent and nothing has changed."""
    ctx.event("transition.end", env.id, transition=RECONFIGURE, state=env.state.name, ok=False, text=error.message)
    env.drop_plan(ctx)
    env.changed = True
    _keep(env, ctx, None)
    ctx.finish(
        env,
        Finished(
            operation=env.record.operation,
            environment=env.id,
            state=env.state,
            code=error.code,
            message=error.message,
            hint=error.hint,
        ),
    )


def _apply(env: Environment, ctx: Context, comparison: Comparison) -> None:
    """From here on the values are set, until a task refuses: then `Environment.begin` puts the old ones back."""
    assert env.reconfiguration is not None
    assert env.plan is not None
    env.plan = plans.reconfiguration(comparison.live, comparison.basics, comparison.resets)
    record = attrs.evolve(
        env.reconfiguration,
        changed=comparison.changed,
        digests=comparison.digests,
        overlay_before=_before(env.record.overlay, comparison.overlay),
        properties_before=_before(env.record.properties, comparison.properties),
    )
    env.update(overlay=comparison.overlay, properties=comparison.properties)
    _keep(env, ctx, record)


def _before(old: Overlay, new: Overlay) -> dict[str, Mapping[str, str]]:
    return {path: old.get(path, {}) for path, table in new.items() if table is not old.get(path)}


# the last step


def finish(env: Environment, ctx: Context) -> None:
    """All tasks have what they should have."""
    if env.reconfiguration is not None:
        env.configured.update(env.reconfiguration.digests)
        transits.keep_configuration(env, ctx)
    _keep(env, ctx, None)
