"""`coconut repository list | add | remove | refresh | default`: where a core takes workflows from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ecsd.coconut.complete import repositories
from ecsd.coconut.options import context_option, yes_option
from ecsd.coconut.output import Column, Output, json_option, list_options, plain, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs

COLUMNS = (
    Column("repository", lambda row: row["name"]),
    Column("default", lambda row: "YES" if row["default"] else ""),
    Column("revision", lambda row: row["revision"] or "its own"),
    Column("place", lambda row: row["place"]),
    Column("error", lambda row: row["error"], wide=True),
)


@click.command(
    name="list",
    help="""List the repositories of workflows that the core knows.

    \b
    Examples:
      coconut repository list
      coconut repository list --json
    """,
)
@context_option
@list_options
@verb
def list_repositories(output: Output, context: str | None) -> None:
    """List repositories."""
    from ecsd.coconut.target import Target

    document = Target(context=context).ask("repository.list", {})
    output.listing(document, "repositories", COLUMNS)
    if not document["repositories"]:
        output.say("no repositories; `coconut repository add NAME PLACE` makes one known")


def _work(output: Output, context: str | None, verb: str, arguments: dict[str, str], line: str) -> int:
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        made = await ecs.work(f"repository.{verb}", **arguments)
        told = [f"  {key}: {plain(value)}" for key, value in made.items() if value not in ("", None, [], {})]
        output.document(f"repository-{verb}", {**arguments, **made}, [line, *told])

    return Target(context=context).run(work)


@click.command(
    help="""Make a repository known to the core: a folder on its host, a git repository or an address.

    \b
    Examples:
      coconut repository add workflows https://example.org/ControlWorkflows.git
      coconut repository add lab /srv/lab --json
    """
)
@click.argument("name")
@click.argument("place")
@context_option
@json_option
@verb
def add(output: Output, name: str, place: str, context: str | None) -> int:
    """Add a repository."""
    return _work(output, context, "add", {"name": name, "place": place}, f"repository {name} was added")


@click.command(
    help="""Forget a repository. Environments that were made from it go on.

    \b
    Examples:
      coconut repository remove lab
      coconut repository remove lab --yes --json
    """
)
@click.argument("name", shell_complete=repositories)
@yes_option
@context_option
@json_option
@verb
def remove(output: Output, name: str, yes: bool, context: str | None) -> int:
    """Remove a repository."""
    output.confirm(f"forget repository {name}?", yes=yes)
    return _work(output, context, "remove", {"name": name}, f"repository {name} was removed")


@click.command(
    help="""Fetch what is new in a repository, or in all.

    \b
    Examples:
      coconut repository refresh
      coconut repository refresh workflows --json
    """
)
@click.argument("name", required=False, default="", shell_complete=repositories)
@context_option
@json_option
@verb
def refresh(output: Output, name: str, context: str | None) -> int:
    """Refresh repositories."""
    words = f"repository {name} was" if name else "all repositories were"
    return _work(output, context, "refresh", {"name": name}, f"{words} refreshed")


@click.command(
    help="""Say which repository is meant when a workflow names none, and which of its revisions.

    \b
    Examples:
      coconut repository default workflows
      coconut repository default workflows --revision v1.2 --json
    """
)
@click.argument("name", shell_complete=repositories)
@click.option("-i", "--revision", default="", metavar="V", help="Branch, tag or commit; default: its own.")
@context_option
@json_option
@verb
def default(output: Output, name: str, revision: str, context: str | None) -> int:
    """Choose the default repository."""
    words = f"{name} is the default repository" + (f", at {revision}" if revision else "")
    return _work(output, context, "default", {"name": name, "revision": revision}, words)
