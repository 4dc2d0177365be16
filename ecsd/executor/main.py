"""The entry point of `ecs-executord`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from ecsd import logs
from ecsd.executor.daemon import ExecutorDaemon
from ecsd.executor.options import PROGRAM, ExecutorOptions, is_set_by_hand, node_name, state_folder, with_joined
from ecsd.leaving import leave
from ecsd.settings import Loaded, Program, load, path, run, setting
from libecs.errors import EcsError, UsageError


@attrs.frozen(kw_only=True)
class JoinOptions:
    """What `ecs-executord join` is told, beside the token."""

    # `setting` makes a field, as attrs.field does
    state: Path = setting(None, "Folder of the state.", read=path, metavar="DIR", computed=state_folder)  # noqa: RUF009
    node: str = setting("", "Name that the token must be for.", read=node_name, metavar="NAME")


def start(loaded: Loaded[ExecutorOptions]) -> int:
    """Be the executor until we are told to end; return the exit code. Raises EcsError: it can't be."""
    options = loaded.settings
    logs.set_up(options.log_level, options.log_format, environment=os.environ, program=PROGRAM.name)
    by_hand = is_set_by_hand(loaded, "core_key")
    return asyncio.run(ExecutorDaemon(options, os.environ, core_key_by_hand=by_hand).run())


def join(words: Sequence[str]) -> int:
    """Make this machine a node of the core that a token is from; return the exit code. Raises EcsError."""
    from libecs.io.enrolment import join_node
    from libecs.io.token import MAX_TOKEN

    if not words or (words[0].startswith("-") and words[0] != "-"):
        hint = "an admin makes one: coconut node invite NAME; - reads it from stdin"
        raise UsageError("join needs a token", hint=hint)
    nowhere = Program(name="ecs-executord join", summary="", file=Path("/nonexistent"), version=PROGRAM.version)
    options = load(nowhere, JoinOptions, words[1:], os.environ).settings
    token = sys.stdin.readline(MAX_TOKEN + 2) if words[0] == "-" else words[0]
    enrolled = join_node(token, options.state, node=options.node)
    name = enrolled.invitation.name
    print(f"node {name} has key {enrolled.public[:8]} at the core {enrolled.invitation.endpoint}")
    if enrolled.pending:
        print(f"  next: an admin approves it: coconut node approve {name}")
    else:
        print(f"  next: ecs-executord --state {options.state}")
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `ecs-executord`, and end the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["join"] and not {"-h", "--help"} & set(words):
        try:
            code = join(words[1:])
        except EcsError as error:
            print(error.shown(), file=sys.stderr)
            code = error.exit_code
    else:
        code = run(PROGRAM, ExecutorOptions, words, start, complete=with_joined)
    leave(code)
