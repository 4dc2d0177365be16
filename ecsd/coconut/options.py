"""Options that several verbs share, and what they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from libecs.errors import NotFound, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def repository_options(function: F) -> F:
    """Add --repo and --revision."""
    function = click.option("--revision", default="", metavar="V", help="Branch, tag or commit; default: as it is.")(
        function
    )
    return click.option(
        "--repo", default="", metavar="R", help="Repository of workflows: folder, git repository or URL; default: here."
    )(function)


def input_options(function: F) -> F:
    """Add what an expansion needs besides the repository: -e, --nodes, --tasks, --kv, --integrations."""
    options = (
        click.option(
            "-e", "--extra-vars", "extra_vars", multiple=True, metavar="K=V", help="Variables: K=V,…, JSON, @FILE.yaml."
        ),
        click.option(
            "--nodes", default="", metavar="N|FILE", help="Nodes that this machine plays: a number, or a file."
        ),
        click.option("--tasks", metavar="DIR", help="Folder of task templates whose command, user and wants replace."),
        click.option("--kv", metavar="FILE", help="Configuration, runtime values and inventory, as a YAML tree."),
        click.option("--integrations", metavar="FILE", help="What calls of integrations give: value, delay or error."),
    )
    for option in reversed(options):
        function = option(function)
    return function


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
        tasks=_existing(tasks, "--tasks", folder=True),
        kv=_existing(kv, "--kv"),
        integrations=_existing(integrations, "--integrations"),
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


def _existing(text: str | None, option: str, *, folder: bool = False) -> Path | None:
    if text is None:
        return None
    path = Path(text)
    if not (path.is_dir() if folder else path.is_file()):
        raise NotFound(f"{option} {text}: there is no such {'folder' if folder else 'file'}")
    return path
