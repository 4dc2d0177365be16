"""`coconut template list | show | expand`: look at workflow templates."""

from __future__ import annotations

from typing import Any

import click

from ecsd.coconut.options import input_options, read_inputs, repository_options
from ecsd.coconut.output import Output, json_option, verb
from libecs.language.fields import Variable
from libecs.language.template import WorkflowTemplate, read_workflow


@click.command(
    "list",
    help="""List the workflow templates of a repository: those meant for users, or with --all every one.

    \b
    Examples:
      coconut template list --repo examples/demo
      coconut template list --repo examples/demo --all --json
    """,
)
@repository_options
@click.option("--all", "every", is_flag=True, help="Those for inclusion only, too.")
@json_option
@verb
def list_templates(output: Output, repo: str, revision: str, every: bool) -> None:
    """List the workflow templates of a repository."""
    from ecsd.coconut.expanding import open_source
    from libecs.io.repository import list_workflows

    inputs = read_inputs(repo=repo, revision=revision)
    source, _ = open_source(inputs.repo, revision, "any")
    found = list_workflows(source, public_only=not every)
    rows = [
        {
            "name": one.name,
            "public": one.template is not None and one.template.public,
            "description": one.template.description if one.template is not None else "",
            "error": str(one.error) if one.error is not None else None,
        }
        for one in found
    ]
    width = max((len(one.name) for one in found), default=0)
    lines = [f"{source.repository} at {source.revision}"]
    for row in rows:
        text = f"cannot be read: {str(row['error']).splitlines()[0]}" if row["error"] else row["description"]
        lines.append(f"  {row['name']:<{width}}  {text}".rstrip())
    if not rows:
        lines.append("  no templates" + ("" if every else " that are !public; see --all"))
    output.document(
        "template-list", {"repository": source.repository, "revision": source.revision, "templates": rows}, lines
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
@click.argument("workflow")
@repository_options
@click.option("--text", "whole", is_flag=True, help="Print the file as it is.")
@json_option
@verb
def show(output: Output, workflow: str, repo: str, revision: str, whole: bool) -> None:
    """Show one workflow template."""
    from ecsd.coconut.expanding import open_source

    inputs = read_inputs(repo=repo, revision=revision)
    source, name = open_source(inputs.repo, revision, workflow)
    text, file = source.workflow(name, "")
    template = read_workflow(text, file, name=name)
    document: dict[str, Any] = {
        "name": template.name,
        "repository": source.repository,
        "revision": source.revision,
        "file": file,
        "public": template.public,
        "description": template.description,
        "variables": [_variable_document(variable) for variable in template.variables()],
        "findings": [str(finding) for finding in template.findings],
    }
    if whole:
        document["text"] = text
    output.document("template", document, [text.rstrip("\n")] if whole else _show_lines(template, document))


def _variable_document(variable: Variable) -> dict[str, Any]:
    spec = variable.spec
    assert spec is not None, "public variables have one"
    return {
        "name": variable.name,
        "value": variable.text.source,
        "type": spec.type,
        "label": spec.label,
        "description": spec.description,
        "widget": spec.widget,
        "panel": spec.panel,
        "values": list(spec.values),
        "index": spec.index,
        "line": variable.mark.line,
    }


def _show_lines(template: WorkflowTemplate, document: dict[str, Any]) -> list[str]:
    lines = [f"{template.name}  {template.description}".rstrip(), f"{document['repository']}:{document['file']}"]
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
@click.argument("workflow")
@repository_options
@input_options
@click.option("--variables", is_flag=True, help="Add to each role all variables that it sees, with the winning values.")
@json_option
@verb
def expand(output: Output, workflow: str, variables: bool, **options: Any) -> None:
    """Print the tree that a template becomes."""
    from ecsd.coconut.expanding import expand_inputs
    from libecs.workflow.render import to_json, to_lines

    expansion = expand_inputs(workflow, read_inputs(**options))
    for note in expansion.notes:
        output.say(f"note: {note}")
    expanded = expansion.workflow
    document = {
        "workflow": expanded.name,
        "repository": expanded.repository,
        "revision": expanded.revision,
        "notes": list(expansion.notes),
        **to_json(expanded, all_variables=variables),
    }
    output.document("template-expand", document, to_lines(expanded))
