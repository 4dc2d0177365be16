"""Whether tasks live: they are pinged once a second; those that fall silent or stand still are stalled."""

from __future__ import annotations

from functools import partial

from libecs.engine.desk import Desk
from libecs.engine.effects import Send
from libecs.engine.held import HeldTask
from libecs.fsm import TaskState
from libecs.wire import task
from libecs.wire.node import Phase


def is_watched(held: HeldTask) -> bool:
    """Whether a task is there to be pinged."""
    return held.controlled and held.exit is None and (held.pid != 0 or held.spec.attached)


def ping_all(desk: Desk) -> bool:
    """Ping all tasks, and see who may be late before the next time. Return whether there is any task to ping."""
    now = desk.now.mono_s
    number = int(now * 1000)
    any_watched = False
    for name, held in desk.tasks.items():
        if not is_watched(held):
            continue
        any_watched = True
        if held.welcomed:
            desk.emit(Send(name, task.Ping(number=number)))
        else:
            desk.greet(held)
        if (since := _late_since(held)) is not None and since + desk.stalled_s < now + desk.ping_s:
            desk.timers.at(since + desk.stalled_s, partial(_look, desk, held))
    return any_watched


def alive(desk: Desk, held: HeldTask) -> None:
    """Note a sign of life."""
    held.heard = desk.now.mono_s
    if held.silent:
        held.silent = False
        held.error = ""
        if held.phase is Phase.SUSPECT:
            held.phase = Phase.ACTIVE
        desk.outbox.touch(held)


def progress(desk: Desk, held: HeldTask, count: int) -> None:
    """Note what a task's loop says of its turns."""
    if count != held.progress:
        held.progress = count
        moved(desk, held)


def moved(desk: Desk, held: HeldTask) -> None:
    """Note that a task has got on, in its loop or to another state: standing still is counted from here."""
    held.moved = desk.now.mono_s
    if held.stuck:
        held.stuck = False
        held.error = ""
        desk.outbox.touch(held)


def silence(desk: Desk, held: HeldTask, error: str) -> None:
    """Tell a task as one that does not answer."""
    held.silent = True
    held.phase = Phase.SUSPECT
    held.error = error
    desk.outbox.touch(held)


def _must_move(held: HeldTask) -> bool:
    return held.spec.liveness and held.state is TaskState.RUNNING


def _late_since(held: HeldTask) -> float | None:
    """Return when a task last did what is expected of it; None if it is known to be stalled, or not begun."""
    if held.phase is not Phase.ACTIVE or held.stalled:
        return None
    return min(held.heard, held.moved) if _must_move(held) else held.heard


def _look(desk: Desk, held: HeldTask) -> None:
    """Tell a task that was late at the last ping to be stalled, if it still is."""
    since = _late_since(held)
    now = desk.now.mono_s
    if since is None or now + 1e-6 < since + desk.stalled_s or not (desk.holds(held) and is_watched(held)):
        return
    if now + 1e-6 >= held.heard + desk.stalled_s:
        silence(desk, held, f"does not answer for {now - held.heard:.1f} s")
    else:
        held.stuck = True
        held.error = f"its progress counter stands still for {now - held.moved:.1f} s"
        desk.outbox.touch(held)
