"""What each kind of step does to an environment, and how it hears of its end.

`enter` is called once when a step begins, and again after a restart of the core: everything in it can be repeated.
Commands carry ids made of environment, plan number and index, so that whoever got one already knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from libecs.engine import autostop, calls, launching, modify, payload, reconfigure, runs, transits
from libecs.engine.context import Context
from libecs.engine.effects import TakeRunNumber
from libecs.engine.environment import Environment
from libecs.engine.plan import MODIFY, Step, StepKind
from libecs.errors import EcsError, InvalidInput
from libecs.fsm import EnvEvent, EnvState, TaskEvent, TaskState, target_of
from libecs.wire import node
from libecs.wire.node import Answer

HOOK_S = 30.0
WALK = 3
"""Steps of the soft walk: STOP, RESET, EXIT."""
KILL_S = 40.0
"""Seconds for the soft walk, SIGTERM, SIGINT and SIGKILL of tasks, before their node is given up."""
RUN_NUMBER = "run number"
"""What a step waits for besides tasks, hooks, calls and nodes."""


def enter(env: Environment, ctx: Context) -> None:
    """Begin the present step."""
    assert env.plan is not None
    step = env.plan.steps[env.record.index]
    _ENTER[step.kind](env, ctx, step)


def resend(env: Environment, ctx: Context, node_name: str = "") -> None:
    """Repeat what is not answered yet, when it is time to, or at once to a node that has come back."""
    step, telling = env.step, env.telling
    if step is None or telling is None or not env.waiting:
        return
    if node_name:
        telling.told.pop(node_name, None)
    if step.kind is StepKind.TASKS:
        transits.send(env, ctx, step, node_name)
    elif step.kind is StepKind.LAUNCH:
        launching.send(env, ctx, node_name)
    elif step.kind is StepKind.HOOKS:
        _send_trigger(env, ctx, step)
    if not node_name:
        telling.longer()
        telling.waits(ctx.now.mono_s)


def expire(env: Environment, ctx: Context) -> None:
    """The present step has taken too long: what it still waits for has failed."""
    step = env.step
    if step is None:
        return
    launching.place_again(env)
    env.unsettle(sorted(env.waiting))
    for name in sorted(env.waiting):
        if name in env.cast.tasks:
            task = env.cast.tasks[name]
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


def give_up(env: Environment, ctx: Context) -> None:
    """The present plan is given up."""
    if env.plan is not None and env.plan.event == MODIFY:
        modify.give_up(env, ctx)


def leave(env: Environment, ctx: Context) -> None:
    """The present step is over or given up. Its hooks are ended and forgotten now and not before: until the core has
    written down that it went on, an executor must still know that they ran.
    """
    step = env.step
    if step is not None and step.kind is StepKind.LAUNCH:
        launching.keep_commands(env, ctx)
    if step is None or step.kind is not StepKind.HOOKS:
        return
    by_node: dict[str, list[str]] = {}
    for name, index in env.hooks.items():
        by_node.setdefault(env.cast.by_role[index].node, []).append(name)
    for node_name, names in by_node.items():
        ctx.condemn(node_name, names)


# hook tasks


def _enter_hooks(env: Environment, ctx: Context, step: Step) -> None:
    env.hooks = {}
    longest = 0.0
    for index in step.roles:
        if index in env.cast.out:
            continue
        task = env.cast.by_role.get(index)
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
        env.wait(ctx.now, longest + KILL_S)
        _send_trigger(env, ctx, step)


def _send_trigger(env: Environment, ctx: Context, step: Step) -> None:
    by_node: dict[str, list[node.TaskSpec]] = {}
    for name in sorted(env.waiting):
        task = env.cast.by_role[env.hooks[name]]
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


def answered(env: Environment, ctx: Context, name: str, answer: Answer) -> None:
    """Take a node's answer to the command of the present step. Answers to other commands are no news."""
    step = env.step
    if step is None or answer.id != env.command_id:
        return
    if step.kind is StepKind.HOOKS:
        _hooks_answered(env, ctx, name, answer)
    elif step.kind is StepKind.TASKS:
        for failure in answer.failed:
            task = env.cast.tasks.get(failure.task)
            if task is not None and failure.task in env.waiting:
                env.unsettle([failure.task], answered=True)
                env.waiting.discard(failure.task)
                if not step.lenient:
                    log = f"; last log: {failure.last_log}" if failure.last_log else ""
                    env.note_failure(task.path, task.critical, f"on node {task.node} {failure.reason}{log}")
        _tasks_done(env, step, answer)


def _tasks_done(env: Environment, step: Step, answer: Answer) -> None:
    """Tasks have gone through the event; those that somebody has taken elsewhere since are not where they should be."""
    if step.lenient or answer.state is target_of(TaskEvent[step.event]):
        env.waiting.difference_update(answer.done)
        if step.lenient:
            env.settled(answer.done)
    elif answer.state is not TaskState.UNKNOWN:  # else its node will know
        for name in env.waiting.intersection(answer.done):
            task = env.cast.tasks[name]
            reason = f"on node {task.node} went through {step.event} and is {answer.state.name} since"
            env.note_failure(task.path, task.critical, reason)
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
    try:
        autostop.seconds(env)
    except InvalidInput as error:
        env.note_failure(env.role(0).path, True, error.message)
        return
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


def _enter_enter(env: Environment, ctx: Context, step: Step) -> None:
    state = EnvState[step.state]
    env.update(state=state, launched=state is not EnvState.STANDBY)
    if state is EnvState.CONFIGURED and env.plan is not None and env.plan.event == EnvEvent.CONFIGURE.name:
        transits.keep_configuration(env, ctx)
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
    if env.record.keep_tasks:
        modify.let_go(env, ctx, [task.role for task in env.cast.runners() if ctx.pool.fits(env, ctx, task)])
    by_node: dict[str, list[str]] = {}
    for task in env.cast.runners():
        by_node.setdefault(task.node, []).append(task.id)
        env.waiting.add(task.id)
    for name, tasks in by_node.items():
        ctx.condemn(name, tasks)
    if env.waiting:
        env.deadline = ctx.now.mono_s + KILL_S + WALK * max(payload.exit_s(env, task) for task in env.cast.runners())


def gone(env: Environment, task: str) -> None:
    """A condemned task has ended."""
    env.cast.ended(task, planned=env.plan is not None)
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
    "await_nodes": launching.await_nodes,
    "revive": launching.revive,
    "compare": reconfigure.compare,
    "renew": launching.renew,
    "reconfigured": reconfigure.finish,
    "release": modify.release,
    "take": modify.take,
    "await_former": modify.await_nodes,
    "admit": modify.admit,
    "join": modify.join,
    "dismiss": modify.dismiss,
}

_ENTER: Mapping[StepKind, Callable[[Environment, Context, Step], None]] = {
    StepKind.CALLS: calls.start,
    StepKind.AWAIT: calls.wait_for,
    StepKind.HOOKS: _enter_hooks,
    StepKind.ACTION: _enter_action,
    StepKind.PLACE: launching.place_all,
    StepKind.LAUNCH: launching.launch,
    StepKind.TASKS: transits.enter,
    StepKind.ENTER: _enter_enter,
    StepKind.KILL: _enter_kill,
}
