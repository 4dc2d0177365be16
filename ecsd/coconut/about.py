"""`coconut about`: versions and places."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import click

from ecsd.coconut.output import Output, json_option, verb


def version() -> str:
    """Return the version of the installed package, or "unknown" when it runs from a source tree."""
    try:
        return importlib.metadata.version("libecs")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@click.command(
    help="""Print versions and places.

    \b
    Examples:
      coconut about
      coconut about --json
      coconut about --schema ecs/run/1
    """
)
@click.option("--schema", metavar="NAME", help="Print the JSON Schema of a document: ecs/run/1, or all of them.")
@json_option
@verb
def about(output: Output, schema: str | None) -> None:
    """Print versions and places."""
    if schema is not None:
        _print_schema(schema)
        return
    from libecs.io.runrecord import default_runs_folder

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ecs"
    fields = {
        "version": version(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "state": str(state),
        "run_counter": str(state / "runs.sqlite"),
        "runs": str(default_runs_folder()),
    }
    output.document("about", fields, [f"{name.replace('_', ' ') + ':':13} {value}" for name, value in fields.items()])


def _print_schema(name: str) -> None:
    """Print one schema, or with "all" all of them. Raises NotFound."""
    import json

    from ecsd.coconut.lazy import meant
    from ecsd.coconut.schemas import SCHEMAS
    from libecs.errors import NotFound

    if name != "all" and name not in SCHEMAS:
        near = meant(name, SCHEMAS).removeprefix("; ")
        raise NotFound(f"there is no schema {name!r}", hint=near or f"schemas are {', '.join(SCHEMAS)}")
    click.echo(json.dumps(SCHEMAS if name == "all" else SCHEMAS[name], indent=2))
