"""`coconut operation list | follow`: requests that changed something, and those that still go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import operations
from ecsd.coconut.environment import moment
from ecsd.coconut.options import Number, core_options
from ecsd.coconut.output import Column, Output, json_option, list_options, verb
from ecsd.coconut.watching import show_again, watch_option

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs

LIMIT = 20


def _end(row: Mapping[str, Any]) -> str:
    return (row["code"] or "ok") if row["done"] else "goes on"


COLUMNS = (
    Column("operation", lambda row: row["operation"]),
    Column("begun", lambda row: moment(row["begun_ms"])),
    Column("verb", lambda row: f"{row['verb']} {row['event']}".strip()),
    Column("environment", lambda row: row["environment"]),
    Column("end", _end),
    Column("by", lambda row: row["requester"]),
    Column("message", lambda row: row["message"], wide=True),
)


@click.command(
    name="list",
    help="""List the last operations of all users: what, where, how it ended, or that it goes on.

    \b
    Examples:
      coconut operation list
      coconut operation list --limit 5 -o wide
      coconut operation list --going --json
    """,
)
@click.option("--limit", default=LIMIT, show_default=True, type=Number(1), metavar="N", help="How many.")
@click.option("--going", is_flag=True, help="Only those that go on.")
@core_options
@watch_option
@list_options
@verb
def list_operations(output: Output, limit: int, going: bool, watch: bool, **options: Any) -> int:
    """List operations."""
    from ecsd.coconut.documents import operation_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        async def show() -> Callable[[], None]:
            rows = [operation_document(one) for one in await ecs.operations(limit)]
            rows = [row for row in rows if not (going and row["done"])]
            document = {"schema": "ecs/operation-list/1", "operations": rows}

            def printing() -> None:
                output.listing(document, "operations", COLUMNS, name="operation")
                if not rows:
                    output.say("no operations")

            return printing

        await show_again(output, watch, show)

    return Target.of(options).run(work)


@click.command(
    help="""Follow an operation to its end, whoever began it; the exit status is what its own would have been.

    \b
    Examples:
      coconut operation follow 5a1f-3
      coconut operation follow 5a1f-3 --timeout 1min --json
    """
)
@click.argument("operation", shell_complete=operations)
@click.option("--timeout", metavar="TIME", help="Wait at most so long, then exit 8; it goes on.")
@click.option("--logs", is_flag=True, help="Show what the tasks write meanwhile.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@core_options
@json_option
@verb
def follow(output: Output, operation: str, timeout: str | None, logs: bool, **options: Any) -> int:
    """Follow an operation."""
    from ecsd.coconut.carrying import Waiting, carry_out
    from ecsd.coconut.control import tell
    from ecsd.coconut.lazy import meant
    from ecsd.coconut.target import Target
    from libecs.errors import NotFound
    from libecs.wire.client import Follow

    waiting = attrs.evolve(Waiting.of({"wait": True, "timeout": timeout}), logs=logs)
    target = Target.of(options)

    async def work(ecs: AsyncEcs) -> int:
        known = await ecs.operations(1000)
        found = [one for one in known if one.operation == operation]
        found = found or [one for one in known if one.operation.startswith(operation)]
        if len(found) != 1:
            names = [one.operation for one in known]
            near = meant(operation, names).removeprefix("; ")
            raise NotFound(f"no operation {operation!r}", hint=near or "coconut operation list")
        one = found[0]
        message = Follow(request=ecs.new_id(), operation=one.operation)
        outcome = await carry_out(ecs, output, target, ecs.begin(message), waiting, one.environment)
        return tell(output, one.verb.lower(), outcome)

    return target.run(work)
