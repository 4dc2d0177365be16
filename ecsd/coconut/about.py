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
    """
)
@json_option
@verb
def about(output: Output) -> None:
    """Print versions and places."""
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
