"""How clients see environments, nodes, tasks and operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libecs.access import Principal
from libecs.engine import rules
from libecs.engine.environment import Environment
from libecs.engine.nodes import Node
from libecs.engine.records import DrainRecord, OperationRecord
from libecs.engine.task import Task
from libecs.fsm import TaskState
from libecs.wire.client import Finished
from libecs.wire.codec import unpack_value
from libecs.wire.info import EnvironmentInfo, NodeInfo, OperationInfo, RoleInfo, TaskInfo
from libecs.wire.node import Held, Phase


def environment_info(
    env: Environment, ages: Mapping[str, int], *, tasks: bool = True, detectors: Iterable[str] = ()
) -> EnvironmentInfo:
    """Return an environment as clients see it.

    ages: node to the milliseconds since it was heard, for those that are late. What is known of their tasks is shown
    as old as it is, and as UNKNOWN once the node is lost. detectors: those that take part.
    """
    record = env.record
    step = ""
    if env.plan is not None and record.index < len(env.plan.steps):
        step = env.plan.steps[record.index].describe()
    return EnvironmentInfo(
        environment=env.id,
        name=record.name,
        workflow=env.workflow.name if env.workflow else record.request,
        revision=env.workflow.revision if env.workflow else "",
        state=record.state,
        transition=env.plan.event if env.plan else "",
        step=step,
        run_number=record.run_number,
        last_run_number=record.last_run_number,
        created_ms=record.created_ms,
        cause=record.cause,
        failures=record.error_failures,
        requester=record.requester,
        tasks=(*(task_info(env, task, ages) for task in env.cast.tasks.values()), *_away_infos(env)) if tasks else (),
        roles=_role_infos(env) if tasks else (),
        detectors=tuple(sorted(detectors)),
        auto=record.auto,
        operation=record.operation or record.auto_operation,
        excluded=record.excluded,
        variables=record.variables if tasks else {},
    )


def is_excluded(path: str, excluded: Iterable[str]) -> bool:
    """Whether a role is excluded, or stands below one that is."""
    return any(path == out or path.startswith(f"{out}.") for out in excluded)


def task_info(env: Environment, task: Task, ages: Mapping[str, int]) -> TaskInfo:
    """Return a task of an environment as clients see it."""
    assert env.workflow is not None
    traits = env.workflow.roles[task.role].task
    assert traits is not None
    late = task.node in ages
    return TaskInfo(
        task=task.id,
        role=task.path,
        class_name=traits.class_name,
        mode=traits.mode.name.lower(),
        node=task.node,
        critical=task.critical,
        phase=Phase.SUSPECT if late and task.phase is Phase.ACTIVE else task.phase,
        state=TaskState.UNKNOWN if task.lost else task.state,
        pid=task.pid,
        hook=task.hook,
        exit=task.exit,
        error=task.error,
        last_log=task.last_log,
        age_ms=ages.get(task.node, 0),
        stalled=task.stalled,
        end_of_stream=task.end_of_stream,
        attached=bool(env.cast.task_class(task.role).endpoint),
        excluded=is_excluded(task.path, env.record.excluded),
    )


def _away_infos(env: Environment) -> Iterable[TaskInfo]:
    """Return the tasks that are excluded: where they were, and no process."""
    for index, placed in sorted(env.away.items()):
        role = env.role(index)
        assert role.task is not None
        yield TaskInfo(
            task="",
            role=role.path,
            class_name=role.task.class_name,
            mode=role.task.mode.name.lower(),
            node=placed.node,
            critical=role.critical,
            phase=Phase.ASSIGNED,
            state=TaskState.STANDBY,
            hook=role.task.trigger is not None,
            attached=bool(env.cast.task_class(index).endpoint),
            excluded=True,
        )


def orphan_info(node: str, held: Held) -> TaskInfo:
    """Return a task that nobody knows as clients see it."""
    status = held.status
    return TaskInfo(
        task=status.task,
        role=held.role,
        class_name=held.class_name,
        mode="",
        node=node,
        critical=False,
        phase=status.phase,
        state=status.state,
        pid=status.pid,
        exit=status.exit,
        error=status.error,
        last_log=status.last_log,
        stalled=status.stalled,
        end_of_stream=status.end_of_stream,
        orphan=True,
    )


def _role_infos(env: Environment) -> tuple[RoleInfo, ...]:
    if env.workflow is None:
        return ()
    tree = env.cast.tree
    return tuple(
        RoleInfo(
            path=role.path,
            kind=role.kind.name.lower(),
            state=tree.state(index),
            status=tree.status(index),
            critical=role.critical,
            excluded=is_excluded(role.path, env.record.excluded),
            min=role.min,
        )
        for index, role in enumerate(env.workflow.roles)
    )


def node_infos(
    nodes: Mapping[str, Node],
    known: Iterable[str],
    drained: Mapping[str, DrainRecord],
    used: Mapping[str, tuple[int, float, float]],
    idle: Mapping[str, int],
    mono_s: float,
) -> tuple[NodeInfo, ...]:
    """Return all nodes that came, are used, or are drained.

    used: node to tasks of environments there, and the CPUs and megabytes that they use. idle: node to tasks of the
    idle pool.
    """
    infos = []
    for name in sorted({*nodes, *known, *used, *drained, *idle}):
        one, drain = nodes.get(name), drained.get(name)
        tasks, cpus, memory_mb = used.get(name, (0, 0.0, 0.0))
        hello = one.hello if one is not None else None
        infos.append(
            NodeInfo(
                node=name,
                host=hello.host if hello else "",
                reach=one.shown_reach if one is not None else "AWAY",
                age_ms=int(max(mono_s - one.heard, 0.0) * 1000) if one is not None else 0,
                tasks=tasks,
                idle=idle.get(name, 0),
                orphans=len(one.orphans) if one is not None else 0,
                cpus=hello.cpus if hello else 0.0,
                used_cpus=cpus,
                memory_mb=hello.memory_mb if hello else 0.0,
                used_memory_mb=memory_mb,
                attributes=hello.attributes if hello else {},
                facts=one.facts if one is not None else {},
                drained=drain is not None,
                reason=drain.reason if drain else "",
            )
        )
    return tuple(infos)


def operation_info(record: OperationRecord, who: Principal) -> OperationInfo:
    """Return an operation as somebody sees it."""
    answer = rules.answer_for(who, record, unpack_value(Finished, record.answer)) if record.answer else None
    return OperationInfo(
        operation=record.operation,
        environment=record.environment,
        verb=record.verb,
        requester=record.requester,
        begun_ms=record.begun_ms,
        done=answer is not None,
        code=answer.code if answer else "",
        message=answer.message if answer and answer.code else "",
        event=record.event,
    )
