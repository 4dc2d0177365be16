"""From task templates as they are written to task classes as the engine knows them."""

from __future__ import annotations

from libecs.language.fields import ChannelTemplate
from libecs.language.task import Resources, TaskTemplate
from libecs.workflow.role import Channel, Constraint, Limits, Mode, TaskClass

_MODES = {"direct": Mode.DIRECT, "fairmq": Mode.FAIRMQ, "basic": Mode.BASIC, "hook": Mode.HOOK}


def task_class(template: TaskTemplate, key: str) -> TaskClass:
    """Return the task class of a template. `key`: its name in `Workflow.classes`."""
    return TaskClass(
        name=key,
        mode=_MODES[template.mode],
        defaults=template.defaults,
        vars=template.vars,
        command=template.command,
        arguments=template.arguments,
        environment=template.environment,
        user=template.user,
        shell=template.shell,
        stdout=template.stdout,
        stderr=template.stderr,
        wants=_limits(template.wants),
        limits=_limits(template.limits),
        properties=template.properties,
        bind=tuple(channel(item, item.target.source, item.global_.source) for item in template.bind),
        connect=tuple(channel(item, "", "") for item in template.connect),
        constraints=tuple(
            Constraint(attribute=item.attribute, value=item.value.source) for item in template.constraints
        ),
        endpoint=template.endpoint,
        liveness=template.liveness,
        reconfigure=template.reconfigure,
        stop=template.stop,
        file=template.file,
        transition_s=template.transition_s,
        on_exit=template.on_exit,
        stop_s=template.stop_s,
        cwd=template.cwd,
    )


def channel(template: ChannelTemplate, target: str, global_: str) -> Channel:
    """Return a channel with its target and its global name evaluated."""
    return Channel(
        name=template.name,
        type=template.type,
        send_buffer=template.send_buffer,
        receive_buffer=template.receive_buffer,
        rate_logging=template.rate_logging,
        transport=template.transport,
        target=target,
        addressing=template.addressing,
        global_=global_,
    )


def _limits(resources: Resources) -> Limits:
    return Limits(cpu=resources.cpu, memory_mb=resources.memory_mb, ports=resources.ports)
