"""What each kind of step does to an environment, and how it hears of its end.

`enter` is called once when a step begins, and again after a restart of the core: everything in it can be repeated.
Commands carry ids made of environment, plan number and index, so that whoever got one already knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from libecs.engine import calls, payload, runs
from libecs.engine.effects import Persist, TakeRunNumber
from libecs.engine.environment import Context, Environment, Task
from libecs.engine.placement import NodeOffer, Placed, place, runnable
from libecs.engine.plan import Step, StepKind
from libecs.engine.records import PLACEMENT, PlacementRecord
from libecs.errors import EcsError, Unplaceable
from libecs.fsm import TASK, TASK_SOURCE, EnvState, Mode, TaskEvent, TaskState
from libecs.wire import node
from libecs.wire.codec import pack_value
from libecs.wire.node import Answer, Phase

RESEND_S = 1.0
"""Commands that are not answered are repeated this often."""
GRACE_S = 2.0
"""What an executor may be late by before the core gives up on it."""
TRANSITION_S: Mapping[TaskEvent, float] = {
    TaskEvent.CONFIGURE: 120.0,
    TaskEvent.START: 30.0,
    TaskEvent.STOP: 30.0,
    TaskEvent.RESET: 30.0,
    TaskEvent.RECOVER: 30.0,
}
"""Seconds that a task has for an event, where its template says nothing."""
LENIENT_S = 5.0
"""Seconds that siblings have to STOP when the environment goes to ERROR."""
DEPLOY_S = 90.0
HOOK_S = 30.0
KILL_S = 40.0
"""Seconds for the soft walk, SIGTERM, SIGINT and SIGKILL of tasks, before their node is given up."""
NODES_S = 10.0
"""Seconds that RECOVER waits for nodes that have not told what they hold."""
RUN_NUMBER = "run number"
NODE = "node "
"""What a step waits for besides tasks, hooks and calls."""


def enter(env: Environment, ctx: Context) -> None:
    """Begin the present step."""
    assert env.plan is not None
    step = env.plan.steps[env.record.index]
    _ENTER[step.kind](env, ctx, step)


def resend(env: Environment, ctx: Context) -> None:
    """Repeat what is not answered yet. Called every second while a step waits, and when a node comes back."""
    step = env.step
    if step is None or not env.waiting:
        return
    if step.kind is StepKind.TASKS:
        _send_transit(env, ctx, step)
    elif step.kind is StepKind.LAUNCH:
        _send_launch(env, ctx)
    elif step.kind is StepKind.HOOKS:
        _send_trigger(env, ctx, step)
    env.resend_at = ctx.now.mono_s + RESEND_S


def expire(env: Environment, ctx: Context) -> None:
    """The present step has taken too long: what it still waits for has failed."""
    step = env.step
    if step is None:
        return
    for name in sorted(env.waiting):
        if name in env.tasks:
            task = env.tasks[name]
            problem = ctx.node_problem(task.node)
            reason = problem or f"did not answer in time; last state {task.state.name}"
            env.note_failure(task.path, task.critical, f"on node {task.node} {reason}")
        elif name in env.hooks:
            role = env.role(env.hooks[name])
            env.note_failure(role.path, role.critical, "the hook did not end in time")
        elif step.kind is StepKind.AWAIT:
            calls.time_out(env, ctx, name)
        else:
            env.note_failure(env.role(0).path, True, f"{name} did not come in time")
    env.waiting.clear()


def leave(env: Environment, ctx: Context) -> None:
    """The present step is over or given up. Its hooks are ended and forgotten now and not before: until the core has
    written down that it went on, an executor must still know that they ran.
    """
    step = env.step
    if step is None or step.kind is not StepKind.HOOKS:
        return
    by_node: dict[str, list[str]] = {}
    for name, index in env.hooks.items():
        by_node.setdefault(env.by_role[index].node, []).append(name)
    for node_name, names in by_node.items():
        ctx.condemn(node_name, names)


def _wait(env: Environment, ctx: Context, seconds: float) -> None:
    env.deadline = ctx.now.mono_s + seconds
    env.resend_at = ctx.now.mono_s + RESEND_S


# hook tasks


def _enter_hooks(env: Environment, ctx: Context, step: Step) -> None:
    env.hooks = {}
    longest = 0.0
    for index in step.roles:
        task = env.by_role.get(index)
        role = env.role(index)
        if task is None:
            env.note_failure(role.path, role.critical, "has no place to run")
            continue
        name = f"{task.id}h{env.record.plan_number}"
        env.hooks[name] = index
        env.waiting.add(name)
        assert role.task is not None
        longest = max(longest, role.task.timeout_s or HOOK_S)
    if env.waiting:
        _wait(env, ctx, longest + KILL_S)
        _send_trigger(env, ctx, step)


def _send_trigger(env: Environment, ctx: Context, step: Step) -> None:
    by_node: dict[str, list[node.TaskSpec]] = {}
    for name in sorted(env.waiting):
        task = env.by_role[env.hooks[name]]
        role = env.role(env.hooks[name])
        try:
            spec = payload.spec(env, task.role, name)
        except EcsError as error:
            env.waiting.discard(name)
            env.note_failure(role.path, role.critical, error.message)
            continue
        by_node.setdefault(task.node, []).append(spec)
    id = env.command_id
    for name, specs in by_node.items():
        ctx.send_node(name, _trigger(id, tuple(specs)))


def _trigger(id: str, specs: tuple[node.TaskSpec, ...]) -> Callable[[int, int], object]:
    return lambda session, epoch: node.Trigger(session=session, epoch=epoch, id=id, tasks=specs)


# tasks


def _enter_place(env: Environment, ctx: Context, step: Step) -> None:
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


def _enter_launch(env: Environment, ctx: Context, step: Step) -> None:
    assert env.workflow is not None
    for task in env.runners():
        judge_launch(env, task, first=True)
    if env.waiting:
        _wait(env, ctx, payload.duration(env, "deploy_timeout", DEPLOY_S))
        _send_launch(env, ctx)


def judge_launch(env: Environment, task: Task, first: bool = False) -> None:
    """Tell the launching of one task as finished, failed, or still to be waited for."""
    if task.phase is Phase.ACTIVE and task.state is TaskState.STANDBY:
        env.waiting.discard(task.id)
    elif task.phase is Phase.EXITED or task.state is TaskState.ERROR:
        env.waiting.discard(task.id)
        env.note_failure(task.path, task.critical, task.why())
    elif first:
        env.waiting.add(task.id)


def _send_launch(env: Environment, ctx: Context) -> None:
    by_node: dict[str, list[Task]] = {}
    for name in env.waiting:
        task = env.tasks.get(name)
        if task is not None and task.as_of < 0:
            by_node.setdefault(task.node, []).append(task)
    for name in sorted(by_node):
        tasks = sorted(by_node[name], key=lambda task: task.role)
        ctx.defer(_launch_node(env, ctx, name, tasks, env.record.index))


def _launch_node(env: Environment, ctx: Context, name: str, tasks: list[Task], index: int) -> Callable[[], None]:
    def send() -> None:
        if env.record.index != index or not env.entered:
            return
        specs = []
        for task in tasks:
            try:
                specs.append(payload.spec(env, task.role, task.id))
            except EcsError as error:
                env.waiting.discard(task.id)
                env.note_failure(task.path, task.critical, error.message)
        chunk = tuple(specs)
        ctx.send_node(name, lambda session, epoch: node.Launch(session=session, epoch=epoch, tasks=chunk))

    return send


def _enter_tasks(env: Environment, ctx: Context, step: Step) -> None:
    event = TaskEvent[step.event]
    roles = set(step.roles)
    longest = 0.0
    for task in env.runners():
        if roles and task.role not in roles:
            continue
        judge_transit(env, task, step, first=True)
        if task.id in env.waiting:
            longest = max(longest, LENIENT_S if step.lenient else deadline(env, task, event))
    if env.waiting:
        _wait(env, ctx, longest + GRACE_S)
        _send_transit(env, ctx, step)


def deadline(env: Environment, task: Task, event: TaskEvent) -> float:
    """Return the seconds that a task has for an event: its template's, or the usual ones."""
    assert env.workflow is not None
    traits = env.workflow.roles[task.role].task
    assert traits is not None
    return env.workflow.classes[traits.class_name].transition_s.get(event.name, TRANSITION_S[event])


def judge_transit(env: Environment, task: Task, step: Step, first: bool = False) -> None:
    """Tell one task of a TASKS step as finished, failed, left alone, or still to be waited for."""
    event = TaskEvent[step.event]
    source = TASK_SOURCE[event]
    target = TASK[source][event]
    if task.state is target and task.phase is not Phase.EXITED and not step.lenient:
        if first:
            return
        env.waiting.discard(task.id)
    elif event is TaskEvent.RECOVER and task.state is TaskState.ERROR and task.phase is not Phase.EXITED:
        if first and task.mode is Mode.DIRECT:
            env.waiting.add(task.id)
    elif task.dead:
        env.waiting.discard(task.id)
        if not step.lenient:
            env.note_failure(task.path, task.critical, task.why())
    elif first and step.lenient:
        if task.state is source and task.phase is Phase.ACTIVE and not task.lost:
            env.waiting.add(task.id)
    elif first and not (task.phase is Phase.ASSIGNED and not task.critical):
        env.waiting.add(task.id)


def _send_transit(env: Environment, ctx: Context, step: Step) -> None:
    by_node: dict[str, list[Task]] = {}
    for name in env.waiting:
        task = env.tasks[name]
        by_node.setdefault(task.node, []).append(task)
    for name in sorted(by_node):
        tasks = sorted(by_node[name], key=lambda task: task.role)
        ctx.defer(_transit_node(env, ctx, name, tasks, step, env.record.index))


def _transit_node(
    env: Environment, ctx: Context, name: str, tasks: list[Task], step: Step, index: int
) -> Callable[[], None]:
    number = env.record.plan_number

    def send() -> None:
        if (env.record.index, env.record.plan_number) != (index, number) or not env.entered:
            return
        event = TaskEvent[step.event]
        each: list[Mapping[str, str]] = []
        told: list[Task] = []
        for task in tasks:
            if task.id not in env.waiting:
                continue
            if event is TaskEvent.CONFIGURE:
                try:
                    each.append(payload.configuration(env, task))
                except EcsError as error:
                    env.waiting.discard(task.id)
                    env.note_failure(task.path, task.critical, error.message)
                    continue
            told.append(task)
        if not told:
            return
        common = payload.arguments(env, event)
        seconds = LENIENT_S if step.lenient else max(deadline(env, task, event) for task in told)
        id = env.command_id
        names = tuple(task.id for task in told)
        maps = tuple(each)
        ctx.send_node(
            name,
            lambda session, epoch: node.Transit(
                session=session,
                epoch=epoch,
                id=id,
                event=event,
                tasks=names,
                arguments=common,
                each=maps,
                deadline_s=seconds,
            ),
        )

    return send


def answered(env: Environment, ctx: Context, name: str, answer: Answer) -> None:
    """Take a node's answer to the command of the present step. Answers to other commands are no news."""
    step = env.step
    if step is None or answer.id != env.command_id:
        return
    if step.kind is StepKind.HOOKS:
        _hooks_answered(env, ctx, name, answer)
    elif step.kind is StepKind.TASKS:
        for failure in answer.failed:
            task = env.tasks.get(failure.task)
            if task is not None and failure.task in env.waiting:
                env.waiting.discard(failure.task)
                if not step.lenient:
                    log = f"; last log: {failure.last_log}" if failure.last_log else ""
                    env.note_failure(task.path, task.critical, f"on node {task.node} {failure.reason}{log}")
        env.waiting.difference_update(answer.done)


def _hooks_answered(env: Environment, ctx: Context, name: str, answer: Answer) -> None:
    over = [hook for hook in answer.done if hook in env.waiting]
    for failure in answer.failed:
        if failure.task in env.waiting:
            over.append(failure.task)
            role = env.role(env.hooks[failure.task])
            log = f"; last log: {failure.last_log}" if failure.last_log else ""
            env.note_failure(role.path, role.critical, f"hook on node {name} {failure.reason}{log}")
    for hook in over:
        env.waiting.discard(hook)
        role = env.role(env.hooks[hook])
        ctx.event(
            "hook.end", env.id, role=role.path, ok=role.path not in env.step_failures, run_number=env.record.run_number
        )


# what the core does itself


def _enter_action(env: Environment, ctx: Context, step: Step) -> None:
    _ACTIONS[step.action](env, ctx)


def _take_run_number(env: Environment, ctx: Context) -> None:
    key = env.command_id
    env.waiting.add(RUN_NUMBER)
    env.deadline = ctx.now.mono_s + HOOK_S
    ctx.emit(TakeRunNumber(key))


def run_number_taken(env: Environment, ctx: Context, key: str, number: int, error: str) -> None:
    """Take the answer to TakeRunNumber."""
    step = env.step
    if step is None or key != env.command_id or RUN_NUMBER not in env.waiting:
        return
    env.waiting.discard(RUN_NUMBER)
    if error or number <= 0:
        env.note_failure(env.role(0).path, True, f"no run number: {error or 'the counter gave none'}")
    else:
        runs.begin(env, ctx, number)


def _stamp_enter(env: Environment, ctx: Context) -> None:
    env.set_var("enter_state_time_ms", str(ctx.now.unix_ms))


def _await_nodes(env: Environment, ctx: Context) -> None:
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


def _revive(env: Environment, ctx: Context) -> None:
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


def _with_used(offers: list[NodeOffer], kept: list[Placed]) -> list[NodeOffer]:
    """Offers leave out what living environments use; this one's own tasks that go on are among those already."""
    ports: dict[str, set[int]] = {}
    for one in kept:
        ports.setdefault(one.node, set()).update(one.ports)
    return [attrs.evolve(o, used_ports=o.used_ports | frozenset(ports.get(o.name, ()))) for o in offers]


def _enter_enter(env: Environment, ctx: Context, step: Step) -> None:
    state = EnvState[step.state]
    env.update(state=state, launched=state is not EnvState.STANDBY)
    env.publish_moved(ctx)
    ctx.event(
        "environment.state",
        env.id,
        state=state.name,
        transition=env.plan.event if env.plan else "",
        run_number=env.record.run_number,
        text=env.record.cause if state is EnvState.ERROR else "",
        ok=state is not EnvState.ERROR,
    )


def _enter_kill(env: Environment, ctx: Context, step: Step) -> None:
    calls.cancel_all(env, ctx)
    by_node: dict[str, list[str]] = {}
    for task in env.runners():
        by_node.setdefault(task.node, []).append(task.id)
        env.waiting.add(task.id)
    for name, tasks in by_node.items():
        ctx.condemn(name, tasks)
    if env.waiting:
        env.deadline = ctx.now.mono_s + KILL_S


def gone(env: Environment, task: str) -> None:
    """A condemned task has ended."""
    env.ended(task)
    step = env.step
    if step is not None and step.kind is StepKind.KILL:
        env.waiting.discard(task)


_ACTIONS: Mapping[str, Callable[[Environment, Context], None]] = {
    "take_run_number": _take_run_number,
    "end_of_run": runs.end,
    "start_completed": runs.start_completed,
    "end_completed": runs.end_completed,
    "forget_run": runs.forget,
    "end_run_at_teardown": runs.end_at_teardown,
    "stamp_enter": _stamp_enter,
    "await_nodes": _await_nodes,
    "revive": _revive,
}

_ENTER: Mapping[StepKind, Callable[[Environment, Context, Step], None]] = {
    StepKind.CALLS: calls.start,
    StepKind.AWAIT: calls.wait_for,
    StepKind.HOOKS: _enter_hooks,
    StepKind.ACTION: _enter_action,
    StepKind.PLACE: _enter_place,
    StepKind.LAUNCH: _enter_launch,
    StepKind.TASKS: _enter_tasks,
    StepKind.ENTER: _enter_enter,
    StepKind.KILL: _enter_kill,
}
