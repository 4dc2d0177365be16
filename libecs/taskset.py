"""Tasks of an environment, chosen by a pattern of role paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

from libecs.errors import UsageError
from libecs.wire.client import TaskInfo


def role_pattern(glob: str) -> re.Pattern[str]:
    """Return the regular expression of a role-path glob.

    `*` is any one element or part of one, `?` one character, `**` any number of elements, none included.

    Raises:
        UsageError: an element is empty, or `**` is only a part of one.
    """
    parts = []
    elements = glob.split(".")
    for i, element in enumerate(elements):
        last = i == len(elements) - 1
        if element == "**":
            parts.append(r"(?:[^.]+(?:\.[^.]+)*)?" if last else r"(?:[^.]+\.)*")
            continue
        if not element or "**" in element:
            raise UsageError(
                f"{glob!r} is no pattern of role paths", hint="elements are joined by '.', and '**' is a whole element"
            )
        text = "".join({"*": "[^.]*", "?": "[^.]"}.get(character, re.escape(character)) for character in element)
        parts.append(text if last else text + r"\.")
    return re.compile("".join(parts))


@attrs.frozen
class TaskSet:
    """Some tasks, in the order of the tree."""

    items: tuple[TaskInfo, ...]

    @classmethod
    def of(cls, tasks: Iterable[TaskInfo], glob: str) -> TaskSet:
        """Choose the tasks whose role path matches `glob`."""
        pattern = role_pattern(glob)
        return cls(tuple(task for task in tasks if pattern.fullmatch(task.role)))

    def __iter__(self) -> Iterator[TaskInfo]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TaskInfo:
        return self.items[index]

    @property
    def states(self) -> dict[str, str]:
        """Role path to name of the state."""
        return {task.role: task.state.name for task in self.items}

    @property
    def pids(self) -> dict[str, int]:
        """Role path to process id, for the tasks that have a process."""
        return {task.role: task.pid for task in self.items if task.pid}
