"""How tasks come to be: placed on nodes, launched, and given a new life when the environment recovers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

import attrs

from libecs.engine import payload
from libecs.engine.context import Context
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.placement import IDLE_TASK, NodeOffer, Placed, place, runnable
from libecs.engine.plan import Step, StepKind
from libecs.engine.pool import Idle
from libecs.engine.records import LAUNCHED, PLACEMENT, LaunchedRecord, PlacementRecord
from libecs.engine.task import Task
from libecs.engine.telling import Telling
from libecs.errors import EcsError, Unplaceable
from libecs.fsm import Mode, TaskState
from libecs.wire import node
from libecs.wire.codec import pack_value
from libecs.wire.node import Phase
from libecs.workflow.constraints import unsatisfied
from libecs.workflow.role import Role

DEPLOY_S = 90.0
"""Seconds for the launch of all tasks, where `deploy_timeout` says nothing."""
GRACE_S = 2.0
"""What an executor may be late by before the core gives up on it."""
NODES_S = 10.0
"""Seconds after which a node that has gone is not waited for any more, when tasks are placed or recovered."""
NODE = "node "
"""What a step waits for besides tasks, hooks and calls."""
_NEVER: Mapping[int, Placed] = {}


def place_all(env: Environment, ctx: Context, step: Step) -> None:
    """Choose nodes and addresses for all tasks, once."""
    workflow = env.workflow
    assert workflow is not None
    if env.cast.placed:
        return
    ids = {index: f"{env.id}t{index}" for index in runnable(workflow)}
    placed = find_places(env, ctx, ids)
    if placed is not None:
        settle(env, ctx, placed)


def find_places(
    env: Environment,
    ctx: Context,
    ids: Mapping[int, str],
    *,
    keep: Mapping[int, str] | None = None,
    former: Mapping[int, Placed] = _NEVER,
    offers: list[NodeOffer] | None = None,
) -> tuple[Placed, ...] | None:
    """Choose nodes and addresses for roles; None if that can't be: the present step has failed, or waits for nodes.

    ids: role to the id of its task, if that is not an idle one. keep: roles that stay on their node. former: where
    roles were, and are best again.
    """
    workflow, _ = env.expanded
    indices = {role.path: index for index, role in enumerate(workflow.roles)} if env.cast.has_min else {}
    left_out: dict[str, str] = {}

    def tolerates(reasons: Mapping[str, str]) -> bool:
        left_out.update(reasons)
        return env.cast.has_min and env.cast.tolerates_absence(ids, {indices[path] for path in reasons})

    offers = ctx.offers() if offers is None else offers
    if former:
        offers = [_without_own(offer, former.values()) for offer in offers]
    spare = _Idle(env, ctx, offers).take if ctx.pool.idle else None
    try:
        placed = place(workflow, offers, ids, keep, spare=spare, former=former, tolerates=tolerates)
    except Unplaceable as error:
        if not _awaits_away(env, ctx):
            _cannot_place(env, ctx, error)
        return None
    if left_out and _awaits_away(env, ctx):
        return None
    for path, reason in left_out.items():
        env.note_failure(path, False, reason)
    return _without_taken(env, ctx, placed)


def _awaits_away(env: Environment, ctx: Context) -> bool:
    """Wait for nodes that were here a moment ago, and place again then; False if there are none."""
    until = {name: heard + NODES_S for name, heard in ctx.nodes_away().items() if heard + NODES_S > ctx.now.mono_s}
    if until:
        env.waiting.update(f"{NODE}{name}" for name in until)
        env.deadline = max(until.values())
    return bool(until)


def _cannot_place(env: Environment, ctx: Context, error: Unplaceable) -> None:
    """The present step has failed: say why, and which nodes are not there."""
    away = ctx.nodes_away()
    absent = f"; not connected: {', '.join(sorted(away)[:5])}{', ...' * (len(away) > 5)}" if away else ""
    for path, reason in error.reasons.items():
        env.note_failure(path, True, f"{reason}{absent}")


def _without_own(offer: NodeOffer, former: Iterable[Placed]) -> NodeOffer:
    """The addresses of roles that were taken out are kept for them: for these they are free."""
    own = {port for one in former if one.node == offer.name for port in one.ports}
    return attrs.evolve(offer, used_ports=offer.used_ports - own) if own else offer


class _Idle:
    """The idle tasks that roles of one environment could take: of their class, started with the command that they would
    get. What is taken here is only meant to be, until `settle`.
    """

    def __init__(self, env: Environment, ctx: Context, offers: Iterable[NodeOffer]) -> None:
        self._env = env
        self._ctx = ctx
        self._hosts = {offer.name: offer.host for offer in offers}
        self._classes: dict[str, dict[str, list[Idle]]] = {}
        """Class to node to its idle tasks, the oldest first."""

    def take(self, index: int, usable: Callable[[str], bool], best: str) -> tuple[str, str] | None:
        """Return node and id of an idle task for a role, None if none fits; each is given once."""
        env, role = self._env, self._env.role(index)
        task_class = env.cast.task_class(index)
        if role.task is None or role.task.trigger is not None or task_class.endpoint:
            return None
        by_node = self._of(task_class.name)
        for name in ([best] if best in by_node else []) + [name for name in by_node if name != best]:
            if not usable(name):
                continue
            digest = payload.fresh_digest(env, index, name, self._hosts[name])
            for one in by_node[name]:
                record = one.record
                same = (record.digest, record.mode, record.host) == (digest, int(role.task.mode), self._hosts[name])
                if same and set(task_class.wants.ports) <= set(record.ports):
                    by_node[name].remove(one)
                    if not by_node[name]:
                        del by_node[name]
                    return name, record.task
        return None

    def _of(self, class_name: str) -> dict[str, list[Idle]]:
        by_node = self._classes.get(class_name)
        if by_node is None:
            by_node = self._classes[class_name] = {}
            for one in self._ctx.pool.of_class(class_name):
                if one.record.node in self._hosts:
                    by_node.setdefault(one.record.node, []).append(one)
        return by_node


def settle(env: Environment, ctx: Context, new: tuple[Placed, ...], kept: Iterable[Placed] = ()) -> None:
    """Take over where new tasks are, besides those that stay; idle ones among them are now used."""
    taken = {}
    if ctx.pool.idle:
        taken = ctx.pool.take(ctx, env.id, {one.task: env.role(one.role).path for one in new})
        env.commands.update({name: record.digest for name, record in taken.items()})
    set_placed(env, ctx, tuple(sorted((*kept, *new), key=lambda one: one.role)) if kept else new)
    if taken:
        keep_commands(env, ctx)


def _without_taken(env: Environment, ctx: Context, placed: tuple[Placed, ...]) -> tuple[Placed, ...] | None:
    """Return placed tasks but for those that would attach what somebody has attached already."""
    mine = {one.role: address for one in placed if (address := payload.attached_address(env, one))}
    if not mine:
        return placed
    held: dict[str, str] = {}
    for other in ctx.environments.values():
        for one in other.cast.placed.values():
            if (address := payload.attached_address(other, one)) and one.role not in (mine if other is env else ()):
                path = other.role(one.role).path
                held[address] = f"environment {other.id} ({other.record.name}) as {path} on node {one.node}"
    refused = set()
    for index, address in mine.items():
        role = env.role(index)
        if address in held:
            env.note_failure(role.path, role.critical, f"{address} is attached to {held[address]} already")
            refused.add(index)
        held.setdefault(address, f"this environment as {role.path}")
    if any(critical for critical, _ in env.step_failures.values()):
        return None
    return tuple(one for one in placed if one.role not in refused)


def meets(role: Role, offer: NodeOffer) -> bool:
    """Return whether a node meets the constraints of a role."""
    return not any(unsatisfied(constraint, offer.attributes) for constraint in role.constraints)


def set_placed(env: Environment, ctx: Context, placed: tuple[Placed, ...]) -> None:
    """Take over where tasks are, and write it down."""
    env.cast.set_placed(placed)
    ctx.adopt_tasks(env)
    away = tuple(one for _, one in sorted(env.away.items()))
    ctx.emit(Persist(PLACEMENT, env.id, pack_value(PlacementRecord(placed=placed, away=away))))


def keep_commands(env: Environment, ctx: Context) -> None:
    """Write down with what commands processes were started: that is by what they are used again."""
    digests = {name: digest for name, digest in env.commands.items() if name in env.cast.tasks}
    ctx.emit(Persist(LAUNCHED, env.id, pack_value(LaunchedRecord(digests=digests))))


def launch(env: Environment, ctx: Context, step: Step) -> None:
    """Launch the tasks of a step, or all, that are not launched, and wait until they are ready.

    `deploy_timeout` says how long that may take; without it no task is given up before its own time is over.
    """
    assert env.workflow is not None
    roles = set(step.roles)
    _replace_spent(env, ctx, roles)
    for task in env.cast.runners():
        if roles and task.role not in roles:
            continue
        judge(env, task, first=True)
    if env.waiting:
        longest = max(payload.start_s(env, env.cast.tasks[name]) for name in env.waiting) + GRACE_S
        env.wait(ctx.now, payload.duration(env, "deploy_timeout", max(DEPLOY_S, longest)))
        send(env, ctx)


def _replace_spent(env: Environment, ctx: Context, roles: Set[int]) -> None:
    """Idle tasks that have died between being chosen and being used are nobody's fault: others are launched instead."""
    spent = {
        task.role: task
        for task in env.cast.runners()
        if task.dead and (not roles or task.role in roles) and env.cast.placed[task.role].reason.startswith(IDLE_TASK)
    }
    if not spent:
        return
    placed = []
    for index, one in env.cast.placed.items():
        if index in spent:
            ctx.condemn(one.node, [one.task])
            fresh = f"{env.id}t{index}n{env.record.plan_number}"
            one = attrs.evolve(one, task=fresh, reason=f"as {IDLE_TASK}{one.task}, which has died")
        placed.append(one)
    set_placed(env, ctx, tuple(placed))


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
    for name in (only,) if only else sorted(env.cast.by_node):
        if not telling.is_due(name, ctx.now.mono_s):
            continue
        tasks = [task for task in env.cast.by_node.get(name, ()) if task.id in env.waiting and task.as_of < 0]
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
                spec = payload.spec(env, task.role, task.id)
                specs.append(spec)
                if task.mode in (Mode.DIRECT, Mode.FAIRMQ) and not spec.attached and task.id not in env.commands:
                    env.commands[task.id] = payload.command_digest(env, task.role, spec)
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
    for name in {task.node for task in env.cast.runners()}:
        if ctx.node_problem(name):
            env.waiting.add(f"{NODE}{name}")
    if env.waiting:
        env.deadline = ctx.now.mono_s + NODES_S


def await_late(env: Environment, ctx: Context, nodes: Iterable[str]) -> None:
    """Wait for those of some nodes that have not come back yet since the core was restarted."""
    for name in sorted(nodes):
        if ctx.is_awaited(name):
            env.waiting.add(f"{NODE}{name}")
    if env.waiting:
        env.deadline = ctx.now.mono_s + NODES_S


def node_announced(env: Environment, name: str) -> None:
    """A node has told what it holds."""
    step = env.step
    if step is not None and step.action in ("await_nodes", "await_former"):
        env.waiting.discard(f"{NODE}{name}")
    else:
        place_again(env, name)


def place_again(env: Environment, name: str = "") -> None:
    """A node that placing waits for has come, or all have had their time: `advance` enters the step anew."""
    step = env.step
    if step is None or not (step.kind is StepKind.PLACE or step.action in ("admit", "revive")):
        return
    if not name or f"{NODE}{name}" in env.waiting:
        env.waiting.clear()
        env.entered = False


def revive(env: Environment, ctx: Context) -> None:
    """Give dead tasks a new life on their node, and end those that can't be taken back otherwise."""
    assert env.workflow is not None
    fresh: dict[int, str] = {}
    kept: list[Placed] = []
    over: list[Task] = []
    for index, placed in sorted(env.cast.placed.items()):
        task = env.cast.by_role[index]
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
    wanted = {i: f"{env.id}t{i}" for i in runnable(env.workflow) if i not in env.cast.placed and i not in env.cast.out}
    fresh.update({i: f"{name}r{env.record.plan_number}" for i, name in wanted.items()})
    if not fresh:
        return
    keep = {i: env.cast.placed[i].node for i in fresh if i in env.cast.placed}
    placed_now = find_places(env, ctx, fresh, keep=keep, offers=_with_used(ctx.offers(), kept))
    if placed_now is None:
        return
    for task in over:
        ctx.condemn(task.node, [task.id])
    settle(env, ctx, placed_now, kept)


def renew(env: Environment, ctx: Context) -> None:
    """Hold basic tasks of a reconfiguration anew, where they are: their commands have become others."""
    assert env.plan is not None
    wanted = set(env.plan.steps[env.record.index].roles)
    placed = []
    for index, one in env.cast.placed.items():
        name = f"{env.id}t{index}r{env.record.plan_number}"
        if index in wanted and one.task != name:
            ctx.condemn(one.node, [one.task])
            one = attrs.evolve(one, task=name)
        placed.append(one)
    set_placed(env, ctx, tuple(placed))


def _with_used(offers: list[NodeOffer], kept: list[Placed]) -> list[NodeOffer]:
    """Offers leave out what living environments use; this one's own tasks that go on are among those already."""
    ports: dict[str, set[int]] = {}
    for one in kept:
        ports.setdefault(one.node, set()).update(one.ports)
    return [attrs.evolve(o, used_ports=o.used_ports | frozenset(ports.get(o.name, ()))) for o in offers]
