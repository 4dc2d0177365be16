"""Taking roles out of an environment that is CONFIGURED or RUNNING, and putting them back, without touching others.

What is taken out counts for nothing from the moment that this is accepted. It is stopped and reset, as far as it can
be, and released: to the idle pool, or, if it is no use there, it is ended. From then on `excluded` is on record, and
no plan, merge or channel knows these roles. What is put back is placed (where it was, if that can be), launched,
configured and, in RUNNING, started; only then it counts again. The plan, its index and what it changes are on record
before anything is sent: a core that was killed goes on where it was.

A failure of what is put back takes the environment nowhere: it is let go, and stays excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import partial

import attrs

from libecs.access import Principal
from libecs.engine import launching, members, spans, transits
from libecs.engine import plan as plans
from libecs.engine.context import Context
from libecs.engine.controllable import not_possible
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.pool import class_key
from libecs.engine.records import MODIFICATION, ModificationRecord
from libecs.engine.task import Task
from libecs.errors import Conflict, InvalidInput, NotFound, quoted
from libecs.fsm import EnvState, Status, TaskState
from libecs.globs import matches, role_pattern
from libecs.language.program import suggest
from libecs.wire import client
from libecs.wire.codec import pack_value
from libecs.workflow.role import RoleKind, Workflow

TAKE_S = 120.0
"""Seconds that another environment has to give up tasks."""
RELEASE = "release of tasks"
"""What a step waits for that takes from another environment."""
STATES = (EnvState.CONFIGURED, EnvState.RUNNING)


# what is asked for


def check(env: Environment, ctx: Context, message: client.Modify, who: Principal | None = None) -> None:
    """Refuse what can't be done. `who` asks; None = who asked for what goes on.

    Raises:
        IllegalTransition: the environment is neither CONFIGURED nor RUNNING.
        UsageError: a name is no pattern.
        InvalidInput: a pattern or node chooses nothing, nothing would be left, or too little for a `min`.
        NotFound: `take_from` is no environment.
        Conflict: it is busy, or a detector of what is put back is held elsewhere.
    """
    _resolve(env, ctx, message, who)


def prepare(env: Environment, ctx: Context, message: client.Modify) -> None:
    """Set an accepted request in motion."""
    env.update(operation=message.operation, requester=message.requester or env.record.requester)
    _begin(env, ctx, _resolve(env, ctx, message))


def _begin(env: Environment, ctx: Context, record: ModificationRecord) -> None:
    env.set_out(record)
    _keep(env, ctx, record)
    env.begin(ctx, plans.MODIFY)


def _keep(env: Environment, ctx: Context, record: ModificationRecord | None) -> None:
    env.set_out(record)
    ctx.emit(Persist(MODIFICATION, env.id, None if record is None else pack_value(record)))


def _resolve(
    env: Environment, ctx: Context, message: client.Modify, who: Principal | None = None
) -> ModificationRecord:
    if env.state not in STATES:
        raise not_possible(env, plans.MODIFY)
    workflow, _ = env.expanded
    away = _excluded(env)
    here = set(members.runners(workflow)) - away
    leaving = _named(env, message.exclude, here, "exclude") | _on_nodes(env, message.exclude_nodes, here, "exclude")
    joining = _named(env, message.include, away, "include") | _on_nodes(env, message.include_nodes, away, "include")
    if not leaving and not joining:
        raise InvalidInput("there is nothing to modify: name roles or nodes to include or to exclude")
    if not here - leaving:
        raise InvalidInput(
            "nothing would be left of the environment",
            hint=f"stop it or destroy it instead (environment {env.id})",
        )
    _check_min(env, workflow, away, leaving)
    if message.take_from and not joining:
        raise InvalidInput("take_from says where included roles get their tasks from; nothing is included")
    after = members.topmost(workflow, (away | leaving) - joining)
    if joining and (problem := ctx.detectors_problem(env, after, message.requester, who)):
        raise problem
    taken = _taken(env, ctx, joining, message.take_from) if message.take_from else ()
    return ModificationRecord(
        leaving=tuple(sorted(leaving)),
        joining=tuple(sorted(joining)),
        requester=message.requester,
        take_from=message.take_from,
        taken=taken,
    )


def check_start(env: Environment) -> None:
    """Refuse a run for which a group has too few members. Raises InvalidInput."""
    if not env.cast.has_min:
        return
    workflow, _ = env.expanded
    lost = env.cast.lost_roles().union(task.role for task in env.cast.runners() if task.critical and task.lost)
    for index, whole in members.short_groups(workflow, lost | env.cast.out, set()).items():
        role = workflow.roles[index]
        if index not in env.cast.out:
            raise InvalidInput(
                f"{role.path} needs {role.min} whole members and has {whole}",
                hint="coconut role query shows what is missing; mend it, or RESET and recover",
            )


def _excluded(env: Environment) -> set[int]:
    """Return the tasks that are excluded."""
    workflow, _ = env.expanded
    out = members.outside(workflow, env.record.excluded)
    return {index for index in out if members.is_runner(workflow.roles[index])}


def _named(env: Environment, globs: Iterable[str], among: Set[int], verb: str) -> set[int]:
    """Return those of some tasks that stand at or below the roles that patterns choose. The root is none of them."""
    workflow, _ = env.expanded
    found: set[int] = set()
    for glob in globs:
        pattern = role_pattern(glob)
        chosen = {
            index
            for index, role in enumerate(workflow.roles)
            if index and role.kind is not RoleKind.CALL and matches(pattern, role.path)
        }
        if not chosen:
            if matches(pattern, workflow.roles[0].path):
                raise InvalidInput(f"{quoted(glob)} is the whole environment {env.id}", hint="name roles below it")
            paths = [role.path for role in workflow.roles[1:1000] if role.kind is not RoleKind.CALL]
            raise InvalidInput(f"no role of environment {env.id} matches {quoted(glob)}", hint=suggest(glob, paths))
        inside = members.at_or_below(workflow, chosen)
        tasks = {index for index in inside if members.is_runner(workflow.roles[index])}
        if not tasks:
            raise InvalidInput(f"{quoted(glob)} stands for no task, so there is nothing to {verb}")
        if not tasks & among:
            state = "excluded already" if verb == "exclude" else "not excluded"
            raise InvalidInput(f"{quoted(glob)} is {state}", hint=_present(env))
        found |= tasks & among
    return found


def _on_nodes(env: Environment, nodes: Iterable[str], among: Set[int], verb: str) -> set[int]:
    found: set[int] = set()
    places = {**env.away, **env.cast.placed}
    for name in nodes:
        tasks = {index for index in among if index in places and places[index].node == name}
        if not tasks:
            known = sorted({places[index].node for index in among if index in places})
            raise InvalidInput(
                f"environment {env.id} has no task on node {quoted(name)} to {verb}",
                hint=suggest(name, known) or _present(env),
            )
        found |= tasks
    return found


def _present(env: Environment) -> str:
    return f"excluded now: {', '.join(env.record.excluded) or 'nothing'}"


def _check_min(env: Environment, workflow: Workflow, away: Set[int], leaving: Set[int]) -> None:
    """Refuse what leaves a group fewer whole members than it needs. A member is whole with all its critical tasks."""
    if not env.cast.has_min or not leaving:
        return
    gone = members.topmost(workflow, away | leaving)
    out = members.outside(workflow, gone)
    dead = env.cast.lost_roles()

    def short(tasks: Set[int], roles: Set[int]) -> dict[int, int]:
        return members.short_groups(
            workflow, dead.union(roles, (i for i in tasks if workflow.roles[i].critical)), set()
        )

    before = short(away, members.outside(workflow, env.record.excluded))
    after = short(away | leaving, out)
    for index, whole in after.items():
        role = workflow.roles[index]
        if index in out or before.get(index) == whole:
            continue
        raise InvalidInput(
            f"{role.path} needs {role.min} whole members, {whole} would be left",
            hint="include others first, or exclude the whole group",
        )


# tasks of another environment


def _taken(env: Environment, ctx: Context, joining: Iterable[int], name: str) -> tuple[int, ...]:
    """Return the tasks that another environment gives up: of the same classes, on nodes that will do."""
    other = ctx.environments.get(name)
    if other is None or other.workflow is None:
        known = ", ".join(one for one in ctx.environments if one != env.id) or "none"
        raise NotFound(f"no environment {name} to take tasks from (there are: {known})")
    if other is env:
        raise InvalidInput("an environment takes tasks from another one, not from itself")
    if other.busy or other.state not in STATES:
        going = other.plan.event if other.plan is not None else other.state.name
        raise Conflict(f"environment {name} gives up no tasks now: {going}", hint="it must be CONFIGURED or RUNNING")
    workflow, _ = env.expanded
    offers = {offer.name: offer for offer in ctx.offers()}
    free = {task.role: task for task in other.cast.runners() if task.role not in other.cast.out}
    taken: list[int] = []
    for index in sorted(joining):
        role = workflow.roles[index]
        former = env.away.get(index)
        wanted = class_key(env.cast.task_class(index).name)
        fitting = [
            task
            for task in free.values()
            if class_key(other.cast.class_name(task)) == wanted
            and task.node in offers
            and launching.meets(role, offers[task.node])
        ]
        if not fitting:
            continue
        path, node = role.path, former.node if former is not None else ""
        best = min(fitting, key=lambda task: (task.path != path, task.node != node, task.role))
        taken.append(best.role)
        del free[best.role]
    if not taken:
        raise InvalidInput(f"environment {name} has no task of the classes and on the nodes that are wanted")
    other_workflow, _ = other.expanded
    if not free:
        raise InvalidInput(f"nothing would be left of environment {name}", hint="destroy it with keep_tasks instead")
    _check_min(other, other_workflow, _excluded(other), set(taken))
    return tuple(sorted(taken))


def take(env: Environment, ctx: Context) -> None:
    """Let another environment give up tasks, and wait until it has."""
    record = env.modification
    assert record is not None
    other = ctx.environments.get(record.take_from)
    if other is None or other.workflow is None or not any(index in other.cast.placed for index in record.taken):
        return  # gone, or done
    going = other.modification
    if going is None or going.given_to != env.id:
        if other.busy or other.state not in STATES:
            env.note_failure(env.role(0).path, True, f"environment {record.take_from} can't give up tasks now")
            return
        here = tuple(index for index in record.taken if index in other.cast.placed)
        other.update(requester=record.requester or other.record.requester)
        _begin(other, ctx, ModificationRecord(leaving=here, requester=record.requester, given_to=env.id))
        ctx.defer(partial(other.advance, ctx))
    env.waiting.add(RELEASE)
    env.deadline = ctx.now.mono_s + TAKE_S


def _given(ctx: Context, name: str, problem: str = "") -> None:
    """Tasks that another environment waits for are released, or will not be."""
    taker = ctx.environments.get(name)
    if taker is not None and taker.step is not None and taker.step.action == "take":
        if problem:
            taker.note_failure(taker.role(0).path, True, problem)
        taker.waiting.discard(RELEASE)
        ctx.defer(partial(taker.advance, ctx))


# steps


def release(env: Environment, ctx: Context) -> None:
    """Let go what is taken out: it is excluded from now on."""
    record = env.modification
    assert record is not None
    workflow, _ = env.expanded
    before = set(env.record.excluded)
    env.update(excluded=members.topmost(workflow, _excluded(env).union(record.leaving)))
    let_go(env, ctx, record.leaving)
    _keep(env, ctx, None if not record.joining else attrs.evolve(record, leaving=()))
    who = f" by {record.requester}" if record.requester else ""
    for path in env.record.excluded:
        if path not in before:
            _tell(env, ctx, path, "EXCLUDED", f"excluded{who}")
            spans.exclude(env, ctx, path, f"{spans.EXCLUDED}taken out{who}")
    note_in_run(env, ctx)
    if record.given_to:
        _given(ctx, record.given_to)


def let_go(env: Environment, ctx: Context, roles: Iterable[int]) -> None:
    """Take tasks off an environment: to the idle pool, or to their end."""
    gone = {index for index in roles if index in env.cast.placed}
    ctx.released(env, [env.cast.placed[index].task for index in sorted(gone)])
    by_node: dict[str, list[str]] = {}
    kept = [task for index in sorted(gone) if ctx.pool.fits(env, ctx, task := env.cast.by_role[index])]
    ctx.pool.add(env, ctx, kept)
    for index in sorted(gone):
        task = env.cast.by_role[index]
        if task.id not in ctx.pool.idle:
            by_node.setdefault(task.node, []).append(task.id)
    env.away = {**env.away, **{index: env.cast.placed[index] for index in gone}}
    launching.set_placed(env, ctx, tuple(one for index, one in env.cast.placed.items() if index not in gone))
    for index in gone:
        env.cast.tree.set(index, TaskState.STANDBY, Status.INACTIVE)
    for node, tasks in by_node.items():
        ctx.condemn(node, tasks)


def await_nodes(env: Environment, ctx: Context) -> None:
    """After a restart of the core, let nodes come back before judging that there are none."""
    record = env.modification
    assert record is not None
    former = {env.away[index].node for index in record.joining if index in env.away}
    launching.await_late(env, ctx, former)


def admit(env: Environment, ctx: Context) -> None:
    """Choose places for what is put back: idle tasks first, then where it was, then anywhere."""
    record = env.modification
    assert record is not None
    workflow, _ = env.expanded
    wanted = [index for index in record.joining if index not in env.cast.placed]
    if not wanted:
        return  # done before a restart of the core
    after = members.topmost(workflow, _excluded(env).difference(record.joining))
    if problem := ctx.detectors_problem(env, after):
        env.note_failure(env.role(0).path, True, problem.message)
        return
    ids = {index: f"{env.id}t{index}m{env.record.plan_number}" for index in wanted}
    placed = launching.find_places(env, ctx, ids, former={i: env.away[i] for i in wanted if i in env.away})
    if placed is None:
        return
    env.away = {index: one for index, one in env.away.items() if index not in ids}
    launching.settle(env, ctx, placed, tuple(env.cast.placed.values()))


def join(env: Environment, ctx: Context) -> None:
    """What was put back counts from now on, if it is well."""
    record = env.modification
    assert record is not None
    workflow, _ = env.expanded
    if lost := _not_back(env, workflow, record.joining):
        for path, reason in lost.items():
            env.note_failure(path, True, reason)
        return
    before = set(env.record.excluded)
    env.update(excluded=members.topmost(workflow, _excluded(env).difference(record.joining)))
    _keep(env, ctx, None)
    transits.keep_configuration(env, ctx)
    for task in env.cast.runners():
        env.cast.show(task)
    who = f" by {record.requester}" if record.requester else ""
    for path in sorted(before.difference(env.record.excluded)):
        _tell(env, ctx, path, "INCLUDED", f"included{who}{_deaf(env, workflow, record.joining)}")
        spans.include(env, ctx, path)
    for path in env.record.excluded:
        if path not in before:  # a part of a larger one is back
            spans.exclude(env, ctx, path, f"{spans.EXCLUDED}taken out")
    for index in record.joining:
        back = env.cast.by_role.get(index)
        if back is not None and back.dead:
            spans.degrade(env, ctx, back.path, back.why())
    note_in_run(env, ctx)


def _not_back(env: Environment, workflow: Workflow, joining: Sequence[int]) -> dict[str, str]:
    """Return what is wrong: a critical task that has died since, or a role of which nothing came back."""
    wrong = {}
    well = set()
    wanted = TaskState[env.state.name]
    for index in joining:
        task = env.cast.by_role.get(index)
        role = workflow.roles[index]
        if task is None or task.dead:
            if role.critical:
                wrong[role.path] = _why_not(task)
        elif task.state is wanted:
            well.add(index)
    if not wrong and not well:
        for index in joining:
            task = env.cast.by_role.get(index)
            wrong[workflow.roles[index].path] = _why_not(task)
    return wrong


def _why_not(task: Task | None) -> str:
    if task is None:
        return "has no place to run"
    return task.why() if task.dead else f"on node {task.node} is {task.state.name}"


def _deaf(env: Environment, workflow: Workflow, joining: Iterable[int]) -> str:
    """Return who can't reach what is put back, because its address is another now."""
    # Tasks are told of their channels when they are configured; those that stayed keep what they were told.
    moved = {index for index in joining if (p := env.cast.placed.get(index)) is not None and "new address" in p.reason}
    if not moved:
        return ""
    paths = ", ".join(workflow.roles[index].path for index in sorted(moved))
    return f"; {paths} has a new address: tasks that connect to it learn it at their next CONFIGURE"


def dismiss(env: Environment, ctx: Context) -> None:
    """Let go what could not be put back."""
    record = env.modification
    assert record is not None
    let_go(env, ctx, record.joining)
    _keep(env, ctx, None)
    workflow, _ = env.expanded
    roles = members.topmost(workflow, set(record.joining))
    text = env.describe(env.record.failures) if env.record.failures else "it was given up"
    for path in roles:
        _tell(env, ctx, path, "EXCLUDED", f"could not be included: {text}", ok=False)


def retreat(env: Environment, ctx: Context) -> None:
    """Something that was to be put back has failed: let all of it go."""
    assert env.modification is not None
    workflow, _ = env.expanded
    env.plan = plans.retreat(workflow, env.state, env.modification.joining)
    env.update(plan_number=env.record.plan_number + 1, index=0, skip_half=0)
    env.entered = False
    env.waiting.clear()


def give_up(env: Environment, ctx: Context) -> None:
    """Something else happens to the environment: what was being taken out stays, what was being put back does not."""
    record = env.modification
    if record is None:
        return
    if not env.record.destroying:  # else it ends with all others
        let_go(env, ctx, record.joining)
    _keep(env, ctx, None)
    _tell(env, ctx, "", "", "given up", ok=False)
    if record.given_to:
        _given(ctx, record.given_to, f"environment {env.id} has failed or ended, and gave up nothing")


def _tell(env: Environment, ctx: Context, path: str, state: str, text: str, *, ok: bool = True) -> None:
    ctx.event("modify", env.id, role=path, state=state, text=text, ok=ok, run_number=env.record.run_number)


# tasks that may die


def drop_dead(env: Environment, ctx: Context) -> None:
    """Exclude dead tasks whose template says `on_exit: drop`, if the environment can do without them."""
    if env.workflow is None or env.state not in (EnvState.DEPLOYED, *STATES):
        return
    workflow, _ = env.expanded
    over = [
        task
        for task in env.cast.runners()
        if task.dead and task.role not in env.cast.out and env.cast.task_class(task.role).on_exit == "drop"
    ]
    over = [task for task in over if not env.cast.matters(task)]
    if not over:
        return
    before = set(env.record.excluded)
    roles = {task.role for task in over}
    env.update(excluded=members.topmost(workflow, _excluded(env) | roles))
    why = over[0].why()
    let_go(env, ctx, roles)
    env.set_out(env.modification)
    for path in env.record.excluded:
        if path not in before:
            _tell(env, ctx, path, "EXCLUDED", f"dropped: {why}", ok=False)
            spans.exclude(env, ctx, path, f"{spans.EXCLUDED}{why}")
    note_in_run(env, ctx)


def missing(env: Environment, ctx: Context, path: str, reason: str) -> None:
    """A part that the run can do without is missing in it from now on."""
    spans.degrade(env, ctx, path, reason)


# runs


def note_in_run(env: Environment, ctx: Context) -> None:
    """Keep in the record of the run what is excluded."""
    if env.record.run_number:
        run = ctx.run(env.record.run_number)
        nodes = tuple(sorted({*run.nodes, *(placed.node for placed in env.cast.placed.values())}))
        if (run.excluded, run.nodes) != (env.record.excluded, nodes):
            ctx.save_run(attrs.evolve(run, excluded=env.record.excluded, nodes=nodes))
