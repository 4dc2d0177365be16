"""`coconut template lint`: what is wrong, or probably a mistake, in the templates of a repository."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import click

from ecsd.coconut.findings import finding_document
from ecsd.coconut.options import read_inputs, repository_options
from ecsd.coconut.output import Output, json_option, verb
from libecs.config.tree import Tree
from libecs.errors import InvalidInput, TemplateError
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


@click.command(
    "lint",
    help="""Look for mistakes in templates: unknown keys, variables that nothing reads, commands that a shell misreads,
    channels that lead nowhere, roles that never run. Without names, all templates of the repository. Exit status 9 if
    there is an error; --strict: a warning is enough.

    \b
    Examples:
      coconut template lint --repo examples/demo
      coconut template lint demo --repo examples/demo --strict
      coconut template lint --repo examples/demo --json
    """,
)
@click.argument("workflows", nargs=-1)
@repository_options
@click.option("--strict", is_flag=True, help="Warnings end with 9, too.")
@click.option("--no-hints", is_flag=True, help="Leave out what could only be better.")
@json_option
@verb
def lint_templates(
    output: Output, workflows: tuple[str, ...], repo: str, revision: str, strict: bool, no_hints: bool
) -> int:
    """Look for mistakes in templates."""
    from ecsd.coconut.expanding import open_source

    inputs = read_inputs(repo=repo, revision=revision)
    source, _ = open_source(inputs.repo, revision, "any")
    found, templates = find(source, tuple(open_source(inputs.repo, revision, name)[1] for name in workflows))
    if no_hints:
        found = tuple(finding for finding in found if finding.severity is not Severity.HINT)
    counts = Counter(finding.severity for finding in found)
    wrong = bool(counts[Severity.ERROR] or (strict and counts[Severity.WARNING]))
    fields = {
        "repository": source.repository,
        "revision": source.revision,
        "ok": not wrong,
        "templates": templates,
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "hints": counts[Severity.HINT],
        "findings": [finding_document(finding) for finding in found],
    }
    output.document("template-lint", fields, _lines(found, counts, templates))
    return InvalidInput.exit_code if wrong else 0


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


def _lines(found: Iterable[Finding], counts: Counter[Severity], templates: int) -> Iterator[str]:
    for finding in found:
        yield f"{finding.mark}: {finding.severity.name.lower()} {finding.code}: {finding.message}"
        if finding.hint:
            yield f"    next: {finding.hint}"
    told = [f"{counts[one]} {one.name.lower()}{'s' if counts[one] != 1 else ''}" for one in reversed(Severity)]
    yield f"{templates} template{'s' if templates != 1 else ''}: {', '.join(told)}"
