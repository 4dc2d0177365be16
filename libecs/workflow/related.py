"""Templates that belong together: a workflow with all that it includes and loads, found without expanding it.

What a template includes by an expression, or what is generated later, can't be told from here; it is counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from libecs.errors import InvalidInput, NotFound, TemplateError
from libecs.language import walk
from libecs.language.expression import Text
from libecs.language.fields import Finding, Severity
from libecs.language.marks import Mark
from libecs.language.task import TaskTemplate, read_task
from libecs.language.template import IncludeBody, TaskBody, WorkflowTemplate, read_workflow
from libecs.workflow.source import Kind, Reference, TemplateSource, parse_reference


@attrs.frozen(kw_only=True)
class Related:
    """Templates that belong together."""

    workflows: tuple[WorkflowTemplate, ...]
    """Those that were asked for, and behind each what it includes, in the order of its file."""
    tasks: tuple[TaskTemplate, ...]
    findings: tuple[Finding, ...]
    """What could not be found or read."""
    is_complete: bool
    """True if nothing is missing, and nothing is included or loaded by an expression."""


def related(source: TemplateSource, workflows: Iterable[Reference], *, strict: bool = False) -> Related:
    """Return the templates that belong to some workflows, each once.

    Args:
        source: where they are.
        workflows: what to begin with.
        strict: a template that cannot be read is an error, not a finding. One that is not there never is, but of
            `workflows` themselves.

    Raises:
        NotFound: one of `workflows` is not there.
        TemplateError: as `read_workflow` and `read_task`, if `strict`.
        Missing: as the source.
    """
    gathering = _Gathering(source, strict)
    for reference in workflows:
        gathering.top(reference)
    return gathering.result()


class _Gathering:
    """What was found so far."""

    def __init__(self, source: TemplateSource, strict: bool) -> None:
        self._source = source
        self._strict = strict
        self._workflows: dict[str, WorkflowTemplate | None] = {}
        self._tasks: dict[str, TaskTemplate | None] = {}
        self._findings: list[Finding] = []
        self._is_complete = True

    def result(self) -> Related:
        """Return it."""
        return Related(
            workflows=tuple(one for one in self._workflows.values() if one is not None),
            tasks=tuple(one for one in self._tasks.values() if one is not None),
            findings=tuple(self._findings),
            is_complete=self._is_complete,
        )

    def top(self, reference: Reference) -> None:
        """Add a workflow that was asked for, with all that belongs to it."""
        if reference.key not in self._workflows:
            text, file = self._source.workflow(reference.name, reference.base)
            self._add(reference, text, file, reference.name)

    def _add(self, reference: Reference, text: str, file: str, name: str | None) -> None:
        """Add a workflow, then what it includes. A circle of includes ends here: each is read once."""
        self._workflows[reference.key] = None
        try:
            template = read_workflow(text, file, name=name)
        except TemplateError as error:
            self._unreadable(error)
            return
        self._workflows[reference.key] = template
        for role in walk.roles(template):
            if isinstance(role.body, IncludeBody):
                self._include(role.body.workflow, role.mark, reference.base)
            elif isinstance(role.body, TaskBody):
                self._load(role.body.load, role.mark, reference.base)

    def _include(self, text: Text, mark: Mark, base: str) -> None:
        reference = self._reference(text, mark, "workflows", base)
        if reference is None or reference.key in self._workflows:
            return
        try:
            found, file = self._source.workflow(reference.name, reference.base)
        except NotFound as error:
            self._workflows[reference.key] = None
            self._lost(text.mark or mark, error)
            return
        self._add(reference, found, file, None)

    def _load(self, text: Text, mark: Mark, base: str) -> None:
        reference = self._reference(text, mark, "tasks", base)
        if reference is None or reference.key in self._tasks:
            return
        self._tasks[reference.key] = None
        try:
            found, file = self._source.task(reference.name, reference.base)
        except NotFound as error:
            self._lost(text.mark or mark, error)
            return
        try:
            self._tasks[reference.key] = read_task(found, file, name=reference.name)
        except TemplateError as error:
            self._unreadable(error)

    def _reference(self, text: Text, mark: Mark, kind: Kind, base: str) -> Reference | None:
        """Return what a text means, None if that is known only later."""
        if not text.is_literal:
            self._is_complete = False
            return None
        try:
            return parse_reference(text.source, kind, base)
        except InvalidInput as error:
            self._is_complete = False
            place = text.mark or mark
            self._note(place, error.message, "bad-reference", Severity.ERROR, error.hint)
            return None

    def _lost(self, mark: Mark, error: NotFound) -> None:
        self._is_complete = False
        self._note(mark, error.message, "missing-template", Severity.WARNING, error.hint)

    def _unreadable(self, error: TemplateError) -> None:
        if self._strict:
            raise error
        self._is_complete = False
        mark = Mark(error.file, error.line, error.column)
        self._note(mark, error.reason, error.code, Severity.ERROR, error.hint)

    def _note(self, mark: Mark, message: str, code: str, severity: Severity, hint: str) -> None:
        self._findings.append(Finding(mark=mark, message=message, code=code, severity=severity, hint=hint))
