"""How clients see an environment."""

from __future__ import annotations

from collections.abc import Mapping

from libecs.engine.environment import Environment
from libecs.engine.task import Task
from libecs.fsm import TaskState
from libecs.wire.client import EnvironmentInfo, RoleInfo, TaskInfo
from libecs.wire.node import Phase


def environment_info(env: Environment, ages: Mapping[str, int], *, tasks: bool = True) -> EnvironmentInfo:
    """Return an environment as clients see it.

    ages: node to the milliseconds since it was heard, for those that are late. What is known of their tasks is shown
    as old as it is, and as UNKNOWN once the node is lost.
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
        tasks=tuple(_task_info(env, task, ages) for task in env.tasks.values()) if tasks else (),
        roles=_role_infos(env) if tasks else (),
    )


def _task_info(env: Environment, task: Task, ages: Mapping[str, int]) -> TaskInfo:
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
        attached=bool(env.task_class(task.role).endpoint),
    )


def _role_infos(env: Environment) -> tuple[RoleInfo, ...]:
    if env.workflow is None or env.tree is None:
        return ()
    tree = env.tree
    return tuple(
        RoleInfo(
            path=role.path,
            kind=role.kind.name.lower(),
            state=tree.state(index),
            status=tree.status(index),
            critical=role.critical,
        )
        for index, role in enumerate(env.workflow.roles)
    )
