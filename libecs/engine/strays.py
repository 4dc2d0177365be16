"""Tasks that leave the state of their environment by themselves: seen, given a moment, told, and judged.

Outside of a transition all tasks of an environment in CONFIGURED or RUNNING are where it is. One that says otherwise,
and that nobody has told to go there, is *inconsistent*. After a short grace (what it says next may explain it: that its
data are at their end, for instance) an event tells so; a critical one takes its environment to ERROR, any other is a
span of degradation in the run's record, which ends when it comes back.

What is not known is no state: who is silent, starts, or is between two states is not judged here. A task that is dead
is no stray either. PAUSED is left by RESUME as by STOP, so a run in which a critical task pauses is degraded, not over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libecs.engine import members, spans
from libecs.engine.context import Context
from libecs.engine.environment import Environment
from libecs.engine.straying import Straying
from libecs.engine.task import Task
from libecs.fsm import EnvState, TaskState

GRACE_S = 0.5
"""Seconds that a task may be elsewhere before that is told."""
WANTED: Mapping[EnvState, TaskState] = {
    EnvState.CONFIGURED: TaskState.CONFIGURED,
    EnvState.RUNNING: TaskState.RUNNING,
}


def consider(env: Environment, ctx: Context) -> None:
    """Look at the tasks that have changed, and judge those whose grace is over."""
    wanted = None if env.busy else WANTED.get(env.state)
    if wanted is None:
        env.cast.strays = None
        return
    if env.cast.strays is None:
        env.cast.strays = _begin(env, ctx, wanted)
    strays = env.cast.strays
    for task in strays.take():
        _look(env, ctx, strays, task)
    if strays.since and ctx.now.mono_s >= min(strays.since.values()) + GRACE_S:
        _judge(env, ctx, strays)


def deadline(env: Environment) -> float | None:
    """Return the monotonic seconds at which `consider` will judge a task, None if there is none to judge."""
    strays = env.cast.strays
    return min(strays.since.values()) + GRACE_S if strays is not None and strays.since else None


def forgive(env: Environment, ctx: Context) -> None:
    """We were stopped, not the tasks: what they have said since waits behind what we hear first."""
    if env.cast.strays is not None:
        env.cast.strays.since = dict.fromkeys(env.cast.strays.since, ctx.now.mono_s)


def _begin(env: Environment, ctx: Context, wanted: TaskState) -> Straying:
    """Nothing goes on any more: see who is where. Who could not follow was told of when that happened."""
    strays = Straying(wanted)
    open_spans = spans.open_of(env, ctx, spans.INCONSISTENT)
    for task in env.cast.runners():
        if not strays.speaks(task) or task.role in env.cast.out:
            continue
        if task.path in open_spans:
            strays.told.add(task.id)
        elif task.id in env.record.unsettled and not strays.is_there(task):
            strays.absent.add(task.id)
        strays.changed(task)
    return strays


def _look(env: Environment, ctx: Context, strays: Straying, task: Task) -> None:
    """A task may have left, or be back."""
    if task.role in env.cast.out or env.cast.tasks.get(task.id) is not task:
        return
    name = task.id
    if strays.is_there(task):
        strays.since.pop(name, None)
        strays.absent.discard(name)
        if name in strays.told:
            strays.told.discard(name)
            spans.restore(env, ctx, task.path, spans.INCONSISTENT)
            _tell(env, ctx, task, f"on node {task.node} is {task.state.name} again", ok=True)
    elif not strays.is_known(task):
        strays.since.pop(name, None)
        if task.lost:
            strays.told.discard(name)  # the record says that now, and is to say the other thing again later
    elif name not in strays.told and name not in strays.absent:
        strays.since.setdefault(name, ctx.now.mono_s)


def _judge(env: Environment, ctx: Context, strays: Straying) -> None:
    due = [env.cast.tasks[name] for name, since in strays.since.items() if ctx.now.mono_s >= since + GRACE_S]
    fatal: dict[str, str] = {}
    lost = {env.cast.tasks[name].role for name in strays.told if name in env.cast.tasks}
    for task in due:
        del strays.since[task.id]
        strays.told.add(task.id)
        text = f"on node {task.node} is {task.state.name} by itself, and its environment is {env.state.name}"
        _tell(env, ctx, task, text, ok=False)
        if task.state is not TaskState.PAUSED and not _is_spared(env, task, lost):
            fatal[task.path] = text
            continue
        lost.add(task.role)
        spans.degrade(env, ctx, task.path, f"{spans.INCONSISTENT}{text}")
    if fatal:
        path, text = next(iter(fatal.items()))
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        env.fail(ctx, f"critical task {path} {text}{more}", fatal)
        env.advance(ctx)


def _is_spared(env: Environment, task: Task, lost: Iterable[int]) -> bool:
    """Return whether an environment goes on without a task, besides those that it lacks already."""
    if not task.critical:
        return True
    workflow, _ = env.expanded
    roles = {role for role in lost if workflow.roles[role].critical} | {task.role}
    if env.cast.has_drop and env.cast.task_class(task.role).on_exit == "drop":
        return not members.short_groups(workflow, env.cast.lost_roles() | roles, env.cast.out)
    return env.cast.tolerates(roles)


def _tell(env: Environment, ctx: Context, task: Task, text: str, *, ok: bool) -> None:
    ctx.event(
        "task.inconsistent",
        env.id,
        role=task.path,
        state=task.state.name,
        ok=ok,
        text=text,
        run_number=env.record.run_number,
    )
