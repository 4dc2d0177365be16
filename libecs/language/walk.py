"""A walk through templates: their roles with what is around them, and every text that may hold {{ }}."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from libecs.language.expression import Text, compile_text
from libecs.language.fields import ChannelTemplate, Variable
from libecs.language.task import TaskTemplate
from libecs.language.template import (
    AggregatorBody,
    CallBody,
    CountRange,
    IncludeBody,
    ListRange,
    TaskBody,
    TemplateRole,
    WorkflowTemplate,
)
from libecs.language.yaml import Mapping as Mapping_
from libecs.language.yaml import Node, Scalar, Sequence, parse

READ_BY_THE_SYSTEM: Final = frozenset(
    {
        "auto_stop_enabled",
        "auto_stop_timeout",
        "deploy_timeout",
        "detector",
        "detectors",
        "hosts",
        "lhc_period",
        "original_run_number",
        "pdp_beam_type",
        "pdp_override_run_start_time",
        "run_type",
        "stop_at_beam_dump",
    }
)
"""Variables that have a meaning of their own."""


SET_BY_THE_SYSTEM: Final = frozenset(
    {
        "core_hostname",
        "detectors",
        "enter_state_time_ms",
        "environment_id",
        "framework_id",
        "last_request_user",
        "run_dir",
        "run_end_completion_time_ms",
        "run_end_time_ms",
        "run_number",
        "run_start_completion_time_ms",
        "run_start_time_ms",
        "run_type",
        "task_class_name",
        "task_hostname",
        "task_id",
        "task_name",
        "task_parent_role",
    }
)
"""Variables that have a value although no template gives them one."""


@attrs.frozen
class Place:
    """A role, and the roles of its file around it, the root first."""

    role: TemplateRole
    above: tuple[TemplateRole, ...] = ()


def places(template: WorkflowTemplate) -> Iterator[Place]:
    """Go through all roles of a file in its order. Its depth is bounded, and so is this recursion."""
    yield from _places(template.root, ())


def _places(role: TemplateRole, above: tuple[TemplateRole, ...]) -> Iterator[Place]:
    yield Place(role, above)
    if isinstance(role.body, AggregatorBody):
        for child in role.body.roles:
            yield from _places(child, (*above, role))


def roles(template: WorkflowTemplate) -> Iterator[TemplateRole]:
    """Go through all roles of a file in its order."""
    for place in places(template):
        yield place.role


def variables(role: TemplateRole) -> Iterator[tuple[str, Variable]]:
    """Go through the variables of a role, each with its layer, `defaults` or `vars`."""
    for variable in role.defaults:
        yield "defaults", variable
    for variable in role.vars:
        yield "vars", variable


def role_texts(role: TemplateRole) -> Iterator[Text]:
    """Go through all texts of a role, those of its variables included."""
    yield role.name
    if role.enabled is not None:
        yield role.enabled
    yield from (variable.text for variable in (*role.defaults, *role.vars))
    yield from (item.value for item in role.constraints)
    yield from _channel_texts((*role.bind, *role.connect))
    yield from role.start_after
    if isinstance(role.loop, ListRange):
        yield role.loop.range
    elif isinstance(role.loop, CountRange):
        yield from (role.loop.begin, role.loop.end)
    body = role.body
    if isinstance(body, IncludeBody):
        yield body.workflow
    elif isinstance(body, TaskBody):
        yield from (body.load, body.traits.trigger, body.traits.await_, body.traits.timeout)
    elif isinstance(body, CallBody):
        yield from (body.func, body.returns, body.traits.trigger, body.traits.await_, body.traits.timeout)


@attrs.frozen(kw_only=True)
class TaskTexts:
    """The texts of a task template, each with its place, which `TaskTemplate` does not keep."""

    command: tuple[Text, ...]
    """None or one."""
    arguments: tuple[Text, ...]
    environment: tuple[Text, ...]
    others: tuple[Text, ...]
    """User, outputs, endpoint."""
    defaults: Mapping[str, Text]
    vars: Mapping[str, Text]
    properties: Mapping[str, Text]


def task_texts(task: TaskTemplate) -> TaskTexts:
    """Return the texts of a task template, read again from the lines that its mark keeps."""
    assert task.mark.source is not None, "templates are read from text"
    root = parse("\n".join(task.mark.source.lines), task.file)
    assert isinstance(root, Mapping_), "it was read before"
    command, control = root.get("command"), root.get("control")
    others = [*_scalars(command, "user", "stdout", "stderr", "log", "cwd"), *_scalars(control, "endpoint")]
    return TaskTexts(
        command=tuple(_scalars(command, "value")),
        arguments=tuple(_items(command, "arguments")),
        environment=tuple(_items(command, "env")),
        others=tuple(others),
        defaults=dict(_entries(root, "defaults")),
        vars=dict(_entries(root, "vars")),
        properties=dict(_entries(root, "properties")),
    )


def all_task_texts(task: TaskTemplate) -> Iterator[Text]:
    """Go through all texts of a task template."""
    texts = task_texts(task)
    yield from (*texts.command, *texts.arguments, *texts.environment, *texts.others)
    yield from (*texts.defaults.values(), *texts.vars.values(), *texts.properties.values())
    yield from (item.value for item in task.constraints)
    yield from _channel_texts((*task.bind, *task.connect))


def _scalars(node: Node | None, *keys: str) -> Iterator[Text]:
    if isinstance(node, Mapping_):
        for key in keys:
            found = node.get(key)
            if isinstance(found, Scalar) and not found.is_null:
                yield compile_text(found.text, found.mark)


def _items(node: Node | None, key: str) -> Iterator[Text]:
    found = node.get(key) if isinstance(node, Mapping_) else None
    for item in found if isinstance(found, Sequence) else ():
        if isinstance(item, Scalar):
            yield compile_text("" if item.is_null else item.text, item.mark)


def _entries(root: Mapping_, key: str) -> Iterator[tuple[str, Text]]:
    found = root.get(key)
    for name, value in found if isinstance(found, Mapping_) else ():
        node = value.get("value") if isinstance(value, Mapping_) and value.is_public else value
        if isinstance(node, Scalar):
            yield name.text, compile_text("" if node.is_null else node.text, node.mark)


def _channel_texts(channels: Iterable[ChannelTemplate]) -> Iterator[Text]:
    for channel in channels:
        yield channel.target
        yield channel.global_
        yield compile_text(channel.rate_logging, channel.mark)
