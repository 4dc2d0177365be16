"""What the parts of an executor share: its tasks, the time, and ways out."""

from __future__ import annotations

from collections.abc import Callable

from libecs.engine.bulletins import Bulletins
from libecs.engine.effects import Effect, Now, Persist, Send, Spawn
from libecs.engine.held import HeldRecord, HeldTask
from libecs.engine.outbox import Outbox
from libecs.engine.timers import Timers
from libecs.wire import task as wire
from libecs.wire.codec import pack_value
from libecs.wire.node import TaskSpec

TASK_TABLE = "task"
NODE_TABLE = "node"
GONE_KEPT = 65536
PING_S = 1.0
STALLED_S = 2.7
"""A task has 1.7 s to answer a ping, at least, and who watches hears of a hang within 3 s, whatever lies between."""


class Desk:
    """One executor's tasks and the means to act on them."""

    def __init__(self, name: str, epoch: int, *, fresh: bool = False) -> None:
        """`fresh`: there are no records of an earlier life."""
        self._fresh = fresh
        self.name = name
        """Unique to this life, as tasks know it."""
        self.epoch = epoch
        """What tasks are told: the life's number, or more if our records were lost."""
        self.ping_s = PING_S
        self.stalled_s = STALLED_S
        """Seconds of silence, or of standing still, after which a task is stalled."""
        self.now = Now(0.0, 0)
        self.out: list[Effect] = []
        self.tasks: dict[str, HeldTask] = {}
        self.gone: dict[str, None] = {}
        """Tasks that were ended: a late Launch brings none of them back."""
        self.timers = Timers()
        self.outbox = Outbox(self.emit)
        self.bulletins = Bulletins(self.emit, self.outbox, self.tasks)

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self.out.append(effect)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` at a Tick, that many seconds from now; it must check that it is still wanted."""
        self.timers.at(self.now.mono_s + seconds, action)

    def holds(self, held: HeldTask) -> bool:
        """Whether this is still the task of its id."""
        return self.tasks.get(held.spec.task) is held

    def take_epoch(self, epoch: int) -> bool:
        """Take a higher epoch towards tasks if we may: our records are lost then, not our right. Return whether."""
        if self._fresh:
            self.epoch = max(self.epoch, epoch)
            self.emit(Persist(NODE_TABLE, "life", str(self.epoch).encode()))
        return self._fresh

    def greet(self, held: HeldTask, role: wire.PeerRole = wire.PeerRole.CONTROLLER) -> None:
        """Say Hello to a task."""
        self.emit(Send(held.spec.task, wire.Hello(role=role, epoch=max(self.epoch, held.epoch), name=self.name)))

    def spawn(self, held: HeldTask, spec: TaskSpec | None = None) -> None:
        """Start a task's process, by `spec` if that is more than what is held."""
        held.spawning = True
        self.emit(Spawn(spec=spec or held.spec, endpoint=held.spec.endpoint if held.controlled else ""))

    def own_id(self, held: HeldTask, text: str) -> str:
        """Return the id of a command of our own to a task: it was never used, in no life."""
        return f"{held.spec.task}.{self.epoch}.{text}"

    def save(self, held: HeldTask) -> None:
        """Write down what must survive us of a task that can't tell its next executor itself."""
        if held.controlled and not held.spec.attached and not held.use:
            return
        going = held.going
        record = HeldRecord(
            spec=held.spec,
            state=held.state,
            trigger=held.trigger,
            answers=tuple((id, failure.reason if failure else "") for id, failure in held.answers.items()),
            going=going.id if going else "",
            going_event=going.event if going else 0,
            run=held.run,
            use=held.use,
        )
        self.emit(Persist(TASK_TABLE, held.spec.task, pack_value(record)))

    def bury(self, task: str) -> None:
        """Remember that a task is gone for good."""
        self.gone[task] = None
        if len(self.gone) > GONE_KEPT:
            del self.gone[next(iter(self.gone))]
