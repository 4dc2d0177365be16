"""`coconut environment create`: a workflow's tasks, deployed and configured."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import (
    core_options,
    dry_run_option,
    input_options,
    read_inputs,
    standard_input,
    wait_options,
)
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import EcsError, InvalidInput, NotFound, TransitionFailed, UsageError, WaitTimeout

if TYPE_CHECKING:
    from ecsd.coconut.carrying import Outcome, Waiting
    from ecsd.coconut.target import Target
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.client import Create

TARGETS = ("STANDBY", "DEPLOYED", "CONFIGURED")
REMARK_S = 3.0
"""How long a core may take to compare variables with the form of a workflow, before it is asked to make it."""
DISCARD_S = 30.0
"""How long the rest of a failed creation may take to end."""


@click.command(
    help="""Make an environment: place the workflow's tasks, launch and configure them.

    If that fails, what was launched is ended again, unless --keep says that somebody wants to look at it. With --auto
    it takes one run and ends. Ctrl-C leaves it going on and says how to follow it.

    \b
    Examples:
      coconut environment create demo --name shift -e rate=100
      coconut environment create demo --dry-run
      coconut environment create demo --local --state ~/lab --repo examples/demo
      coconut env create -w readout-dataflow@v1.2 -e 'hosts=["flp001"]' --no-wait
      coconut environment create cosmics --auto -e auto_stop_timeout=30m
    """
)
@click.argument("workflow", required=False, default="", shell_complete=templates)
@click.option("-w", "--workflow-template", "named", default="", metavar="WORKFLOW", help="The same as WORKFLOW.")
@click.option("-c", "--configuration", metavar="FILE", help="JSON file with `workflow` and `variables`; - = stdin.")
@click.option("-n", "--name", default="", help="How people call it.")
@click.option("--target", type=click.Choice(TARGETS, case_sensitive=False), default="CONFIGURED", show_default=True)
@click.option("-a", "--auto", is_flag=True, help="Take one run, and end.")
@click.option("--keep", is_flag=True, help="Keep it if it fails, to be looked at.")
@click.option("-p", "--public/--private", "public", default=True, help="Accepted for those who know AliECS.")
@click.option("-y", "--asynchronous", is_flag=True, help="The same as --no-wait.")
@click.option("-r", "--repository", default="", metavar="NAME", help="Repository of the core; default: its own.")
@click.option("-i", "--revision", default="", metavar="V", help="Branch, tag or commit; default: the repository's.")
@click.option("--repo", default="", metavar="PLACE", help="With --local: folder, git repository or URL.")
@input_options
@click.option("--logs", is_flag=True, help="Show what the tasks write meanwhile.")
@dry_run_option
@core_options
@wait_options
@json_option
@verb
def create(
    output: Output,
    workflow: str,
    named: str,
    configuration: str | None,
    name: str,
    target: str,
    auto: bool,
    keep: bool,
    public: bool,
    asynchronous: bool,
    logs: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Make an environment."""
    from ecsd.coconut.carrying import Waiting
    from ecsd.coconut.control import tell
    from ecsd.coconut.variables import parse_variables
    from libecs.fsm import EnvState
    from libecs.wire.client import Create

    options["wait"] = options["wait"] and not asynchronous
    waiting = attrs.evolve(Waiting.of(options), logs=logs)
    saved_workflow, saved_variables = _saved(configuration)
    wanted = workflow or named or saved_workflow
    if not wanted:
        raise click.UsageError("which workflow? `coconut template list` shows what there is")
    variables = {**saved_variables, **parse_variables(options["extra_vars"])}
    place = {key: options.pop(key) for key in ("repo", "repository", "revision")}
    if dry_run:
        return _dry_run(output, wanted, variables, place, options)
    where, expression = _prepared(output, wanted, variables, place, options)
    create = Create(
        operation="",
        workflow=expression,
        variables=variables,
        name=name,
        target=EnvState[target.upper()],
        auto=auto,
    )

    async def work(ecs: AsyncEcs) -> int:
        if variables and not where.local:
            await _remark(ecs, output, expression, variables)
        return tell(output, "create", await begin(ecs, output, where, create, waiting, keep=keep))

    return where.run(work)


async def begin(
    ecs: AsyncEcs, output: Output, target: Target, create: Create, waiting: Waiting, *, keep: bool = False
) -> Outcome:
    """Make an environment, wait for it, and end what is left of a failed one unless `keep`. Raises EcsError."""
    from ecsd.coconut.carrying import Detached, carry_out

    operation = ecs.begin(attrs.evolve(create, operation=ecs.new_id(), requester=ecs.requester))
    try:
        return await carry_out(ecs, output, target, operation, waiting)
    except (Detached, WaitTimeout):
        raise
    except EcsError as error:
        made = operation.made
        if made and not create.auto:
            if keep:
                error.hint = f"coconut environment show {made}{target.words} --tasks"
            elif await _discarded(ecs, made) and isinstance(error, TransitionFailed):
                error.hint = "it was ended again; --keep keeps it for a look"
        raise


async def _remark(ecs: AsyncEcs, output: Output, workflow: str, variables: dict[str, str]) -> None:
    """Say which variables the workflow does not know, or would take for something else: often they are misspelt."""
    import asyncio

    with contextlib.suppress(EcsError, TimeoutError):
        async with asyncio.timeout(REMARK_S):
            found = await ecs.consult("template.form", workflow=workflow, check="1", variables=json.dumps(variables))
        for one in found["findings"]:
            output.say(f"note: {one['message']}" + (f"; {one['hint']}" if one["hint"] else ""))


async def _discarded(ecs: AsyncEcs, environment: str) -> bool:
    """End what is left of a failed creation; return whether there was something, or nothing is left."""
    operation = ecs.destruction(environment, force=True, allow_running=True, keep_tasks=False)
    try:
        await ecs.finish(operation, DISCARD_S)
    except NotFound:
        return True
    except EcsError:
        return False
    return True


def _prepared(
    output: Output, workflow: str, variables: dict[str, str], place: dict[str, str], options: dict[str, Any]
) -> tuple[Target, str]:
    """Return where it is made, and the expression that names the workflow there."""
    from ecsd.coconut.consulting import Source, local_consultant
    from ecsd.coconut.nodes import nodes_for
    from ecsd.coconut.target import Target

    given = {key: options.pop(key) for key in ("extra_vars", "nodes", "tasks", "kv", "integrations")}
    target = Target.of(options)
    if not target.local:
        local_only = [f"--{key}" for key in ("nodes", "tasks", "kv", "integrations") if given[key]]
        if place["repo"]:
            local_only.append("--repo")
        if local_only:
            raise UsageError(
                f"{', '.join(local_only)} describes a local control system", hint="add --local --state DIR"
            )
        source = Source(repository=place["repository"], revision=place["revision"], context=target.context)
        return target, source.workflow(workflow)
    inputs = read_inputs(repo=place["repo"], revision=place["revision"], **given)
    found = local_consultant(inputs).look(workflow, variables)
    for note in found.notes:
        output.say(f"note: {note}")
    nodes = nodes_for(inputs.nodes, variables, found.workflow)
    return attrs.evolve(target, inputs=inputs, nodes=tuple(nodes)), workflow


def _dry_run(
    output: Output, workflow: str, variables: dict[str, str], place: dict[str, str], options: dict[str, Any]
) -> int:
    from ecsd.coconut.consulting import Source
    from ecsd.coconut.plan import plan_here, show_plan
    from ecsd.coconut.target import Target

    given = {key: options.pop(key) for key in ("extra_vars", "nodes", "tasks", "kv", "integrations")}
    target = Target.of(options)
    if target.local or place["repo"]:
        inputs = read_inputs(repo=place["repo"], revision=place["revision"], **given)
        return show_plan(output, plan_here(workflow, attrs.evolve(inputs, variables=variables)))
    source = Source(repository=place["repository"], revision=place["revision"], context=target.context)
    arguments = {"workflow": source.workflow(workflow), "variables": json.dumps(variables)}
    return show_plan(output, target.ask("environment.plan", arguments))


def _saved(configuration: str | None) -> tuple[str, dict[str, str]]:
    """Return workflow and variables of a saved configuration. Raises NotFound, InvalidInput."""
    if configuration is None:
        return "", {}
    try:
        text = standard_input() if configuration == "-" else Path(configuration).read_text()
        document = json.loads(text)
    except OSError as error:
        raise NotFound(f"cannot read {configuration}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"{configuration} is no JSON: {error}") from None
    variables = document.get("variables", {}) if isinstance(document, dict) else None
    if not isinstance(variables, dict) or not isinstance(document.get("workflow", ""), str):
        raise InvalidInput(
            f"{configuration} is no saved configuration", hint='{"workflow": "demo", "variables": {"rate": "100"}}'
        )
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
    return document.get("workflow", ""), texts
