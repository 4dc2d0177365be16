"""`coconut task list | show | logs | clean | kill`: the tasks of all nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import environments_and_tasks, tasks
from ecsd.coconut.environment import TASK_COLUMNS
from ecsd.coconut.options import Number, core_options, dry_run_option, yes_option
from ecsd.coconut.output import Column, Output, json_option, lines_option, list_options, plain, verb
from ecsd.coconut.watching import show_again, watch_option

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.info import TaskInfo

COLUMNS = (
    TASK_COLUMNS[0],
    Column("environment", lambda row: row["environment"] or ("nobody's" if row["orphan"] else "idle")),
    *TASK_COLUMNS[1:],
)
BYTES = 65_536


@click.command(
    name="list",
    help="""List the tasks of all nodes: those of environments, idle ones that were kept, and orphans.

    \b
    Examples:
      coconut task list
      coconut task list --environment demo -o wide
      coconut task list --idle --json
    """,
)
@click.option("--environment", "of", default="", metavar="ENV", help="Only those of this environment.")
@click.option("--idle", is_flag=True, help="Only those of no environment: idle ones and orphans.")
@core_options
@watch_option
@list_options
@verb
def list_tasks(output: Output, of: str, idle: bool, watch: bool, **options: Any) -> int:
    """List tasks."""
    from ecsd.coconut.documents import task_document
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target

    if of and idle:
        raise click.UsageError("idle tasks belong to no environment: --environment or --idle, not both")

    async def work(ecs: AsyncEcs) -> None:
        wanted = "-" if idle else (await find_environment(ecs, of)).environment if of else ""

        async def show() -> Callable[[], None]:
            rows = [task_document(task) for task in await ecs.tasks(wanted)]
            document = {"schema": "ecs/task-list/1", "tasks": rows}

            def printing() -> None:
                output.listing(document, "tasks", COLUMNS, name="task")
                if not rows:
                    output.say("no tasks")

            return printing

        await show_again(output, watch, show)

    return Target.of(options).run(work)


async def the_task(ecs: AsyncEcs, first: str, second: str) -> TaskInfo:
    """Return the task that `TASK`, or `ENVIRONMENT TASK`, means. Raises NotFound, UsageError."""
    from ecsd.coconut.finding import find_environment, find_task

    if not second:
        return find_task(await ecs.tasks(), first)
    environment = (await find_environment(ecs, first)).environment
    # What is excluded, or has ended, is known to its environment only.
    infos = (await ecs.show(environment)).tasks
    return attrs.evolve(find_task(infos, second), environment=environment)


@click.command(
    help="""Show one task: by its id, or by environment and role, as ROLE or ROLE@NODE.

    \b
    Examples:
      coconut task show demo source@node1
      coconut task show 2q0Ax3 --json
    """
)
@click.argument("first", metavar="[ENVIRONMENT]", shell_complete=environments_and_tasks)
@click.argument("second", metavar="TASK", required=False, default="", shell_complete=tasks)
@core_options
@json_option
@verb
def show(output: Output, first: str, second: str, **options: Any) -> int:
    """Show a task."""
    from ecsd.coconut.documents import task_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        document = task_document(await the_task(ecs, first, second))
        lines = [f"{name.replace('_', ' '):<14}{plain(value)}" for name, value in document.items() if value]
        output.document("task", document, lines)

    return Target.of(options).run(work)


@click.command(
    help="""Print what a task wrote last, from its node, also after its death, and with --follow what it writes.

    \b
    Examples:
      coconut task logs demo source@node1
      coconut task logs 2q0Ax3 --stderr
      coconut task logs demo filter --follow
    """
)
@click.argument("first", metavar="[ENVIRONMENT]", shell_complete=environments_and_tasks)
@click.argument("second", metavar="TASK", required=False, default="", shell_complete=tasks)
@click.option("--stderr", is_flag=True, help="Its standard error.")
@click.option("--bytes", "size", default=BYTES, show_default=True, type=Number(1), help="At most so much.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes.")
@core_options
@lines_option
@verb
def logs(output: Output, first: str, second: str, stderr: bool, size: int, follow: bool, **options: Any) -> int:
    """Print what a task wrote."""
    from ecsd.coconut.events import line_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        task = await the_task(ecs, first, second)
        reader = ecs.logs(task.role, "DEBUG", task.environment) if follow and task.role else None
        stream = "stderr" if stderr else "stdout"
        log = await ecs.task_log(task.task, stream, bytes=size)
        if log.truncated:
            output.say("… (more is kept on the node: --bytes N)")
        if not log.text:
            output.say(f"{task.role or task.task} has written nothing to {stream} yet")
        for text in log.text.splitlines():
            fields = {"role": task.role, "node": log.node, "stream": stream, "text": text, "unix_ms": None}
            output.line("line", fields, text)
        if reader is not None:
            async for line in reader:
                output.line("line", line_document(line), line.text)

    return Target.of(options).run(work)


@click.command(
    help="""End the tasks that no environment needs: idle ones that were kept, and orphans; or only those named.

    \b
    Examples:
      coconut task clean --dry-run
      coconut task clean
      coconut task clean 2q0Ax3 --json
    """
)
@click.argument("tasks", nargs=-1, metavar="[TASK]…", shell_complete=tasks)
@yes_option
@dry_run_option
@core_options
@json_option
@verb
def clean(output: Output, tasks: tuple[str, ...], yes: bool, dry_run: bool, **options: Any) -> int:
    """End idle tasks and orphans."""
    return _end(output, tasks, options, force=False, yes=yes, dry_run=dry_run)


@click.command(
    help="""End single tasks by their ids. For a task of an environment, which needs --force, it is a death.

    \b
    Examples:
      coconut task kill 2q0Ax3
      coconut task kill 2q0Ax3 --force --yes
      coconut task kill 2q0Ax3 --dry-run
    """
)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK…", shell_complete=tasks)
@click.option("-f", "--force", is_flag=True, help="Also a task of an environment.")
@yes_option
@dry_run_option
@core_options
@json_option
@verb
def kill(output: Output, tasks: tuple[str, ...], force: bool, yes: bool, dry_run: bool, **options: Any) -> int:
    """End tasks."""
    return _end(output, tasks, options, force=force, yes=yes, dry_run=dry_run)


def _end(
    output: Output, tasks: tuple[str, ...], options: dict[str, Any], *, force: bool, yes: bool, dry_run: bool
) -> int:
    from ecsd.coconut.documents import task_document
    from ecsd.coconut.finding import find_task
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        if tasks:
            known = await ecs.tasks()
            chosen = [find_task(known, name) for name in tasks]
        else:
            chosen = list(await ecs.tasks("-"))
        rows = [task_document(task) for task in chosen]
        living = [task for task in chosen if task.environment]
        if chosen and not dry_run:
            if living:
                output.confirm(f"kill {', '.join(task.role for task in living)} of {living[0].environment}?", yes=yes)
            elif len(chosen) > 1:
                output.confirm(f"end {len(chosen)} tasks?", yes=yes)
            await ecs.end_tasks(*(task.task for task in chosen), force=force)
        words = "would be ended" if dry_run else "ended"
        count = f"{len(rows)} task{'s' * (len(rows) != 1)} {words}"
        lines = [f"  {row['task']}  {row['class']} on {row['node']}  {row['role']}".rstrip() for row in rows]
        output.document("task-end", {"dry_run": dry_run, "tasks": rows}, [count, *lines])

    return Target.of(options).run(work)
