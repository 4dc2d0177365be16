"""Tasks of an environment, chosen by a pattern of role paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

from libecs.globs import matches, role_pattern
from libecs.wire.info import TaskInfo

Done = TypeVar("Done", covariant=True)
"""What `reconfigure` gives: None in a plain script, something to await with asyncio."""

Reconfiguring = Callable[[Mapping[str, object], str], Done]
"""Takes values and pattern."""


@attrs.frozen
class TaskSet(Generic[Done]):
    """Some tasks as they were when they were asked for, in the order of the tree."""

    items: tuple[TaskInfo, ...]
    glob: str = "**"
    _reconfigure: Reconfiguring[Done] | None = attrs.field(default=None, eq=False, repr=False)

    @classmethod
    def of(cls, tasks: Iterable[TaskInfo], glob: str, reconfigure: Reconfiguring[Done] | None = None) -> TaskSet[Done]:
        """Choose the tasks whose role path matches `glob`. Raises UsageError for what is no pattern."""
        pattern = role_pattern(glob)
        return cls(tuple(task for task in tasks if matches(pattern, task.role)), glob, reconfigure)

    def reconfigure(self, values: Mapping[str, object]) -> Done:
        """Change properties of these tasks and no others; see `AsyncEnvironment.reconfigure`."""
        assert self._reconfigure is not None, "the set was made by an environment"
        return self._reconfigure(values, self.glob)

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


class TaskRequest:
    """Tasks that are looked up when they are awaited; `reconfigure` needs no look."""

    def __init__(
        self,
        ask: Callable[[], Coroutine[Any, Any, TaskSet[Awaitable[None]]]],
        glob: str,
        reconfigure: Reconfiguring[Awaitable[None]],
    ) -> None:
        self._ask, self._glob, self._reconfigure = ask, glob, reconfigure

    def __await__(self) -> Generator[Any, None, TaskSet[Awaitable[None]]]:
        return self._ask().__await__()

    def reconfigure(self, values: Mapping[str, object]) -> Awaitable[None]:
        """Change properties of these tasks and no others; see `AsyncEnvironment.reconfigure`."""
        return self._reconfigure(values, self._glob)
