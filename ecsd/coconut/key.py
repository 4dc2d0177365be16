"""`coconut key …` and `coconut node invite | approve`: whose key opens the core."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.environment import moment
from ecsd.coconut.options import connect_timeout_s, context_option, several
from ecsd.coconut.output import Column, Output, json_option, list_options, plain, verb
from ecsd.coconut.target import Target
from libecs.errors import Conflict, NotFound, UsageError

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.io.contexts import Context

ROLES = ("viewer", "operator", "admin", "service")


_invitation_options = several(
    click.option("--rotate", is_flag=True, help="For a second key of a name that has one."),
    click.option("--days", metavar="N", default="", help="Its key expires after so many; default: never."),
    click.option("--auto", is_flag=True, help="Approved at once: who has the token needs no approval."),
)


@click.command(
    help="""Invite a node: print the line that makes a machine a node of this core.

    The line holds a secret that is good for one key and 10 minutes. Run it there, as whoever runs ecs-executord; then
    `coconut node approve NAME`, or invite with --auto.

    \b
    Examples:
      coconut node invite flp042
      coconut node invite flp042 --auto
      ssh flp042 sudo -u ecs $(coconut node invite flp042 --auto)
    """
)
@click.argument("name")
@_invitation_options
@context_option
@json_option
@verb
def invite_node(output: Output, name: str, auto: bool, rotate: bool, days: str, context: str | None) -> None:
    """Invite a node."""
    arguments = {"name": name, "kind": "node", **({"days": days} if days else {})}
    _invite(output, context, arguments, auto=auto, rotate=rotate, line="ecs-executord join")


@click.command(
    help="""Invite a user or a program: print the line that makes a key and a context.

    The line holds a secret that is good for one key and 10 minutes. Then `coconut key approve NAME`, or invite with
    --auto. An operator without --detectors may use all of them.

    \b
    Examples:
      coconut key invite alice --role operator --detectors its,tpc
      coconut key invite wall --auto
      coconut key invite guest --days 30
      coconut key invite alice --rotate
    """
)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What it may do.")
@click.option("--detectors", metavar="A,B", help="Detectors of an operator; default: all.")
@_invitation_options
@context_option
@json_option
@verb
def invite(
    output: Output,
    name: str,
    role: str,
    detectors: str | None,
    auto: bool,
    rotate: bool,
    days: str,
    context: str | None,
) -> None:
    """Invite a user or a program."""
    arguments = {"name": name, "kind": "user", "role": role, **({"days": days} if days else {})}
    if detectors is not None:
        arguments["detectors"] = detectors
    _invite(output, context, arguments, auto=auto, rotate=rotate, line="coconut login")


def _invite(
    output: Output, context: str | None, arguments: dict[str, str], *, auto: bool, rotate: bool, line: str
) -> None:
    from libecs.access import Role
    from libecs.io.token import Invitation, new_secret, proof_of

    # The secret is made here: the core is told what proves it, and has nothing that could be stolen.
    secret = new_secret()
    arguments |= {"proof": proof_of(secret)}
    arguments |= {word: "1" for word, on in (("auto", auto), ("rotate", rotate)) if on}
    answer = _work(context, "key.invite", arguments)
    detectors = answer["detectors"]
    token = Invitation(
        name=answer["name"],
        role=Role[answer["role"].upper()],
        detectors=None if detectors is None else tuple(detectors),
        core_key=answer["core_key"],
        endpoint=answer["endpoint"],
        lobby=answer["lobby"],
        secret=secret,
        expires_ms=answer["expires_ms"],
        rotate=answer["rotate"],
        next_core_key=answer.get("next_core_key", ""),
    ).text()
    approve = f"coconut {'node' if arguments['kind'] == 'node' else 'key'} approve {answer['name']}"
    output.say(f"good for one key, until {moment(answer['expires_ms'])}" + ("" if auto else f"; then: {approve}"))
    fields = {key: answer[key] for key in ("name", "role", "detectors", "endpoint", "lobby", "expires_ms")}
    output.document("invitation", {**fields, "token": token, "line": f"{line} {token}"}, [f"{line} {token}"])


@click.command(
    help="""Let in a key that waits for approval, or with --refuse forget it.

    Compare the key that is shown with what its owner was shown when he joined.

    \b
    Examples:
      coconut key approve alice
      coconut key approve mallory --refuse
    """
)
@click.argument("name")
@click.option("--refuse", is_flag=True, help="Forget it.")
@context_option
@json_option
@verb
def approve(output: Output, name: str, refuse: bool, context: str | None) -> None:
    """Let in a key that waits for approval."""
    _approve(output, context, name, refuse)


@click.command(
    help="""Let in a node that waits for approval, or with --refuse forget its key.

    \b
    Examples:
      coconut node approve flp042
      coconut node approve flp042 --refuse
    """
)
@click.argument("name")
@click.option("--refuse", is_flag=True, help="Forget it.")
@context_option
@json_option
@verb
def approve_node(output: Output, name: str, refuse: bool, context: str | None) -> None:
    """Let in a node that waits for approval."""
    _approve(output, context, name, refuse)


def _approve(output: Output, context: str | None, name: str, refuse: bool) -> None:
    answer = _work(context, "key.approve", {"name": name, **({"refuse": "1"} if refuse else {})})
    if answer["approved"]:
        words = f"{name} ({answer['role']}) is let in with key {', '.join(answer['keys'])}"
    else:
        words = f"the pending key of {name} is forgotten"
    output.document("key-approve", answer, [words])


@click.command(
    help="""Let nobody in any more with the keys of a name; what they are connected with now ends, too.

    Revoked keys are kept, so that they never come back. An invitation that is still open is withdrawn.

    \b
    Examples:
      coconut key revoke alice
      coconut key revoke alice 'rq:rM>}U'
    """
)
@click.argument("name")
@click.argument("key", default="")
@context_option
@json_option
@verb
def revoke(output: Output, name: str, key: str, context: str | None) -> None:
    """Revoke keys."""
    answer = _work(context, "key.revoke", {"name": name, "key": key})
    keys = answer["keys"]
    output.document("key-revoke", answer, [f"revoked keys of {name}: {', '.join(keys) or 'none, but its invitation'}"])


@click.command(
    help="""List who has a key, what waits for approval, and open invitations.

    \b
    Examples:
      coconut key list
      coconut key list --json
    """
)
@context_option
@list_options
@verb
def list_keys(output: Output, context: str | None) -> None:
    """List keys."""
    document = Target(context=context).ask("key.list", {})
    output.listing(
        document,
        "keys",
        [
            Column("name", lambda row: str(row["name"])),
            Column("role", lambda row: str(row["role"])),
            Column("detectors", lambda row: "all" if row["detectors"] is None else plain(row["detectors"])),
            Column("key", lambda row: str(row["key"])),
            Column("state", lambda row: str(row["state"])),
            Column("since", lambda row: moment(row["added_ms"]) or "-"),
            Column("expires", lambda row: moment(row["expires_ms"]) if row["expires_ms"] else "never"),
            Column("by", lambda row: plain(row["by"])),
        ],
    )
    for text in _remarks(document):
        output.say(text)


def _remarks(document: Mapping[str, Any]) -> Iterator[str]:
    for one in document["invitations"]:
        yield f"invited by {one['by']}: {one['name']} ({one['role']}), until {moment(one['expires_ms'])}"
    for problem in document["problems"]:
        yield f"problem: {problem}"


@click.command(
    help="""Take a new key in the place of yours; or with --core, let the core take one in the place of its own.

    Both of yours are valid until the new one has been tried; then the old one is revoked.

    The core tells its next key to all nodes and clients that come to it, and takes it at the first start of ecsd after
    those days; environments and tasks go on. Said again, --core shows who has not been told yet, and changes nothing.

    \b
    Examples:
      coconut key rotate
      coconut key rotate --context p2
      coconut key rotate --core
      coconut key rotate --core --days 30
      coconut key rotate --core --cancel
    """
)
@click.option("--core", is_flag=True, help="The core's key, not yours. For admins.")
@click.option("--days", metavar="N", default="", help="With --core: how long it is told before; default: 14.")
@click.option("--cancel", is_flag=True, help="With --core: give the next key up again.")
@context_option
@json_option
@verb
def rotate(output: Output, core: bool, days: str, cancel: bool, context: str | None) -> None:
    """Take a new key in the place of one's own, or of the core's."""
    if core:
        _rotate_core(output, context, days, cancel)
        return
    if days or cancel:
        raise UsageError("--days and --cancel are about the core's key", hint="add --core")
    import attrs

    from libecs.io.contexts import choose
    from libecs.io.keyfile import sync_folder
    from libecs.io.keys import KeyPair, read_key_file, shown, write_key_file

    here = choose(context or "")
    key_file = here.key_file
    if key_file is None or not here.core_key:
        raise Conflict(f"context {here.name or here.endpoint} has no key: its core runs with --insecure")
    if not key_file.exists():
        raise NotFound(f"there is no key file {key_file}", hint="coconut login TOKEN")
    if here.next_core_key:  # the core may have it by now: whoever comes by the context finds out
        Target(context=context).run(_ask_who)
        here = choose(context or "")
    old, new = read_key_file(key_file), KeyPair.new()
    new_file = key_file.with_name(key_file.name + ".new")
    write_key_file(new_file, new)
    _with_key(here, {"only": old.public})  # what an attempt that was cut has left
    _with_key(here, {"add": new.public})
    _with_key(attrs.evolve(here, key_file=new_file), None)  # it is tried
    new_file.rename(key_file)
    sync_folder(key_file.parent)  # before the old one is revoked
    answer = _with_key(here, {"only": new.public})
    words = f"your key is {shown(new.public)} now, in {key_file}; {shown(old.public)} is revoked"
    output.document("key-rotate", {"name": answer["name"], "key": shown(new.public)}, [words])


def _rotate_core(output: Output, context: str | None, days: str, cancel: bool) -> None:
    arguments = {**({"days": days} if days else {}), **({"cancel": "1"} if cancel else {})}
    answer = _work(context, "key.core", arguments)
    output.document("key-core", answer, list(_core_words(answer)))


def _core_words(answer: Mapping[str, Any]) -> Iterator[str]:
    if not answer["next_key"]:
        yield f"the core keeps its key {answer['key'][:8]}; it has no next one"
        return
    yield f"the core's next key is {answer['next_key']}, after {answer['key']}"
    yield f"it is taken when ecsd is started anew after {moment(answer['from_ms'])}; environments and tasks go on"
    told, untold = ", ".join(answer["told"]), ", ".join(answer["untold"])
    yield f"told of it: {told or 'nobody yet'}"
    if untold:
        yield f"not yet told: {untold}; who is not told until then has to join anew: coconut key invite NAME --rotate"


async def _ask_who(ecs: AsyncEcs) -> None:
    await ecs.info()


def _work(context: str | None, name: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def work(ecs: AsyncEcs) -> None:
        found.update(await ecs.work(name, **arguments))

    Target(context=context).run(work)
    return found


def _with_key(context: Context, arguments: Mapping[str, str] | None) -> dict[str, Any]:
    """Come to a core with the key of a context, and ask it to rotate; with None only ask who it is."""

    async def work() -> dict[str, Any]:
        import libecs

        async with libecs.connect(
            context.name or context.endpoint,
            key=context.key_file,
            core_key=context.core_key,
            timeout=connect_timeout_s(),
        ) as ecs:
            if arguments is None:
                await ecs.info()
                return {}
            answer: dict[str, Any] = await ecs.work("key.rotate", **arguments)
            return answer

    return asyncio.run(work())
