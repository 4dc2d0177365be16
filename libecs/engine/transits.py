"""The step that takes tasks through one event: which of them, with what, and by when."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from libecs.engine import payload
from libecs.engine.context import Context
from libecs.engine.effects import Persist
from libecs.engine.environment import Environment
from libecs.engine.plan import MODIFY, Step
from libecs.engine.records import CONFIGURATION, ConfigurationRecord
from libecs.engine.task import Task
from libecs.engine.telling import Telling
from libecs.errors import EcsError
from libecs.fsm import TASK, TASK_SOURCE, EnvEvent, Mode, TaskEvent, TaskState
from libecs.wire import node
from libecs.wire.codec import pack_value
from libecs.wire.node import Phase

GRACE_S = 2.0
"""What an executor may be late by before the core gives up on it."""
TRANSITION_S: Mapping[TaskEvent, float] = {
    TaskEvent.CONFIGURE: 120.0,
    TaskEvent.RECONFIGURE: 30.0,
    TaskEvent.START: 30.0,
    TaskEvent.STOP: 30.0,
    TaskEvent.RESET: 30.0,
    TaskEvent.RECOVER: 30.0,
}
"""Seconds that a task has for an event, where its template says nothing."""
_LEADS_TO: Mapping[TaskEvent, tuple[str, ...]] = {
    TaskEvent.STOP: (TaskEvent.START.name,),
    TaskEvent.RESET: (TaskEvent.CONFIGURE.name, TaskEvent.START.name),
}
"""What a task may be in the middle of, so that soon it will be where the event begins: its executor lets that wait."""
LENIENT_S = 5.0
"""Seconds that siblings have to STOP when the environment goes to ERROR."""


def enter(env: Environment, ctx: Context, step: Step) -> None:
    """Take the tasks of a step, or all of them, through its event."""
    event = TaskEvent[step.event]
    roles = set(step.roles)
    if event is TaskEvent.START and env.cast.has_min:
        for index in env.cast.lost_roles().difference(env.cast.by_role):
            env.note_failure(env.role(index).path, True, "has no place to run")
    for task in env.cast.runners():
        if roles and task.role not in roles:
            continue
        if event is TaskEvent.START:
            task.end_of_stream = False  # what it said was said of an earlier run
        judge(env, task, step, first=True, unheard=_is_unheard(env, ctx, task))
    if env.waiting:
        times = _times(env, step)
        longest = max(times[env.cast.class_name(env.cast.tasks[name])] for name in env.waiting)
        env.wait(ctx.now, longest + GRACE_S)
        send(env, ctx, step)


def deadline(env: Environment, task: Task, step: Step) -> float:
    """Return the seconds that a task has for the event of a step: its template's, or the usual ones.

    Nobody waits long for the siblings of a task that took the environment to ERROR, whatever their templates say.
    """
    return _times(env, step)[env.cast.class_name(task)]


def _times(env: Environment, step: Step) -> Mapping[str, float]:
    """Return the seconds that the tasks of each class have for the event of a step."""
    event = TaskEvent[step.event]
    assert env.workflow is not None
    if step.lenient and env.plan is not None and env.plan.event == EnvEvent.GO_ERROR.name:
        return dict.fromkeys(env.workflow.classes, LENIENT_S)
    hurried = step.lenient and event is not TaskEvent.RECOVER and env.plan is not None and env.plan.event != MODIFY
    usual = LENIENT_S if hurried else TRANSITION_S[event]
    return {name: one.transition_s.get(event.name, usual) for name, one in env.workflow.classes.items()}


def _is_unheard(env: Environment, ctx: Context, task: Task) -> bool:
    """Whether a task was launched in an earlier life of the core and its node has not told yet how it is.

    What is not known is not absent: it is told as the others. RECOVER has waited for the nodes already.
    """
    if task.as_of >= 0 or not env.record.launched or (env.plan and env.plan.event == EnvEvent.RECOVER.name):
        return False
    if env.plan is not None and env.plan.event == MODIFY:  # what is on a node that is away is just let go
        return ctx.is_awaited(task.node)
    return bool(ctx.node_problem(task.node))


def judge(env: Environment, task: Task, step: Step, first: bool = False, unheard: bool = False) -> None:
    """Tell one task of a TASKS step as finished, failed, left alone, or still to be waited for."""
    absent = task.phase is Phase.ASSIGNED and not task.critical and not unheard
    event = TaskEvent[step.event]
    source = TASK_SOURCE[event]
    target = TASK[source][event]
    if event is TaskEvent.RECONFIGURE and not task.dead:  # its state says nothing: only the answer does
        if first and not absent:
            env.waiting.add(task.id)
    elif task.state is target and task.phase is not Phase.EXITED and not step.lenient:
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
        ready = task.state is source or env.record.unsettled.get(task.id, "") in _LEADS_TO.get(event, ())
        if unheard or (ready and task.phase is Phase.ACTIVE and not task.lost):
            env.waiting.add(task.id)
    elif first and not absent:
        env.waiting.add(task.id)


def send(env: Environment, ctx: Context, step: Step, only: str = "") -> None:
    """Tell nodes, or one of them, what their tasks are to do: one message for all that have the same time for it."""
    telling = env.telling
    assert telling is not None
    times = _times(env, step)
    for name in (only,) if only else sorted(env.cast.by_node):
        if not telling.is_due(name, ctx.now.mono_s):
            continue
        tasks = [task for task in env.cast.by_node.get(name, ()) if task.id in env.waiting]
        by_time: dict[float, list[Task]] = {}
        for task in tasks:
            by_time.setdefault(times[env.cast.class_name(task)], []).append(task)
        for seconds in sorted(by_time):
            telling.queued(name)
            ctx.defer(_transit_node(env, ctx, name, by_time[seconds], step, seconds, telling))


def _transit_node(
    env: Environment, ctx: Context, name: str, tasks: list[Task], step: Step, seconds: float, telling: Telling
) -> Callable[[], None]:
    def send_one() -> None:
        if env.telling is not telling:
            return  # the step is over
        telling.sent(name, ctx.now.mono_s)
        event = TaskEvent[step.event]
        each: list[Mapping[str, str]] = []
        told: list[Task] = []
        for task in tasks:
            if task.id not in env.waiting:
                continue
            if event is TaskEvent.RECONFIGURE:
                assert env.reconfiguration is not None
                each.append(env.reconfiguration.changed[task.path])
            elif event is TaskEvent.CONFIGURE:
                try:
                    properties = payload.configuration(env, task)
                    each.append(properties)
                    if properties:
                        env.configured[task.path] = payload.digest(properties, task.id)
                except EcsError as error:
                    env.waiting.discard(task.id)
                    env.note_failure(task.path, task.critical, error.message)
                    continue
            told.append(task)
        if not told:
            env.advance(ctx)
            return
        common = payload.arguments(env, event)
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

    return send_one


def keep_configuration(env: Environment, ctx: Context) -> None:
    """Write down what the tasks are configured with."""
    env.packed_configuration = pack_value(ConfigurationRecord(digests=env.configured))
    ctx.emit(Persist(CONFIGURATION, env.id, env.packed_configuration))
