"""How tasks come to be: placed on nodes, launched, and given a new life when the environment recovers."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from libecs.engine import payload
from libecs.engine.context import Context
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.placement import NodeOffer, Placed, place, runnable
from libecs.engine.plan import Step
from libecs.engine.records import PLACEMENT, PlacementRecord
from libecs.engine.task import Task
from libecs.engine.telling import Telling
from libecs.errors import EcsError, Unplaceable
from libecs.fsm import Mode, TaskState
from libecs.wire import node
from libecs.wire.codec import pack_value
from libecs.wire.node import Phase

DEPLOY_S = 90.0
"""Seconds for the launch of all tasks, where `deploy_timeout` says nothing."""
GRACE_S = 2.0
"""What an executor may be late by before the core gives up on it."""
NODES_S = 10.0
"""Seconds that RECOVER waits for nodes that have not told what they hold."""
NODE = "node "
"""What a step waits for besides tasks, hooks and calls."""


def place_all(env: Environment, ctx: Context, step: Step) -> None:
    """Choose nodes and addresses for all tasks, once."""
    workflow = env.workflow
    assert workflow is not None
    if env.placed:
        return
    ids = {index: f"{env.id}t{index}" for index in runnable(workflow)}
    try:
        _set_placed(env, ctx, place(workflow, ctx.offers(), ids))
    except Unplaceable as error:
        for path, reason in error.reasons.items():
            env.note_failure(path, True, reason)


def _set_placed(env: Environment, ctx: Context, placed: tuple[Placed, ...]) -> None:
    env.set_placed(placed)
    ctx.adopt_tasks(env)
    ctx.emit(Persist(PLACEMENT, env.id, pack_value(PlacementRecord(placed=placed))))


def launch(env: Environment, ctx: Context, step: Step) -> None:
    """Launch the tasks of a step, or all, that are not launched, and wait until they are ready.

    `deploy_timeout` says how long that may take; without it no task is given up before its own time is over.
    """
    assert env.workflow is not None
    roles = set(step.roles)
    for task in env.runners():
        if roles and task.role not in roles:
            continue
        judge(env, task, first=True)
    if env.waiting:
        longest = max(payload.start_s(env, env.tasks[name]) for name in env.waiting) + GRACE_S
        env.wait(ctx.now, payload.duration(env, "deploy_timeout", max(DEPLOY_S, longest)))
        send(env, ctx)


def judge(env: Environment, task: Task, first: bool = False) -> None:
    """Tell the launching of one task as finished, failed, or still to be waited for."""
    if task.phase is Phase.ACTIVE and task.state is TaskState.STANDBY:
        env.waiting.discard(task.id)
    elif task.phase is Phase.EXITED or task.state is TaskState.ERROR:
        env.waiting.discard(task.id)
        env.note_failure(task.path, task.critical, task.why())
    elif first:
        env.waiting.add(task.id)


def send(env: Environment, ctx: Context, only: str = "") -> None:
    """Tell nodes, or one of them, of the tasks of which they have not spoken yet."""
    telling = env.telling
    assert telling is not None
    for name in (only,) if only else sorted(env.by_node):
        if not telling.is_due(name, ctx.now.mono_s):
            continue
        tasks = [task for task in env.by_node.get(name, ()) if task.id in env.waiting and task.as_of < 0]
        if tasks:
            telling.queued(name)
            ctx.defer(_launch_node(env, ctx, name, tasks, telling))


def _launch_node(env: Environment, ctx: Context, name: str, tasks: list[Task], telling: Telling) -> Callable[[], None]:
    def send_one() -> None:
        if env.telling is not telling:
            return  # the step is over
        telling.sent(name, ctx.now.mono_s)
        specs = []
        for task in tasks:
            if task.id not in env.waiting or task.as_of >= 0:
                continue
            try:
                specs.append(payload.spec(env, task.role, task.id))
            except EcsError as error:
                env.waiting.discard(task.id)
                env.note_failure(task.path, task.critical, error.message)
        chunk = tuple(specs)
        if chunk:
            ctx.send_node(name, lambda session, epoch: node.Launch(session=session, epoch=epoch, tasks=chunk))
        env.advance(ctx)

    return send_one


def await_nodes(env: Environment, ctx: Context) -> None:
    """Before judging tasks, hear of them: what is not known is not dead. A node that stays away is not waited for."""
    for name in {task.node for task in env.runners()}:
        if ctx.node_problem(name):
            env.waiting.add(f"{NODE}{name}")
    if env.waiting:
        env.deadline = ctx.now.mono_s + NODES_S


def node_announced(env: Environment, name: str) -> None:
    """A node has told what it holds."""
    step = env.step
    if step is not None and step.action == "await_nodes":
        env.waiting.discard(f"{NODE}{name}")


def revive(env: Environment, ctx: Context) -> None:
    """Give dead tasks a new life on their node, and end those that can't be taken back otherwise."""
    assert env.workflow is not None
    fresh: dict[int, str] = {}
    kept: list[Placed] = []
    over: list[Task] = []
    for index, placed in sorted(env.placed.items()):
        task = env.by_role[index]
        stuck = task.mode is Mode.FAIRMQ and task.state in (TaskState.ERROR, TaskState.UNKNOWN)
        basic = task.mode is Mode.BASIC and task.state is TaskState.ERROR
        if not task.hook and (task.phase is Phase.EXITED or stuck or basic or task.phase is Phase.SUSPECT):
            fresh[index] = f"{env.id}t{index}r{env.record.plan_number}"
            if fresh[index] == task.id:
                kept.append(placed)  # done before a restart of the core
                del fresh[index]
                continue
            over.append(task)
        else:
            kept.append(placed)
    wanted = {i: f"{env.id}t{i}" for i in runnable(env.workflow) if i not in env.placed}
    fresh.update({i: f"{name}r{env.record.plan_number}" for i, name in wanted.items()})
    if not fresh:
        return
    keep = {i: env.placed[i].node for i in fresh if i in env.placed}
    offers = _with_used(ctx.offers(), kept)
    try:
        placed_now = place(env.workflow, offers, fresh, keep)
    except Unplaceable as error:
        for path, reason in error.reasons.items():
            env.note_failure(path, True, reason)
        return
    for task in over:
        ctx.condemn(task.node, [task.id])
    _set_placed(env, ctx, tuple(sorted((*kept, *placed_now), key=lambda one: one.role)))


def renew(env: Environment, ctx: Context) -> None:
    """Hold basic tasks of a reconfiguration anew, where they are: their commands have become others."""
    assert env.plan is not None
    wanted = set(env.plan.steps[env.record.index].roles)
    placed = []
    for index, one in env.placed.items():
        name = f"{env.id}t{index}r{env.record.plan_number}"
        if index in wanted and one.task != name:
            ctx.condemn(one.node, [one.task])
            one = attrs.evolve(one, task=name)
        placed.append(one)
    _set_placed(env, ctx, tuple(placed))


def _with_used(offers: list[NodeOffer], kept: list[Placed]) -> list[NodeOffer]:
    """Offers leave out what living environments use; this one's own tasks that go on are among those already."""
    ports: dict[str, set[int]] = {}
    for one in kept:
        ports.setdefault(one.node, set()).update(one.ports)
    return [attrs.evolve(o, used_ports=o.used_ports | frozenset(ports.get(o.name, ()))) for o in offers]
