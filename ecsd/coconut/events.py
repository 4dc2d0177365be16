"""`coconut environment events | logs`: what happened, what tasks write, and what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import environments, event_kinds
from ecsd.coconut.options import Number, core_options
from ecsd.coconut.output import Output, lines_option, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.client.logs import Line
    from libecs.wire.info import Event

LAST = 50
BYTES = 16_384


@click.command(
    help="""Print events: state changes, transitions, calls, runs, lost tasks. Without an environment, those of all.

    With --follow it goes on until Ctrl-C; a broken link is mended, and what was missed is told.

    \b
    Examples:
      coconut environment events demo
      coconut environment events --follow --json
      coconut environment events demo --since 1200 --kind run.start --kind run.end
    """
)
@click.argument("environment", required=False, default="", shell_complete=environments)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--since", type=Number(1), metavar="N", help="From this sequence number on.")
@click.option("--last", type=Number(0), default=LAST, show_default=True, metavar="N", help="So many of the past.")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", shell_complete=event_kinds, help="Only events of this kind."
)
@core_options
@lines_option
@verb
def events(
    output: Output,
    environment: str,
    follow: bool,
    since: int | None,
    last: int,
    kinds: tuple[str, ...],
    **options: Any,
) -> int:
    """Print events."""
    from ecsd.coconut.documents import event_document
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target
    from libecs.errors import NotFound

    def tell(event: Event) -> None:
        if not kinds or event.kind in kinds:
            output.line("event", event_document(event), event_line(event))

    async def work(ecs: AsyncEcs) -> None:
        wanted = environment
        if environment:
            try:
                wanted = (await find_environment(ecs, environment)).environment
            except NotFound:  # it may be gone: its events are kept
                found = [event async for event in ecs.history(environment=environment, last=1)]
                if not found:
                    raise
        reader = ecs.events(wanted)
        told = 0
        past = ecs.history(since=since, environment=wanted) if since else ecs.history(environment=wanted, last=last)
        if since or last:
            async for event in past:
                tell(event)
                told = event.sequence
        if follow:
            async for event in reader:
                if event.sequence > told:
                    tell(event)

    return Target.of(options).run(work)


def event_line(event: Event) -> str:
    """Return an event for people, with its number and day."""
    import time

    day = time.strftime("%Y-%m-%d", time.localtime(event.unix_ms / 1000))
    return f"{event.sequence:6}  {day} {short_line(event)}"


def short_line(event: Event) -> str:
    """Return an event for people: time, kind, and what it says."""
    import time

    when = time.strftime("%H:%M:%S", time.localtime(event.unix_ms / 1000))
    states = ", ".join(f"{path.rpartition('.')[2]} {state.name}" for path, state in event.tasks[:4])
    more = f" and {len(event.tasks) - 4} more" if len(event.tasks) > 4 else ""
    words = (
        event.environment,
        event.kind,
        event.transition,
        "" if event.kind == "operation.end" and not event.environment else event.state,
        event.moment,
        event.role,
        event.name,
        f"run {event.run_number}" if event.run_number else "",
        "" if event.ok else "not GOOD" if event.kind == "run.end" else "FAILED",
        states + more,
        event.text,
    )
    return f"{when}.{event.unix_ms % 1000:03d}  {'  '.join(word for word in words if word)}"


@click.command(
    help="""Print what the tasks of an environment wrote last, and with --follow what they write.

    \b
    Examples:
      coconut environment logs demo
      coconut environment logs demo --tasks '**.filter' --follow
      coconut environment logs demo --follow --severity warning --json
    """
)
@click.argument("environment", shell_complete=environments)
@click.option("-f", "--follow", is_flag=True, help="Go on with what they write.")
@click.option("--tasks", default="**", show_default=True, metavar="GLOB", help="Role paths of the tasks.")
@click.option(
    "--severity", default="info", show_default=True, help="The least of what comes: debug, info, warning, error."
)
@click.option("--bytes", "size", default=BYTES, show_default=True, type=Number(0), help="Of the past, each task.")
@click.option("--stderr", is_flag=True, help="Of the past, the standard error.")
@core_options
@lines_option
@verb
def logs(
    output: Output,
    environment: str,
    follow: bool,
    tasks: str,
    severity: str,
    size: int,
    stderr: bool,
    **options: Any,
) -> int:
    """Print what tasks write."""
    from ecsd.coconut.finding import find_environment, some
    from ecsd.coconut.target import Target
    from libecs.client.logs import read_severity
    from libecs.errors import EcsError, NotFound
    from libecs.globs import below_root, matches, role_pattern

    read_severity(severity)

    async def work(ecs: AsyncEcs) -> None:
        found = await find_environment(ecs, environment)
        info = await ecs.show(found.environment)
        pattern = role_pattern(tasks)
        chosen = [task for task in info.tasks if matches(pattern, task.role)]
        if not chosen:
            raise NotFound(
                f"no task of {found.environment} matches {tasks!r}",
                hint=f"tasks are {some([below_root(task.role) for task in info.tasks])}",
            )
        reader = ecs.logs(tasks, severity, found.environment)
        stream = "stderr" if stderr else "stdout"
        told = 0
        for task in chosen if size else ():
            if not task.task:
                output.say(f"{task.role} is excluded: no task of it is here")
                continue
            try:
                log = await ecs.task_log(task.task, stream, bytes=size)
            except EcsError as error:
                output.say(f"{task.role}: {error.message}")
                continue
            for text in log.text.splitlines():
                fields = {"role": task.role, "node": log.node, "stream": stream, "text": text, "unix_ms": None}
                output.line("line", fields, f"{below_root(task.role)}  {text}")
                told += 1
        if size and not told:
            output.say(f"nothing was written to {stream} yet")
        if follow:
            async for line in reader:
                output.line("line", line_document(line), str(line))

    return Target.of(options).run(work)


def line_document(line: Line) -> dict[str, Any]:
    """Return a line that a task wrote."""
    return {
        "role": line.role,
        "node": line.node,
        "stream": line.stream,
        "text": line.text,
        "unix_ms": line.unix_ms,
        "severity": line.severity.name,
        "run": line.run or None,
    }
