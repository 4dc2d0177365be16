"""Snapshots of environments in parts that a message can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import attrs

from libecs.engine.runbook import ANSWER_BYTES
from libecs.wire.info import EnvironmentInfo, RoleInfo, TaskInfo

_FIELDS_BYTES = 100
"""What an environment, a task or a role takes besides its texts, at most."""


def parts(infos: Iterable[EnvironmentInfo], room: int = ANSWER_BYTES) -> Iterator[tuple[EnvironmentInfo, ...]]:
    """Yield environments in parts of about `room` bytes, at least one part.

    One that is larger than that is cut: each further piece bears its id, and tasks and roles that come after those of
    the piece before.
    """
    part: list[EnvironmentInfo] = []
    left = room
    for info in infos:
        need = _head_bytes(info) + sum(map(_bytes, info.roles)) + sum(map(_bytes, info.tasks))
        if part and need > left:
            yield tuple(part)
            part, left = [], room
        if need > room:
            *whole, info = _pieces(info, room)
            yield from ((piece,) for piece in whole)
            left = 0  # what follows begins a part of its own
        part.append(info)
        left -= need
    yield tuple(part)


def _pieces(info: EnvironmentInfo, room: int) -> Iterator[EnvironmentInfo]:
    head = attrs.evolve(info, tasks=(), roles=())
    left = room - _head_bytes(head)
    tasks: list[TaskInfo] = []
    roles: list[RoleInfo] = []
    all_of_it: tuple[RoleInfo | TaskInfo, ...] = (*info.roles, *info.tasks)
    for one in all_of_it:
        need = _bytes(one)
        if need > left and (tasks or roles):
            yield attrs.evolve(head, tasks=tuple(tasks), roles=tuple(roles))
            head = attrs.evolve(head, variables={}, failures={})
            left, tasks, roles = room - _head_bytes(head), [], []
        if isinstance(one, TaskInfo):
            tasks.append(one)
        else:
            roles.append(one)
        left -= need
    yield attrs.evolve(head, tasks=tuple(tasks), roles=tuple(roles))


def _head_bytes(info: EnvironmentInfo) -> int:
    texts = [info.name, info.cause, info.step, *info.detectors, *info.excluded]
    for table in (info.variables, info.failures):
        texts += chain(table.keys(), table.values())
    return _FIELDS_BYTES + sum(len(text.encode(errors="replace")) + 5 for text in texts)


def _bytes(one: TaskInfo | RoleInfo) -> int:
    if isinstance(one, RoleInfo):
        return _FIELDS_BYTES + len(one.path)
    names = len(one.task) + len(one.role) + len(one.class_name) + len(one.node)
    said = len(one.error.encode(errors="replace")) + len(one.last_log.encode(errors="replace"))
    return _FIELDS_BYTES + names + said
