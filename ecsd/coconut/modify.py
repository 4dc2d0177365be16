"""`coconut environment modify`: take roles or nodes out of an environment, or put them back, and touch no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import environments, nodes, roles
from ecsd.coconut.options import core_options, dry_run_option, wait_options, yes_option
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import NotFound, UsageError

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.info import EnvironmentInfo


@click.command(
    help="""Take roles or nodes out of an environment that is CONFIGURED or RUNNING, or put them back.

    The others are not touched. What is taken out is stopped, reset and kept for later; what is put back is launched,
    configured and, in a run, started: the run's number stays, and it is marked DEGRADED for the span. A role is its
    path or a pattern; the name of the workflow may be left out.

    \b
    Examples:
      coconut environment modify demo --exclude tpc
      coconut environment modify demo --include tpc --exclude-node flp012
      coconut environment modify demo --include tpc --take-from 2q0B
      coconut environment modify demo --exclude '**.qc' --dry-run
    """
)
@click.argument("environment", shell_complete=environments)
@click.option("--exclude", multiple=True, metavar="ROLE", shell_complete=roles, help="Take this role out.")
@click.option("--include", multiple=True, metavar="ROLE", shell_complete=roles, help="Put this role back.")
@click.option(
    "--exclude-node", multiple=True, metavar="NODE", shell_complete=nodes, help="Take out all tasks on this node."
)
@click.option(
    "--include-node",
    multiple=True,
    metavar="NODE",
    shell_complete=nodes,
    help="Put back all tasks that were on this node.",
)
@click.option("--take-from", default="", metavar="ENV", help="Environment whose tasks are taken out there, used here.")
@yes_option
@dry_run_option
@core_options
@wait_options
@json_option
@verb
def modify(
    output: Output,
    environment: str,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    exclude_node: tuple[str, ...],
    include_node: tuple[str, ...],
    take_from: str,
    yes: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Modify an environment."""
    from ecsd.coconut.carrying import Waiting, carry_out
    from ecsd.coconut.control import tell
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target

    if not (exclude or include or exclude_node or include_node):
        raise click.UsageError("what? --exclude ROLE, --include ROLE, --exclude-node NODE or --include-node NODE")
    target, waiting = Target.of(options), Waiting.of(options)

    async def work(ecs: AsyncEcs) -> int:
        found = await find_environment(ecs, environment)
        info = await ecs.show(found.environment)
        document = modification(info, exclude, include, exclude_node, include_node)
        if dry_run:
            output.document("modify-plan", document, _lines(document))
            return 0 if document["allowed"] else 4
        giver = (await find_environment(ecs, take_from)).environment if take_from else ""
        if info.run_number and (exclude or exclude_node):
            count = len(document["excludes"])
            output.confirm(f"take {count} task{'s' * (count != 1)} out of run {info.run_number}?", yes=yes)
        operation = ecs.modification(
            info.environment,
            include=include,
            exclude=exclude,
            include_nodes=include_node,
            exclude_nodes=exclude_node,
            take_from=giver,
        )
        return tell(output, "modify", await carry_out(ecs, output, target, operation, waiting, info.environment))

    return target.run(work)


def modification(
    info: EnvironmentInfo,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    exclude_nodes: tuple[str, ...],
    include_nodes: tuple[str, ...],
) -> dict[str, Any]:
    """Return which tasks a modification would take out and put back. Raises NotFound, UsageError."""
    goes = _chosen(info, exclude, exclude_nodes)
    comes = _chosen(info, include, include_nodes)
    if both := sorted(goes & comes):
        raise UsageError(f"{both[0]} is to be excluded and included", hint="say one of them")
    return {
        "environment": info.environment,
        "state": info.state.name,
        "run_number": info.run_number or None,
        "allowed": info.state.name in ("CONFIGURED", "RUNNING") and not info.transition,
        "excludes": [task.role for task in info.tasks if task.role in goes and not task.excluded],
        "includes": [task.role for task in info.tasks if task.role in comes and task.excluded],
        "stays": [task.role for task in info.tasks if task.role not in goes and not task.excluded and not task.hook],
    }


def _chosen(info: EnvironmentInfo, globs: tuple[str, ...], nodes: tuple[str, ...]) -> set[str]:
    """Return the role paths of the tasks that roles and nodes stand for."""
    from ecsd.coconut.finding import some
    from ecsd.coconut.lazy import meant
    from libecs.globs import below_root, matches, role_pattern

    chosen: set[str] = set()
    for glob in globs:
        pattern = role_pattern(glob)
        roots = [role.path for role in info.roles if matches(pattern, role.path)]
        roots += [task.role for task in info.tasks if matches(pattern, task.role)]
        if not roots:
            known = [below_root(role.path) for role in info.roles[1:]]
            near = meant(glob, known).removeprefix("; ")
            raise NotFound(f"no role {glob!r} in {info.environment}", hint=near or f"roles are {some(known)}")
        chosen |= {task.role for task in info.tasks if any(f"{task.role}.".startswith(f"{root}.") for root in roots)}
    for node in nodes:
        there = {task.role for task in info.tasks if task.node == node}
        if not there:
            known = sorted({task.node for task in info.tasks})
            raise NotFound(
                f"no task of {info.environment} is on node {node!r}{meant(node, known)}",
                hint=f"nodes are {some(known)}",
            )
        chosen |= there
    return chosen


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"environment {document['environment']} is {document['state']}; nothing was done"
    if not document["allowed"]:
        yield "  refused: it must rest in CONFIGURED or RUNNING"
    for key, words in (("excludes", "would be taken out"), ("includes", "would be put back")):
        if document[key]:
            yield f"  {words}"
            yield from (f"    {role}" for role in document[key])
    yield f"  {len(document['stays'])} tasks would not notice"
