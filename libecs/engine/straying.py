"""Which tasks of an environment are not where it is, counted. One task's change costs O(1)."""

from __future__ import annotations

from libecs.engine.task import Task
from libecs.fsm import Mode, TaskState
from libecs.wire.node import Phase


class Straying:
    """The tasks of one environment, from the end of one transition to the beginning of the next."""

    def __init__(self, wanted: TaskState) -> None:
        self.wanted = wanted
        """State of the tasks of an environment that nothing happens to."""
        self.since: dict[str, float] = {}
        """Task to the monotonic seconds when it was first seen elsewhere; until it is judged, or back."""
        self.told: set[str] = set()
        """Tasks of which everybody knows that they are elsewhere."""
        self.absent: set[str] = set()
        """Tasks that could not follow their environment here: that was told then. Once they are here they count."""
        self._changed: dict[str, Task] = {}

    def changed(self, task: Task) -> None:
        """A task changed; `take` gives it."""
        if self.speaks(task):
            self._changed[task.id] = task

    def take(self) -> list[Task]:
        """Return the tasks that changed since the last time."""
        if not self._changed:
            return []
        tasks = list(self._changed.values())
        self._changed.clear()
        return tasks

    @staticmethod
    def speaks(task: Task) -> bool:
        """Return whether a task has states of its own: the state of a program is what its executor did last."""
        return task.mode in (Mode.DIRECT, Mode.FAIRMQ) and not task.hook

    @staticmethod
    def is_known(task: Task) -> bool:
        """Return whether a task lives, and has told where it is."""
        unknown = task.lost or task.as_of < 0 or task.state is TaskState.UNKNOWN
        return not (unknown or task.dead or task.phase is Phase.ASSIGNED)

    def is_there(self, task: Task) -> bool:
        """Return whether a task is where it should be. One whose data are at their end may wait in CONFIGURED."""
        if not self.is_known(task):
            return False
        over = self.wanted is TaskState.RUNNING and task.end_of_stream and task.state is TaskState.CONFIGURED
        return over or task.state is self.wanted
