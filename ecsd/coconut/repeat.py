"""`coconut run repeat`: a run as one that was taken before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import runs as run_numbers
from ecsd.coconut.options import Number, core_options, dry_run_option
from ecsd.coconut.output import Output, json_option, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs

LEAST_S = 1.0


@click.command(
    help="""Take a run as an earlier one: the same commit, variables, configuration and placement, as long as it lasted.

    What can't be had the same is an error (exit 9) that names each difference, and nothing is launched; --force takes
    the run though.

    \b
    Examples:
      coconut run repeat 512
      coconut run repeat 512 --duration 10min --comment "after the new firmware"
      coconut run repeat 512 --force --json
    """
)
@click.argument("number", type=Number(1), shell_complete=run_numbers)
@click.option("--duration", metavar="TIME", help="Length of the run; default: that of the earlier one.")
@click.option("--comment", default="", help="For the record of the run.")
@click.option("-f", "--force", is_flag=True, help="Take it though something differs.")
@click.option("--logs", is_flag=True, help="Show what the tasks write.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@dry_run_option
@core_options
@json_option
@verb
def repeat(
    output: Output,
    number: int,
    duration: str | None,
    comment: str,
    force: bool,
    logs: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Repeat a run."""
    from ecsd.coconut.corerun import take_at_core
    from ecsd.coconut.target import Target
    from libecs.client.run import seconds
    from libecs.errors import UsageError
    from libecs.wire.client import Create
    from libecs.wire.info import RunInfo

    if duration is not None:
        seconds(duration)
    target = Target.of(options)
    found: list[RunInfo] = []

    async def look(ecs: AsyncEcs) -> None:
        found.append(await ecs.run_record(number))

    target.run(look)
    (run,) = found
    if duration is None:
        if not run.end_ms:
            raise UsageError(f"run {number} still goes on", hint="say how long: --duration TIME")
        duration = f"{max((run.end_ms - run.start_ms) / 1000, LEAST_S):.3f}s"
    if dry_run:
        fields = {
            "number": number,
            "workflow": run.request or run.workflow,
            "revision": run.revision,
            "variables": dict(run.user_variables),
            "placement": dict(run.placement),
            "duration": duration,
        }
        lines = [
            f"run {number} would be repeated for {duration}; nothing was done",
            f"  {fields['workflow']} at {run.revision}",
            *(f"  {name} = {value}" for name, value in run.user_variables.items()),
            *(f"  {role} on {node}" for role, node in run.placement.items()),
        ]
        output.document("run-repeat-plan", fields, lines)
        return 0
    create = Create(operation="", workflow="", repeat=number, force=force)
    return take_at_core(
        output,
        target,
        create,
        duration=duration,
        comment=comment or f"repeats run {number}",
        logs=logs,
        schema="run-repeat",
        extra={"repeats": number},
    )
