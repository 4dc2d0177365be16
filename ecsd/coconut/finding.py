"""Which environment, task or event somebody means by a few words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ecsd.coconut.lazy import meant
from libecs.errors import NotFound, UsageError

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.info import EnvironmentInfo, TaskInfo

T = TypeVar("T")

EVENTS = ("DEPLOY", "CONFIGURE", "START_ACTIVITY", "STOP_ACTIVITY", "RESET", "RECOVER", "EXIT")
"""What an environment can be told, EXIT aside, which is `environment destroy`."""
SHORT = {"START": "START_ACTIVITY", "STOP": "STOP_ACTIVITY"}


async def find_environment(ecs: AsyncEcs, wanted: str) -> EnvironmentInfo:
    """Return the environment of an id, a name, or the beginning of an id that only one has.

    Raises:
        NotFound: there is none.
        UsageError: it may be several.
    """
    infos = [environment.info for environment in await ecs.environments()]
    for info in infos:
        if wanted == info.environment:
            return info
    named = [info for info in infos if info.name == wanted] or [
        info for info in infos if info.environment.startswith(wanted)
    ]
    if len(named) == 1:
        return named[0]
    if named:
        raise UsageError(
            f"{wanted!r} may be {' or '.join(info.environment for info in named)}",
            hint="write its id" if named[0].name == wanted else "write more of the id",
        )
    known = [word for info in infos for word in (info.environment, info.name) if word]
    near = meant(wanted, known).removeprefix("; ")
    listed = ", ".join(f"{info.environment}{f' ({info.name})' if info.name else ''}" for info in infos[:10])
    raise NotFound(f"no environment {wanted!r}", hint=near or f"environments are: {listed or 'none'}")


def read_event(text: str) -> str:
    """Return the event that somebody means: any case, START and STOP for what they begin. Raises UsageError."""
    event = SHORT.get(text.upper(), text.upper())
    if event == "EXIT":
        raise UsageError("EXIT is no transition that leaves anything", hint="coconut environment destroy ID")
    if event not in EVENTS:
        known = (*EVENTS[:-1], *SHORT)
        raise UsageError(f"{text!r} is no event{meant(text.upper(), known)}", hint=f"events are {', '.join(known)}")
    return event


def find_task(tasks: Sequence[TaskInfo], wanted: str) -> TaskInfo:
    """Return the task of an id, a role path, the end of one, `role@node`, or the beginning of an id.

    Raises:
        NotFound: there is none.
        UsageError: it may be several.
    """
    name, _, node = wanted.partition("@")
    ways = (
        [task for task in tasks if task.task == wanted],
        [task for task in tasks if task.role == name and node in ("", task.node)],
        [task for task in tasks if f".{task.role}".endswith(f".{name}") and node in ("", task.node)],
        [task for task in tasks if task.task.startswith(wanted)],
    )
    for found in ways:
        if len(found) == 1:
            return found[0]
        if found:
            places = [f"{task.role}@{task.node}" for task in found]
            raise UsageError(f"{wanted!r} may be {some(places)}", hint="write its path, role@node, or its id")
    known = [word for task in tasks for word in (task.role, task.role.rpartition(".")[2])]
    near = meant(name, set(known)).removeprefix("; ")
    raise NotFound(f"no task {wanted!r}", hint=near or f"tasks are: {some([task.role for task in tasks])}")


def some(words: Iterable[str], most: int = 6) -> str:
    """Return a few words and how many there are more."""
    listed = list(words)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more or "none"
