"""`coconut environment control | reconfigure | recover | destroy`: what goes on with an environment that exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import control_events, environments
from ecsd.coconut.options import core_options, dry_run_option, wait_options, yes_option
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import Conflict

if TYPE_CHECKING:
    from ecsd.coconut.carrying import Outcome
    from libecs.client.ecs import AsyncEcs
    from libecs.client.operation import Operation
    from libecs.wire.info import EnvironmentInfo

Begin = Callable[["AsyncEcs", "EnvironmentInfo"], "Operation"]


def _one(
    output: Output,
    verb: str,
    environment: str,
    options: dict[str, Any],
    begin: Begin,
    *,
    before: Callable[[AsyncEcs, EnvironmentInfo], Awaitable[bool]] | None = None,
    logs: bool = False,
) -> int:
    """Carry out one operation on one environment, and print how it ended.

    `before` asks or shows what would be done; if it gives False, that is all. `logs`: show what tasks write meanwhile.
    """
    from ecsd.coconut.carrying import Waiting, carry_out
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target

    target, waiting = Target.of(options), attrs.evolve(Waiting.of(options), logs=logs)

    async def work(ecs: AsyncEcs) -> int:
        info = await find_environment(ecs, environment)
        if before is not None and not await before(ecs, info):
            return 0
        operation = begin(ecs, info)
        outcome = await carry_out(ecs, output, target, operation, waiting, info.environment)
        return tell(output, verb, outcome)

    return target.run(work)


def tell(output: Output, verb: str, outcome: Outcome) -> int:
    """Print how an operation ended; return the exit status."""
    output.document("operation", outcome.document(verb), _lines(outcome))
    for problem in outcome.chronicle.problems if outcome.finished is not None else ():
        output.say(f"not critical: {problem}")
    return outcome.status


def _lines(outcome: Outcome) -> Iterator[str]:
    finished = outcome.finished
    if finished is None:
        yield f"operation    {outcome.operation}"
    if outcome.environment:
        yield f"environment  {outcome.environment}"
    if finished is not None:
        yield f"state        {finished.state.name}"
        if finished.run_number:
            yield f"run          {finished.run_number}"
        transitions = outcome.chronicle.transitions
        if seconds := sum(one["seconds"] for one in transitions):
            together = f" in {len(transitions)} transitions" if len(transitions) > 1 else ""
            yield f"took         {seconds:.3f} s{together}"
        if finished.message:
            yield finished.message


@click.command(
    help="""Send an event to an environment: START, STOP, CONFIGURE, RESET, DEPLOY, RECOVER.

    The exit code is 7 if the environment goes to ERROR, with the cause, and 4 if the event is not allowed in its state.

    \b
    Examples:
      coconut environment control 2q0A START
      coconut env ctl demo stop --timeout 1min
      coconut environment control demo --event CONFIGURE --no-wait
    """
)
@click.argument("environment", shell_complete=environments)
@click.argument("event", required=False, default="", shell_complete=control_events)
@click.option("-e", "--event", "named", default="", metavar="EVENT", help="The event, for those who know AliECS.")
@click.option("--comment", default="", help="For the record of the run that START begins.")
@click.option("--logs", is_flag=True, help="Show what the tasks write meanwhile.")
@core_options
@wait_options
@json_option
@verb
def control(output: Output, environment: str, event: str, named: str, comment: str, logs: bool, **options: Any) -> int:
    """Send an event."""
    from ecsd.coconut.finding import read_event

    if not (event or named):
        raise click.UsageError("which event? START, STOP, CONFIGURE, RESET, DEPLOY or RECOVER")
    wanted = read_event(event or named)
    reason = "USER" if wanted == "STOP_ACTIVITY" else ""
    return _one(
        output,
        "control",
        environment,
        options,
        lambda ecs, info: ecs.control(info.environment, wanted, comment=comment, end_reason=reason),
        logs=logs,
    )


@click.command(
    help="""Bring an environment from ERROR back to DEPLOYED: dead tasks are launched again, live ones are reset.

    \b
    Examples:
      coconut environment recover demo
      coconut environment recover 2q0A --timeout 2min --json
    """
)
@click.argument("environment", shell_complete=environments)
@core_options
@wait_options
@json_option
@verb
def recover(output: Output, environment: str, **options: Any) -> int:
    """Recover an environment."""
    return _one(output, "recover", environment, options, lambda ecs, info: ecs.control(info.environment, "RECOVER"))


@click.command(
    help="""Change properties of tasks of a CONFIGURED environment, and nothing else: the processes stay.

    A key that means nothing to the chosen tasks is refused (exit 9), and nothing has changed.

    \b
    Examples:
      coconut environment reconfigure demo rate=100
      coconut environment reconfigure demo --tasks '**.source' rate=100 burst=8
      coconut environment reconfigure demo @point.yaml --json
    """
)
@click.argument("environment", shell_complete=environments)
@click.argument("values", nargs=-1, metavar="K=V…|JSON|@FILE|-")
@click.option("-e", "--extra-vars", "extra", multiple=True, metavar="K=V", help="The same as VALUES.")
@click.option("--tasks", default="**", show_default=True, metavar="GLOB", help="Role paths of the tasks.")
@core_options
@wait_options
@json_option
@verb
def reconfigure(
    output: Output, environment: str, values: tuple[str, ...], extra: tuple[str, ...], tasks: str, **options: Any
) -> int:
    """Change properties."""
    from ecsd.coconut.variables import parse_variables

    given = parse_variables((*values, *extra))
    if not given:
        raise click.UsageError("which values? write name=value")
    return _one(
        output,
        "reconfigure",
        environment,
        options,
        lambda ecs, info: ecs.reconfiguration(info.environment, given, tasks),
    )


@click.command(
    help="""End an environment and its tasks.

    One that is RUNNING is refused (exit 4) without --allow-running, which stops the run first, or --force, which ends
    the tasks as they are. On a terminal it is asked before; -y asks nothing.

    \b
    Examples:
      coconut environment destroy demo
      coconut environment destroy demo --dry-run
      coconut env destroy 2q0A --keep-tasks --yes
      coconut env destroy 2q0A --allow-running --yes
    """
)
@click.argument("environment", shell_complete=environments)
@click.option("-a", "--allow-running", "--allow-in-running-state", "running", is_flag=True, help="Stop the run first.")
@click.option("-f", "--force", is_flag=True, help="End the tasks as they are.")
@click.option("-k", "--keep-tasks", is_flag=True, help="Keep tasks that can be used again, in STANDBY.")
@yes_option
@dry_run_option
@core_options
@wait_options
@json_option
@verb
def destroy(
    output: Output,
    environment: str,
    running: bool,
    force: bool,
    keep_tasks: bool,
    yes: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Destroy an environment."""

    async def before(ecs: AsyncEcs, info: EnvironmentInfo) -> bool:
        if dry_run:
            document = _destruction(await ecs.show(info.environment), running=running, force=force, keep=keep_tasks)
            output.document("destroy-plan", document, _destruction_lines(document))
            return False
        name = info.name or info.environment
        if info.run_number:
            if not (running or force or output.asks):
                raise Conflict(
                    f"environment {info.environment} takes run {info.run_number}",
                    hint="stop it first, or add --allow-running or --force",
                )
            output.confirm(
                f"environment {name} takes run {info.run_number}; it is to be destroyed", yes=yes, typed=name
            )
        else:
            output.confirm(f"destroy environment {name} ({info.state.name})?", yes=yes)
        return True

    def begin(ecs: AsyncEcs, info: EnvironmentInfo) -> Operation:
        # Who has typed the name of a RUNNING environment has agreed to the end of its run.
        agreed = running or bool(info.run_number and output.asks)
        return ecs.destruction(info.environment, force=force, allow_running=agreed, keep_tasks=keep_tasks)

    return _one(output, "destroy", environment, options, begin, before=before)


def _destruction(info: EnvironmentInfo, *, running: bool, force: bool, keep: bool) -> dict[str, Any]:
    living = [task for task in info.tasks if task.phase.name == "ACTIVE" and not task.excluded]
    kept = [task.role for task in living if keep and not force and task.mode.lower() in ("direct", "fairmq")]
    kept = [role for role in kept if not any(task.role == role and (task.hook or task.attached) for task in living)]
    return {
        "environment": info.environment,
        "state": info.state.name,
        "run_number": info.run_number or None,
        "allowed": bool(not info.run_number or running or force),
        "ends": [task.role for task in living if task.role not in kept and not task.attached],
        "keeps": kept,
        "let_go": [task.role for task in living if task.attached],
    }


def _destruction_lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"environment {document['environment']} is {document['state']}; nothing was done"
    if document["run_number"]:
        yield f"  run {document['run_number']} would end"
    if not document["allowed"]:
        yield "  refused: it is RUNNING; add --allow-running or --force"
    for key, words in (("ends", "tasks would end"), ("keeps", "tasks would be kept"), ("let_go", "would be let go")):
        if document[key]:
            yield f"  {len(document[key])} {words}"
            yield from (f"    {role}" for role in document[key])
