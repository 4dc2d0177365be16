"""`coconut environment plan`: who would run where and why, which steps, and what is missing. Nothing is launched."""

from __future__ import annotations

from typing import Any

import click

from ecsd.coconut.options import input_options, read_inputs, repository_options
from ecsd.coconut.output import Output, error_document, json_option, verb
from libecs.errors import EcsError, InvalidInput, NotFound


@click.command(
    help="""Say who would run where and why, the steps of every transition, and what is missing. Nothing is launched.

    The exit code is 9 if the plan can't work.

    \b
    Examples:
      coconut environment plan demo --repo examples/demo --nodes 3
      coconut environment plan demo --repo examples/demo --nodes 3 --json
    """
)
@click.argument("workflow")
@repository_options
@input_options
@json_option
@verb
def plan(output: Output, workflow: str, **options: Any) -> int:
    """Plan an environment."""
    from ecsd.coconut.expanding import expand_inputs
    from ecsd.coconut.nodes import nodes_for
    from ecsd.coconut.planning import make_plan, unserved

    inputs = read_inputs(**options)
    try:
        expansion = expand_inputs(workflow, inputs)
    except (NotFound, InvalidInput) as error:
        return _nothing(output, workflow, error)
    expanded = expansion.workflow
    nodes = nodes_for(inputs.nodes, inputs.variables, expanded)
    made = make_plan(expanded, nodes, unserved(expanded, expansion.served, critical=True))
    notes = list(expansion.notes)
    notes += [f"nobody serves {what}" for what in unserved(expanded, expansion.served, critical=False)]
    for note in notes:
        output.say(f"note: {note}")
    output.document("environment-plan", made.document() | {"notes": notes}, made.lines())
    return 0 if made.works else 9


def _nothing(output: Output, workflow: str, error: EcsError) -> int:
    """Tell that there is not even a tree: a repository, template, key or function is missing, or wrong."""
    lines = ["The plan can't work; nothing was launched. Missing, or wrong:", f"  {error}"]
    document = {"workflow": workflow, "ok": False, "missing": [error.message], "error": error_document(error)}
    output.document("environment-plan", document, lines)
    return InvalidInput.exit_code
