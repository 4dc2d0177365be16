"""`coconut role query`: roles of an environment by a pattern, with their variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import environments
from ecsd.coconut.options import core_options
from ecsd.coconut.output import Output, json_option, plain, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs


@click.command(
    help="""Show roles of an environment that match a pattern: state, variables and where they are from, what is below.

    `*` is one element of a path, `**` any number; the name of the workflow may be left out.

    \b
    Examples:
      coconut role query demo '**.source'
      coconut role query 2q0A demo.node1 --json
    """
)
@click.argument("environment", shell_complete=environments)
@click.argument("glob", default="**")
@core_options
@json_option
@verb
def query(output: Output, environment: str, glob: str, **options: Any) -> int:
    """Query roles."""
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        found = await find_environment(ecs, environment)
        document = await ecs.consult("role.query", environment=found.environment, glob=glob)
        document = {"schema": "ecs/role-query/1", **document}
        output.answer(document, _lines(document))

    return Target.of(options).run(work)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    roles = document.get("roles", [])
    if not roles:
        yield "no roles found"
    for number, role in enumerate(roles):
        yield f"({number}) {role.get('path', '')}"
        for name, value in role.items():
            if name in ("path", "children") or value in ("", None, [], {}):
                continue
            if isinstance(value, dict):
                yield f"    {name.replace('_', ' ')}:"
                yield from (f"        {key}: {one if one != '' else '<empty>'}" for key, one in sorted(value.items()))
            elif isinstance(value, list):
                yield f"    {name.replace('_', ' ')}:"
                yield from (f"        {_item(one)}" for one in value)
            else:
                yield f"    {name.replace('_', ' ') + ':':<16} {plain(value)}"


def _item(item: Any) -> str:
    if isinstance(item, dict):
        return "  ".join(f"{key}={value}" for key, value in item.items() if value not in ("", None, [], {}))
    return str(item)
