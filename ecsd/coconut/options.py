"""Options that several verbs share, and what they name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from ecsd.coconut.complete import contexts, variables
from libecs.errors import NotFound, UsageError

F = TypeVar("F", bound=Callable[..., Any])


class Number(click.IntRange):
    """A whole number. What is none is said in these words."""

    name = "number"


def several(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options, the first one first in the help."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


CONNECT_TIMEOUT = "ecsd.coconut.connect_timeout"
"""Where click keeps what --connect-timeout says, for whoever dials: no verb has anything to do with it."""


def _keep_connect_timeout(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    ctx.meta[CONNECT_TIMEOUT] = value


def connect_timeout_s() -> float | None:
    """Return how long the first connection may take; None if nobody said. Raises UsageError."""
    ctx = click.get_current_context(silent=True)
    value = None if ctx is None else ctx.meta.get(CONNECT_TIMEOUT)
    if not value:
        return None
    from libecs.client.run import seconds  # only who says something pays for it

    return seconds(value)


context_option = several(
    click.option(
        "--context",
        metavar="NAME",
        shell_complete=contexts,
        help="Core to ask: a context, its address, or its state folder here; default: $ECS_CONTEXT, or `context use`.",
    ),
    click.option(
        "--connect-timeout",
        metavar="TIME",
        envvar="ECS_CONNECT_TIMEOUT",
        expose_value=False,
        callback=_keep_connect_timeout,
        help="How long to wait for the core; default: $ECS_CONNECT_TIMEOUT, or 1 to 3 s.",
    ),
)
"""Add --context and --connect-timeout."""

input_options = several(
    click.option(
        "-e",
        "--extra-vars",
        "extra_vars",
        multiple=True,
        metavar="K=V",
        shell_complete=variables,
        help="Variables: K=V,…, JSON, @FILE.yaml.",
    ),
    click.option("--nodes", default="", metavar="N|FILE", help="Nodes that this machine plays: a number, or a file."),
    click.option("--tasks", metavar="DIR", help="Folder of task templates whose command, user and wants replace."),
    click.option("--kv", metavar="FILE", help="Configuration, runtime values and inventory, as a YAML tree."),
    click.option("--integrations", metavar="FILE", help="What calls of integrations give: value, delay or error."),
)
"""Add what an expansion needs besides the repository: -e, --nodes, --tasks, --kv, --integrations."""

core_options = several(
    context_option,
    click.option("--local", is_flag=True, help="No core: a control system in this process, on --state."),
    click.option("--state", metavar="DIR", help="With --local: folder of its records, and of its tasks' names."),
)
"""Add --context, --local, --state: which control system is meant."""

consult_options = several(
    click.option(
        "--repo", default="", metavar="PLACE", help="Folder, git repository or URL: read here, no core is asked."
    ),
    click.option("-r", "--repository", default="", metavar="NAME", help="Repository of the core; default: its own."),
    click.option("-i", "--revision", default="", metavar="V", help="Branch, tag or commit; default: the repository's."),
    click.option("--local", is_flag=True, help="Read the repository that this folder is, ask no core."),
    context_option,
)
"""Add what names templates: those of a core, or with --repo those of a folder or address, without a core."""

wait_options = several(
    click.option("--wait/--no-wait", default=True, help="Wait for the end, or print the operation's id at once."),
    click.option("--timeout", metavar="TIME", help="Wait at most so long, then exit 8; the operation goes on."),
    click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
)
"""Add --no-wait, --timeout and -q, for verbs that begin operations."""


yes_option = click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@attrs.frozen(kw_only=True)
class Inputs:
    """What the options name, ready for `libecs.local()` and for expansion."""

    repo: str
    revision: str
    variables: Mapping[str, str]
    nodes: str
    tasks: Path | None
    kv: Path | None
    integrations: Path | None


def read_inputs(
    *,
    repo: str,
    revision: str,
    extra_vars: tuple[str, ...] = (),
    nodes: str = "",
    tasks: str | None = None,
    kv: str | None = None,
    integrations: str | None = None,
) -> Inputs:
    """Check the options that name files, and parse the variables.

    Raises:
        UsageError: no repository, or a variable is no assignment.
        NotFound: a file or folder does not exist.
    """
    from ecsd.coconut.variables import parse_variables  # the parser of YAML takes a while to import

    return Inputs(
        repo=chosen_repository(repo),
        revision=revision,
        variables=parse_variables(extra_vars),
        nodes=nodes,
        tasks=existing(tasks, "--tasks", folder=True),
        kv=existing(kv, "--kv"),
        integrations=existing(integrations, "--integrations"),
    )


def chosen_repository(repo: str) -> str:
    """Return the repository to use: what --repo says, else the current folder if it is one.

    Raises:
        UsageError: it is not.
    """
    if repo:
        return repo
    if Path("workflows").is_dir():
        return "."
    raise UsageError("which repository? the current folder holds no workflows/", hint="say --repo FOLDER")


def standard_input() -> str:
    """Return what comes in, for `-`."""
    return sys.stdin.read()


def existing(text: str | None, option: str, *, folder: bool = False) -> Path | None:
    """Return the path that an option names. Raises NotFound if nothing is there."""
    if text is None:
        return None
    path = Path(text)
    if not (path.is_dir() if folder else path.is_file()):
        raise NotFound(f"{option} {text}: there is no such {'folder' if folder else 'file'}")
    return path
