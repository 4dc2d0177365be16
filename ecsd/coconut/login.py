"""`coconut login`: a key of one's own, and a context, from one line that an admin has sent."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from ecsd.coconut.output import Output, json_option, verb


@click.command(
    help="""Make a key and a context from the token of an invitation (coconut key invite NAME).

    The key is made here and stays here. The context becomes the one in use if there is none yet. TOKEN - is read from
    the input: what stands on a command line is seen by all users of the machine.

    \b
    Examples:
      coconut login ecs1.iKVhbGljZQLA…
      coconut login ecs1.iKVhbGljZQLA… --context p2
    """
)
@click.argument("token")
@click.option("--context", metavar="NAME", help="Name of the context; default: the host of the core.")
@click.option("--use", is_flag=True, help="Make it the context in use.")
@json_option
@verb
def login(output: Output, token: str, context: str | None, use: bool) -> None:
    """Make a key and a context from a token."""
    if token == "-":
        token = sys.stdin.readline()
    from libecs.access import Role
    from libecs.errors import UsageError
    from libecs.io.contexts import Context, default_key_file, save_context
    from libecs.io.enrolment import join
    from libecs.io.keys import check_name, shown
    from libecs.io.token import Invitation

    invitation = Invitation.read(token)
    if invitation.role is Role.NODE:
        raise UsageError("this token makes a node", hint="ecs-executord join TOKEN")
    name = context or urlsplit(invitation.endpoint).hostname or "core"
    check_name(name)
    enrolled = join(token, default_key_file(name))
    save_context(
        Context(
            name=name,
            endpoint=invitation.endpoint,
            core_key=invitation.core_key,
            next_core_key=invitation.next_core_key,
            key_file=enrolled.key_file,
        ),
        current=True if use else None,
    )
    key = shown(enrolled.public)
    if enrolled.pending:
        words = f"context {name}: key {key} waits until an admin says: coconut key approve {invitation.name}"
    else:
        words = f"context {name}: you are {invitation.name} ({invitation.role.name.lower()}), with key {key}"
    fields = {
        "context": name,
        "name": invitation.name,
        "role": invitation.role.name.lower(),
        "endpoint": invitation.endpoint,
        "key": key,
        "key_file": str(enrolled.key_file),
        "pending": enrolled.pending,
    }
    output.document("login", fields, [words])
