"""An executor's session with its core: who we are, what the core must hear, and in which order it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from libecs.engine.effects import Continue, Effect, Send
from libecs.engine.held import HeldTask
from libecs.fsm import TaskState
from libecs.wire import node
from libecs.wire.node import Failure

CORE = "core"
"""The peer name of the link to the core."""
TELEMETRY = "telemetry"
"""The peer name of the second link to the core, for node.Telemetry. The core gets it as from the node itself."""


class Outbox:
    """Gathers changes and answers, and sends them numbered, once a tick.

    Without a session nothing is kept: the core that comes next is told everything at once.
    """

    def __init__(self, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self.session: int | None = None
        self.sequence = 0
        self._dirty: dict[str, HeldTask] = {}
        self._answers: dict[tuple[str, TaskState], tuple[list[str], list[Failure]]] = {}
        self._asked = False

    def send(self, message: object) -> None:
        """Send a message to the core now."""
        self._emit(Send(CORE, message))

    def touch(self, held: HeldTask) -> None:
        """Say that the core must hear of this task."""
        self._dirty[held.spec.task] = held
        self._ask()

    def drop(self, task: str) -> None:
        """Say nothing more of a task that is forgotten."""
        self._dirty.pop(task, None)

    def answer(self, id: str, task: str, failure: Failure | None, state: TaskState) -> None:
        """Say that a task has finished command `id`, in `state` unless it failed."""
        done, failed = self._answers.setdefault((id, state), ([], []))
        if failure is None:
            done.append(task)
        else:
            failed.append(failure)
        self._ask()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._emit(Continue())

    def resume(self) -> None:
        """The inputs that waited have been handled: send what they brought."""
        self._asked = False
        self.flush()

    def flush(self) -> None:
        """Send all answers and all changes that have gathered, changes last: they are the truth of now."""
        answers, self._answers = self._answers, {}
        dirty, self._dirty = self._dirty, {}
        if self.session is None:
            return
        for (id, state), (done, failed) in answers.items():
            self.sequence += 1
            self.send(
                node.Answer(
                    session=self.session,
                    sequence=self.sequence,
                    id=id,
                    state=state,
                    done=tuple(done),
                    failed=tuple(failed),
                )
            )
        if dirty:
            self.sequence += 1
            statuses = tuple(held.status() for held in dirty.values())
            self.send(node.Update(session=self.session, sequence=self.sequence, tasks=statuses))

    def open(self, session: int, tasks: Mapping[str, HeldTask]) -> None:
        """Begin a session: older answers are asked for again by whoever wants them."""
        self.session = session
        self._answers.clear()
        self.announce(tasks.values())

    def announce(self, tasks: Iterable[HeldTask]) -> None:
        """Tell the core everything. It stands for all that was numbered before."""
        if self.session is None:
            return
        self._dirty.clear()
        self.sequence += 1
        held = tuple(task.held() for task in tasks)
        self.send(node.Announce(session=self.session, sequence=self.sequence, tasks=held))
