"""`coconut run take`: deploy, configure, run, stop and clean up, with the whole control system in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import Inputs, Number, consult_options, input_options, read_inputs
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import InvalidInput, UsageError

if TYPE_CHECKING:
    from ecsd.coconut.taking import Taking
    from libecs.client.ecs import AsyncEcs
    from libecs.io.embedded import NodeDescription


@click.command(
    help="""Take a run: deploy, configure, start, stop, clean up. On the core that is asked; with --repo, or where no
    core is known, with the whole control system in this process.

    Nothing is left behind, also after Ctrl-C. The exit code is 7 when the environment goes to ERROR, with the cause:
    task, node, how it ended, last log line; it is 10 when a run was degraded.

    \b
    Examples:
      coconut run take demo --repo examples/demo --duration 2s
      coconut run take demo --repo examples/demo --duration 1s --cycles 2 -e rate=100 --json
      coconut run take demo --repo examples/demo --duration 1s --logs
      coconut run take readout-dataflow -e 'hosts=["flp001"]' --duration 1h --comment cosmics
    """
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@input_options
@click.option("--duration", default="10s", show_default=True, metavar="TIME", help="Length of each run: 10s, 30min.")
@click.option("--cycles", default=1, show_default=True, type=Number(1), help="How many runs to take.")
@click.option("--comment", default="", help="For the records of the runs.")
@click.option(
    "--report", metavar="DIR", help="Folder for reports: of this command, of calls, and of tasks ($report_dir)."
)
@click.option("--state", metavar="DIR", help="Folder of the control system's records; default: a temporary one.")
@click.option("--runs", metavar="DIR", help="Folder of runs; default: runs in --state, or $XDG_DATA_HOME/ecs/runs.")
@click.option("--logs", is_flag=True, help="Show what the tasks write.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@verb
def take(
    output: Output, workflow: str, duration: str, cycles: int, comment: str, report: str | None, state: str | None,
    runs: str | None, logs: bool, repository: str, local: bool, context: str | None, **options: Any,
) -> int:  # fmt: skip
    """Take runs."""
    from ecsd.coconut.taking import run_embedded, take_one
    from ecsd.coconut.target import core_is_chosen
    from libecs.client.run import seconds

    seconds(duration)  # a wrong one is said before anything is launched
    local_words = ("nodes", "tasks", "kv", "integrations", "repo")
    here = local or state is not None or runs is not None or any(options[key] for key in local_words)
    if here and (context or repository):
        raise UsageError("--context and --repository are of a core, and the rest says that none is asked")
    if context or repository or (not here and core_is_chosen()):
        return _at_core(
            output, workflow, repository, context, options,
            duration=duration, cycles=cycles, comment=comment, report=report, logs=logs,
        )  # fmt: skip
    inputs = read_inputs(**options)
    folder = None if report is None else _folder("--report", report)
    if folder is not None and "report_dir" not in inputs.variables:
        inputs = attrs.evolve(inputs, variables={**inputs.variables, "report_dir": str(folder)})
    nodes = check(output, workflow, inputs)
    runs = None if runs is None else str(_folder("--runs", runs))
    state = None if state is None else str(_folder("--state", state))

    async def work(ecs: AsyncEcs, taking: Taking) -> None:
        async with ecs.environment(workflow, inputs.variables) as env:
            for _ in range(cycles):
                await take_one(env, taking, duration, comment)

    return run_embedded(output, workflow, inputs, nodes, work, report=folder, state=state, runs=runs, logs=logs)


def _at_core(
    output: Output,
    workflow: str,
    repository: str,
    context: str | None,
    options: dict[str, Any],
    *,
    duration: str,
    cycles: int,
    comment: str,
    report: str | None,
    logs: bool,
) -> int:
    from ecsd.coconut.consulting import Source
    from ecsd.coconut.corerun import take_at_core
    from ecsd.coconut.target import Target
    from ecsd.coconut.variables import parse_variables
    from libecs.wire.client import Create

    source = Source(repository=repository, revision=options["revision"], context=context or "core")
    create = Create(operation="", workflow=source.workflow(workflow), variables=parse_variables(options["extra_vars"]))
    folder = None if report is None else _folder("--report", report)
    return take_at_core(
        output,
        Target(context=context),
        create,
        duration=duration,
        cycles=cycles,
        comment=comment,
        logs=logs,
        report=folder,
    )


def check(output: Output, workflow: str, inputs: Inputs) -> list[NodeDescription]:
    """Think the workflow through before anything is launched; return the nodes for it.

    Raises:
        InvalidInput: the plan can't work.
    """
    from ecsd.coconut.consulting import local_consultant
    from ecsd.coconut.nodes import nodes_for
    from ecsd.coconut.plan import offer

    consultant = local_consultant(inputs)
    found = consultant.look(workflow, inputs.variables)
    for note in found.notes:
        output.say(f"note: {note}")
    nodes = nodes_for(inputs.nodes, inputs.variables, found.workflow)
    plan = consultant.plan(found, [offer(node) for node in nodes])
    if not plan["ok"]:
        missing = [*(f"{path}: {reason}" for path, reason in plan["unplaced"].items()), *plan["missing"]]
        raise InvalidInput(
            f"{workflow} can't run here, nothing was launched. Missing:\n  " + "\n  ".join(missing),
            hint=f"coconut environment plan {workflow} …",
        )
    return nodes


def _folder(option: str, place: str) -> Path:
    """Return the folder that an option names, made if need be: what is wrong with it is said before any launch."""
    path = Path(place).expanduser()
    try:
        path.mkdir(mode=0o700 if option == "--state" else 0o777, parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if isinstance(error, FileExistsError) else error.strerror
        raise UsageError(
            f"{option} {path}: no folder can be made there: {reason}", hint="name another folder"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: you may not write there", hint="name another folder")
    return path.resolve()
