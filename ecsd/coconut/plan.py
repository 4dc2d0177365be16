"""`coconut environment plan`: who would run where and why, which steps, and what is missing. Nothing is launched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import consult_options, input_options, read_inputs
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from ecsd.coconut.options import Inputs
    from libecs.io.embedded import NodeDescription

_TOLD = ("calls", "await", "hooks")
"""Kinds of steps whose roles are told one by one."""


@click.command(
    help="""Say who would run where and why, the steps of every transition, and what is missing. Nothing is launched.

    The exit code is 9 if the plan can't work. A core plans with its nodes as they are now; with --repo or --nodes no
    core is asked.

    \b
    Examples:
      coconut environment plan demo --repo examples/demo --nodes 3
      coconut environment plan demo --repo examples/demo --nodes 3 --json
    """
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@input_options
@json_option
@verb
def plan(
    output: Output,
    workflow: str,
    repo: str,
    repository: str,
    revision: str,
    local: bool,
    context: str | None,
    **options: Any,
) -> int:
    """Plan an environment."""
    from ecsd.coconut.consulting import Source
    from ecsd.coconut.variables import parse_variables

    source = Source(
        repo=repo, repository=repository, revision=revision, local=local or bool(options["nodes"]), context=context
    )
    if source.here:
        document = plan_here(workflow, read_inputs(repo=repo, revision=revision, **options))
    else:
        variables = json.dumps(parse_variables(options["extra_vars"]))
        document = source.answer("environment.plan", {"workflow": source.workflow(workflow), "variables": variables})
    return show_plan(output, document)


def show_plan(output: Output, document: Mapping[str, Any]) -> int:
    """Print a plan; return the exit status."""
    for note in document.get("notes", ()):
        output.say(f"note: {note}")
    output.answer(document, plan_lines(document) if "tree" in document else _nothing(document))
    return 0 if document["ok"] else InvalidInput.exit_code


def plan_here(workflow: str, inputs: Inputs) -> dict[str, Any]:
    """Return the plan of a workflow on nodes that this machine plays. Raises UsageError, NotFound, InvalidInput."""
    from ecsd.coconut.consulting import local_consultant
    from ecsd.coconut.nodes import nodes_for
    from libecs.io.consult.consultant import no_plan

    try:
        consultant = local_consultant(inputs)
        found = consultant.look(workflow, inputs.variables)
    except (NotFound, InvalidInput) as error:
        return no_plan(workflow, error)
    nodes = nodes_for(inputs.nodes, inputs.variables, found.workflow)
    return consultant.plan(
        found, [offer(node) for node in nodes], fixed_ports=[node.name for node in nodes if node.ports]
    )


def offer(node: NodeDescription) -> Any:
    """Return a node as placement sees it before anything runs."""
    from libecs.engine.placement import FIRST_PORT, NodeOffer
    from libecs.io.embedded import PORTS_EACH

    return NodeOffer(
        name=node.name,
        host="127.0.0.1",
        attributes=node.attributes,
        cpus=node.cpus,
        memory_mb=node.memory_mb,
        ports=node.ports or ((FIRST_PORT, FIRST_PORT + PORTS_EACH - 1),),
    )


def _nothing(document: Mapping[str, Any]) -> Iterator[str]:
    """Tell that there is not even a tree."""
    error = document["error"]
    yield "The plan can't work; nothing was launched. Missing, or wrong:"
    yield f"  {error['message']}"
    if error.get("hint"):
        yield f"  next: {error['hint']}"


def plan_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Return a plan for people."""
    from ecsd.coconut.template import roles

    by_path = {role["path"]: role for role in roles(document["tree"])}
    yield f"{document['workflow']} of {document['repository']} at {document['revision']}"
    yield ""
    yield from _tree_lines(document, by_path)
    for transition in document["transitions"]:
        yield ""
        yield f"{transition['event']}: {transition['source']} to {transition['target']}"
        for number, step in enumerate(transition["steps"], 1):
            yield f"  {number:2}. {step['text']}"
            if step["kind"] in _TOLD:
                yield from (f"        {_role_words(by_path[path])}" for path in step["roles"])
    yield ""
    if document["ok"]:
        yield "The plan works; nothing was launched."
        return
    yield "The plan can't work; nothing was launched. Missing:"
    yield from _grouped(document["unplaced"])
    yield from (f"  {what}" for what in document["missing"])


def _grouped(unplaced: Mapping[str, str]) -> Iterator[str]:
    """Return why tasks have no node, those with the same reason on one line."""
    from ecsd.coconut.finding import some

    paths: dict[str, list[str]] = {}
    for path, reason in unplaced.items():
        paths.setdefault(reason, []).append(path)
    for reason, ones in paths.items():
        yield f"  {ones[0]}: {reason}" if len(ones) == 1 else f"  {len(ones)} tasks: {reason}"
        if len(ones) > 1:
            yield f"    {some(ones)}"


def _tree_lines(document: Mapping[str, Any], by_path: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    where = {one["role"]: one for one in document["placement"]}
    for path, role in by_path.items():
        text = "  " * path.count(".") + role["name"]
        if "task" in role:
            task, one = role["task"], where.get(path)
            text = text.ljust(36) + f" {task['class']} ({task['mode']})"
            if one is not None:
                text += f" on {one['node']}: {one['reason']}"
                text += "".join(f"; {name} at {at}" for name, at in one["endpoints"].items())
            else:
                text += " on no node" if path in document["unplaced"] else " left out: no node, not critical"
            text += f"; hook at {task['trigger']}" if task["trigger"] else ""
        elif "call" in role:
            text = text.ljust(36) + f" {role['call']['func']} at {role['call']['trigger'] or 'no moment'}"
        yield text


def _role_words(role: Mapping[str, Any]) -> str:
    critical = "" if role["critical"] else "  (not critical)"
    what = role["call"]["func"] if "call" in role else role["task"]["class"]
    return f"{role['path']}  {what}{critical}"
