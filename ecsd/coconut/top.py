"""`coconut top`: environments, the rates and the tree of one, events and logs, live on a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ecsd.coconut.options import core_options
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import UsageError


@click.command(
    help="""Watch environments live: their states, the rates and the tree of the chosen one, events or logs.

    Keys: up and down choose, s start, t stop, e errors, l logs, / filter, ? help, q quit. Rates are what its tasks
    count, a second, with their last minute. What is shown says how old it is; when the core is not heard for 2 s it
    is marked SUSPECT, and comes back by itself. With --json, the state once.

    \b
    Examples:
      coconut top
      coconut top --context p2
      coconut top --json
    """
)
@core_options
@json_option
@verb
def top(output: Output, **options: Any) -> int:
    """Watch environments live."""
    from ecsd.coconut.target import Target
    from ecsd.coconut.toplive import live, once

    target = Target.of(options)
    if output.as_json:
        return target.run(lambda ecs: once(ecs, output))
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError("`top` needs a terminal", hint="coconut environment list --watch, or coconut top --json")
    return target.run(live)
