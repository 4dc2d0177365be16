"""What is allowed in templates and probably a mistake: found without expanding them.

Reading a file already notes unknown keys and dropped variables; this adds what needs a look at several files: variables
that nothing reads, moments that never come, names of old functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from libecs.fsm import EnvEvent, EnvState
from libecs.language.expression import Text, compile_text
from libecs.language.fields import ChannelTemplate, Finding, Variable
from libecs.language.functions import ALIASES
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

MOMENTS = frozenset(
    [f"{when}_{event.name}" for when in ("before", "after") for event in EnvEvent]
    + [f"{when}_{state.name}" for when in ("leave", "enter") for state in EnvState]
    + ["before_DESTROY", "DESTROY", "after_DESTROY"]
)
"""Names of the moments at which hooks run."""

READ_BY_THE_SYSTEM = frozenset(
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

READ_BY_INTEGRATIONS = {"odc": ("pdp_", "epn_", "tfb_"), "ddsched": ("dd_",)}
"""How the variables of an integration begin, beside its own name and "_"."""


def check(workflows: Iterable[WorkflowTemplate], tasks: Iterable[TaskTemplate]) -> tuple[Finding, ...]:
    """Return the findings about templates that belong together, in the order of files and lines."""
    workflows, tasks = tuple(workflows), tuple(tasks)
    roles = [role for workflow in workflows for role in _roles(workflow.root)]
    texts = [text for role in roles for text in _texts(role)]
    texts += [text for task in tasks for text in _task_texts(task)]
    findings = [finding for template in workflows for finding in template.findings]
    findings += [finding for template in tasks for finding in template.findings]
    findings += _unused(roles, texts)
    findings += _moments(roles)
    findings += _aliases(texts)
    return tuple(sorted(findings, key=lambda finding: (finding.mark.file, finding.mark.line, finding.mark.column)))


def _roles(role: TemplateRole) -> Iterator[TemplateRole]:
    yield role
    if isinstance(role.body, AggregatorBody):
        for child in role.body.roles:
            yield from _roles(child)


def _texts(role: TemplateRole) -> Iterator[Text]:
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


def _channel_texts(channels: Iterable[ChannelTemplate]) -> Iterator[Text]:
    for channel in channels:
        yield channel.target
        yield channel.global_
        yield compile_text(channel.rate_logging, channel.mark)


def _task_texts(task: TaskTemplate) -> Iterator[Text]:
    sources = [task.command, task.user, task.stdout, task.stderr, task.endpoint, *task.arguments, *task.environment]
    sources += [*task.defaults.values(), *task.vars.values(), *task.properties.values()]
    yield from (compile_text(source, task.mark) for source in sources)
    yield from (item.value for item in task.constraints)
    yield from _channel_texts((*task.bind, *task.connect))


def _unused(roles: Iterable[TemplateRole], texts: Iterable[Text]) -> Iterator[Finding]:
    """Find variables that no text reads, no function gets by name, and no integration in use is known to read.

    Integrations get all variables; by custom the names of theirs hold their own name and "_". Workflows that are
    generated when they are included are not seen here, and may read more.
    """
    roles, texts = tuple(roles), tuple(texts)
    read = {name for text in texts for name in text.names} | READ_BY_THE_SYSTEM
    quoted = "\n".join(text.source for text in texts if text.calls)
    used = {role.body.func.source.strip().partition(".")[0] for role in roles if isinstance(role.body, CallBody)}
    prefixes = tuple(prefix for name in used for prefix in (f"{name}_", *READ_BY_INTEGRATIONS.get(name, ())))
    infixes = tuple(f"_{name}_" for name in used)
    suffixes = tuple(
        f"_{piece}" for text in texts if text.calls for piece in text.source.replace('"', "'").split("'")[1::2] if piece
    )
    seen: set[str] = set()
    variables: Iterable[Variable] = (variable for role in roles for variable in (*role.defaults, *role.vars))
    for variable in variables:
        name = variable.name
        if name in read or name in seen or name.startswith(prefixes) or name.endswith(suffixes):
            continue
        if any(infix in name for infix in infixes):
            continue
        if f"'{name}'" in quoted or f'"{name}"' in quoted:
            continue
        seen.add(name)
        yield Finding(mark=variable.mark, message=f"nothing here reads the variable {name!r}")


def _moments(roles: Iterable[TemplateRole]) -> Iterator[Finding]:
    for role in roles:
        if not isinstance(role.body, (TaskBody, CallBody)):
            continue
        traits = role.body.traits
        for what, text in (("trigger", traits.trigger), ("await", traits.await_)):
            if not text.is_literal or not text.source.strip():
                continue
            name = text.source.strip()
            at = max(name.rfind("+"), name.rfind("-"))
            if (name[:at] if at >= 0 else name) not in MOMENTS:
                yield Finding(mark=text.mark or role.mark, message=f"the moment {name!r} of `{what}` never comes")
        if isinstance(role.body, TaskBody) and traits.await_.source and traits.await_.source != traits.trigger.source:
            mark = traits.await_.mark or role.mark
            yield Finding(mark=mark, message="`await` of a task is ignored: a hook task is waited for where it begins")


def _aliases(texts: Iterable[Text]) -> Iterator[Finding]:
    for text in texts:
        for path in sorted(text.calls):
            new = ALIASES.get(".".join(path))
            if new is not None and text.mark is not None:
                yield Finding(mark=text.mark, message=f"{path[0]}() is the old name of {new}()")
