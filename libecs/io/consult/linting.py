"""Findings about templates: of some workflows with all that belongs to them, or of a whole repository."""

from __future__ import annotations

from collections import Counter
from typing import Any

from libecs.config.tree import Tree
from libecs.errors import TemplateError
from libecs.io.repository import RepositorySource
from libecs.language import lint
from libecs.language.fields import Finding, Severity
from libecs.language.functions import pure_functions
from libecs.language.marks import Mark
from libecs.language.task import read_task
from libecs.workflow.related import Related, related
from libecs.workflow.services import Services, functions
from libecs.workflow.source import Reference

UNUSED = "unused-variable"


def lint_document(source: RepositorySource, names: tuple[str, ...], *, strict: bool, hints: bool) -> dict[str, Any]:
    """Return what is wrong in templates, or probably a mistake.

    Args:
        source: where they are.
        names: workflows; () = all templates.
        strict: `ok` needs no warnings either.
        hints: tell what could only be better, too.

    Raises:
        NotFound: there is no workflow of such a name.
    """
    found, templates = find(source, names)
    if not hints:
        found = tuple(finding for finding in found if finding.severity is not Severity.HINT)
    counts = Counter(finding.severity for finding in found)
    return {
        "repository": source.repository,
        "revision": source.revision,
        "ok": not (counts[Severity.ERROR] or (strict and counts[Severity.WARNING])),
        "templates": templates,
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "hints": counts[Severity.HINT],
        "findings": [finding_document(finding) for finding in found],
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return one finding as JSON."""
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "file": finding.mark.file,
        "line": finding.mark.line,
        "column": finding.mark.column,
        "message": finding.message,
        "hint": finding.hint,
    }


def find(source: RepositorySource, names: tuple[str, ...]) -> tuple[tuple[Finding, ...], int]:
    """Return the findings about some workflows with all that belongs to them, or about a whole repository (no names).

    The second value is the number of templates that were looked at.

    Raises:
        NotFound: there is no workflow of such a name.
    """
    wanted = names or source.names("workflows")
    gathered = related(source, [Reference(name, "") for name in wanted])
    tasks, lost = (*gathered.tasks,), list[Finding]()
    if not names:
        known = {task.name for task in tasks} | {finding.mark.file for finding in gathered.findings}
        for name in source.names("tasks"):
            if name not in known and f"tasks/{name}.yaml" not in known:
                try:
                    tasks = (*tasks, read_task(*source.task(name, ""), name=name))
                except TemplateError as error:
                    lost.append(_unreadable(error))
    table = functions(pure_functions(str), Services(Tree(), {}, {}, {}))
    found = lint.check(
        gathered.workflows, tasks, functions=frozenset(table), is_complete=gathered.is_complete and not lost
    )
    if names and not gathered.is_complete:
        # Templates that only an expression names may read what these declare: all of the repository are asked.
        unread = {str(finding.mark) for finding in find(source, ())[0] if finding.code == UNUSED}
        found = tuple(one for one in found if one.code != UNUSED or str(one.mark) in unread)
    return lint.in_order((*found, *gathered.findings, *lost)), _count(gathered, len(tasks), lost)


def _count(gathered: Related, tasks: int, lost: list[Finding]) -> int:
    unreadable = [one for one in (*gathered.findings, *lost) if one.code.startswith("E_")]
    return len(gathered.workflows) + tasks + len(unreadable)


def _unreadable(error: TemplateError) -> Finding:
    mark = Mark(error.file, error.line, error.column)
    return Finding(mark=mark, message=error.reason, code=error.code, severity=Severity.ERROR, hint=error.hint)
