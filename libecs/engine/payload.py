"""What tasks and integrations are given: commands, properties, arguments, variables of calls.

A stand-in until `libecs.workflow.launch` is there: texts are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from libecs.engine.effects import Call
from libecs.fsm import Mode, TaskEvent
from libecs.wire.node import Command, TaskSpec
from libecs.workflow.role import Moment

if TYPE_CHECKING:
    from libecs.engine.environment import Environment, Task
    from libecs.engine.plan import Step


def spec(env: Environment, index: int, task_id: str) -> TaskSpec:
    """Return all that an executor must know of a task."""
    assert env.workflow is not None
    role = env.workflow.roles[index]
    assert role.task is not None
    cls = env.workflow.classes[role.task.class_name]
    return TaskSpec(
        task=task_id,
        environment=env.id,
        role=role.path,
        class_name=cls.name,
        mode=Mode.HOOK if role.task.trigger is not None else role.task.mode,
        critical=role.critical,
        command=Command(argv=(cls.command, *cls.arguments)),
        endpoint=cls.endpoint,
        attached=bool(cls.endpoint),
        limits=cls.limits,
        timeout_s=role.task.timeout_s,
        liveness=cls.liveness,
    )


def configuration(env: Environment, task: Task) -> Mapping[str, str]:
    """Return the properties that CONFIGURE gives to a task."""
    assert env.workflow is not None
    traits = env.workflow.roles[task.role].task
    assert traits is not None
    return {"environment_id": env.id, **env.workflow.classes[traits.class_name].properties}


def arguments(env: Environment, event: TaskEvent) -> Mapping[str, str]:
    """Return the arguments that an event gives to all tasks."""
    if event is TaskEvent.START:
        return {"run_number": str(env.record.run_number), "runNumber": str(env.record.run_number)}
    return {}


def call(env: Environment, index: int, call_id: str, step: Step) -> Call:
    """Return the call that a call role makes now."""
    assert env.workflow is not None
    role = env.workflow.roles[index]
    assert role.call is not None
    await_ = role.call.await_ or role.call.trigger
    return Call(
        call=call_id,
        function=role.call.func.partition("(")[0],
        arguments=(),
        variables={"environment_id": env.id},
        timeout_s=role.call.timeout_s,
        environment=env.id,
        role=role.path,
        moment=str(Moment(name=step.moment, weight=step.weight)),
        await_moment=str(await_ or ""),
        run_number=env.record.run_number,
    )


def duration(env: Environment, name: str, default: float) -> float:
    """Return a variable of the root role that is a duration, in seconds."""
    return default
