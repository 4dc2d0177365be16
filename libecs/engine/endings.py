"""How tasks end when the core wants them to: softly through their state machine, then by signals of growing force."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from libecs.engine import commands, programs
from libecs.engine.desk import TASK_TABLE, Desk
from libecs.engine.effects import Close, Forget, Persist, Signal
from libecs.engine.held import Going, HeldTask, Killing
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire.node import Exit, ExitCause, Phase
from libecs.wire.task import PeerRole

SIGTERM, SIGINT, SIGKILL = 15, 2, programs.SIGKILL
SOFT_S = 5.0
"""Seconds for each step of the walk STOP, RESET, EXIT."""
GOODBYE_S = 1.0
"""Seconds between a task's DONE and the end of its process."""
FORCE: tuple[tuple[int, float], ...] = ((SIGTERM, 2.0), (SIGINT, 3.0), (SIGKILL, 5.0))
"""Signals, and the seconds each is given. The last one is repeated."""

MAX_STOP_S = 15.0
"""Seconds that a basic task has after its stop signal when it is ended for good: the core does not wait for ever."""

_WALK: Mapping[TaskState, TaskEvent] = {
    TaskState.RUNNING: TaskEvent.STOP,
    TaskState.PAUSED: TaskEvent.STOP,
    TaskState.CONFIGURED: TaskEvent.RESET,
    TaskState.STANDBY: TaskEvent.EXIT,
    TaskState.ERROR: TaskEvent.EXIT,
}


def kill(desk: Desk, id: str, name: str) -> None:
    """End a task and forget it. Command `id` is answered when it is gone, at once if nobody knows it."""
    held = desk.tasks.get(name)
    if held is None:
        desk.bury(name)
        desk.outbox.answer(id, name, None, TaskState.DONE)
        return
    if held.killing is not None:
        held.killing.ids.add(id)
        return
    held.killing = Killing(ids={id})
    nothing_runs = held.pid == 0 and not held.spawning and not held.spec.attached
    if held.exit is not None or nothing_runs or held.phase is Phase.EXITED:
        killed(desk, held)
        return
    if held.going is not None and held.going.then is not None:  # an attached task on its way to STANDBY
        held.going.then = lambda _reason: go_on(desk, held)
        _timer(desk, held, held.spec.exit_s or SOFT_S)
        return
    if held.going is not None:
        commands.finish(desk, held, "is being ended")
    go_on(desk, held)


def go_on(desk: Desk, held: HeldTask) -> None:
    """Do the next thing that ends a task."""
    killing = held.killing
    if killing is None or held.exit is not None:
        return
    if held.pid == 0 and not held.spec.attached:
        return  # its process is on the way; ProcessStarted or ProcessEnded brings us back
    if killing.stage == 0:
        event = _soft_event(held)
        if event is not None and killing.walked < len(_WALK):
            killing.walked += 1
            _timer(desk, held, held.spec.exit_s or SOFT_S)
            held.going = Going(
                id=desk.own_id(held, f"end{killing.walked}"),
                event=event,
                arguments={},
                deadline=killing.deadline,
                then=lambda _reason: go_on(desk, held),
            )
            commands.step(desk, held)
            return
        if held.spec.attached:
            let_go(desk, held)
            return
        if held.state is TaskState.DONE and held.welcomed and not killing.goodbye:
            killing.goodbye = True
            _timer(desk, held, GOODBYE_S)
            return
    _harder(desk, held)


def _soft_event(held: HeldTask) -> TaskEvent | None:
    """Return the next event of the walk down to DONE, or None where only signals help."""
    if not held.controlled or not held.welcomed or held.silent:
        return None
    event = _WALK.get(held.state)
    if event is TaskEvent.EXIT:
        from_error = held.state is TaskState.ERROR and held.spec.mode is not Mode.DIRECT
        return None if held.spec.attached or from_error else event
    return event


def _harder(desk: Desk, held: HeldTask) -> None:
    killing = held.killing
    assert killing is not None
    held.going = None
    force = _force(held)
    killing.stage = min(killing.stage + 1, len(force))
    signal, seconds = force[killing.stage - 1]
    desk.emit(Signal(task=held.spec.task, number=signal))
    _timer(desk, held, seconds)


def _force(held: HeldTask) -> tuple[tuple[int, float], ...]:
    """Return what a task is met with: a basic task first with the signal that it is known to understand."""
    spec = held.spec
    if spec.mode is not Mode.BASIC or spec.stop_signal in (SIGTERM, SIGKILL):
        return FORCE
    return ((spec.stop_signal, min(programs.stop_seconds(spec), MAX_STOP_S)), *FORCE)


def _timer(desk: Desk, held: HeldTask, seconds: float) -> None:
    killing = held.killing
    assert killing is not None
    killing.deadline = desk.now.mono_s + seconds
    desk.after(seconds, partial(_expired, desk, held, killing))


def _expired(desk: Desk, held: HeldTask, killing: Killing) -> None:
    if held.killing is not killing or held.exit is not None or not desk.holds(held):
        return
    if desk.now.mono_s + 1e-6 < killing.deadline:
        return  # a later step has a timer of its own
    if held.spec.attached:
        let_go(desk, held)
    else:
        _harder(desk, held)


def let_go(desk: Desk, held: HeldTask) -> None:
    """Leave an attached task where it is, and forget it."""
    held.going = None
    if held.welcomed:
        desk.greet(held, PeerRole.OBSERVER)  # who only looks on holds it no more
    desk.emit(Close(task=held.spec.task))
    killed(desk, held)


def killed(desk: Desk, held: HeldTask) -> None:
    """The task is gone: answer whoever asked, and forget it."""
    assert held.killing is not None
    name = held.spec.task
    held.phase = Phase.EXITED
    held.state = TaskState.DONE
    if held.exit is None:
        held.exit = Exit(cause=ExitCause.NEVER_STARTED, wanted=True)
    for id in sorted(held.killing.ids):
        desk.outbox.answer(id, name, None, TaskState.DONE)
    del desk.tasks[name]
    desk.outbox.drop(name)
    desk.bury(name)
    desk.bulletins.hurry(name)
    if not held.controlled or held.spec.attached or held.use:
        desk.emit(Persist(TASK_TABLE, name, None))
    if not held.spec.attached:
        desk.emit(Forget(task=name))
