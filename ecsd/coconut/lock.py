"""`coconut lock list | take | release | request`: who has which detector."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import detectors
from ecsd.coconut.environment import moment
from ecsd.coconut.options import core_options, yes_option
from ecsd.coconut.output import Column, Output, json_option, list_options, verb
from ecsd.coconut.watching import show_again, watch_option
from libecs.errors import Conflict

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs

COLUMNS = (
    Column("detector", lambda row: row["detector"]),
    Column("owner", lambda row: row["owner"] or "free"),
    Column("since", lambda row: moment(row["since_ms"])),
    Column("reason", lambda row: row["reason"]),
    Column("fence", lambda row: str(row["fence"] or ""), wide=True),
)


@click.command(
    name="list",
    help="""List the detectors and who has them.

    \b
    Examples:
      coconut lock list
      coconut lock list --json
    """,
)
@core_options
@watch_option
@list_options
@verb
def list_locks(output: Output, watch: bool, **options: Any) -> int:
    """List locks."""
    from ecsd.coconut.documents import lock_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        async def show() -> Callable[[], None]:
            answer = await ecs.show_locks()
            rows = [lock_document(lock) for lock in answer.locks]
            taken = {lock.detector for lock in answer.locks}
            free = {"owner": "", "since_ms": 0, "reason": "", "fence": 0}
            rows += [{"detector": name, **free} for name in answer.detectors if name not in taken]
            rows.sort(key=lambda row: row["detector"])
            document = {"schema": "ecs/lock-list/1", "locks": rows}

            def printing() -> None:
                output.listing(document, "locks", COLUMNS, name="detector")
                if not rows:
                    output.say("no detectors are known, and none is locked")

            return printing

        await show_again(output, watch, show)

    return Target.of(options).run(work)


@click.command(
    help="""Take detectors, all or none: until they are released nobody else changes environments that hold one.

    Exit status 4 if somebody has one; --force takes it from him (admins). One that is yours already stays yours, for
    the new reason.

    \b
    Examples:
      coconut lock take tpc --reason "threshold scan"
      coconut lock take its tpc --json
      coconut lock take tpc --force --yes
    """
)
@click.argument("detectors", nargs=-1, required=True, metavar="DETECTOR…", shell_complete=detectors)
@click.option("--reason", default="", help="For those who want them meanwhile.")
@click.option("-f", "--force", is_flag=True, help="Take them from whoever has them.")
@yes_option
@core_options
@json_option
@verb
def take(output: Output, detectors: tuple[str, ...], reason: str, force: bool, yes: bool, **options: Any) -> int:
    """Take locks."""
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        if force:
            output.confirm(f"take {', '.join(detectors)} from whoever has them?", yes=yes)
        done = await ecs.take_locks(detectors, reason=reason, force=force)
        await _told(ecs, output, detectors, "taken", done.hint)

    return Target.of(options).run(work)


@click.command(
    help="""Give detectors back; without names, all that are yours.

    \b
    Examples:
      coconut lock release tpc
      coconut lock release
      coconut lock release tpc --force --yes
    """
)
@click.argument("detectors", nargs=-1, metavar="[DETECTOR]…", shell_complete=detectors)
@click.option("-f", "--force", is_flag=True, help="Whoever has them (admins).")
@yes_option
@core_options
@json_option
@verb
def release(output: Output, detectors: tuple[str, ...], force: bool, yes: bool, **options: Any) -> int:
    """Release locks."""
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        if force:
            output.confirm(f"release {', '.join(detectors) or 'all detectors'}, whoever has them?", yes=yes)
        done = await ecs.unlock(*detectors, force=force)
        given = tuple(json.loads(done.message))
        await _told(ecs, output, given, "released")
        if not given and not detectors:
            output.say("none was yours")
        if free := [name for name in detectors if name not in given]:
            output.say(f"nobody had {', '.join(free)}")

    return Target.of(options).run(work)


@click.command(
    help="""Ask for a detector that somebody has: he is told, with your reason. If it is free, it is yours at once.

    Exit status 4 if somebody has it: the message names him, since when and why.

    \b
    Examples:
      coconut lock request tpc --reason "laser run at noon"
      coconut lock request tpc --json
    """
)
@click.argument("detectors", nargs=-1, required=True, metavar="DETECTOR…", shell_complete=detectors)
@click.option("--reason", default="", help="What you want it for.")
@core_options
@json_option
@verb
def request(output: Output, detectors: tuple[str, ...], reason: str, **options: Any) -> int:
    """Request locks."""
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        try:
            done = await ecs.take_locks(detectors, reason=reason)
        except Conflict as error:
            error.hint = "its holder was told that you want it; coconut lock list --watch"
            raise
        await _told(ecs, output, detectors, "taken", done.hint)

    return Target.of(options).run(work)


async def _told(ecs: AsyncEcs, output: Output, detectors: tuple[str, ...], word: str, warning: str = "") -> None:
    from ecsd.coconut.documents import lock_document

    locks = [lock_document(lock) for lock in (await ecs.show_locks()).locks]
    mine = [lock for lock in locks if lock["detector"] in detectors]
    fields: dict[str, Any] = {"done": word, "detectors": list(detectors), "locks": mine}
    if warning:
        fields["warning"] = warning
        output.say(f"warning: {warning}")
    output.document("lock", fields, [f"{word}: {', '.join(detectors) or 'nothing'}"])
