"""Verbs that are imported when they are used: `coconut --help` must not wait for code that it does not run."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """A verb that is not imported yet: where it is, and what lists say of it. No attrs here: its import takes time."""

    place: str
    """`module:attribute` of a click command."""
    help: str
    aliases: tuple[str, ...] = ()


class LazyGroup(click.Group):
    """A group of verbs, imported one at a time, that knows their aliases and what was probably meant."""

    def __init__(self, *, entries: Mapping[str, Entry], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._entries = entries
        self._names = {alias: name for name, entry in entries.items() for alias in (name, *entry.aliases)}

    def aliases(self, name: str) -> tuple[str, ...]:
        """Return the other names of a verb."""
        return self._entries[name].aliases

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands before the verb; options of verbs do not stand there, and that is said."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            name, path = error.option_name, ctx.command_path
            raise click.UsageError(
                f"`{path}` itself has no option {name}; options stand behind the verb: `{path} VERB … {name} …`", ctx
            ) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb, found by its name or an alias."""
        name = self._names.get(cmd_name)
        if name is None:
            return None
        module, _, attribute = self._entries[name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was probably meant."""
        wanted = args[0]
        if not wanted.startswith("-") and wanted not in self._names:
            message = f"there is no verb {wanted!r} in `{ctx.command_path}`"
            raise click.UsageError(message + meant(wanted, self._names), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        return self._names.get(name or "", name), command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs that begin so, without importing them."""
        from click.shell_completion import CompletionItem  # only completion pays for it

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in self._entries.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        rows = [
            (", ".join((name, *entry.aliases)) if entry.aliases else name, entry.help)
            for name, entry in self._entries.items()
        ]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)


def meant(wanted: str, names: Iterable[str]) -> str:
    """Return `; did you mean …?`, or "" when nothing is near."""
    from difflib import get_close_matches  # only mistakes pay for it

    near = get_close_matches(wanted, list(names), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
