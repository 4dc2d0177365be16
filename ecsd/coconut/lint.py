"""`coconut template lint`: what is wrong, or probably a mistake, in the templates of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import consult_options
from ecsd.coconut.output import Output, json_option, verb

INVALID = 9
"""Exit status of what is wrong."""


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
@click.argument("workflows", nargs=-1, shell_complete=templates)
@consult_options
@click.option("--strict", is_flag=True, help="Warnings end with 9, too.")
@click.option("--no-hints", is_flag=True, help="Leave out what could only be better.")
@json_option
@verb
def lint_templates(output: Output, workflows: tuple[str, ...], strict: bool, no_hints: bool, **options: Any) -> int:
    """Look for mistakes in templates."""
    from ecsd.coconut.consulting import Source

    source = Source(**options)
    document = source.answer(
        "template.lint",
        {
            "workflow": " ".join(source.workflow(name) for name in workflows),
            "repo": source.repository,
            "revision": source.revision,
            "strict": "1" if strict else "",
            "no_hints": "1" if no_hints else "",
        },
    )
    output.answer(document, _lines(document))
    return 0 if document["ok"] else INVALID


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    for finding in document["findings"]:
        mark = ":".join(str(finding[part]) for part in ("file", "line", "column"))
        yield f"{mark}: {finding['severity']} {finding['code']}: {finding['message']}"
        if finding["hint"]:
            yield f"    next: {finding['hint']}"
    told = [_counted(document[many], many[:-1]) for many in ("errors", "warnings", "hints")]
    yield f"{_counted(document['templates'], 'template')}: {', '.join(told)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
