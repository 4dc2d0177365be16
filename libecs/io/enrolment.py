"""The other side of the lobby: whoever was invited makes a key, and has it enrolled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import attrs

from libecs import errors
from libecs.errors import DecodeError, Denied, EcsError, InvalidInput, Unreachable
from libecs.io.corefile import write_core_file
from libecs.io.keyfile import NODE_KEY
from libecs.io.keys import KeyPair, make_private_folder, read_key_file, write_key_file
from libecs.io.link import ClientCurve, Context, Dialer, Refusal, Trouble, close_context, new_context
from libecs.io.lobby import CHANNEL
from libecs.io.token import Invitation
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.lobby import LOBBY, MAX_LOBBY_BYTES, Join, Joined, TurnedAway

TIMEOUT_S = 15.0
_GONE = frozenset({Refusal.REFUSED, Refusal.UNREACHABLE, Refusal.SILENT})


@attrs.frozen(kw_only=True)
class Enrolled:
    """A key that the core knows now."""

    invitation: Invitation
    key_file: Path
    public: str
    pending: bool
    """An admin has to approve it first."""


async def enrol(context: Context, invitation: Invitation, pair: KeyPair, *, timeout_s: float = TIMEOUT_S) -> Joined:
    """Show an invitation, and have the key enrolled.

    Raises:
        EcsError: the core does not want it; or nobody answers (Unreachable), or somebody else (Denied).
    """
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    request = LOBBY.encode(Join(secret=invitation.secret, name=invitation.name))

    def heard(frames: list[bytes]) -> None:
        if answer.done() or len(frames) != 2 or frames[0] != VERSION_FRAME:
            return
        try:
            answer.set_result(LOBBY.decode(frames[1], MAX_LOBBY_BYTES))
        except DecodeError as error:
            answer.set_exception(error)

    def changed(up: bool) -> None:
        if up:  # again after each break: repeated by the same key, it gets the same answer
            dialer.send([VERSION_FRAME, request])

    def failed(trouble: Trouble) -> None:
        if not answer.done():
            answer.set_exception(_error(trouble))

    curve = ClientCurve(
        public=pair.public,
        secret=pair.secret,
        server=invitation.core_key,
        next_server=invitation.next_core_key,
    )
    dialer = Dialer(context, invitation.lobby, heard, channel=CHANNEL, curve=curve, on_link=changed, on_trouble=failed)
    try:
        message = await asyncio.wait_for(answer, timeout_s)
    except TimeoutError:
        raise Unreachable(
            f"the core at {invitation.lobby} gave no answer within {timeout_s:g} s",
            hint="try again with the same token",
        ) from None
    finally:
        dialer.close()
    if isinstance(message, TurnedAway):
        raise _turned_away(message)
    if not isinstance(message, Joined):
        raise DecodeError(f"{invitation.lobby} answered with {type(message).__name__}")
    return message


def join(text: str, key_file: Path, *, timeout_s: float = TIMEOUT_S) -> Enrolled:
    """Have the key in `key_file` enrolled by a token; make it first if there is none, or if the token is for a new one.

    Blocks. An attempt that was cut is gone on with by the same token: it takes the key that was made.

    Raises:
        EcsError: as `enrol`; or the file can't be read or written.
    """
    invitation = Invitation.read(text)
    new_file = key_file.with_name(key_file.name + ".new")
    try:
        make_private_folder(key_file.parent)
        is_new = invitation.rotate or not key_file.exists()
        if not is_new:
            pair = read_key_file(key_file)
        elif new_file.exists():
            pair = read_key_file(new_file)
        else:
            pair = KeyPair.new()
            write_key_file(new_file, pair)
        joined = asyncio.run(_joined(invitation, pair, timeout_s))
        if is_new:
            new_file.rename(key_file)
    except OSError as error:
        raise EcsError(f"{error.filename or key_file} cannot be written: {error.strerror}") from error
    return Enrolled(invitation=invitation, key_file=key_file, public=pair.public, pending=joined.pending)


def join_node(text: str, state: Path, *, node: str = "") -> Enrolled:
    """Make this machine a node of the core that a token is from: what `ecs-executord join TOKEN` does.

    The key is `STATE/keys/node.key`; where the core is, and that it is the right one, is written to `STATE/core.toml`.

    Raises:
        InvalidInput: the token is for a user, or for another node than `node`.
        EcsError: as `join`.
    """
    invitation = Invitation.read(text)
    if invitation.role.name != "NODE":
        raise InvalidInput("this token is for a user", hint="coconut login TOKEN")
    if node and node != invitation.name:
        raise InvalidInput(f"this token is for node {invitation.name}, not for {node}")
    enrolled = join(text, state / NODE_KEY)
    values = {
        "core": invitation.endpoint,
        "core_key": invitation.core_key,
        **({"next_core_key": invitation.next_core_key} if invitation.next_core_key else {}),
        "key": os.path.abspath(enrolled.key_file),
        "node": invitation.name,
    }
    write_core_file(state, values)
    return enrolled


async def _joined(invitation: Invitation, pair: KeyPair, timeout_s: float) -> Joined:
    context = new_context()
    try:
        return await enrol(context, invitation, pair, timeout_s=timeout_s)
    finally:
        close_context(context)


def _error(trouble: Trouble) -> EcsError:
    error = trouble.error()
    if trouble.refusal in _GONE:
        return Unreachable(
            error.message, hint="the lobby is open while an invitation is: 10 minutes, and one use; ask for another one"
        )
    if trouble.refusal is Refusal.WRONG_CORE:
        return Denied(error.message, hint="the token is from another core, or somebody answers in its place")
    return error


def _turned_away(message: TurnedAway) -> EcsError:
    classes = {cls.code: cls for cls in (errors.Conflict, Denied, InvalidInput, errors.NotFound)}
    return classes.get(message.code, EcsError)(message.message, hint=message.hint)
