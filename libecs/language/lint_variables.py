"""Findings about variables: those that nothing reads, that nobody declares, and fields of forms that can't work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from libecs.errors import ExpressionError
from libecs.language import walk
from libecs.language.condition import Tree, parse_condition
from libecs.language.expression import Text
from libecs.language.fields import Finding, Severity, Variable
from libecs.language.form import check_spec
from libecs.language.marks import Mark
from libecs.language.program import suggest
from libecs.language.task import TaskTemplate
from libecs.language.template import CallBody, TemplateRole, WorkflowTemplate
from libecs.language.walk import READ_BY_THE_SYSTEM, SET_BY_THE_SYSTEM

READ_BY_INTEGRATIONS = {"odc": ("pdp_", "epn_", "tfb_"), "ddsched": ("dd_",)}
"""How the variables of an integration begin, beside its own name and "_"."""

SET_BY_THE_SYSTEM_PREFIXES = ("__", "consul_", "fill_info_", "taskResult")

LATE = ("run_dir", "run_number")
"""Variables that a controlled task gets with START, after its command was evaluated."""


def check(
    workflows: Collection[WorkflowTemplate],
    tasks: Collection[TaskTemplate],
    texts: Collection[Text],
    *,
    is_complete: bool,
) -> Iterator[Finding]:
    """Go through the findings. `texts`: all of the templates. `is_complete`: no other template may read variables."""
    roles = [role for workflow in workflows for role in walk.roles(workflow)]
    unused = list(_unused(roles, texts, Severity.WARNING if is_complete else Severity.HINT))
    yield from unused
    yield from _undeclared(roles, tasks, texts, {finding.message.split("'")[1] for finding in unused})
    for workflow in workflows:
        yield from _public(workflow)
    for task in tasks:
        yield from _late(task)


def _unused(roles: Collection[TemplateRole], texts: Collection[Text], severity: Severity) -> Iterator[Finding]:
    """Find variables that no text reads, no function gets by name, and no integration in use is known to read.

    Integrations get all variables; by custom the names of theirs hold their own name and "_". Workflows that are
    generated when they are included are not seen here, and may read more.
    """
    read = {name for text in texts for name in text.names} | READ_BY_THE_SYSTEM
    quoted = "\n".join(text.source for text in texts if text.calls)
    used = {role.body.func.source.strip().partition(".")[0] for role in roles if isinstance(role.body, CallBody)}
    prefixes = tuple(prefix for name in used for prefix in (f"{name}_", *READ_BY_INTEGRATIONS.get(name, ())))
    infixes = tuple(f"_{name}_" for name in used)
    suffixes = tuple(
        f"_{piece}" for text in texts if text.calls for piece in text.source.replace('"', "'").split("'")[1::2] if piece
    )
    undeclared = read - {variable.name for role in roles for _, variable in walk.variables(role)}
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
        yield Finding(
            mark=variable.mark,
            message=f"nothing here reads the variable {name!r}",
            code="unused-variable",
            severity=severity,
            hint=_did_you_mean(_near(name, undeclared)),
        )


def _undeclared(
    roles: Collection[TemplateRole], tasks: Collection[TaskTemplate], texts: Collection[Text], unused: set[str]
) -> Iterator[Finding]:
    """Find names that are read and that no template declares, each once.

    One that differs by a letter or two from a variable that nothing reads is misspelt; of others the request or the
    installation may know.
    """
    declared = {variable.name for role in roles for _, variable in walk.variables(role)}
    declared |= {role.loop.var for role in roles if role.loop is not None}
    declared |= {name for task in tasks for name in (*task.defaults, *task.vars)}
    declared |= {role.body.returns.source for role in roles if isinstance(role.body, CallBody)}
    known = declared | SET_BY_THE_SYSTEM | READ_BY_THE_SYSTEM
    seen: set[str] = set()
    for text in texts:
        for name in sorted(text.names - known - seen):
            if name.startswith(SET_BY_THE_SYSTEM_PREFIXES) or text.mark is None:
                continue
            seen.add(name)
            mark = text.mark.within(text.source, max(text.source.find(name), 0))
            near = _near(name, declared)
            sure = [other for other in near if other in unused or other.lower() == name.lower()]
            if sure:
                yield Finding(
                    mark=mark,
                    message=f"no template declares the variable {name!r}",
                    code="misspelt-variable",
                    severity=Severity.WARNING,
                    hint=_did_you_mean(sure),
                )
            else:
                yield Finding(
                    mark=mark,
                    message=f"no template declares the variable {name!r}: the request or the installation must",
                    code="undeclared-variable",
                    severity=Severity.HINT,
                    hint=_did_you_mean(near),
                )


def _did_you_mean(names: list[str]) -> str:
    return f"did you mean {names[0]}?" if names else ""


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Return names that are one change away: a letter more, less, other, or two exchanged; or other capitals."""
    return sorted(other for other in known if other.lower() == name.lower() or _one_change(name, other))


def _one_change(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 4:
        return False
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    if len(one) == len(other):
        swapped = one[at + 1 : at + 2] + one[at : at + 1]
        return one[at + 1 :] == other[at + 1 :] or (swapped == other[at : at + 2] and one[at + 2 :] == other[at + 2 :])
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer[at + 1 :] == shorter[at:]


def _public(workflow: WorkflowTemplate) -> Iterator[Finding]:
    """Find what is wrong with the form of one file."""
    variables = workflow.variables()
    by_name: dict[str, Variable] = {}
    for variable in variables:
        first = by_name.setdefault(variable.name, variable)
        if first is not variable:
            yield Finding(
                mark=variable.mark,
                message=f"the public variable {variable.name!r} stands in line {first.mark.line}, too",
                code="duplicate-variable",
                severity=Severity.ERROR,
                hint="keep one of them, or remove !public from one",
            )
    plain = {variable.name for role in walk.roles(workflow) for _, variable in walk.variables(role)} - by_name.keys()
    for variable in variables:
        spec = variable.spec
        assert spec is not None, "public variables have one"
        yield from check_spec(variable, spec)
        for key, source in (("visibleif", spec.visible_if), ("enabledif", spec.enabled_if)):
            if source.strip():
                yield from _condition(source, spec.marks.get(key, variable.mark), by_name, plain)


def _condition(source: str, mark: Mark, known: dict[str, Variable], plain: Collection[str]) -> Iterator[Finding]:
    try:
        tree = parse_condition(source, mark)
    except ExpressionError as error:
        place = Mark(error.file, error.line, error.column, mark.source)
        yield Finding(mark=place, message=error.reason, code="bad-condition", severity=Severity.ERROR, hint=error.hint)
        return
    for name in dict.fromkeys(tree.variables()):
        if name not in known:
            reason = "is not !public: a form does not know it" if name in plain else "is no public variable"
            yield Finding(
                mark=mark.within(source, max(source.find(f"$${name}"), 0)),
                message=f"$${name} {reason}",
                code="bad-condition",
                severity=Severity.WARNING,
                hint=suggest(name, known),
            )
    for comparison in tree.comparisons():
        yield from _never_equal(comparison, source, mark, known)


def _never_equal(comparison: Tree, source: str, mark: Mark, known: dict[str, Variable]) -> Iterator[Finding]:
    """Find comparisons of a variable with what it can't be: no text at all, or none of its values."""
    left, right = comparison.of
    if left.kind == "literal":
        left, right = right, left
    if left.kind != "variable" or right.kind != "literal":
        return
    variable = known.get(left.name)
    spec = variable.spec if variable is not None else None
    place = mark.within(source, max(source.find(f"$${left.name}"), 0))
    if not isinstance(right.value, str):
        if len(comparison.operator) == 3:
            text = str(right.value).lower()
            yield Finding(
                mark=place,
                message=f"$${left.name} is a text and never the same as {text}",
                code="bad-condition",
                hint=f'write "{text}"',
            )
    elif spec is not None and spec.values and spec.type != "list" and right.value not in spec.values:
        yield Finding(
            mark=place,
            message=f"$${left.name} is never `{right.value}`: that is not among its `values`",
            code="bad-condition",
            hint=suggest(right.value, spec.values),
        )


def _late(task: TaskTemplate) -> Iterator[Finding]:
    """Find what a controlled task can't know when it is launched."""
    if task.mode not in ("direct", "fairmq"):
        return
    texts = walk.task_texts(task)
    for text in (*texts.command, *texts.arguments, *texts.environment, *texts.others):
        for name in LATE:
            if name in text.names and text.mark is not None:
                yield Finding(
                    mark=text.mark,
                    message=f"{{{{ {name} }}}} is empty in the command of a {task.mode} task, which outlives runs",
                    code="late-variable",
                    hint="the task gets it as an argument of START",
                )
