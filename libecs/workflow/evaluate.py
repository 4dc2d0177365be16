"""Pieces of templates with their texts evaluated in the scope of one role."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from libecs.errors import InvalidInput, TemplateError
from libecs.language.duration import parse_duration
from libecs.language.expression import Text
from libecs.language.fields import ChannelTemplate, ConstraintTemplate, Variable
from libecs.language.marks import Mark
from libecs.language.template import CountRange, ListRange, Traits
from libecs.workflow import classes
from libecs.workflow.channels import is_address
from libecs.workflow.hooks import parse_moment
from libecs.workflow.role import Channel, Constraint, Moment
from libecs.workflow.scope import RoleScope

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
HOOK_TIMEOUT_S = 30.0
"""Default life of a call or a hook task."""


def value(text: Text, scope: RoleScope) -> str:
    """Return the value of a text. Unknown names are errors wherever they stand in it, as in AliECS.

    Raises:
        ExpressionError: it can't be evaluated.
        Missing: configuration keys have to be fetched first.
    """
    if text.is_literal:
        return text.source
    try:
        for name in text.names:
            if name not in scope:
                text.check(set(scope.names()))
        result = text.evaluate(scope)
        scope.spend(1 + (len(result) >> 2))
    except TemplateError as error:
        raise error.at(path=scope.path) from None
    return result


def variables(items: Iterable[Variable], scope: RoleScope) -> dict[str, str]:
    """Return names and values. Entries do not see each other."""
    return {variable.name: value(variable.text, scope) for variable in items}


def constraint(item: ConstraintTemplate, scope: RoleScope) -> Constraint:
    """Return a constraint with its value evaluated."""
    return Constraint(attribute=item.attribute, value=value(item.value, scope))


def inbound(item: ChannelTemplate, scope: RoleScope) -> Channel:
    """Return an inbound channel.

    Raises:
        TemplateError: its fixed address is no address.
    """
    target = value(item.target, scope)
    if target and not is_address(target):
        raise item.mark.error(
            f"the fixed address of inbound channel {item.name!r} is {_short(target)}",
            hint="write tcp://host:port or ipc://name, or leave `target` out to have an address chosen",
            path=scope.path,
        )
    return classes.channel(item, target, value(item.global_, scope))


def outbound(item: ChannelTemplate, scope: RoleScope) -> Channel:
    """Return an outbound channel. Whether its target exists can be told only when all roles are there."""
    return classes.channel(item, value(item.target, scope), "")


def traits(written: Traits, scope: RoleScope, mark: Mark) -> tuple[Moment | None, Moment | None, float]:
    """Return trigger, await and timeout in seconds. `mark`: the role's, for texts that nobody wrote.

    Raises:
        TemplateError: no moment, or no duration.
    """
    trigger = _moment(written.trigger, scope, mark)
    await_ = (_moment(written.await_, scope, mark) or trigger) if trigger else None
    text = value(written.timeout, scope)
    if not text.strip():
        return trigger, await_, HOOK_TIMEOUT_S if trigger else 0.0
    try:
        return trigger, await_, parse_duration(text)
    except InvalidInput as error:
        place = written.timeout.mark or mark
        raise place.error(f"timeout: {error.message}", hint=error.hint, path=scope.path) from None


def count(loop: CountRange, scope: RoleScope, limit: int) -> range:
    """Return the integers of `begin` to `end`.

    Raises:
        TemplateError: they are no integers, or more than `limit`.
    """
    begin, end = (_integer(text, scope, loop) for text in (loop.begin, loop.end))
    if end - begin >= limit:
        raise loop.mark.error(f"`for` counts from {begin} to {end}: more than {limit} roles", path=scope.path)
    return range(begin, end + 1)


def least_copies(loop: CountRange | ListRange) -> int:
    """Return how many copies a loop makes, as far as that can be told without evaluating anything; else 0."""
    if not isinstance(loop, CountRange) or not (loop.begin.is_literal and loop.end.is_literal):
        return 0
    ends = loop.begin.source.strip(), loop.end.source.strip()
    if not all(_INTEGER.fullmatch(end) for end in ends):
        return 0
    return max(int(ends[1]) - int(ends[0]) + 1, 0)


def items(loop: ListRange, scope: RoleScope, limit: int) -> list[str]:
    """Return the strings of a JSON list.

    Raises:
        TemplateError: it is none, or has more than `limit` of them.
    """
    text = value(loop.range, scope)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise (loop.range.mark or loop.mark).error(
            f"`range` must give a JSON list of strings, and gives {_short(text)}",
            hint='such as ["flp001", "flp002"]',
            path=scope.path,
        )
    if len(found) > limit:
        raise (loop.range.mark or loop.mark).error(
            f"`range` has {len(found)} items: more than {limit} roles", path=scope.path
        )
    return found


def _integer(text: Text, scope: RoleScope, loop: CountRange) -> int:
    written = value(text, scope)
    if not _INTEGER.fullmatch(written.strip()):
        place = text.mark or loop.mark
        raise place.error(f"`begin` and `end` must be integers: {_short(written)}", path=scope.path)
    return int(written)


def _moment(text: Text, scope: RoleScope, mark: Mark) -> Moment | None:
    written = value(text, scope)
    if not written.strip():
        return None
    try:
        return parse_moment(written)
    except InvalidInput as error:
        raise (text.mark or mark).error(error.message, hint=error.hint, path=scope.path) from None


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "…"
