"""`coconut audit …`: who asked for what, and whether the log of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ecsd.coconut.environment import moment
from ecsd.coconut.options import Number, context_option
from ecsd.coconut.output import Column, Output, json_option, list_options, plain, verb
from ecsd.coconut.target import Target
from libecs.errors import InvalidInput


class Broken(InvalidInput):
    """The audit log was tampered with, or damaged."""

    code = "E_AUDIT"


@click.command(
    help="""Check the audit log of a core on this machine: that no line was edited, removed, added or moved.

    FILE: files that follow each other, as of a backup; then nothing is known of lines before and behind them. What is
    printed, the number and hash of the last line, is worth keeping elsewhere: it proves later what was there. Where old
    files were removed (the core's `--keep-audit-days`), it says with which line the chain begins.

    \b
    Examples:
      coconut audit verify
      coconut audit verify --state /var/lib/ecs/core
      coconut audit verify audit-000000000001.jsonl
    """
)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--state", metavar="DIR", help="State folder of the core; default: that of this machine.")
@json_option
@verb
def verify(output: Output, files: tuple[str, ...], state: str | None) -> None:
    """Check the chain of the audit log."""
    from libecs.io import audit

    verdict = audit.verify_files([Path(file) for file in files]) if files else audit.verify(_folder(state))
    if verdict.problem:
        place = f"{verdict.file}:{verdict.line}"
        raise Broken(
            f"{place}: {verdict.problem}", hint=f"{verdict.lines} lines before it are in order; compare with a backup"
        )
    head = verdict.head
    fields = {"lines": verdict.lines, "first": head.number - verdict.lines + 1, "last": head.number, "hash": head.hash}
    told = [f"{verdict.lines} lines in order; the last one is {head.number} {head.hash}"]
    if verdict.base.number:
        before = verdict.base
        told.append(
            f"  they begin with line {before.number + 1}: older files were removed, up to {before.number} {before.hash}"
        )
    output.document("audit-verify", fields, told)


@click.command(
    help="""Show the last lines of the audit log.

    \b
    Examples:
      coconut audit tail
      coconut audit tail -n 100 --json
      coconut audit tail --state /var/lib/ecs/core
    """
)
@click.option("-n", "--lines", type=Number(1, 10_000), default=20, show_default=True, help="How many.")
@context_option
@click.option("--state", metavar="DIR", help="Ask no core: read its state folder, on this machine.")
@list_options
@verb
def tail(output: Output, lines: int, context: str | None, state: str | None) -> None:
    """Show the last lines of the audit log."""
    document: dict[str, Any]
    if state is None:
        document = Target(context=context).ask("audit.tail", {"lines": str(lines)})
    else:
        from libecs.io import audit

        document = {"schema": "ecs/audit-tail/1", "lines": audit.tail(_folder(state), lines)}
    output.listing(
        document,
        "lines",
        [
            Column("n", lambda row: plain(row.get("n"))),
            Column("time", lambda row: moment(row.get("unix_ms", 0)) or "-"),
            Column("who", lambda row: plain(row.get("who"))),
            Column("key", lambda row: plain(row.get("key")), wide=True),
            Column("via", lambda row: plain(row.get("via")), wide=True),
            Column("verb", lambda row: plain(row.get("verb"))),
            Column("object", lambda row: plain(row.get("object"))),
            Column("operation", lambda row: plain(row.get("operation")), wide=True),
            Column("decision", lambda row: plain(row.get("decision"))),
            Column("text", lambda row: plain(row.get("text"))),
        ],
        name="n",
    )


def _folder(state: str | None) -> Path:
    from libecs.io.contexts import core_state_folder

    return (core_state_folder() if state is None else Path(state)) / "audit"
