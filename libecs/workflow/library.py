"""The templates of one expansion: each is read once, and an error says who asked for it."""

from __future__ import annotations

from collections.abc import Mapping

from libecs.errors import NotFound, TemplateError
from libecs.language.fields import Finding
from libecs.language.marks import Mark
from libecs.language.task import TaskTemplate, read_task
from libecs.language.template import WorkflowTemplate, read_workflow
from libecs.workflow.classes import task_class
from libecs.workflow.role import TaskClass
from libecs.workflow.source import Reference, TemplateSource


class Library:
    """Templates by reference, and the task classes that they make."""

    def __init__(self, source: TemplateSource, characters: int) -> None:
        """`characters`: how much may be read."""
        self.source = source
        self.left = characters
        """Characters that may still be read; negative once it was too much."""
        self.findings: list[Finding] = []
        self._workflows: dict[str, WorkflowTemplate] = {}
        self._tasks: dict[str, TaskTemplate] = {}
        self._classes: dict[str, TaskClass] = {}

    @property
    def classes(self) -> Mapping[str, TaskClass]:
        """All task classes so far, by the keys of their references, sorted."""
        return {key: self._classes[key] for key in sorted(self._classes)}

    def top(self, reference: Reference) -> WorkflowTemplate:
        """Return the workflow template that expansion begins with; its name must be that of its file.

        Raises:
            NotFound: there is none.
            TemplateError: it is wrong.
            Missing: as the source.
        """
        text, file = self._counted(self.source.workflow(reference.name, reference.base))
        return self._keep(reference, read_workflow(text, file, name=reference.name))

    def included(self, reference: Reference, asking: Mark, path: str) -> WorkflowTemplate:
        """Return a workflow template that role `path` includes, at `asking`. Raises as `task`."""
        template = self._workflows.get(reference.key)
        if template is not None:
            return template
        try:
            text, file = self._counted(self.source.workflow(reference.name, reference.base))
        except NotFound as error:
            raise asking.error(error.message, hint=error.hint, path=path) from None
        return self._keep(reference, read_workflow(text, file))

    def task(self, reference: Reference, asking: Mark, path: str) -> tuple[TaskTemplate, TaskClass]:
        """Return a task template that role `path` loads, at `asking`, with its class.

        Raises:
            TemplateError: there is none, or it is wrong.
            Missing: as the source.
        """
        template = self._tasks.get(reference.key)
        if template is None:
            try:
                text, file = self._counted(self.source.task(reference.name, reference.base))
            except NotFound as error:
                raise asking.error(error.message, hint=error.hint, path=path) from None
            template = self._tasks[reference.key] = read_task(text, file, name=reference.name)
            self._classes[reference.key] = task_class(template, reference.key)
            self.findings.extend(template.findings)
        return template, self._classes[reference.key]

    def _counted(self, found: tuple[str, str]) -> tuple[str, str]:
        self.left -= len(found[0])
        if self.left < 0:
            raise TemplateError("the templates of this workflow are too long together", file=found[1])
        return found

    def _keep(self, reference: Reference, template: WorkflowTemplate) -> WorkflowTemplate:
        self._workflows[reference.key] = template
        self.findings.extend(template.findings)
        return template
