"""`coconut context list | use | show | add | remove`: which core is asked when nobody says."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import contexts
from ecsd.coconut.output import Column, Output, json_option, list_options, verb

if TYPE_CHECKING:
    from libecs.io.contexts import Context

COLUMNS = (
    Column("current", lambda row: "*" if row["current"] else ""),
    Column("context", lambda row: row["name"]),
    Column("endpoint", lambda row: row["endpoint"]),
    Column("core key", lambda row: row["core_key"][:8], wide=True),
    Column("key file", lambda row: row["key_file"], wide=True),
)


def _document(context: Context, *, current: bool) -> dict[str, Any]:
    return {
        "name": context.name,
        "endpoint": context.endpoint,
        "core_key": context.core_key,
        "key_file": str(context.key_file or ""),
        "source": context.source,
        "current": current,
    }


@click.command(
    name="list",
    help="""List the contexts: the cores that you have keys for.

    \b
    Examples:
      coconut context list
      coconut context list -o name
      coconut context list --json
    """,
)
@list_options
@verb
def list_contexts(output: Output) -> None:
    """List contexts."""
    from libecs.errors import EcsError
    from libecs.io.contexts import LOCAL, choose, read_contexts

    known = read_contexts()
    rows = [_document(context, current=name == known.current) for name, context in known.contexts.items()]
    if LOCAL not in known.contexts:
        with contextlib.suppress(EcsError):  # no core of this user runs here
            rows.append(_document(choose(LOCAL), current=not known.current))
    output.listing({"schema": "ecs/context-list/1", "contexts": rows}, "contexts", COLUMNS)
    if not rows:
        output.say("no contexts; `coconut login TOKEN` makes one, and an admin gives you the token")


@click.command(
    help="""Choose the context that holds from now on. --context and $ECS_CONTEXT win over it.

    \b
    Examples:
      coconut context use p2
      coconut context use local --json
    """
)
@click.argument("name", shell_complete=contexts)
@json_option
@verb
def use(output: Output, name: str) -> None:
    """Use a context."""
    from libecs.io.contexts import choose, use_context

    context = choose(name)
    use_context(name)
    output.document("context", _document(context, current=True), [f"{name} is asked from now on: {context.endpoint}"])


@click.command(
    help="""Show a context, or the one that holds now, and why.

    \b
    Examples:
      coconut context show
      coconut context show p2 --json
    """
)
@click.argument("name", required=False, default="", shell_complete=contexts)
@json_option
@verb
def show(output: Output, name: str) -> None:
    """Show a context."""
    from libecs.io.contexts import choose

    context = choose(name)
    current = choose() if name else context
    document = _document(context, current=current == context)
    lines = [f"{key.replace('_', ' '):<10}{value}" for key, value in document.items() if value and key != "current"]
    output.document("context", document, lines)


@click.command(
    help="""Write down a core by hand. Mostly `coconut login TOKEN` does it, and makes the key.

    \b
    Examples:
      coconut context add p2 tcp://head:47102 --core-key Z85 --key ~/p2.key
      coconut context add lab tcp://127.0.0.1:47102 --use
    """
)
@click.argument("name")
@click.argument("endpoint")
@click.option("--core-key", default="", metavar="Z85", help="Public key of the core, 40 characters.")
@click.option("--key", "key_file", metavar="FILE", help="File with your key.")
@click.option("--use", "chosen", is_flag=True, help="Use it from now on.")
@json_option
@verb
def add(output: Output, name: str, endpoint: str, core_key: str, key_file: str | None, chosen: bool) -> None:
    """Add a context."""
    from libecs.errors import NotFound, UsageError
    from libecs.io.contexts import Context, read_contexts, read_endpoint, save_context

    if bool(core_key) != bool(key_file):
        raise UsageError("--core-key and --key go together", hint="without both, only a core with --insecure answers")
    read_endpoint(endpoint)
    path = None if key_file is None else Path(key_file).expanduser().absolute()
    if path is not None and not path.is_file():
        raise NotFound(f"--key {key_file}: there is no such file")
    save_context(
        Context(name=name, endpoint=endpoint, core_key=core_key, key_file=path), current=True if chosen else None
    )
    known = read_contexts()
    document = _document(known.contexts[name], current=known.current == name)
    words = "; it is asked from now on" if known.current == name else f"; coconut context use {name}"
    output.document("context", document, [f"context {name} is written down{words}"])


@click.command(
    help="""Forget a context. The key file stays.

    \b
    Examples:
      coconut context remove p2
      coconut context remove p2 --json
    """
)
@click.argument("name")
@json_option
@verb
def remove(output: Output, name: str) -> None:
    """Remove a context."""
    from libecs.io.contexts import remove_context

    context = remove_context(name)
    kept = f"; its key is still in {context.key_file}" if context.key_file else ""
    output.document("context", _document(context, current=False), [f"context {name} is forgotten{kept}"])
