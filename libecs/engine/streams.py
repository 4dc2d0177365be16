"""Whether the data of a run have come to their end: what tasks say of their streams, counted.

The rule is AliECS's: at least one task has said so, every basic task has ended or said so, and the others run. What is
dead, or was never there and need not be, is waited for by nobody: if it was critical, its death ends the run anyway. A
controlled task that has said so and has gone back to CONFIGURED by itself has nothing more to give either.
"""

from __future__ import annotations

from collections.abc import Iterable

from libecs.engine.task import Task
from libecs.fsm import Mode, TaskState
from libecs.wire.node import Phase


class Streams:
    """The streams of the tasks of one run. One task's change costs O(1)."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._open: set[str] = set()
        self._ended: set[str] = set()
        for task in tasks:
            self.changed(task)

    def changed(self, task: Task) -> None:
        """A task changed: does it still hold the run?"""
        if _safe(task):
            self._open.discard(task.id)
        else:
            self._open.add(task.id)
        if task.end_of_stream:
            self._ended.add(task.id)
        else:
            self._ended.discard(task.id)

    @property
    def over(self) -> bool:
        """Whether the run may stop by itself."""
        return bool(self._ended) and not self._open


def _safe(task: Task) -> bool:
    if task.dead or (task.phase is Phase.ASSIGNED and not task.critical):
        return True
    if task.mode is Mode.BASIC:
        return task.end_of_stream
    over = task.end_of_stream and task.state is TaskState.CONFIGURED
    return (over or task.state is TaskState.RUNNING) and not task.lost
