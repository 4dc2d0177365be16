"""`coconut template list | show | expand`: look at workflow templates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import consult_options, input_options, read_inputs
from ecsd.coconut.output import Column, Output, aligned, json_option, list_options, verb


@click.command(
    "list",
    help="""List the workflow templates of a repository: those meant for users, or with --all every one.

    PLACE may name one of a core's repositories and its revision, as NAME or NAME@REVISION.

    \b
    Examples:
      coconut template list --repo examples/demo
      coconut template list --repo examples/demo --all --json
      coconut template list ControlWorkflows@master
    """,
)
@click.argument("place", required=False, default="")
@consult_options
@click.option("-a", "--all", "every", is_flag=True, help="Those for inclusion only, too.")
@list_options
@verb
def list_templates(output: Output, place: str, every: bool, **options: Any) -> None:
    """List the workflow templates of a repository."""
    from ecsd.coconut.consulting import Source

    repository, _, revision = place.partition("@")
    options |= {"repository": options["repository"] or repository, "revision": options["revision"] or revision}
    source = Source(**options)
    document = source.answer(
        "template.list", {"repo": source.repository, "revision": source.revision, "all": "1" if every else ""}
    )
    if output.form != "table" or output.has_fields:
        output.listing(document, "templates", _COLUMNS)
        return
    rows = document["templates"]
    lines = [f"{document['repository']} at {document['revision']}"]
    lines += [f"  {line}" for line in aligned([[row["name"], _COLUMNS[1].text(row)] for row in rows])] if rows else []
    if not rows:
        lines.append("  no templates" + ("" if every else " that are !public; see --all"))
    output.answer(document, lines)


def _described(row: Mapping[str, Any]) -> str:
    error = row["error"]
    return f"cannot be read: {str(error).splitlines()[0]}" if error else str(row["description"])


_COLUMNS = (
    Column("name", lambda row: row["name"]),
    Column("description", _described),
    Column("public", lambda row: "yes" if row["public"] else "no", wide=True),
)


@click.command(
    "show",
    help="""Show what a workflow template asks for: its public variables by panel, and with --text the file itself.

    \b
    Examples:
      coconut template show demo --repo examples/demo
      coconut template show demo --repo examples/demo --text
    """,
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@click.option("--text", "whole", is_flag=True, help="Print the file as it is.")
@json_option
@verb
def show(output: Output, workflow: str, whole: bool, **options: Any) -> None:
    """Show one workflow template."""
    from ecsd.coconut.consulting import Source

    source = Source(**options)
    document = source.answer("template.show", {"workflow": source.workflow(workflow), "text": "1" if whole else ""})
    output.answer(document, [document["text"].rstrip("\n")] if whole else _show_lines(document))


def _show_lines(document: Mapping[str, Any]) -> list[str]:
    lines = [f"{document['name']}  {document['description']}".rstrip(), f"{document['repository']}:{document['file']}"]
    panels: dict[str, list[dict[str, Any]]] = {}
    for variable in document["variables"]:
        panels.setdefault(variable["panel"] or "other", []).append(variable)
    for panel, variables in panels.items():
        lines += ["", panel]
        for variable in sorted(variables, key=lambda one: one["index"]):
            choice = f"  one of {', '.join(variable['values'])}" if variable["values"] else ""
            lines.append(f"  {variable['name']} = {variable['value']!r}  {variable['description']}{choice}".rstrip())
    return lines


@click.command(
    "expand",
    help="""Print the tree of roles that a workflow template becomes with these variables and this configuration.

    \b
    Examples:
      coconut template expand demo --repo examples/demo
      coconut template expand demo --repo examples/demo -e 'hosts=["a"]' --json
    """,
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@input_options
@click.option("--variables", is_flag=True, help="Add to each role all variables that it sees, with the winning values.")
@json_option
@verb
def expand(
    output: Output,
    workflow: str,
    variables: bool,
    repo: str,
    repository: str,
    revision: str,
    local: bool,
    context: str | None,
    **options: Any,
) -> None:
    """Print the tree that a template becomes."""
    from ecsd.coconut.consulting import Source, local_consultant
    from ecsd.coconut.variables import parse_variables

    source = Source(repo=repo, repository=repository, revision=revision, local=local, context=context)
    arguments = {
        "workflow": source.workflow(workflow),
        "variables": json.dumps(parse_variables(options["extra_vars"])),
        "all_variables": "1" if variables else "",
    }
    if source.here:
        document = local_consultant(read_inputs(repo=repo, revision=revision, **options)).document(
            "template.expand", arguments
        )
    else:
        document = source.answer("template.expand", arguments)
    for note in document["notes"]:
        output.say(f"note: {note}")
    output.answer(document, tree_lines(document))


def tree_lines(tree: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Return one line a role, indented by its depth."""
    parts = [f"{'  ' * depth}{tree['name']}"]
    traits = tree.get("task") or tree.get("call") or {}
    if "task" in tree:
        parts.append(f"{tree['task']['class']} ({tree['task']['mode']})")
    if "call" in tree:
        parts.append(tree["call"]["func"])
    if traits.get("trigger"):
        parts.append(f"at {traits['trigger']}")
    if traits and not tree["critical"]:
        parts.append("not critical")
    yield "  ".join(parts)
    for child in tree["children"]:
        yield from tree_lines(child, depth + 1)


def roles(tree: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return every role of a tree, the root first."""
    yield tree
    for child in tree["children"]:
        yield from roles(child)
