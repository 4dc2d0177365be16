"""`coconut run annotate`: what people want to remember of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import runs as run_numbers
from ecsd.coconut.options import Number, core_options, standard_input
from ecsd.coconut.output import Output, json_option, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs


@click.command(
    help="""Write a note about a run, or tags. A tag with an empty value is removed; - reads the note from stdin.

    \b
    Examples:
      coconut run annotate 512 "HV tripped at 14:02" --tag quality=bad
      coconut run annotate 512 --tag quality=
      echo "all fine" | coconut run annotate 512 - --json
    """
)
@click.argument("number", type=Number(1), shell_complete=run_numbers)
@click.argument("note", required=False, default="")
@click.option("-t", "--tag", "tags", multiple=True, metavar="K=V", help="A tag; K= removes it.")
@core_options
@json_option
@verb
def annotate(output: Output, number: int, note: str, tags: tuple[str, ...], **options: Any) -> int:
    """Annotate a run."""
    from ecsd.coconut.target import Target
    from libecs.io.runrecord import run_document

    given: dict[str, str] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{tag!r} is no tag: write name=value")
        given[name] = value
    text = standard_input().strip() if note == "-" else note
    if not (text or given):
        raise click.UsageError("write a note, or --tag name=value")

    async def work(ecs: AsyncEcs) -> None:
        await ecs.annotate(number, text, given)
        run = await ecs.run_record(number)
        lines = [f"run {number}: {len(run.notes)} note{'s' * (len(run.notes) != 1)}"]
        lines += [f"  {name} = {value}" for name, value in sorted(run.tags.items())]
        output.answer({"schema": "ecs/run/1", **run_document(run)}, lines)

    return Target.of(options).run(work)
